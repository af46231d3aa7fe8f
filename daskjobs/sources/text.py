"""CSV: a file's delimiter and columns, the byte ranges of its partitions, and its rows in blocks."""

import csv
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from daskjobs.errors import InputError
from daskjobs.orders import COLUMNS
from daskjobs.sources import fields, rows, unpack
from daskjobs.sources.block import Block, Range, Source, renamed
from daskjobs.storage import Storage

DELIMITERS = (",", ";", "\t", "|")  # tried in this order, unless one is given
HEADER_BYTES = 1 << 20


def describe(storage: Storage, name: str, target: str, wanted: dict[str, str], delimiter: str, encoding: str) -> Source:
    """Find a file's delimiter and columns; one that is compressed or isn't UTF-8 is unpacked to ``target`` first.

    Raises InputError when it isn't a CSV file of orders.
    """
    with storage.open(name) as file:
        first = file.read(16)
    packed = unpack.compression(first) or unpack.needs_decoding(encoding)
    where = target if packed else name
    output = unpack.unpack(storage, name, target, encoding, first) if packed else None
    with storage.open(where) as file:
        start = file.read(HEADER_BYTES)
    needed = {wanted.get(column, column) for column in COLUMNS}
    headers = [_header(start, given, name) for given in ((delimiter,) if delimiter else DELIMITERS)]
    found = max(headers, key=lambda header: len(needed & set(header["columns"])))
    columns = renamed(found["columns"], wanted, name)
    source = {"name": name, "read": where, "kind": "csv", "bytes": storage.size(where), **found, "columns": columns}
    return source | ({"unpacked": output.json()} if output else {})


def _header(start: bytes, delimiter: str, name: str) -> Source:
    if not start:
        raise InputError(f"{name} is empty; it must begin with a header row")
    mark = len(rows.BOM) if start.startswith(rows.BOM) else 0
    ends = rows.row_ends(start[mark:], delimiter)
    end = mark + (int(ends[0]) if len(ends) else len(start[mark:]))
    try:
        line = start[mark:end].decode().removesuffix("\n").removesuffix("\r")
        if not len(ends) and len(start) == HEADER_BYTES:
            raise csv.Error
        columns = [column.strip() for column in next(csv.reader([line], delimiter=delimiter), [])]
    except (UnicodeDecodeError, csv.Error) as error:
        hint = "give a text file of orders with a header row, in UTF-8 or with --encoding, its lines ended by newlines"
        raise InputError(f"{name} is not CSV: its first bytes are {start[:16]!r}; {hint}") from error
    return {"start": end, "delimiter": delimiter, "columns": columns, "header": line}


def weight(source: Source) -> int:
    """Return how many bytes of rows a file has."""
    return int(source["bytes"] - source["start"])


def ranges(storage: Storage, source: Source, seen: int, total: int, count: int) -> Iterator[Range]:
    """Yield a file's part of each of ``count`` partitions: a byte range that never cuts a row, with its rows and hash.

    ``seen`` bytes of ``total`` came before, in other files. A row belongs to the partition in which it begins.
    """
    row, current = 1, dict[str, Any]()
    with storage.open(source["read"]) as file, ThreadPoolExecutor(1) as aside:
        hashing = aside.submit(int)  # of a block, while the next one is read
        for offset, block, ends in rows.blocks(
            file, source["start"], source["bytes"], source["name"], source["delimiter"]
        ):
            starts, at = np.concatenate([[0], ends[:-1]]), 0  # at: rows of this block that are in a range already
            while at < len(ends):
                begin = int(starts[at])
                partition = (seen + begin) * count // total
                upto = int(np.searchsorted(starts, -(-(partition + 1) * total // count) - seen))
                hashing.result()
                if not current or current["partition"] != partition:
                    if current:
                        yield _hashed(current)
                    current = {"partition": partition, "start": offset + begin, "first_row": row, "rows": 0}
                    current["sha256"] = hashlib.sha256()
                hashing = aside.submit(current["sha256"].update, memoryview(block)[begin : int(ends[upto - 1])])
                current["end"] = offset + int(ends[upto - 1])
                current["rows"] += upto - at
                row, at = row + upto - at, upto
            seen += int(ends[-1])
        hashing.result()
    if current:
        yield _hashed(current)


def _hashed(found: Range) -> Range:
    return {**found, "sha256": found["sha256"].hexdigest()}


def blocks(storage: Storage, source: Source, part: Range) -> Iterator[Block]:
    """Yield a range's rows. Raises InputError at its end when they are not those that were split."""
    digest = hashlib.sha256()
    with storage.open(source["read"]) as file:
        read = rows.blocks(file, part["start"], part["end"], source["name"], source["delimiter"])
        for _, data, ends in read:
            digest.update(memoryview(data)[: ends[-1]])
            yield fields.block(data, ends, source["columns"], source["delimiter"])
    if digest.hexdigest() != part["sha256"]:
        raise InputError(f"{source['name']} has changed since it was split: run again")
