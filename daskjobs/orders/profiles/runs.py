"""Finds the runs of a file's rows, where a row is a line of an order, and fills down what an order says only once.

A run is rows one after another with the same order id. Rows that are malformed or furniture stand in it without ending
it, up to `GAP_ROWS` of them. No partition and no block cuts a run, so that what is said in one counts in all of it: a
field that says nothing has the nearest value above it in its run. What a malformed row says is not known. So where ids
are filled down, a row without one right behind it, furniture left aside, is of no order: it may have begun another one.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.errors import InputError
from daskjobs.files.tables import column
from daskjobs.orders.profiles import Profile
from daskjobs.orders.profiles.columns import order_ids
from daskjobs.orders.profiles.furniture import sort_out
from daskjobs.orders.sources.format import Block, BlockLines, Ints, SourceFile, joined

RUN_ROWS = 1 << 17  # of a run, in memory at once; about as many as of a block
RUN_BYTES = 64 << 20  # of a run's texts
GAP_ROWS = 1000  # malformed rows and furniture, one after another: more of them end a run
SEAM_ROWS = 64  # parsed first where a partition should end
ORDER_ID = "order_id"

Bools = npt.NDArray[np.bool_]


class Above(NamedTuple):
    """What stands above a block: the id of the run that goes on, if one does, and what is behind its last kept row.

    That is the number of ``rows``, and whether one of them is ``malformed``.
    """

    id: str | None = None
    rows: int = 0
    malformed: bool = False

    def below(self, block: Block, ids: pa.Array) -> "Above":
        """Return what stands above the block behind this one, which has these ids."""
        if not len(ids):
            return Above(self.id, self.rows + block.rows, self.malformed or len(_lost(block)) > 0)
        last = int(block.kept[-1])
        return Above(ids[-1].as_py(), block.rows - 1 - last, bool(np.any(_lost(block) > last)))


def prepared(blocks: Iterable[Block], profile: Profile, source: SourceFile, row: int) -> Iterator[Block]:
    """Yield a file's rows from row ``row`` on without furniture, and lines of orders in `whole_runs`."""
    blocks = (sort_out(block, profile, source.heading) for block in blocks)
    return whole_runs(blocks, profile, source.name, row) if profile.by_line else iter(blocks)


def whole_runs(blocks: Iterable[Block], profile: Profile, name: str, row: int = 1) -> Iterator[Block]:
    """Yield the same rows in blocks that cut no run, each with its ``runs``, and with order fields filled down.

    ``blocks`` begin with a run's first row, which is row ``row`` of the file ``name``. Raises InputError when a run is
    too long for memory.
    """
    held = list[tuple[Block, Bools]]()  # the rows from the first one of the last run on, and which begin a run
    above = Above()
    for block in blocks:
        ids, begins = _begins(block, profile, above)
        firsts = np.flatnonzero(begins)
        cut = int(block.kept[firsts[-1]]) if len(firsts) else 0
        if len(firsts) and (held or cut):
            head = [(_part(block, 0, cut), begins[: firsts[-1]])] if cut else []
            yield _joined([*held, *head], profile)
            held = []
        held.append((_part(block, cut, block.rows), begins[firsts[-1] :] if cut else begins))
        above = above.below(block, ids)
        if above.id is None or above.rows > GAP_ROWS:
            yield _joined(held, profile)
            held, above = [], Above()
        row += block.rows
        _bound([each for each, _ in held], name, row)
    if held:
        yield _joined(held, profile)


def _bound(held: list[Block], name: str, end: int) -> None:
    """Raise InputError when the blocks of one run, up to row ``end`` of a file, are too many for memory."""
    rows, size = sum(each.rows for each in held), sum(each.texts.nbytes for each in held)
    if len(held) > 1 and (rows > RUN_ROWS or size > RUN_BYTES):
        raise InputError(
            f"{name} has an order whose lines, one after another from row {end - rows}, are more than {RUN_ROWS} rows "
            f"or {RUN_BYTES >> 20} MiB: check that order_id in the profile's [columns] is the number of an order, and "
            "with fill_down, that each order's first line has one"
        )


def _sources(columns: list[str], profile: Profile, ours: str) -> list[str]:
    """Return which of a file's columns the values of one of ours come from, or of total, refunds or currency."""
    if ours in ("refunds", "currency"):
        return [each for each in [getattr(profile.order, ours)] if each in columns]
    if ours == "total" and not profile.order.total:
        return []
    of = profile.column("total_amount" if ours == "total" else ours)
    found = [each for each in of.sources if each in columns]
    return found[:1] if of.names else found


def _filled_down(columns: list[str], profile: Profile) -> list[str]:
    """Return a file's columns of which a value stands for the rows of its order below it, too."""
    return list(dict.fromkeys(each for ours in profile.order.fill_down for each in _sources(columns, profile, ours)))


def _begins(block: Block, profile: Profile, above: Above) -> tuple[pa.Array, Bools]:
    """Return the order id of each of a block's kept rows, and whether a run begins there."""
    ids, kept = order_ids(block.texts, profile), block.kept
    if above.id is not None:
        ids, kept = (
            pa.concat_arrays([pa.array([above.id], pa.string()), ids]),
            np.concatenate([[-1 - above.rows], kept]),
        )
    gaps = np.diff(kept, prepend=kept[:1]) > GAP_ROWS + 1
    if ORDER_ID in profile.order.fill_down:
        ids = _down(ids, gaps | _behind_malformed(block, kept, above), _empty(ids))
    begins = np.ones(len(ids), bool)
    if len(ids):
        begins[1:] = _mask(pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)))
        begins |= gaps | _mask(pc.equal(pc.binary_length(ids), 0))
    return (ids, begins) if above.id is None else (ids.slice(1), begins[1:])


def _lost(block: Block) -> Ints:
    """Return the rows of which nobody knows whether the next row without an id is of their order: malformed ones, and
    furniture with an order id.
    """
    malformed = np.fromiter(block.malformed, np.int64, len(block.malformed))
    return np.sort(malformed if block.apart is None else np.concatenate([malformed, block.apart]))


def _behind_malformed(block: Block, kept: Ints, above: Above) -> Bools:
    """Return which rows have a malformed row between them and the one before them in ``kept``."""
    before = np.searchsorted(_lost(block), kept)
    behind: Bools = np.diff(before, prepend=before[:1]) > 0
    if above.id is not None and above.malformed:
        behind[1:2] = True
    return behind


def _mask(values: Any) -> Bools:
    mask: Bools = values.to_numpy(zero_copy_only=False)
    return mask


def _empty(text: pa.Array) -> Bools:
    """Return which texts say nothing: they have no characters, or none but white space."""
    return _mask(pc.or_(pc.equal(pc.binary_length(text), 0), pc.utf8_is_space(text)))


def _down(text: pa.Array, begins: Bools, empty: Bools) -> pa.Array:
    """Return texts with the last one before it in place of each empty one, unless a run begins between them."""
    if not empty.any():
        return text
    rows = np.arange(len(text))
    said = np.maximum.accumulate(np.where(empty, -1, rows))
    first = np.maximum.accumulate(np.where(begins, rows, 0))
    return text.take(pa.array(np.where(said >= first, said, rows)))


def _joined(held: list[tuple[Block, Bools]], profile: Profile) -> Block:
    """Return blocks that follow each other as one, with its runs, and with order fields filled down."""
    block = joined([each for each, _ in held])
    begins = np.concatenate([each for _, each in held])
    begins[:1] = True
    texts = block.texts
    ids = _sources(texts.column_names, profile, ORDER_ID)
    for name in _filled_down(texts.column_names, profile):
        at, text = texts.column_names.index(name), column(texts, name)
        empty = _empty(order_ids(block.texts, profile) if name in ids else text)
        texts = texts.set_column(at, name, _down(text, begins, empty))
    return replace(block, fields=texts, runs=np.cumsum(begins) - 1)


def _part(block: Block, first: int, end: int) -> Block:
    """Return some rows of a block. Line ends inside of fields are counted with its first row."""
    if end - first == block.rows:
        return block
    low, high = np.searchsorted(block.kept, [first, end]).tolist()
    lines, furniture, apart = block.lines, block.furniture, block.apart
    if lines:
        several = {row - first: count for row, count in lines.several.items() if first <= row < end}
        lines = BlockLines(0 if first else lines.inside, several)
    if furniture is not None:
        furniture = furniture[slice(*np.searchsorted(furniture, [first, end]))] - first
    if apart is not None:
        apart = apart[slice(*np.searchsorted(apart, [first, end]))] - first
    return Block(
        rows=end - first,
        fields=block.texts.slice(low, high - low),
        kept=block.kept[low:high] - first,
        malformed={row - first: reason for row, reason in block.malformed.items() if first <= row < end},
        raw=lambda which: block.raw(which + first),
        lines=lines,
        furniture=furniture,
        apart=apart,
    )


class Seam:
    """Where a partition of lines really ends: behind the run in which it should end.

    Which run that is, the row before it says, or else the next row with an id: then the partition has a run more.
    Where ids are filled down, a row without one never begins a partition, since its order may stand above it.
    """

    def __init__(self, profile: Profile, columns: list[str]) -> None:
        self._profile, self._columns = profile, columns
        self._id: str | None = None

    @property
    def asked(self) -> bool:
        """Whether the id of the run is known."""
        return self._id is not None

    def rest(self, parse: Callable[[int, int], Block], count: int) -> int:
        """Return how many of the next ``count`` rows come before a row that certainly begins a run.

        ``parse`` returns the block of some of these rows.
        """
        done, size = 0, SEAM_ROWS
        while done < count:
            upto = min(count, done + size)
            block = sort_out(parse(done, upto), self._profile, self._columns)
            ids, fills = order_ids(block.texts, self._profile).to_pylist(), ORDER_ID in self._profile.order.fill_down
            for place, each in zip(block.kept.tolist(), ids, strict=True):
                if fills and not each:
                    continue
                if self._id is None:
                    self._id = each
                elif each != self._id or not each:
                    return done + int(place)
            done, size = upto, 2 * size
        return count
