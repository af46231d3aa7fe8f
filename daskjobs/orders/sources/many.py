"""Many small files: each is read once when it is described, several at a time, and many are checked as one block."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import IO, Any

import numpy as np

from daskjobs.cores import in_turn
from daskjobs.errors import InputError
from daskjobs.files.storage import Storage
from daskjobs.orders.sources import format_of, lines
from daskjobs.orders.sources.format import Block, Ints, RowRange, SourceFile, joined
from daskjobs.orders.sources.lines import LAST, LinesFormat

SMALL_BYTES = 64 << 10  # of a file, or of a range of rows, that is read whole
HELD_BYTES = 64 << 20  # of small files that stay in memory between their description and their cuts
AHEAD = 256  # files that are requested before they are looked at

# What files of one form need not share.
OWN = (
    "name",
    "read",
    "size",
    "start",
    "lines",
    "inside",
    "outside",
    "footer",
    "before",
    "after",
    "encoding",
    "groups",
    "unpacked",
    "utf8",
)


@dataclass(frozen=True)
class ReadOnce(Storage):
    """A storage whose small files are read once, by `open` or `ahead`, and held until they are let go."""

    held: dict[str, bytes] = field(default_factory=dict, compare=False)
    large: set[str] = field(default_factory=set, compare=False)
    used: list[int] = field(default_factory=lambda: [0], compare=False)  # the bytes that are held

    @classmethod
    def of(cls, storage: Storage) -> "ReadOnce":
        """Return a storage of the same files."""
        return cls(storage.root, storage.check, storage.secrets)

    def ahead(self, names: Sequence[str]) -> Iterator[int]:
        """Yield the positions of these files, after the small ones of an object store were requested together."""
        for first in range(0, len(names), AHEAD):
            window = [name for name in names[first : first + AHEAD] if name not in self.held and name not in self.large]
            found = self.parts_at_hand([(name, 0, SMALL_BYTES + 1) for name in window]) if len(names) > 1 else []
            for name, data in zip(window, found, strict=False):
                if data is not None:
                    self._take(name, data)
            yield from range(first, min(first + AHEAD, len(names)))

    def let_go(self, name: str, most: int = 0) -> None:
        """Forget a file's bytes, if those of all files are more than ``most``."""
        if self.used[0] > most and name in self.held:
            self.used[0] -= len(self.held.pop(name))

    def open(self, name: str, cache: str = "readahead", part: tuple[int, int] | None = None) -> IO[bytes]:
        """Open a file for reading at any offset. Raises StorageError."""
        if name in self.held:
            return io.BytesIO(self.held[name])
        opened = super().open(name, cache, part)
        if cache == "none" or name in self.large:
            return opened
        try:
            data = opened.read(SMALL_BYTES + 1)
            if self._take(name, data):
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

    def _take(self, name: str, data: bytes) -> bool:
        if len(data) > SMALL_BYTES:
            self.large.add(name)
            return False
        self.held[name] = data
        self.used[0] += len(data)
        return True


def together(ranges: list[RowRange], files: Mapping[int, SourceFile], alone: bool = False) -> Iterator[list[RowRange]]:
    """Yield ranges that `blocks` reads together: neighbours in small files that are alike, or one range ``alone``."""
    batch, size, rows = list[RowRange](), 0, 0
    for part in ranges:
        weight = _weight(files[part.file], part)
        small = weight <= SMALL_BYTES and not alone
        fits = small and size + weight <= lines.BLOCK_BYTES and rows + part.rows <= lines.BLOCK_ROWS
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

    def read(part: RowRange) -> list[Block]:
        return list(source_format.blocks(storage, files[part.file], part))

    each = in_turn(read, parts, storage.requests(source.read))
    if read_blocks := [block for found in each for block in found]:
        yield joined(read_blocks)


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
    pieces = storage.parts([(files[part.file].read, part.start, part.end) for part in parts])
    for number, (part, data) in enumerate(zip(parts, pieces, strict=True)):
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise InputError(f"{files[part.file].name} has changed since it was split: run again")
        if not data.endswith(b"\n"):
            pieces[number] += b"\n"
    return b"".join(pieces), np.cumsum([len(piece) for piece in pieces])
