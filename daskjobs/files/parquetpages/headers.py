"""The headers of a Parquet file's pages, which are checked as pyarrow reads the file."""

import io
from dataclasses import dataclass
from typing import IO

from daskjobs.errors import DaskjobsError, InputError
from daskjobs.files.parquetpages.footer import Column
from daskjobs.files.parquetpages.thrift import read_struct, whole
from daskjobs.files.storage import explained

PAGES_BYTES = 512 << 20  # unpacked, of one page of each column together: pages are in memory whole
HEADER_BYTES = 16 << 20
LOOK_BYTES = 64 << 10
DATA, DATA_V2 = 5, 8  # fields of a page's header, whose own field 1 is the page's number of values


def damaged(name: str, reason: str) -> InputError:
    """Return the error for a file that isn't what it claims to be."""
    return InputError(f"{name} is damaged: {reason}; check that it is complete, and upload it again")


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
                header, length = read_struct(self.held, 0)
            except IndexError:
                if len(self.held) > HEADER_BYTES or self.at + len(self.held) >= self.column.end:
                    raise ValueError("it has no end") from None
                return
            size, packed = whole(header, 2), whole(header, 3)
            values = [whole(header[kind], 1) for kind in (DATA, DATA_V2) if isinstance(header.get(kind), dict)]
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

    closed = False  # pyarrow needs this attribute

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
        """Return the offset of the next read."""
        return self._file.tell()

    def close(self) -> None:
        """Do nothing: the code that opened the file closes it."""

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
