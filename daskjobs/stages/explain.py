"""Look up what became of one row of a run's input."""

from daskjobs.files.documents import parse
from daskjobs.files.tables import rows_between
from daskjobs.orders.explanation import Explained, locate, not_rejected
from daskjobs.orders.validation.result import SEEN_BEFORE
from daskjobs.series import layout
from daskjobs.stages import split, validate
from daskjobs.stages.run_settings import Context


def explain(context: Context, row: int, source: str) -> Explained:
    """Look up the ``row``, counted from 1, of the input file whose name ends with ``source``.

    Raises UsageError when there is no such row, or unless exactly one file name ends with ``source``.
    """
    plan = split.read_plan(context)
    partition, part = locate(plan, row, source)
    file = plan.files[part.file]
    sentences = parse(context.vouched(validate.NAME, layout.RULES), dict[str, str])
    quarantine = layout.partition_files(partition.number)["quarantine"]
    rejected = rows_between(context.storage, quarantine, context.output(validate.NAME, quarantine), "row", row, row + 1)
    line = next((line for line in rejected.to_pylist() if line["source"] == file.name), None)
    if line is None:
        statuses = context.manifest(validate.NAME).settings.get("statuses", {})  # a profile has its own
        found = not_rejected(split.opening(context), file, part, row, statuses, plan.profile)
        return Explained(row, file.name, partition.number, {}, found.status, found.raw, found.furniture)
    reasons = {reason: sentences.get(reason, "") for reason in line["reasons"]}
    if SEEN_BEFORE in reasons:
        reasons[SEEN_BEFORE] += _where(context, partition.number, row, file.name)
    return Explained(row, file.name, partition.number, reasons, "", line["raw"])


def _where(context: Context, partition: int, row: int, source: str) -> str:
    """Say where the order of a row stands that an earlier run has counted, and in which columns that is another one."""
    name, earlier = layout.partition_files(partition)["seen"], split.read_earlier(context)
    there = rows_between(context.storage, name, context.output(validate.NAME, name), "row", row, row + 1)
    seen = next(each for each in there.to_pylist() if each["source"] == source)
    run = earlier.known[seen["run"]].run if earlier else ""
    at = f"row {seen['earlier_row']} of " if seen["earlier_row"] else ""
    of = f"{at}{seen['earlier_source'].removeprefix('file://')} in " if seen["earlier_source"] else ""
    other = f", with another {', '.join(seen['columns'])}" if seen["columns"] else ""
    return f" It stands in {of}{run}{other}."
