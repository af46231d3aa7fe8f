"""Judges each row of a block: a pure function from a block to valid orders and rejected rows."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.files.tables import column, mask
from daskjobs.orders.parse import typed
from daskjobs.orders.profiles import Profile, worth
from daskjobs.orders.profiles.columns import Arranged, arranged, joined, kept_as
from daskjobs.orders.rules.builtin import (
    ANOMALIES,
    DIFFERING_PLACE,
    DIFFERING_REFUND,
    DIFFERING_TOTAL,
    DUPLICATE,
    DUPLICATE_LINE,
    DUPLICATE_RETURN,
    REJECTED_ORDER,
    Mask,
    Orders,
    failed_transaction,
)
from daskjobs.orders.rules.ruleset import Ruleset
from daskjobs.orders.schema import PAID, QUARANTINE, orders_schema
from daskjobs.orders.sources.format import Block, Ints
from daskjobs.orders.summary import counts_of, own_total
from daskjobs.orders.validation.duplicates import NOTHING, Elsewhere
from daskjobs.orders.validation.heads import NONE, Lines, differing_totals, find_heads
from daskjobs.orders.validation.known import Known, first_wins, lines_seen, listing, newest_wins
from daskjobs.orders.validation.received import BlockAmounts, ToCount, amounts_of
from daskjobs.orders.validation.result import NEWER, SEEN_BEFORE
from daskjobs.orders.validation.together import written


@dataclass(frozen=True)
class Judged:
    """The judged rows of a block.

    The valid orders, ``paid`` and ``unpaid``, have `orders_schema`, and ``quarantine`` has `QUARANTINE`, all in the
    source's order. ``ids`` are those of all rows that pass every rule, including repeated ones, but for returns; with a
    profile, they may be other keys, or none. ``unpaid_ids`` are the positions of unpaid rows among them. ``reasons``
    counts rows by reason (a row may have several), ``statuses`` valid rows by status. ``anomalies`` has the row numbers
    of each known anomaly. ``currencies`` are those of `worth.currencies`, and ``signs`` those of `worth.signs`.
    ``runs`` are the ids of the block's runs of lines, their flags, and what they say. ``seen`` are the rows whose order
    an earlier run has counted, as `known.SEEN`. ``together`` counts rejected rows by all of their reasons, as
    `together` writes them. ``warned`` are the valid rows that a rule warns of, as ``quarantine`` has rejected ones, and
    ``warnings`` counts them by rule. Where the sender says what was sent, ``order_ids`` are those of all kept rows, and
    ``amounts`` theirs by column.
    """

    paid: pa.Table
    unpaid: pa.Table
    ids: pa.Array
    quarantine: pa.Table
    reasons: dict[str, int]
    statuses: dict[str, int]
    anomalies: dict[str, Ints]
    currencies: dict[str, int]
    unpaid_ids: Ints
    runs: tuple[pa.Array, pa.Array, pa.Array] | None = None
    seen: pa.Table | None = None
    together: dict[str, int] = field(default_factory=dict)
    warned: pa.Table | None = None
    warnings: dict[str, int] = field(default_factory=dict)
    order_ids: pa.Array | None = None
    amounts: dict[str, BlockAmounts] = field(default_factory=dict)
    signs: dict[str, int] = field(default_factory=dict)


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
    others: Elsewhere | None = None,
    seen_runs: int = 0,
    known: Known | None = None,
    newest: bool = False,
    to_count: ToCount | None = None,
    look: Callable[[pa.Table], None] = lambda _: None,
) -> Judged:
    """Judge the rows of a block.

    ``extra`` are the files' columns besides ours. ``repeated`` has the positions, among the rows of this block that
    pass every rule, of those that repeat an earlier row's id; it may go on beyond the block. ``statuses`` maps the
    file's statuses to ours. ``twice`` is that of `Ruleset.masks`. Where rows are lines of orders, ``others`` says what
    is known of runs elsewhere, and ``seen_runs`` is the number of the partition's `Judged.runs` before this block.
    ``known`` is what earlier runs have counted of this block's orders, and with ``newest`` the newest row counts.
    ``to_count`` is there where the sender says what was sent.
    ``look`` is given all rows that were read as rows, typed.
    """
    bits = {reason: 1 << index for index, reason in enumerate(ruleset.sentences)}
    found = arranged(block.texts, profile, extra) if profile else Arranged(typed(block.fields, statuses))
    orders = found.orders
    for name in set(extra) - set(orders.column_names):
        orders = orders.append_column(name, pa.nulls(len(orders), pa.string()))
    look(orders)
    masks = dict(ruleset.masks(orders, twice)) | (worth.faults(found) if profile else {})
    judged, warned = np.zeros(len(orders), np.int64), np.zeros(len(orders), np.int64)
    for name, found_rows in masks.items():
        if found_rows.any():
            (warned if name in ruleset.warn else judged)[found_rows] |= bits[name]
    returns = worth.returned(orders, profile) if profile else None
    if profile and returns is not None and block.runs is not None:
        keys = found.keys if profile.order.repeats == "last" else None
        once = {DIFFERING_TOTAL: orders["total_amount"].combine_chunks() if profile.order.total else None}
        once[DIFFERING_REFUND] = found.refunds if profile.refunds_once else None
        for reason, amounts in once.items():
            if amounts is not None:
                judged[differing_totals(block.runs, amounts, returns, judged == 0, keys)] |= bits[reason]
    passing, ids = _entrants(found, block, judged == 0, returns, profile)
    again = np.zeros(len(orders), bool)
    again[passing[repeated[repeated < len(passing)]]] = True
    if again.any() and DUPLICATE_RETURN in bits and returns is not None:
        back = again & returns
        (warned if DUPLICATE_RETURN in ruleset.warn else judged)[back] |= bits[DUPLICATE_RETURN]
        again &= ~back
    if again.any():
        judged[again] = bits[DUPLICATE if block.runs is None else DUPLICATE_LINE]
    seen = None
    if known and block.runs is None:
        known = known.of(0, len(passing))
        rows = passing[known.positions]
        known, rows = known.take(~again[rows]), rows[~again[rows]]
    if known and block.runs is None and len(rows):
        wanted = profile.order.version if profile else ""
        version = kept_as(profile, wanted, orders.column_names) if profile and wanted else ""
        listed = newest_wins(orders, rows, known, version) if newest else first_wins(orders, rows, known)
        seen = _seen(orders, block, place, listed)
        judged[listed[1][mask(pc.not_equal(listed[2], NEWER))]] = bits[SEEN_BEFORE]
    anomalies = {name: masks[name] if name in masks else rule(Orders(orders)) for name, rule in ANOMALIES.items()}
    foreign = worth.foreign(found, profile) if profile else np.zeros(len(orders), bool)
    unpaid = anomalies[failed_transaction.__name__] | foreign
    heads, runs = judged == 0, None
    if profile and returns is not None and block.runs is not None:
        says = worth.of_order(found, profile)
        lines = Lines(column(orders, "order_id"), judged == 0, again, unpaid, returns, says)
        order = find_heads(
            block,
            lines,
            profile.order.rejects == "order",
            others or NOTHING,
            seen_runs,
            known.positions if known else NONE,
        )
        if order.rejected.any():
            judged[order.rejected] = bits[REJECTED_ORDER]
        if DIFFERING_PLACE in ruleset.warn:
            warned[order.differing] |= bits[DIFFERING_PLACE]
        if known and order.seen.any():
            judged[order.seen] = bits[SEEN_BEFORE]
            rows, known = np.flatnonzero(order.seen), known.of(0, len(order.ids))
            entries = column(orders, "order_id").take(pa.array(rows))
            at = pc.index_in(entries, value_set=order.ids.take(pa.array(known.positions))).to_numpy()
            seen = _seen(orders, block, place, lines_seen(rows, known.take(at.astype(np.int64))))
        heads, runs = order.heads, (order.ids, order.flags, order.says)
    valid = judged == 0
    amounts = {}
    for name in to_count.sums if to_count else ():
        once_each = name == "total_amount" and profile is not None and own_total(profile)
        groups = 2 * block.runs + returns if once_each and block.runs is not None and returns is not None else None
        amounts[name] = amounts_of(block, column(orders, name), groups)
    order_ids = column(orders, "order_id") if to_count and to_count.ids else None
    orders = orders.select(orders_schema(extra).names)
    if profile and profile.counts:
        orders = worth.counted(orders, found, profile, heads)
    codes = np.zeros(block.rows, np.int64)
    codes[block.kept] = judged
    for index, reason in block.malformed.items():
        codes[index] = bits[reason]
    bad = np.flatnonzero(codes)
    warning = np.zeros(block.rows if ruleset.warn else 0, np.int64)
    if ruleset.warn:
        warning[block.kept] = np.where(valid, warned, 0)
    noted = np.flatnonzero(warning)
    paid, not_paid = (_only(orders, valid & rows) for rows in (~unpaid, unpaid))
    quarantine, together = _rejected(block, codes, bad, place, bits)
    why = worth.statuses(found, foreign).filter(pa.array(valid & unpaid)) if profile else column(not_paid, "status")
    return Judged(
        paid=paid,
        unpaid=not_paid,
        ids=ids,
        quarantine=quarantine,
        reasons={reason: int(np.count_nonzero(codes[bad] & bit)) for reason, bit in bits.items()},
        statuses={PAID: len(paid)} | counts_of(why),
        anomalies={name: place.rows(block.kept[rows]) for name, rows in anomalies.items()},
        currencies=worth.currencies(found, profile, valid) if profile else {},
        unpaid_ids=np.flatnonzero(unpaid[passing]),
        runs=runs,
        seen=seen,
        together=together,
        warned=_rejected(block, warning, noted, place, bits)[0] if ruleset.warn else None,
        warnings={reason: int(np.count_nonzero(warning[noted] & bits[reason])) for reason in ruleset.warn},
        order_ids=order_ids,
        amounts=amounts,
        signs=worth.signs(found, valid),
    )


def _seen(orders: pa.Table, block: Block, place: Place, found: tuple[Known, Ints, pa.Array, pa.Array]) -> pa.Table:
    return listing(
        orders, (lambda rows: place.rows(block.kept[rows]), lambda rows: place.sources(block.kept[rows])), found
    )


def _only(orders: pa.Table, which: Mask) -> pa.Table:
    """Return some rows; if these are all, nothing is copied."""
    return orders if which.all() else orders.filter(pa.array(which))


def _entrants(
    found: Arranged, block: Block, valid: Mask, returns: Mask | None, profile: Profile | None
) -> tuple[Ints, pa.Array]:
    """Return the rows of which each must have a key of its own, and these keys; without another, it is the order_id.

    Lines of an order have it in common: these need a ``key``. Returns have that of what is given back, or of another
    return: without a ``key``, it is all of their columns.
    """
    if found.keys is None and profile and profile.by_line:
        valid = np.zeros(len(valid), bool)
    passing = np.flatnonzero(valid)
    keys = (column(found.orders, "order_id") if found.keys is None else found.keys).take(pa.array(passing))
    if found.keys is None and returns is not None and returns[passing].any():
        back = returns[passing]
        texts = block.texts.take(pa.array(passing[back]))
        columns = (column(texts, name).fill_null("") for name in sorted(texts.column_names))
        whole = joined([pa.repeat("return", len(texts)), *columns])
        keys = pc.replace_with_mask(keys, pa.array(back), whole)
    return passing, keys


def _rejected(
    block: Block, codes: Ints, bad: Ints, place: Place, bits: dict[str, int]
) -> tuple[pa.Table, dict[str, int]]:
    """Return the rejected rows, and their numbers by all of their reasons."""
    kinds, kind, counts = np.unique(codes[bad], return_inverse=True, return_counts=True)
    named = [[reason for reason, bit in bits.items() if code & bit] for code in kinds]
    reasons = pa.array(named, pa.list_(pa.string()))
    partitions = pa.repeat(pa.scalar(place.partition, pa.int32()), len(bad))
    columns = [place.rows(bad), place.sources(bad), partitions, reasons.take(pa.array(kind)), block.raw(bad)]
    return pa.table(columns, schema=QUARANTINE), dict(zip(map(written, named), counts.tolist(), strict=True))
