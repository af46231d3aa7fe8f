"""An order's life: what became of the rows that have its id, in each run of a series.

It comes from the files of the orders that counted and of the rows that were rejected, which the runs' manifests vouch
for; the files that came in are not read, and may be gone. Time is linear in the rows of the runs; of the ids that
counted, only those partitions are read that may have this one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.cores import in_turn
from daskjobs.errors import ConfigError
from daskjobs.files.documents import unsealed
from daskjobs.files.tables import column, mask, read_pieces, reading, rebatched, row_groups
from daskjobs.orders.plan import Partition, Plan
from daskjobs.orders.profiles import Profile
from daskjobs.orders.profiles.columns import kept_key, key_texts
from daskjobs.orders.quarantine import by_source
from daskjobs.orders.report.quality import Quality
from daskjobs.orders.reread import read_ids
from daskjobs.orders.rules.builtin import DUPLICATE
from daskjobs.orders.schema import COUNTS
from daskjobs.orders.sources.format import Ints
from daskjobs.orders.validation.ids import bucket_of, found_again, hashes, rank, texts
from daskjobs.orders.validation.result import NEWER, SEEN_BEFORE, PartitionResult
from daskjobs.pipeline.stage import numbered
from daskjobs.series.earlier import Earlier, looked_at
from daskjobs.series.known import profile_of
from daskjobs.series.layout import CORRECTIONS, EARLIER, PARTITIONS, QUALITY, RULES, WARNED, partition_files
from daskjobs.series.runs import COUNTING, LAST, GoodRun, name_of

PAID, UNPAID, REJECTED = "paid", "unpaid", "rejected"
AGAIN = {DUPLICATE, SEEN_BEFORE}  # reasons of rows that pass every rule, and have an id that has counted before
FACTS = ["order_id", "status", "total_amount", "timestamp"]


@dataclass(frozen=True)
class Place:
    """Where a row that counted stands: the run, by its name and what it ``counts``, and the position in its file."""

    run: str
    counts: str
    partition: int
    paid: bool
    at: int


@dataclass(frozen=True)
class Before:
    """A row that an earlier run has counted: the run, and its file and number there, if known.

    ``columns`` are those in which it differs. Where a newer row has ``replaced`` it, ``revenue`` is what this takes
    back, with its sign, and ``mine`` says whether it is taken back of the order that is asked for: where a key takes
    the place of the id, the two rows may have different ids. ``newer`` are the file and the number of the newer row.
    """

    run: str
    source: str
    row: int
    columns: tuple[str, ...] = ()
    replaced: bool = False
    revenue: str = ""
    mine: bool = True
    newer: tuple[str, int] = ("", 0)
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Seen:
    """A row with the order's id: its file and its number there, and what became of it.

    ``became`` is paid, unpaid or rejected. A rejected row has its ``reasons`` and its text, ``raw``; the others their
    ``status``, ``amount`` and ``time``, and as ``reasons`` the rules that warn of them. ``row`` is 0 where the run
    doesn't say which row it is, and ``source`` is empty where it doesn't say which file: its partition has rows of
    several. ``before`` are rows that earlier runs have counted: the one for which this row is rejected, or those that
    this row replaces. ``key`` says which rows of several runs are the same order: those with the same text. It is None
    where nobody can tell, as of returns without a key.
    """

    became: str
    source: str
    row: int
    reasons: tuple[str, ...] = ()
    raw: str = ""
    status: str = ""
    amount: str = ""
    time: str = ""
    before: tuple[Before, ...] = ()
    key: str | None = field(default=None, compare=False)
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Night:
    """What a run has of an order: its rows, in the order of the source.

    ``replaced`` are further rows of earlier runs that the run has replaced: it isn't known which of its rows has done
    that, or it is a row with another id.
    ``unread`` counts the run's rejected rows of which no id can be read, since they are malformed. ``sentences`` are
    those of the run's rules, by reason.
    """

    run: GoodRun
    seen: list[Seen]
    replaced: list[Before] = field(default_factory=list)
    unread: int = 0
    sentences: dict[str, str] = field(default_factory=dict)

    @property
    def counted(self) -> list[Seen]:
        """The rows that counted: those that are not rejected."""
        return [each for each in self.seen if each.became != REJECTED]

    @property
    def taken_back(self) -> list[Before]:
        """The rows of the order in earlier runs that this run has replaced."""
        every = [*(each for seen in self.seen for each in seen.before), *self.replaced]
        return [each for each in every if each.replaced and each.mine]

    @property
    def revenue(self) -> Decimal | None:
        """What the order adds to the run's revenue, less what is taken back of earlier ones, or None."""
        amounts = [each.amount for each in self.counted if each.became == PAID]
        amounts += [each.revenue for each in self.taken_back]
        return sum(map(Decimal, amounts), Decimal()) if amounts else None

    @property
    def currency(self) -> str:
        """The currency of the run's report, or an empty text if it has none. Raises as `GoodRun.parsed` does."""
        return self.run.parsed(LAST, QUALITY, Quality).currency

    @property
    def faulty(self) -> bool:
        """Whether the order was rejected for what its row says, and nothing of it counted."""
        return not self.counted and any(not AGAIN.intersection(each.reasons) for each in self.seen)


def life(runs: Iterable[GoodRun], order_id: str) -> Iterator[Night]:
    """Yield what each of the runs has of an order, in their order."""
    nights = [look(run, order_id) for run in runs]
    places = {each.place for night in nights for each in night.counted if each.place}
    for night in nights:
        others = _replaced_by_others(night.run, order_id, places)
        yield replace(night, replaced=[*night.replaced, *others]) if others else night


def look(run: GoodRun, order_id: str) -> Night:
    """Return what a run has of an order. Raises StorageError when a file is not what its manifest says."""
    plan = run.parsed("split", PARTITIONS, Plan)
    parts = [each for each in plan.partitions if each.rows]
    seen, replaced, unread = list[Seen](), list[Before](), 0
    with closing(in_turn(partial(_look, run, plan, order_id), parts, run.storage.streams(run.uri))) as found:
        for some, others, lost in found:
            seen += some
            replaced += others
            unread += lost
    sentences = run.parsed("validate", RULES, dict[str, str]) if seen else {}
    return Night(run, seen, replaced, unread, sentences)


def counting(nights: Sequence[Night]) -> tuple[int, bool]:
    """Return in how many runs an order counts as paid, and whether it is certain that it counts more than once.

    What has been replaced doesn't count.
    """
    replaced = {each.place for night in nights for each in night.taken_back}
    paid = [
        (night, each)
        for night in nights
        for each in night.counted
        if each.became == PAID and each.place not in replaced
    ]
    once = {(night.run.uri, each.key) for night, each in paid if each.key is not None}
    certain = not outdated(nights, [night.run for night in nights])
    return len({night.run.uri for night, _ in paid}), certain and len({key for _, key in once}) < len(once)


def outdated(nights: Iterable[Night], runs: Iterable[GoodRun]) -> list[tuple[str, str]]:
    """Return the names of runs, each with that of another one whose rows it has replaced, and which isn't as it was.

    What is taken back there may not be what the other run counts by now.
    """
    there = {(run.name, run.counts) for run in runs}
    pairs = [(night.run.name, each.place) for night in nights for each in night.taken_back if each.place]
    return [*dict.fromkeys((name, place.run) for name, place in pairs if (place.run, place.counts) not in there)]


def mended(nights: Iterable[Night]) -> tuple[Night, Night] | None:
    """Return the last night on which an order was rejected before it counted, and the one on which it first did."""
    before = None
    for night in nights:
        if night.counted:
            return (before, night) if before else None
        before = night if night.faulty else before
    return None


def _look(run: GoodRun, plan: Plan, order_id: str, partition: Partition) -> tuple[list[Seen], list[Before], int]:
    """Return a partition's rows with an id, what else they replace, and how many rows there are without such an id."""
    result = run.parsed("validate", partition_files(partition.number)["result"], PartitionResult, unsealed)
    names = partition_files(result.partition)["quarantine"], numbered(WARNED, result.partition)
    (rejected, unread), (warned, _) = (_texts(run, plan, result, name, order_id) for name in names)
    counted = _counted(run, plan, partition, result, order_id) if _may_have(result, plan, order_id) else []
    rows = _Rows(plan, partition)
    found = [*rejected, *(_with_warnings(each, warned, len(counted) == 1) for each in counted)]
    found, replaced = _with_before(run, result, order_id, found) if result.seen else (found, [])
    found.sort(key=lambda each: rows.place(each.source, each.row))
    return found, replaced, unread


def _may_have(result: PartitionResult, plan: Plan, order_id: str) -> bool:
    """Tell whether a row of the partition may have counted with this id."""
    ids = result.ids
    if not result.rows.valid:
        return False
    if not found_again(plan.profile) or ids.least is None or ids.most is None:
        return True
    return rank(ids.least) <= rank(order_id) <= rank(ids.most)


def _texts(run: GoodRun, plan: Plan, result: PartitionResult, name: str, order_id: str) -> tuple[list[Seen], int]:
    """Return the rows with an id in a file of rows that have their texts, and the number of those without one."""
    files, seen, unread = {file.name: file for file in plan.files}, list[Seen](), 0
    if name not in result.outputs:
        return seen, unread
    groups = row_groups(run.storage, name, result.outputs[name], ["row", "source", "reasons", "raw"])
    for batch in rebatched(groups, "raw"):
        start = 0
        for source, rows in by_source(batch):
            ids, places = read_ids(rows, files[source], plan.profile)
            at = places[mask(pc.equal(ids, order_id))] + start
            seen += [
                Seen(REJECTED, source, line["row"], tuple(line["reasons"]), line["raw"])
                for line in batch.take(pa.array(at)).to_pylist()
            ]
            start += len(rows)
            unread += len(rows) - len(ids)
    return seen, unread


def _with_warnings(counted: Seen, warned: list[Seen], alone: bool) -> Seen:
    """Return a row that counted with the rules that warn of it; one ``alone`` may have no number, and needs none."""
    at = counted.source, counted.row
    of = next((each for each in warned if (each.source, each.row) == at or (alone and not counted.row)), None)
    return replace(counted, reasons=of.reasons, source=of.source, row=of.row) if of else counted


def _with_before(
    run: GoodRun, result: PartitionResult, order_id: str, found: list[Seen]
) -> tuple[list[Seen], list[Before]]:
    """Return rows with those that earlier runs have counted, as the run has noted with --known, and what is left.

    A row that counted may have no number: then it is the one that replaces others if no other one has its time.
    """
    name = partition_files(result.partition)["seen"]
    earlier = run.parsed("split", EARLIER, Earlier).known
    before = dict[tuple[str, int, str], list[Before]]()
    for group in row_groups(run.storage, name, result.outputs[name]):
        for line in group.filter(pc.equal(group["order_id"], order_id)).to_pylist():
            looked = earlier[line["run"]]
            known = line["partition"] is not None
            each = Before(
                run=looked.run,
                source=line["earlier_source"] or "",
                row=line["earlier_row"] or 0,
                columns=tuple(line["columns"]),
                replaced=line["kind"] == NEWER,
                revenue=f"{line['revenue']:.2f}",
                mine="order_id" not in line["columns"],
                newer=(line["source"], line["row"]),
                place=_place(looked.name, looked.counts, line) if known else None,
            )
            before.setdefault((line["source"], line["row"], str(line["timestamp"])), []).append(each)
    told, left = [*found], list[Before]()
    for (source, row, time), some in before.items():
        by_number = [at for at, each in enumerate(told) if (each.source, each.row) == (source, row)]
        unnumbered = [at for at, each in enumerate(told) if not each.row and each.time == time]
        match by_number or unnumbered:
            case [at]:
                told[at] = replace(told[at], source=source, row=row, before=tuple(some))
            case _:
                left += some
    return told, left


def _place(run: str, counts: str, line: Mapping[str, Any]) -> Place:
    return Place(run, counts, line["partition"], line["paid"], line["at"])


def _replaced_by_others(run: GoodRun, order_id: str, places: Set[Place]) -> list[Before]:
    """Return the rows at some places, of an order, that a run has replaced by rows with other ids.

    That is so only where a key takes the place of the id.
    """
    if not (places and run.has(COUNTING, CORRECTIONS)):
        return []
    profile = profile_of(run)
    if not (profile and profile.order.key):
        return []
    looked, found = looked_at(run), list[Before]()
    for group in row_groups(run.storage, CORRECTIONS, run.manifests[COUNTING].outputs[CORRECTIONS]):
        at = pc.is_in(group["at"], pa.array(sorted({each.at for each in places}), pa.int64()))
        for line in group.filter(pc.and_(at, pc.not_equal(group["order_id"], order_id))).to_pylist():
            name = name_of(line["run"])
            place = _place(name, looked.get(name, ""), line)
            if place in places:
                newer = line["newer_source"], line["newer_row"]
                back = f"{line['revenue']:.2f}"
                found.append(
                    Before(
                        line["run"],
                        line["source"] or "",
                        line["row"] or 0,
                        ("order_id",),
                        replaced=True,
                        revenue=back,
                        newer=newer,
                        place=place,
                    )
                )
    return found


def _counted(run: GoodRun, plan: Plan, partition: Partition, result: PartitionResult, order_id: str) -> list[Seen]:
    names = partition_files(result.partition)
    counts = COUNTS if plan.profile and plan.profile.counts else ()
    found = list[tuple[str, int, str | None, dict[str, Any]]]()
    for became in (PAID, UNPAID):
        with reading(run.storage, names[became], result.outputs[names[became]]) as file:
            before, key = 0, _key_of(run, plan.profile, file.schema_arrow.names)
            for index in range(file.num_row_groups):
                ids = column(file.read_row_group(index, ["order_id"], use_threads=False), "order_id")
                at = np.flatnonzero(mask(pc.equal(ids, order_id)))
                if len(at):
                    names_read = [*dict.fromkeys([*FACTS, *counts, *key])]
                    lines = file.read_row_group(index, names_read, use_threads=False).take(pa.array(at))
                    keys = _keys(lines, key, plan.profile)
                    found += zip([became] * len(at), (before + at).tolist(), keys, lines.to_pylist(), strict=True)
                before += len(ids)
    if not found:
        return []
    rows = _Rows(plan, partition)
    places = _places(run, plan, rows, result, order_id, [(became, at) for became, at, _, _ in found])
    counted = run.counts if COUNTING in run.manifests else ""  # as in a run that has failed
    return [
        Seen(
            became,
            *rows.named(place),
            status=str(line["status"]),
            amount=f"{line['gross'] - line['refunded'] if counts else line['total_amount']:.2f}",
            time=str(line["timestamp"]),
            key=key,
            place=Place(run.name, counted, partition.number, became == PAID, at),
        )
        for (became, at, key, line), place in zip(found, places, strict=True)
    ]


def _key_of(run: GoodRun, profile: Profile | None, kept: list[str]) -> list[str]:
    """Return the columns of the key that takes the place of the id; none where there is none, or it isn't kept."""
    if not profile or profile.by_line or not profile.order.key:
        return []
    with suppress(ConfigError):
        return kept_key(profile, run.uri, kept)
    return []


def _keys(lines: pa.Table, key: list[str], profile: Profile | None) -> list[str | None]:
    """Return the `Seen.key` of each of an order's rows."""
    if profile and key:
        return list(key_texts(lines, key, profile).to_pylist())
    if profile and profile.order.key and not profile.by_line:
        return [None] * len(lines)
    if "orders" not in lines.column_names:
        return [""] * len(lines)
    return ["" if each else None for each in lines["orders"].to_pylist()]


class _Rows:
    """The rows of a partition, counted from 0 over all of its ranges."""

    def __init__(self, plan: Plan, partition: Partition) -> None:
        self._ranges = [part for part in partition.ranges if part.rows]
        self._names = [plan.files[part.file].name for part in self._ranges]
        self._ends = np.cumsum([part.rows for part in self._ranges])
        self._at = {name: at for at, name in enumerate(self._names)}
        self.count = partition.rows

    def place(self, source: str, row: int) -> int:
        """Return the place of a row of a file; that of no row is behind them all."""
        if not row:
            return self.count
        part = self._ranges[at := self._at[source]]
        return int(self._ends[at]) - part.rows + row - part.first_row

    def places(self, sources: pa.Array, rows: Ints) -> Ints:
        """Return the places of rows of files."""
        coded = sources.dictionary_encode()
        firsts = ((each, self._ranges[self._at[each]].first_row) for each in coded.dictionary.to_pylist())
        begins = np.array([self.place(source, first) - first for source, first in firsts], np.int64)
        places: Ints = begins[coded.indices.to_numpy()] + rows
        return places

    def named(self, place: int | None) -> tuple[str, int]:
        """Return the file and the number of the row at a place; if it isn't known, the file if there is one."""
        if place is None:
            return self._names[0] if len(self._names) == 1 else "", 0
        at = int(np.searchsorted(self._ends, place, "right"))
        part = self._ranges[at]
        return self._names[at], place - int(self._ends[at]) + part.rows + part.first_row


def _places(
    run: GoodRun, plan: Plan, rows: _Rows, result: PartitionResult, order_id: str, found: list[tuple[str, int]]
) -> list[int | None]:
    """Return the places of rows that counted, each found at a position of paid or unpaid orders; None if unknown.

    The run has noted the ids of all rows that pass every rule in the order of the source, or which of them are unpaid;
    which rows pass follows from the quarantine. It is not known where that isn't so: with furniture, or a profile with
    other keys than ids.
    """
    unknown: list[int | None] = [None] * len(found)
    if not found_again(plan.profile) or result.rows.furniture:
        return unknown
    name = partition_files(result.partition)["quarantine"]
    passing, back = np.ones(rows.count, bool), np.zeros(rows.count, bool)
    for group in row_groups(run.storage, name, result.outputs[name], ["row", "source", "reasons"]):
        places = rows.places(column(group, "source"), column(group, "row").to_numpy())
        reasons = column(group, "reasons")
        again = pc.list_parent_indices(reasons).filter(pc.is_in(reasons.flatten(), pa.array(sorted(AGAIN))))
        passing[places] = False
        passing[places[again.to_numpy()]] = back[places[again.to_numpy()]] = True
    passed = np.flatnonzero(passing)
    if len(passed) != result.ids.rows:
        return unknown
    if result.ids.buckets:
        at = passed[_positions(run, result, order_id)]
        at = at[~back[at]]
        return [int(at[0])] if len(at) == len(found) == 1 else unknown
    if back.any():
        return unknown
    ids = partition_files(result.partition)["ids"]
    unpaid = [column(each, "position").to_numpy() for each in read_pieces(run.storage, ids, result.ids.unpaid)]
    positions = np.concatenate([np.empty(0, np.int64), *unpaid]).astype(np.int64)
    before = positions - np.arange(len(positions))  # so many paid ones stand before each unpaid one
    return [
        int(passed[at + np.searchsorted(before, at, "right") if became == PAID else positions[at]])
        for became, at in found
    ]


def _positions(run: GoodRun, result: PartitionResult, order_id: str) -> Ints:
    """Return the positions of an id among those that the partition has written."""
    buckets = result.ids.buckets
    bucket = int(bucket_of(hashes(pa.array([order_id])), len(buckets))[0])
    found = [np.empty(0, np.int64)]
    for entries in read_pieces(run.storage, partition_files(result.partition)["ids"], buckets[bucket]):
        same = mask(pc.equal(texts(column(entries, "order_id")), order_id))
        found.append(column(entries, "position").to_numpy()[same].astype(np.int64))
    return np.concatenate(found)
