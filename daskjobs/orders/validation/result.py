"""The results of checking rows: the ledger, the lines of the CSV files, and a partition's result.

This module imports neither pyarrow nor Dask, so that commands that only read results start quickly.
"""

from dataclasses import dataclass, field

from daskjobs.files.digest import Output, Piece
from daskjobs.files.documents import written_as

NAMED = 3  # rows that look like several rows, of which the report names the first


@dataclass(frozen=True)
class Ledger:
    """How many rows came in, were valid, and were rejected; the first number is the sum of the others."""

    rows_in: int = field(metadata=written_as("in"))
    valid: int
    rejected: int


@dataclass(frozen=True)
class LongRow:
    """A row that looks like several rows, and the number of line ends in it."""

    source: str
    row: int
    line_ends: int


@dataclass(frozen=True)
class LongRows:
    """How many rows look like several rows, the line ends in all of them, and the first few."""

    rows: int
    line_ends: int
    first: list[LongRow]


@dataclass(frozen=True)
class Lines:
    """The lines of the CSV files by kind; ``in_files`` is the sum of the next three."""

    in_files: int
    headers: int
    rows: int
    inside_quotes: int
    rows_like_several: LongRows


@dataclass
class PartitionLines:
    """The lines of a partition's CSV rows; ``in_files`` is the sum of the next two.

    ``several`` counts the rows that look like several rows, and ``in_several`` the line ends in them.
    """

    in_files: int = 0
    rows: int = 0
    inside_quotes: int = 0
    several: int = 0
    in_several: int = 0


@dataclass
class Score:
    """How often a rule found a known anomaly, rejected a row without it, and missed it."""

    true_positives: int
    false_positives: int
    false_negatives: int

    def add(self, other: "Score") -> None:
        """Add another score of the same rule."""
        self.true_positives += other.true_positives
        self.false_positives += other.false_positives
        self.false_negatives += other.false_negatives


@dataclass(frozen=True)
class PartitionResult:
    """The result of a partition.

    ``key`` identifies everything that it depends on, except ``repeats``: the pieces, by file name, that say which of
    its rows repeat an id. ``statuses`` counts the valid rows, ``reasons`` the rejected ones. ``scores`` are by anomaly.
    ``ids`` are the pieces with its ids, by bucket. Where a row is a line of an order, ``runs`` are those with the runs
    of orders' lines, and ``elsewhere`` says what was found in other runs of the same orders, as ``repeats`` does.
    """

    partition: int
    key: str
    repeats: dict[str, Piece]
    rows: Ledger
    statuses: dict[str, int]
    reasons: dict[str, int]
    lines: PartitionLines
    several: list[LongRow]
    scores: dict[str, Score]
    outputs: dict[str, Output]
    ids: list[list[Piece]]
    elsewhere: dict[str, Piece] = field(default_factory=dict)
    runs: list[list[Piece]] = field(default_factory=list)


@dataclass(frozen=True)
class Checked:
    """A partition's result, and the size and hash of its file."""

    result: PartitionResult
    file: Output
