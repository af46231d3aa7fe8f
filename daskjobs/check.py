"""One block of rows in, valid orders and quarantined rows out: pure, and each row judged by itself."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from daskjobs import orders, rules, texts
from daskjobs.ruleset import Ruleset, mask
from daskjobs.sources.block import Block
from daskjobs.sources.rows import Ints
from daskjobs.tables import QUARANTINE, column, orders_schema


@dataclass(frozen=True)
class Checked:
    """A block's outcome.

    ``paid`` and ``unpaid``, the valid orders, have `orders_schema`, ``quarantine`` has `QUARANTINE`, all in the
    source's order; ``ids`` are those of all rows that pass every rule, repeated ones too; ``reasons`` counts rows by
    reason (a row may have several); ``found`` holds the row numbers of each anomaly.
    """

    paid: pa.Table
    unpaid: pa.Table
    ids: pa.Array
    quarantine: pa.Table
    reasons: dict[str, int]
    found: dict[str, Ints]


@dataclass(frozen=True)
class Place:
    """Where a block stands: in which partition, in which source, and the number of its first row there (from 1)."""

    partition: int
    source: str
    row: int


def check(
    block: Block,
    extra: list[str],
    place: Place,
    ruleset: Ruleset,
    repeated: Ints,
    statuses: dict[str, str] | None = None,
) -> Checked:
    """Judge the rows of a block.

    ``extra`` are the columns of all files beyond the known ten; ``repeated`` says which of the rows that pass
    every rule, counted from 0 at this block's first, repeat the id of one before; it may go on beyond the block;
    ``statuses`` maps the file's statuses to ours.
    """
    bits = {reason: 1 << index for index, reason in enumerate(ruleset.sentences)}
    typed = texts.typed(block.texts, statuses)
    for name in set(extra) - set(typed.column_names):
        typed = typed.append_column(name, pa.nulls(len(typed), pa.string()))
    frame = orders.frame(typed)
    masks = dict(ruleset.masks(frame))
    judged = np.zeros(len(typed), np.int64)
    for name, rejected in masks.items():
        judged[rejected] |= bits[name]
    passing = np.flatnonzero(judged == 0)
    ids = column(typed, "order_id").take(pa.array(passing))
    judged[passing[repeated[repeated < len(passing)]]] = bits[rules.DUPLICATE]
    anomalies = {name: masks[name] if name in masks else mask(rule, frame) for name, rule in rules.ANOMALIES.items()}
    valid, unpaid = judged == 0, anomalies[rules.failed_transaction.__name__]
    typed = typed.select(orders_schema(extra).names)
    codes = np.zeros(block.rows, np.int64)
    codes[block.kept] = judged
    for index, reason in block.malformed.items():
        codes[index] = bits[reason]
    bad = np.flatnonzero(codes)
    return Checked(
        paid=typed.filter(pa.array(valid & ~unpaid)),
        unpaid=typed.filter(pa.array(valid & unpaid)),
        ids=ids,
        quarantine=_quarantined(block, codes, bad, place, bits),
        reasons={reason: int(np.count_nonzero(codes[bad] & bit)) for reason, bit in bits.items()},
        found={name: place.row + block.kept[found] for name, found in anomalies.items()},
    )


def _quarantined(block: Block, codes: Ints, bad: Ints, place: Place, bits: dict[str, int]) -> pa.Table:
    kinds, kind = np.unique(codes[bad], return_inverse=True)
    reasons = pa.array(
        [[reason for reason, bit in bits.items() if code & bit] for code in kinds], pa.list_(pa.string())
    )
    sources, partitions = pa.repeat(place.source, len(bad)), pa.repeat(pa.scalar(place.partition, pa.int32()), len(bad))
    columns = [place.row + bad, sources, partitions, reasons.take(pa.array(kind)), block.raw(bad)]
    return pa.table(columns, schema=QUARANTINE)
