"""The task that Dask runs: checks one partition, and reads and writes storage directly."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.errors import InputError, LostWorkError
from daskjobs.events import event
from daskjobs.files.digest import Output, Piece
from daskjobs.files.documents import sealed, unsealed
from daskjobs.files.storage import Storage
from daskjobs.files.tables import column, rows_between, writing_rows
from daskjobs.orders import summary
from daskjobs.orders.columns.states import Columns, write_state
from daskjobs.orders.plan import Partition
from daskjobs.orders.profiles import Profile
from daskjobs.orders.profiles.runs import prepared
from daskjobs.orders.rules.builtin import ANOMALIES, unknown_status
from daskjobs.orders.rules.ruleset import Ruleset
from daskjobs.orders.schema import COUNTED_WRITING, QUARANTINE, WRITING, orders_schema
from daskjobs.orders.sources import many
from daskjobs.orders.sources.format import Block, Ints, SourceFile
from daskjobs.orders.validation.block import Judged, Place, judge
from daskjobs.orders.validation.duplicates import elsewhere, positions
from daskjobs.orders.validation.ids import RUNS, Entries, PartitionIds, found_again
from daskjobs.orders.validation.known import SEEN, known
from daskjobs.orders.validation.limit import Limit
from daskjobs.orders.validation.received import Counting, ToCount
from daskjobs.orders.validation.result import (
    NAMED,
    SEEN_BEFORE,
    Amounts,
    Checked,
    Ledger,
    LongRow,
    PartitionLines,
    PartitionResult,
    Score,
    SourceRow,
    Warned,
)
from daskjobs.orders.validation.together import Together
from daskjobs.orders.validation.unread import Unread

UNKNOWN_STATUS = unknown_status.__name__
MOST_STATUSES = 1000  # different ones, each of which is counted


@dataclass(frozen=True)
class Task:
    """What the tasks of all partitions have in common.

    ``limit`` has the rows of the whole input, and how many of them may be rejected; ``extra`` are its columns that
    aren't ours. ``key`` stands for everything that a result depends on, but for the rows that repeat an id. ``truth``
    is the file of the known anomalies, and what it must hold, where the orders were generated. ``statuses`` says which
    of our statuses each of the file's stands for. ``buckets`` is the number of them that ids are written into,
    and ``smaller`` that of those into which each is then divided. ``kept`` are the partitions of which an earlier
    attempt has left a result, or None if nobody has looked. ``secrets`` are those of `Storage`. With ``newest``, the
    newest row of an order counts that an earlier run of the series has counted. ``to_count`` is what must be counted
    where the sender says what was sent.
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
    newest: bool = False
    to_count: ToCount | None = None


@dataclass(frozen=True)
class Found:
    """What the searches have found for a partition: the pieces, by file, of each; see `check_partition`."""

    repeats: dict[str, Piece]
    others: dict[str, Piece]
    seen: dict[str, Piece]

    def allows(self, had: "Found") -> bool:
        """Tell whether a result for which that was found can be kept: at first, when nothing is known, any can."""
        return (self.repeats or had.repeats, self.others or had.others, self.seen or had.seen) == (
            had.repeats,
            had.others,
            had.seen,
        )

    def written(self, names: dict[str, str]) -> dict[str, str]:
        """Return the names of the files that are written for it."""
        return names if self.seen else {content: name for content, name in names.items() if content != "seen"}


def check_partition(
    task: Task,
    partition: Partition,
    files: dict[int, SourceFile],
    names: dict[str, str],
    repeats: dict[str, Piece],
    others: dict[str, Piece] | None = None,
    seen: dict[str, Piece] | None = None,
) -> Checked:
    """Check a partition's rows, and write the paid, the unpaid and the rejected ones, their sums, and the result.

    ``files`` are those that the partition has rows of, by their place in the input; ``names`` are those of the files to
    write, by what they hold. ``repeats`` has the pieces of files, by their names, that say which rows repeat an id:
    none at first, when nobody knows yet. ``others`` are those that say what runs of lines elsewhere mean for its
    orders, and ``seen`` those that say what earlier runs of the series have counted of them; then the rows of which
    that is so are written, too. A result with the same key, repeats, others and seen, whose files hold against their
    hashes, is kept; at first, with any of these. Raises InputError when the orders changed since split, or once its
    rejected rows are too many for the whole run; LostWorkError when rows or lines are missing.
    """
    storage = Storage(task.root, secrets=task.secrets)
    found = Found(repeats, others or {}, seen or {})
    kept = _kept(storage, partition.number, names, task, found)
    if kept is not None:
        return kept
    with storage.closed_together() as together:
        return _checked(together, task, partition, files, found.written(names), found)


def _checked(
    storage: Storage,
    task: Task,
    partition: Partition,
    files: dict[int, SourceFile],
    names: dict[str, str],
    found: Found,
) -> Checked:
    counts = _Counts(partition.number, scored=task.truth is not None)
    repeated, told, sums = positions(storage, found.repeats), elsewhere(storage, found.others), summary.Total()
    counted = known(storage, found.seen) if found.seen else None
    counting = task.profile is not None and task.profile.counts
    counts.amounts = Amounts() if counting else None
    orders, writing = orders_schema(task.extra, counting), COUNTED_WRITING if counting else WRITING
    schemas = {"paid": orders, "unpaid": orders, "quarantine": QUARANTINE, "summary": summary.SCHEMA}
    schemas |= {"seen": SEEN} if found.seen else {}
    if task.ruleset.warn:
        schemas["warned"], counts.warned = QUARANTINE, Warned()
    with ExitStack() as stack:
        opened = {
            content: stack.enter_context(writing_rows(storage, names[content], schema, writing))
            for content, schema in schemas.items()
        }
        write = {content: take for content, (take, _) in opened.items()}
        file = stack.enter_context(storage.write(names["ids"]))
        ids = PartitionIds(file, task.buckets, not (found.repeats or found.seen) and found_again(task.profile))
        runs = Entries(file, task.buckets, RUNS)
        seen = stack.enter_context(storage.write(names["columns"]))
        columns = Columns(task.extra, task.limit.rows, task.profile)
        counting_received = Counting(task.to_count, file, task.buckets) if task.to_count else None
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
                    counted and counted.of(*counts.entries(block, task.profile)),
                    task.newest,
                    task.to_count,
                    partial(columns.add, block, parts, row),
                )
                write["paid"](judged.paid)
                write["unpaid"](judged.unpaid)
                write["quarantine"](judged.quarantine)
                ids.take(judged.ids, judged.unpaid_ids)
                if judged.seen is not None:
                    write["seen"](judged.seen)
                if judged.runs:
                    runs.take(*judged.runs)
                sums.add(summary.summarize(judged.paid, task.profile))
                counts.add(block, judged, place, truth)
                if judged.warned is not None and counts.warned is not None:
                    write["warned"](judged.warned)
                    counts.warned += _warned(judged)
                    if UNKNOWN_STATUS in task.ruleset.warn:
                        _refuse_many_statuses(counts.statuses, source.name)
                if counting_received:
                    counting_received.add(block, parts, place.of, judged.order_ids, judged.amounts)
                if counts.amounts is not None:
                    counts.amounts += summary.added(judged.paid)
                counts.unread.add(judged.quarantine, _furniture(block, place))
                warned = counts.warned.reasons if counts.warned else {}
                rejected = counts.rejected - counts.reasons[SEEN_BEFORE]  # nothing is wrong with those seen before
                if task.limit.ends_early(rejected, {**counts.reasons, **warned}):
                    raise task.limit.early(rejected, counts.reasons, warned)
                row += block.rows
        told_ids = ids.end()
        runs.flush()
        received, received_ids = counting_received.end() if counting_received else ({}, [])
        write["summary"](sums.sums())
        write_state(seen, columns.state())
    counts.prove(partition.rows)
    result = PartitionResult(
        partition=partition.number,
        key=task.key,
        repeats=found.repeats,
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
        elsewhere=found.others,
        runs=runs.pieces if _by_line(task) else [],
        seen=found.seen,
        together=counts.together.simplest(),
        warned=counts.warned,
        received=received,
        received_ids=received_ids,
        signs=_counted(counts.signs),
    )
    pa.default_memory_pool().release_unused()  # else an idle worker would look as large as a busy one
    return Checked(result, storage.put(names["result"], sealed(result)))


def _by_line(task: Task) -> bool:
    return task.profile is not None and task.profile.by_line


class _Counts:
    """The sums over a partition's blocks.

    ``passed`` counts the rows that pass every rule, even with repeated ids, and ``runs`` the entries of runs.
    """

    def __init__(self, number: int, scored: bool) -> None:
        self.number = number
        self.rows_in = self.rejected = self.furniture = self.passed = self.runs = 0
        self.statuses, self.reasons = Counter[str](), Counter[str]()
        self.currencies, self.signs = Counter[str](), Counter[str]()
        self.amounts: Amounts | None = None
        self.warned: Warned | None = None
        self.lines, self.several = PartitionLines(), list[LongRow]()
        self.scores = {anomaly: Score(0, 0, 0) for anomaly in ANOMALIES} if scored else {}
        self.unread, self.together = Unread(), Together()

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.rows_in, self.statuses.total(), self.rejected, furniture=self.furniture)

    def entries(self, block: Block, profile: Profile | None) -> tuple[int, int]:
        """Return the position of a block's first entry, of those that `Known` has, and no less than their number."""
        return (self.runs if profile and profile.by_line else self.passed), block.rows

    def add(self, block: Block, judged: Judged, place: Place, truth: dict[str, Ints]) -> None:
        """Add a block, of whose rows ``truth`` has the known anomalies."""
        self.passed += len(judged.ids)
        self.runs += len(judged.runs[0]) if judged.runs else 0
        self.rows_in += block.rows
        self.rejected += len(judged.quarantine)
        self.furniture += 0 if block.furniture is None else len(block.furniture)
        self.statuses.update(judged.statuses)
        self.reasons.update(judged.reasons)
        self.together.add(judged.together)
        self.currencies.update(judged.currencies)
        self.signs.update(judged.signs)
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
    found: Found,
) -> Checked | None:
    """Return the result that an earlier attempt left, if it can be used."""
    data = storage.find(names["result"]) if task.kept is None or number in task.kept else None
    if data is None:
        return None
    try:
        result = unsealed(data, PartitionResult)
    except ValueError:
        return None  # truncated, or of another version
    had = Found(result.repeats, result.elsewhere, result.seen)
    if (result.partition, result.key) != (number, task.key) or not found.allows(had):
        return None
    if result.outputs.keys() != {*had.written(names).values()} - {names["result"]}:
        return None
    if len(result.ids.buckets) not in (0, task.buckets) or len(result.runs) != (task.buckets if _by_line(task) else 0):
        return None
    if not all(
        storage.size(name) == output.size and storage.holds(name, output) for name, output in result.outputs.items()
    ):
        return None
    event("partition.kept", partition=number)
    return Checked(result, Output.of(data))


def _warned(judged: Judged) -> Warned:
    """Return what rules warn of in a block."""
    rows, counts, first = judged.warned, _counted(Counter(judged.warnings)), dict[str, list[SourceRow]]()
    if rows is None or not counts:
        return Warned()
    reasons = column(rows, "reasons")
    which, each = pc.list_parent_indices(reasons), reasons.flatten()
    for reason in counts:
        some = rows.take(which.filter(pc.equal(each, reason)).slice(0, NAMED))
        first[reason] = [SourceRow(line["source"], line["row"]) for line in some.to_pylist()]
    return Warned(len(rows), counts, first)


def _refuse_many_statuses(statuses: Counter[str], source: str) -> None:
    """Raise InputError where a column of statuses, of which unknown ones are only warned of, has too many."""
    if len(statuses) > MOST_STATUSES:
        raise InputError(
            f"{source} has more than {MOST_STATUSES:,} different texts for statuses, so this is not a column of them: "
            "leave unknown_status out of --warn, and see which rows are rejected"
        )


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
