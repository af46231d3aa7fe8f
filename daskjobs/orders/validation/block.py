"""Judges each row of a block: a pure function from a block to valid orders and rejected rows."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from daskjobs.files.tables import column
from daskjobs.orders.parse import typed
from daskjobs.orders.profiles import Profile, worth
from daskjobs.orders.profiles.columns import Arranged, arranged
from daskjobs.orders.rules.builtin import ANOMALIES, DUPLICATE, failed_transaction
from daskjobs.orders.rules.ruleset import Ruleset, mask
from daskjobs.orders.schema import PAID, QUARANTINE, frame, orders_schema
from daskjobs.orders.sources.format import Block, Ints
from daskjobs.orders.summary import counts_of


@dataclass(frozen=True)
class Judged:
    """The judged rows of a block.

    The valid orders, ``paid`` and ``unpaid``, have `orders_schema`, and ``quarantine`` has `QUARANTINE`, all in the
    source's order. ``ids`` are those of all rows that pass every rule, including repeated ones, but for returns.
    ``reasons`` counts rows by reason (a row may have several), ``statuses`` valid rows by status. ``anomalies`` has the
    row numbers of each known anomaly. ``currencies`` are those of `worth.currencies`.
    """

    paid: pa.Table
    unpaid: pa.Table
    ids: pa.Array
    quarantine: pa.Table
    reasons: dict[str, int]
    statuses: dict[str, int]
    anomalies: dict[str, Ints]
    currencies: dict[str, int]


@dataclass(frozen=True)
class Place:
    """The position of a block: its partition, its source, and the number of its first row there, from 1."""

    partition: int
    source: str
    row: int


def judge(
    block: Block,
    extra: list[str],
    place: Place,
    ruleset: Ruleset,
    repeated: Ints,
    statuses: dict[str, str] | None = None,
    twice: bool = False,
    profile: Profile | None = None,
) -> Judged:
    """Judge the rows of a block.

    ``extra`` are the files' columns besides ours. ``repeated`` has the positions, among the rows of this block that
    pass every rule, of those that repeat an earlier row's id; it may go on beyond the block. ``statuses`` maps the
    file's statuses to ours. ``twice`` is that of `Ruleset.masks`.
    """
    bits = {reason: 1 << index for index, reason in enumerate(ruleset.sentences)}
    found = arranged(block.texts, profile, extra) if profile else Arranged(typed(block.texts, statuses))
    orders = found.orders
    for name in set(extra) - set(orders.column_names):
        orders = orders.append_column(name, pa.nulls(len(orders), pa.string()))
    seen = frame(orders)
    masks = dict(ruleset.masks(seen, twice)) | (worth.faults(found) if profile else {})
    judged = np.zeros(len(orders), np.int64)
    for name, rejected in masks.items():
        judged[rejected] |= bits[name]
    back = worth.returned(orders, profile) if profile else np.zeros(len(orders), bool)
    passing = np.flatnonzero((judged == 0) & ~back)
    ids = column(orders, "order_id").take(pa.array(passing))
    judged[passing[repeated[repeated < len(passing)]]] = bits[DUPLICATE]
    anomalies = {name: masks[name] if name in masks else mask(rule, seen) for name, rule in ANOMALIES.items()}
    valid, unpaid = judged == 0, anomalies[failed_transaction.__name__]
    orders = orders.select(orders_schema(extra).names)
    if profile:
        foreign = worth.foreign(found, profile)
        unpaid = unpaid | foreign
        orders = worth.counted(orders, found, profile, valid) if profile.counts else orders
    codes = np.zeros(block.rows, np.int64)
    codes[block.kept] = judged
    for index, reason in block.malformed.items():
        codes[index] = bits[reason]
    bad = np.flatnonzero(codes)
    paid, not_paid = (orders.filter(pa.array(valid & rows)) for rows in (~unpaid, unpaid))
    told = worth.statuses(found, foreign).filter(pa.array(valid & unpaid)) if profile else column(not_paid, "status")
    return Judged(
        paid=paid,
        unpaid=not_paid,
        ids=ids,
        quarantine=_rejected(block, codes, bad, place, bits),
        reasons={reason: int(np.count_nonzero(codes[bad] & bit)) for reason, bit in bits.items()},
        statuses={PAID: len(paid)} | counts_of(told),
        anomalies={name: place.row + block.kept[rows] for name, rows in anomalies.items()},
        currencies=worth.currencies(found, profile, valid) if profile else {},
    )


def _rejected(block: Block, codes: Ints, bad: Ints, place: Place, bits: dict[str, int]) -> pa.Table:
    kinds, kind = np.unique(codes[bad], return_inverse=True)
    reasons = pa.array(
        [[reason for reason, bit in bits.items() if code & bit] for code in kinds], pa.list_(pa.string())
    )
    sources, partitions = pa.repeat(place.source, len(bad)), pa.repeat(pa.scalar(place.partition, pa.int32()), len(bad))
    columns = [place.row + bad, sources, partitions, reasons.take(pa.array(kind)), block.raw(bad)]
    return pa.table(columns, schema=QUARANTINE)
