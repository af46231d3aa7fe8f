"""Finds all order ids that occur twice, across all partitions, in memory that doesn't grow with the orders.

Each partition writes the ids of its valid rows into buckets by hash, so that equal ids are in the same bucket. Then a
task for each bucket looks for equal ids in it: it compares hashes first, and texts only if hashes are equal. A task
reads only its pieces of the files, each with a SHA-256 of its own, because hashing whole files would take longer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def writing_ids(
    storage: Storage, name: str, count: int
) -> Iterator[tuple[Callable[[pa.Array], None], HashingFile, Buckets]]:
    """Give a function that takes the ids of valid rows, block by block, and writes them into ``count`` buckets.

    Also gives the file and its pieces by bucket, which are complete when the ``with`` block has ended.
    """
    pieces: Buckets = [[] for _ in range(count)]
    held: list[pa.Array] = []
    done = waiting = 0

    def flush() -> None:
        nonlocal done
        ids = pa.concat_arrays(held)
        held.clear()
        hashed = (hashes(ids) % np.uint64(count)).astype(np.uint16)  # a type that numpy sorts fast
        order = np.argsort(hashed, kind="stable")
        table = pa.table([done + order, ids.take(pa.array(order))], schema=IDS)
        done += len(ids)
        ends = np.searchsorted(hashed[order], np.arange(count, dtype=np.uint16), side="right").tolist()
        for bucket, (start, end) in enumerate(pairwise([0, *ends])):
            pieces[bucket].append(write_piece(file, table.slice(start, end - start), WRITING))

    def take(ids: pa.Array) -> None:
        nonlocal waiting
        held.append(ids)
        waiting += len(ids)
        if waiting >= BATCH_ROWS:
            flush()
            waiting = 0

    with storage.write(name) as file:
        yield take, file, pieces
        if any(map(len, held)):
            flush()


def find_repeats(root: str, parts: list[tuple[str, list[Piece]]], target: str) -> dict[int, Piece]:
    """Look for equal ids in a bucket, and write the position of every repeat to ``target``.

    ``parts`` are the files that `writing_ids` wrote, in the order of the partitions, each with its pieces of this
    bucket. Returns the piece of ``target`` for each partition that has repeated ids. All hashes of the bucket are in
    memory at once; if a hash occurs twice, the ids themselves are read again, piece by piece.
    """
    storage = Storage(root)
    hashed = [hashes(column(ids, "order_id")) for _, ids in _bucket(storage, parts)]
    ordered = np.concatenate([np.empty(0, np.uint64), *hashed])
    ordered.sort()  # in place: a copy would take a quarter of this task's memory
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return {}
    del ordered
    tables = []
    for (part, ids), known in zip(_bucket(storage, parts), hashed, strict=True):
        some = ids.filter(pa.array(np.isin(known, twice)))
        tables.append(some.append_column("partition", pa.repeat(pa.scalar(part, pa.int64()), len(some))))
    suspects = pa.concat_tables(tables)
    codes = column(suspects, "order_id").dictionary_encode().indices.to_numpy()
    later = np.ones(len(codes), bool)
    later[np.unique(codes, return_index=True)[1]] = False
    repeated = suspects.filter(pa.array(later)).select(["partition", "position"])
    if not len(repeated):
        return {}
    with storage.write(target) as file:
        return {
            part: write_piece(
                file, repeated.filter(pc.equal(repeated["partition"], part)).select(["position"]), WRITING
            )
            for part in pc.unique(repeated["partition"]).to_pylist()
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
