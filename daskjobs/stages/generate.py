"""Write synthetic e-commerce orders with known anomalies: the same bytes for the same seed and rows, on any machine."""

from dataclasses import dataclass

from daskjobs.errors import ConfigError
from daskjobs.events import event
from daskjobs.files.storage import RESERVE_BYTES
from daskjobs.pipeline.context import Done
from daskjobs.pipeline.manifest import Manifest
from daskjobs.pipeline.stage import Stage
from daskjobs.stages.run_settings import Context

NAME = "generate"
ORDERS, TRUTH = "orders/orders.csv", "orders/truth.parquet"
GIVEN = "input/orders"  # orders that were dropped into Argo's UI, see `stages.dropped`
ROW_BYTES, SMALL_BYTES = 79, 64 << 20  # of a row, roughly, and of inputs for which the free space isn't checked


@dataclass(frozen=True)
class GenerateRows:
    """The number of generated orders."""

    out: int


def execute(context: Context) -> Manifest:
    """Write orders/orders.csv, and the rows (from 1) with an anomaly, and which one, to orders/truth.parquet.

    2 % of the prices are negative, 2 % of the totals are wrong and 5 % of the transactions have failed, independently,
    so that some rows have several anomalies. Does nothing when the user gave an input.
    """
    if context.settings.input:
        event("stage.skipped", stage=NAME, reason="the input is given")
        return context.unfiled(NAME, skipped=True)
    settings = {"rows": context.settings.rows, "seed": context.settings.seed}
    return context.commit(NAME, {}, settings, lambda: _write(context))


def _refuse_too_many(context: Context) -> None:
    """Raise ConfigError when the orders would fill the disk."""
    size, free = context.settings.rows * ROW_BYTES, context.storage.free()
    if free is not None and size > SMALL_BYTES and size > free - RESERVE_BYTES:
        raise ConfigError(
            f"--rows {context.settings.rows} would write about {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free "
            f"in {context.settings.run_uri}: generate fewer rows, make room there, or choose another --run"
        )


def _write(context: Context) -> Done:
    from daskjobs.files.tables import writing
    from daskjobs.orders.generated import BLOCK_ROWS, TRUTH_SCHEMA, blocks
    from daskjobs.orders.schema import COLUMNS, WRITING

    _refuse_too_many(context)
    rows, seed, done = context.settings.rows, context.settings.seed, 0
    with (
        context.storage.write(ORDERS) as orders,
        writing(context.storage, TRUTH, TRUTH_SCHEMA, WRITING) as (truth, truth_file),
    ):
        orders.write((",".join(COLUMNS) + "\n").encode())
        for text, anomalies in blocks(seed, rows):
            orders.write(text)
            truth.write_table(anomalies)
            done += BLOCK_ROWS
            context.progress(min(1.0, done / rows))
    context.written[ORDERS] = context.storage.identity(ORDERS)
    return Done({ORDERS: orders.output, TRUTH: truth_file.output}, GenerateRows(rows))


STAGE = Stage(
    NAME,
    "Write synthetic orders with known anomalies.",
    needs=(),
    files=(ORDERS, TRUTH, GIVEN),
    rows=GenerateRows,
    execute=execute,
)
