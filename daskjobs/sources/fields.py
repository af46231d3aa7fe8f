"""The fields of CSV rows: pyarrow reads blocks that are in order, Python's csv module the others, to one result."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from daskjobs import rules
from daskjobs.sources.block import Block
from daskjobs.sources.rows import BOM, ROW_BYTES, Ints, unclosed


def block(data: bytes, ends: Ints, columns: list[str], delimiter: str = ",") -> Block:
    """Split rows, which end at ``ends``, into fields; what follows the last of them doesn't count."""
    texts, kept, malformed = read(data, ends, columns, delimiter)

    def raw(which: Ints) -> pa.Array:
        starts = np.concatenate([[0], ends]).astype(np.int32)
        rows = pa.Array.from_buffers(pa.binary(), len(ends), [None, *map(pa.py_buffer, (starts, data))])
        found = pc.replace_substring_regex(rows.take(pa.array(which)), r"\r?\n?\z", "")
        try:
            return found.cast(pa.string())
        except pa.ArrowInvalid:
            return pa.array([row.decode(errors="backslashreplace") for row in found.to_pylist()], pa.string())

    return Block(len(ends), texts, kept, malformed, raw)


def raw_rows(data: bytes, ends: Ints, which: Ints) -> list[bytes]:
    """Return the bytes of some rows, without what ends them."""
    starts = np.concatenate([[0], ends[:-1]])
    return [
        data[start:end].removesuffix(b"\n").removesuffix(b"\r")
        for start, end in zip(starts[which].tolist(), ends[which].tolist(), strict=True)
    ]


def read(data: bytes, ends: Ints, columns: list[str], delimiter: str = ",") -> tuple[pa.Table, Ints, dict[int, str]]:
    """Return a table of texts, where each of its rows is in the block, and why others aren't in it.

    A block that isn't in order, or in which pyarrow sees rows elsewhere, is read row by row.
    """
    malformed: dict[int, str] = {}
    end = int(ends[-1]) if len(ends) else 0

    def refuse(row: pa.csv.InvalidRow) -> str:
        malformed[row.number - 1] = rules.WRONG_FIELDS
        return "skip"

    if _in_order(data, ends, delimiter):
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(pa.py_buffer(data).slice(0, end)),
                pa.csv.ReadOptions(use_threads=False, column_names=columns, block_size=len(data) + 1),
                pa.csv.ParseOptions(
                    delimiter=delimiter,
                    invalid_row_handler=refuse,
                    ignore_empty_lines=False,
                    newlines_in_values=data.find(b'"', 0, end) >= 0,
                ),
                pa.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), check_utf8=False),
            )
            if len(table) + len(malformed) == len(ends):
                return table, np.delete(np.arange(len(ends)), list(malformed)), malformed
        except pa.ArrowInvalid:
            pass
    return read_rows(data, ends, columns, delimiter)


def _in_order(data: bytes, ends: Ints, delimiter: str) -> bool:
    """Tell whether a block is UTF-8 that begins with no mark, and has no lone returns, empty rows or open quote."""
    end = int(ends[-1]) if len(ends) else 0
    if data.startswith(BOM):  # pyarrow would take it for the file's own
        return False
    if b"\r" in data and data.count(b"\r", 0, end) != data.count(b"\r\n", 0, end):
        return False
    if len(ends) and unclosed(raw_rows(data, ends, np.array([len(ends) - 1]))[0], delimiter):
        return False
    try:
        return bool(np.diff(ends, prepend=0).min(initial=3) > 2) and (data.isascii() or bool(data[:end].decode()))
    except UnicodeDecodeError:
        return False


def read_rows(data: bytes, ends: Ints, columns: list[str], delimiter: str) -> tuple[pa.Table, Ints, dict[int, str]]:
    """Do what `read` does, one row after another."""
    csv.field_size_limit(ROW_BYTES)
    malformed: dict[int, str] = {}
    fields: list[list[str]] = []
    for index, row in enumerate(raw_rows(data, ends, np.arange(len(ends)))):
        if index == len(ends) - 1 and unclosed(row, delimiter):
            malformed[index] = rules.UNCLOSED_QUOTE
            continue
        try:
            values = next(csv.reader([row.decode()], delimiter=delimiter), [])
        except UnicodeDecodeError:
            malformed[index] = rules.NOT_UTF8
            continue
        except csv.Error:
            values = []
        if len(values) == len(columns):
            fields.append(values)
        else:
            malformed[index] = rules.WRONG_FIELDS
    texts = [pa.array(values, pa.string()) for values in zip(*fields, strict=True)] or [
        pa.array([], pa.string()) for _ in columns
    ]
    return pa.table(texts, names=columns), np.delete(np.arange(len(ends)), list(malformed)), malformed
