"""The task that Dask runs: checks one partition, and reads and writes storage directly."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa

from daskjobs.errors import LostWorkError
from daskjobs.events import event
from daskjobs.files.digest import Output, Piece
from daskjobs.files.documents import sealed, unsealed
from daskjobs.files.storage import Storage
from daskjobs.files.tables import column, rows_between, writing_rows
from daskjobs.orders import summary
from daskjobs.orders.columns.seen import Columns, write_state
from daskjobs.orders.plan import Partition
from daskjobs.orders.profiles import Profile
from daskjobs.orders.profiles.runs import prepared
from daskjobs.orders.rules.builtin import ANOMALIES
from daskjobs.orders.rules.ruleset import Ruleset
from daskjobs.orders.schema import COUNTED_WRITING, QUARANTINE, WRITING, orders_schema
from daskjobs.orders.sources import many
from daskjobs.orders.sources.format import Block, Ints, SourceFile
from daskjobs.orders.validation.block import Judged, Place, judge
from daskjobs.orders.validation.duplicates import elsewhere, positions
from daskjobs.orders.validation.ids import RUNS, Entries, PartitionIds
from daskjobs.orders.validation.limit import Limit
from daskjobs.orders.validation.result import (
    NAMED,
    Amounts,
    Checked,
    Ledger,
    LongRow,
    PartitionLines,
    PartitionResult,
    Score,
)
from daskjobs.orders.validation.unread import Unread


@dataclass(frozen=True)
class Task:
    """What the tasks of all partitions have in common.

    ``limit`` has the rows of the whole input, and how many of them may be rejected; ``extra`` are its columns that
    aren't ours. ``key`` stands for everything that a result depends on, but for the rows that repeat an id. ``truth``
    is the file of the known anomalies, and what it must hold, where the orders were generated. ``statuses`` says which
    of our statuses each of the file's stands for. ``buckets`` is the number of them that ids are written into,
    and ``smaller`` that of those into which each is then divided. ``kept`` are the partitions of which an earlier
    attempt has left a result, or None if nobody has looked. ``secrets`` are those of `Storage`.
    """

    root: str
    limit: Limit
    extra: list[str]
    ruleset: Ruleset
    key: str
    truth: tuple[str, Output] | None
    statuses: dict[str, str] = field(default_factory=dict)
    profile: Profile | None = None
    kept: frozenset[int] | None = None
    buckets: int = 1
    smaller: int = 1
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


def check_partition(
    task: Task,
    partition: Partition,
    files: dict[int, SourceFile],
    names: dict[str, str],
    repeats: dict[str, Piece],
    others: dict[str, Piece] | None = None,
) -> Checked:
    """Check a partition's rows, and write the paid, the unpaid and the rejected ones, their sums, and the result.

    ``files`` are those that the partition has rows of, by their place in the input; ``names`` are those of the files to
    write, by what they hold. ``repeats`` has the pieces of files, by their names, that say which rows repeat an id:
    none at first, when nobody knows yet. ``others`` are those that say what runs of lines elsewhere mean for its
    orders. A result with the same key, repeats and others, whose files hold against their hashes, is kept; at first,
    with any repeats and others. Raises InputError when the orders changed since split, or once its rejected rows are
    too many for the whole run; LostWorkError when rows or lines are missing.
    """
    storage = Storage(task.root, secrets=task.secrets)
    others = others or {}
    kept = _kept(storage, partition.number, names, task, repeats, others)
    if kept is not None:
        return kept
    with storage.closed_together() as together:
        return _checked(together, task, partition, files, names, repeats, others)


def _checked(
    storage: Storage,
    task: Task,
    partition: Partition,
    files: dict[int, SourceFile],
    names: dict[str, str],
    repeats: dict[str, Piece],
    others: dict[str, Piece],
) -> Checked:
    counts = _Counts(partition.number, scored=task.truth is not None)
    repeated, told, sums = positions(storage, repeats), elsewhere(storage, others), summary.Total()
    counting = task.profile is not None and task.profile.counts
    counts.amounts = Amounts() if counting else None
    orders, writing = orders_schema(task.extra, counting), COUNTED_WRITING if counting else WRITING
    schemas = {"paid": orders, "unpaid": orders, "quarantine": QUARANTINE, "summary": summary.SCHEMA}
    with ExitStack() as stack:
        opened = {
            content: stack.enter_context(writing_rows(storage, names[content], schema, writing))
            for content, schema in schemas.items()
        }
        write = {content: take for content, (take, _) in opened.items()}
        file = stack.enter_context(storage.write(names["ids"]))
        ids = PartitionIds(file, task.buckets, not repeats and _ids_found_again(task.profile))
        runs = Entries(file, task.buckets, RUNS)
        seen = stack.enter_context(storage.write(names["columns"]))
        columns = Columns(task.extra, task.limit.rows, task.profile)
        alone = task.truth is not None or _by_line(task)  # an order's lines are of one file
        for parts in many.together(partition.ranges, files, alone):
            source, row = files[parts[0].file], parts[0].first_row
            truth = _truth(storage, task.truth, row, parts[0].rows)
            counts.lines.in_files += sum(part.lines or 0 for part in parts)
            blocks = many.blocks(storage, files, parts)
            for block in prepared(blocks, task.profile, source, row) if task.profile else blocks:
                place = Place(partition.number, source.name, row, many.starts(files, parts) if parts[1:] else ())
                rest = repeated[np.searchsorted(repeated, counts.passed) :] - counts.passed
                judged = judge(
                    block,
                    task.extra,
                    place,
                    task.ruleset,
                    rest,
                    task.statuses,
                    not counts.rows_in,
                    task.profile,
                    told,
                    counts.runs,
                    partial(columns.add, block, parts, row),
                )
                write["paid"](judged.paid)
                write["unpaid"](judged.unpaid)
                write["quarantine"](judged.quarantine)
                ids.take(judged.ids, judged.unpaid_ids)
                if judged.runs:
                    runs.take(*judged.runs)
                sums.add(summary.summarize(judged.paid, task.profile))
                counts.add(block, judged, place, truth)
                if counts.amounts is not None:
                    counts.amounts += summary.added(judged.paid)
                counts.unread.add(judged.quarantine, _furniture(block, place))
                if task.limit.ends_early(counts.rejected):
                    raise task.limit.early(counts.rejected, counts.reasons)
                row += block.rows
        told_ids = ids.end()
        runs.flush()
        write["summary"](sums.sums())
        write_state(seen, columns.state())
    counts.prove(partition.rows)
    result = PartitionResult(
        partition=partition.number,
        key=task.key,
        repeats=repeats,
        rows=counts.ledger,
        statuses=_counted(counts.statuses),
        reasons=_counted(counts.reasons),
        lines=counts.lines,
        several=counts.several,
        scores=counts.scores,
        outputs={names["ids"]: file.output, names["columns"]: seen.output}
        | {names[content]: each.output for content, (_, each) in opened.items()},
        ids=told_ids,
        unread=counts.unread.files(partition, files),
        currencies=_counted(counts.currencies),
        amounts=counts.amounts,
        elsewhere=others,
        runs=runs.pieces if _by_line(task) else [],
    )
    pa.default_memory_pool().release_unused()  # else an idle worker would look as large as a busy one
    return Checked(result, storage.put(names["result"], sealed(result)))


def _ids_found_again(profile: Profile | None) -> bool:
    """Tell whether the ids that no two rows may have in common are those of the paid and the unpaid orders."""
    return profile is None or not (profile.by_line or profile.order.key or profile.order.returns == "subtract")


def _by_line(task: Task) -> bool:
    return task.profile is not None and task.profile.by_line


class _Counts:
    """The sums over a partition's blocks.

    ``passed`` counts the rows that pass every rule, even with repeated ids, and ``runs`` the entries of runs.
    """

    def __init__(self, number: int, scored: bool) -> None:
        self.number = number
        self.rows_in = self.rejected = self.furniture = self.passed = self.runs = 0
        self.statuses, self.reasons, self.currencies = Counter[str](), Counter[str](), Counter[str]()
        self.amounts: Amounts | None = None
        self.lines, self.several = PartitionLines(), list[LongRow]()
        self.scores = {anomaly: Score(0, 0, 0) for anomaly in ANOMALIES} if scored else {}
        self.unread = Unread()

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.rows_in, self.statuses.total(), self.rejected, furniture=self.furniture)

    def add(self, block: Block, judged: Judged, place: Place, truth: dict[str, Ints]) -> None:
        """Add a block, of whose rows ``truth`` has the known anomalies."""
        self.passed += len(judged.ids)
        self.runs += len(judged.runs[0]) if judged.runs else 0
        self.rows_in += block.rows
        self.rejected += len(judged.quarantine)
        self.furniture += 0 if block.furniture is None else len(block.furniture)
        self.statuses.update(judged.statuses)
        self.reasons.update(judged.reasons)
        self.currencies.update(judged.currencies)
        if block.lines:
            several = block.lines.several
            self.lines.rows += block.rows
            self.lines.inside_quotes += block.lines.inside
            self.lines.several += len(several)
            self.lines.in_several += sum(several.values())
            first = list(several.items())[: NAMED - len(self.several)]
            self.several += [LongRow(*place.of(index), line_ends) for index, line_ends in first]
        for anomaly, score in self.scores.items():
            score.add(_score(judged.anomalies[anomaly], truth[anomaly], place.row, place.row + block.rows))

    def prove(self, rows: int) -> None:
        """Raise LostWorkError unless the partition has ``rows`` rows, and all rows and lines are accounted for."""
        ledger, lines = self.ledger, self.lines
        if ledger.rows_in != rows or ledger.told != ledger.rows_in:
            furniture = f", {ledger.furniture} furniture" if ledger.furniture else ""
            raise LostWorkError(
                f"partition {self.number} must have {rows} rows, but {ledger.rows_in} came in, of which {ledger.valid} "
                f"were valid{furniture} and {ledger.rejected} rejected: run again from split"
            )
        if lines.in_files != lines.rows + lines.inside_quotes:
            raise LostWorkError(
                f"partition {self.number} has {lines.in_files} line ends in its files, but {lines.rows} rows with "
                f"{lines.inside_quotes} line ends in their fields were read: run again from split"
            )


def _kept(
    storage: Storage,
    number: int,
    names: dict[str, str],
    task: Task,
    repeats: dict[str, Piece],
    others: dict[str, Piece],
) -> Checked | None:
    """Return the result that an earlier attempt left, if it can be used."""
    data = storage.find(names["result"]) if task.kept is None or number in task.kept else None
    if data is None:
        return None
    try:
        result = unsealed(data, PartitionResult)
    except ValueError:
        return None  # truncated, or of another version
    if (result.partition, result.key) != (number, task.key) or (repeats and repeats != result.repeats):
        return None
    if others and others != result.elsewhere:
        return None
    if result.outputs.keys() != {*names.values()} - {names["result"]}:
        return None
    if len(result.ids.buckets) not in (0, task.buckets) or len(result.runs) != (task.buckets if _by_line(task) else 0):
        return None
    if not all(
        storage.size(name) == output.size and storage.holds(name, output) for name, output in result.outputs.items()
    ):
        return None
    event("partition.kept", partition=number)
    return Checked(result, Output.of(data))


def _furniture(block: Block, place: Place) -> pa.Array | None:
    """Return the sources of the rows that are furniture."""
    return None if block.furniture is None else place.sources(block.furniture)


def _counted(counter: Counter[str]) -> dict[str, int]:
    return {key: count for key, count in counter.items() if count}


def _truth(storage: Storage, truth: tuple[str, Output] | None, first: int, count: int) -> dict[str, Ints]:
    """Return the sorted row numbers of each anomaly among ``count`` rows from ``first``."""
    if truth is None:
        return {}
    rows = rows_between(storage, *truth, "row", first, first + count)
    return {anomaly: column(rows.filter(rows[anomaly]), "row").to_numpy() for anomaly in ANOMALIES}


def _score(judged: Ints, truth: Ints, first: int, end: int) -> Score:
    """Compare the rows that a rule rejects with those from ``first`` up to, not including, ``end`` with the anomaly."""
    low, high = np.searchsorted(truth, [first, end])
    right = len(np.intersect1d(judged, truth[low:high], assume_unique=True))
    return Score(right, len(judged) - right, int(high - low) - right)
