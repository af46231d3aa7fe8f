"""Write and read Parquet files with checksummed pages and bounded memory."""

import hashlib
from base64 import b64encode
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
HELD_BYTES = 64 << 20  # files up to this size, as most files of partitions, are read into memory whole
FOOTER_BYTES = 64 << 10  # read at the end of a file, which hold most footers
BUFFER_BYTES = 1 << 20  # collected before each write: pages are small, and a write takes Python's lock
CODED = pa.dictionary(pa.int32(), pa.string())
GROUP_ROWS, GROUP_BYTES = 1 << 15, 16 << 20  # each row group but a file's last one reaches one of these


@dataclass(frozen=True)
class ColumnWriting:
    """How columns are written, by their names; names that a file doesn't have are ignored.

    Columns with ``few_values`` are dictionary-encoded, ``ascending`` integers and times are stored as differences (not
    the input's own columns of such names, which are texts), and columns with ``statistics`` have their minimum and
    maximum in each row group. ``coded`` columns of texts may come as texts of a dictionary, which takes less time; they
    are written, and read, as the plain ones.
    """

    few_values: tuple[str, ...] = ()
    coded: tuple[str, ...] = ()
    ascending: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    amounts: tuple[str, ...] = ()  # stored as differences, too, which need fewer bits than the amounts themselves

    def encodings(self, schema: pa.Schema) -> dict[str, str]:
        """Return the encodings of the columns for which pyarrow's default isn't used."""
        names = (name for name in self.ascending + self.amounts if name in schema.names)
        return {name: "DELTA_BINARY_PACKED" for name in names if not pa.types.is_string(schema.field(name).type)}

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the schema that tables must have when they are written, for one of a file."""
        fields = (each.with_type(CODED) if each.name in self.coded else each for each in schema)
        return pa.schema(fields)


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
        pq.ParquetWriter(buffered, columns.schema(schema), store_schema=False, **options, **PARQUET) as writer,
    ):
        yield writer, file
        writer.add_key_value_metadata({"ARROW:schema": b64encode(schema.serialize()).decode()})


@contextmanager
def writing_rows(
    storage: Storage, name: str, schema: pa.Schema, columns: ColumnWriting
) -> Iterator[tuple[Callable[[pa.Table], None], HashingFile]]:
    """Give a function that takes tables of any size, and writes them in row groups of a minimum size."""
    held: list[pa.Table] = []
    rows = size = 0  # of the tables held; adding them up for each one would take quadratic time

    def write(table: pa.Table) -> None:
        nonlocal rows, size
        held.append(_coded(table, columns.coded))
        rows, size = rows + len(table), size + table.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            flush()

    def flush() -> None:
        nonlocal rows, size
        # One dictionary for all: a second one in a row group is not taken as it is.
        writer.write_table(pa.concat_tables(held).unify_dictionaries())
        held.clear()
        rows = size = 0

    with writing(storage, name, schema, columns) as (writer, file):
        yield write, file
        if any(map(len, held)):
            flush()


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
    data = storage.last_bytes(name, FOOTER_BYTES)
    footer = int.from_bytes(data[-8:-4], "little") + 8
    if footer > len(data):
        data = storage.last_bytes(name, footer)
    with sound(storage, name):
        return int(pq.read_metadata(pa.BufferReader(data)).num_rows)


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


def write_piece(file: HashingFile, table: pa.Table) -> Piece:
    """Append a table to a file, so that it can be read and verified alone."""
    start, buffer = file.tell(), pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    data = buffer.getvalue()
    file.write(data)
    return Piece(start, data.size, hashlib.sha256(data).hexdigest())


def read_pieces(storage: Storage, name: str, pieces: list[Piece]) -> Iterator[pa.Table]:
    """Yield tables that `write_piece` wrote. Raises StorageError when their bytes have changed."""
    places = [(piece.start, piece.start + piece.size) for piece in pieces]
    for piece, data in zip(pieces, storage.pieces(name, places), strict=True):
        if hashlib.sha256(data).hexdigest() != piece.sha256:
            raise damaged(storage.uri(name))
        yield pa.ipc.open_stream(data).read_all()


def mask(booleans: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return booleans as numpy has them, false in place of null."""
    found: npt.NDArray[np.bool_] = booleans.fill_null(False).to_numpy(zero_copy_only=False)
    return found


def _coded(table: pa.Table, names: tuple[str, ...]) -> pa.Table:
    """Return a table with texts of a dictionary in place of plain ones."""
    for at, name in enumerate(table.column_names):
        if name in names and not pa.types.is_dictionary(table.column(at).type):
            table = table.set_column(at, name, table.column(at).dictionary_encode())
    return table


def plain_texts(table: pa.Table) -> pa.Table:
    """Return a table with plain texts in place of those of a dictionary."""
    for at, kind in enumerate(table.schema.types):
        if pa.types.is_dictionary(kind):
            table = table.set_column(at, table.column_names[at], table.column(at).cast(kind.value_type))
    return table


def column(table: pa.Table, name: str) -> Any:
    """Return one column as one array, without a copy if it is one already."""
    chunks = table[name]
    return chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()


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
