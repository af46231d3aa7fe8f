"""The dialect of a CSV file: which character separates its fields, and what quotes mean.

This module imports nothing slow, since the command line needs it at once.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class InputFormat:
    """What the user says about the input's format; empty texts where the user said nothing."""

    delimiter: str = ""
    quoting: str = RFC4180
    encoding: str = ""
    columns: str = ""
