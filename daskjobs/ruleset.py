"""The rules of a run: the built-in ones, and those of the user's own module.

The user's module is code that may do anything: loop for ever, end its process. So it is loaded and run by Dask workers
alone, and never by the process whose exit code says how the run ended.
"""

import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from inspect import isfunction
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pandas as pd

from daskjobs import rules
from daskjobs.errors import ConfigError, StorageError
from daskjobs.names import shown
from daskjobs.rules import Rule
from daskjobs.storage import Storage, explained

MOST_BYTES = 1 << 20  # of the user's module
MOST = 40  # rules of the user's own: a row's reasons are the bits of one integer
MOST_TEXT = 500  # characters that are told of what a rule raised


@dataclass(frozen=True)
class Ruleset:
    """Python source of the user's own rules, and the name that errors give it, empty where there are none.

    To make one, or to send it to a worker, loads nothing; ``own`` and what needs it do, and raise ConfigError when the
    source can't be used.
    """

    source: str = ""
    name: str = ""

    @property
    def own(self) -> dict[str, Rule]:
        """Return the user's own rules, by name."""
        return _load(self.source, self.name) if self.name else {}

    @property
    def sentences(self) -> dict[str, str]:
        """Return what each reason says of a row, in the order in which a row carries its reasons."""
        return {**rules.SENTENCES, **{name: _sentence(rule) for name, rule in self.own.items()}}

    def masks(self, frame: pd.DataFrame) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
        """Yield each rule's name and the rows that it rejects. Raises ConfigError when one of the user's fails."""
        for name, rule in rules.RULES.items():
            yield name, mask(rule, frame)
        for name, rule in self.own.items():
            said = ""
            try:
                rejected = mask(rule, frame.copy(deep=False))
                if rejected.shape != (len(frame),):
                    raise TypeError(f"it gave {rejected.shape} values for {len(frame)} rows")
            except BaseException as error:  # sys.exit is none of the others
                said = f"{_line(error, self.name)} failed: {_told(error)}"
            if said:  # raised here, without the user's exception in its context: that may not come through pickle
                raise ConfigError(
                    f"the rule {name} of {self.name}{said}; "
                    "a rule takes a frame of orders and returns a boolean for each of its rows"
                )
            yield name, rejected


def sentences(ruleset: Ruleset) -> dict[str, str]:
    """Return a ruleset's sentences: the task that loads the user's module before any row is checked."""
    return ruleset.sentences


def read(storage: Storage, where: str) -> Ruleset:
    """Read the user's rules from a path or URI; none for an empty one. Raises ConfigError when they can't be used."""
    if not where:
        return Ruleset()
    try:
        with storage.open(where) as file, explained(f"read {where}"):
            source = file.read(MOST_BYTES + 1)
        if len(source) > MOST_BYTES:
            raise ConfigError(
                f"--rules {where} has more than {MOST_BYTES >> 20} MiB: give the path or URI of a Python file"
            )
        return Ruleset(source.decode(), shown(where))
    except StorageError as error:
        raise ConfigError(f"--rules can't be read: {error}; give the path or URI of a Python file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--rules {where} is no Python file: {error}") from error


def mask(rule: Rule, frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which rows a rule rejects; a null rejects nothing."""
    rejected = pd.Series(rule(frame))
    if not pd.api.types.is_bool_dtype(rejected.dtype):
        raise TypeError(f"it gave {rejected.dtype}, not booleans")
    return rejected.to_numpy(dtype=bool, na_value=False)


@lru_cache(maxsize=4)
def _load(source: str, name: str) -> dict[str, Rule]:
    module = ModuleType(f"daskjobs_rules_{sha256(source.encode()).hexdigest()[:12]}")
    sys.modules[module.__name__] = module
    said = ""
    try:
        # Whatever Python's -O says: docstrings are the rules' sentences, and a rule may rest on its asserts.
        exec(compile(source, name, "exec", dont_inherit=True, optimize=0), module.__dict__)
    except BaseException as error:  # sys.exit is none of the others
        said = f"{_line(error, name)} can't be imported: {_told(error)}"
    if said:
        raise ConfigError(f"{name}{said}")
    own: dict[str, Rule] = {
        name: each
        for name, each in vars(module).items()
        if isfunction(each) and each.__module__ == module.__name__ and not name.startswith("_")
    }
    if not own or len(own) > MOST:
        raise ConfigError(f"{name} has {len(own)} rules: from 1 to {MOST} functions without a leading underscore")
    taken = sorted(own.keys() & rules.SENTENCES.keys())
    if taken:
        raise ConfigError(f"{name} defines {', '.join(taken)}, which is a built-in rule: give it another name")
    return own


def _line(error: BaseException, name: str) -> str:
    """Return where in the user's file it happened."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno},"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    return f", line {lines[-1]}," if lines else ""


def _sentence(rule: Rule) -> str:
    return (str(rule.__doc__ or "").strip() or rule.__name__).splitlines()[0]


def _told(error: BaseException) -> str:
    """Return what the user's code raised, in few characters."""
    try:
        text = f"{type(error).__name__}: {error}"
    except BaseException as worse:
        text = f"{type(error).__name__}, whose text can't be had: {type(worse).__name__}"
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"
