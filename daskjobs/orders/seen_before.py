"""Gathers the rows whose orders earlier runs have counted, as CSV, and what is taken back of these, as Parquet, too."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from daskjobs.files.digest import HashingFile, Output
from daskjobs.files.storage import Storage
from daskjobs.files.tables import row_groups, writing_rows
from daskjobs.orders.money import MONEY
from daskjobs.orders.quarantine import no_formula, visible
from daskjobs.orders.schema import TIME, WRITING
from daskjobs.orders.summary import counts_of
from daskjobs.orders.validation.result import LINE, NAMED, NEWER, SAME, TIED, SeenBefore, SeenRow

LISTED = ("row", "source", "order_id", "kind", "columns", "run", "earlier_source", "earlier_row")
CORRECTION = pa.schema(
    [
        ("order_id", pa.string()),
        ("run", pa.string()),
        ("source", pa.string()),
        ("row", pa.int64()),
        ("status", pa.string()),
        ("orders", pa.int64()),
        ("revenue", MONEY),
        ("timestamp", TIME),
        ("newer_source", pa.string()),
        ("newer_row", pa.int64()),
        ("newer_timestamp", TIME),
        ("partition", pa.int32()),
        ("paid", pa.bool_()),
        ("at", pa.int64()),
    ]
)
NEWER_NAMES = {
    "source": "earlier_source",
    "row": "earlier_row",
    "status": "earlier_status",
    "timestamp": "earlier_timestamp",
    "newer_source": "source",
    "newer_row": "row",
    "newer_timestamp": "timestamp",
}


def gather(
    storage: Storage, parts: dict[str, Output], runs: Sequence[str], csv: str, corrections: tuple[str, str] | None
) -> tuple[dict[str, Output], SeenBefore]:
    """Write what the partitions' files, ``parts``, say of orders that were counted before, and return what it comes to.

    ``runs`` are the URIs of the earlier runs. Rows that are rejected go to ``csv``; the rows of earlier runs that newer
    ones take the place of go to the ``corrections``, as Parquet and as CSV, if there can be any.
    """
    kinds, columns, first, named = Counter[str](), Counter[str](), list[SeenRow](), Counter[str]()
    taken, revenue = 0, Decimal("0.00")
    with ExitStack() as stack:
        text = stack.enter_context(storage.write(csv))
        text.write((",".join(LISTED) + "\n").encode())
        if corrections:
            write, table = stack.enter_context(writing_rows(storage, corrections[0], CORRECTION, WRITING))
            lines = stack.enter_context(storage.write(corrections[1]))
            lines.write((",".join(CORRECTION.names) + "\n").encode())
        for name, output in parts.items():
            for group in row_groups(storage, name, output):
                uris = pa.array(runs, pa.string()).take(group["run"].combine_chunks())
                group = group.set_column(group.column_names.index("run"), "run", uris)
                kinds.update(counts_of(group["kind"].combine_chunks()))
                newer = pc.equal(group["kind"], NEWER)
                again, replaced = group.filter(pc.invert(newer)), group.filter(newer)
                columns.update(counts_of(pc.list_flatten(again["columns"]).combine_chunks()))
                _csv(text, again.select(LISTED).set_column(4, "columns", pc.binary_join(again["columns"], ";")))
                for kind, count in counts_of(again["kind"].combine_chunks()).items():
                    some = again.select(LISTED).filter(pc.equal(again["kind"], kind)).slice(0, NAMED - named[kind])
                    first += [SeenRow(**row) for row in some.to_pylist()]
                    named[kind] = min(NAMED, named[kind] + count)
                if len(replaced) and corrections:
                    back = pa.table(
                        [replaced[NEWER_NAMES.get(each, each)] for each in CORRECTION.names], schema=CORRECTION
                    )
                    taken += pc.sum(back["orders"]).as_py()
                    revenue += pc.sum(back["revenue"]).as_py()
                    write(back)
                    _csv(lines, back)
    outputs = {csv: text.output}
    if corrections:
        outputs |= {corrections[0]: table.output, corrections[1]: lines.output}
    rows = kinds.total() - kinds[NEWER]
    return outputs, SeenBefore(
        runs=len(runs),
        rows=rows,
        same=kinds[SAME],
        other=rows - kinds[SAME] - kinds[LINE],
        tied=kinds[TIED],
        columns=dict(sorted(columns.items())),
        first=first,
        corrections=kinds[NEWER],
        corrected_orders=str(taken) if kinds[NEWER] else "",
        corrected_revenue=str(revenue) if kinds[NEWER] else "",
    )


def _csv(file: HashingFile, table: pa.Table) -> None:
    """Append the lines of a CSV file that spreadsheets can open safely."""
    if not len(table):
        return
    for at, (name, kind) in enumerate(zip(table.column_names, table.schema.types, strict=True)):
        if pa.types.is_string(kind):
            table = table.set_column(at, name, no_formula(visible(table[name])))
    lines = pa.BufferOutputStream()
    pa.csv.write_csv(table, lines, pa.csv.WriteOptions(include_header=False))
    file.write(lines.getvalue())
