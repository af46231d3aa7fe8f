"""Parquet as this package writes and reads it: checksummed pages, one row group a block, bounded memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from daskjobs.errors import StorageError
from daskjobs.orders import COLUMNS, TYPES
from daskjobs.outputs import HashingFile
from daskjobs.storage import Storage

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
BUFFER_BYTES = 1 << 20  # given to a file at a time: a page alone is small, and Python's lock is taken for each write
GROUP_ROWS = 1 << 15  # the least in a row group, but for a file's last


def orders_schema(extra: list[str]) -> pa.Schema:
    """Return the columns of valid orders: the ten that are known, typed, and the input's own as text."""
    return pa.schema(
        [(name, TYPES.get(name, pa.string())) for name in COLUMNS] + [(name, pa.string()) for name in extra]
    )


@contextmanager
def writing(storage: Storage, name: str, schema: pa.Schema) -> Iterator[tuple[pq.ParquetWriter, HashingFile]]:
    """Write a Parquet file whole or not at all; the file says its size and hash when the block has ended."""
    encoding = {name: how for name, how in ENCODINGS.items() if name in schema.names}
    with (
        storage.write(name) as file,
        pa.BufferedOutputStream(pa.PythonFile(file, "w"), BUFFER_BYTES) as buffered,
        pq.ParquetWriter(buffered, schema, column_encoding=encoding, **PARQUET) as writer,
    ):
        yield writer, file


@contextmanager
def writing_rows(
    storage: Storage, name: str, schema: pa.Schema
) -> Iterator[tuple[Callable[[pa.Table], None], HashingFile]]:
    """Give a function that takes tables of any size, and writes them in row groups that aren't small."""
    held: list[pa.Table] = []

    def write(table: pa.Table) -> None:
        held.append(table)
        if sum(map(len, held)) >= GROUP_ROWS:
            writer.write_table(pa.concat_tables(held))
            held.clear()

    with writing(storage, name, schema) as (writer, file):
        yield write, file
        if any(map(len, held)):
            writer.write_table(pa.concat_tables(held))


@contextmanager
def reading(storage: Storage, name: str) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file, each page of which is checked when it is read. Raises StorageError when it is damaged."""
    with storage.open(name) as file:
        try:
            yield pq.ParquetFile(file, page_checksum_verification=True)
        except (pa.ArrowInvalid, OSError) as error:
            raise StorageError(
                f"{storage.uri(name)} is damaged ({error}): remove it and run again from validate"
            ) from error


def row_groups(storage: Storage, name: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield a Parquet file's row groups, one at a time."""
    with reading(storage, name) as file:
        for index in range(file.num_row_groups):
            yield file.read_row_group(index, columns=columns, use_threads=False)


def rows_between(storage: Storage, name: str, key: str, first: int, end: int) -> pa.Table:
    """Return the rows of a Parquet file whose ``key``, its first column, is at least ``first`` and below ``end``."""
    with reading(storage, name) as file:
        wanted = [
            index
            for index in range(file.num_row_groups)
            if _overlaps(file.metadata.row_group(index).column(0).statistics, first, end)
        ]
        rows = file.read_row_groups(wanted, use_threads=False)
    return rows.filter(pc.and_(pc.greater_equal(rows[key], first), pc.less(rows[key], end)))


def _overlaps(row: Any, first: int, end: int) -> bool:
    return bool(row is None or not row.has_min_max or (row.max >= first and row.min < end))


def column(table: pa.Table, name: str) -> Any:
    """Return one column as one array."""
    return table[name].combine_chunks()


def rebatched(tables: Iterator[pa.Table], rows: int = 65_536) -> Iterator[pa.Table]:
    """Yield the same rows in tables of ``rows`` rows, the last one excepted, however they came."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        while sum(map(len, held)) >= rows:
            joined = pa.concat_tables(held)
            yield joined.slice(0, rows).combine_chunks()
            held = [joined.slice(rows)]
    if any(map(len, held)):
        yield pa.concat_tables(held).combine_chunks()
