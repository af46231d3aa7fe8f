"""Parquet as this package writes and reads it: checksummed pages, one row group a block, bounded memory."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from daskjobs.manifest import Piece
from daskjobs.orders import COLUMNS, TYPES
from daskjobs.outputs import HashingFile, Output
from daskjobs.storage import Storage, damaged

QUARANTINE = pa.schema(
    [
        ("row", pa.int64()),
        ("source", pa.string()),
        ("partition", pa.int32()),
        ("reasons", pa.list_(pa.string())),
        ("raw", pa.string()),
    ]
)
FEW_VALUES = ["region", "product", "quantity", "payment_mode", "status", "reasons.list.element", "source", "dimension"]
ENCODINGS = dict.fromkeys(["row", "position", "timestamp"], "DELTA_BINARY_PACKED")  # they ascend, mostly
KEYS = ["row", "partition"]  # of `rows_between`
PARQUET = {
    "compression": "lz4",
    "write_statistics": [*KEYS, *TYPES],  # those of texts take longer than all else about them, and prune little
    "use_dictionary": FEW_VALUES,
    "store_decimal_as_integer": True,
    "write_page_checksum": True,
}
PIECES = {"compression": "lz4", "write_statistics": False, "use_dictionary": False, "store_schema": False}
HELD_BYTES = 64 << 20  # of a file that is read into memory whole, which that of a partition is, mostly
BUFFER_BYTES = 1 << 20  # given to a file at a time: a page alone is small, and Python's lock is taken for each write
GROUP_ROWS, GROUP_BYTES = 1 << 15, 16 << 20  # the least of either in a row group, but for a file's last


def orders_schema(extra: list[str]) -> pa.Schema:
    """Return the columns of valid orders: the ten that are known, typed, and the input's own as text."""
    return pa.schema(
        [(name, TYPES.get(name, pa.string())) for name in COLUMNS] + [(name, pa.string()) for name in extra]
    )


@contextmanager
def writing(storage: Storage, name: str, schema: pa.Schema) -> Iterator[tuple[pq.ParquetWriter, HashingFile]]:
    """Write a Parquet file whole or not at all; the file says its size and hash when the block has ended."""
    with (
        storage.write(name) as file,
        pa.BufferedOutputStream(pa.PythonFile(file, "w"), BUFFER_BYTES) as buffered,
        pq.ParquetWriter(buffered, schema, column_encoding=_encoding(schema), **PARQUET) as writer,
    ):
        yield writer, file


def _encoding(schema: pa.Schema) -> dict[str, str]:
    return {name: how for name, how in ENCODINGS.items() if name in schema.names}


@contextmanager
def writing_rows(
    storage: Storage, name: str, schema: pa.Schema
) -> Iterator[tuple[Callable[[pa.Table], None], HashingFile]]:
    """Give a function that takes tables of any size, and writes them in row groups that aren't small."""
    held: list[pa.Table] = []

    def write(table: pa.Table) -> None:
        held.append(table)
        if sum(map(len, held)) >= GROUP_ROWS or sum(table.nbytes for table in held) >= GROUP_BYTES:
            writer.write_table(pa.concat_tables(held))
            held.clear()

    with writing(storage, name, schema) as (writer, file):
        yield write, file
        if any(map(len, held)):
            writer.write_table(pa.concat_tables(held))


@contextmanager
def reading(storage: Storage, name: str, vouched: Output) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file, once its bytes are held against what was ``vouched`` for. Raises StorageError otherwise.

    A file of up to `HELD_BYTES` is in memory then; a larger one is read twice, through the same handle.
    """
    small = vouched.size <= HELD_BYTES
    source = nullcontext(pa.BufferReader(storage.read(name, vouched))) if small else storage.opened(name, vouched)
    with source as file, sound(storage, name):
        yield pq.ParquetFile(file, page_checksum_verification=True)


@contextmanager
def sound(storage: Storage, name: str) -> Iterator[None]:
    """Turn what pyarrow raises for a damaged file into a StorageError."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged(storage.uri(name), error) from error


def footer_rows(storage: Storage, name: str) -> int:
    """Return how many rows a Parquet file's footer claims, of a file that `reading` reads later."""
    with storage.open(name) as file, sound(storage, name):
        return int(pq.ParquetFile(file).metadata.num_rows)


def row_groups(storage: Storage, name: str, vouched: Output, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield a Parquet file's row groups, one at a time."""
    with reading(storage, name, vouched) as file:
        for index in range(file.num_row_groups):
            yield file.read_row_group(index, columns=columns, use_threads=False)


def rows_between(storage: Storage, name: str, vouched: Output, key: str, first: int, end: int) -> pa.Table:
    """Return the rows of a Parquet file whose ``key``, its first column, is at least ``first`` and below ``end``."""
    with reading(storage, name, vouched) as file:
        wanted = [
            index
            for index in range(file.num_row_groups)
            if _overlaps(file.metadata.row_group(index).column(0).statistics, first, end)
        ]
        rows = file.read_row_groups(wanted, use_threads=False)
    return rows.filter(pc.and_(pc.greater_equal(rows[key], first), pc.less(rows[key], end)))


def _overlaps(row: Any, first: int, end: int) -> bool:
    return bool(row is None or not row.has_min_max or (row.max >= first and row.min < end))


def write_piece(file: HashingFile, table: pa.Table) -> Piece:
    """Append a table to a file as a Parquet file of its own, which can be read, and held against its hash, alone."""
    start, buffer = file.tell(), pa.BufferOutputStream()
    pq.write_table(table, buffer, column_encoding=_encoding(table.schema), **PIECES)
    data = buffer.getvalue()
    file.write(data)
    return {"start": start, "bytes": data.size, "sha256": hashlib.sha256(data).hexdigest()}


def read_pieces(storage: Storage, name: str, pieces: list[Piece]) -> Iterator[pa.Table]:
    """Yield tables that `write_piece` wrote. Raises StorageError when their bytes have changed."""
    with storage.open(name, cache="none") as file:  # what lies beside a piece is another task's
        for piece in pieces:
            file.seek(piece["start"])
            data = file.read(piece["bytes"])
            if hashlib.sha256(data).hexdigest() != piece["sha256"]:
                raise damaged(storage.uri(name))
            yield pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)


def column(table: pa.Table, name: str) -> Any:
    """Return one column as one array."""
    return table[name].combine_chunks()


def rebatched(tables: Iterator[pa.Table], text: str, rows: int = 65_536, size: int = 16 << 20) -> Iterator[pa.Table]:
    """Yield the same rows in tables of ``rows`` rows, or fewer where their ``text`` is long, however they came.

    A table is full when the next row would be one too many, or make the text of all longer than ``size`` bytes.
    """
    held, count, used = list[pa.Table](), 0, 0
    for table in tables:
        rest = table
        while len(rest):
            ends = pc.cumulative_sum(pc.binary_length(column(rest, text)).cast(pa.int64())).to_numpy()
            fit = min(rows - count, int(np.searchsorted(ends, size - used, "right")))
            fit = max(fit, 0 if held else 1)  # a row alone may be longer
            held.append(rest.slice(0, fit))
            if fit >= len(rest):
                count, used = count + len(rest), used + int(ends[-1])
                break
            yield pa.concat_tables(held).combine_chunks()
            held, count, used, rest = [], 0, 0, rest.slice(fit)
    if held:
        yield pa.concat_tables(held).combine_chunks()
