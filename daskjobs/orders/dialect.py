"""How a CSV file is written: what separates its fields, and what quotes them.

This module imports nothing, since the command line needs it at once.
"""

from dataclasses import dataclass

QUOTINGS = RFC4180, NONE, BACKSLASH = "rfc4180", "none", "backslash"


@dataclass(frozen=True)
class Dialect:
    """The character that separates fields, and what a quote means: one of `QUOTINGS`."""

    delimiter: str = ","
    quoting: str = RFC4180


COMMAS = Dialect()


@dataclass(frozen=True)
class InputFormat:
    """What the user says of how the input is written; a text is empty where the user said nothing."""

    delimiter: str = ""
    quoting: str = RFC4180
    encoding: str = ""
    columns: str = ""
