"""What the formats have in common: rows come in blocks of texts, and columns go by the orders' names."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from daskjobs.errors import InputError, UsageError
from daskjobs.orders import COLUMNS, STATUSES
from daskjobs.sources.rows import Ints

_FIELD_NAME = re.compile(r"[\w .#%()/-]{0,60}")
Source = dict[str, Any]  # a file as split/partitions.json describes it
Range = dict[str, Any]  # consecutive rows of a file, which belong to one partition


@dataclass(frozen=True)
class Block:
    """Some ``rows`` of a source, one after another.

    ``texts`` holds the fields of those that could be read, ``kept`` where each of these is in the block, and
    ``malformed`` why the others aren't there; ``raw`` gives the text of rows as it stands in the source. Of a CSV file,
    ``inside`` is the number of line ends that stand in fields, and ``several`` has the rows that look like several
    ones, because at least two of their lines have as many fields as the header, and how many line ends each holds.
    """

    rows: int
    texts: pa.Table
    kept: Ints
    malformed: dict[int, str]
    raw: Callable[[Ints], pa.Array]
    inside: int = 0
    several: dict[int, int] = field(default_factory=dict)


def mapping(text: str) -> dict[str, str]:
    """Return which of the user's columns stands for which of ours.

    >>> mapping("price=unit_price,status=state")
    {'price': 'unit_price', 'status': 'state'}
    """
    pairs = _pairs(text)
    found = dict(pairs)
    if len(found) < len(pairs) or not all(ours in COLUMNS and theirs for ours, theirs in pairs):
        raise UsageError(
            f"--columns is {text!r}; give pairs like price=unit_price,status=state, each of our names once: "
            f"{', '.join(COLUMNS)}"
        )
    return found


def statuses(text: str) -> dict[str, str]:
    """Return which of our statuses each of the user's stands for.

    >>> statuses("success=paid,success=complete,cancelled=canceled")
    {'paid': 'success', 'complete': 'success', 'canceled': 'cancelled'}
    """
    pairs = _pairs(text)
    found = {theirs: ours for ours, theirs in pairs}
    if len(found) < len(set(pairs)) or not all(ours in STATUSES and theirs for ours, theirs in pairs):
        raise UsageError(
            f"--statuses is {text!r}; give pairs like success=paid,cancelled=canceled: one of our statuses "
            f"({', '.join(STATUSES)}), then the file's, each of which can stand for one of ours"
        )
    return found


def _pairs(text: str) -> list[tuple[str, str]]:
    """Return the sides of each pair in text like 'a=b, c=d'."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    return [(ours.strip(), theirs.strip()) for ours, _, theirs in pairs]


def renamed(header: list[str], wanted: dict[str, str], name: str) -> list[str]:
    """Return a file's columns under our names; one of theirs that a mapping displaces gets '_original' at its end.

    A column without a name, as Excel writes them at the right, is called by its number: column_11.

    Raises InputError when a column is missing, or stands there twice.
    """
    back = {theirs: ours for ours, theirs in wanted.items()}
    named = [column or f"column_{number}" for number, column in enumerate(header, 1)]
    columns = [back.get(column, f"{column}_original" if column in wanted else column) for column in named]
    missing = [wanted.get(column, column) for column in COLUMNS if column not in columns]
    if missing:
        raise InputError(
            f"{name} has no column {', '.join(missing)}: its first row {_first_row(header, wanted)}; it must name "
            f"{', '.join(COLUMNS)}, or --columns say which of its columns these are (price=unit_price)"
        )
    twice = [column for column, times in Counter(columns).items() if times > 1]
    if twice:
        raise InputError(f"{name} has the column {', '.join(twice)} more than once; give each column a name of its own")
    return columns


def _first_row(header: list[str], wanted: dict[str, str]) -> str:
    """Say what a file begins with. It is quoted only where it looks like a header: else it may be anybody's secrets."""
    known = {wanted.get(column, column) for column in COLUMNS}
    if known.isdisjoint(header):
        return "has none of these names"
    if not all(_FIELD_NAME.fullmatch(column) for column in header):
        return "has some of these names, and others that are no names of columns"
    return f"is {', '.join(header)[:300]!r}"
