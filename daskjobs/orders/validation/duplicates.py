"""Finds all order ids that occur twice, across all partitions, in memory that doesn't grow with the orders.

Each partition writes the ids of its valid rows into buckets by hash, so that equal ids are in the same bucket. Then a
task for each bucket looks for equal ids in it: it compares hashes first, and texts only if hashes are equal. Where a
row is a line of an order, the runs of lines are looked for in the same way, an entry each. A task reads only its pieces
of the files, each with a SHA-256 of its own, because hashing whole files would take longer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.files.digest import HashingFile, Piece
from daskjobs.files.storage import Storage
from daskjobs.files.tables import column, read_pieces, write_piece
from daskjobs.orders.schema import WRITING
from daskjobs.orders.sources.format import Ints

BUCKET_ROWS = 5_000_000  # in a bucket, whose task has all of their hashes in memory
BATCH_ROWS = 1 << 19  # of a partition, collected before they are written, in a piece for each bucket
SLICE_ROWS = 1 << 16  # hashed at a time
HASHED_BYTES = 64  # at the end of an id

IDS = pa.schema([("position", pa.uint32()), ("order_id", pa.string())])
RUNS = pa.schema([*IDS, ("flags", pa.uint8())])
CODES = pa.schema([("position", pa.uint32()), ("code", pa.uint8())])
HAS_PAID, HAS_UNPAID, HAS_REJECTED = 1, 2, 4  # flags: which rows are in a run
NO_HEAD, REJECTED = 1, 2  # codes: another run has the order's head; another run's line rejects the order

Hashes = npt.NDArray[np.uint64]
Buckets = list[list[Piece]]


def buckets(rows: int) -> int:
    """Return the number of buckets for the ids of ``rows``."""
    return max(1, -(-rows // BUCKET_ROWS))


def hashes(ids: pa.Array) -> Hashes:
    """Return a hash of each text, made of its length and its last bytes."""
    parts = [_hashes(ids.slice(start, SLICE_ROWS)) for start in range(0, len(ids), SLICE_ROWS)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _hashes(ids: pa.Array) -> Hashes:
    offsets = np.frombuffer(ids.buffers()[1], np.int32)[ids.offset : ids.offset + len(ids) + 1].astype(np.int64)
    text, lengths = np.frombuffer(ids.buffers()[2] or b"", np.uint8), np.diff(offsets)
    hashed = np.empty(len(ids), np.uint64)
    alike = lengths.min() == lengths.max()  # usual, and then their bytes are a matrix already
    for length in [int(lengths[0])] if alike else np.unique(lengths).tolist():
        rows, size = np.flatnonzero(lengths == length), min(length, HASHED_BYTES)
        words = np.zeros((len(rows), -(-size // 8) * 8), np.uint8)
        if alike and size == length:
            words[:, :size] = text[offsets[0] : offsets[-1]].reshape(-1, length)
        else:
            words[:, :size] = text[(offsets[rows + 1] - size)[:, None] + np.arange(size)]
        sums = np.full(len(rows), length, np.uint64)
        for word in words.view(np.uint64).T:
            sums = (sums ^ word) * np.uint64(0x9E3779B97F4A7C15)
            sums ^= sums >> np.uint64(32)
        hashed[rows] = sums
    return hashed


class Entries:
    """Writes the entries of a partition, each an id with what belongs to it, into ``count`` buckets of a file.

    ``pieces`` has the pieces by bucket, and is complete after the last `flush`.
    """

    def __init__(self, file: HashingFile, count: int, schema: pa.Schema = IDS) -> None:
        self.pieces: Buckets = [[] for _ in range(count)]
        self._file, self._schema = file, schema
        self._held: list[list[pa.Array]] = []
        self._done = self._waiting = 0

    def take(self, ids: pa.Array, *others: pa.Array) -> None:
        """Take the ids of a block, and the other columns of the schema."""
        self._held.append([ids, *others])
        self._waiting += len(ids)
        if self._waiting >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write all entries that are still held."""
        ids, *others = [pa.concat_arrays(each) for each in zip(*self._held, strict=True)] or [pa.array([], pa.string())]
        self._held.clear()
        self._waiting = 0
        if not len(ids):
            return
        count = len(self.pieces)
        hashed = (hashes(ids) % np.uint64(count)).astype(np.uint16)  # a type that numpy sorts fast
        order = np.argsort(hashed, kind="stable")
        at = pa.array(order)
        table = pa.table([self._done + order, ids.take(at), *(each.take(at) for each in others)], schema=self._schema)
        self._done += len(ids)
        ends = np.searchsorted(hashed[order], np.arange(count, dtype=np.uint16), side="right").tolist()
        for bucket, (start, end) in enumerate(pairwise([0, *ends])):
            self.pieces[bucket].append(write_piece(self._file, table.slice(start, end - start), WRITING))


@contextmanager
def writing_ids(
    storage: Storage, name: str, count: int
) -> Iterator[tuple[Callable[[pa.Array], None], HashingFile, Buckets]]:
    """Give a function that takes the ids of valid rows, block by block, and writes them into ``count`` buckets.

    Also gives the file and its pieces by bucket, which are complete when the ``with`` block has ended.
    """
    with storage.write(name) as file:
        ids = Entries(file, count)
        yield ids.take, file, ids.pieces
        ids.flush()


def find_repeats(root: str, parts: list[tuple[str, list[Piece]]], target: str, last: bool = False) -> dict[int, Piece]:
    """Look for equal ids in a bucket, and write the position of each but the first, or ``last``, to ``target``.

    ``parts`` are the files that `writing_ids` wrote, in the order of the partitions, each with its pieces of this
    bucket. Returns the piece of ``target`` for each partition that has repeated ids. All hashes of the bucket are in
    memory at once; if a hash occurs twice, the ids themselves are read again, piece by piece.
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


def find_runs(root: str, parts: list[tuple[str, list[Piece]]], target: str) -> dict[int, Piece]:
    """Look for orders of several runs in a bucket, and write what that means for each run to ``target``.

    An order has one head: in its first run with a paid row, or without one, in its first run; the others get `NO_HEAD`.
    If one of its runs has a line that rejects the order, the others get `REJECTED`. ``parts`` and what is returned are
    like those of `find_repeats`.
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
    codes = np.where(rejected[orders], np.where(flags & HAS_REJECTED, 0, REJECTED), NO_HEAD * headless).astype(np.uint8)
    told = suspects.select(["partition", "position"]).append_column("code", pa.array(codes))
    return _by_partition(storage, target, told.filter(pa.array(codes > 0)))


def _suspects(storage: Storage, parts: list[tuple[str, list[Piece]]]) -> pa.Table:
    """Return the entries of a bucket of which others have the same hash, each with its ``partition``."""
    hashed = [hashes(column(ids, "order_id")) for _, ids in _bucket(storage, parts)]
    ordered = np.concatenate([np.empty(0, np.uint64), *hashed])
    ordered.sort()  # in place: a copy would take a quarter of this task's memory
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    del ordered
    twice = twice[np.diff(twice, prepend=~twice[:1]) != 0]  # each once, and still sorted
    if not len(twice):
        return pa.table({})
    tables = []
    for (part, ids), known in zip(_bucket(storage, parts), hashed, strict=True):
        at = np.minimum(np.searchsorted(twice, known), len(twice) - 1)  # several times as fast as np.isin
        some = ids.filter(pa.array(twice[at] == known))
        tables.append(some.append_column("partition", pa.repeat(pa.scalar(part, pa.int64()), len(some))))
    return pa.concat_tables(tables)


def _by_partition(storage: Storage, target: str, found: pa.Table) -> dict[int, Piece]:
    """Write what was found to a file, in a piece for each partition."""
    if not len(found):
        return {}
    columns = [name for name in found.column_names if name != "partition"]
    with storage.write(target) as file:
        return {
            part: write_piece(file, found.filter(pc.equal(found["partition"], part)).select(columns), WRITING)
            for part in pc.unique(found["partition"]).to_pylist()
        }


def _bucket(storage: Storage, parts: list[tuple[str, list[Piece]]]) -> Iterator[tuple[int, pa.Table]]:
    """Yield the ids of a bucket's pieces, each table with the number of its partition."""
    for part, (name, pieces) in enumerate(parts):
        for ids in read_pieces(storage, name, pieces):
            yield part, ids


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
