"""The dialect of a CSV file: which character separates its fields, and what quotes mean.

This module imports nothing slow, since the command line needs it at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daskjobs.errors import UsageError
from daskjobs.options import value_shown

QUOTINGS = RFC4180, NONE, BACKSLASH = "rfc4180", "none", "backslash"
SPARK = "spark"  # in a profile alone


@dataclass(frozen=True)
class Dialect:
    """The character that separates fields, and what a quote means: one of `QUOTINGS`, or `SPARK`.

    ``quote`` is the character that is a quote; if it is empty, none is.
    """

    delimiter: str = ","
    quoting: str = RFC4180
    quote: str = '"'


COMMAS = Dialect()


def read_columns(value: Any) -> str:
    """Return what --columns says as one text: ``value`` is a text, several, or a mapping from our names to the file's.

    Raises UsageError for another one.

    >>> read_columns({"price": "unit_price", "status": "state"})
    'price=unit_price,status=state'
    """
    return _read_names("--columns", value, "price=unit_price,status=state")


def read_statuses(value: Any) -> str:
    """Return what --statuses says as one text, as `read_columns` does; each of our names may stand for several.

    >>> read_statuses({"success": ["paid", "complete"], "cancelled": "canceled"})
    'success=paid,success=complete,cancelled=canceled'
    """
    return _read_names("--statuses", value, "success=paid,cancelled=canceled")


def _read_names(flag: str, value: Any, example: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        pairs = [
            (ours, each)
            for ours, theirs in value.items()
            for each in (theirs if isinstance(theirs, list | tuple) else [theirs])
        ]
        for name in (name for pair in pairs for name in pair):
            if not isinstance(name, str) or "," in name:
                raise UsageError(
                    f"{flag} must have names without a comma, got {value_shown(name)}: name it in a profile"
                )
        return ",".join(f"{ours}={theirs}" for ours, theirs in pairs)
    if isinstance(value, list | tuple):
        return ",".join(filter(None, (_read_names(flag, each, example) for each in value)))
    raise UsageError(f"{flag} must be pairs like {example}, as a text, several or a mapping, got {value_shown(value)}")


@dataclass(frozen=True)
class InputFormat:
    """What the user says about the input's format; empty texts where the user said nothing."""

    delimiter: str = ""
    quoting: str = RFC4180
    encoding: str = ""
    columns: str = ""
