"""Counts what was received, where the sender says what was sent: rows, sums of money, and distinct order ids.

All rows count but furniture, whatever is wrong with them, since the sender has counted and added up all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.files.digest import HashingFile
from daskjobs.files.tables import mask
from daskjobs.orders.money import amount_text, cents_of
from daskjobs.orders.sent import Sent
from daskjobs.orders.sources.format import Block, Ints, RowRange
from daskjobs.orders.validation.ids import Buckets, Entries
from daskjobs.orders.validation.result import NAMED, Received, SourceRow

Bools = npt.NDArray[np.bool_]
SourceOf = Callable[[int], tuple[str, int]]
EVERY = ""  # stands for all files, in place of one's number


@dataclass(frozen=True)
class ToCount:
    """What is to be counted: the ``sums`` of columns, distinct ``ids``, and whether for each file, too."""

    sums: tuple[str, ...] = ()
    ids: bool = False
    by_file: bool = False

    @classmethod
    def of(cls, sent: Sent) -> "ToCount | None":
        """Return what must be counted to hold it against what the sender says; None if that is nothing."""
        return cls(tuple(sent.sums), sent.ids, bool(sent.controls)) if sent else None


@dataclass(frozen=True)
class BlockAmounts:
    """The amounts of a block's rows in one column: ``cents`` of the ``counted`` ones, and the rows of ``unread`` ones.

    Both are by the row's place in the block.
    """

    cents: Ints
    counted: Ints
    unread: Ints


def amounts_of(block: Block, amounts: pa.Array, groups: Ints | None) -> BlockAmounts:
    """Return the amounts of a block's kept rows, of which a malformed row has none that can be read.

    Of rows with an order's own total, ``groups`` are the order's lines: the first total of each group counts.
    """
    known, cents = mask(amounts.is_valid()), cents_of(amounts)
    lost = np.fromiter(block.malformed, np.int64, len(block.malformed))
    if groups is None:
        counted, unread = np.flatnonzero(known), np.flatnonzero(~known)
    else:
        counted, unread = _first_of(groups, known), _first_of(groups, np.ones(len(known), bool))
        unread = unread[~np.isin(groups[unread], groups[counted])]
    return BlockAmounts(cents[counted], block.kept[counted], np.sort(np.concatenate([block.kept[unread], lost])))


def _first_of(groups: Ints, which: Bools) -> Ints:
    """Return the first row of each group among some rows."""
    rows = np.flatnonzero(which)
    found: Ints = rows[np.unique(groups[rows], return_index=True)[1]]
    return found


class Counting:
    """Counts what a partition has received, block by block; ``file`` takes the ids, in so many ``buckets``."""

    def __init__(self, to_count: ToCount, file: HashingFile, buckets: int) -> None:
        self._to_count, self._ids = to_count, Entries(file, buckets)
        self._found = dict[str, Received]()

    def add(
        self, block: Block, parts: Sequence[RowRange], of: SourceOf, ids: pa.Array, found: dict[str, BlockAmounts]
    ) -> None:
        """Add a block of the rows of ``parts``, or one of several blocks of a single part.

        ``of`` returns the source of a row and its number there; ``ids`` are those of the kept rows.
        """
        several = self._to_count.by_file and len(parts) > 1
        begins = np.array([0, *accumulate(part.rows for part in parts[:-1])] if several else [0])
        numbers = np.array([part.file for part in parts] if self._to_count.by_file else [0])
        if self._to_count.ids:
            some = mask(pc.not_equal(ids, ""))
            files = numbers[np.searchsorted(begins, block.kept[some], "right") - 1]
            self._ids.take(ids.filter(pa.array(some)), positions=files)
        self._add(EVERY, block, 0, block.rows, of, found)
        if self._to_count.by_file:
            ends = [*begins[1:].tolist(), block.rows]
            for begin, end, number in zip(begins.tolist(), ends, numbers.tolist(), strict=True):
                self._add(str(number), block, begin, end, of, found)

    def _add(self, key: str, block: Block, begin: int, end: int, of: SourceOf, found: dict[str, BlockAmounts]) -> None:
        apart = 0 if block.furniture is None else np.count_nonzero((block.furniture >= begin) & (block.furniture < end))
        sums, unread, first = dict[str, str](), dict[str, int](), dict[str, list[SourceRow]]()
        for name, each in found.items():
            sums[name] = amount_text(_total(each.cents[(each.counted >= begin) & (each.counted < end)]))
            lost = each.unread[(each.unread >= begin) & (each.unread < end)]
            if len(lost):
                unread[name] = len(lost)
                first[name] = [SourceRow(*of(index)) for index in lost[:NAMED].tolist()]
        here = Received(end - begin - int(apart), sums, unread, first)
        self._found[key] = self._found.get(key, Received()) + here

    def end(self) -> tuple[dict[str, Received], Buckets]:
        """Write what is still held; return what was received by file's number and in all, and the pieces of ids."""
        self._ids.flush()
        return self._found, self._ids.pieces if self._to_count.ids else []


def _total(cents: Ints) -> int:
    """Return a sum, which is exact however large it is."""
    return (int((cents >> 32).sum()) << 32) + int((cents & 0xFFFFFFFF).sum())
