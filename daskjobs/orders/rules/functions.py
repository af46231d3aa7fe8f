"""Rules that are given as Python functions: copied as they are now, and sent to the workers.

A copy has all that a function's code takes from outside of it: defaults, closures, globals, and the functions that it
calls. So what runs is what Python would run here, whatever has become of the file or of the notebook's cell since. What
is copied is hashed with the other inputs of a run, but not where it stands. So a function may use modules that
are installed, names of these, plain values, tables of pandas and pyarrow, and other functions of the user's that do so.
"""

import dis
import inspect
import pickle
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cache, partial
from hashlib import sha256
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from types import CellType, CodeType, EllipsisType, FunctionType, ModuleType, NoneType
from typing import Any, TypeVar

from daskjobs.errors import ConfigError, UsageError
from daskjobs.orders.rules.contract import CONTEXT, INSTEAD, clock_in, takes_context

SENTENCE = "daskjobs_sentence"  # the attribute of a function for the sentence that `rule` gives it
NAME = "daskjobs_name"  # and the name that it was given there
LEVEL = "daskjobs_level"  # and what becomes of the rows of which it is true
REJECT, WARN = LEVELS = ("reject", "warn")
FILE = "give the path of a Python file of rules instead"
# Immutable values that are completely described by their texts.
PLAIN = (
    *(NoneType, EllipsisType, bool, int, float, complex, str, bytes),
    *(Decimal, date, datetime, time, timedelta, timezone),
)
# Functions whose call doesn't give what they return.
OTHERS = {
    inspect.isgeneratorfunction: "a generator (it has a yield)",
    inspect.iscoroutinefunction: "an async def",
    inspect.isasyncgenfunction: "an async def with a yield",
}
TABLES = ("DataFrame", "Series", "Table")  # of pandas and pyarrow
MOST_BYTES = 4 << 20  # of such a table, which goes along with each task
IN_CLASSES = ("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")  # how a class's body reads a global name
ARGUMENTS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS  # the flags of a code that depend on nothing but its text

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Functions:
    """Rules that were given as functions: a pickle of them by their names, and a hash of all that they do.

    The same functions have the same hash, wherever they stand.
    """

    pickled: bytes = field(repr=False)
    sha256: str


def rule(sentence: str, *, name: str = "", level: str = REJECT, **parameters: Any) -> Callable[[F], F]:
    """Mark a function as a rule, with a sentence about the rows that it rejects.

    A rule takes a frame of orders, and returns a boolean for each of its rows: true where it rejects the row. With
    the ``level`` "warn" instead of "reject", the row stays valid, and is counted and listed as one that was warned of.

    >>> @rule("The order has more than 100 items.")
    ... def bulk(orders):
    ...     return orders["quantity"] > 100

    With ``parameters``, the rule is a copy of the function that has these values, and so may its sentence. A function
    can be several rules, each by a ``name`` of its own.

    >>> def above(orders, most):
    ...     return orders["quantity"] > most
    >>> dozen, gross = (rule("More than {most}.", name=f"above_{most}", most=most)(above) for most in (12, 144))
    >>> gross.__name__, gross.__defaults__, getattr(gross, SENTENCE)
    ('above_144', (144,), 'More than 144.')
    """
    if not isinstance(sentence, str):
        raise ConfigError(
            f'daskjobs.rule takes a sentence, got {_shown(sentence)}: write @daskjobs.rule("The order …")'
        )
    if level not in LEVELS:
        raise ConfigError(
            f'level of daskjobs.rule must be "reject" or "warn", got {_shown(level)}: an argument of a rule that is '
            "called level needs another name"
        )
    try:
        said = sentence.format(**parameters) if parameters else sentence
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"the sentence {_shown(sentence)} can't be filled with {', '.join(parameters)}: {error!r}; name each "
            "parameter in braces, like {most}, and double other braces"
        ) from error

    def mark(function: F) -> F:
        marked = _with(function, name, parameters) if name or parameters else function
        setattr(marked, SENTENCE, said)
        if level != REJECT:
            setattr(marked, LEVEL, level)
        return marked

    return mark


def _with(function: Any, name: str, parameters: dict[str, Any]) -> Any:
    """Return a copy of a function with another name, where one is given, and with values for its parameters."""
    if not isinstance(function, FunctionType):
        raise ConfigError(f"a rule with a name or with parameters must be a function, got {_shown(function)}")
    _, *others = inspect.signature(function, follow_wrapped=False).parameters.values() or (None,)
    others = [each for each in others if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    values = {each.name: None if each.name == CONTEXT else each.default for each in others} | parameters
    known = [each.name for each in others if each.name != CONTEXT]
    if parameters.keys() - {*known} or any(value is inspect.Parameter.empty for value in values.values()):
        raise ConfigError(
            f"the rule {function.__name__} can't be given {', '.join(parameters) or 'no values'}: its arguments beside "
            f"the frame are {', '.join(known) or 'none'}, and each needs a value; other decorators stand above "
            "daskjobs.rule"
        )
    keywords = {each.name: values.pop(each.name) for each in others if each.kind is each.KEYWORD_ONLY}
    copy = FunctionType(
        function.__code__, function.__globals__, name or None, tuple(values.values()), function.__closure__
    )
    copy.__kwdefaults__, copy.__module__, copy.__doc__ = keywords, function.__module__, function.__doc__
    vars(copy).update(vars(function) | ({NAME: name} if name else {}))
    if parameters:
        vars(copy).pop("__wrapped__", None)  # whose parameters have no values
    return copy


def functions_of(rules: object) -> Functions | None:
    """Return the rules that were given as functions, ready to be sent, or None if there are none.

    Raises UsageError when they are no functions at all, ConfigError, which names the function, when one can't be sent.
    """
    import cloudpickle

    named: dict[str, FunctionType] = {}
    for each in _listed(rules):
        function = _rule(each)
        if named.setdefault(function.__name__, function) is not function:
            raise ConfigError(
                f"two different functions given as rules have the name {function.__name__}: give one another, by "
                'daskjobs.rule("…", name="…")'
            )
    if not named:
        return None
    copied = _Copied({_package(each.__module__) for each in named.values()})
    try:
        copies = {name: copied.value(each, name, name) for name, each in named.items()}
        files = {name: each.__code__.co_filename for name, each in named.items()}  # which cloudpickle leaves out
        return Functions(cloudpickle.dumps((copies, files)), sha256("\n".join(copied.said).encode()).hexdigest())
    except RecursionError as error:
        raise ConfigError(f"the rules use values that lie too deep in each other to be sent; {FILE}") from error


def load_functions(pickled: bytes) -> dict[str, FunctionType]:
    """Return functions that were sent, by name; the code of each names the file in which it was written."""
    functions: dict[str, FunctionType]
    functions, files = pickle.loads(pickled)
    for name, function in functions.items():
        function.__code__ = function.__code__.replace(co_filename=files[name])
    return functions


def why_not(value: object) -> str:
    """Say why a callable can't be a rule, or return an empty text if it can.

    >>> why_not(int)
    'a class'
    """
    if isinstance(value, type):
        return "a class"
    if not callable(value):
        return f"an object of {type(value).__name__}, which can't be called"
    called = value if inspect.isroutine(value) or isinstance(value, partial) else type(value).__call__
    return next((what for is_other, what in OTHERS.items() if is_other(called)), "")


def _listed(rules: object) -> list[object]:
    if rules is None or callable(rules):
        return [] if rules is None else [rules]
    if isinstance(rules, bytes | Mapping | set | frozenset) or not isinstance(rules, Iterable):
        raise UsageError(
            f"rules must be a function, a list of functions, or the path of a Python file, got {_shown(rules)}"
        )
    return list(rules)


def _rule(function: object) -> FunctionType:
    """Return a function given as a rule. Raises ConfigError unless it is a function with a name."""
    if not isinstance(function, FunctionType):
        raise ConfigError(f"a rule must be a function, got {_shown(function)}: write it with def, or {FILE}")
    name = function.__name__
    if name == "<lambda>":
        raise ConfigError(f"a rule must be a function with a name, got a lambda: write it with def, or {FILE}")
    if not name.isidentifier() or iskeyword(name):
        raise ConfigError(
            f"a rule's name is a reason, like big_order, got {name!r}: give the function another, by "
            'daskjobs.rule("…", name="…")'
        )
    if what := why_not(function):
        raise ConfigError(f"the rule {name} is {what}, which returns no mask: write it with def and return")
    takes_context(function, name)
    return function


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


class _Copied:
    """The copies of functions and of all that they use, and what they are: a text that has nothing of their places.

    ``own`` are the packages that the rules stand in. Their functions are copied even where the package is installed: a
    worker would import its files as they are now.
    """

    def __init__(self, own: set[str]) -> None:
        self.own, self.said = own, list[str]()
        self.copies: dict[int, tuple[int, Any]] = {}  # of what can change or lead back to itself, by its id

    def function(self, function: FunctionType, rule: str) -> FunctionType:
        """Copy a function, with the globals that its code uses, its closure, its defaults and its attributes."""
        code, around = function.__code__, dict[str, Any]()
        cells = tuple(self._once(cell, CellType) for cell in function.__closure__ or ())
        values = self._once(function.__globals__, dict)
        copy = FunctionType(code, values, function.__name__, None, cells)
        self._keep(function, copy)
        # As a function of the script that was started, which cloudpickle always sends by its value.
        copy.__module__, copy.__doc__ = "__main__", function.__doc__
        self.said.append(f"function {function.__name__!r} {function.__doc__!r}")
        self._code(code)
        for name in sorted(_names(code, function.__globals__, rule)):  # others are builtins, or a NameError here too
            self.said.append(f"global {name!r}")
            values[name] = self.value(function.__globals__[name], name, rule)
        values.setdefault("__name__", function.__globals__.get("__name__"))  # which a class inside of it needs
        for name, cell, new in zip(code.co_freevars, function.__closure__ or (), cells, strict=True):
            self.said.append(f"closure {name!r}")
            with suppress(ValueError):  # it has no value yet
                around[name] = cell.cell_contents
                new.cell_contents = self.value(cell.cell_contents, name, rule)
        if asked := clock_in(code, function.__globals__, around):
            raise ConfigError(
                f"the rule {rule} asks the clock ({asked}), and a later attempt would get another answer: {INSTEAD}"
            )
        copy.__defaults__ = self.value(function.__defaults__, "its defaults", rule)
        copy.__kwdefaults__ = self.value(function.__kwdefaults__, "its defaults", rule)
        vars(copy).update(self.value(vars(function), "its attributes", rule))
        return copy

    def value(self, value: Any, name: str, rule: str) -> Any:
        """Copy the value that a function uses by a name. Raises ConfigError when it can't be sent."""
        kind = type(value)
        if _is_plain(value):
            self.said.append(_text(value))
        elif isinstance(value, ModuleType):
            if not is_installed(value.__name__):
                raise _refused(rule, name, "a module that is not installed")
            self.said.append(f"module {value.__name__}")
        elif id(value) in self.copies:
            number, copy = self.copies[id(value)]
            self.said.append(f"again {number}")
            return copy
        elif _is_importable(value) and not (kind is FunctionType and _package(value.__module__) in self.own):
            self.said.append(f"from {value.__module__} import {value.__name__}")
        elif kind is FunctionType:
            return self.function(value, rule)
        elif kind is dict:
            self.said.append(f"dict {len(value)}")
            copy = self._keep(value, {})
            copy.update((self.value(key, name, rule), self.value(each, name, rule)) for key, each in value.items())
            return copy
        elif kind in (list, set) and all(map(_is_plain, value)):
            self.said.append(_text(value))
            return self._keep(value, kind(value))
        elif kind is list:
            self.said.append(f"list {len(value)}")
            copy = self._keep(value, [])
            copy.extend(self.value(each, name, rule) for each in value)
            return copy
        elif kind is tuple:
            self.said.append(f"tuple {len(value)}")
            return tuple(self.value(each, name, rule) for each in value)
        elif kind.__name__ in TABLES and _package(kind.__module__) in ("pandas", "pyarrow"):
            self.said.append(_table(value, name, rule))
            return self._keep(value, value if kind.__name__ == "Table" else value.copy())  # a Table never changes
        else:
            raise _refused(rule, name, f"an object of {kind.__name__}")
        return value

    def _code(self, code: CodeType) -> None:
        """Say what a code does, without its file, its lines, and the function that it stands in."""
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ARGUMENTS
        names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
        self.said.append(f"code {code.co_name!r} {counts} {names} {code.co_code.hex()} {code.co_exceptiontable.hex()}")
        for each in code.co_consts:
            if isinstance(each, CodeType):
                self._code(each)
            else:
                self.said.append(_text(each))

    def _keep(self, value: object, copy: Any) -> Any:
        self.copies[id(value)] = len(self.copies), copy
        return copy

    def _once(self, value: object, kind: type) -> Any:
        """Return the copy, at first empty, of a closure's cell or of a module's globals, which functions may share."""
        return self.copies[id(value)][1] if id(value) in self.copies else self._keep(value, kind())


def _refused(rule: str, name: str, what: str) -> ConfigError:
    return ConfigError(
        f"the rule {rule} can't be given as a function, because it uses {name}, {what}: a rule may use installed "
        f"modules, plain values, tables of pandas and pyarrow, and functions that do the same; or {FILE}"
    )


def _is_plain(value: object) -> bool:
    """Tell whether a value is immutable, and `_text` describes it completely."""
    if type(value) in (tuple, frozenset):
        return all(map(_is_plain, value))  # type: ignore[call-overload]
    return isinstance(value, re.Pattern) or (
        type(value) in PLAIN and type(getattr(value, "tzinfo", None)) in (NoneType, timezone)
    )


def _text(value: Any) -> str:
    """Return the text of a plain value, or of a list or set of them: always the same for the same value."""
    if isinstance(value, tuple | list | set | frozenset):
        items = [_text(each) for each in value]
        return f"{type(value).__name__} [{', '.join(items if isinstance(value, tuple | list) else sorted(items))}]"
    if isinstance(value, re.Pattern):
        return f"pattern {value.pattern!r} {value.flags}"
    return f"{type(value).__name__} {value!r}"


def _table(value: Any, name: str, rule: str) -> str:
    """Return a text that is the same for the same table. Raises ConfigError when it is too large to be sent."""
    import pandas as pd
    import pyarrow as pa

    kind, said = type(value).__name__, ""
    try:
        if isinstance(value, pa.Table):
            table = value
        else:
            frame = value.to_frame() if isinstance(value, pd.Series) else value
            names = [*map(repr, frame.columns), *map(repr, frame.index.names), repr(getattr(value, "name", None))]
            said = f"{names} {[*map(str, frame.dtypes)]} {type(frame.index).__name__}"
            table = pa.Table.from_pandas(frame, preserve_index=True).replace_schema_metadata(None)
        if table.nbytes > MOST_BYTES:
            raise _refused(rule, name, f"a {kind} of more than {MOST_BYTES >> 20} MiB, which each task would be sent")
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table.combine_chunks())
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        what = f"a {kind} with a column that has no one type ({' '.join(str(error).split())})"
        raise _refused(rule, name, what) from error
    return f"{kind} {said} {sha256(sink.getvalue()).hexdigest()}"


def _names(code: CodeType, outside: dict[str, Any], rule: str) -> set[str]:
    """Return those of the names ``outside`` that a code, or one within it, uses.

    Raises ConfigError for what can't be sent: what a class within it uses, and an import of a module of the user's own.
    """
    names = set[str]()
    for each in dis.get_instructions(code):
        if each.opname.endswith("_GLOBAL") and each.argval in outside:
            names.add(each.argval)
        elif each.opname in IN_CLASSES and each.argval != "__name__" and each.argval in outside:
            raise _refused(rule, each.argval, "a name outside of a class that is inside of a function")
        elif each.opname == "IMPORT_NAME" and not is_installed(each.argval):
            raise _refused(rule, each.argval or ".", "a module that is not installed")
    return names.union(*(_names(each, outside, rule) for each in code.co_consts if isinstance(each, CodeType)))


def _package(module: object) -> str:
    return str(module).partition(".")[0]


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Return the names of the distributions that each package comes from, which takes long to look up."""
    from importlib.metadata import packages_distributions

    return packages_distributions()


@cache
def is_installed(module: str) -> bool:
    """Tell whether a module is Python's or a package's, and not a user's file with the same name."""
    from importlib.metadata import distribution

    package = _package(module)
    if package == "daskjobs":
        return True
    distributions = [distribution(name) for name in _distributions().get(package, [])]
    if any('"editable": true' in (each.read_text("direct_url.json") or "") for each in distributions):
        return True
    folders = [str(each.locate_file("")) for each in distributions]
    if package in sys.stdlib_module_names:
        folders += [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    file = None
    with suppress(ValueError):  # a module without a file
        if folders and (spec := find_spec(package)) and spec.has_location:
            file = spec.origin
    return bool(folders) and (
        not file or any(Path(file).resolve().is_relative_to(Path(each).resolve()) for each in folders)
    )


def _is_importable(value: object) -> bool:
    """Tell whether a class or function can be imported, by its name, from a module that workers have too."""
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not is_installed(module):
        return False
    return getattr(sys.modules.get(module), name, None) is value
