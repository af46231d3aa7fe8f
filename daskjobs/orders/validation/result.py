"""The results of checking rows: the ledger, the lines of the CSV files, and a partition's result.

This module imports neither pyarrow nor Dask, so that commands that only read results start quickly.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from daskjobs.files.digest import Output, Piece
from daskjobs.files.documents import written_as

NAMED = 3  # rows that look like several rows, of which the report names the first
SEEN_BEFORE = "seen_before"  # the reason of rows whose order an earlier run of --known has counted
# How a row compares with that of an earlier run that has its order: the same values; other ones, where the first one
# counts; older, as old, or newer, where the newest one does; or a line of an order that was counted.
KINDS = SAME, OTHER, OLDER, TIED, NEWER, LINE = ("same", "other", "older", "tied", "newer", "line")


@dataclass(frozen=True)
class Ledger:
    """How many rows came in, were valid, were rejected, and were furniture; the first is the sum of the others."""

    rows_in: int = field(metadata=written_as("in"))
    valid: int
    rejected: int
    furniture: int = field(default=0, kw_only=True)

    @property
    def told(self) -> int:
        """The rows that became something: the number that ``rows_in`` must be."""
        return self.valid + self.rejected + self.furniture


@dataclass(frozen=True)
class Amounts:
    """What paid rows add up to where a profile says that a row may be no whole order.

    ``gross`` is the sum of what was paid, and ``refunded`` of what was given back, as texts with two decimals.
    """

    orders: int = 0
    gross: str = "0.00"
    refunded: str = "0.00"

    def __add__(self, other: "Amounts") -> "Amounts":
        gross, refunded = Decimal(self.gross) + Decimal(other.gross), Decimal(self.refunded) + Decimal(other.refunded)
        return Amounts(self.orders + other.orders, str(gross), str(refunded))

    @property
    def net(self) -> Decimal:
        """The revenue: gross less what was given back."""
        return Decimal(self.gross) - Decimal(self.refunded)


@dataclass(frozen=True)
class SourceRow:
    """A row of a file of the input, counted from 1."""

    source: str
    row: int


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
    """The lines of the CSV files by kind; ``in_files`` is the sum of the next three, and of ``outside``.

    ``outside`` are lines before and after the rows: those that a profile leaves out, and blank ones above a header.
    """

    in_files: int
    headers: int
    rows: int
    inside_quotes: int
    rows_like_several: LongRows
    outside: int = 0


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
class UnreadRows:
    """The rows of a file in a partition that understood none of them, and their reasons."""

    rows: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class UnreadFiles:
    """How many files have no row that was understood, the first few of them, and the reasons of their rows."""

    files: int
    first: list[str]
    reasons: dict[str, int]


@dataclass(frozen=True)
class Warned:
    """The valid rows that rules warn of: their number, that by rule, and the first few of each rule."""

    rows: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[SourceRow]] = field(default_factory=dict)

    def __add__(self, other: "Warned") -> "Warned":
        names = {**self.reasons, **other.reasons}
        return Warned(
            self.rows + other.rows,
            {name: self.reasons.get(name, 0) + other.reasons.get(name, 0) for name in names},
            {name: [*self.first.get(name, []), *other.first.get(name, [])][:NAMED] for name in names},
        )


@dataclass(frozen=True)
class Received:
    """What was received of a file, or of all: ``rows`` without furniture, and the ``sums`` of the columns asked for.

    Of rows whose amount can't be read, ``unread`` has the number by column, and ``first`` the first few.
    """

    rows: int = 0
    sums: dict[str, str] = field(default_factory=dict)
    unread: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[SourceRow]] = field(default_factory=dict)

    def __add__(self, other: "Received") -> "Received":
        sums, unread, first = {**self.sums}, {**self.unread}, {**self.first}
        for name, text in other.sums.items():
            sums[name] = str(Decimal(sums.get(name, "0.00")) + Decimal(text))
        for name, count in other.unread.items():
            unread[name] = unread.get(name, 0) + count
            first[name] = [*first.get(name, []), *other.first.get(name, [])][:NAMED]
        return Received(self.rows + other.rows, sums, unread, first)


@dataclass(frozen=True)
class Ids:
    """What a partition says of the ids of its rows that pass every rule, in the order of the rows.

    They go from ``least`` to ``most``, and are ``ascending`` if each one is above the one before; None stands for an id
    that is too long to be named. ``buckets`` are the pieces of the file that has them, by bucket. If it has none,
    ``unpaid`` are those that say which of the ids are of unpaid.parquet; the others are of paid.parquet.
    """

    rows: int
    ascending: bool
    least: str | None
    most: str | None
    buckets: list[list[Piece]]
    unpaid: list[Piece]


@dataclass(frozen=True)
class SeenRow:
    """A row of this run whose order an earlier run has counted, and where that stands.

    ``kind`` is one of `KINDS`, and ``columns`` are those that differ. The ``earlier_row`` and its source are null where
    the earlier run doesn't keep what says it.
    """

    source: str
    row: int
    order_id: str
    kind: str
    columns: list[str]
    run: str
    earlier_source: str | None
    earlier_row: int | None


@dataclass(frozen=True)
class SeenBefore:
    """What became of orders that earlier runs have counted.

    ``runs`` are so many earlier runs that were looked at, and ``rows`` those that were rejected as ``seen_before``: the
    ``same`` ones again, and those with ``other`` values, among them ``tied`` ones that are as old as what they differ
    from; lines of orders are of neither kind. ``columns`` counts in how many of the other ones each column differs.
    ``first`` are the first few of each kind. ``corrections`` are rows of earlier runs in whose place a newer one
    counts, and what that takes back: ``corrected_orders`` and ``corrected_revenue``, as texts with a sign.
    """

    runs: int
    rows: int
    same: int
    other: int
    tied: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    first: list[SeenRow] = field(default_factory=list)
    corrections: int = 0
    corrected_orders: str = ""
    corrected_revenue: str = ""

    @property
    def taken_back(self) -> dict[str, Any]:
        """What the run takes back of earlier ones, by the names of its fields."""
        return {name: getattr(self, name) for name in ("corrections", "corrected_orders", "corrected_revenue")}


@dataclass(frozen=True)
class PartitionResult:
    """The result of a partition.

    ``key`` identifies everything that it depends on, except ``repeats``: the pieces, by file name, that say which of
    its rows repeat an id. ``statuses`` counts the valid rows, ``reasons`` the rejected ones. ``scores`` are by anomaly.
    ``unread`` are the files of which it understood no row, by their place in the input. Only a profile brings the rest:
    ``currencies`` counts the valid rows that are paid in each currency, and ``amounts`` are the sums of the paid ones.
    Where a row is a line of an order, ``runs`` are the pieces with the runs of orders' lines, and ``elsewhere`` says
    what was found in other runs of the same orders, as ``repeats`` does. ``seen`` says in the same way what earlier
    runs of the series have counted. ``together`` counts rejected rows by all of their reasons, as `Together` does.
    Where rules warn, ``warned`` says of which of its rows. Where the sender says what was sent, ``received`` says what
    came in, by the place of a file in the input, and under an empty text in all, and ``received_ids`` are the pieces
    with all order ids. ``signs`` counts the totals and refunds of valid rows that are paid by the currency that
    these are written with, where they may be written with several.
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
    ids: Ids
    unread: dict[str, UnreadRows] = field(default_factory=dict)
    currencies: dict[str, int] = field(default_factory=dict)
    amounts: Amounts | None = None
    elsewhere: dict[str, Piece] = field(default_factory=dict)
    runs: list[list[Piece]] = field(default_factory=list)
    seen: dict[str, Piece] = field(default_factory=dict)
    together: dict[str, int] = field(default_factory=dict)
    warned: Warned | None = None
    received: dict[str, Received] = field(default_factory=dict)
    received_ids: list[list[Piece]] = field(default_factory=list)
    signs: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One of the first rejected rows with some reason: its number in its file, the file, and how its text begins."""

    row: int
    source: str
    text: str


@dataclass(frozen=True)
class Checked:
    """A partition's result, and the size and hash of its file."""

    result: PartitionResult
    file: Output
