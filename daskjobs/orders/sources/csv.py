"""CSV: a file's delimiter and columns, the byte ranges of its partitions, and its rows in blocks."""

import hashlib
import io
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import IO, Any, Literal

import numpy as np

from daskjobs.errors import InputError, UsageError
from daskjobs.files.digest import Output
from daskjobs.files.documents import written_as
from daskjobs.files.storage import Storage, damaged
from daskjobs.orders.dialect import BACKSLASH, Dialect
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources import fields, rows, unpack
from daskjobs.orders.sources.format import Block, Cuts, HeaderLines, InputFile, RowRange
from daskjobs.orders.sources.names import our_names

DELIMITERS = (",", ";", "\t", "|")  # tried in this order, unless one is given
HEADER_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class CsvSource:
    """A CSV file; see `SourceFile`.

    ``read`` is the file that is read: itself, or its plain text in the run, which then is ``unpacked``. That one has
    ``size`` bytes; its rows begin at byte ``start``. ``lines`` and ``inside`` are those of `HeaderLines`.
    """

    name: str
    read: str
    kind: Literal["csv"]
    size: int = field(metadata=written_as("bytes"))
    start: int
    delimiter: str
    quoting: str
    columns: list[str]
    header: str
    lines: int
    inside: int
    unpacked: Output | None = None

    @property
    def dialect(self) -> Dialect:
        """How its rows are written."""
        return Dialect(self.delimiter, self.quoting)

    @property
    def header_lines(self) -> HeaderLines:
        """The line ends of its header."""
        return HeaderLines(self.lines, self.inside)

    @property
    def written(self) -> dict[str, Output]:
        """Its plain text, where it had to be unpacked."""
        return {self.read: self.unpacked} if self.unpacked else {}


@dataclass(frozen=True)
class Header:
    """The first row of a CSV file, read by a dialect: its text, its columns, and the byte at which it ends."""

    text: str
    columns: list[str]
    dialect: Dialect
    end: int
    lines: HeaderLines


@dataclass
class OpenRange:
    """A range to which rows are still added."""

    partition: int
    start: int
    first_row: int
    end: int = 0
    rows: int = 0
    lines: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def closed(self, file: int) -> tuple[int, RowRange]:
        """Return the range as it is now, after its partition."""
        return self.partition, RowRange(
            file=file,
            start=self.start,
            first_row=self.first_row,
            rows=self.rows,
            lines=self.lines,
            sha256=self.digest.hexdigest(),
            end=self.end,
        )


class CsvFormat:
    """CSV files in any dialect and encoding, compressed or not."""

    name = "csv"
    unit = "bytes"
    source = CsvSource

    def sniff(self, first: bytes) -> bool:  # noqa: ARG002  # whatever it begins with
        """Take any file: what is no text is refused by `describe`, which says what it is."""
        return True

    def describe(self, storage: Storage, file: InputFile) -> CsvSource:
        """Find a file's delimiter and columns.

        One that is compressed, in an archive or not UTF-8 is unpacked, once its header is known to be one. Raises
        InputError when it isn't a CSV file of orders.
        """
        said = file.said
        if said.delimiter == "\\" and said.quoting == BACKSLASH:
            raise UsageError(
                "--delimiter must not be a backslash with --quoting backslash: give another delimiter or quoting"
            )
        packed = unpack.compression(file.first) or unpack.needs_decoding(said.encoding) or unpack.is_archived(file.name)
        dialects = [Dialect(each, said.quoting) for each in ((said.delimiter,) if said.delimiter else DELIMITERS)]
        read, output = file.name, None
        if packed:
            start = unpack.beginning(storage, file.name, said.encoding, file.first, HEADER_BYTES)
            _find_header(io.BytesIO(start), len(start), dialects, file)
            read = file.plain
            output = unpack.unpack(storage, file.name, read, said.encoding, file.first)
        size = int(storage.size(read) or 0)
        with storage.open(read) as opened:
            header = _find_header(opened, size, dialects, file)
        return CsvSource(
            name=file.name,
            read=read,
            kind="csv",
            size=size,
            start=header.end,
            delimiter=header.dialect.delimiter,
            quoting=header.dialect.quoting,
            columns=header.columns,
            header=header.text,
            lines=header.lines.lines,
            inside=header.lines.inside,
            unpacked=output,
        )

    def weight(self, source: CsvSource) -> int:
        """Return how many bytes of rows a file has."""
        return source.size - source.start

    def ranges(self, storage: Storage, source: CsvSource, cuts: Cuts) -> Iterator[tuple[int, RowRange]]:
        """Yield byte ranges that never cut a row: a row belongs to the partition in which it begins.

        Raises StorageError at the end when the whole file has not the hash that it must have.
        """
        row, current, whole = 1, None, hashlib.sha256()
        with storage.open(source.read) as file, ThreadPoolExecutor(1) as aside:
            whole.update(file.read(source.start))
            counting: Future[Any] = aside.submit(int)  # and hashing, of a block, while the next one is read

            def count_in(part: OpenRange, data: memoryview, last: bool) -> None:
                part.digest.update(data)
                part.lines += _count_lines(data, last)
                if cuts.sha256:
                    whole.update(data)

            for offset, block, ends in rows.blocks(file, source.start, source.size, source.name, source.dialect):
                starts, at = np.concatenate([[0], ends[:-1]]), 0  # at: rows of this block that are in a range already
                before = offset - source.start
                while at < len(ends):
                    begin = int(starts[at])
                    partition = cuts.partition(before + begin)
                    upto = int(np.searchsorted(starts, cuts.end(partition) - before))
                    counting.result()
                    if current is None or current.partition != partition:
                        if current:
                            yield current.closed(cuts.file)
                        current = OpenRange(partition, offset + begin, row)
                    current.end = offset + int(ends[upto - 1])
                    last = current.end == source.size
                    counting = aside.submit(count_in, current, memoryview(block)[begin : int(ends[upto - 1])], last)
                    current.rows += upto - at
                    row, at = row + upto - at, upto
            counting.result()
        if cuts.sha256 and whole.hexdigest() != cuts.sha256:
            raise damaged(storage.uri(source.read))
        if current:
            yield current.closed(cuts.file)

    def blocks(self, storage: Storage, source: CsvSource, part: RowRange) -> Iterator[Block]:
        """Yield a range's rows. Raises InputError at its end when they are not those that were split."""
        digest = hashlib.sha256()
        with storage.open(source.read) as file:
            for _, data, ends in rows.blocks(file, part.start, part.end, source.name, source.dialect):
                digest.update(memoryview(data)[: ends[-1]])
                yield fields.read_block(data, ends, source.columns, source.dialect)
        if digest.hexdigest() != part.sha256:
            raise InputError(f"{source.name} has changed since it was split: run again")


def _find_header(file: IO[bytes], size: int, dialects: list[Dialect], said: InputFile) -> Header:
    """Return the header, its columns under our names, by the dialect that finds most of them."""
    unpack.refuse_other(file.read(unpack.FIRST_BYTES), said.name)
    needed = {said.columns.get(column, column) for column in COLUMNS}
    headers = [_read_header(file, size, dialect, said.name) for dialect in dialects]
    header = max(headers, key=lambda header: len(needed & set(header.columns)))
    return replace(header, columns=our_names(header.columns, said.columns, said.name))


def _read_header(file: IO[bytes], size: int, dialect: Dialect, name: str) -> Header:
    file.seek(0)
    start = file.read(HEADER_BYTES)
    if not start:
        raise InputError(f"{name} is empty; it must begin with a header row")
    mark, last = len(rows.BOM) if start.startswith(rows.BOM) else 0, len(start) == size
    ends = rows.row_ends(start[mark:], dialect, rows.LAST if last else rows.MORE)
    if not len(ends) and not last and b"\n" in start:  # a quote hides it, which may prove to be a character
        _, _, ends = next(rows.blocks(file, mark, size, name, dialect))
    end = mark + int(ends[0]) if len(ends) else len(start)
    try:
        line = start[mark:end].decode().removesuffix("\n").removesuffix("\r")
        if end > HEADER_BYTES or not (last or len(ends)):
            raise InputError(f"{name} begins with a row of more than {HEADER_BYTES >> 20} MiB: it must be a header row")
        if re.search(r"\r(?!\n)", line):
            raise ValueError
    except ValueError as error:
        hint = "give a text file of orders with a header row, in UTF-8 or with --encoding, its lines ended by newlines"
        why = "no text in UTF-8" if isinstance(error, UnicodeDecodeError) else "no line of text"
        raise InputError(f"{name} is not CSV: its first row is {why}; {hint}") from error
    columns, inside = fields.split(line, dialect)
    lines = HeaderLines(_count_lines(start[mark:end], last=end == size), inside)
    return Header(line, [column.strip() for column in columns], dialect, end, lines)


def _count_lines(data: bytes | memoryview, last: bool) -> int:
    """Count line ends by their bytes; the end of the file, where ``last``, is one too if there is none before it."""
    count = int(np.count_nonzero(np.frombuffer(data, np.uint8) == rows.NEWLINE))
    return count + (last and data[-1] != rows.NEWLINE)
