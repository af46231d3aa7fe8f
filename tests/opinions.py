"""Second and third opinions on CSV and JSON Lines: what Python's csv or json module and DuckDB read in them.

Each either reads a file or refuses it, and then has no opinion on it. Compared are the rows that have as many fields as
the header, which is where a row that was swallowed or cut would show; of JSON Lines, those that aren't malformed. Where
ours are those of neither that has an opinion, the contract must name the difference: `DIFFERENCES` here, and the table
of the same names in docs/orders.md. DuckDB makes floats of numbers, and so values of JSON Lines are compared as such.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

import oracle
from daskjobs.files.documents import parse
from daskjobs.files.storage import Storage
from daskjobs.orders import sources
from daskjobs.orders.plan import Plan
from daskjobs.orders.sources.csv import CsvSource
from daskjobs.orders.sources.format import RowRange
from daskjobs.orders.sources.json_lines import JsonLinesSource
from daskjobs.orders.sources.lines import LinesSource

Rows = list[tuple[Any, ...]]
COLUMNS_ERRORS = {"MISSING COLUMNS", "TOO MANY COLUMNS"}  # of a row; DuckDB reads the others

# What the contract reads otherwise than both: its name in docs/orders.md, and how a file that has it is known.
DIFFERENCES: dict[str, Callable[[bytes, Any], object]] = {
    "blanks after a closing quote": lambda data, source: (
        source.kind == "csv" and re.search(rb'" +(?:%s|\r?\n|\Z)' % delimiter(source), data)
    ),
    "a carriage return alone": lambda data, source: re.search(rb"\r(?!\n)", data),
    "a backslash and what follows": lambda data, source: (
        source.dialect.quoting in ("backslash", "spark") and b"\\" in data
    ),
    "a key twice, or half a surrogate pair": lambda data, source: source.kind == "json lines" and malformed(data),
}


def malformed(data: bytes) -> bool:
    """Tell whether Python's json takes a line of JSON Lines for an object though we don't."""
    return any(read_object(line) is not None and oracle.object_of(line)[0] for line in data.split(b"\n"))


def read_object(line: bytes) -> dict[str, Any] | None:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        found = json.loads(line.decode(), parse_int=float, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def delimiter(source: CsvSource) -> bytes:
    return re.escape(source.delimiter.encode())


def ours(storage: Storage, source: LinesSource, ranges: list[RowRange]) -> Rows:
    blocks = (block for part in ranges for block in sources.format_of(source).blocks(storage, source, part))
    return [tuple(row.values()) for block in blocks for row in block.texts.to_pylist()]


def by_csv(data: bytes, source: CsvSource) -> Rows | None:
    """Return what the csv module reads behind the header, or None where it refuses."""
    csv.field_size_limit(1 << 27)
    escaped: dict[str, Any] = {"escapechar": "\\"}
    if not source.quote:
        escaped["quoting"] = csv.QUOTE_NONE
    options = {"none": {"quoting": csv.QUOTE_NONE}, "backslash": escaped, "spark": escaped}.get(source.quoting, {})
    if source.quote:
        options = {**options, "quotechar": source.quote}
    try:
        text = io.StringIO(data.decode(), newline="")
        _, *rows = csv.reader(text, delimiter=source.delimiter, strict=True, **options)
    except (csv.Error, UnicodeDecodeError):
        return None
    return [tuple(row) for row in rows if len(row) == len(source.columns)]


def plain(value: Any) -> Any:
    """Return what a text says as JSON, or the text, so that numbers compare as floats, and objects as such."""
    try:
        return json.loads(value or '""', parse_int=float, parse_constant=str)
    except (ValueError, RecursionError):
        return value


def by_json(data: bytes, source: JsonLinesSource) -> Rows:
    """Return what the json module reads in each line that it takes for an object."""
    objects = filter(lambda found: found is not None, map(read_object, data.split(b"\n")))
    return [tuple(map(as_text, map(found.get, source.keys))) for found in objects if found is not None]


def as_text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def objects_by_duckdb(path: Path, source: JsonLinesSource) -> Rows | None:
    """Return what DuckDB reads in lines of JSON, or None where it refuses."""
    with duckdb.connect() as connection:
        read = "SELECT * FROM read_json(?, format='newline_delimited', maximum_object_size=20000000, columns=?)"
        try:
            rows = connection.execute(read, [str(path), dict.fromkeys(source.keys, "VARCHAR")]).fetchall()
        except (duckdb.Error, ValueError):
            return None
    return [tuple(value or "" for value in row) for row in rows]


def by_duckdb(path: Path, source: CsvSource) -> Rows | None:
    """Return what DuckDB reads behind the header, or None where it refuses.

    The header is read as a row: what is wrong in it, DuckDB would not tell.
    """
    own = source.quote
    quote, escape = {"none": ("", ""), "backslash": (own, "\\"), "spark": (own, "\\")}.get(source.quoting, (own, own))
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
    """Hold the files of lines that a run has read against the opinions; return how each file compared."""
    storage = Storage(str(folder))
    plan = parse((folder / "split/partitions.json").read_bytes(), Plan)
    return [
        _compared(storage, folder, source, [part for p in plan.partitions for part in p.ranges if part.file == n])
        for n, source in enumerate(plan.files)
        if isinstance(source, LinesSource)
    ]


def _compared(storage: Storage, folder: Path, source: LinesSource, ranges: list[RowRange]) -> str:
    with storage.open(source.read) as file:
        data = file.read().removeprefix(b"\xef\xbb\xbf")
        if isinstance(source, CsvSource) and (source.outside or not source.headers):
            file.seek(source.start)
            rows = file.read(source.end - source.start)
            data = source.delimiter.join("h" for _ in source.columns).encode() + b"\n" + rows
    path = folder / "opinion.csv"
    path.write_bytes(data)
    found, opinions = ours(storage, source, ranges), list[Rows | None]()
    if isinstance(source, CsvSource):
        opinions = [by_csv(data, source), by_duckdb(path, source)]
    elif isinstance(source, JsonLinesSource):
        opinions = [by_json(data, source), objects_by_duckdb(path, source)]
        found = [tuple(map(plain, row[: len(source.keys)])) for row in found]
        opinions = [rows and [tuple(map(plain, row)) for row in rows] for rows in opinions]
    path.unlink()
    held = [[tuple("" if each in source.nulls else each for each in row) for row in rows] for rows in opinions if rows]
    held += [rows for rows in opinions if rows == []]
    if not held:
        return "refused by both"
    if found in held:
        return "agreed"
    named = [name for name, has in DIFFERENCES.items() if has(data, source)]
    assert named, f"{source.name} is read otherwise by {len(held)} opinions: ours {found}, theirs {held}"
    return named[0]
