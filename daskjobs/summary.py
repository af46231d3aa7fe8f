"""Orders and revenue by day, region and product: sums that add up, of a block, a partition, or all."""

import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.tables import column

DIMENSIONS = ("day", "region", "product")
REVENUE = pa.decimal128(38, 2)
SCHEMA = pa.schema([("dimension", pa.string()), ("value", pa.string()), ("orders", pa.int64()), ("revenue", REVENUE)])
LEAST_LINES = 1 << 16  # that are added to the sums at a time


def summarize(orders: pa.Table) -> pa.Table:
    """Return the orders and revenue of each day, region and product, in `SCHEMA`."""
    days = orders["timestamp"].cast(pa.date32())
    parts = []
    for dimension in DIMENSIONS:
        keys = days if dimension == "day" else orders[dimension]
        sums = (
            pa.table({"value": keys, "total": orders["total_amount"]})
            .group_by("value", use_threads=False)
            .aggregate([("total", "count"), ("total", "sum")])
        )
        columns = [
            pa.repeat(dimension, len(sums)),
            sums["value"].cast(pa.string()),
            sums["total_count"],
            sums["total_sum"].cast(REVENUE),
        ]
        parts.append(pa.table(columns, schema=SCHEMA))
    return pa.concat_tables(parts)


class Total:
    """Adds up summaries that come one after another, in time that grows with their lines and not with their square.

    What has come is held until it has as many lines as the sums so far, and only then added to them.
    """

    def __init__(self) -> None:
        self._sums, self._come = SCHEMA.empty_table(), list[pa.Table]()

    def add(self, summary: pa.Table) -> None:
        """Take a summary, in `SCHEMA`."""
        self._come.append(summary)
        if sum(map(len, self._come)) > max(LEAST_LINES, len(self._sums)):
            self._add_up()

    def sums(self) -> pa.Table:
        """Return the sums of all that has come, sorted by dimension and value."""
        self._add_up()
        ordered = []
        for dimension in sorted(DIMENSIONS):  # each by itself: to sort by two columns takes twice as long
            lines = of(self._sums, dimension)
            ordered.append(lines.take(pc.sort_indices(column(lines, "value"))))
        return pa.concat_tables(ordered)

    def _add_up(self) -> None:
        sums = (
            pa.concat_tables([self._sums, *self._come])
            .group_by(["dimension", "value"], use_threads=False)
            .aggregate([("orders", "sum"), ("revenue", "sum")])
        )
        self._sums = pa.table(
            [sums["dimension"], sums["value"], sums["orders_sum"], sums["revenue_sum"].cast(REVENUE)], schema=SCHEMA
        )
        self._come.clear()


def of(summary: pa.Table, dimension: str) -> pa.Table:
    """Return the lines of one dimension."""
    return summary.filter(pc.equal(summary["dimension"], dimension))


def most(lines: pa.Table, count: int) -> pa.Table:
    """Return the ``count`` lines with the most revenue, the first of them first; of equal ones, by their value."""
    return lines.take(pc.select_k_unstable(lines, count, [("revenue", "descending"), ("value", "ascending")]))


def by_period(days: pa.Table, count: int) -> tuple[str, pa.Table]:
    """Return the lines of days as they are, or summed by month or by year until they are at most ``count``.

    With them comes what each line is: "day", "month" or "year"; its value is the first day of it. Years are never more
    than 9,000, and are not summed further.
    """
    for period, length, first in (("day", 10, ""), ("month", 7, "-01"), ("year", 4, "-01-01")):
        starts = pc.binary_join_element_wise(pc.utf8_slice_codeunits(days["value"], 0, length), first, "")
        total = Total()
        total.add(days.set_column(1, "value", starts))
        summed = of(total.sums(), "day")
        if len(summed) <= count or period == "year":
            return period, summed
    raise AssertionError("years are the last")


def by_status(orders: pa.Table) -> dict[str, int]:
    """Return how many orders have each status."""
    counts = pc.value_counts(column(orders, "status"))
    return {count["values"]: count["counts"] for count in counts.to_pylist()}
