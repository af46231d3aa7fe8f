"""Parquet: its row groups in partitions, and its rows in blocks of the texts that a CSV file would have had."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from daskjobs import rules
from daskjobs.errors import InputError
from daskjobs.sources.block import Block, Range, Source, renamed
from daskjobs.sources.rows import Ints
from daskjobs.storage import Storage

MAGIC = b"PAR1"
BLOCK_ROWS = 65_536
BUFFER_BYTES = 1 << 20  # of each column, instead of its whole part of a row group


@contextmanager
def _reading(storage: Storage, name: str) -> Iterator[tuple[pq.ParquetFile, IO[bytes]]]:
    with storage.open(name, cache="none") as file:  # columns are read in turns: what lies ahead is another's
        try:
            yield (
                pq.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True),
                file,
            )
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{name} is damaged: {error}; is it whole? Give it anew") from error


def describe(storage: Storage, name: str, wanted: dict[str, str]) -> Source:
    """Read a file's columns and row groups. Raises InputError when it isn't a Parquet file of orders."""
    with _reading(storage, name) as (parquet, _):
        header = parquet.schema_arrow.names
        groups = [
            (group.num_rows, group.total_byte_size)
            for group in map(parquet.metadata.row_group, range(parquet.num_row_groups))
        ]
    columns = renamed(header, wanted, name)
    return {"name": name, "kind": "parquet", "bytes": storage.size(name), "columns": columns, "groups": groups,
            "header": _line(header)}  # fmt: skip


def weight(source: Source) -> int:
    """Return how many bytes of rows a file has, before compression."""
    return sum(size for _, size in source["groups"])


def ranges(storage: Storage, source: Source, seen: int, total: int, count: int) -> Iterator[Range]:
    """Yield a file's part of each of ``count`` partitions: row groups from ``start`` to before ``end``.

    ``seen`` bytes of ``total`` came before, in other files. Their hash is that of the file's footer.
    """
    with _reading(storage, source["name"]) as (_, file):
        footer = _footer(file)
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


def _footer(file: IO[bytes]) -> str:
    file.seek(-8, io.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    file.seek(-8 - length, io.SEEK_END)
    return hashlib.sha256(file.read(length)).hexdigest()


def blocks(storage: Storage, source: Source, part: Range) -> Iterator[Block]:
    """Yield a range's rows. Raises InputError when the file is not the one that was split."""
    with _reading(storage, source["name"]) as (parquet, file):
        if _footer(file) != part["sha256"]:
            raise InputError(f"{source['name']} has changed since it was split: run again")
        groups = list(range(part["start"], part["end"]))
        for batch in parquet.iter_batches(BLOCK_ROWS, groups, use_threads=False):
            yield block(batch.rename_columns(source["columns"]))


def block(batch: pa.RecordBatch) -> Block:
    """Turn a batch of any types into texts; rows with bytes that are not UTF-8 are kept out."""
    texts = pa.table([_texts(column) for column in batch.columns], names=batch.schema.names)
    bad = sorted({row for column in texts.columns for row in _not_utf8(column.combine_chunks())})
    kept = np.delete(np.arange(len(batch)), bad)

    def raw(which: Ints) -> pa.Array:
        columns = [column.take(pa.array(which)).cast(pa.binary()).to_pylist() for column in texts.columns]
        lines = (
            _line([value.decode(errors="backslashreplace") for value in row]) for row in zip(*columns, strict=True)
        )
        return pa.array(lines, pa.string())

    return Block(
        len(batch), texts.take(pa.array(kept)) if bad else texts, kept, dict.fromkeys(bad, rules.NOT_UTF8), raw
    )


def _line(values: list[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def _texts(column: Any) -> pa.Array:
    """Return a column as texts: a null is empty, an amount has no more zeros than two after its point."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _texts(column.dictionary_decode())
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return _texts(column.cast(pa.timestamp("us", kind.tz), safe=False))
    if pa.types.is_nested(kind) or pa.types.is_duration(kind) or pa.types.is_interval(kind):
        values = (None if value is None else json.dumps(value, default=str) for value in column.to_pylist())
        text = pa.array(values, pa.string())
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        text = pc.cast(column.cast(pa.binary()), options=pc.CastOptions(pa.string(), allow_invalid_utf8=True))
    else:
        text = column.cast(pa.string())
    if pa.types.is_decimal(kind):
        text = pc.replace_substring_regex(text, r"(\.[0-9]{2})0+$", r"\1")
    return text.fill_null("")


def _not_utf8(text: pa.Array) -> list[int]:
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return [row for row, value in enumerate(text.cast(pa.binary()).to_pylist()) if not _decodes(value)]
    return []


def _decodes(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
