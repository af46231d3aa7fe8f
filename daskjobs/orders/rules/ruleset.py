"""The rules of a run: the built-in ones, and those of the user's own module.

The user's module is code that may do anything, like loop for ever or end its process. So only Dask workers load and run
it, and never the process whose exit code says how the run ended.
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

from daskjobs.display import shown
from daskjobs.errors import ConfigError, InputError, StorageError
from daskjobs.files.storage import Storage, UnavailableError, explained
from daskjobs.orders.rules.builtin import RULES, SENTENCES, Rule
from daskjobs.orders.rules.functions import SENTENCE

FUNCTIONS = "run_orders(rules=…)"  # the name of rules that were given as functions
MOST_BYTES = 1 << 20  # of the user's module
MOST = 40  # rules of the user's own: a row's reasons are the bits of one integer
MOST_TEXT = 500  # characters of what a rule raised, in an error message


@dataclass(frozen=True)
class Ruleset:
    """The rules of a run: the Python source of the user's own ones, and its name in errors; both empty without any.

    The user's rules are the functions that ``__all__`` of the source names, or else those without a leading underscore.
    The source is not loaded before ``own`` or what needs it is used, which raises ConfigError when it can't be: to make
    a ruleset, or to send it to a worker, is safe.
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
        return {**SENTENCES, **{name: _sentence(rule) for name, rule in self.own.items()}}

    def masks(self, frame: pd.DataFrame) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
        """Yield each rule's name and the rows that it rejects. Raises ConfigError when one of the user's fails."""
        for name, rule in RULES.items():
            yield name, mask(rule, frame)
        for name, rule in self.own.items():
            said = ""
            try:
                rejected = mask(rule, frame.copy(deep=False))
                if rejected.shape != (len(frame),):
                    raise TypeError(f"it gave {rejected.shape} values for {len(frame)} rows")
            except BaseException as error:  # sys.exit is none of the others
                said = f"{_line(error, self.source, self.name)} failed: {_told(error)}"
            if said:  # raised here, without the user's exception as its context, which pickle may refuse
                raise ConfigError(
                    f"the rule {name} of {self.name}{said}; "
                    "a rule takes a frame of orders and returns a boolean for each of its rows"
                )
            yield name, rejected


def load_sentences(ruleset: Ruleset) -> dict[str, str]:
    """Return a ruleset's sentences: a task of its own, which loads the user's module before any row is checked."""
    return ruleset.sentences


def read_rules(storage: Storage, where: str, functions: str = "") -> Ruleset:
    """Return the user's rules, if any are given: ``functions``, as `source_of` wrote them, or a file's path or URI.

    Raises ConfigError when the file can't be read.
    """
    if functions:
        return Ruleset(functions, FUNCTIONS)
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
    except UnavailableError:
        raise
    except (InputError, StorageError) as error:
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
        # Not optimized, even under -O: docstrings are the rules' sentences, and a rule may rely on its asserts.
        exec(compile(source, name, "exec", dont_inherit=True, optimize=0), module.__dict__)
    except BaseException as error:  # sys.exit is none of the others
        said = f"{_line(error, source, name)} can't be imported: {_told(error)}"
    if said:
        raise ConfigError(f"{name}{said}")
    functions: dict[str, Rule] = {
        name: each for name, each in vars(module).items() if isfunction(each) and each.__module__ == module.__name__
    }
    chosen = getattr(module, "__all__", [name for name in functions if not name.startswith("_")])
    own = {name: functions[name] for name in chosen if name in functions}
    if not own or len(own) > MOST:
        raise ConfigError(f"{name} has {len(own)} rules: from 1 to {MOST} functions without a leading underscore")
    taken = sorted(own.keys() & SENTENCES.keys())
    if taken:
        raise ConfigError(f"{name} defines {', '.join(taken)}, which is a built-in rule: give it another name")
    return own


def _line(error: BaseException, source: str, name: str) -> str:
    """Return the number of the line that raised an error, or that line itself where the user has given functions."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno},"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    if not lines or lines[-1] is None:
        return ""
    return f", at {source.splitlines()[lines[-1] - 1].strip()!r}," if name == FUNCTIONS else f", line {lines[-1]},"


def _sentence(rule: Rule) -> str:
    """Return what a rule says of a row: what `functions.rule` was given, or else its docstring's first line."""
    said = str(getattr(rule, SENTENCE, "") or rule.__doc__ or "").strip()
    return (said or rule.__name__).splitlines()[0]


def _told(error: BaseException) -> str:
    """Return the type and text of what the user's code raised, cut where it is long."""
    try:
        text = f"{type(error).__name__}: {error}"
    except BaseException as worse:
        text = f"{type(error).__name__}, whose text can't be had: {type(worse).__name__}"
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"
