"""CSV: a file's delimiter and columns, the byte ranges of its partitions, and its rows in blocks."""

import re
from dataclasses import dataclass, replace
from typing import IO, ClassVar, Literal

from daskjobs.errors import InputError, UsageError
from daskjobs.orders.dialect import BACKSLASH, Dialect
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources import fields, lines, unpack
from daskjobs.orders.sources.format import Block, HeaderLines, InputFile, Ints
from daskjobs.orders.sources.lines import BOM, LAST, MORE, LinesFormat, LinesSource, RowEnds
from daskjobs.orders.sources.quotes import row_ends

DELIMITERS = (",", ";", "\t", "|")  # tried in this order, unless one is given
HEADER_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class CsvSource(LinesSource):
    """A CSV file. ``lines`` and ``inside`` are those of `HeaderLines`."""

    ending: ClassVar[str] = "csv"
    kind: Literal["csv"]
    delimiter: str
    quoting: str
    lines: int
    inside: int

    @property
    def dialect(self) -> Dialect:
        """How its rows are written."""
        return Dialect(self.delimiter, self.quoting)

    @property
    def header_lines(self) -> HeaderLines:
        """The line ends of its header."""
        return HeaderLines(self.lines, self.inside)


@dataclass(frozen=True)
class Header:
    """The first row of a CSV file in some dialect: its text, its columns, and the byte at which it ends."""

    text: str
    columns: list[str]
    dialect: Dialect
    end: int
    lines: HeaderLines


class CsvFormat(LinesFormat[CsvSource]):
    """CSV files in any dialect."""

    name = "csv"
    source = CsvSource
    counted = True

    def sniff(self, first: bytes) -> bool:  # noqa: ARG002  # whatever it begins with
        """Take any file; `describe` rejects binary files by name."""
        return True

    def describe(self, file: InputFile) -> CsvSource:
        """Find a file's delimiter and columns. Raises InputError when it isn't a CSV file of orders."""
        said = file.said
        if said.delimiter == "\\" and said.quoting == BACKSLASH:
            raise UsageError(
                "--delimiter must not be a backslash with --quoting backslash: give another delimiter or quoting"
            )
        unpack.refuse_other(file.first, file.name)
        dialects = [Dialect(each, said.quoting) for each in ((said.delimiter,) if said.delimiter else DELIMITERS)]
        with file.open() as opened:
            header = _find_header(opened, dialects, file)
        return CsvSource(
            name=file.name,
            read=file.read,
            kind="csv",
            size=file.size,
            start=header.end,
            delimiter=header.dialect.delimiter,
            quoting=header.dialect.quoting,
            columns=header.columns,
            header=header.text,
            lines=header.lines.lines,
            inside=header.lines.inside,
            unpacked=file.unpacked,
        )

    def row_ends(self, source: CsvSource) -> RowEnds:
        """Return what finds where rows end: a line end in a quoted field ends none."""
        return _row_ends(source.dialect)

    def block(self, source: CsvSource, data: bytes, ends: Ints) -> Block:
        """Return the rows that end at ``ends``."""
        return fields.read_block(data, ends, source.columns, source.dialect)


def _row_ends(dialect: Dialect) -> RowEnds:
    return lambda block, behind: row_ends(block, dialect, behind)


def _find_header(opened: IO[bytes], dialects: list[Dialect], file: InputFile) -> Header:
    """Return the header, with columns under our names, in the dialect that finds the most of these."""
    needed = {file.columns.get(column, column) for column in COLUMNS}
    headers = [_read_header(opened, file.size, dialect, file.name) for dialect in dialects]
    header = max(headers, key=lambda header: len(needed & set(header.columns)))
    return replace(header, columns=file.named(header.columns))


def _read_header(file: IO[bytes], size: int, dialect: Dialect, name: str) -> Header:
    file.seek(0)
    start = file.read(HEADER_BYTES)
    mark, last = len(BOM) if start.startswith(BOM) else 0, len(start) == size
    if len(start) == mark:
        raise InputError(f"{name} is empty; it must begin with a header row")
    ends = row_ends(start[mark:], dialect, LAST if last else MORE)
    if not len(ends) and not last and b"\n" in start:  # a quote hides it, which may be a plain character
        _, _, ends = next(lines.blocks(file, mark, size, name, _row_ends(dialect)))
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
    counted = HeaderLines(lines.count_lines(start[mark:end], last=end == size), inside)
    return Header(line, [column.strip() for column in columns], dialect, end, counted)
