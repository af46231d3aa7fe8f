"""Look up what became of one row of a run's input, of the rows with one reason, or of an order in many runs."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial

import pyarrow.compute as pc

from daskjobs.cores import in_turn
from daskjobs.errors import UsageError
from daskjobs.files.documents import parse, unsealed
from daskjobs.files.storage import damaged
from daskjobs.files.tables import column, row_groups, rows_between
from daskjobs.orders.explanation import Explained, locate, not_rejected
from daskjobs.orders.validation.result import SEEN_BEFORE, PartitionResult
from daskjobs.pipeline.lease import MARKER
from daskjobs.pipeline.stage import numbered
from daskjobs.series import layout
from daskjobs.series.life import Night, life, look
from daskjobs.series.runs import GoodRun, good_runs
from daskjobs.stages import STAGES, split, validate
from daskjobs.stages.run_settings import Context


def explain(context: Context, row: int, source: str) -> Explained:
    """Look up the ``row``, counted from 1, of the input file whose name ends with ``source``.

    Raises UsageError when there is no such row, or unless exactly one file name ends with ``source``.
    """
    _refuse_no_run(context)
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
    if SEEN_BEFORE in reasons:
        reasons[SEEN_BEFORE] += _where(context, partition.number, row, file.name)
    return Explained(row, file.name, partition.number, reasons, "", line["raw"])


@dataclass(frozen=True)
class RejectedRow:
    """A rejected row: its number in its file, the file, all of its reasons, and its text."""

    row: int
    source: str
    reasons: list[str]
    raw: str


@dataclass(frozen=True)
class Rejected:
    """The rows that were rejected for some reason, or warned of: how many there are in all, and the first of them.

    ``sentence`` is that of the reason's rule. The rows of a rule that warns are valid.
    """

    reason: str
    sentence: str
    rows: int
    first: list[RejectedRow]
    warns: bool = False


def rejected_for(context: Context, reason: str, most: int) -> Rejected:
    """Return the first ``most`` rows that were rejected for a reason, or warned of, in the order of the source.

    Only partitions that have such rows are read, and none after the last row that is wanted. Raises UsageError when no
    rule has this name.
    """
    _refuse_no_run(context)
    sentences = parse(context.vouched(validate.NAME, layout.RULES), dict[str, str])
    if reason not in sentences:
        near = get_close_matches(reason, sentences, 1)
        maybe = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"--reason {reason} is no reason of this run: {maybe}its reasons are {', '.join(sentences)}")
    plan = split.read_plan(context)
    read, numbers = partial(_result, context), [each.number for each in plan.partitions]
    with closing(in_turn(read, numbers, context.storage.streams(context.storage.root))) as found:
        counts = {each.partition: (each.reasons, each.warned.reasons if each.warned else {}) for each in found}
    warns = any(reason in warned for _, warned in counts.values())
    rows_of = {number: of[warns][reason] for number, of in counts.items() if reason in of[warns]}
    first = list[RejectedRow]()
    with closing(_rows_with(context, rows_of, reason, warns)) as rows:
        for each in rows:
            first.append(each)
            if len(first) == most:
                break
    return Rejected(reason, sentences[reason], sum(rows_of.values()), first, warns)


def _result(context: Context, number: int) -> PartitionResult:
    name = layout.partition_files(number)["result"]
    try:
        return unsealed(context.vouched(validate.NAME, name), PartitionResult)
    except ValueError as error:
        raise damaged(context.storage.uri(name), error) from error


def _rows_with(
    context: Context, partitions: Iterable[int], reason: str, warns: bool
) -> Generator[RejectedRow, None, None]:
    for number in partitions:
        name = numbered(layout.WARNED, number) if warns else layout.partition_files(number)["quarantine"]
        for group in row_groups(context.storage, name, context.output(validate.NAME, name)):
            reasons = column(group, "reasons")
            rows = pc.list_parent_indices(reasons).filter(pc.equal(reasons.flatten(), reason))
            for at in rows.to_pylist():  # one at a time, since only a few may be wanted, and texts may be long
                (line,) = group.slice(at, 1).to_pylist()
                yield RejectedRow(line["row"], line["source"], line["reasons"], line["raw"])


def nights(series: str, order_id: str) -> Iterator[Night]:
    """Yield what each good run of a series has of an order, in the order of their days.

    Raises UsageError when the series has no good run, or is itself a run.
    """
    runs = good_runs(series, STAGES)
    if not runs:
        raise UsageError(f"--series {series} has no good run, one with a report: name the folder that holds runs")
    return life(runs, order_id)


def night(context: Context, order_id: str) -> Night:
    """Return what a run has of an order, whether or not it came to a report.

    Raises UsageError when there is no run whose rows were checked.
    """
    if context.committed(validate.NAME) is None:
        raise UsageError(
            f"--run {context.settings.run_uri} is no run whose rows were checked: name a run's folder, or with "
            "--series the folder that holds runs"
        )
    manifests = {stage: context.manifest(stage) for stage in (split.NAME, validate.NAME)}
    return look(GoodRun(context.settings.run_uri, "", "", manifests), order_id)


def _refuse_no_run(context: Context) -> None:
    """Raise UsageError for a folder that is none of a run, where no stage should be told to run."""
    if context.storage.size(MARKER) is None:
        raise UsageError(f"--run {context.settings.run_uri} is no run (it has no {MARKER}): name a run's folder")


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


def _warned(context: Context, number: int, row: int, source: str) -> list[str]:
    """Return the rules that warn of a row."""
    name = numbered(layout.WARNED, number)
    outputs = context.manifest(validate.NAME).outputs
    if name not in outputs:
        return []
    found = rows_between(context.storage, name, outputs[name], "row", row, row + 1).to_pylist()
    return next((line["reasons"] for line in found if line["source"] == source), [])
