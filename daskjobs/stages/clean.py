"""Keep the paid orders."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from daskjobs.files.documents import written_as
from daskjobs.pipeline.context import Done
from daskjobs.pipeline.manifest import Manifest
from daskjobs.pipeline.stage import Stage
from daskjobs.series.layout import SUMMARY, partition_files
from daskjobs.stages import merge
from daskjobs.stages.run_settings import Context

NAME = "clean"


@dataclass(frozen=True)
class CleanRows:
    """The valid rows: how many are paid, and how many are not, in all and by status."""

    rows_in: int = field(metadata=written_as("in"))
    paid: int
    unpaid: int
    unpaid_by_status: dict[str, int]


def execute(context: Context) -> Manifest:
    """Commit every paid.parquet, and write orders and revenue by day, region and product to clean/summary.parquet.

    The files stay where the workers wrote them; each is read to its end, and compared with its hash.
    """
    return context.commit(NAME, context.digest(merge.NAME), {}, lambda: _clean(context))


def _clean(context: Context) -> Done:
    from daskjobs.files.tables import writing
    from daskjobs.orders import summary
    from daskjobs.orders.schema import PAID, WRITING

    merged = context.manifest(merge.NAME).counted(merge.MergeRows)
    statuses = Counter(merged.statuses)
    files = [partition_files(part.partition) for part in merged.partitions]
    outputs = {each["paid"]: context.output(merge.NAME, each["paid"]) for each in files}
    with ThreadPoolExecutor(context.storage.streams(context.storage.root)) as pool:
        for number, _ in enumerate(pool.map(context.storage.verify, outputs, outputs.values()), 1):
            context.progress(number / len(outputs))
    sums = summary.read(
        context.storage, {each["summary"]: context.output(merge.NAME, each["summary"]) for each in files}
    )
    with writing(context.storage, SUMMARY, summary.SCHEMA, WRITING) as (writer, file):
        writer.write_table(sums)
    outputs[SUMMARY] = file.output
    paid = statuses.pop(PAID, 0)
    unpaid = statuses.total()
    return Done(outputs, CleanRows(paid + unpaid, paid, unpaid, dict(sorted(statuses.items()))))


STAGE = Stage(NAME, "Keep the paid orders.", needs=(merge.NAME,), files=(SUMMARY,), rows=CleanRows, execute=execute)
