"""Many small files: each is read once when it is described, several at a time, and many are checked as one block."""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from typing import IO, Any, TypeVar

import numpy as np
import pyarrow as pa

from daskjobs.cores import cores
from daskjobs.errors import InputError
from daskjobs.files.storage import Storage
from daskjobs.orders.sources import format_of
from daskjobs.orders.sources.format import Block, BlockLines, Ints, RowRange, SourceFile
from daskjobs.orders.sources.lines import BLOCK_BYTES, BLOCK_ROWS, LAST, LinesFormat

SMALL_BYTES = 64 << 10  # of a file, or of a range of rows, that is read whole
HELD_BYTES = 64 << 20  # of small files that are kept in memory between their description and their cuts
REQUESTS = 16  # at a time, to a store that isn't this machine's

OWN = ("name", "read", "size", "start", "lines", "inside", "groups", "unpacked")  # what like files need not share

T = TypeVar("T")
R = TypeVar("R")


def in_turn(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield what ``function`` returns for each item, in their order; so many threads work on the next ones.

    No more than two items a thread wait for their turn, and after an error none is begun.
    """
    if threads < 2:
        yield from map(function, items)
        return
    waiting = list[Future[R]]()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * threads:
                yield waiting.pop(0).result()
        for each in waiting:
            yield each.result()
    finally:
        pool.shutdown(cancel_futures=True)


def threads(storage: Storage, name: str) -> int:
    """Return how many files like this one are read at a time."""
    return cores() if storage.is_local(name) else REQUESTS


@dataclass(frozen=True)
class ReadOnce(Storage):
    """A storage whose small files are read by the first `open` alone, as long as they fit in `HELD_BYTES` together."""

    held: dict[str, bytes] = field(default_factory=dict, compare=False)
    room: list[int] = field(default_factory=lambda: [HELD_BYTES], compare=False)

    @classmethod
    def of(cls, storage: Storage) -> "ReadOnce":
        """Return a storage of the same files."""
        return cls(storage.root, storage.check, storage.secrets)

    def open(self, name: str, cache: str = "readahead") -> IO[bytes]:
        """Open a file for reading at any offset. Raises StorageError."""
        if name in self.held:
            return io.BytesIO(self.held[name])
        opened = super().open(name, cache)
        if cache == "none" or self.room[0] < SMALL_BYTES:  # it is read in parts
            return opened
        try:
            data = opened.read(SMALL_BYTES + 1)
            if len(data) <= SMALL_BYTES:
                self.held[name] = data
                self.room[0] -= len(data)
                opened.close()
                return io.BytesIO(data)
            opened.seek(0)
        except BaseException:
            opened.close()
            raise
        return opened

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, or None if there is no such file."""
        return len(self.held[name]) if name in self.held else super().size(name)


def together(ranges: list[RowRange], files: Mapping[int, SourceFile], alone: bool = False) -> Iterator[list[RowRange]]:
    """Yield ranges that `blocks` reads together: neighbours in small files that are alike, or one range ``alone``."""
    batch, size, rows = list[RowRange](), 0, 0
    for part in ranges:
        weight = _weight(files[part.file], part)
        fits = size + weight <= BLOCK_BYTES and rows + part.rows <= BLOCK_ROWS and weight <= SMALL_BYTES and not alone
        if batch and not (fits and _alike(files[batch[0].file], files[part.file])):
            yield batch
            batch, size, rows = [], 0, 0
        batch.append(part)
        size, rows = size + weight, rows + part.rows
    if batch:
        yield batch


def blocks(storage: Storage, files: Mapping[int, SourceFile], parts: list[RowRange]) -> Iterator[Block]:
    """Yield the rows of ranges that `together` gave; several of them are one block.

    Raises InputError, at their end at the latest, when they have changed since split.
    """
    source = files[parts[0].file]
    source_format = format_of(source)
    if len(parts) == 1:
        yield from source_format.blocks(storage, source, parts[0])
        return
    if isinstance(source_format, LinesFormat):
        data, ends = _lines(storage, files, parts)
        found = source_format.row_ends(source)(data, LAST)
        if np.isin(ends, found).all():  # else a quote of one file, which closes nowhere in it, would close in another
            yield source_format.block(source, data, found)
            return
    each = in_turn(
        lambda part: list(format_of(files[part.file]).blocks(storage, files[part.file], part)),
        parts,
        threads(storage, source.read),
    )
    yield _joined([block for found in each for block in found])


def starts(files: Mapping[int, SourceFile], parts: list[RowRange]) -> tuple[tuple[int, str, int], ...]:
    """Return where each of several ranges begins in their block, the name of its file, and its first row's number."""
    begins = accumulate((part.rows for part in parts), initial=0)
    return tuple((begin, files[part.file].name, part.first_row) for begin, part in zip(begins, parts, strict=False))


def _weight(source: SourceFile, part: RowRange) -> int:
    source_format = format_of(source)
    return part.end - part.start if isinstance(source_format, LinesFormat) else source_format.weight(source)


def _alike(one: SourceFile, other: SourceFile) -> bool:
    """Tell whether rows of two files can be in one block, because the files differ in their names and sizes alone."""
    return type(one) is type(other) and _form(one) == _form(other)


def _form(source: SourceFile) -> list[Any]:
    return [value for name, value in vars(source).items() if name not in OWN]


def _lines(storage: Storage, files: Mapping[int, SourceFile], parts: list[RowRange]) -> tuple[bytes, Ints]:
    """Return the lines of all ranges, and the offset after each range, whose last row has a line end."""

    def read(part: RowRange) -> bytes:
        source = files[part.file]
        data = storage.part(source.read, part.start, part.end)
        if len(data) < part.end - part.start or hashlib.sha256(data).hexdigest() != part.sha256:
            raise InputError(f"{source.name} has changed since it was split: run again")
        return data if data.endswith(b"\n") else data + b"\n"

    pieces = list(in_turn(read, parts, threads(storage, files[parts[0].file].read)))
    return b"".join(pieces), np.cumsum([len(piece) for piece in pieces])


def _joined(blocks: list[Block]) -> Block:
    """Return the rows of some blocks, which have the same columns, as one block."""
    ends = np.cumsum([block.rows for block in blocks])
    begins = ends - [block.rows for block in blocks]
    numbered = list(zip(begins.tolist(), blocks, strict=True))

    def raw(which: Ints) -> pa.Array:
        cuts = np.searchsorted(which, ends)
        each = [
            block.raw(which[low:high] - begin)
            for low, high, (begin, block) in zip([0, *cuts[:-1]], cuts, numbered, strict=True)
            if low < high
        ]
        return pa.concat_arrays(each) if each else pa.array([], pa.string())

    lines = [block.lines for block in blocks if block.lines]
    several = {begin + row: count for begin, block in numbered if block.lines for row, count in block.lines.several.items()}
    return Block(
        rows=int(ends[-1]),
        texts=pa.concat_tables([block.texts for block in blocks]).combine_chunks(),
        kept=np.concatenate([begin + block.kept for begin, block in numbered]),
        malformed={begin + row: reason for begin, block in numbered for row, reason in block.malformed.items()},
        raw=raw,
        lines=BlockLines(sum(each.inside for each in lines), several) if lines else None,
    )
