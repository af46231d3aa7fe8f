"""Look up what became of one row of a run's input."""

from daskjobs.files.documents import parse
from daskjobs.files.tables import rows_between
from daskjobs.orders.explanation import Explained, locate, not_rejected
from daskjobs.pipeline.stage import numbered
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
        warned = _warned(context, partition.number, row, file.name)
        statuses = context.manifest(validate.NAME).settings.get("statuses", {})  # a profile has its own
        found = not_rejected(split.opening(context), file, part, row, statuses, plan.profile)
        warnings = {reason: sentences.get(reason, "") for reason in warned}
        return Explained(row, file.name, partition.number, {}, found.status, found.raw, found.furniture, warnings)
    reasons = {reason: sentences.get(reason, "") for reason in line["reasons"]}
    return Explained(row, file.name, partition.number, reasons, "", line["raw"])


def _warned(context: Context, number: int, row: int, source: str) -> list[str]:
    """Return the rules that warn of a row."""
    name = numbered(layout.WARNED, number)
    outputs = context.manifest(validate.NAME).outputs
    if name not in outputs:
        return []
    found = rows_between(context.storage, name, outputs[name], "row", row, row + 1).to_pylist()
    return next((line["reasons"] for line in found if line["source"] == source), [])
