"""CSV: a file's delimiter and columns, the byte ranges of its partitions, and its rows in blocks."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, ClassVar, Literal

from daskjobs.errors import InputError, UsageError
from daskjobs.orders.dialect import BACKSLASH, COMMAS, NONE, Dialect
from daskjobs.orders.profiles import Profile
from daskjobs.orders.sources import fields, lines, unpack
from daskjobs.orders.sources.format import Block, HeaderLines, InputFile, Ints, without_nulls
from daskjobs.orders.sources.lines import BOM, LAST, MORE, LinesFormat, LinesSource, RowEnds
from daskjobs.orders.sources.quotes import row_ends

DELIMITERS = (",", ";", "\t", "|")  # tried in this order, unless one is given
HEADER_BYTES = 1 << 20
NUMBERS = ("quantity", "price", "total_amount", "timestamp")  # columns of ours that have digits in each order
DIGIT = re.compile(r"\d")


@dataclass(frozen=True, kw_only=True)
class CsvSource(LinesSource):
    """A CSV file. ``lines``, ``inside``, ``headers`` and ``outside`` are those of `HeaderLines`."""

    ending: ClassVar[str] = "csv"
    kind: Literal["csv"]
    delimiter: str
    quoting: str
    quote: str = COMMAS.quote
    lines: int
    inside: int
    headers: int = 1
    outside: int = 0

    @property
    def dialect(self) -> Dialect:
        """How its rows are written."""
        return Dialect(self.delimiter, self.quoting, self.quote)

    @property
    def heading(self) -> list[str]:
        """The fields of its header as they stand there, or else the names of its columns."""
        return fields.split(self.header, self.dialect)[0] if self.header else self.columns

    @property
    def header_lines(self) -> HeaderLines:
        """The line ends before and after its rows."""
        return HeaderLines(self.lines, self.inside, self.headers, self.outside)


@dataclass(frozen=True)
class Header:
    """The first row of a CSV file in some dialect: its text, its columns, and the byte at which it ends."""

    text: str
    columns: list[str]
    dialect: Dialect
    end: int
    lines: HeaderLines


@dataclass(frozen=True)
class Span:
    """The part of a file between the lines that are left out, which are the bytes ``before`` and ``after``.

    These are those that a profile leaves out, and ``blank`` ones above a header.
    """

    start: int
    end: int
    before: bytes = b""
    after: bytes = b""
    blank: int = 0


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
        said, form = file.said, file.form
        if said.delimiter == "\\" and said.quoting == BACKSLASH:
            raise UsageError(
                "--delimiter must not be a backslash with --quoting backslash: give another delimiter or quoting"
            )
        unpack.refuse_other(file.first, file.name)
        quoting = said.quoting if form.quote or said.quoting == BACKSLASH else NONE
        delimiters = (said.delimiter,) if said.delimiter else DELIMITERS
        dialects = [Dialect(each, quoting, form.quote) for each in delimiters if each != form.quote]
        with file.open() as opened:
            span = _span(opened, file)
            if file.profile and form.header:
                header = _named_by(file.profile, opened, span, dialects, file)
            else:
                header = _find_header(opened, span, dialects, file)
        if header.end > span.end:
            raise _too_short(file, "footer_lines", short=True)
        columns = file.named(header.columns)
        _refuse_left_out(span, columns, header.dialect, file)
        return CsvSource(
            name=file.name,
            read=file.read,
            kind="csv",
            size=file.size,
            start=header.end,
            footer=file.size - span.end,
            delimiter=header.dialect.delimiter,
            quoting=header.dialect.quoting,
            quote=header.dialect.quote,
            columns=columns,
            header=header.text,
            before=span.before.decode(errors="backslashreplace"),
            after=span.after.decode(errors="backslashreplace"),
            lines=header.lines.lines + lines.count_lines(span.before + span.after, last=True),
            inside=header.lines.inside,
            headers=header.lines.headers,
            outside=form.skip_lines + form.footer_lines + span.blank,
            encoding=file.encoding,
            nulls=form.nulls,
            unpacked=file.unpacked,
        )

    def row_ends(self, source: CsvSource) -> RowEnds:
        """Return what finds where rows end: a line end in a quoted field ends none."""
        return _row_ends(source.dialect)

    def block(self, source: CsvSource, data: bytes, ends: Ints) -> Block:
        """Return the rows that end at ``ends``."""
        return without_nulls(fields.read_block(data, ends, source.columns, source.dialect), source.nulls)


def _row_ends(dialect: Dialect) -> RowEnds:
    return lambda block, behind: row_ends(block, dialect, behind)


def _span(opened: IO[bytes], file: InputFile) -> Span:
    """Return the bytes between the lines that the profile leaves out. Raises InputError when there are fewer lines."""
    form, size = file.form, file.size
    opened.seek(0)
    first = opened.read(HEADER_BYTES)
    begin = start = len(BOM) if first.startswith(BOM) else 0
    for _ in range(form.skip_lines):
        found = first.find(b"\n", start) + 1 or size
        if start == size or found > len(first):
            raise _too_short(file, "skip_lines", start == size)
        start = found
    white = b"" if form.header else first[start : len(first) - len(first[start:].lstrip(b" \t\r\n"))]
    blank = white[: white.rfind(b"\n") + 1]
    start += len(blank)
    if not form.footer_lines:
        return Span(start, size, first[begin:start], blank=blank.count(b"\n"))
    opened.seek(max(start, size - HEADER_BYTES))
    last = opened.read(HEADER_BYTES)
    at = len(last)
    for _ in range(form.footer_lines):
        whole = len(last) == size - start
        if at == 0:
            raise _too_short(file, "footer_lines", whole)
        at = last.rfind(b"\n", 0, at - 1) + 1
    if at == 0 and not whole:
        raise _too_short(file, "footer_lines", whole)
    return Span(start, size - len(last) + at, first[begin:start], last[at:], blank.count(b"\n"))


def _too_short(file: InputFile, key: str, short: bool) -> InputError:
    """Return the error for a file that doesn't have the lines that the profile leaves out."""
    what = "fewer lines than" if short else f"more than {HEADER_BYTES >> 20} MiB in the lines that"
    return InputError(
        f"{file.name} has {what} {key} of [file] in the profile {file.profile and file.profile.name} leaves out "
        f"({getattr(file.form, key)}): say how many lines of a file are no rows, or leave it out"
    )


def _refuse_left_out(span: Span, columns: list[str], dialect: Dialect, file: InputFile) -> None:
    """Raise InputError when a line that the profile leaves out looks like an order: it would be lost silently."""
    looks_like = _order_test(columns, file)
    for key, left_out in (("skip_lines", span.before), ("footer_lines", span.after)):
        for line in left_out.decode(errors="replace").splitlines():
            values, _ = fields.split(line, dialect)
            if len(values) == len(columns) and looks_like(values):
                raise InputError(
                    f"{file.name} has a line that looks like an order, with as many fields and with numbers, among "
                    f"those that {key} of [file] in the profile {file.profile and file.profile.name} leaves out "
                    f"({getattr(file.form, key)}): leave out fewer lines, and name those that are no orders in "
                    "[furniture]"
                )


def _order_test(columns: list[str], file: InputFile) -> Callable[[list[str]], bool]:
    """Return what tells whether a row of as many fields as ``columns`` looks like an order.

    It has digits where each order must have some. Where the profile lets values be empty, one that it doesn't need then
    has digits, and the order_id isn't a word alone, as in a row of sums.
    """
    places = {name: at for at, name in enumerate(columns) if name in file.meant}
    told = {ours: _places(ours, places, file.profile) for ours in ("order_id", *NUMBERS)} if file.profile else {}
    maybe = {ours for ours in told if file.profile and _may_be_empty(ours, file.profile)}
    some = [at for ours in NUMBERS for at in told.get(ours, [])]

    def looks_like(values: list[str]) -> bool:
        digits = [bool(DIGIT.search(value)) for value in values]
        lacks = {ours for ours in NUMBERS if told[ours] and not any(digits[at] for at in told[ours])}
        label = any(values[at].strip() and not digits[at] for at in told["order_id"])
        return lacks <= maybe and not (lacks and label) and any(digits[at] for at in some)

    return looks_like


def _places(ours: str, places: dict[str, int], profile: Profile) -> list[int]:
    """Return the places of the columns that the values of one of ours come from."""
    column = profile.column(ours)
    found = [places[name] for name in column.sources if name in places]
    return found[:1] if column.names else found


def _may_be_empty(ours: str, profile: Profile) -> bool:
    """Tell whether a row whose value of one of ours is empty may count."""
    order = profile.order
    filled = "total" if ours == "total_amount" and order.total else ours
    return (
        profile.column(ours).empty is not None
        or filled in order.fill_down
        or f"unreadable_{ours}" in order.without_rules
    )


def _find_header(opened: IO[bytes], span: Span, dialects: list[Dialect], file: InputFile) -> Header:
    """Return the header, in the dialect that finds the most of the columns that are needed."""
    headers = [_read_header(opened, span, dialect, file) for dialect in dialects]
    return max(headers, key=lambda header: len(file.needed & set(header.columns)))


def _read_header(opened: IO[bytes], span: Span, dialect: Dialect, file: InputFile) -> Header:
    name = file.name
    if span.start == file.size:
        what = "has nothing behind the lines that skip_lines leaves out" if file.form.skip_lines else "is empty"
        raise InputError(f"{name} {what}; it must begin with a header row")
    row = _first_row(opened, span, dialect, file)
    try:
        line = (row or b"").decode().removesuffix("\n").removesuffix("\r")
        if row is None or len(row) > HEADER_BYTES:
            raise InputError(f"{name} begins with a row of more than {HEADER_BYTES >> 20} MiB: it must be a header row")
        if re.search(r"\r(?!\n)", line):
            raise ValueError
    except ValueError as error:
        hint = "give a text file of orders with a header row, in UTF-8 or with --encoding, its lines ended by newlines"
        why = "no text in UTF-8" if isinstance(error, UnicodeDecodeError) else "no line of text"
        raise InputError(f"{name} is not CSV: its first row is {why}; {hint}") from error
    columns, inside = fields.split(line, dialect)
    end = span.start + len(row)
    ends = lines.count_lines(row, last=end == file.size)
    return Header(line, [column.strip() for column in columns], dialect, end, HeaderLines(ends, inside))


def _named_by(profile: Profile, opened: IO[bytes], span: Span, dialects: list[Dialect], file: InputFile) -> Header:
    """Return the header that the profile gives to a file without one, in the dialect that has as many fields."""
    names, dialect = profile.file.header, dialects[0]
    if span.start < span.end:
        rows = {each: _first_row(opened, span, each, file) for each in dialects}
        found = {
            each: len(fields.split(row.decode(errors="replace").rstrip("\r\n"), each)[0])
            for each, row in rows.items()
            if row is not None
        }
        dialect = max(found, key=lambda each: (found[each] == len(names), found[each]), default=dialect)
        if found and found[dialect] != len(names):
            what = "1 field" if found[dialect] == 1 else f"{found[dialect]} fields"
            raise InputError(
                f"{file.name} has {what} in its first row, and header of [file] in the profile {profile.name} names "
                f"{len(names)}: name each field, and say how fields are separated (delimiter); or leave header out, if "
                "the file has a header row"
            )
    return Header("", names, dialect, span.start, HeaderLines(0, 0, headers=0))


def _first_row(opened: IO[bytes], span: Span, dialect: Dialect, file: InputFile) -> bytes | None:
    """Return the first row and what ends it, or None if its first line is longer than `HEADER_BYTES`."""
    opened.seek(span.start)
    start = opened.read(HEADER_BYTES)
    last = span.start + len(start) == file.size
    ends = row_ends(start, dialect, LAST if last else MORE)
    if not len(ends) and not last:
        if b"\n" not in start:
            return None
        # A quote hides the row's end, which may be a plain character.
        _, start, ends = next(lines.blocks(opened, span.start, file.size, file.name, _row_ends(dialect)))
    return start[: ends[0]] if len(ends) else start
