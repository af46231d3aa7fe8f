"""One block of rows in, valid orders and quarantined rows out: pure, and each row judged by itself."""

import csv
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from daskjobs import orders, rules
from daskjobs.rows import ROW_BYTES, Ends
from daskjobs.tables import QUARANTINE, orders_schema

Ints = npt.NDArray[np.int64]
REASONS = tuple(rules.SENTENCES)  # bit i of a row's code stands for REASONS[i]
_BIT = {reason: 1 << index for index, reason in enumerate(REASONS)}


@dataclass(frozen=True)
class Checked:
    """A block's outcome.

    ``valid`` has `orders_schema`, ``quarantined`` has `QUARANTINE`, both in the source's order; ``reasons``
    counts rows by reason (a row may have several); ``found`` holds the row numbers of each anomaly.
    """

    valid: pa.Table
    quarantined: pa.Table
    reasons: dict[str, int]
    found: dict[str, Ints]


@dataclass(frozen=True)
class Place:
    """Where a block stands: in which partition, in which source, and the number of its first row there (from 1)."""

    partition: int
    source: str
    row: int


def check(block: bytes, ends: Ends, columns: list[str], extra: list[str], place: Place) -> Checked:
    """Judge the rows of a block: ``columns`` are its file's, ``extra`` those of all files beyond the known ten."""
    texts, kept, malformed = read(block, ends, columns)
    codes = np.zeros(len(ends), np.int64)
    for index, reason in malformed.items():
        codes[index] = _BIT[reason]
    typed = orders.typed(texts)
    frame = orders.frame(typed)
    masks = {rule.__name__: _mask(rule, frame) for rule in rules.RULES}
    for name, mask in masks.items():
        codes[kept] |= mask * _BIT[name]
    found = {
        name: place.row + kept[masks[name] if name in masks else _mask(rule, frame)]
        for name, rule in rules.ANOMALIES.items()
    }
    bad = np.flatnonzero(codes)
    valid = typed if not len(bad) else typed.filter(pa.array(codes[kept] == 0))
    for name in set(extra) - set(columns):
        valid = valid.append_column(name, pa.nulls(len(valid), pa.string()))
    schema = orders_schema(extra)
    return Checked(
        valid=valid.select(schema.names),
        quarantined=_quarantined(block, ends, codes, bad, place),
        reasons={reason: int(np.count_nonzero(codes[bad] & bit)) for reason, bit in _BIT.items()},
        found=found,
    )


def _mask(rule: rules.Rule, frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    return rule(frame).fillna(False).to_numpy(dtype=bool)


def _quarantined(block: bytes, ends: Ends, codes: Ints, bad: Ints, place: Place) -> pa.Table:
    kinds, kind = np.unique(codes[bad], return_inverse=True)
    reasons = pa.array(
        [[reason for reason, bit in _BIT.items() if code & bit] for code in kinds], pa.list_(pa.string())
    )
    raw = [row.decode(errors="backslashreplace") for row in raw_rows(block, ends, bad)]
    sources, partitions = pa.repeat(place.source, len(bad)), pa.repeat(pa.scalar(place.partition, pa.int32()), len(bad))
    columns = [place.row + bad, sources, partitions, reasons.take(pa.array(kind)), pa.array(raw, pa.string())]
    return pa.table(columns, schema=QUARANTINE)


def raw_rows(block: bytes, ends: Ends, which: Ints) -> list[bytes]:
    """Return the bytes of some rows, without what ends them."""
    starts = np.concatenate([[0], ends[:-1]])
    return [
        block[start:end].removesuffix(b"\n").removesuffix(b"\r")
        for start, end in zip(starts[which].tolist(), ends[which].tolist(), strict=True)
    ]


def read(block: bytes, ends: Ends, columns: list[str]) -> tuple[pa.Table, Ints, dict[int, str]]:
    """Split rows into fields: a table of texts, where each of its rows is in the block, and why others aren't in it.

    pyarrow reads blocks that are in order. One that isn't, or in which pyarrow sees rows elsewhere, is read row by
    row with the csv module, to the same result for each good row.
    """
    malformed: dict[int, str] = {}

    def refuse(row: pa.csv.InvalidRow) -> str:
        malformed[row.number - 1] = rules.WRONG_FIELDS
        return "skip"

    if _in_order(block, ends):
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(block),
                pa.csv.ReadOptions(use_threads=False, column_names=columns, block_size=len(block) + 1),
                pa.csv.ParseOptions(
                    invalid_row_handler=refuse, ignore_empty_lines=False, newlines_in_values=b'"' in block
                ),
                pa.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), check_utf8=False),
            )
            if len(table) + len(malformed) == len(ends):
                return table, np.delete(np.arange(len(ends)), list(malformed)), malformed
        except pa.ArrowInvalid:
            pass
    return _read_rows(block, ends, columns)


def _in_order(block: bytes, ends: Ends) -> bool:
    """Tell whether a block is UTF-8, without a carriage return by itself, and without an empty row."""
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return False
    try:
        return bool(np.diff(ends, prepend=0).min(initial=3) > 2) and (block.isascii() or bool(block.decode()))
    except UnicodeDecodeError:
        return False


def _read_rows(block: bytes, ends: Ends, columns: list[str]) -> tuple[pa.Table, Ints, dict[int, str]]:
    csv.field_size_limit(ROW_BYTES)
    malformed: dict[int, str] = {}
    fields: list[list[str]] = []
    for index, row in enumerate(raw_rows(block, ends, np.arange(len(ends)))):
        try:
            values = next(csv.reader([row.decode()]), [])
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
