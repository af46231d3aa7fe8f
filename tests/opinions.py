"""Second and third opinions on CSV files: what Python's csv module, where it is strict, and DuckDB read in them.

Each either reads a file or refuses it, and then has no opinion on it. Compared are the rows that have as many fields as
the header, which is where a row that was swallowed or cut would show. Where ours are those of neither that has an
opinion, the contract must name the difference: `DIFFERENCES` here, and the table of the same names in docs/orders.md.
"""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import duckdb

from daskjobs.files.documents import parse
from daskjobs.files.storage import Storage
from daskjobs.orders import sources
from daskjobs.orders.plan import Plan
from daskjobs.orders.sources.csv import CsvSource
from daskjobs.orders.sources.format import RowRange

Rows = list[tuple[str, ...]]
COLUMNS_ERRORS = {"MISSING COLUMNS", "TOO MANY COLUMNS"}  # of a row; DuckDB reads the others

# What the contract reads otherwise than both: its name in docs/orders.md, and how a file that has it is known.
DIFFERENCES: dict[str, Callable[[bytes, CsvSource], object]] = {
    "blanks after a closing quote": lambda data, source: re.search(rb'" +(?:%s|\r?\n|\Z)' % delimiter(source), data),
    "a carriage return alone": lambda data, source: re.search(rb"\r(?!\n)", data),
    "a backslash and what follows": lambda data, source: source.quoting == "backslash" and b"\\" in data,
}


def delimiter(source: CsvSource) -> bytes:
    return re.escape(source.delimiter.encode())


def ours(storage: Storage, source: CsvSource, ranges: list[RowRange]) -> Rows:
    blocks = (block for part in ranges for block in sources.blocks(storage, source, part))
    return [tuple(row.values()) for block in blocks for row in block.texts.to_pylist()]


def by_csv(data: bytes, source: CsvSource) -> Rows | None:
    """Return what the csv module reads behind the header, or None where it refuses."""
    csv.field_size_limit(1 << 27)
    options = {"none": {"quoting": csv.QUOTE_NONE}, "backslash": {"escapechar": "\\"}}.get(source.quoting, {})
    try:
        text = io.StringIO(data.decode(), newline="")
        _, *rows = csv.reader(text, delimiter=source.delimiter, strict=True, **options)
    except (csv.Error, UnicodeDecodeError):
        return None
    return [tuple(row) for row in rows if len(row) == len(source.columns)]


def by_duckdb(path: Path, source: CsvSource) -> Rows | None:
    """Return what DuckDB reads behind the header, or None where it refuses.

    The header is read as a row: what is wrong in it, DuckDB would not tell.
    """
    quote, escape = {"none": ("", ""), "backslash": ('"', "\\")}.get(source.quoting, ('"', '"'))
    with duckdb.connect() as connection:
        read = (
            "SELECT * FROM read_csv(?, auto_detect=false, header=false, all_varchar=true, strict_mode=true, "
            "null_padding=false, store_rejects=true, max_line_size=20000000, delim=?, quote=?, escape=?, columns=?)"
        )
        columns = {f"c{number}": "VARCHAR" for number in range(len(source.columns))}
        try:
            _, *rows = connection.execute(read, [str(path), source.delimiter, quote, escape, columns]).fetchall()
            errors = {row[0] for row in connection.execute("SELECT error_type FROM reject_errors").fetchall()}
        except (duckdb.Error, ValueError):  # not even a header
            return None
    return None if errors - COLUMNS_ERRORS else [tuple(value or "" for value in row) for row in rows]


def assert_agreed(folder: Path) -> list[str]:
    """Hold the CSV files that a run has read against the opinions; return how each file compared."""
    storage = Storage(str(folder))
    plan = parse((folder / "split/partitions.json").read_bytes(), Plan)
    return [
        _compared(storage, folder, source, [part for p in plan.partitions for part in p.ranges if part.file == n])
        for n, source in enumerate(plan.files)
        if isinstance(source, CsvSource)
    ]


def _compared(storage: Storage, folder: Path, source: CsvSource, ranges: list[RowRange]) -> str:
    with storage.open(source.read) as file:
        data = file.read().removeprefix(b"\xef\xbb\xbf")
    path = folder / "opinion.csv"
    path.write_bytes(data)
    opinions = [rows for rows in (by_csv(data, source), by_duckdb(path, source)) if rows is not None]
    path.unlink()
    if not opinions:
        return "refused by both"
    found = ours(storage, source, ranges)
    if found in opinions:
        return "agreed"
    named = [name for name, has in DIFFERENCES.items() if has(data, source)]
    assert named, f"{source.name} is read otherwise by {len(opinions)} opinions: ours {found}, theirs {opinions}"
    return named[0]
