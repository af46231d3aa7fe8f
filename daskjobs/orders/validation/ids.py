"""Writes the ids of a partition where the search for repeated ones finds them, and only those that it may need.

Ids are ordered by their length, then by their bytes, so that order numbers that count up ascend: 8, 9, 10. A partition
whose ids ascend says from which id to which, and writes none of them: where no other partition's range overlaps its
own, none is repeated. It notes which of them are unpaid, so that they can be read again from paid.parquet and
unpaid.parquet where a range overlaps (`read_again`). Other partitions write their ids into buckets, by hash: equal ids
are in the same bucket.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.errors import LostWorkError
from daskjobs.files.digest import HashingFile, Output, Piece
from daskjobs.files.storage import Storage
from daskjobs.files.tables import column, mask, read_pieces, row_groups, write_piece
from daskjobs.orders.profiles import Profile
from daskjobs.orders.sources.format import Ints
from daskjobs.orders.validation.result import Ids

SORTED_ROWS = 1 << 16  # sorted at a time
HASHED_ROWS = 1 << 13  # hashed at a time: larger arrays are new memory of the kernel's each time
HELD_BYTES = 96 << 20  # of entries, collected before they are written, in a piece for each bucket
DECIDING_ROWS = 1 << 17  # at a partition's start: if they ascend, none of its ids is written
LONGEST = 200  # characters of an id that stands in a partition's result

IDS = pa.schema([("position", pa.uint32()), ("order_id", pa.string())])
RUNS = pa.schema([*IDS, ("flags", pa.uint8()), ("says", pa.int64())])
POSITIONS = pa.schema([("position", pa.uint32())])

Hashes = npt.NDArray[np.uint64]
Buckets = list[list[Piece]]
Bytes = npt.NDArray[np.uint8]

HASHED_BYTES = 64  # at the end of an id
_WORD = 8  # bytes
_FACTOR, _HALF, _LOW = np.uint64(0x9E3779B97F4A7C15), np.uint64(32), np.uint64(0xFFFFFFFF)


def hashes(ids: pa.Array) -> Hashes:
    """Return a hash of each text, which may be `compact`, made of its length and its last bytes."""
    parts = [_hashes(compact(ids.slice(start, HASHED_ROWS))) for start in range(0, len(ids), HASHED_ROWS)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def bucket_of(hashed: Hashes, count: int, again: bool = False) -> npt.NDArray[np.uint16]:
    """Return the bucket of each hash, of ``count``; ``again`` divides a bucket into smaller ones, by other bits."""
    bits = hashed & _LOW if again else hashed >> _HALF
    return (bits * np.uint64(count) >> _HALF).astype(np.uint16)  # a type that numpy sorts fast


def compact(ids: pa.Array) -> pa.Array:
    """Return texts of one length as an array of this width, which takes no offsets, and other texts as they are."""
    if not len(ids) or not pa.types.is_string(ids.type):
        return ids
    offsets = _offsets(ids)
    width, start = int(offsets[1] - offsets[0]), int(offsets[0])
    if not width or (np.diff(offsets) != width).any():
        return ids
    text = ids.buffers()[2].slice(start, width * len(ids))
    return pa.Array.from_buffers(pa.binary(width), len(ids), [None, text])


def texts(ids: pa.Array) -> pa.Array:
    """Return what `compact` was given."""
    return ids if pa.types.is_string(ids.type) else ids.cast(pa.binary()).cast(pa.string())


def _offsets(ids: pa.Array) -> Ints:
    return np.frombuffer(ids.buffers()[1], np.int32)[ids.offset : ids.offset + len(ids) + 1].astype(np.int64)


def _hashes(ids: pa.Array) -> Hashes:
    if not pa.types.is_string(ids.type):  # usual, and then the words of all texts stand at equal distances
        return _of_one_length(ids)
    offsets = _offsets(ids)
    ends, lengths = offsets[1:] - offsets[0], np.diff(offsets)
    padded = _padded(np.frombuffer(ids.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]])
    words = np.ndarray((len(padded) - _WORD + 1,), "<u8", padded, 0, (1,))  # by the place in the text where they end
    counts, hashed = _words(lengths), np.empty(len(ids), np.uint64)
    for count in np.flatnonzero(np.bincount(counts)).tolist():
        rows = np.flatnonzero(counts == count)
        load = partial(_gathered, words, ends[rows])
        hashed[rows] = _mixed(load, lengths[rows], len(rows))
    return hashed


def _of_one_length(ids: pa.Array) -> Hashes:
    count, width = len(ids), ids.type.byte_width
    padded = _padded(_bytes(ids))

    def load(end: Any) -> Any:
        return np.ndarray((count,), "<u8", padded, width - int(end), (width,))

    return _mixed(load, np.int64(width), count)


def _gathered(words: Hashes, ends: Ints, end: Any) -> Any:
    return words[ends - end]


def _bytes(ids: pa.Array) -> Bytes:
    """Return the bytes of texts of one length, as `compact` made them."""
    width = ids.type.byte_width
    return np.frombuffer(ids.buffers()[1], np.uint8)[ids.offset * width : (ids.offset + len(ids)) * width]


def _padded(text: Bytes) -> Bytes:
    """Return bytes with a word of zeros before them, so that a word ends with each of them."""
    return np.concatenate([np.zeros(_WORD, np.uint8), text])


def _words(lengths: Any) -> Any:
    return np.maximum(1, (np.minimum(lengths, HASHED_BYTES) + _WORD - 1) >> 3)


def _mixed(load: Callable[[Any], Any], lengths: Any, count: int) -> Hashes:
    """Return the hashes of ``count`` texts that all have as many words.

    ``load`` returns the words that end so many bytes before the end of each text.
    """
    sums, words = np.full(count, lengths, np.uint64), int(_words(np.max(lengths)))
    for number in range(words):
        if number + 1 < words:
            word = load(number * _WORD)
        elif words > 1:  # the first word of the text, which may overlap the one behind it
            word = load(np.minimum(lengths, HASHED_BYTES) - _WORD)
        else:  # without the bytes that stand before a shorter text
            word = load(0) >> np.uint64(8) * (_WORD - lengths).astype(np.uint64)
        sums = (sums ^ word) * _FACTOR
        sums ^= sums >> _HALF
    return sums


class Entries:
    """Writes entries, each an id with what belongs to it, into ``count`` buckets of a file.

    ``pieces`` has the pieces by bucket, and is complete after `flush`: one for each bucket that has entries, or several
    where all entries together exceed `HELD_BYTES`. ``again`` is that of `bucket_of`.
    """

    def __init__(self, file: HashingFile, count: int, schema: pa.Schema = IDS, again: bool = False) -> None:
        self.pieces: Buckets = [[] for _ in range(count)]
        self._file, self._schema, self._again = file, schema, again
        self._taken: list[pa.Table] = []
        self._sorted: list[tuple[pa.Table, list[int]]] = []
        self._rows = self._waiting = self._bytes = 0

    def take(self, ids: pa.Array, *others: pa.Array, positions: Ints | None = None) -> None:
        """Take the ids of a block, and the other columns of the schema; positions count up unless they are given."""
        if positions is None:
            positions = np.arange(self._rows, self._rows + len(ids))
        self._rows += len(ids)
        self.take_all(pa.table([positions.astype(np.uint32), ids, *others], schema=self._schema))

    def take_all(self, entries: pa.Table) -> None:
        """Take entries, whose ids may be `compact`."""
        self._taken.append(with_ids(entries, texts(column(entries, "order_id"))))
        self._waiting += len(entries)
        if self._waiting >= SORTED_ROWS:
            self._sort()

    def flush(self) -> None:
        """Write all entries that are still held."""
        self._sort()
        self._write()

    def _sort(self) -> None:
        if self._waiting:
            table, count = pa.concat_tables(self._taken), len(self.pieces)
            ids = compact(column(table, "order_id"))
            numbers = bucket_of(hashes(ids), count, self._again)
            order = pa.array(np.argsort(numbers, kind="stable"))
            self._sorted.append(
                (with_ids(table, ids).take(order), np.cumsum(np.bincount(numbers, minlength=count)).tolist())
            )
            self._bytes += self._sorted[-1][0].nbytes
        self._taken.clear()
        self._waiting = 0
        if self._bytes >= HELD_BYTES:
            self._write()

    def _write(self) -> None:
        alike = len({entries.schema.field("order_id").type for entries, _ in self._sorted}) == 1
        for bucket, pieces in enumerate(self.pieces):
            bounds = [(entries, ends[bucket - 1] if bucket else 0, ends[bucket]) for entries, ends in self._sorted]
            parts = [entries.slice(start, end - start) for entries, start, end in bounds if start < end]
            if parts:
                whole = pa.concat_tables(
                    parts if alike else [with_ids(each, texts(column(each, "order_id"))) for each in parts]
                )
                pieces.append(write_piece(self._file, whole.combine_chunks()))
        self._sorted.clear()
        self._bytes = 0


def with_ids(entries: pa.Table, ids: pa.Array) -> pa.Table:
    """Return entries with other ids."""
    return entries.set_column(entries.schema.get_field_index("order_id"), "order_id", ids)


class PartitionIds:
    """Takes the ids of a partition's rows that pass every rule, in their order, and writes them if it must.

    It must if they don't ascend, or if they can't be ``found_again`` in the partition's other files.
    """

    def __init__(self, file: HashingFile, count: int, found_again: bool) -> None:
        self._file, self._entries, self._found_again = file, Entries(file, count), found_again
        self._first: list[pa.Array] | None = []  # until it is decided whether to write
        self._writes = False
        self._ascending, self._ranged, self._rows = True, True, 0
        self._least: str | None = None
        self._most: str | None = None
        self._unpaid: list[Ints] = []

    def take(self, ids: pa.Array, unpaid: Ints) -> None:
        """Take the ids of a block, and the positions of the unpaid ones among them."""
        if not len(ids):
            return
        self._extend(ids)
        self._unpaid.append((self._rows + unpaid).astype(np.uint32))
        self._rows += len(ids)
        if self._first is not None:
            self._first.append(ids)
            self._decide()
        elif self._writes:
            self._entries.take(ids)
        if self._writes:
            self._unpaid.clear()

    def _decide(self) -> None:
        self._writes = not (self._ascending and self._found_again)
        if self._writes:
            for ids in self._first or []:
                self._entries.take(ids)
        if self._writes or self._rows > DECIDING_ROWS:
            self._first = None

    def _extend(self, ids: pa.Array) -> None:
        """Extend the range by the ids of the next block."""
        ascending = self._ascending and ascend(ids)
        least, most = (ids[0].as_py(), ids[-1].as_py()) if ascending else extremes(ids)
        self._ascending = ascending and (self._most is None or rank(self._most) < rank(least))
        self._least = least if self._least is None else min(self._least, least, key=rank)
        self._most = most if self._most is None else max(self._most, most, key=rank)

    def end(self) -> Ids:
        """Write what is still held, and return what the partition says of its ids."""
        self._entries.flush()
        unpaid = np.concatenate([np.empty(0, np.uint32), *self._unpaid])
        pieces = [write_piece(self._file, pa.table([unpaid], schema=POSITIONS))] if len(unpaid) else []
        known = self._most is not None and max(len(self._least or ""), len(self._most)) <= LONGEST
        return Ids(
            rows=self._rows,
            ascending=self._ascending,
            least=self._least if known else None,
            most=self._most if known else None,
            buckets=self._entries.pieces if self._writes else [],
            unpaid=pieces,
        )


def found_again(profile: Profile | None) -> bool:
    """Tell whether the ids that no two rows may have in common are those of the paid and the unpaid orders."""
    return profile is None or not (profile.by_line or profile.order.key or profile.order.returns == "subtract")


def rank(text: str) -> tuple[int, bytes]:
    """Return what ids are ordered by.

    >>> sorted(["10", "9", "010"], key=rank)
    ['9', '10', '010']
    """
    data = text.encode()
    return len(data), data


def ascend(ids: pa.Array) -> bool:
    """Tell whether each id ranks above the one before it."""
    if len(ids) < 2:
        return True
    grown = np.diff(np.diff(_offsets(ids)))
    above = pc.less(ids.slice(0, len(ids) - 1), ids.slice(1))
    if not grown.any():
        return bool(above.false_count == 0)
    return bool(grown.min() >= 0 and (mask(above) | (grown > 0)).all())


def extremes(ids: pa.Array) -> tuple[str, str]:
    """Return the ids of the least and of the highest rank."""
    lengths = np.diff(_offsets(ids))
    found = []
    for length, extreme in ((lengths.min(), np.min), (lengths.max(), np.max)):
        alike = compact(ids if lengths.min() == lengths.max() else ids.filter(pa.array(lengths == length)))
        if length:
            first = _first_words(alike)  # comparing all texts as such takes ten times as long
            alike = texts(alike.take(pa.array(np.flatnonzero(first == extreme(first)))))
        found.append((pc.min if extreme is np.min else pc.max)(alike).as_py())
    return found[0], found[1]


def _first_words(ids: pa.Array) -> Hashes:
    """Return the first bytes of `compact` texts as numbers that are ordered as the texts are."""
    width = ids.type.byte_width
    size = min(width, _WORD)
    words = np.ndarray((len(ids),), ">u8", _padded(_bytes(ids)), size, (width,)).astype(np.uint64)
    return words & np.uint64((1 << 8 * size) - 1)  # without the bytes that stand before a shorter text


def read_again(
    root: str, paid: tuple[str, Output], unpaid: tuple[str, Output], noted: tuple[str, Ids], target: str, count: int
) -> Buckets:
    """Read the ids of a partition from its paid and unpaid orders, and write them into buckets of a file ``target``.

    ``noted`` are the name of the partition's file of ids, and what it says of them. Returns the pieces, by bucket.
    """
    storage = Storage(root)
    name, ids = noted
    tables = [POSITIONS.empty_table(), *read_pieces(storage, name, ids.unpaid)]
    positions = column(pa.concat_tables(tables), "position").to_numpy().astype(np.int64)
    before = positions - np.arange(len(positions))  # so many paid ones stand before each unpaid one
    with storage.write(target) as file:
        entries, done, other = Entries(file, count), 0, 0
        for group in row_groups(storage, *paid, ["order_id"]):
            at = np.arange(done, done + len(group))
            at += np.searchsorted(before, at, "right")
            entries.take(column(group, "order_id").cast(pa.string()), positions=at)
            done += len(group)
        for group in row_groups(storage, *unpaid, ["order_id"]):
            at = positions[other : other + len(group)]
            entries.take(column(group, "order_id").cast(pa.string()), positions=at)
            other += len(group)
        if (done + other, other) != (ids.rows, len(positions)):
            raise LostWorkError(
                f"{name} tells of {ids.rows} ids, {paid[0]} and {unpaid[0]} of others: run from split again"
            )
        entries.flush()
    return entries.pieces
