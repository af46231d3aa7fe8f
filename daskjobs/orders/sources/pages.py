"""Check the pages of a Parquet file against its footer, which pyarrow believes.

pyarrow reads as many rows as the footer claims, and unpacks a whole page into memory at once. The headers of the pages
(https://parquet.apache.org/docs/file-format/data-pages/) say how many values there really are, and how large a page
gets.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Self

from daskjobs.errors import DaskjobsError, InputError
from daskjobs.files.storage import explained

PAGES_BYTES = 512 << 20  # unpacked, of one page of each column together: pages are in memory whole
HEADER_BYTES = 16 << 20
LOOK_BYTES = 64 << 10
STOP, BOOLEANS, NUMBERS, BYTES, LIST, STRUCT = 0, (1, 2), (4, 5, 6), 8, 9, 12  # types of Thrift's compact protocol
WIDTHS = {3: 1, 7: 8}  # of a byte and a double
MOST_DEPTH = 16
ROW_GROUPS, ENCRYPTION, CRYPTO = 4, 8, {8, 9}  # numbers of a footer's fields, and of those of a column in it
DATA, DATA_V2 = 5, 8  # fields of a page's header, whose own field 1 is the page's number of values


class Encrypted(Exception):
    """The file has encrypted columns."""


def damaged(name: str, reason: str) -> InputError:
    """Return the error for a file that isn't what it claims to be."""
    return InputError(f"{name} is damaged: {reason}; check that it is complete, and upload it again")


@dataclass(frozen=True)
class Column:
    """A column of a row group, as the footer describes it: its pages are bytes ``start`` to before ``end``.

    ``kind`` is the number of its physical type, ``encodings`` are the numbers of its encodings. It has so many
    ``values``, of ``unpacked`` bytes in all; ``coded`` tells whether there is a dictionary of them.
    """

    path: str
    kind: int
    encodings: tuple[int, ...]
    values: int
    unpacked: int
    start: int
    end: int
    coded: bool

    @classmethod
    def of(cls, chunk: dict[int, Any]) -> Self:
        """Read Thrift's ColumnChunk. Raises ValueError when it is of an encrypted column, or in another file."""
        said = chunk.get(3)
        if CRYPTO & chunk.keys():
            raise Encrypted
        if chunk.get(1) or not isinstance(said, dict):
            raise ValueError("a column stands in another file")
        path = b".".join(part if isinstance(part, bytes) else b"?" for part in said.get(3) or []).decode()
        kind, values, unpacked, packed, data = (_whole(said, key) for key in (1, 5, 6, 7, 9))
        offset = _whole(said, 11) if 11 in said else 0
        start = min((each for each in (offset, data) if each), default=0)  # no rows have no data page, at 0
        if min(values, unpacked, packed, start) < 0:
            raise ValueError(f"{path} has a negative size or number of values")
        encodings = tuple(each for each in said.get(2) or [] if isinstance(each, int))
        return cls(path, kind, encodings, values, unpacked, start, start + packed, offset > 0)


@dataclass(frozen=True)
class Group:
    """A row group, as the footer describes it: its ``rows``, and their ``size`` in bytes before compression."""

    rows: int
    size: int
    columns: list[Column]


@dataclass
class Chunk:
    """The pages of a column in a row group, of which the headers are read while pyarrow reads the file.

    The next header begins at byte ``at``; ``held`` are the bytes from there that were read already. ``counted`` is the
    number of values so far, ``largest`` the size of the largest page in memory.
    """

    column: Column
    at: int
    held: bytes = b""
    counted: int = 0
    largest: int = 0

    def take(self, offset: int, data: bytes) -> None:
        """Look for headers in bytes of the file, which begin at ``offset``."""
        known = self.at + len(self.held)
        if offset > known or offset + len(data) <= known:
            return
        self.held += data[known - offset : self.column.end - offset]
        while self.held:
            try:
                header, length = _struct(self.held, 0)
            except IndexError:
                if len(self.held) > HEADER_BYTES or self.at + len(self.held) >= self.column.end:
                    raise ValueError("it has no end") from None
                return
            size, packed = _whole(header, 2), _whole(header, 3)
            values = [_whole(header[kind], 1) for kind in (DATA, DATA_V2) if isinstance(header.get(kind), dict)]
            if min(size, packed, *values, 0) < 0:
                raise ValueError("it says that there are less than none")
            self.counted += sum(values)
            self.largest = max(self.largest, size)
            self.at += length + packed
            self.held = self.held[length + packed :]


class PagedFile:
    """A file that pyarrow reads, and that checks the headers of pages in what is read.

    ``failure`` is the error of the storage or of a page that made a read fail.
    """

    closed = False  # pyarrow asks

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.name = name
        self.failure: DaskjobsError | None = None
        self._file = file
        self._chunks: list[Chunk] = []
        self._size = file.seek(0, io.SEEK_END)

    def size(self) -> int:
        """Return the file's size in bytes."""
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset, as any file does."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the offset of what is read next."""
        return self._file.tell()

    def close(self) -> None:
        """Do nothing: who opened the file closes it."""

    def read(self, count: int = -1) -> bytes:
        """Read as any file does, and check the headers of pages in it. Raises what it keeps as ``failure``."""
        try:
            with explained(f"read {self.name}"):
                offset = self._file.tell()
                data = self._file.read(count)
            for chunk in self._chunks:
                if chunk.column.start < offset + len(data) and offset < chunk.column.end:
                    self._look(chunk, offset, data)
        except DaskjobsError as error:
            self.failure = error
            raise
        return data

    def walk(self, columns: list[Column]) -> None:
        """Check the pages of these columns from now on."""
        self._chunks = [Chunk(column, column.start) for column in columns]

    def walked(self) -> None:
        """Check the pages that pyarrow didn't read. Raises InputError when there are other values than claimed."""
        for chunk in self._chunks:
            while chunk.at < chunk.column.end:
                self.seek(chunk.at + len(chunk.held))
                if not self.read(LOOK_BYTES):
                    break
            if chunk.counted != chunk.column.values:
                raise damaged(
                    self.name,
                    f"its footer says {chunk.column.values} values of {chunk.column.path} in a row group, its pages "
                    f"{chunk.counted}",
                )
        self._chunks = []

    def _look(self, chunk: Chunk, offset: int, data: bytes) -> None:
        try:
            chunk.take(offset, data)
        except ValueError as error:
            raise damaged(self.name, f"in {chunk.column.path}, a page's header can't be read: {error}") from error
        size = sum(each.largest for each in self._chunks)
        if size > PAGES_BYTES:
            raise InputError(
                f"{self.name} has pages that unpack to {size >> 20} MiB together, of at most {PAGES_BYTES >> 20} that "
                "one row group may need at a time: write it again with smaller pages (1 MiB is usual)"
            )


def row_groups(footer: bytes, start: int = 0, end: int | None = None) -> Iterator[Group]:
    """Yield the row groups ``start`` to before ``end`` of a footer that is not encrypted.

    pyarrow knows them too, but ends the process when it is asked for a column that is encrypted or damaged. Raises
    Encrypted when columns are, and ValueError when the footer is damaged.
    """
    at = key = 0
    try:
        while True:
            key, kind, at = _field(footer, at, key)
            if kind == STOP:
                return
            if key == ENCRYPTION:
                raise Encrypted
            if key == ROW_GROUPS and kind == LIST:
                count, _, at = _list(footer, at)
                for number in range(count):
                    group, at = _struct(footer, at)
                    if start <= number and (end is None or number < end):
                        columns = [Column.of(each) for each in group.get(1) or []]
                        yield Group(_whole(group, 3), _whole(group, 2), columns)
            else:
                _, at = _value(footer, at, kind, 0)
    except (IndexError, AttributeError, TypeError) as error:
        raise ValueError(f"it is no footer ({error})") from error


def _whole(said: dict[int, Any], key: int) -> int:
    value = said.get(key)
    if not isinstance(value, int):
        raise ValueError(f"a number is missing in it, that of the field {key}")
    return value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("it holds a number that is too long")


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _struct(data: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Read a struct of Thrift's compact protocol; return its values by the numbers of its fields, and where it ends.

    Raises IndexError when it goes on beyond ``data``, ValueError when it is not a struct.
    """
    members, key = dict[int, Any](), 0
    if depth > MOST_DEPTH:
        raise ValueError("it is nested too deeply")
    while True:
        key, kind, at = _field(data, at, key)
        if kind == STOP:
            return members, at
        members[key], at = _value(data, at, kind, depth)


def _field(data: bytes, at: int, before: int) -> tuple[int, int, int]:
    """Return a field's number and type, and where its value begins; ``before`` is the number of the field before it."""
    byte, at = data[at], at + 1
    if byte >> 4:
        return before + (byte >> 4), byte & 15, at
    if byte:
        key, at = _number(data, at)
        return key, byte & 15, at
    return 0, STOP, at


def _list(data: bytes, at: int) -> tuple[int, int, int]:
    """Return a list's length and its values' type, and where the first one begins."""
    byte, at = data[at], at + 1
    if byte >> 4 == 15:
        count, at = _varint(data, at)
        return count, byte & 15, at
    return byte >> 4, byte & 15, at


def _value(data: bytes, at: int, kind: int, depth: int, inside: bool = False) -> tuple[Any, int]:
    """Read a value, which may stand ``inside`` a list."""
    if kind in BOOLEANS:  # in a struct, their value is their type
        return None, at + inside
    if kind in NUMBERS:
        return _number(data, at)
    if kind == BYTES:
        length, at = _varint(data, at)
        if at + length > len(data):
            raise IndexError
        return data[at : at + length], at + length
    if kind == STRUCT:
        return _struct(data, at, depth + 1)
    if kind == LIST:
        count, each, at = _list(data, at)
        values = []
        for _ in range(count):
            value, at = _value(data, at, each, depth + 1, inside=True)
            values.append(value)
        return values, at
    if kind in WIDTHS:
        return None, at + WIDTHS[kind]
    raise ValueError(f"it holds a value of the type {kind}")  # a set or a map, which Parquet doesn't use
