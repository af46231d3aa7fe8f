"""Compares rows of this run with those of earlier runs that have counted the same order, and says which one counts.

An order that an earlier run has counted as valid isn't counted again: its row here is rejected as `seen_before`.
With `--again newest`, a row that is newer than what the earlier runs have counted counts instead, and each row that it
replaces is listed, so that its orders and revenue can be taken back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.files.digest import Piece
from daskjobs.files.storage import Storage
from daskjobs.files.tables import column, plain_texts, read_pieces
from daskjobs.orders.money import MONEY, cents_of, decimals_of
from daskjobs.orders.schema import COLUMNS, TIME
from daskjobs.orders.sources.format import Ints
from daskjobs.orders.validation.result import KINDS, LINE, NEWER, OLDER, OTHER, SAME, TIED

# What is known of an order that an earlier run has counted: the position here, the number of that run among those that
# are looked at, and where it stands there; behind these, its values there.
WHERE = pa.schema(
    [
        ("position", pa.uint32()),
        ("run", pa.uint32()),
        ("earlier_source", pa.string()),
        ("earlier_row", pa.int64()),
        ("partition", pa.int32()),
        ("paid", pa.bool_()),
        ("at", pa.int64()),
        ("orders", pa.int64()),
        ("revenue", MONEY),
    ]
)
VALUE = "value "  # before the names of columns of values, so that none is one of those above

# A row of this run whose order was known, and the row of the earlier run, with the reversal of what that adds.
SEEN = pa.schema(
    [
        ("row", pa.int64()),
        ("source", pa.string()),
        ("order_id", pa.string()),
        ("kind", pa.string()),
        ("columns", pa.list_(pa.string())),
        ("timestamp", TIME),
        ("run", pa.uint32()),
        ("earlier_source", pa.string()),
        ("earlier_row", pa.int64()),
        ("earlier_timestamp", TIME),
        ("earlier_status", pa.string()),
        ("partition", pa.int32()),
        ("paid", pa.bool_()),
        ("at", pa.int64()),
        ("orders", pa.int64()),
        ("revenue", MONEY),
    ]
)

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Known:
    """What earlier runs have counted of a partition's orders, by the positions here, which ascend.

    The positions are among the rows that pass every rule, or, where rows are lines, among the entries of runs.
    """

    table: pa.Table
    positions: Ints

    def of(self, first: int, count: int) -> "Known":
        """Return what is known of ``count`` positions from ``first`` on, counted from there."""
        low, high = np.searchsorted(self.positions, [first, first + count])
        return Known(self.table.slice(low, high - low), self.positions[low:high] - first)

    def take(self, which: Ints | Bools) -> "Known":
        """Return some of it."""
        at = np.flatnonzero(which) if which.dtype == bool else which
        return Known(self.table.take(pa.array(at)), self.positions[at])


def known(storage: Storage, pieces: dict[str, Piece]) -> Known:
    """Return what is known of a partition's orders: the pieces, by file, that the search has written for it."""
    tables = [WHERE.empty_table()]
    tables += [table for name in pieces for table in read_pieces(storage, name, [pieces[name]])]
    table = pa.concat_tables(tables, promote_options="default")
    keys = [(name, "ascending") for name in ("position", "run", "partition", "paid", "at")]
    table = table.take(pc.sort_indices(table, keys)).combine_chunks()
    return Known(table, column(table, "position").to_numpy().astype(np.int64))


def differing(orders: pa.Table, rows: Ints, before: pa.Table) -> tuple[Bools, pa.Array]:
    """Return which rows have other values than those before, and the names of the columns in which they differ.

    A column that isn't ours is compared where both have it.
    """
    names = [name for name in orders.column_names if VALUE + name in before.column_names]
    differ = np.zeros((len(names), len(rows)), bool)
    now = plain_texts(orders.select(names)).take(pa.array(rows))
    for at, name in enumerate(names):
        left, right = column(now, name), column(before, VALUE + name)
        unlike = pc.not_equal(left, right).fill_null(False)
        if name in COLUMNS:
            unlike = pc.or_(unlike, pc.xor(left.is_null(), right.is_null()))
        differ[at] = unlike.to_numpy(zero_copy_only=False)
    packed = np.ascontiguousarray(np.packbits(differ, axis=0).T)
    kinds = pa.Array.from_buffers(pa.binary(packed.shape[1]), len(rows), [None, pa.py_buffer(packed)])
    coded = kinds.dictionary_encode()
    which = [np.unpackbits(np.frombuffer(each, np.uint8))[: len(names)] for each in coded.dictionary.to_pylist()]
    lists = [[name for name, other in zip(names, each, strict=True) if other] for each in which]
    said = pa.array(lists, pa.list_(pa.string())).take(coded.indices)
    other: Any = differ.any(axis=0)
    return other, said


def first_wins(orders: pa.Table, rows: Ints, known: Known) -> tuple[Known, Ints, pa.Array, pa.Array]:
    """Judge rows where the order counts that was first: none of these does.

    ``rows`` are those of ``orders``, by what is ``known`` of each, of which the first counts. Returns what is listed:
    what was known, its rows, the kinds and the columns that differ.
    """
    first = np.unique(rows, return_index=True)[1]
    known, rows = known.take(first), rows[first]
    other, columns = differing(orders, rows, known.table)
    return known, rows, _named(np.where(other, KINDS.index(OTHER), KINDS.index(SAME))), columns


def newest_wins(orders: pa.Table, rows: Ints, known: Known, version: str) -> tuple[Known, Ints, pa.Array, pa.Array]:
    """Judge rows where the newest order counts, by its time or its ``version``, as `first_wins` does.

    A row that is newer than all that is known of its order counts, and all of that is listed, as what it replaces. Of
    another row the newest that is known is listed, and of several of these the first.
    """
    other, columns = differing(orders, rows, known.table)
    now, before = _ranks(orders, rows, known.table, version)
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    groups = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(rows)))
    highest = np.maximum.reduceat(before, starts) if len(starts) else before
    newer = now > highest[groups]
    at = np.flatnonzero(before == highest[groups])[::-1]
    chosen = np.zeros(len(starts), np.int64)
    chosen[groups[at]] = at  # the first one is written last
    listed = newer.copy()
    listed[chosen] = True
    older = now < highest[groups]
    kinds = np.select(
        [newer, ~other, older], [KINDS.index(NEWER), KINDS.index(SAME), KINDS.index(OLDER)], KINDS.index(TIED)
    )
    keep = np.flatnonzero(listed)
    return known.take(keep), rows[keep], _named(kinds[keep]), columns.take(pa.array(keep))


def lines_seen(rows: Ints, known: Known) -> tuple[Known, Ints, pa.Array, pa.Array]:
    """List lines of orders that were counted before, without comparing them: an order may have other lines there."""
    nothing = pa.array([[]], pa.list_(pa.string())).take(pa.array(np.zeros(len(rows), np.int64)))
    return known, rows, _named(np.full(len(rows), KINDS.index(LINE))), nothing


def _named(kinds: Ints) -> pa.Array:
    return pa.array(KINDS).take(pa.array(kinds))


def _ranks(orders: pa.Table, rows: Ints, before: pa.Table, version: str) -> tuple[Ints, Ints]:
    """Return numbers by which rows and those before are as old as their times or versions say."""
    if not version:
        times = column(orders, "timestamp").take(pa.array(rows)), column(before, f"{VALUE}timestamp")
        now, then = (each.cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy() for each in times)
        return now, then
    texts = [column(orders, version).take(pa.array(rows)), _value(before, version, pa.string())]
    coded = pa.concat_arrays([each.cast(pa.string()).fill_null("") for each in texts]).dictionary_encode()
    distinct = [version_key(each) for each in coded.dictionary.to_pylist()]
    place = {key: number for number, key in enumerate(sorted(set(distinct)))}
    ranks = np.array([place[key] for key in distinct], np.int64)[coded.indices.to_numpy()]
    return ranks[: len(rows)], ranks[len(rows) :]


def version_key(text: str) -> tuple[int, Decimal, str]:
    """Return what versions are ordered by: none is the oldest, then numbers by their value, then other texts.

    >>> sorted(["10", "9.5", "", "2026-11-01", "v2"], key=version_key)
    ['', '9.5', '10', '2026-11-01', 'v2']
    """
    text = text.strip(" \t")
    try:
        number = Decimal(text) if text and text.isascii() and not set(text) & set("eE_nN") else None
    except InvalidOperation:
        number = None
    return (0 if not text else 2, Decimal(), text) if number is None else (1, number, "")


def listing(
    orders: pa.Table, place: tuple[Callable[[Ints], Ints], Callable[[Ints], pa.Array]], found: tuple[Any, ...]
) -> pa.Table:
    """Return the rows of `SEEN` for what one of the functions above has found.

    ``place`` returns the numbers and the sources of rows of ``orders``.
    """
    known, rows, kinds, columns = found
    at, table = pa.array(rows), known.table
    back = -column(table, "orders").fill_null(0).to_numpy()
    revenue = decimals_of(-cents_of(column(table, "revenue").fill_null(Decimal("0.00"))))
    named = {
        "row": pa.array(place[0](rows)),
        "source": place[1](rows),
        "order_id": column(orders, "order_id").take(at),
        "kind": kinds,
        "columns": columns,
        "timestamp": column(orders, "timestamp").take(at),
        "earlier_timestamp": _value(table, "timestamp", TIME),
        "earlier_status": _value(table, "status", pa.string()),
        "orders": pa.array(back),
        "revenue": revenue,
    }
    return pa.table([named[name] if name in named else table[name] for name in SEEN.names], schema=SEEN)


def _value(table: pa.Table, name: str, kind: pa.DataType) -> pa.Array:
    return column(table, VALUE + name) if VALUE + name in table.column_names else pa.nulls(len(table), kind)


def what_it_adds(orders: pa.Table, counts: bool) -> tuple[pa.Array, pa.Array]:
    """Return the number of orders and the revenue of paid rows; with ``counts``, columns of theirs say it."""
    if counts:
        count = column(orders, "orders").to_numpy()
        cents = cents_of(column(orders, "gross")) - cents_of(column(orders, "refunded"))
    else:
        count, cents = np.ones(len(orders), np.int64), cents_of(column(orders, "total_amount"))
    return pa.array(count), decimals_of(cents)
