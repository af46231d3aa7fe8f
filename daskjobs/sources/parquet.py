"""Parquet: its row groups in partitions, and its rows in blocks of the texts that a CSV file would have had."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from daskjobs import rules
from daskjobs.errors import InputError
from daskjobs.orders import COLUMNS
from daskjobs.sources import rows
from daskjobs.sources.block import Block, Range, Source, renamed
from daskjobs.sources.pages import Column, Encrypted, Group, PagedFile, damaged, row_groups
from daskjobs.sources.rows import Ints
from daskjobs.storage import Storage

MAGIC = b"PAR1"
ENCRYPTED = b"PARE"
BLOCK_ROWS = 65_536
BATCH_ROWS = 8192  # read at a time: memory follows the widest of them
BATCH_BYTES = 8 << 20  # and fewer where rows are wide on average
PREFIXED_ROWS = 512  # and where the file doesn't say how long its texts are, since they share their beginnings
CODED_BYTES, CODED_WIDTH = 1 << 20, 8  # of a column written in codes: more in all and for each value, and most isn't
CODED_LONGEST = 4 << 10  # which even in each row of a batch are not many bytes
BUFFER_BYTES = 1 << 20  # of each column, instead of its whole part of a row group
WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}  # in bytes, of physical types with one
TEXT, PREFIXED = 6, 7  # the physical type of texts, and the encoding DELTA_BYTE_ARRAY
HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint8).reshape(256, 2)


@contextmanager
def _reading(storage: Storage, name: str) -> Iterator[PagedFile]:
    """Open a file; what pyarrow raises becomes a sentence, and what the storage raises stays what it is."""
    with storage.open(name, cache="none") as opened:  # columns are read in turns: what lies ahead is another's
        file = PagedFile(opened, name)
        try:
            yield file
        except Encrypted as error:
            raise InputError(encrypted(name)) from error
        except pa.ArrowNotImplementedError as error:
            raise InputError(f"{name} can't be read: {error}") from error
        except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
            if file.failure:
                raise file.failure from error
            reason = str(error).strip().partition("\n")[0]
            if "crypt" in reason:
                raise InputError(encrypted(name)) from error
            raise damaged(name, reason) from error


def encrypted(name: str) -> str:
    """Return what a run says of a file that it has no key for."""
    return f"{name} is encrypted Parquet: decrypt it, or export it without encryption"


def _opened(file: PagedFile, **options: Any) -> pq.ParquetFile:
    return pq.ParquetFile(
        file,
        buffer_size=BUFFER_BYTES,
        pre_buffer=False,
        page_checksum_verification=True,
        arrow_extensions_enabled=True,
        coerce_int96_timestamp_unit="us",  # as nanoseconds, years beyond 2262 would wrap around
        **options,
    )


def describe(storage: Storage, name: str, wanted: dict[str, str]) -> Source:
    """Read a file's columns and row groups. Raises InputError when it isn't a Parquet file of orders."""
    with _reading(storage, name) as file:
        parquet = _opened(file)
        header = parquet.schema_arrow.names
        groups = [(group.rows, group.size) for group in row_groups(_footer(file))]
        total = sum(count for count, _ in groups)
        if min(map(min, groups), default=0) < 0 or parquet.metadata.num_rows != total:
            raise damaged(file.name, f"its footer says {parquet.metadata.num_rows} rows, its row groups {total}")
    columns = renamed(header, wanted, name)
    named = {"name": name, "kind": "parquet", "bytes": storage.size(name)}
    return {**named, "columns": columns, "groups": groups, "header": _line(header)}


def weight(source: Source) -> int:
    """Return how many bytes of rows a file has, before compression."""
    return sum(size for _, size in source["groups"])


def ranges(storage: Storage, source: Source, seen: int, total: int, count: int) -> Iterator[Range]:
    """Yield a file's part of each of ``count`` partitions: row groups from ``start`` to before ``end``.

    ``seen`` bytes of ``total`` came before, in other files. Their hash is that of the file's footer.
    """
    with _reading(storage, source["name"]) as file:
        footer = hashlib.sha256(_footer(file)).hexdigest()
    row, current = 1, dict[str, Any]()
    for index, (size, weight) in enumerate(source["groups"]):
        partition = min(count - 1, seen * count // max(1, total))
        if not current or current["partition"] != partition:
            if current:
                yield current
            current = {"partition": partition, "start": index, "first_row": row, "rows": 0, "sha256": footer}
        current |= {"end": index + 1, "rows": current["rows"] + size}
        row, seen = row + size, seen + weight
    if current:
        yield current


def _footer(file: PagedFile) -> bytes:
    file.seek(-8, io.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    file.seek(-8 - length, io.SEEK_END)
    return file.read(length)


def blocks(storage: Storage, source: Source, part: Range) -> Iterator[Block]:
    """Yield a range's rows. Raises InputError when the file is not the one that was split, or holds other rows."""
    held: list[pa.Table] = []
    with _reading(storage, source["name"]) as file:
        if hashlib.sha256(_footer(file)).hexdigest() != part["sha256"]:
            raise InputError(f"{source['name']} has changed since it was split: run again")
        metadata = _opened(file).metadata
        groups = row_groups(_footer(file), part["start"], part["end"])
        for number, group in zip(range(part["start"], part["end"]), groups, strict=True):
            _prove(file, metadata, group)
            for piece in _pieces(file, metadata, number, group, source):
                held.append(piece)
                if sum(map(len, held)) >= BLOCK_ROWS or sum(each.nbytes for each in held) >= rows.BLOCK_BYTES:
                    yield block(pa.concat_tables(held).combine_chunks())
                    held.clear()
    if held:
        yield block(pa.concat_tables(held).combine_chunks())


def _prove(file: PagedFile, metadata: pq.FileMetaData, group: Group) -> None:
    """Raise InputError when what a footer says of a row group doesn't go together."""
    paths = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    if [column.path for column in group.columns] != paths:
        raise damaged(file.name, "a row group doesn't have its columns")
    for index, column in enumerate(group.columns):
        flat = metadata.schema.column(index).max_repetition_level == 0
        if flat and column.values != group.rows:
            raise damaged(
                file.name,
                f"its footer says {group.rows} rows in a row group, and {column.values} values of {column.path}",
            )
        if column.end > file.size():
            raise damaged(file.name, f"{column.path} would end at byte {column.end} of {file.size()}")


def _pieces(
    file: PagedFile, metadata: pq.FileMetaData, number: int, group: Group, source: Source
) -> Iterator[pa.Table]:
    """Yield a row group's rows as columns of texts or bytes, of at most BLOCK_BYTES, or one row, each.

    Raises InputError when its pages hold fewer or more rows than the footer says, or what would not fit in memory.
    """
    name = source["name"]
    file.walk(group.columns)
    coded = [column.path for column in group.columns if _is_coded(file, metadata, number, column)]
    parquet = _opened(file, metadata=metadata, read_dictionary=coded)
    found, size = 0, _batch_rows(group, metadata.schema)
    for batch in parquet.iter_batches(size, [number], use_threads=False):
        found += len(batch)
        if found > group.rows:
            break
        for start, end in _cuts(batch, name):
            piece = batch.slice(start, end - start)
            yield pa.table(list(map(_texts, piece.columns)), names=source["columns"])
    if found != group.rows:
        raise damaged(name, f"its footer says {group.rows} rows in row group {number}, and there are {found}")
    file.walked()


def _is_coded(file: PagedFile, metadata: pq.FileMetaData, number: int, column: Column) -> bool:
    """Tell whether to read a column as codes and the texts they stand for: one text of theirs may fill the memory.

    Where most values are written without codes, that takes longer than the texts themselves, which then must be short.
    """
    if column.kind != TEXT or not column.coded:
        return False
    if column.unpacked <= CODED_BYTES or column.unpacked <= CODED_WIDTH * column.values or "." in column.path:
        return True
    parquet = _opened(file, metadata=metadata, read_dictionary=[column.path])
    first = next(parquet.iter_batches(1, [number], [column.path], use_threads=False), None)
    return bool(first and _longest(first.column(0)) > CODED_LONGEST)


def _longest(column: pa.DictionaryArray) -> int:
    values = column.dictionary
    if _is_text(values.type):
        return int(pc.max(pc.binary_length(values)).as_py() or 0)
    return int(_widths(values).max(initial=0))


def _batch_rows(group: Group, schema: pq.ParquetSchema) -> int:
    """Return how many rows to read at a time, by their average width in memory."""
    width, most = 0.0, BATCH_ROWS
    for index, column in enumerate(group.columns):
        each = WIDTHS.get(column.kind) or schema.column(index).length or 1
        width += max(each * column.values, column.unpacked) / max(1, group.rows)
        if PREFIXED in column.encodings:
            most = PREFIXED_ROWS
    return max(1, min(most, int(BATCH_BYTES / max(1.0, width))))


def _cuts(batch: pa.RecordBatch, name: str) -> Iterator[tuple[int, int]]:
    """Yield where to cut a batch, so that its texts are of at most BLOCK_BYTES, or a row is alone."""
    if sum(map(_most, batch.columns)) <= rows.BLOCK_BYTES:
        yield 0, len(batch)
        return
    widths = np.full(len(batch), 16 * batch.num_columns)
    for column in batch.columns:
        widths += _widths(column)
    if widths.max(initial=0) > rows.ROW_BYTES:
        raise InputError(f"{name} has a row of more than {rows.ROW_BYTES >> 20} MiB: leave out what makes it so long")
    ends, start = np.cumsum(widths), 0
    while start < len(batch):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + rows.BLOCK_BYTES, "right")))
        yield start, end
        start = end


def _most(column: pa.Array) -> int:
    """Return about how many bytes a column's texts have at most."""
    if pa.types.is_dictionary(column.type):
        return len(column) * _longest(column)
    return int(column.nbytes)


def _widths(column: pa.Array) -> Ints:
    """Return how many bytes each value's text has, as far as they are not few."""
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return _widths(column.storage)
    if pa.types.is_dictionary(kind):
        return _filled(pa.array(_widths(column.dictionary)).take(column.indices))
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _filled(pc.binary_length(column.cast(pa.large_binary())))
    if _is_text(kind):
        return _filled(pc.binary_length(column))
    return np.zeros(len(column), np.int64)


def _filled(lengths: pa.Array) -> Ints:
    found: Ints = lengths.cast(pa.int64()).fill_null(0).to_numpy()
    return found


def block(texts: pa.Table) -> Block:
    """Turn columns of texts or bytes into texts.

    Bytes that are not UTF-8 are escaped, and in the orders' own columns reject their row.
    """
    bad = set[int]()
    for index, name in enumerate(texts.column_names):
        text, found = _utf8(texts.column(index).combine_chunks())
        texts = texts.set_column(index, name, text)
        if name in COLUMNS:
            bad.update(found)
    kept = np.delete(np.arange(len(texts)), sorted(bad))

    def raw(which: Ints) -> pa.Array:
        columns = [column.take(pa.array(which)).to_pylist() for column in texts.columns]
        return pa.array(map(_line, zip(*columns, strict=True)), pa.string())

    return Block(
        len(texts),
        texts.take(pa.array(kept)) if bad else texts,
        kept,
        dict.fromkeys(sorted(bad), rules.NOT_UTF8),
        raw,
    )


def _line(values: Any) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def _is_text(kind: pa.DataType) -> bool:
    return bool(_is_binary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _texts(column: pa.Array) -> pa.Array:
    """Return a column as texts, or as bytes that may be none: a null is empty."""
    values = _values(column)
    if values.null_count:
        return values.fill_null(b"" if pa.types.is_binary(values.type) else "")
    return values


def _values(column: pa.Array) -> pa.Array:
    """Return a column as texts or bytes: an amount has no more zeros than two after its point, a UUID is canonical."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.dictionary).take(column.indices)
    if isinstance(kind, pa.UuidType):
        return _uuids(column.storage)
    if isinstance(column, pa.ExtensionArray):
        return _values(column.storage)
    if pa.types.is_timestamp(kind):
        return _moments(column)
    if pa.types.is_nested(kind) or pa.types.is_duration(kind) or pa.types.is_interval(kind):
        return _json(column)
    if pa.types.is_decimal(kind):
        return _amounts(column)
    if _is_binary(kind) or pa.types.is_binary_view(kind):
        return column.cast(pa.binary())
    return column.cast(pa.string())


def _moments(column: pa.Array) -> pa.Array:
    """Return times as text; those of a zone are in UTC, which needs no database of zones."""
    kind = column.type
    plain = column.view(pa.timestamp(kind.unit))
    if kind.unit == "ns":
        plain = plain.cast(pa.timestamp("us"), safe=False)
    text = plain.cast(pa.string())
    return pc.binary_join_element_wise(text, "Z", "") if kind.tz else text


def _amounts(column: pa.Array) -> pa.Array:
    """Return decimals as plain text: Arrow writes those that are small for their scale, zero among them, as 0E-10."""
    text = column.cast(pa.string())
    if pc.any(pc.match_substring(text, "E")).as_py():
        distinct = text.dictionary_encode()
        plain = [None if value is None else f"{Decimal(value):f}" for value in distinct.dictionary.to_pylist()]
        text = pa.array(plain, pa.string()).take(distinct.indices)
    return pc.replace_substring_regex(text, r"(\.[0-9]{2}[0-9]*?)0+$", r"\1")


def _uuids(column: pa.Array) -> pa.Array:
    """Return the canonical texts of UUIDs, from their sixteen bytes."""
    found = np.frombuffer(b"".join(value or bytes(16) for value in column.to_pylist()), np.uint8)
    text = np.insert(HEX[found].reshape(-1, 32), (8, 12, 16, 20), ord("-"), axis=1)
    known = pa.Array.from_buffers(pa.binary(36), len(column), [None, pa.py_buffer(text.tobytes())])
    return pc.if_else(column.is_valid(), known.cast(pa.string()), None)


def _json(column: pa.Array) -> pa.Array:
    try:
        values = column.to_pylist()
    except (pa.ArrowInvalid, ValueError, OverflowError) as error:
        raise pa.ArrowNotImplementedError(f"values of {column.type}: {error}; leave that column out") from error
    return pa.array((None if value is None else json.dumps(value, default=_shown) for value in values), pa.string())


def _shown(value: Any) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _utf8(column: pa.Array) -> tuple[pa.Array, list[int]]:
    """Return a column as text, with bytes that are not UTF-8 as ``\\xNN``, and the rows that have such."""
    text = column.view(pa.string())
    try:
        text.validate(full=True)
        return text, []
    except pa.ArrowInvalid:
        values = column.view(pa.binary()).to_pylist()
        return pa.array((value.decode(errors="backslashreplace") for value in values), pa.string()), [
            row for row, value in enumerate(values) if not _decodes(value)
        ]


def _decodes(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
