"""Prove that every row is there exactly once, and commit the partitions as one dataset."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from daskjobs.cores import in_turn
from daskjobs.errors import LostWorkError
from daskjobs.events import event
from daskjobs.files.digest import Output
from daskjobs.files.documents import dump, to_json, unsealed, written_as
from daskjobs.files.storage import damaged
from daskjobs.orders.profiles import Profile
from daskjobs.orders.sent import SentLine, compare
from daskjobs.orders.validation.result import (
    NAMED,
    Amounts,
    Ledger,
    Lines,
    LongRows,
    PartitionResult,
    Received,
    Score,
    SeenBefore,
    UnreadFiles,
    UnreadRows,
    Warned,
)
from daskjobs.orders.validation.together import Together
from daskjobs.pipeline.context import Done
from daskjobs.pipeline.manifest import Manifest
from daskjobs.pipeline.stage import Stage, numbered
from daskjobs.series.layout import CORRECTIONS, CORRECTIONS_CSV, QUARANTINE_PARQUET, SEEN_CSV, WARNED, partition_files
from daskjobs.stages import split, validate
from daskjobs.stages.run_settings import Context

if TYPE_CHECKING:
    from daskjobs.orders.plan import Partition, Plan
    from daskjobs.orders.sources.format import SourceFile

NAME = "merge"
QUARANTINE_CSV = "merge/quarantine.csv"
REJECTED = "merge/rejected-*.?"
SAMPLES = "merge/samples.json"
WARNED_PARQUET, WARNED_CSV = "merge/warned.parquet", "merge/warned.csv"
VALID = ("paid", "unpaid", "summary")


@dataclass(frozen=True)
class PartitionLedger:
    """The ledger of one partition."""

    partition: int
    rows_in: int = field(metadata=written_as("in"))
    valid: int
    rejected: int
    furniture: int = 0


@dataclass(frozen=True)
class MergeRows(Ledger):
    """The ledger in total and by partition, and rows by status, by reason and by known anomaly.

    ``unread`` are files of several rows of which none was understood, and ``unread_single`` those of one such row;
    ``utf8`` are those that look like UTF-8, though they were decoded as --encoding says. ``seen`` says what became of
    orders that earlier runs have counted, if these were looked at. With a profile, this is here,
    too, with the paid rows by currency, and what they add up to, if it says so. ``together`` counts rejected rows by
    all of their reasons, as `together.Together` does. ``warned`` is there where a rule warns, and ``sent`` where the
    sender says what was sent. ``signs`` are those of `PartitionResult`.
    """

    statuses: dict[str, int]
    reasons: dict[str, int]
    scores: dict[str, Score]
    lines: Lines
    partitions: list[PartitionLedger]
    utf8: list[str] = field(default_factory=list)
    unread: UnreadFiles | None = None
    unread_single: UnreadFiles | None = None
    profile: Profile | None = None
    currencies: dict[str, int] = field(default_factory=dict)
    amounts: Amounts | None = None
    seen: SeenBefore | None = None
    together: dict[str, int] = field(default_factory=dict)
    warned: Warned | None = None
    sent: list[SentLine] = field(default_factory=list)
    signs: dict[str, int] = field(default_factory=dict)


def execute(context: Context) -> Manifest:
    """Write merge/quarantine.parquet and .csv, sorted as the source is, and vouch for the files of valid rows.

    For each file of the input that has rejected rows, a file merge/rejected-* has its header, if there is one, and
    these rows as they stood there: once mended, they can be the input of another run. With --known,
    merge/seen_before.csv has the rows whose order an earlier run has counted, and where that stands; with --again
    newest, merge/corrections.parquet and .csv those of earlier runs that newer ones replace. merge/samples.json has the
    first rows of each reason, and how their texts begin. Where rules warn, merge/warned.parquet and .csv have the rows
    that they warn of, as the quarantine has rejected ones. The manifest's rows hold the ledger, in all and by
    partition. Raises LostWorkError when it doesn't balance.
    """
    inputs = context.digest(split.NAME) | context.digest(validate.NAME)
    return context.commit(NAME, inputs, {}, lambda: _merge(context))


def _merge(context: Context) -> Done:
    from daskjobs.orders import quarantine
    from daskjobs.orders.profiles import worth
    from daskjobs.orders.samples import Samples

    storage, plan = context.storage, split.read_plan(context)
    results = list(in_turn(partial(_proven, context), plan.partitions, storage.streams(storage.root)))
    rows_in = sum(result.rows.rows_in for result in results)
    if rows_in != plan.rows:
        raise LostWorkError(f"split found {plan.rows} rows, but validate saw {rows_in}: run again from split")
    lines = _lines(plan.files, results)
    outputs = dict[str, Output]()
    for result in results:
        files = partition_files(result.partition)
        outputs |= {files[content]: context.output(validate.NAME, files[content]) for content in VALID}
    parts = [partition_files(result.partition)["quarantine"] for result in results]
    vouched = {name: context.output(validate.NAME, name) for name in parts}
    named = [(numbered(REJECTED, number, file.ending), file) for number, file in enumerate(plan.files)]
    written, seen = _seen(context, results)
    outputs |= written
    if warns := [result for result in results if result.warned]:
        names = [numbered(WARNED, result.partition) for result in warns]
        of_warned = {name: context.output(validate.NAME, name) for name in names}
        outputs |= quarantine.gather(storage, of_warned, WARNED_PARQUET, WARNED_CSV)
    reasons, statuses, scores = Counter[str](), Counter[str](), dict[str, Score]()
    currencies, signs, together = Counter[str](), Counter[str](), Together()
    for result in results:
        reasons.update(result.reasons)
        together.add(result.together)
        currencies.update(result.currencies)
        signs.update(result.signs)
        statuses.update(result.statuses)
        for anomaly, score in result.scores.items():
            scores.setdefault(anomaly, Score(0, 0, 0)).add(score)
    if plan.profile:
        worth.refuse_many(currencies, plan.profile)
    samples = Samples(reasons)
    outputs |= quarantine.gather(storage, vouched, QUARANTINE_PARQUET, QUARANTINE_CSV, named, samples)
    outputs[SAMPLES] = storage.put(SAMPLES, dump(samples.found))
    amounts = [result.amounts for result in results if result.amounts]
    unread, unread_single = _unread(plan, results)
    rows = MergeRows(
        rows_in=rows_in,
        valid=sum(result.rows.valid for result in results),
        rejected=sum(result.rows.rejected for result in results),
        furniture=sum(result.rows.furniture for result in results),
        statuses=dict(sorted(statuses.items())),
        reasons=dict(sorted(reasons.items())),
        scores=scores,
        lines=lines,
        partitions=[PartitionLedger(result.partition, **vars(result.rows)) for result in results],
        utf8=[file.name for file in plan.files if file.utf8],
        unread=unread,
        unread_single=unread_single,
        profile=plan.profile,
        currencies=dict(sorted(currencies.items())),
        amounts=sum(amounts, Amounts()) if amounts else None,
        seen=seen,
        together=together.simplest(),
        warned=sum((result.warned for result in warns if result.warned), Warned()) if warns else None,
        sent=_sent(context, results),
        signs=dict(sorted(signs.items())),
    )
    if rows.utf8:
        event("input.looks_like_utf8", level=logging.WARNING, names=", ".join(rows.utf8[:NAMED]), of=len(rows.utf8))
    return Done(outputs, rows)


def _seen(context: Context, results: list[PartitionResult]) -> tuple[dict[str, Output], SeenBefore | None]:
    """Write what is known of orders that earlier runs have counted, if these were looked at."""
    from daskjobs.orders import seen_before

    settings, earlier = context.manifest(split.NAME).settings, split.read_earlier(context)
    if not (settings.get("known") and earlier):
        return {}, None
    names = [partition_files(result.partition)["seen"] for result in results if result.seen]
    parts = {name: context.output(validate.NAME, name) for name in names}
    newest = settings.get("again") == "newest"
    corrections = (CORRECTIONS, CORRECTIONS_CSV) if newest else None
    return seen_before.gather(context.storage, parts, [each.run for each in earlier.known], SEEN_CSV, corrections)


def _sent(context: Context, results: list[PartitionResult]) -> list[SentLine]:
    """Compare what was received with what the sender says."""
    sent = split.read_sent(context)
    if not sent:
        return []
    received = dict[str, Received]()
    for result in results:
        for file, each in result.received.items():
            received[file] = received.get(file, Received()) + each
    return compare(sent, received, context.manifest(validate.NAME).counted(validate.ValidateRows).ids)


def _unread(plan: "Plan", results: list[PartitionResult]) -> tuple[UnreadFiles | None, UnreadFiles | None]:
    """Return the files of which no row was understood, those of several rows and those of one; None without any."""
    found = dict[int, list[UnreadRows]]()
    for result in results:
        for file, each in result.unread.items():
            found.setdefault(int(file), []).append(each)
    if not found:
        return None, None
    parts = Counter(file for each in plan.partitions for file in {part.file for part in each.ranges if part.rows})
    whole = {file: found[file] for file in sorted(found) if len(found[file]) == parts[file]}
    rows = {file: sum(each.rows for each in some) for file, some in whole.items()}

    def of(files: list[int]) -> UnreadFiles | None:
        reasons = Counter[str]()
        for each in (each for file in files for each in whole[file]):
            reasons.update(each.reasons)
        first = [plan.files[file].name for file in files[:NAMED]]
        return UnreadFiles(len(files), first, dict(sorted(reasons.items()))) if files else None

    return of([file for file in rows if rows[file] > 1]), of([file for file in rows if rows[file] == 1])


def _lines(files: "list[SourceFile]", results: list[PartitionResult]) -> Lines:
    """Return the lines of the CSV files by kind: headers, rows, line ends inside fields, and those outside the rows.

    Split has counted the lines by their bytes, and validate the line ends inside the fields that it read. Rows that
    look like several rows are counted, and the first few named. Raises LostWorkError when lines are missing.
    """
    headers = [file.header_lines for file in files if file.header_lines]
    counts = [result.lines for result in results]
    several = LongRows(
        rows=sum(count.several for count in counts),
        line_ends=sum(count.in_several for count in counts),
        first=[row for result in results for row in result.several][:NAMED],
    )
    lines = Lines(
        in_files=sum(header.lines for header in headers) + sum(count.in_files for count in counts),
        headers=sum(header.headers for header in headers),
        rows=sum(count.rows for count in counts),
        inside_quotes=sum(header.inside for header in headers) + sum(count.inside_quotes for count in counts),
        rows_like_several=several,
        outside=sum(header.outside for header in headers),
    )
    if lines.in_files != lines.headers + lines.rows + lines.inside_quotes + lines.outside:
        raise LostWorkError(
            f"lines are missing: {to_json(lines)}; in_files must be the sum of the others: run again from split"
        )
    if several.rows:
        event("rows.look_like_several", level=logging.WARNING, **to_json(several))
    return lines


def _proven(context: Context, partition: "Partition") -> PartitionResult:
    result = _result(context, partition.number)
    _prove(context, partition, result)
    return result


def _result(context: Context, number: int) -> PartitionResult:
    name = partition_files(number)["result"]
    try:
        return unsealed(context.vouched(validate.NAME, name), PartitionResult)
    except ValueError as error:
        raise damaged(context.storage.uri(name), error) from error


def _prove(context: Context, partition: "Partition", result: PartitionResult) -> None:
    """Compare a partition's result with split's count of its rows, and with the rows in its files.

    Of paid and rejected rows only the counts are compared here: clean and the code below read these files whole and
    compare them with their hashes.
    """
    from daskjobs.files.tables import footer_rows, reading
    from daskjobs.orders.schema import PAID

    ledger, files = result.rows, partition_files(partition.number)
    held = {content: footer_rows(context.storage, files[content]) for content in ("paid", "quarantine")}
    with reading(context.storage, files["unpaid"], context.output(validate.NAME, files["unpaid"])) as file:
        held["unpaid"] = file.metadata.num_rows
    claimed = {"paid": result.statuses.get(PAID, 0), "quarantine": ledger.rejected}
    claimed["unpaid"] = sum(result.statuses.values()) - claimed["paid"]
    written = sum(held.values()) + ledger.furniture
    if held != claimed or not partition.rows == ledger.rows_in == written == ledger.told:
        raise LostWorkError(
            f"partition {partition.number} has {partition.rows} rows, its result says {to_json(ledger)}, its files "
            f"hold {held}: run again from validate"
        )


STAGE = Stage(
    NAME,
    "Prove that every row is there exactly once, and commit them as one dataset.",
    needs=(split.NAME, validate.NAME),
    files=(
        QUARANTINE_PARQUET,
        QUARANTINE_CSV,
        REJECTED,
        SAMPLES,
        WARNED_PARQUET,
        WARNED_CSV,
        SEEN_CSV,
        CORRECTIONS,
        CORRECTIONS_CSV,
    ),
    rows=MergeRows,
    execute=execute,
    artifacts=(QUARANTINE_CSV,),
)
