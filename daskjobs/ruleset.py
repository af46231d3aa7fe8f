"""The rules of a run: the built-in ones, and those of the user's own module."""

import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from inspect import isfunction
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pandas as pd

from daskjobs import rules
from daskjobs.errors import ConfigError, DaskjobsError, StorageError
from daskjobs.rules import Rule
from daskjobs.storage import Storage

MOST = 40  # rules of the user's own: a row's reasons are the bits of one integer


@dataclass(frozen=True)
class Ruleset:
    """Python source of the user's own rules, empty for none, and the name that errors give it."""

    source: str = ""
    name: str = ""
    own: dict[str, Rule] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "own", _load(self.source, self.name) if self.source else {})

    def __reduce__(self) -> tuple[type["Ruleset"], tuple[str, str]]:
        """Travel to workers as text; they compile it themselves."""
        return Ruleset, (self.source, self.name)

    @property
    def sentences(self) -> dict[str, str]:
        """Return what each reason says of a row, in the order in which a row carries its reasons."""
        return {**rules.SENTENCES, **{name: rules.sentence(rule) for name, rule in self.own.items()}}

    def masks(self, frame: pd.DataFrame) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
        """Yield each rule's name and the rows that it rejects. Raises ConfigError when one of the user's fails."""
        for rule in rules.RULES:
            yield rule.__name__, mask(rule, frame)
        for name, rule in self.own.items():
            try:
                rejected = mask(rule, frame.copy(deep=False))
                if rejected.shape != (len(frame),):
                    raise TypeError(f"it gave {rejected.shape} values for {len(frame)} rows")
            except Exception as error:
                raise ConfigError(
                    f"the rule {name} of {self.name}{_line(error, self.name)} failed: {type(error).__name__}: {error}; "
                    "a rule takes a frame of orders and returns a boolean for each of its rows"
                ) from error
            yield name, rejected


def read(storage: Storage, where: str) -> Ruleset:
    """Read the user's rules from a path or URI; none for an empty one. Raises ConfigError when they can't be used."""
    if not where:
        return Ruleset()
    try:
        return Ruleset(storage.read(where).decode(), where)
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
    try:
        exec(compile(source, name, "exec"), module.__dict__)
    except DaskjobsError:
        raise
    except Exception as error:
        raise ConfigError(f"{name}{_line(error, name)} can't be imported: {type(error).__name__}: {error}") from error
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
