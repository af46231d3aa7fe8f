"""Finds all order ids that occur twice, across all partitions, in memory that doesn't grow with the orders.

Only partitions whose ranges of ids overlap, or whose ids don't ascend, can have an id twice (`suspected`). Their ids
stand in buckets, by hash, as `ids` describes it, and a task for each bucket looks for equal ids in it: it compares
hashes first, and texts only if hashes are equal. Of very many ids, a bucket is divided into smaller ones before that.
Where a row is a line of an order, the runs of lines are looked for in the same way, an entry each. A task reads only
its pieces of the files, each with a SHA-256 of its own, because hashing whole files would take longer.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.files.digest import Piece
from daskjobs.files.storage import Storage
from daskjobs.files.tables import column, read_pieces, write_piece
from daskjobs.orders.sources.format import Ints
from daskjobs.orders.validation.ids import Buckets, Entries, Hashes, hashes, rank, texts, with_ids
from daskjobs.orders.validation.result import Ids

BUCKET_ROWS = 5_000_000  # in a bucket, whose task has all of their hashes in memory
MOST_PIECES = 1 << 16  # of all partitions, each of which names its own in its result
SEEN_BITS = 22  # of a hash, by which most ids are passed over that no other one equals

CODES = pa.schema([("position", pa.uint32()), ("code", pa.uint8())])
HAS_PAID, HAS_UNPAID, HAS_REJECTED = 1, 2, 4  # flags: which rows are in a run
# Codes: another run has the order's head; another run's line rejects the order; its run says something else.
NO_HEAD, REJECTED, DIFFERS = 1, 2, 4


@dataclass(frozen=True)
class Part:
    """Where entries of a bucket stand: pieces of a file.

    They are those of one ``partition``, or each says which one it is of, in a column.
    """

    name: str
    pieces: list[Piece]
    partition: int | None = None


def buckets(rows: int, partitions: int) -> tuple[int, int]:
    """Return the number of buckets for the ids of ``rows``, and into how many each of these is divided.

    >>> buckets(10_000_000, 10), buckets(1_000_000_000, 200), buckets(10_000_000_000, 200)
    ((2, 1), (200, 1), (327, 7))
    """
    count = max(1, -(-rows // BUCKET_ROWS))
    first = min(count, max(1, MOST_PIECES // max(1, partitions)))
    return first, -(-count // first)


def suspected(ids: list[Ids]) -> list[int]:
    """Return the partitions that may have an id in common, or one twice, from what each says of its ids."""
    some = [number for number, each in enumerate(ids) if each.rows]
    if any(ids[number].least is None or ids[number].most is None for number in some):
        return some
    ranges = sorted((rank(ids[number].least or ""), rank(ids[number].most or ""), number) for number in some)
    found = {number for number in some if not ids[number].ascending}
    highest = None  # of the ranges up to here, the one that goes on the longest
    for each in ranges:
        if highest and each[0] <= highest[1]:
            found |= {highest[2], each[2]}
        highest = each if highest is None else max(highest, each, key=lambda one: one[1])
    return sorted(found)


def divide(root: str, parts: list[Part], target: str, count: int) -> Buckets:
    """Divide a bucket into ``count`` smaller ones, in a file ``target``, whose entries say which partition they are of.

    Returns the pieces by smaller bucket.
    """
    storage = Storage(root)
    with storage.write(target) as file:
        smaller = Entries(file, count, again=True)
        for part, entries in _bucket(storage, parts):
            smaller.take_all(_placed(entries, part))
        smaller.flush()
    return smaller.pieces


def find_repeats(root: str, parts: list[Part], target: str, last: bool = False) -> dict[int, Piece]:
    """Look for equal ids in a bucket, and write the position of each but the first, or ``last``, to ``target``.

    ``parts`` has the bucket's entries. Returns the piece of ``target`` for each partition that has repeated ids. All
    hashes of the bucket are in memory at once; if a hash occurs twice, the ids themselves are read again, piece by
    piece.
    """
    storage = Storage(root)
    suspects = _suspects(storage, parts)
    if not len(suspects):
        return {}
    codes = column(suspects, "order_id").dictionary_encode().indices.to_numpy()
    rows = np.arange(len(codes)) if last else np.arange(len(codes))[::-1]
    counting = np.empty(len(codes), np.int64)  # by id, the row that counts: the one that is written last
    counting[codes[rows]] = rows
    repeats = counting[codes] != np.arange(len(codes))
    return _by_partition(storage, target, suspects.filter(pa.array(repeats)).select(["partition", "position"]))


def find_runs(root: str, parts: list[Part], target: str) -> dict[int, Piece]:
    """Look for orders of several runs in a bucket, and write what that means for each run to ``target``.

    An order has one head: in its first run with a paid row, or without one, in its first run; the others get `NO_HEAD`,
    and `DIFFERS` if they say another total or refund than that run, or if just one of the two has a paid row. If one of
    its runs has a line that rejects the order, the others get `REJECTED`. ``parts`` and what is returned are like those
    of `find_repeats`.
    """
    storage = Storage(root)
    suspects = _suspects(storage, parts)
    if not len(suspects):
        return {}
    orders = column(suspects, "order_id").dictionary_encode().indices.to_numpy()
    flags, rows = column(suspects, "flags").to_numpy(), np.arange(len(suspects))
    head = np.full(len(suspects), -1)
    for flag in (HAS_UNPAID, HAS_PAID):  # of which the second one counts, where there are both
        having = rows[flags & flag != 0][::-1]
        head[orders[having]] = having  # the first one is written last
    rejected = np.bincount(orders[flags & HAS_REJECTED != 0], minlength=len(suspects)) > 0
    headless = (flags & (HAS_PAID | HAS_UNPAID) != 0) & (head[orders] != rows)
    says, paid = column(suspects, "says").to_numpy(), flags & HAS_PAID
    differs = headless & ((says != says[head[orders]]) | (paid != paid[head[orders]]))
    whole = NO_HEAD * headless + DIFFERS * differs
    codes = np.where(rejected[orders], np.where(flags & HAS_REJECTED, 0, REJECTED), whole).astype(np.uint8)
    told = suspects.select(["partition", "position"]).append_column("code", pa.array(codes))
    return _by_partition(storage, target, told.filter(pa.array(codes > 0)))


def count_distinct(root: str, parts: list[Part]) -> dict[str, int]:
    """Count the distinct ids of a bucket, whose entries have the number of a file as their position.

    Returns how many there are in each file, and under an empty text in all. Only ids of which others have the same hash
    are compared as texts.
    """
    storage, counts = Storage(root), np.zeros(1, np.int64)
    for _, entries in _bucket(storage, parts):
        found = np.bincount(column(entries, "position").to_numpy(), minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    suspects, total = _suspects(storage, parts), int(counts.sum())
    if len(suspects):
        files = column(suspects, "position").to_numpy().astype(np.int64)
        codes = column(suspects, "order_id").dictionary_encode().indices.to_numpy().astype(np.int64)
        total += int(codes.max()) + 1 - len(codes)
        pairs = np.unique(codes * len(counts) + files) % len(counts)
        counts += np.bincount(pairs, minlength=len(counts)) - np.bincount(files, minlength=len(counts))
    return {"": total} | {str(number): count for number, count in enumerate(counts.tolist()) if count}


def _suspects(storage: Storage, parts: list[Part]) -> pa.Table:
    """Return the entries of a bucket of which others have the same hash, in the order of their rows."""
    hashed = [hashes(column(entries, "order_id")) for _, entries in _bucket(storage, parts)]
    twice = _twice(hashed)
    if not len(twice):
        return pa.table({})
    low = np.uint64((1 << SEEN_BITS) - 1)
    seen = np.zeros(1 << SEEN_BITS, bool)
    seen[twice & low] = True
    tables = []
    for (part, entries), known in zip(_bucket(storage, parts), hashed, strict=True):
        rows = np.flatnonzero(seen[known & low])  # most others needn't be searched for
        at = np.minimum(np.searchsorted(twice, known[rows]), len(twice) - 1)
        some = _placed(entries.take(pa.array(rows[twice[at] == known[rows]])), part)
        tables.append(with_ids(some, texts(column(some, "order_id"))))
    found = pa.concat_tables(tables)
    places = column(found, "partition").to_numpy().astype(np.int64) << 32 | column(found, "position").to_numpy()
    return found if (np.diff(places) > 0).all() else found.take(pa.array(np.argsort(places)))


def _twice(hashed: list[Hashes]) -> Hashes:
    """Return the hashes that occur twice, each once, sorted."""
    ordered = np.concatenate([np.empty(0, np.uint64), *hashed])
    ordered.sort()  # in place: a copy would take a quarter of this task's memory
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    once: Hashes = twice[np.diff(twice, prepend=~twice[:1]) != 0]
    return once


def _placed(entries: pa.Table, part: Part) -> pa.Table:
    """Return entries with their partition, if they don't say it themselves."""
    if part.partition is None:
        return entries
    return entries.append_column("partition", pa.repeat(pa.scalar(part.partition, pa.uint32()), len(entries)))


def _by_partition(storage: Storage, target: str, found: pa.Table) -> dict[int, Piece]:
    """Write what was found to a file, in a piece for each partition."""
    if not len(found):
        return {}
    columns = [name for name in found.column_names if name != "partition"]
    with storage.write(target) as file:
        return {
            part: write_piece(file, found.filter(pc.equal(found["partition"], part)).select(columns))
            for part in pc.unique(found["partition"]).to_pylist()
        }


def _bucket(storage: Storage, parts: list[Part]) -> Iterator[tuple[Part, pa.Table]]:
    """Yield the entries of a bucket, piece by piece."""
    for part in parts:
        for entries in read_pieces(storage, part.name, part.pieces):
            yield part, entries


def positions(storage: Storage, pieces: dict[str, Piece]) -> Ints:
    """Return the positions, from 0 and ascending, of a partition's rows that repeat an id, among those without reasons.

    ``pieces`` are those that `find_repeats` returned for the partition, by file.
    """
    each = [column(table, "position") for name in pieces for table in read_pieces(storage, name, [pieces[name]])]
    return np.sort(pa.concat_arrays([pa.array([], pa.uint32()), *each]).to_numpy()).astype(np.int64)


@dataclass(frozen=True)
class Elsewhere:
    """What other runs of the same orders mean for a partition's runs: codes, by the positions of its runs."""

    positions: Ints
    codes: npt.NDArray[np.uint8]

    def of(self, first: int, count: int) -> npt.NDArray[np.uint8]:
        """Return the codes of ``count`` runs from position ``first`` on; 0 where there is nothing to say."""
        low, high = np.searchsorted(self.positions, [first, first + count])
        codes = np.zeros(count, np.uint8)
        codes[self.positions[low:high] - first] = self.codes[low:high]
        return codes


NOTHING = Elsewhere(np.empty(0, np.int64), np.empty(0, np.uint8))


def elsewhere(storage: Storage, pieces: dict[str, Piece]) -> Elsewhere:
    """Return what `find_runs` has found for a partition, whose pieces these are, by file."""
    tables = [CODES.empty_table()]
    tables += [table for name in pieces for table in read_pieces(storage, name, [pieces[name]])]
    told = pa.concat_tables(tables)
    places, codes = column(told, "position").to_numpy().astype(np.int64), column(told, "code").to_numpy()
    order = np.argsort(places)
    return Elsewhere(places[order], codes[order])
