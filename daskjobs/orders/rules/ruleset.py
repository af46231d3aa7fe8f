"""The rules of a run: the built-in ones, and those of the user's own module.

The user's code may do anything, such as loop for ever or end its process. So only Dask workers load and run
it, and never the process whose exit code says how the run ended.
"""

import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daskjobs.display import shown
from daskjobs.errors import ConfigError
from daskjobs.files.storage import Storage
from daskjobs.orders.profiles import Profile
from daskjobs.orders.rules.beside import NOTHING, Beside, Loader, read_file
from daskjobs.orders.rules.builtin import OF_PROFILE, RULES, SEEN, SENTENCES, Mask, Orders
from daskjobs.orders.rules.contract import CONTEXT, RuleContext, takes_context
from daskjobs.orders.rules.file import rules_in
from daskjobs.orders.rules.functions import LEVEL, SENTENCE, WARN, Functions, load_functions
from daskjobs.orders.rules.profiled import PROFILED, left_out, rules_of, sentences_of

if TYPE_CHECKING:
    import pandas as pd

FUNCTIONS = "run_orders(rules=…)"  # the name of rules that were given as functions
MOST = 40  # rules of the user's own: a row's reasons are the bits of one integer
MOST_TEXT = 500  # characters of what a rule raised, in an error message
MOST_NAMED = 20  # columns, in an error message

OwnRule = Callable[..., Any]  # one of the user's: from a frame of pandas, and the context if it takes one


@dataclass(frozen=True)
class Ruleset:
    """The rules of a run: the name of the user's own ones in errors, and what they are; empty without any.

    ``code`` is the source of a file, or a pickle of functions (see `functions_of`), and ``sha256`` is the hash of what
    they do; ``context`` is for those that take it; ``profile`` changes the built-in ones, and ``beside`` goes along
    with a file. ``known`` says that orders of earlier runs are not counted again. ``warn`` are the rules that warn
    instead of rejecting: those that the user has named and, once they are known, those of the user's own that say so.
    It is not loaded before
    ``own`` or what needs it is used, which raises ConfigError when it can't be: to make a ruleset, or to send it to a
    worker, is safe.
    """

    code: str | bytes = ""
    name: str = ""
    sha256: str = ""
    context: RuleContext | None = None
    profile: Profile | None = None
    beside: Beside = NOTHING
    known: bool = False
    warn: frozenset[str] = frozenset()

    @property
    def left_out(self) -> dict[str, str]:
        """Return the built-in rules that the profile leaves out, each with why."""
        return left_out(self.profile) if self.profile else {}

    @property
    def own(self) -> dict[str, OwnRule]:
        """Return the user's own rules, by name."""
        own = _load(self.code, self.name, self.beside) if self.name else {}
        if self.profile:
            _refuse_taken(own, (*PROFILED, *OF_PROFILE), self.name)
        elif self.warn & {*RULES}:
            _refuse_taken(own, PROFILED, self.name)
        if self.known:
            _refuse_taken(own, SEEN, self.name)
        return own

    @property
    def sentences(self) -> dict[str, str]:
        """Return the sentence of each reason, in the order of a row's reasons."""
        said = sentences_of(self.profile or Profile(""), self.warn) if self.profile or self.warn else SENTENCES
        said = said | SEEN if self.known else said
        return {**said, **{name: _sentence(name, rule) for name, rule in self.own.items()}}

    def masks(self, orders: pa.Table, twice: bool = False) -> Iterator[tuple[str, Mask]]:
        """Yield each rule's name and the rows of typed ``orders`` that it rejects; ``twice`` is that of `own_masks`."""
        seen = Orders(orders)
        changed = self.profile or self.warn
        for name, rule in (rules_of(self.profile or Profile(""), self.warn) if changed else RULES).items():
            yield name, rule(seen)
        if self.name:
            from daskjobs.orders.rules.frames import frame

            yield from self.own_masks(frame(orders), twice)

    def own_masks(self, frame: "pd.DataFrame", twice: bool = False) -> Iterator[tuple[str, Mask]]:
        """Yield the name of each of the user's own rules and the rows that it rejects. Raises ConfigError if one fails.

        With ``twice``, they run again on the later half of the rows alone, and must reject the same of them.
        """
        for name, rule in self.own.items():
            rejected = self._mask(name, rule, frame)
            if twice:
                half = frame.iloc[len(frame) // 2 :]
                half.index = frame.index[: len(half)]
                if not np.array_equal(self._mask(name, rule, half), rejected[len(frame) // 2 :]):
                    raise ConfigError(
                        f"the rule {name} of {self.name} rejects other rows when it runs again on the later half of a "
                        "block: it must judge each row by that row alone, because a rank, a mean or a counter changes "
                        "with the partitions, and a random number with each attempt"
                    )
            yield name, rejected

    def _mask(self, name: str, rule: OwnRule, frame: "pd.DataFrame") -> Mask:
        """Return the rows that one of the user's rules rejects."""
        from daskjobs.orders.rules.frames import aligned

        if not len(frame):  # pandas may return another type than booleans for no rows
            return np.zeros(0, bool)
        context = {CONTEXT: self.context} if takes_context(rule, name) else {}
        try:
            return aligned(rule(frame.copy(deep=False), **context), frame.index)
        except BaseException as error:  # SystemExit is no Exception
            said = f"{_where(error, rule, self.name)} failed: {_told(error)}{_columns(error, frame)}{_missing(error)}"
        # Raised here, without the user's exception as its context, which pickle may refuse.
        others = "" if self.name == FUNCTIONS else ", and what is no rule has a name with a leading underscore"
        raise ConfigError(
            f"the rule {name} of {self.name}{said}; "
            f"a rule takes a frame of orders and returns a boolean for each of its rows{others}"
        )


def load_sentences(ruleset: Ruleset) -> tuple[dict[str, str], list[str]]:
    """Return a ruleset's sentences, and the names of the user's own rules that say that they warn.

    This is a task of its own, which loads the user's module before any row is checked. Raises ConfigError where a rule
    takes a context and there is none.
    """
    for name, rule in ruleset.own.items():
        if ruleset.context is None and takes_context(rule, name):
            raise ConfigError(
                f"the rule {name} of {ruleset.name} looks at the run's date, which split fixes: run `daskjobs split` "
                "again with --rules or --as-of"
            )
    return ruleset.sentences, [name for name, rule in ruleset.own.items() if getattr(rule, LEVEL, "") == WARN]


def read_rules(storage: Storage, where: str, functions: Functions | None = None, as_of: str = "") -> Ruleset:
    """Return the user's rules, if any are given: ``functions``, or a file's path or URI; ``as_of`` is the run's date.

    Raises ConfigError when the file can't be read.
    """
    context = RuleContext(date.fromisoformat(as_of)) if as_of else None
    if functions:
        return Ruleset(functions.pickled, FUNCTIONS, functions.sha256, context)
    if not where:
        return Ruleset()
    source, beside, hashed = read_file(storage, where)
    return Ruleset(source, shown(where), hashed, context, beside=beside)


@lru_cache(maxsize=4)
def _load(code: str | bytes, name: str, beside: Beside) -> dict[str, OwnRule]:
    said = ""
    try:
        loaded: Any = load_functions(code) if isinstance(code, bytes) else Loader(code, name, beside).load()
    except BaseException as error:  # SystemExit is no Exception
        said = f"{_line(error, name)} can't be imported: {_told(error)}{_missing(error)}"
    if said:
        raise ConfigError(f"{name}{said}")
    own: dict[str, OwnRule] = loaded if isinstance(code, bytes) else rules_in(loaded, code, name)
    if not own or len(own) > MOST:
        raise ConfigError(f"{name} has {len(own)} rules: from 1 to {MOST} functions without a leading underscore")
    _refuse_taken(own, SENTENCES, name)
    return own


def _refuse_taken(own: dict[str, OwnRule], names: Collection[str], name: str) -> None:
    taken = sorted(own.keys() & {*names})
    if taken:
        raise ConfigError(f"{name} defines {', '.join(taken)}, which is a built-in rule: give it another name")


def _line(error: BaseException, file: str) -> str:
    """Return the line of the user's file that raised an error, or an empty text if it is not known."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f", line {error.lineno},"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f", line {lines[-1]}," if lines and lines[-1] is not None else ""


def _where(error: BaseException, rule: Any, name: str) -> str:
    """Return the line at which a rule failed, of its file, or of the file in which it was defined as a function."""
    if name != FUNCTIONS:
        return _line(error, name)
    file = rule.__code__.co_filename
    line = _line(error, file)
    return line and f"{line[:-1]} of {shown(file)},"


def _columns(error: BaseException, frame: "pd.DataFrame") -> str:
    """Return the names of the frame's columns if an error says that one is missing, else an empty text."""
    missing = error.args[:1] if type(error) is KeyError else ()
    if type(error) is AttributeError and isinstance(error.obj, type(frame)):
        missing = (error.name,)
    if not missing or type(missing[0]) is not str or missing[0] in frame.columns:
        return ""
    names = [*frame.columns[:MOST_NAMED], *(["…"] if len(frame.columns) > MOST_NAMED else [])]
    return f"; the frame has {', '.join(names)} (money is integer cents, in price_cents and total_cents)"


def _missing(error: BaseException) -> str:
    """Say which files beside the rules go along, if an error says that one is missing, else return an empty text."""
    if not isinstance(error, ModuleNotFoundError | FileNotFoundError):
        return ""
    return (
        "; of the files beside the rules, those go along that it imports, and those whose names stand in it as texts "
        "(Path(__file__).parent / 'regions.csv')"
    )


def _sentence(name: str, rule: OwnRule) -> str:
    """Return a rule's sentence: the one given to `functions.rule`, or else its docstring's first line."""
    said = getattr(rule, SENTENCE, "") or (rule.func if isinstance(rule, partial) else rule).__doc__ or ""
    return (str(said).strip() or name).splitlines()[0]


def _told(error: BaseException) -> str:
    """Return the type and text of an exception of the user's code, shortened if it is long."""
    try:
        text = f"{type(error).__name__}: {error}"
    except BaseException as worse:
        text = f"{type(error).__name__}, whose text can't be had: {type(worse).__name__}"
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"
