"""The rules of a run: the built-in ones, and those of the user's own module.

The user's code may do anything, such as loop for ever or end its process. So only Dask workers load and run
it, and never the process whose exit code says how the run ended.
"""

import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pandas.api.extensions import ExtensionArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from pandas.arrays import ArrowExtensionArray

from daskjobs.display import shown
from daskjobs.errors import ConfigError
from daskjobs.files.storage import Storage
from daskjobs.orders.profiles import Profile
from daskjobs.orders.rules.beside import NOTHING, Beside, Loader, read_file
from daskjobs.orders.rules.builtin import OF_LINES, RULES, SENTENCES, Rule
from daskjobs.orders.rules.contract import CONTEXT, RuleContext, takes_context
from daskjobs.orders.rules.file import rules_in
from daskjobs.orders.rules.functions import SENTENCE, Functions, load_functions
from daskjobs.orders.rules.profiled import PROFILED, rules_of, sentences_of

FUNCTIONS = "run_orders(rules=…)"  # the name of rules that were given as functions
MOST = 40  # rules of the user's own: a row's reasons are the bits of one integer
MOST_TEXT = 500  # characters of what a rule raised, in an error message
MOST_NAMED = 20  # columns, in an error message

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ruleset:
    """The rules of a run: the name of the user's own ones in errors, and what they are; empty without any.

    ``code`` is the source of a file, or a pickle of functions (see `functions_of`), and ``sha256`` is the hash of what
    they do; ``context`` is for those that take it; ``profile`` changes the built-in ones, and ``beside`` goes along
    with a file. It is not loaded before
    ``own`` or what needs it is used, which raises ConfigError when it can't be: to make a ruleset, or to send it to a
    worker, is safe.
    """

    code: str | bytes = ""
    name: str = ""
    sha256: str = ""
    context: RuleContext | None = None
    profile: Profile | None = None
    beside: Beside = NOTHING

    @property
    def own(self) -> dict[str, Rule]:
        """Return the user's own rules, by name."""
        own = _load(self.code, self.name, self.beside) if self.name else {}
        if self.profile:
            _refuse_taken(own, (*PROFILED, *OF_LINES), self.name)
        return own

    @property
    def sentences(self) -> dict[str, str]:
        """Return the sentence of each reason, in the order of a row's reasons."""
        said = sentences_of(self.profile) if self.profile else SENTENCES
        return {**said, **{name: _sentence(name, rule) for name, rule in self.own.items()}}

    def masks(self, frame: pd.DataFrame, twice: bool = False) -> Iterator[tuple[str, Mask]]:
        """Yield each rule's name and the rows that it rejects. Raises ConfigError when one of the user's fails.

        With ``twice``, the user's run again on the later half of the rows alone, and must reject the same of them.
        """
        for name, rule in (rules_of(self.profile) if self.profile else RULES).items():
            yield name, mask(rule, frame)
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

    def _mask(self, name: str, rule: Callable[..., Any], frame: pd.DataFrame) -> Mask:
        """Return the rows that one of the user's rules rejects."""
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


def load_sentences(ruleset: Ruleset) -> dict[str, str]:
    """Return a ruleset's sentences: a task of its own, which loads the user's module before any row is checked.

    Raises ConfigError where a rule takes a context and there is none.
    """
    for name, rule in ruleset.own.items():
        if ruleset.context is None and takes_context(rule, name):
            raise ConfigError(
                f"the rule {name} of {ruleset.name} looks at the run's date, which split fixes: run `daskjobs split` "
                "again with --rules or --as-of"
            )
    return ruleset.sentences


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


def mask(rule: Rule, frame: pd.DataFrame) -> Mask:
    """Return the mask of a built-in rule; a null rejects nothing."""
    return rule(frame).to_numpy(dtype=bool, na_value=False)


def aligned(given: object, index: pd.Index) -> Mask:
    """Return the mask of rejected rows from what a user's rule returned for a frame with this index.

    A Series is aligned by its index, which must have the frame's labels, in any order. A list or an array, without an
    index, is in the order of the rows. A null rejects nothing. Raises TypeError, which says what is wrong.
    """
    if isinstance(given, pa.Array | pa.ChunkedArray):
        given = ArrowExtensionArray(given)
    if given is None:
        raise TypeError("it gave nothing (None), as a function without a return does")
    if (
        not isinstance(given, pd.Series | pd.Index | ExtensionArray | np.ndarray | list | tuple)
        or getattr(given, "ndim", 1) != 1
    ):
        raise TypeError(f"it gave {type(given).__name__}, which is no mask")
    if len(given) != len(index):
        raise TypeError(f"it gave {len(given)} values for {len(index)} rows")
    values = given if isinstance(given, pd.Series) else pd.Series(given, index)
    if values.index is not index and not (_is_number(values.index) and values.index.equals(index)):
        values = values.iloc[_places(values.index, index)]
    if isinstance(values.dtype, np.dtype | pd.BooleanDtype | pd.ArrowDtype) and is_bool_dtype(values.dtype):
        return np.array(values.to_numpy(dtype=bool, na_value=False))  # a copy, since the rule may change its own later
    rejected, some = np.zeros(len(index), bool), values.notna().to_numpy(bool)
    known = values[some].tolist()
    if not all(isinstance(value, bool | np.bool_) for value in known):
        raise TypeError(f"it gave {values.dtype}, not booleans")
    rejected[some] = known
    return rejected


def _places(given: pd.Index, index: pd.Index) -> npt.NDArray[np.intp]:
    """Return the position in a mask's index of each label of a frame's index."""
    places = given.get_indexer(index) if _is_number(given) and given.is_unique else np.full(1, -1)
    if (places < 0).any():
        raise TypeError(
            "it gave a mask whose index is not the frame's (merge, reset_index and a new Series have one of their "
            "own): keep the frame's index, or return mask.to_numpy() if its values are in the order of the rows"
        )
    return places


def _is_number(index: pd.Index) -> bool:
    """Tell whether labels are numbers, as a frame's are: pandas would also match False to 0, and an interval."""
    if isinstance(index, pd.MultiIndex):
        return False
    kind = index.infer_objects().dtype
    return is_numeric_dtype(kind) and not is_bool_dtype(kind)


@lru_cache(maxsize=4)
def _load(code: str | bytes, name: str, beside: Beside) -> dict[str, Rule]:
    said = ""
    try:
        loaded: Any = load_functions(code) if isinstance(code, bytes) else Loader(code, name, beside).load()
    except BaseException as error:  # SystemExit is no Exception
        said = f"{_line(error, name)} can't be imported: {_told(error)}{_missing(error)}"
    if said:
        raise ConfigError(f"{name}{said}")
    own: dict[str, Rule] = loaded if isinstance(code, bytes) else rules_in(loaded, code, name)
    if not own or len(own) > MOST:
        raise ConfigError(f"{name} has {len(own)} rules: from 1 to {MOST} functions without a leading underscore")
    _refuse_taken(own, SENTENCES, name)
    return own


def _refuse_taken(own: dict[str, Rule], names: Collection[str], name: str) -> None:
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


def _columns(error: BaseException, frame: pd.DataFrame) -> str:
    """Return the names of the frame's columns if an error says that one is missing, else an empty text."""
    missing = error.args[:1] if type(error) is KeyError else ()
    if type(error) is AttributeError and isinstance(error.obj, pd.DataFrame):
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


def _sentence(name: str, rule: Rule) -> str:
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
