"""Finds the head of each order where rows are lines of orders: the one row that counts as the order.

The head is the order's first paid row, or if none is paid, its first unpaid one: so an order counts as paid, once, if
any of its lines is paid, and each line adds its own amount by its own status. A row that is rejected is no head.
Returns repeat no id: they are looked at apart from what they give back, and each run's have a head of their own, where
an order's own total counts. Within a run all this is seen at once. What other runs of the order mean for it, wherever
they stand, the buckets of `duplicates` tell: the head is in the order's first run that has a paid row, or if none has,
in its first one with an unpaid row.

Where a rejected line rejects its order, all other lines of it are rejected, too, in all of its runs. A malformed row is
a line of the run in which it stands, if that goes on behind it; at a run's end, nobody knows whose it was. A repeated
line rejects itself alone, since its order is whole without it, and so does a row without an order id.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.orders.money import cents_of
from daskjobs.orders.sources.format import Block, Ints
from daskjobs.orders.validation.duplicates import (
    DIFFERS,
    HAS_PAID,
    HAS_REJECTED,
    HAS_UNPAID,
    NO_HEAD,
    REJECTED,
    Elsewhere,
)

Bools = npt.NDArray[np.bool_]
NONE: Ints = np.empty(0, np.int64)


@dataclass(frozen=True)
class Heads:
    """Which rows of a block are heads, and the block's entries for the buckets.

    ``rejected`` rows are rejected with their order, and ``seen`` ones since an earlier run has counted it. Those that
    are ``differing`` are the first of a run that says something else of its order than the run with the head.
    """

    heads: Bools
    rejected: Bools
    seen: Bools
    differing: Bools
    ids: pa.Array
    flags: pa.Array
    says: pa.Array


@dataclass(frozen=True)
class Lines:
    """What is known of each kept row of a block before its order is looked at.

    ``passing`` rows have no reason, ``repeated`` ones have that of a repeated key alone, ``returns`` give back.
    ``says`` is a number for what each row says of its whole order: another one where it says something else.
    """

    ids: pa.Array
    passing: Bools
    repeated: Bools
    unpaid: Bools
    returns: Bools
    says: Ints


def find_heads(block: Block, lines: Lines, whole: bool, told: Elsewhere, seen: int, known: Ints = NONE) -> Heads:
    """Find the heads of the orders in a block that has whole runs.

    With ``whole``, a rejected line rejects its order. ``told`` is what is known of other runs, and ``seen`` the number
    of the partition's entries before this block; ``known`` are those entries of the block, from 0, whose order an
    earlier run of the series has counted; it may go on beyond the block.
    """
    runs: Ints = np.empty(0, np.int64) if block.runs is None else block.runs
    count = int(runs[-1]) + 1 if len(runs) else 0

    def having(rows: Bools) -> Bools:
        return np.bincount(runs[rows], minlength=count) > 0

    ids = lines.ids.take(pa.array(np.searchsorted(runs, np.arange(count))))
    named = pc.not_equal(ids, "").to_numpy(zero_copy_only=False)
    able = lines.passing & ~lines.returns
    paid, unpaid = having(able & ~lines.unpaid), having(able & lines.unpaid)
    broken = np.zeros(count, bool)
    if whole:
        broken = having(~lines.passing & ~lines.repeated)
        broken[_around(block, runs)] = True
        broken &= named
    entered = named & (paid | unpaid | broken | (having(lines.passing) & whole))
    codes = np.zeros(count, np.uint8)
    codes[entered] = told.of(seen, int(np.count_nonzero(entered)))
    rejected = (broken | (codes & REJECTED > 0))[runs] & lines.passing
    counted = np.zeros(count, bool)
    counted[np.flatnonzero(entered)[known[known < np.count_nonzero(entered)]]] = True
    again = counted[runs] & lines.passing & ~rejected
    back = lines.passing & lines.returns & ~rejected & ~again
    heads = _first(back, lines.unpaid, runs) | _first(
        able & ~rejected & ~again & (codes & NO_HEAD == 0)[runs], lines.unpaid, runs
    )
    flags = HAS_PAID * paid + HAS_UNPAID * unpaid + HAS_REJECTED * broken
    rows, says = np.flatnonzero(able), np.zeros(count, np.int64)
    first = rows[np.diff(runs[rows], prepend=-1) > 0]
    says[runs[first]] = lines.says[first]
    differing = np.zeros(len(runs), bool)
    differing[first] = (codes & DIFFERS > 0)[runs[first]] & ~(rejected | again)[first]
    return Heads(
        heads,
        rejected,
        again,
        differing,
        ids.filter(pa.array(entered)),
        pa.array(flags[entered].astype(np.uint8)),
        pa.array(says[entered]),
    )


def _first(rows: Bools, unpaid: Bools, runs: Ints) -> Bools:
    """Return each run's first one of some rows that is paid, or where none is paid, its first one."""
    has_paid = np.zeros(len(runs) + 1, bool)
    has_paid[runs[rows & ~unpaid]] = True
    places = np.flatnonzero(rows & ~(unpaid & has_paid[runs]))
    first = np.zeros(len(runs), bool)
    first[places[np.diff(runs[places], prepend=-1) > 0]] = True
    return first


def _around(block: Block, runs: Ints) -> Ints:
    """Return the runs in which malformed rows stand."""
    behind = np.searchsorted(block.kept, np.fromiter(block.malformed, int, len(block.malformed)))
    inside = behind[(behind > 0) & (behind < len(runs))]
    around: Ints = runs[inside][runs[inside - 1] == runs[inside]]
    return around


def differing_totals(
    runs: Ints, totals: pa.Array, returns: Bools, passing: Bools, keys: pa.Array | None = None
) -> Bools:
    """Return which rows have a total that is not that of their run's first row with one; returns have their own.

    Where the last row with a key counts, ``keys`` are those of the rows. The first row is then one that no later row
    of the run replaces: a ``passing`` one with its key. And a row that such a one replaces may have any total.
    """
    known: Bools = totals.is_valid().to_numpy(zero_copy_only=False)
    cents, groups = cents_of(totals), 2 * runs + returns
    first = np.zeros(2 * len(runs) + 2, np.int64)

    def differing(asked: Bools) -> Bools:
        rows = np.flatnonzero(asked)[::-1]
        first[groups[rows]] = cents[rows]  # the first one is written last
        found: Bools = known & (cents != first[groups])
        return found

    different = differing(known)
    if keys is not None:
        codes = keys.dictionary_encode().indices.to_numpy().astype(np.int64)
        lines = np.unique(runs * (len(runs) + 1) + codes, return_inverse=True)[1]
        different = differing(known & ~_replaced(lines, passing))
        different &= ~_replaced(lines, passing & ~different)
    return different


def _replaced(lines: Ints, passing: Bools) -> Bools:
    """Return which rows have one of those that are ``passing`` behind them, of the same line."""
    rows, last = np.flatnonzero(passing), np.full(len(lines), -1)
    last[lines[rows]] = rows  # the last one is written last
    replaced: Bools = last[lines] > np.arange(len(lines))
    return replaced
