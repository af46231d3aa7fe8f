"""Judges each row of a block: a pure function from a block to valid orders and rejected rows."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from daskjobs.files.tables import column
from daskjobs.orders.parse import typed
from daskjobs.orders.profiles import Profile
from daskjobs.orders.profiles.columns import arranged
from daskjobs.orders.rules.builtin import ANOMALIES, DUPLICATE, failed_transaction
from daskjobs.orders.rules.ruleset import Ruleset, mask
from daskjobs.orders.schema import QUARANTINE, frame, orders_schema
from daskjobs.orders.sources.format import Block, Ints


@dataclass(frozen=True)
class Judged:
    """The judged rows of a block.

    The valid orders, ``paid`` and ``unpaid``, have `orders_schema`, and ``quarantine`` has `QUARANTINE`, all in the
    source's order. ``ids`` are those of all rows that pass every rule, including repeated ones. ``reasons`` counts rows
    by reason (a row may have several). ``anomalies`` has the row numbers of each known anomaly.
    """

    paid: pa.Table
    unpaid: pa.Table
    ids: pa.Array
    quarantine: pa.Table
    reasons: dict[str, int]
    anomalies: dict[str, Ints]


@dataclass(frozen=True)
class Place:
    """The position of a block: its partition, its source, and the number of its first row there, from 1.

    A block of several small files has ``files``: where the rows of each begin in it, its name, and the number of the
    first of them.
    """

    partition: int
    source: str
    row: int
    files: tuple[tuple[int, str, int], ...] = ()

    def of(self, index: int) -> tuple[str, int]:
        """Return the source of the block's row ``index``, counted from 0, and the row's number there."""
        which = np.array([index])
        return self.sources(which)[0].as_py(), int(self.rows(which)[0])

    def rows(self, indices: Ints) -> Ints:
        """Return the numbers of rows in their sources."""
        if not self.files:
            return self.row + indices
        which, first = self._which(indices), np.array([row - begin for begin, _, row in self.files])
        return first[which] + indices

    def sources(self, indices: Ints) -> pa.Array:
        """Return the sources of rows."""
        if not self.files:
            return pa.repeat(self.source, len(indices))
        return pa.array([source for _, source, _ in self.files], pa.string()).take(pa.array(self._which(indices)))

    def _which(self, indices: Ints) -> Ints:
        return np.searchsorted([begin for begin, _, _ in self.files], indices, "right") - 1


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
    orders = arranged(block.texts, profile, extra).orders if profile else typed(block.texts, statuses)
    for name in set(extra) - set(orders.column_names):
        orders = orders.append_column(name, pa.nulls(len(orders), pa.string()))
    seen = frame(orders)
    masks = dict(ruleset.masks(seen, twice))
    judged = np.zeros(len(orders), np.int64)
    for name, rejected in masks.items():
        judged[rejected] |= bits[name]
    passing = np.flatnonzero(judged == 0)
    ids = column(orders, "order_id").take(pa.array(passing))
    judged[passing[repeated[repeated < len(passing)]]] = bits[DUPLICATE]
    anomalies = {name: masks[name] if name in masks else mask(rule, seen) for name, rule in ANOMALIES.items()}
    valid, unpaid = judged == 0, anomalies[failed_transaction.__name__]
    orders = orders.select(orders_schema(extra).names)
    codes = np.zeros(block.rows, np.int64)
    codes[block.kept] = judged
    for index, reason in block.malformed.items():
        codes[index] = bits[reason]
    bad = np.flatnonzero(codes)
    return Judged(
        paid=orders.filter(pa.array(valid & ~unpaid)),
        unpaid=orders.filter(pa.array(valid & unpaid)),
        ids=ids,
        quarantine=_rejected(block, codes, bad, place, bits),
        reasons={reason: int(np.count_nonzero(codes[bad] & bit)) for reason, bit in bits.items()},
        anomalies={name: place.rows(block.kept[rows]) for name, rows in anomalies.items()},
    )


def _rejected(block: Block, codes: Ints, bad: Ints, place: Place, bits: dict[str, int]) -> pa.Table:
    kinds, kind = np.unique(codes[bad], return_inverse=True)
    reasons = pa.array(
        [[reason for reason, bit in bits.items() if code & bit] for code in kinds], pa.list_(pa.string())
    )
    partitions = pa.repeat(pa.scalar(place.partition, pa.int32()), len(bad))
    columns = [place.rows(bad), place.sources(bad), partitions, reasons.take(pa.array(kind)), block.raw(bad)]
    return pa.table(columns, schema=QUARANTINE)
