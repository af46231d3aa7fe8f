"""Order ids that occur twice: found exactly, across all partitions, in memory that doesn't grow with the orders.

Each partition writes the ids of its valid rows in buckets by a hash, so that equal ids meet in one bucket. Then one
task a bucket looks for equal ids in it: hashes tell which might be, and only these are compared as texts. What a task
reads of a file are pieces, each with a SHA-256 of its own, since to hash whole files would take each task longer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.manifest import Piece
from daskjobs.outputs import HashingFile
from daskjobs.sources.rows import Ints
from daskjobs.storage import Storage
from daskjobs.tables import column, read_pieces, write_piece

BUCKET_ROWS = 5_000_000  # of all partitions, whose hashes one task has in memory
BATCH_ROWS = 1 << 19  # of one partition, held until they are written, a row group for each bucket
SLICE_ROWS = 1 << 16  # hashed at a time
HASHED_BYTES = 64  # of an id, its last ones

IDS = pa.schema([("position", pa.uint32()), ("order_id", pa.string())])

Hashes = npt.NDArray[np.uint64]
Buckets = list[list[Piece]]


def buckets(rows: int) -> int:
    """Return how many buckets the ids of so many rows need."""
    return max(1, -(-rows // BUCKET_ROWS))


def hashes(ids: pa.Array) -> Hashes:
    """Return a hash of each text: of its length and its last bytes, eight at a time."""
    parts = [_hashes(ids.slice(start, SLICE_ROWS)) for start in range(0, len(ids), SLICE_ROWS)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _hashes(ids: pa.Array) -> Hashes:
    offsets = np.frombuffer(ids.buffers()[1], np.int32)[ids.offset : ids.offset + len(ids) + 1].astype(np.int64)
    text, lengths = np.frombuffer(ids.buffers()[2] or b"", np.uint8), np.diff(offsets)
    found = np.empty(len(ids), np.uint64)
    alike = lengths.min() == lengths.max()  # as they mostly are, and then their bytes are a matrix already
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
        found[rows] = sums
    return found


@contextmanager
def writing_ids(
    storage: Storage, name: str, count: int
) -> Iterator[tuple[Callable[[pa.Array], None], HashingFile, Buckets]]:
    """Give a function that takes the ids of valid rows, block by block, and writes them in ``count`` buckets.

    The pieces of each bucket are known when the block ends.
    """
    pieces: Buckets = [[] for _ in range(count)]
    held: list[pa.Array] = []
    done = 0

    def flush() -> None:
        nonlocal done
        ids = pa.concat_arrays(held)
        held.clear()
        hashed = (hashes(ids) % np.uint64(count)).astype(np.uint16)  # of which numpy's sort is a fast one
        order = np.argsort(hashed, kind="stable")
        table = pa.table([done + order, ids.take(pa.array(order))], schema=IDS)
        done += len(ids)
        ends = np.searchsorted(hashed[order], np.arange(count, dtype=np.uint16), side="right").tolist()
        for bucket, (start, end) in enumerate(pairwise([0, *ends])):
            pieces[bucket].append(write_piece(file, table.slice(start, end - start)))

    def take(ids: pa.Array) -> None:
        held.append(ids)
        if sum(map(len, held)) >= BATCH_ROWS:
            flush()

    with storage.write(name) as file:
        yield take, file, pieces
        if any(map(len, held)):
            flush()


def find(root: str, parts: list[tuple[str, list[Piece]]], target: str) -> dict[int, Piece]:
    """Look for equal ids in a bucket: of each file that `writing_ids` wrote, in the source's order, its pieces.

    Of equal ids all but the first go to ``target``. Returns the piece of it for each partition that has any. Hashes
    are in memory together; the ids themselves are read again, bit by bit, where a hash occurs twice.
    """
    storage = Storage(root)
    hashed = [hashes(column(ids, "order_id")) for _, ids in _bucket(storage, parts)]
    ordered = np.concatenate([np.empty(0, np.uint64), *hashed])
    ordered.sort()  # in place: a copy would be a quarter of what this task holds
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return {}
    del ordered
    tables = []
    for (part, ids), known in zip(_bucket(storage, parts), hashed, strict=True):
        found = ids.filter(pa.array(np.isin(known, twice)))
        tables.append(found.append_column("partition", pa.repeat(pa.scalar(part, pa.int64()), len(found))))
    suspects = pa.concat_tables(tables)
    codes = column(suspects, "order_id").dictionary_encode().indices.to_numpy()
    later = np.ones(len(codes), bool)
    later[np.unique(codes, return_index=True)[1]] = False
    repeated = suspects.filter(pa.array(later)).select(["partition", "position"])
    if not len(repeated):
        return {}
    with storage.write(target) as file:
        return {
            part: write_piece(file, repeated.filter(pc.equal(repeated["partition"], part)).select(["position"]))
            for part in pc.unique(repeated["partition"]).to_pylist()
        }


def _bucket(storage: Storage, parts: list[tuple[str, list[Piece]]]) -> Iterator[tuple[int, pa.Table]]:
    """Yield a bucket's pieces, each with the number of its part."""
    for part, (name, pieces) in enumerate(parts):
        for ids in read_pieces(storage, name, pieces):
            yield part, ids


def positions(storage: Storage, pieces: dict[str, Piece]) -> Ints:
    """Return which of a partition's valid rows, counted from 0, repeat an id: ascending.

    ``pieces`` are those that `find` returned for the partition, by their files.
    """
    found = [column(table, "position") for name in pieces for table in read_pieces(storage, name, [pieces[name]])]
    return np.sort(pa.concat_arrays([pa.array([], pa.uint32()), *found]).to_numpy()).astype(np.int64)
