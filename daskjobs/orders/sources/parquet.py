"""Parquet: partitions have whole row groups, and rows become the texts that a CSV file would have."""

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from itertools import groupby
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from daskjobs.errors import InputError
from daskjobs.files.parquetpages.footer import Column, Encrypted, Group, row_groups
from daskjobs.files.parquetpages.headers import PagedFile, damaged
from daskjobs.files.storage import Storage
from daskjobs.orders.rules.builtin import NOT_UTF8
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources import lines
from daskjobs.orders.sources.format import Block, Cuts, InputFile, Ints, RowRange, SourceFile, without_nulls

MAGIC = b"PAR1"
ENCRYPTED = b"PARE"
SUMMARIES = ("_metadata", "_common_metadata")
UNKNOWN = re.compile(r"(?i)(logical|converted) ?type .*cannot be applied|unknown (logical|converted|physical) ?type")
BLOCK_ROWS = 65_536
BATCH_ROWS = 8192  # read at a time: memory is proportional to the widest one
BATCH_BYTES = 8 << 20  # fewer rows are read at a time if they are wider than this together
PREFIXED_ROWS = 512  # read at a time if texts share prefixes, since the file doesn't say how long these texts are
CODED_BYTES, CODED_WIDTH = 1 << 20, 8  # in all, and a value: with more, most values are not in the dictionary
CODED_LONGEST = 4 << 10  # bytes of a text, of which even one in each row of a batch takes little memory
BUFFER_BYTES = 1 << 20  # read of each column at a time, instead of a whole row group's
WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}  # in bytes, of the physical types of fixed width
TEXT, PREFIXED = 6, 7  # the physical type of texts, and the encoding DELTA_BYTE_ARRAY
NAT = -(2**63)  # numpy's NaT, if a writer has stored it
HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint8).reshape(256, 2)


@dataclass(frozen=True, kw_only=True)
class ParquetSource(SourceFile):
    """A Parquet file. ``groups`` has the rows and the unpacked bytes of each of its row groups.

    ``meant`` are its columns that a profile uses, each with the one of ours that it is for.
    """

    kind: Literal["parquet"]
    groups: list[tuple[int, int]]
    meant: dict[str, str] = field(default_factory=dict)

    @property
    def heading(self) -> list[str]:
        """The names of its columns as they stand there."""
        return next(csv.reader(io.StringIO(self.header, newline="")), [])


class ParquetFormat:
    """Parquet files of any columns that can be written as text."""

    name = "parquet"
    unit = "row groups"
    source = ParquetSource
    text = False

    def sniff(self, first: bytes) -> bool:
        """Tell whether a file begins as Parquet does, encrypted or not."""
        return first.startswith((MAGIC, ENCRYPTED))

    def describe(self, file: InputFile) -> ParquetSource:
        """Read a file's columns and row groups. Raises InputError when it isn't a Parquet file of orders."""
        if file.first.startswith(ENCRYPTED):
            raise InputError(_encrypted(file.name))
        if file.name.partition("::")[0].rpartition("/")[2] in SUMMARIES:
            raise InputError(
                f"{file.name} is a summary that stands beside the files of a dataset, and has no rows: give these "
                "files, or a glob of them"
            )
        file.refuse_form("Parquet", ("delimiter", "quoting", "quote", "header", "skip_lines", "footer_lines"))
        with _reading(file.open, file.name) as paged:
            parquet = _opened(paged)
            header = parquet.schema_arrow.names
            file.refuse_numbers([each.name for each in parquet.schema_arrow if _has_fractions(each.type)])
            groups = [(group.rows, group.size) for group in row_groups(_footer(paged))]
            total = sum(count for count, _ in groups)
            if min(map(min, groups), default=0) < 0 or parquet.metadata.num_rows != total:
                raise damaged(file.name, f"its footer says {parquet.metadata.num_rows} rows, its row groups {total}")
        return ParquetSource(
            name=file.name,
            read=file.read,
            kind="parquet",
            size=file.size,
            columns=file.named(header),
            groups=groups,
            header=_line(header),
            meant={name: ours for name, ours in file.meant.items() if name in header},
            nulls=file.form.nulls,
            unpacked=file.unpacked,
        )

    def weight(self, source: ParquetSource) -> int:
        """Return how many bytes of rows a file has, before compression."""
        return sum(size for _, size in source.groups)

    def ranges(self, storage: Storage, source: ParquetSource, cuts: Cuts) -> Iterator[tuple[int, RowRange]]:
        """Yield ranges of whole row groups, or where a row is a line of an order, the file's only range.

        Their hash is that of the file's footer.
        """
        with _reading(partial(storage.open, source.read), source.name) as file:
            footer = hashlib.sha256(_footer(file)).hexdigest()
        row, start, before = 1, 0, 0
        partitions = []
        for _, size in source.groups:
            partitions.append(cuts.partition(0 if cuts.of_lines else before))
            before += size
        for partition, group in groupby(partitions):
            end = start + len(list(group))
            count = sum(rows_of_group for rows_of_group, _ in source.groups[start:end])
            yield partition, RowRange(file=cuts.file, start=start, first_row=row, rows=count, sha256=footer, end=end)
            row, start = row + count, end

    def blocks(self, storage: Storage, source: ParquetSource, part: RowRange) -> Iterator[Block]:
        """Yield a range's rows. Raises InputError when the file or its rows have changed since split."""
        held: list[pa.Table] = []
        with _reading(partial(storage.open, source.read), source.name) as file:
            if hashlib.sha256(_footer(file)).hexdigest() != part.sha256:
                raise InputError(f"{source.name} has changed since it was split: run again")
            metadata = _opened(file).metadata
            groups = row_groups(_footer(file), part.start, part.end)
            for number, group in zip(range(part.start, part.end), groups, strict=True):
                _prove(file, metadata, group)
                for piece in _pieces(file, metadata, number, group, source):
                    held.append(piece)
                    if sum(map(len, held)) >= BLOCK_ROWS or sum(each.nbytes for each in held) >= lines.BLOCK_BYTES:
                        yield _block(held, source)
                        held.clear()
        if held:
            yield _block(held, source)


def _block(held: list[pa.Table], source: ParquetSource) -> Block:
    block = text_block(pa.concat_tables(held).combine_chunks(), source.meant or COLUMNS)
    return without_nulls(block, source.nulls)


def _has_fractions(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind))


@contextmanager
def _reading(opening: Callable[..., IO[bytes]], name: str) -> Iterator[PagedFile]:
    """Open a file, and turn pyarrow's exceptions into an InputError; errors of the storage stay unchanged."""
    with opening(cache="none") as opened:  # columns are read in turns: bytes ahead are another's
        file = PagedFile(opened, name)
        try:
            yield file
        except Encrypted as error:
            raise InputError(_encrypted(name)) from error
        except pa.ArrowNotImplementedError as error:
            raise InputError(f"{name} can't be read: {error}") from error
        except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
            if file.failure:
                raise file.failure from error
            reason = str(error).strip().partition("\n")[0]
            if "crypt" in reason:
                raise InputError(_encrypted(name)) from error
            if UNKNOWN.search(reason):  # a newer one than pyarrow knows, like VARIANT for versions before 22
                raise InputError(f"{name} can't be read: {reason}; leave that column out") from error
            raise damaged(name, reason) from error


def _encrypted(name: str) -> str:
    """Return the sentence for an encrypted file."""
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


def _footer(file: PagedFile) -> bytes:
    file.seek(-8, io.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    file.seek(-8 - length, io.SEEK_END)
    return file.read(length)


def _prove(file: PagedFile, metadata: pq.FileMetaData, group: Group) -> None:
    """Raise InputError when a footer contradicts itself about a row group."""
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
    file: PagedFile, metadata: pq.FileMetaData, number: int, group: Group, source: ParquetSource
) -> Iterator[pa.Table]:
    """Yield a row group's rows in tables of texts or bytes, each of at most BLOCK_BYTES or of one row.

    Raises InputError when its pages have fewer or more rows than the footer says, or would not fit in memory.
    """
    name = source.name
    file.walk(group.columns)
    coded = [column.path for column in group.columns if _is_coded(file, metadata, number, column)]
    parquet = _opened(file, metadata=metadata, read_dictionary=coded)
    count, size = 0, _batch_rows(group, metadata.schema)
    for batch in parquet.iter_batches(size, [number], use_threads=False):
        count += len(batch)
        if count > group.rows:
            break
        for start, end in _cuts(batch, name):
            piece = batch.slice(start, end - start)
            ours = [source.meant.get(each, each) for each in source.columns]
            yield pa.table(list(map(_texts, piece.columns, ours)), names=source.columns)
    if count != group.rows:
        raise damaged(name, f"its footer says {group.rows} rows in row group {number}, and there are {count}")
    file.walked()


def _is_coded(file: PagedFile, metadata: pq.FileMetaData, number: int, column: Column) -> bool:
    """Tell whether to read a column dictionary-encoded, since a long text in many rows may fill the memory.

    If most values are not in the dictionary, that is slower, and so done only for long texts.
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
    """Yield the parts of a batch, as start and end, that have texts of at most BLOCK_BYTES each, or one row."""
    if sum(map(_most, batch.columns)) <= lines.BLOCK_BYTES:
        yield 0, len(batch)
        return
    widths = np.full(len(batch), 16 * batch.num_columns)
    for column in batch.columns:
        widths += _widths(column)
    if widths.max(initial=0) > lines.ROW_BYTES:
        raise InputError(f"{name} has a row of more than {lines.ROW_BYTES >> 20} MiB: leave out what makes it so long")
    ends, start = np.cumsum(widths), 0
    while start < len(batch):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + lines.BLOCK_BYTES, "right")))
        yield start, end
        start = end


def _most(column: pa.Array) -> int:
    """Return an upper estimate of the bytes of a column's texts."""
    if pa.types.is_dictionary(column.type):
        return len(column) * _longest(column)
    return int(column.nbytes)


def _widths(column: pa.Array) -> Ints:
    """Return the bytes of each value's text, or 0 for types whose texts are short."""
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
    whole: Ints = lengths.cast(pa.int64()).fill_null(0).to_numpy()
    return whole


def first_texts(opening: Callable[..., IO[bytes]], name: str, count: int) -> pa.Table:
    """Return the first rows of a file as texts, under its own names. Raises InputError when it can't be read."""
    with _reading(opening, name) as file:
        parquet = _opened(file)
        names = parquet.schema_arrow.names
        batch = next(parquet.iter_batches(count, use_threads=False), parquet.schema_arrow.empty_table())
        return text_block(pa.table(list(map(_texts, batch.columns, names)), names=names)).texts


def text_block(texts: pa.Table, needed: Container[str] = COLUMNS) -> Block:
    """Return a block of rows, given in columns of texts or bytes.

    Bytes that are not UTF-8 are escaped; in one of the ``needed`` columns, they make the row malformed.
    """
    bad = set[int]()
    for index, name in enumerate(texts.column_names):
        text, undecodable = _utf8(texts.column(index).combine_chunks())
        texts = texts.set_column(index, name, text)
        if name in needed:
            bad.update(undecodable)
    kept = np.delete(np.arange(len(texts)), sorted(bad))

    def raw(which: Ints) -> pa.Array:
        columns = [column.take(pa.array(which)).to_pylist() for column in texts.columns]
        return pa.array(map(_line, zip(*columns, strict=True)), pa.string())

    return Block(
        len(texts), texts.take(pa.array(kept)) if bad else texts, kept, dict.fromkeys(sorted(bad), NOT_UTF8), raw
    )


def _line(values: Any) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def _is_text(kind: pa.DataType) -> bool:
    return bool(_is_binary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _texts(column: pa.Array, name: str) -> pa.Array:
    """Return a column as texts, or as bytes that may not be UTF-8; nulls and infinite ids become empty."""
    values = _values(column)
    if name == "order_id" and pa.types.is_floating(getattr(column.type, "value_type", column.type)):
        values = pc.if_else(pc.is_in(values, pa.array(["inf", "-inf"])), None, values)
    if values.null_count:
        return values.fill_null(b"" if pa.types.is_binary(values.type) else "")
    return values


def _values(column: pa.Array) -> pa.Array:
    """Return a column as texts or bytes, null for missing values.

    Decimals lose trailing zeros after the cents; UUIDs are canonical; NaN and NaT are missing values.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.dictionary).take(column.indices)
    if isinstance(kind, pa.UuidType):
        return _uuids(column.storage)
    if isinstance(column, pa.ExtensionArray):
        return _values(column.storage)
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time64(kind):
        column = pc.if_else(pc.equal(column.view(pa.int64()), NAT), None, column)
    if pa.types.is_timestamp(kind):
        return _moments(column)
    if pa.types.is_floating(kind):
        return _floats(column)
    if pa.types.is_nested(kind) or pa.types.is_duration(kind) or pa.types.is_interval(kind):
        return _json(column)
    if pa.types.is_decimal(kind):
        return _amounts(column)
    if _is_binary(kind) or pa.types.is_binary_view(kind):
        return column.cast(pa.binary())
    return column.cast(pa.string())


def _floats(column: pa.Array) -> pa.Array:
    """Return floats in their shortest form, without an exponent below 10^16, and null in place of NaN."""
    text = pc.replace_substring_regex(column.cast(pa.string()), "^-0$", "0")
    text = pc.if_else(pc.is_nan(column), None, text)
    return _without_exponents(text, r"e\+1[0-5]$")


def _without_exponents(text: pa.Array, pattern: str) -> pa.Array:
    """Return numbers, as plain text where they match a pattern."""
    if not pc.any(pc.match_substring_regex(text, pattern)).as_py():
        return text
    distinct = text.dictionary_encode()
    plain = [
        f"{Decimal(each):f}" if each and re.search(pattern, each) else each for each in distinct.dictionary.to_pylist()
    ]
    return pa.array(plain, pa.string()).take(distinct.indices)


def _moments(column: pa.Array) -> pa.Array:
    """Return times as text; times with a zone are in UTC, so that no time zone database is needed."""
    kind = column.type
    plain = column.view(pa.timestamp(kind.unit))
    if kind.unit == "ns":
        plain = plain.cast(pa.timestamp("us"), safe=False)
    text = plain.cast(pa.string())
    return pc.binary_join_element_wise(text, "Z", "") if kind.tz else text


def _amounts(column: pa.Array) -> pa.Array:
    """Return decimals as plain text; Arrow writes small ones, and zero, like 0E-10."""
    text = _without_exponents(column.cast(pa.string()), "E")
    return pc.replace_substring_regex(text, r"(\.[0-9]{2}[0-9]*?)0+$", r"\1")


def _uuids(column: pa.Array) -> pa.Array:
    """Return the canonical texts of UUIDs, given as sixteen bytes each."""
    digits = np.frombuffer(b"".join(value or bytes(16) for value in column.to_pylist()), np.uint8)
    text = np.insert(HEX[digits].reshape(-1, 32), (8, 12, 16, 20), ord("-"), axis=1)
    known = pa.Array.from_buffers(pa.binary(36), len(column), [None, pa.py_buffer(text.tobytes())])
    return pc.if_else(column.is_valid(), known.cast(pa.string()), None)


def _json(column: pa.Array) -> pa.Array:
    try:
        values = column.to_pylist()
    except (pa.ArrowInvalid, ValueError, OverflowError) as error:
        raise pa.ArrowNotImplementedError(f"values of {column.type}: {error}; leave that column out") from error
    return pa.array((None if value is None else _dumped(value) for value in values), pa.string())


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value, default=_shown, allow_nan=False)
    except ValueError:  # JSON has neither NaN, which is a missing value, nor infinities
        return json.dumps(_finite(value), default=_shown)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _shown(value: Any) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _utf8(column: pa.Array) -> tuple[pa.Array, list[int]]:
    """Return a column as text, with bytes that are not UTF-8 as ``\\xNN``, and the rows that have such bytes."""
    text = column.view(pa.string())
    try:
        text.validate(full=True)
        return text, []
    except pa.ArrowInvalid:
        values = column.view(pa.binary()).to_pylist()
        texts = [value.decode(errors="backslashreplace") for value in values]
        return pa.array(texts, pa.string()), [row for row, value in enumerate(values) if texts[row].encode() != value]
