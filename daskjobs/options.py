"""Options: each is one field of a settings class, where its default, bounds and help text are written once."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from daskjobs.errors import UsageError

SECONDS = (1, 30 * 86_400)  # a longer wait than a month is a mistake, and beyond 2^31 s some of Dask's timers fail
MOST_TEXT = 4096  # characters; Linux takes no longer path
TRUE, FALSE = ("1", "true", "t", "yes", "y", "on"), ("0", "false", "f", "no", "n", "off")
_OPTION = "option"
KINDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}


@dataclass(frozen=True)
class Option:
    """How a field appears on the command line: its flag, its help text, and its least and greatest value.

    A ``path`` may hold any bytes. It becomes absolute unless it is a URI, because Dask workers run in other folders.
    """

    flag: str
    help: str
    bounds: tuple[float, float] | None
    path: bool

    @property
    def variable(self) -> str:
        """The environment variable that stands for the flag: DASKJOBS_MAX_ROWS for --max-rows."""
        return f"DASKJOBS_{self.flag.removeprefix('--').replace('-', '_').upper()}"


def option(
    default: Any, help: str, *, flag: str = "", bounds: tuple[float, float] | None = None, path: bool = False
) -> Any:
    """Return a dataclass field that is an option; ``flag`` is needed where it differs from the field's name."""
    return field(default=default, metadata={_OPTION: Option(flag, help, bounds, path)})


def options(settings: Any) -> Iterator[tuple[Field[Any], Option]]:
    """Yield the fields of a settings class, or of an object of it, that are options.

    >>> @dataclass
    ... class Mine:
    ...     max_rows: int = option(7, "How many rows.", bounds=(1, 9))
    >>> [(each.name, option.flag) for each, option in options(Mine)]
    [('max_rows', '--max-rows')]
    """
    for each in fields(settings):
        if found := each.metadata.get(_OPTION):
            flag = found.flag or f"--{each.name.replace('_', '-')}"
            yield each, Option(flag, found.help, found.bounds, found.path)


def flag(settings: Any, name: str) -> str:
    """Return the flag of a field: ``--max-rejected`` for ``max_rejected``."""
    return next(option.flag for each, option in options(settings) if each.name == name)


def check(settings: Any) -> None:
    """Check the types and bounds of a frozen settings object, and make its paths absolute.

    Raises UsageError, which says what was given and what is allowed.
    """
    for each, option in options(settings):
        value: Any = getattr(settings, each.name)
        kind: Any = type(each.default)
        if not isinstance(value, int | float if kind in (int, float) else kind):
            wanted = "a number of seconds, like 3600" if option.bounds == SECONDS else KINDS[kind]
            raise UsageError(f"{option.flag} must be {wanted}, got {_shown(value)}")
        if option.bounds:
            least, most = option.bounds
            if not least <= value <= most:  # also refuses nan
                raise UsageError(f"{option.flag} must be between {least:,} and {most:,}, got {_shown(value)}")
            if not isinstance(value, int) and kind is int:
                raise UsageError(f"{option.flag} must be {KINDS[kind]}, got {_shown(value)}")
        if isinstance(value, str):
            _check_text(option, value)
            if option.path and value and "://" not in value:
                object.__setattr__(settings, each.name, os.path.abspath(os.path.expanduser(value)))


def _check_text(option: Option, text: str) -> None:
    if len(text) > MOST_TEXT:
        raise UsageError(f"{option.flag} must have at most {MOST_TEXT:,} characters, got {len(text):,}")
    if not option.path and not text.isascii() and not _is_unicode(text):
        raise UsageError(f"{option.flag} must be text in the terminal's encoding, got {quoted(text)}")
    if "\0" in text:
        raise UsageError(f"{option.flag} must have no NUL character, got {quoted(text)}")


def quoted(text: str) -> str:
    """Return a text as an error message shows it: quoted, escaped, and cut where it is long."""
    return repr(text if len(text) <= 100 else f"{text[:100]}…")


def _is_unicode(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:  # Python decodes bytes that are no text to surrogates
        return False


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"a number of {int(value.bit_length() * 0.30103) + 1:,} digits"
    return str(value) if isinstance(value, int | float) else quoted(str(value))


def from_environment(settings: Any, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a settings class that environment variables set, read as the command line reads them.

    Raises UsageError for a text that is no value of the field's type.
    """
    values = dict[str, Any]()
    for each, option in options(settings):
        if text := environment.get(option.variable, ""):
            values[each.name] = _value(option, text, type(each.default))
    return values


def _value(option: Option, text: str, kind: type) -> Any:
    variable = option.variable
    if kind is bool:
        word = text.strip().lower()
        if word not in TRUE + FALSE:
            raise UsageError(f"{variable} must be true or false, got {quoted(text)}")
        return word in TRUE
    try:
        return kind(text)
    except ValueError:
        wanted = "a number of seconds, like 3600" if option.bounds == SECONDS else KINDS[kind]
        raise UsageError(f"{variable} must be {wanted}, got {quoted(text)}") from None
