"""Keep the orders that are valid and paid."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.orders import PAID
from daskjobs.outputs import Output
from daskjobs.run import Done, Manifest, Run
from daskjobs.stages import merge
from daskjobs.tables import column, reading, row_groups, writing

NAME = "clean"
SUMMARY = "clean/summary.parquet"
DIMENSIONS = ("day", "region", "product")


def run(run: Run) -> Manifest:
    """Write clean/part-*.parquet, and in clean/summary.parquet the orders and revenue by day, region and product."""
    return run.stage(NAME, NAME, run.digest(merge.NAME), {}, lambda: _clean(run))


def _clean(run: Run) -> Done:
    sources = [name for name in run.manifest(merge.NAME)["outputs"] if name.endswith("/valid.parquet")]
    statuses, summaries = Counter[str](), []
    outputs: dict[str, Output] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, (name, output, counted, summary) in enumerate(
            pool.map(lambda pair: _clean_part(run, *pair), enumerate(sources)), 1
        ):
            outputs[name] = output
            statuses.update(counted)
            summaries.append(summary)
            run.progress(number / len(sources))
    summary = _total(pa.concat_tables(summaries))
    with writing(run.storage, SUMMARY, summary.schema) as (writer, file):
        writer.write_table(summary)
    outputs[SUMMARY] = file.output
    clean = statuses.pop(PAID, 0)
    rows = {
        "in": clean + statuses.total(),
        "clean": clean,
        "unpaid": statuses.total(),
        "unpaid_by_status": dict(sorted(statuses.items())),
    }
    return Done(outputs, rows)


def _clean_part(run: Run, number: int, source: str) -> tuple[str, Output, Counter[str], pa.Table]:
    """Filter one partition, a row group at a time; return its file, the rows by status, and its summary."""
    name = f"clean/part-{number:05d}.parquet"
    statuses, summaries = Counter[str](), [SUMMARY_SCHEMA.empty_table()]
    with reading(run.storage, source) as file:
        schema = file.schema_arrow
    with writing(run.storage, name, schema) as (writer, written):
        for orders in row_groups(run.storage, source):
            counts = pc.value_counts(column(orders, "status"))
            statuses.update({count["values"]: count["counts"] for count in counts.to_pylist()})
            paid = orders.filter(pc.equal(orders["status"], PAID))
            writer.write_table(paid)
            summaries.append(summarize(paid))
    return name, written.output, statuses, _total(pa.concat_tables(summaries))


SUMMARY_SCHEMA = pa.schema(
    [("dimension", pa.string()), ("value", pa.string()), ("orders", pa.int64()), ("revenue", pa.decimal128(38, 2))]
)


def summarize(orders: pa.Table) -> pa.Table:
    """Return the orders and revenue of each day, region and product, in `SUMMARY_SCHEMA`."""
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
        parts.append(pa.table(columns, schema=SUMMARY_SCHEMA))
    return pa.concat_tables(parts)


def _total(summaries: pa.Table) -> pa.Table:
    sums = summaries.group_by(["dimension", "value"], use_threads=False).aggregate(
        [("orders", "sum"), ("revenue", "sum")]
    )
    return pa.table(
        [sums["dimension"], sums["value"], sums["orders_sum"], sums["revenue_sum"]], schema=SUMMARY_SCHEMA
    ).sort_by([("dimension", "ascending"), ("value", "ascending")])
