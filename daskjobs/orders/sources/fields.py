"""Splits CSV rows into fields: by pyarrow if a block is well-formed, else by a regular expression.

Both give the same fields.
"""

import re
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from daskjobs.orders.dialect import BACKSLASH, COMMAS, NONE, SPARK, Dialect
from daskjobs.orders.plain import WORD, Plain, find_fields
from daskjobs.orders.rules.builtin import NOT_UTF8, WRONG_FIELDS
from daskjobs.orders.sources.format import Block, BlockLines, Ints
from daskjobs.orders.sources.lines import BOM, LAST, NEWLINE, raw_rows, raw_texts
from daskjobs.orders.sources.quotes import SLASH, escaping, may_quote, quoted, row_ends

ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}  # as MySQL's LOAD DATA has them
Parsed = tuple[pa.Table, Ints, dict[int, str], int]


def read_block(data: bytes, ends: Ints, columns: list[str], dialect: Dialect = COMMAS) -> Block:
    """Split the rows that end at ``ends`` into fields; bytes after the last row are ignored."""
    if (plain := _read_plain(data, ends, columns, dialect)) is not None:
        return plain
    texts, kept, malformed, inside = read_fields(data, ends, columns, dialect)
    lines = BlockLines(inside, _several(data, ends, len(columns), dialect) if inside else {})
    return Block(len(ends), texts, kept, malformed, raw_texts(data, ends), lines)


def _read_plain(data: bytes, ends: Ints, columns: list[str], dialect: Dialect) -> Block | None:
    """Fast path of `read_block`, if no field is quoted and the block is well-formed; else return None."""
    if not len(ends) or len(data) < WORD or not _is_well_formed(data, ends):
        return None
    if _quote(data, int(ends[-1]), dialect) != ("", ""):
        return None
    found = find_fields(data, ends, len(columns), dialect.delimiter)
    if found is None:
        return None
    begins, stops, kept = found
    malformed = dict.fromkeys(np.delete(np.arange(len(ends)), kept).tolist(), WRONG_FIELDS)
    fields = Plain(data, columns, begins, stops)
    return Block(len(ends), fields, kept, malformed, raw_texts(data, ends), BlockLines(0, {}))


def _several(data: bytes, ends: Ints, width: int, dialect: Dialect) -> dict[int, int]:
    """Return the rows that look like several rows, each with the number of line ends in it.

    At least two lines of such a row have ``width`` fields, ignoring quotes.
    """
    text = np.frombuffer(data, np.uint8, ends[-1])
    stops = np.flatnonzero(text == NEWLINE)
    if text[-1] != NEWLINE:
        stops = np.append(stops, len(text) - 1)
    delimiters = np.flatnonzero(text == ord(dialect.delimiter))
    fields = np.diff(np.searchsorted(delimiters, stops, "right"), prepend=0) + 1
    row = np.searchsorted(ends, stops, "right")
    several = np.flatnonzero(np.bincount(row[fields == width]) > 1)
    return dict(zip(several.tolist(), (np.bincount(row)[several] - 1).tolist(), strict=True))


def read_fields(data: bytes, ends: Ints, columns: list[str], dialect: Dialect = COMMAS) -> Parsed:
    """Return a table of texts, the position of each of its rows in the block, the reasons why other rows are not in it,
    and the number of line ends in fields.

    A block that is not well-formed, or that pyarrow would cut into other rows, is read row by row.
    """
    malformed: dict[int, str] = {}
    end = int(ends[-1]) if len(ends) else 0
    marks = _quote(data, end, dialect)

    def refuse(row: pa.csv.InvalidRow) -> str:
        malformed[row.number - 1] = WRONG_FIELDS
        return "skip"

    if marks is not None and _is_well_formed(data, ends):
        quote, escape = marks
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(pa.py_buffer(data).slice(0, end)),
                pa.csv.ReadOptions(use_threads=False, column_names=columns, block_size=len(data) + 1),
                pa.csv.ParseOptions(
                    delimiter=dialect.delimiter,
                    quote_char=quote or False,
                    escape_char=escape or False,
                    invalid_row_handler=refuse,
                    ignore_empty_lines=False,
                    newlines_in_values=bool(quote),
                ),
                pa.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), check_utf8=False),
            )
            if len(table) + len(malformed) == len(ends):
                inside = _line_ends(table, raw_rows(data, ends, np.array(list(malformed), int))) if quote else 0
                return table, np.delete(np.arange(len(ends)), list(malformed)), malformed, inside
        except pa.ArrowInvalid:
            pass
    return read_row_by_row(data, ends, columns, dialect)


def _quote(data: bytes, end: int, dialect: Dialect) -> tuple[str, str] | None:
    """Return the quote and the escape with which pyarrow reads a block as we do, "" for none, or None if it can't.

    For pyarrow, each quote at a field's start opens a quoted field, and a backslash escapes any character anywhere.
    """
    slashes = data.count(b"\\", 0, end) if dialect.quoting in (BACKSLASH, SPARK) else 0
    if dialect.quoting == BACKSLASH and slashes:
        return None
    if not may_quote(data, dialect, end):
        return "", ""
    begin, stop = quoted(data[:end], dialect, LAST)
    alone = np.count_nonzero(stop - begin == 1)
    if alone == len(begin):
        return "", ""
    if alone:
        return None
    text = np.frombuffer(data, np.uint8, end)
    escapes = escaping(text, dialect) if slashes else np.empty(0, np.int64)
    if not len(escapes):
        return dialect.quote, ""
    field = np.searchsorted(begin, escapes, "right")
    inside = (field > 0) & (np.append(0, stop)[field] > escapes)
    alike = np.all(inside) and slashes == len(escapes) + np.count_nonzero(text[escapes + 1] == SLASH)
    return (dialect.quote, "\\") if alike else None


def _line_ends(table: pa.Table, malformed: list[bytes]) -> int:
    counts = (pc.sum(pc.count_substring(column, "\n")).as_py() or 0 for column in table.columns)
    return sum(counts) + sum(row.count(b"\n") for row in malformed)


def _is_well_formed(data: bytes, ends: Ints) -> bool:
    """Tell whether a block is UTF-8 without a byte order mark, carriage returns alone, or empty rows."""
    end = int(ends[-1]) if len(ends) else 0
    if data.startswith(BOM):  # pyarrow would drop it, as at the start of a file
        return False
    if b"\r" in data and data.count(b"\r", 0, end) != data.count(b"\r\n", 0, end):
        return False
    try:
        return bool(np.diff(ends, prepend=0).min(initial=3) > 2) and (data.isascii() or bool(data[:end].decode()))
    except UnicodeDecodeError:
        return False


def read_row_by_row(data: bytes, ends: Ints, columns: list[str], dialect: Dialect) -> Parsed:
    """Do what `read_fields` does, one row after another."""
    malformed: dict[int, str] = {}
    fields: list[list[str]] = []
    inside = 0
    for index, row in enumerate(raw_rows(data, ends, np.arange(len(ends)))):
        try:
            values, line_ends = split(row.decode(), dialect)
        except UnicodeDecodeError:
            malformed[index] = NOT_UTF8
            inside += row.count(b"\n")
            continue
        inside += line_ends
        if len(values) == len(columns):
            fields.append(values)
        else:
            malformed[index] = WRONG_FIELDS
    texts = [pa.array(values, pa.string()) for values in zip(*fields, strict=True)] or [
        pa.array([], pa.string()) for _ in columns
    ]
    return pa.table(texts, names=columns), np.delete(np.arange(len(ends)), list(malformed)), malformed, inside


@lru_cache
def _field(dialect: Dialect) -> re.Pattern[str]:
    """Return a pattern of a field and the delimiter after it; its groups are the quoted text and the plain text."""
    delimiter = re.escape(dialect.delimiter)
    plain = rf"([^{delimiter}]*+)"
    quote = re.escape(dialect.quote)
    within = rf"{quote}((?:[^{quote}]++|{quote}{quote})*+){quote}"
    if dialect.quoting == SPARK:
        within = rf"{quote}((?:[^{quote}\\]++|{quote}{quote}|\\[{quote}\\]?+)*+){quote}"
    if dialect.quoting == BACKSLASH:
        within = rf"{quote}((?:[^{quote}\\]++|{quote}{quote}|\\(?:\r\n|.))*+){quote}"
        plain = rf"((?:[^{delimiter}\\]++|\\(?:\r\n|(?!{delimiter}\Z).|(?={delimiter}\Z)))*+)"
    if dialect.quoting == NONE or not quote:
        within = "()(?!)"
    return re.compile(rf"(?:{within}|{plain}){delimiter}", re.DOTALL)


def split(row: str, dialect: Dialect) -> tuple[list[str], int]:
    r"""Return a row's fields, and the number of line ends in them.

    >>> split('a,"b ""c"" d","e"f', COMMAS)
    (['a', 'b "c" d', '"e"f'], 0)
    """
    matches = _field(dialect).findall(row + dialect.delimiter)
    inside = sum(quoted.count("\n") + plain.count("\n") for quoted, plain in matches) if "\n" in row else 0
    if dialect.quoting in (BACKSLASH, SPARK) and "\\" in row:
        return [_meant(quoted, plain, dialect) for quoted, plain in matches], inside
    quote = dialect.quote
    return [quoted.replace(quote + quote, quote) or plain for quoted, plain in matches], inside


def standalone_rows(rows: list[str], dialect: Dialect) -> str:
    """Return rows as `standalone_row` does, with a fast path for rows without quotes, backslashes and returns."""
    plain = "".join(f"{row}\n" for row in rows)
    special = any(mark in plain for mark in dialect.quote + "\\\r")
    return "".join(standalone_row(row, dialect) for row in rows) if special else plain


def standalone_row(row: str, dialect: Dialect) -> str:
    """Return a row with a line end, written so that it has the same fields whatever rows follow it.

    A quote that opened no field in the row's own file could open one here, so such a field is quoted or escaped.
    """
    end = "\r\n" if row.endswith("\r") else "\n"
    if _stands_alone(row + end, dialect):
        return row + end
    matches = _field(dialect).findall(row + dialect.delimiter)
    row = dialect.delimiter.join(_written(quoted, plain, dialect) for quoted, plain in matches)
    return row + ("" if _stands_alone(row + end, dialect) else "\\") + end  # a backslash that ended the file


def _written(quoted: str, plain: str, dialect: Dialect) -> str:
    """Return a field unchanged, or written so that its stray quote can't open a field."""
    quote = dialect.quote
    if quoted or not quote or not plain.startswith(quote):
        return f"{quote}{quoted}{quote}" if quoted else plain
    if dialect.quoting == BACKSLASH:
        return f"\\{plain}"
    if dialect.quoting == SPARK:
        plain = plain.replace("\\", r"\\")
    return quote + plain.replace(quote, quote + quote) + quote


def _stands_alone(line: str, dialect: Dialect) -> bool:
    if dialect.quoting == NONE or not ("\\" in line or (dialect.quote and dialect.quote in line)):
        return True
    return bool(row_ends(line.encode(), dialect).tolist() == [len(line.encode())])


def _meant(quoted: str, plain: str, dialect: Dialect) -> str:
    """Return the text of a quoted or plain field with backslash escapes; \\N alone is a null, and becomes empty.

    Of Spark's, only a quoted field has escapes.
    """
    quote = re.escape(dialect.quote)
    if dialect.quoting == SPARK:
        return re.sub(rf"{quote}({quote})|\\([{quote}\\])", lambda found: found[1] or found[2], quoted) or plain
    if quoted:
        return re.sub(rf"{quote}({quote})|\\(\r\n|.)", _character, quoted, flags=re.DOTALL)
    return "" if plain == r"\N" else re.sub(r"()\\(\r\n|.)", _character, plain, flags=re.DOTALL)


def _character(escape: re.Match[str]) -> str:
    return escape[1] or ESCAPES.get(escape[2], escape[2])
