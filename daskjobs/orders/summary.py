"""Sums of orders and revenue by day, region and product."""

from decimal import Context, Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.files.digest import Output
from daskjobs.files.storage import Storage
from daskjobs.files.tables import column, row_groups
from daskjobs.orders.money import cents_of, decimals_of
from daskjobs.orders.profiles import Profile
from daskjobs.orders.schema import COUNTS
from daskjobs.orders.validation.result import Amounts

DIMENSIONS = ("day", "region", "product")
REVENUE = pa.decimal128(38, 2)
SCHEMA = pa.schema([("dimension", pa.string()), ("value", pa.string()), ("orders", pa.int64()), ("revenue", REVENUE)])
MOST_DAYS = 1 << 16  # of which each has a place of its own
MOST_CENTS = 10**18 - 1  # as many as a decimal of cents holds
EXACT = Context(prec=REVENUE.precision)
LEAST_LINES = 1 << 16  # collected before they are added up


Ints = npt.NDArray[np.int64]


def dimensions(profile: Profile | None) -> tuple[str, ...]:
    """Return what sums are by: not by columns that a profile calls absent, nor by product where it tells no total."""
    if not profile:
        return DIMENSIONS
    without = {name for name, each in profile.columns.items() if each.absent}
    return tuple(name for name in DIMENSIONS if name not in without and not (name == "product" and own_total(profile)))


def own_total(profile: Profile) -> bool:
    """Tell whether the file has totals of orders, and not those of their lines."""
    return profile.by_line and bool(profile.order.total)


def summarize(orders: pa.Table, profile: Profile | None = None) -> pa.Table:
    """Return the orders and revenue of each day, region and product, in `SCHEMA`."""
    if profile and profile.counts:
        counts = column(orders, "orders").to_numpy()
        cents = cents_of(column(orders, "gross")) - cents_of(column(orders, "refunded"))
    else:
        counts, cents = None, cents_of(column(orders, "total_amount"))
    parts = []
    for dimension in dimensions(profile):
        values, codes = _days(orders) if dimension == "day" else _kinds(column(orders, dimension))
        rows = np.bincount(codes, minlength=len(values))
        some = np.flatnonzero(rows)
        columns = [
            pa.repeat(dimension, len(some)),
            values.take(pa.array(some)).cast(pa.string()),
            pa.array((rows if counts is None else _sums(codes, counts, len(values)))[some]),
            _revenue(codes, cents, len(values)).take(pa.array(some)),
        ]
        parts.append(pa.table(columns, schema=SCHEMA))
    return pa.concat_tables(parts)


def _days(orders: pa.Table) -> tuple[pa.Array, Ints]:
    """Return some days, and which of them is that of each row."""
    days = column(orders, "timestamp").cast(pa.date32()).cast(pa.int32()).to_numpy()
    first, last = (int(days.min()), int(days.max())) if len(days) else (0, -1)
    if last - first < MOST_DAYS:
        known, codes = np.arange(first, last + 1, dtype=np.int32), days - first
    else:
        known, codes = np.unique(days, return_inverse=True)
    return pa.array(known).cast(pa.date32()), codes


def _kinds(texts: pa.Array) -> tuple[pa.Array, Ints]:
    """Return some texts, of which each is there once, and which of them is that of each row."""
    coded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode("encode")
    return coded.dictionary, coded.indices.to_numpy()


def _sums(codes: Ints, values: Ints, count: int) -> Ints:
    sums = np.zeros(count, np.int64)
    np.add.at(sums, codes, values)
    return sums


def _revenue(codes: Ints, cents: Ints, count: int) -> pa.Array:
    """Return the sums of cents by code, which are exact however large they are."""
    if len(cents) * max(int(cents.max(initial=0)), -int(cents.min(initial=0))) <= MOST_CENTS:
        return decimals_of(_sums(codes, cents, count)).cast(REVENUE)
    high, low = _sums(codes, cents >> 32, count).tolist(), _sums(codes, cents & 0xFFFFFFFF, count).tolist()
    sums = ((over << 32) + under for over, under in zip(high, low, strict=True))
    return pa.array([Decimal(each).scaleb(-2, EXACT) for each in sums], REVENUE)


class Total:
    """Adds up a sequence of summaries, in time proportional to their lines.

    Summaries are collected until they have as many lines as the sums so far, and then added: adding each one at once
    would take quadratic time.
    """

    def __init__(self) -> None:
        self._sums, self._held, self._lines = SCHEMA.empty_table(), list[pa.Table](), 0

    def add(self, summary: pa.Table) -> None:
        """Add a summary, in `SCHEMA`."""
        self._held.append(summary)
        self._lines += len(summary)
        if self._lines > max(LEAST_LINES, len(self._sums)):
            self._add_up()

    def sums(self) -> pa.Table:
        """Return the sums of all summaries, sorted by dimension and value."""
        self._add_up()
        ordered = []
        for dimension in sorted(DIMENSIONS):  # one at a time: sorting by two columns takes twice as long
            lines = of(self._sums, dimension)
            ordered.append(lines.take(pc.sort_indices(column(lines, "value"))))
        return pa.concat_tables(ordered)

    def _add_up(self) -> None:
        sums = (
            pa.concat_tables([self._sums, *self._held])
            .group_by(["dimension", "value"], use_threads=False)
            .aggregate([("orders", "sum"), ("revenue", "sum")])
        )
        self._sums = pa.table(
            [sums["dimension"], sums["value"], sums["orders_sum"], sums["revenue_sum"].cast(REVENUE)], schema=SCHEMA
        )
        self._held.clear()
        self._lines = 0


def of(summary: pa.Table, dimension: str) -> pa.Table:
    """Return the lines of one dimension."""
    return summary.filter(pc.equal(summary["dimension"], dimension))


def read(storage: Storage, files: dict[str, Output]) -> pa.Table:
    """Return the sums of the summaries in ``files``, each of which must hold what is said of it."""
    total = Total()
    for name, vouched in files.items():
        for lines in row_groups(storage, name, vouched):
            total.add(lines)
    return total.sums()


def orders_and_cents(summary: pa.Table) -> tuple[int, int]:
    """Return the number of all orders and their revenue in cents."""
    days = of(summary, "day")
    return pc.sum(days["orders"]).as_py() or 0, int((pc.sum(days["revenue"]).as_py() or 0) * 100)


def most(lines: pa.Table, count: int) -> pa.Table:
    """Return the ``count`` lines with the most revenue, in descending order; ties are ordered by value."""
    return lines.take(pc.select_k_unstable(lines, count, [("revenue", "descending"), ("value", "ascending")]))


def by_period(days: pa.Table, count: int) -> tuple[str, pa.Table]:
    """Return the shortest period, "day", "month", "year" or "decade", with at most ``count`` lines, and their sums.

    ``days`` are sorted. The value of a line is the first day of its period. Decades may be more than ``count``.
    """
    if len(days) <= count:
        return "day", days
    for period, length, first in (("month", 7, "-01"), ("year", 4, "-01-01"), ("decade", 3, "0-01-01")):
        starts = pc.binary_join_element_wise(pc.utf8_slice_codeunits(days["value"], 0, length), first, "")
        total = Total()
        total.add(days.set_column(1, "value", starts))
        summed = of(total.sums(), "day")
        if len(summed) <= count or period == "decade":
            return period, summed
    raise AssertionError("decades are the last")


def counts_of(texts: pa.Array) -> dict[str, int]:
    """Return how often each text is there."""
    return {count["values"]: count["counts"] for count in texts.value_counts().to_pylist()}


def added(paid: pa.Table) -> Amounts:
    """Return what paid rows with the columns of `COUNTS` add up to."""
    orders, gross, refunded = (pc.sum(paid[name]).as_py() or 0 for name in COUNTS)
    return Amounts(orders, f"{gross:.2f}", f"{refunded:.2f}")
