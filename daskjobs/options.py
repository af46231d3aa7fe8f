"""Options: each is one field of a settings class, where its default, bounds and help text are written once."""

import difflib
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from daskjobs.display import shown
from daskjobs.errors import UsageError

SECONDS = (1, 30 * 86_400)  # a longer wait than a month is a mistake, and beyond 2^31 s some of Dask's timers fail
MOST_TEXT = 4096  # characters; Linux takes no longer path
TRUE, FALSE = ("1", "true", "t", "yes", "y", "on"), ("0", "false", "f", "no", "n", "off")
_OPTION = "option"
KINDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", tuple: "a text"}


@dataclass(frozen=True)
class Option:
    """How a field appears on the command line: its flag, its help text, its least and greatest value or its choices.

    Docs and flows are made of the same text (`make generate`). ``unset`` says what an empty default stands for.

    A ``path`` may hold any bytes. It becomes absolute unless it is a URI, because Dask workers run in other folders;
    or, where a ``preset`` may be named as well, unless it is a plain name, without a slash and without an ending.
    One of ``several`` may be given more than once on the command line: the values of a text are joined by commas, and
    those of a tuple are its items, which an environment variable has one a line. A ``cleanup`` reads no other options
    from the environment: with a variable that makes no sense to others, it still has to work. The value of a ``secret``
    is never shown, stored or pickled. ``read`` makes the value of a text, and of whatever else Python may be given,
    which is of the types ``python``; it raises UsageError.
    """

    flag: str
    help: str
    bounds: tuple[float, float] | None = None
    path: bool = False
    preset: bool = False
    several: bool = False
    cleanup: bool = False
    secret: bool = False
    choices: tuple[str, ...] = ()
    unset: str = ""
    read: Callable[[Any], Any] | None = None
    python: str = ""

    @property
    def variable(self) -> str:
        """The environment variable that stands for the flag: DASKJOBS_MAX_ROWS for --max-rows."""
        return f"DASKJOBS_{self.flag.removeprefix('--').replace('-', '_').upper()}"


def option(default: Any, help: str, *, flag: str = "", **said: Any) -> Any:
    """Return a dataclass field that is an `Option`; ``flag`` is needed if it differs from the field's name."""
    return field(default=default, metadata={_OPTION: Option(flag, help, **said)}, repr=not said.get("secret"))


def options(*settings: Any) -> Iterator[tuple[Field[Any], Option]]:
    """Yield the fields of settings classes, or of objects of them, that are options: each once.

    >>> @dataclass
    ... class Mine:
    ...     max_rows: int = option(7, "How many rows.", bounds=(1, 9))
    >>> [(each.name, option.flag) for each, option in options(Mine)]
    [('max_rows', '--max-rows')]
    """
    for each in {each.name: each for kind in settings for each in fields(kind)}.values():
        if found := each.metadata.get(_OPTION):
            flag = found.flag or f"--{each.name.replace('_', '-')}"
            yield each, replace(found, flag=flag)


def sections(kinds: Iterable[type]) -> dict[str, list[tuple[Field[Any], Option]]]:
    """Return the options of settings classes by the class that declares them, one of these or an ancestor.

    Each such class is a section of the help, whose title is the first line of the class's docstring.
    """
    found = dict[str, list[tuple[Field[Any], Option]]]()
    for each in dict.fromkeys(base for kind in kinds for base in reversed(kind.__mro__) if is_dataclass(base)):
        title = str(each.__doc__).partition("\n")[0].partition("(")[0].removesuffix(".")  # with python -OO, its name
        if own := [pair for pair in options(each) if pair[0].name in vars(each)]:
            found.setdefault(title, []).extend(own)
    return found


def without_secrets(settings: Any) -> dict[str, Any]:
    """Return the fields of a settings object as a pickle has them: secrets are empty."""
    return {**vars(settings), **{each.name: each.default for each, option in options(settings) if option.secret}}


def flags(*settings: Any) -> dict[str, str]:
    """Return the flag of each option by its field's name."""
    return {each.name: option.flag for each, option in options(*settings)}


def check(settings: Any) -> None:
    """Check the types and bounds of a frozen settings object; give each field its default's type, and absolute paths.

    Raises UsageError, which says what was given and what is allowed.
    """
    for each, option in options(settings):
        value: Any = getattr(settings, each.name)
        kind: Any = type(each.default)
        if option.read:
            if isinstance(value, str):
                _check_text(option, value)
            value = option.read(each.default if is_nothing(value) else value)
            if isinstance(value, str):  # of a list or a mapping
                _check_text(option, value)
        elif kind is tuple:
            value = tuple(_text(option, one) for one in (value if isinstance(value, list | tuple) else [value]))
            for one in value:
                refuse_empty(option.flag, one)
        else:
            value = _text(option, value) if kind is str else _number(option, value, kind)
        object.__setattr__(settings, each.name, value)


def is_nothing(value: object) -> bool:
    """Tell whether a value is an empty list or mapping, or the like, which stands for no value, as None does."""
    return isinstance(value, Mapping | list | tuple | set | frozenset) and not value  # an array has no truth value


def refuse_empty(flag: str, value: object) -> None:
    """Raise UsageError for an empty text given to an option: mostly, a shell variable that isn't set."""
    if isinstance(value, str) and not value:
        raise UsageError(f"{flag} is empty: give it a value, or leave it out for the default")


def keywords(
    function: str, given: Mapping[str, Any], flags: Mapping[str, str], secrets: Container[str] = ()
) -> dict[str, Any]:
    """Return the options that a caller gives a Python ``function`` by keyword, without those that are None.

    ``flags`` has the flag of each option by its name, and ``secrets`` are the names of those that are. Raises
    UsageError for an unknown option, and names the nearest one, and for an empty text.
    """
    for name, value in given.items():
        if name not in flags:
            by_flag = {flag.removeprefix("--").replace("-", "_"): name for name, flag in flags.items()}
            near = [by_flag[name]] if name in by_flag else difflib.get_close_matches(name, flags, 1)
            said = "…" if near and near[0] in secrets else shown(value_shown(value))
            hint = f"did you mean {near[0]}={said}?" if near else f"it has {', '.join(flags)}"
            raise UsageError(f"{function} has no option {name}: {hint}")
        refuse_empty(flags[name], value)
    return {name: value for name, value in given.items() if value is not None}


def wanted(option: Option, kind: type) -> str:
    """Return what an option of this kind takes, in words."""
    return "a number of seconds, like 3600" if option.bounds == SECONDS else KINDS[kind]


def _number(option: Option, value: Any, kind: type) -> Any:
    """Return a number or a boolean as Python's own type; numpy's types and decimals are accepted, too."""
    if getattr(value, "shape", None) == ():
        value = value.item()
    if kind is bool or isinstance(value, bool):
        if kind is not bool or not isinstance(value, bool):
            raise UsageError(f"{option.flag} must be {wanted(option, kind)}, got {value_shown(value)}")
        return value
    if not isinstance(value, Real | Decimal) or (isinstance(value, Decimal) and value.is_snan()):
        raise UsageError(f"{option.flag} must be {wanted(option, kind)}, got {value_shown(value)}")
    number: Any = float(value) if isinstance(value, Decimal) else value
    if option.bounds:
        least, most = option.bounds
        if not least <= number <= most:  # also refuses nan
            raise UsageError(f"{option.flag} must be between {least:,} and {most:,}, got {value_shown(value)}")
    if kind is int and not isinstance(number, Integral):
        raise UsageError(f"{option.flag} must be {wanted(option, kind)}, got {value_shown(value)}")
    return kind(number)


def _text(option: Option, value: Any) -> str:
    """Return a text, or the path that an object stands for where one is meant."""
    text = os.fspath(value) if option.path and isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise UsageError(f"{option.flag} must be {KINDS[str]}{_got(option, value_shown(value))}")
    _check_text(option, text)
    named = option.preset and isinstance(value, str) and not {"/", "."} & {*value}
    if option.path and text and "://" not in text and not named:
        return os.path.abspath(os.path.expanduser(text))
    return text


def _check_text(option: Option, text: str) -> None:
    if len(text) > MOST_TEXT:
        raise UsageError(f"{option.flag} must have at most {MOST_TEXT:,} characters, got {len(text):,}")
    if not option.path and not text.isascii() and not _is_unicode(text):
        raise UsageError(f"{option.flag} must be text in the terminal's encoding{_got(option, quoted(text))}")
    refuse_nul(option.flag, text, option.secret)
    if option.path and (text.isspace() or text != text.strip("\r\n")):
        raise UsageError(
            f"{option.flag} must be a path or a URI without a line break around it, got {quoted(text)}: in YAML, a "
            "text after `|` ends with a line break, and one after `|-` with none"
        )
    if option.choices and text and text not in option.choices:
        allowed = f"{', '.join(option.choices[:-1])} or {option.choices[-1]}"
        raise UsageError(f"{option.flag} must be {allowed}, got {quoted(text)}")


def _got(option: Option, shown: str) -> str:
    return "" if option.secret else f", got {shown}"


def refuse_nul(flag: str, text: object, secret: bool = False) -> None:
    """Raise UsageError for a text with a NUL character, which no path has, and no argument of a process."""
    if isinstance(text, str) and "\0" in text:
        raise UsageError(f"{flag} must have no NUL character{'' if secret else f', got {quoted(text)}'}")


def quoted(text: str) -> str:
    """Return a text as an error message shows it: quoted, escaped, and cut where it is long."""
    return repr(text if len(text) <= 100 else f"{text[:100]}…")


def _is_unicode(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:  # Python decodes invalid bytes to surrogates
        return False


def value_shown(value: object) -> str:
    """Return a value as an error message shows it."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"a number of {int(value.bit_length() * 0.30103) + 1:,} digits"
    return str(value) if isinstance(value, int | float) else quoted(str(value))


def from_environment(environment: Mapping[str, str], *settings: Any) -> dict[str, Any]:
    """Return the fields of settings classes that environment variables set, read as the command line reads them.

    Raises UsageError for a text that is no value of the field's type.
    """
    values = dict[str, Any]()
    for each, option in options(*settings):
        if text := environment.get(option.variable, ""):
            values[each.name] = text if option.read else _value(option, text, type(each.default))
    return values


def _value(option: Option, text: str, kind: type) -> Any:
    variable = option.variable
    if kind is bool:
        word = text.strip().lower()
        if word not in TRUE + FALSE:
            raise UsageError(f"{variable} must be true or false, got {quoted(text)}")
        return word in TRUE
    if kind is tuple:
        return lines(text)
    try:
        return kind(text if kind is str else plain(text))
    except ValueError:
        raise UsageError(f"{variable} must be {wanted(option, kind)}, got {quoted(text)}") from None


def plain(text: str) -> str:
    """Return the text of a number. Raises ValueError where Python alone reads it: 1_000, and digits of other scripts.

    >>> plain("1e3")
    '1e3'
    """
    if "_" in text or not text.isascii():
        raise ValueError(f"{quoted(text)} is no plain number")
    return text


def lines(text: str) -> tuple[str, ...]:
    """Return the values that an environment variable has, one a line; blank lines count only where there is no other.

    >>> lines("a b.csv"), lines("a.csv\\n\\nb.csv\\n")
    (('a b.csv',), ('a.csv', 'b.csv'))
    """
    return tuple(line for line in text.split("\n") if line.strip()) or (text,)
