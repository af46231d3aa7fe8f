"""CSV: a file's delimiter and columns, the byte ranges of its partitions, and its rows in blocks."""

import hashlib
import io
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any

import numpy as np

from daskjobs.errors import InputError
from daskjobs.orders import COLUMNS
from daskjobs.sources import fields, rows, unpack
from daskjobs.sources.block import Block, Range, Source, renamed
from daskjobs.sources.rows import Dialect
from daskjobs.storage import Storage, damaged

DELIMITERS = (",", ";", "\t", "|")  # tried in this order, unless one is given
HEADER_BYTES = 1 << 20


def describe(
    storage: Storage,
    name: str,
    first: bytes,
    target: str,
    wanted: dict[str, str],
    delimiter: str,
    quoting: str,
    encoding: str,
) -> Source:
    """Find a file's delimiter and columns, ``first`` being its first bytes.

    One that is compressed, in an archive or not UTF-8 is unpacked to ``target``, once its header is known to be one.
    Raises InputError when it isn't a CSV file of orders.
    """
    packed = unpack.compression(first) or unpack.needs_decoding(encoding) or unpack.is_archived(name)
    dialects = [Dialect(each, quoting) for each in ((delimiter,) if delimiter else DELIMITERS)]
    where, output = name, None
    if packed:
        start = unpack.beginning(storage, name, encoding, first, HEADER_BYTES)
        _found(io.BytesIO(start), len(start), dialects, wanted, name)
        where, output = target, unpack.unpack(storage, name, target, encoding, first)
    size = int(storage.size(where) or 0)
    with storage.open(where) as file:
        found = _found(file, size, dialects, wanted, name)
    source = {"name": name, "read": where, "kind": "csv", "bytes": size, **found}
    return source | ({"unpacked": output.json()} if output else {})


def _found(file: IO[bytes], size: int, dialects: list[Dialect], wanted: dict[str, str], name: str) -> Source:
    """Return what is known of the header with the delimiter that finds most of the columns."""
    unpack.refuse_other(file.read(unpack.FIRST_BYTES), name)
    needed = {wanted.get(column, column) for column in COLUMNS}
    headers = [_header(file, size, dialect, name) for dialect in dialects]
    found = max(headers, key=lambda header: len(needed & set(header["columns"])))
    return {**found, "columns": renamed(found["columns"], wanted, name)}


def _header(file: IO[bytes], size: int, dialect: Dialect, name: str) -> Source:
    """Return where a file's header ends, its columns, the lines it stands in, and the line ends in its fields."""
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
    return {
        "start": end,
        "delimiter": dialect.delimiter,
        "quoting": dialect.quoting,
        "columns": [column.strip() for column in columns],
        "header": line,
        "lines": _lines(start[mark:end], last=end == size),
        "inside": inside,
    }


def _dialect(source: Source) -> Dialect:
    return Dialect(source["delimiter"], source["quoting"])


def _lines(data: bytes | memoryview, last: bool) -> int:
    """Count line ends by their bytes; the end of the file, where ``last``, is one too if there is none before it."""
    found = int(np.count_nonzero(np.frombuffer(data, np.uint8) == rows.NEWLINE))
    return found + (last and data[-1] != rows.NEWLINE)


def weight(source: Source) -> int:
    """Return how many bytes of rows a file has."""
    return int(source["bytes"] - source["start"])


def ranges(storage: Storage, source: Source, seen: int, total: int, count: int) -> Iterator[Range]:
    """Yield a file's part of each of ``count`` partitions: a byte range that never cuts a row.

    Each has its number of rows, its lines and its hash. ``seen`` bytes of ``total`` came before, in other files. A row
    belongs to the partition in which it begins. Raises StorageError at the end when the whole file is not what the
    source's ``sha256`` says, where it has one.
    """
    row, current, whole = 1, dict[str, Any](), hashlib.sha256()

    with storage.open(source["read"]) as file, ThreadPoolExecutor(1) as aside:
        whole.update(file.read(source["start"]))
        counting: Future[Any] = aside.submit(int)  # and hashing, of a block, while the next one is read

        def count_in(found: Range, data: memoryview, last: bool) -> None:
            found["sha256"].update(data)
            found["lines"] += _lines(data, last)
            if "sha256" in source:
                whole.update(data)

        for offset, block, ends in rows.blocks(
            file, source["start"], source["bytes"], source["name"], _dialect(source)
        ):
            starts, at = np.concatenate([[0], ends[:-1]]), 0  # at: rows of this block that are in a range already
            while at < len(ends):
                begin = int(starts[at])
                partition = (seen + begin) * count // total
                upto = int(np.searchsorted(starts, -(-(partition + 1) * total // count) - seen))
                counting.result()
                if not current or current["partition"] != partition:
                    if current:
                        yield _hashed(current)
                    current = {"partition": partition, "start": offset + begin, "first_row": row, "rows": 0, "lines": 0}
                    current["sha256"] = hashlib.sha256()
                current["end"] = offset + int(ends[upto - 1])
                last = current["end"] == source["bytes"]
                counting = aside.submit(count_in, current, memoryview(block)[begin : int(ends[upto - 1])], last)
                current["rows"] += upto - at
                row, at = row + upto - at, upto
            seen += int(ends[-1])
        counting.result()
    if whole.hexdigest() != source.get("sha256", whole.hexdigest()):
        raise damaged(storage.uri(source["read"]))
    if current:
        yield _hashed(current)


def _hashed(found: Range) -> Range:
    return {**found, "sha256": found["sha256"].hexdigest()}


def blocks(storage: Storage, source: Source, part: Range) -> Iterator[Block]:
    """Yield a range's rows. Raises InputError at its end when they are not those that were split."""
    digest, dialect = hashlib.sha256(), _dialect(source)
    with storage.open(source["read"]) as file:
        for _, data, ends in rows.blocks(file, part["start"], part["end"], source["name"], dialect):
            digest.update(memoryview(data)[: ends[-1]])
            yield fields.block(data, ends, source["columns"], dialect)
    if digest.hexdigest() != part["sha256"]:
        raise InputError(f"{source['name']} has changed since it was split: run again")
