"""Write and read Parquet files with checksummed pages and bounded memory."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from daskjobs.files.digest import HashingFile, Output, Piece
from daskjobs.files.storage import Storage, damaged

PARQUET = {"compression": "lz4", "store_decimal_as_integer": True, "write_page_checksum": True}
PIECES = {"compression": "lz4", "write_statistics": False, "use_dictionary": False, "store_schema": False}
HELD_BYTES = 64 << 20  # files up to this size, as most files of partitions, are read into memory whole
BUFFER_BYTES = 1 << 20  # collected before each write: pages are small, and a write takes Python's lock
GROUP_ROWS, GROUP_BYTES = 1 << 15, 16 << 20  # each row group but a file's last one reaches one of these


@dataclass(frozen=True)
class ColumnWriting:
    """How columns are written, by their names; names that a file doesn't have are ignored.

    Columns with ``few_values`` are dictionary-encoded, ``ascending`` integers and times are stored as differences (not
    the input's own columns of such names, which are texts), and columns with ``statistics`` have their minimum and
    maximum in each row group.
    """

    few_values: tuple[str, ...] = ()
    ascending: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    amounts: tuple[str, ...] = ()  # stored as differences, too, which need fewer bits than the amounts themselves

    def encodings(self, schema: pa.Schema) -> dict[str, str]:
        """Return the encodings of the columns for which pyarrow's default isn't used."""
        names = (name for name in self.ascending + self.amounts if name in schema.names)
        return {name: "DELTA_BINARY_PACKED" for name in names if not pa.types.is_string(schema.field(name).type)}


@contextmanager
def writing(
    storage: Storage, name: str, schema: pa.Schema, columns: ColumnWriting
) -> Iterator[tuple[pq.ParquetWriter, HashingFile]]:
    """Write a Parquet file whole or not at all; its size and hash are known when the ``with`` block has ended."""
    options = {
        "use_dictionary": list(columns.few_values),
        "write_statistics": list(columns.statistics),
        "column_encoding": columns.encodings(schema),
    }
    with (
        storage.write(name) as file,
        pa.BufferedOutputStream(pa.PythonFile(file, "w"), BUFFER_BYTES) as buffered,
        pq.ParquetWriter(buffered, schema, **options, **PARQUET) as writer,
    ):
        yield writer, file


@contextmanager
def writing_rows(
    storage: Storage, name: str, schema: pa.Schema, columns: ColumnWriting
) -> Iterator[tuple[Callable[[pa.Table], None], HashingFile]]:
    """Give a function that takes tables of any size, and writes them in row groups of a minimum size."""
    held: list[pa.Table] = []
    rows = size = 0  # of the tables held; adding them up for each one would take quadratic time

    def write(table: pa.Table) -> None:
        nonlocal rows, size
        held.append(table)
        rows, size = rows + len(table), size + table.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            writer.write_table(pa.concat_tables(held))
            held.clear()
            rows = size = 0

    with writing(storage, name, schema, columns) as (writer, file):
        yield write, file
        if any(map(len, held)):
            writer.write_table(pa.concat_tables(held))


@contextmanager
def reading(storage: Storage, name: str, expected: Output) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file. Raises StorageError when its bytes are not as ``expected``.

    A file of up to `HELD_BYTES` is read into memory; a larger one is read twice, through the same handle.
    """
    small = expected.size <= HELD_BYTES
    source = nullcontext(pa.BufferReader(storage.read(name, expected))) if small else storage.opened(name, expected)
    with source as file, sound(storage, name):
        yield pq.ParquetFile(file, page_checksum_verification=True)


@contextmanager
def sound(storage: Storage, name: str) -> Iterator[None]:
    """Turn pyarrow's exceptions for a damaged file into a StorageError."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged(storage.uri(name), error) from error


def footer_rows(storage: Storage, name: str) -> int:
    """Return the number of rows in a Parquet file's footer, without comparing the file with a hash."""
    with storage.open(name) as file, sound(storage, name):
        return int(pq.ParquetFile(file).metadata.num_rows)


def row_groups(storage: Storage, name: str, expected: Output, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield a Parquet file's row groups, one at a time."""
    with reading(storage, name, expected) as file:
        for index in range(file.num_row_groups):
            yield file.read_row_group(index, columns=columns, use_threads=False)


def rows_between(storage: Storage, name: str, expected: Output, key: str, first: int, end: int) -> pa.Table:
    """Return the rows of a Parquet file whose ``key``, its first column, is at least ``first`` and below ``end``."""
    with reading(storage, name, expected) as file:
        wanted = [
            index
            for index in range(file.num_row_groups)
            if _overlaps(file.metadata.row_group(index).column(0).statistics, first, end)
        ]
        rows = file.read_row_groups(wanted, use_threads=False)
    return rows.filter(pc.and_(pc.greater_equal(rows[key], first), pc.less(rows[key], end)))


def _overlaps(row: Any, first: int, end: int) -> bool:
    return bool(row is None or not row.has_min_max or (row.max >= first and row.min < end))


def write_piece(file: HashingFile, table: pa.Table, columns: ColumnWriting) -> Piece:
    """Append a table to a file as a Parquet file of its own, which can be read and verified alone.

    Of ``columns``, only ``ascending`` is used: a piece has neither dictionaries nor statistics.
    """
    start, buffer = file.tell(), pa.BufferOutputStream()
    pq.write_table(table, buffer, column_encoding=columns.encodings(table.schema), **PIECES)
    data = buffer.getvalue()
    file.write(data)
    return Piece(start, data.size, hashlib.sha256(data).hexdigest())


def read_pieces(storage: Storage, name: str, pieces: list[Piece]) -> Iterator[pa.Table]:
    """Yield tables that `write_piece` wrote. Raises StorageError when their bytes have changed."""
    with storage.open(name, cache="none") as file:  # other tasks read the neighbouring pieces
        for piece in pieces:
            file.seek(piece.start)
            data = file.read(piece.size)
            if hashlib.sha256(data).hexdigest() != piece.sha256:
                raise damaged(storage.uri(name))
            yield pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)


def mask(booleans: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return booleans as numpy has them, false in place of null."""
    found: npt.NDArray[np.bool_] = booleans.fill_null(False).to_numpy(zero_copy_only=False)
    return found


def column(table: pa.Table, name: str) -> Any:
    """Return one column as one array."""
    return table[name].combine_chunks()


def rebatched(tables: Iterator[pa.Table], text: str, rows: int = 65_536, size: int = 16 << 20) -> Iterator[pa.Table]:
    """Yield the same rows in tables of ``rows`` rows, or fewer if the column ``text`` is long.

    A table ends before the row that would exceed ``rows``, or make its texts longer than ``size`` bytes in all.
    """
    held, count, used = list[pa.Table](), 0, 0
    for table in tables:
        rest = table
        while len(rest):
            ends = pc.cumulative_sum(pc.binary_length(column(rest, text)).cast(pa.int64())).to_numpy()
            fit = min(rows - count, int(np.searchsorted(ends, size - used, "right")))
            fit = max(fit, 0 if held else 1)  # a single row may be longer
            held.append(rest.slice(0, fit))
            if fit >= len(rest):
                count, used = count + len(rest), used + int(ends[-1])
                break
            yield pa.concat_tables(held).combine_chunks()
            held, count, used, rest = [], 0, 0, rest.slice(fit)
    if held:
        yield pa.concat_tables(held).combine_chunks()
