"""Orders and revenue by day, region and product: sums that add up, of a block, a partition, or all."""

import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.tables import column

DIMENSIONS = ("day", "region", "product")
SCHEMA = pa.schema(
    [("dimension", pa.string()), ("value", pa.string()), ("orders", pa.int64()), ("revenue", pa.decimal128(38, 2))]
)


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
            sums["total_sum"].cast(pa.decimal128(38, 2)),
        ]
        parts.append(pa.table(columns, schema=SCHEMA))
    return pa.concat_tables(parts)


def total(summaries: pa.Table) -> pa.Table:
    """Add up summaries, sorted by dimension and value."""
    sums = summaries.group_by(["dimension", "value"], use_threads=False).aggregate(
        [("orders", "sum"), ("revenue", "sum")]
    )
    return pa.table([sums["dimension"], sums["value"], sums["orders_sum"], sums["revenue_sum"]], schema=SCHEMA).sort_by(
        [("dimension", "ascending"), ("value", "ascending")]
    )


def by_status(orders: pa.Table) -> dict[str, int]:
    """Return how many orders have each status."""
    counts = pc.value_counts(column(orders, "status"))
    return {count["values"]: count["counts"] for count in counts.to_pylist()}
