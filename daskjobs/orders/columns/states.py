"""What was seen of the columns in a part of the rows: it can be merged with that of other parts, and told.

Of a partition, it is a small file. What is told of a column doesn't depend on where partitions or blocks were cut.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.cores import in_turn
from daskjobs.files.digest import HashingFile, Output
from daskjobs.files.storage import Storage
from daskjobs.files.tables import column, mask, sound
from daskjobs.orders.columns.account import (
    MOST_COLUMNS,
    MOST_TEXT,
    MOST_VALUES,
    QUANTILES,
    VERSION,
    ColumnAccount,
    ColumnsAccount,
    Kind,
    mean,
)
from daskjobs.orders.columns.distinct import Distinct, Ints, mixed
from daskjobs.orders.columns.texts import Order, Steps, Words, extremes, hashes
from daskjobs.orders.money import amount_text, cents_of
from daskjobs.orders.plain import Plain
from daskjobs.orders.profiles import Profile
from daskjobs.orders.schema import COLUMNS, TYPES
from daskjobs.orders.sources.format import Block, RowRange

SAMPLED = 1 << 16  # rows at most, of which quantiles are told; all, where there are not more
MOST_SPAN = 1 << 16  # of numbers that are counted by their place in an array
MOST_TALLIED = 20  # codes that are compared one after another, which takes less time than counting all
FIRST_ROWS = 1024  # looked at to see whether there are few values
_SAFE = 1 << 62  # sums below it can't wrap
_EPOCH = datetime(1970, 1, 1)
_ROW, _FILE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)

SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("kind", pa.string()),
        ("rows", pa.int64()),
        ("empty", pa.int64()),
        ("unreadable", pa.int64()),
        ("longest", pa.int64()),
        ("total", pa.string()),  # of whole numbers or cents, however large
        ("least", pa.string()),
        ("most", pa.string()),
        ("up", pa.bool_()),
        ("down", pa.bool_()),
        ("changes", pa.int64()),
        ("first", pa.string()),
        ("last", pa.string()),
        ("few", pa.bool_()),
        ("values", pa.list_(pa.string())),
        ("counts", pa.list_(pa.int64())),
        ("lowest", pa.list_(pa.uint64())),
        ("sample", pa.list_(pa.int64())),
    ]
)


@dataclass
class ColumnState:
    """What was seen of one column: numbers, cents or microseconds as integers, or texts."""

    name: str
    kind: Kind
    rows: int = 0
    empty: int = 0
    unreadable: int = 0
    longest: int = 0
    total: int = 0
    least: Any = None
    most: Any = None
    counts: dict[Any, int] | None = field(default_factory=dict)  # None where there are many values
    steps: Steps = field(default_factory=Steps)
    distinct: Distinct = field(default_factory=Distinct)
    sample: list[Ints] = field(default_factory=list)

    def count(self, counts: dict[Any, int] | None) -> None:
        """Add the rows of each value, or None where there are many values."""
        if self.counts is None or counts is None:
            self.counts = None
            return
        for value, rows in counts.items():
            self.counts[value] = self.counts.get(value, 0) + rows
        if len(self.counts) > MOST_VALUES or any(len(each) > MOST_TEXT for each in counts if isinstance(each, str)):
            self.counts = None

    def merge(self, other: "ColumnState") -> None:
        """Add what was seen of later rows."""
        self.rows, self.empty, self.unreadable = (
            self.rows + other.rows,
            self.empty + other.empty,
            self.unreadable + other.unreadable,
        )
        self.longest, self.total = max(self.longest, other.longest), self.total + other.total
        if other.least is not None:
            self.extend(other.least, other.most)
        self.count(other.counts)
        self.steps.merge(other.steps)
        self.distinct.add(other.distinct.lowest)
        self.sample += other.sample

    def extend(self, *values: Any) -> None:
        """Extend the range of values."""
        for value in values:
            self.least = value if self.least is None else min(self.least, value)
            self.most = value if self.most is None else max(self.most, value)

    def add_numbers(self, values: Ints) -> None:
        """Add the values of a block."""
        if not len(values):
            return
        low, high = int(values.min()), int(values.max())
        self.extend(low, high)
        if self.kind != "time":
            self.total += _sum(values, low, high)
        if self.steps.alive:
            before, after = values[:-1], values[1:]
            up, down = bool((before <= after).all()), bool((before >= after).all())
            self.steps.add(up, down, int(np.count_nonzero(before != after)), int(values[0]), int(values[-1]))
        if self.counts is not None:
            self.count(_counted(values, low, high))
        if self.counts is not None:
            values = np.fromiter(self.counts, np.int64, len(self.counts))
        self.distinct.add_numbers(values, low, high)

    def add_texts(self, texts: pa.Array) -> None:
        """Add the values of a block: texts, or those of a dictionary; one that is empty or null is no value."""
        if texts.null_count:
            texts = texts.fill_null("")
        if not len(texts):
            return
        if pa.types.is_dictionary(texts.type):
            at = texts.dictionary.index("").as_py()
            if at >= 0:
                self.add_texts(texts.cast(pa.string()))
            else:
                self._add_coded(texts)
            return
        words = Words(texts)
        if not words.shortest:
            full = pc.greater(pc.binary_length(texts), 0)
            self.empty += full.false_count
            self.add_texts(texts.filter(full))
            return
        if self.counts is not None:
            few = len(pc.unique(texts.slice(0, FIRST_ROWS))) <= MOST_VALUES
            coded = texts.dictionary_encode() if few else None
            if coded is not None and len(coded.dictionary) <= MOST_VALUES:
                self._add_coded(coded)
                return
            self.counts = None
        self._add_distinct(words)

    def _add_coded(self, coded: pa.DictionaryArray) -> None:
        """Add texts of a dictionary, whose entries are in the order in which they are used first."""
        texts, codes = coded.dictionary, coded.indices.to_numpy()
        if self.steps.alive and bool((codes[1:] < codes[:-1]).any()):
            self.steps.end()
        if self.counts is not None and len(texts) <= MOST_VALUES:
            counts = dict(zip(texts.to_pylist(), tally(codes, len(texts)), strict=True))
            known = counts.keys() <= self.counts.keys()
            self.count(counts)
            if known and not self.steps.alive:
                return
        else:
            self.counts = None
        self._add_distinct(Words(texts))

    def _add_distinct(self, words: Words) -> None:
        first = words.word(0)
        order = Order(words) if self.steps.alive else None
        self.distinct.add(hashes(words, first, order))
        texts = words.texts
        if order:
            order.tell(self.steps)
        if order and order.ascends:
            found = [texts[0].as_py(), texts[-1].as_py()]
        else:
            found = extremes(words, first, self.least, self.most)
        self.extend(*(each[: MOST_TEXT + 1] for each in found))
        if words.longest > self.longest:  # a text has no more characters than bytes
            self.longest = max(self.longest, int(words.characters().max()))

    def told(self, in_file: str = "") -> ColumnAccount:
        """Return what is told of the column."""
        show = _SHOWN[self.kind]
        known = self.rows - self.empty - self.unreadable
        distinct, exact = self.distinct.count()
        if not exact and (counted := self.steps.distinct()) is not None:
            distinct, exact = counted, True
        total = Decimal(self.total).scaleb(-2 if self.kind == "amount" else 0)
        return ColumnAccount(
            name=self.name,
            kind=self.kind,
            empty=self.empty,
            unreadable=self.unreadable,
            distinct=distinct,
            distinct_exact=exact,
            in_file=in_file if in_file != self.name else "",
            least=None if self.least is None else show(self.least),
            most=None if self.most is None else show(self.most),
            longest=self.longest if self.kind == "text" and known else None,
            mean=mean(total, known) if self.kind in ("number", "amount") and known else None,
            quantiles={} if self.kind == "text" else {name: show(each) for name, each in self._quantiles().items()},
            values={show(each): self.counts[each] for each in sorted(self.counts)} if self.counts else {},
        )

    def _quantiles(self) -> dict[str, int]:
        """Return the least values that so large a share of the rows don't exceed, of all rows or of the sample."""
        if self.counts:
            values = np.array(sorted(self.counts), np.int64)
            ends = np.cumsum([self.counts[each] for each in values.tolist()])
        else:
            values = np.sort(np.concatenate([np.empty(0, np.int64), *self.sample]))
            ends = np.arange(1, len(values) + 1)
        if not len(values):
            return {}
        count = int(ends[-1])
        ranks = [-(-int(Decimal(name) * 100) * count // 100) for name in QUANTILES]
        return dict(zip(QUANTILES, values[np.searchsorted(ends, ranks)].tolist(), strict=True))


def _counted(values: Ints, low: int, high: int) -> dict[int, int] | None:
    """Return the rows of each value, or None where there are many values."""
    if high - low >= MOST_VALUES and len({*values[:FIRST_ROWS].tolist()}) > MOST_VALUES:
        return None
    if high - low < MOST_SPAN:
        counts = np.array(tally(values - low, high - low + 1))
        found = np.flatnonzero(counts)
        found, rows = found + low, counts[found]
    else:
        found, rows = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), rows.tolist(), strict=True)) if len(found) <= MOST_VALUES else None


def tally(codes: Ints, size: int) -> list[int]:
    """Return how often each code below ``size`` is there.

    >>> tally(np.array([1, 0, 1]), 3)
    [1, 2, 0]
    """
    if size > MOST_TALLIED:
        return list(np.bincount(codes, minlength=size).tolist())
    small = codes.astype(np.uint8)
    return [int(np.count_nonzero(small == code)) for code in range(size)]


def _sum(values: Ints, low: int, high: int) -> int:
    return int(values.sum()) if max(-low, high) * len(values) < _SAFE else sum(values.tolist())


def _time_text(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"


_SHOWN: dict[Kind, Any] = {"text": _cut, "number": str, "amount": amount_text, "time": _time_text}
_KINDS: dict[str, Kind] = {"quantity": "number", "price": "amount", "total_amount": "amount", "timestamp": "time"}
assert _KINDS.keys() == TYPES.keys()


def told_of(extra: list[str]) -> list[str]:
    """Return the columns that are told of: ours and the ``extra`` ones, but at most `MOST_COLUMNS`."""
    return [*COLUMNS, *extra][:MOST_COLUMNS]


def _new(name: str) -> ColumnState:
    return ColumnState(name, _KINDS.get(name, "text"))


class Columns:
    """Looks at the columns of a partition's rows, a block at a time; ``rows`` are those of the whole input."""

    def __init__(self, extra: list[str], rows: int, profile: Profile | None = None) -> None:
        self._group = -(-rows // SAMPLED) or 1
        self._profile = profile
        self.seen = [_new(name) for name in told_of(extra)]

    def add(self, block: Block, parts: Sequence[RowRange], row: int, orders: pa.Table) -> None:
        """Add the typed rows of a block, which begins at row ``row`` of its file, or has all of several ``parts``."""
        sampled = self._sampled(block, parts, row)
        for seen in self.seen:
            seen.rows += len(orders)
            array = column(orders, seen.name)
            if seen.kind == "text":
                seen.add_texts(array)
            else:
                self._add_typed(seen, array, block, sampled)

    def _add_typed(self, seen: ColumnState, array: pa.Array, block: Block, sampled: Ints | None) -> None:
        values = _integers(array)
        if array.null_count:
            known = mask(array.is_valid())
            missing = np.flatnonzero(~known)
            empty = self._empty(block, seen.name, missing)
            seen.empty += empty
            seen.unreadable += len(missing) - empty
            some = values if sampled is None else values[sampled]
            seen.sample.append(some[known if sampled is None else known[sampled]])
            values = values[known]
        else:
            values = np.ascontiguousarray(values)
            seen.sample.append(values.copy() if sampled is None else values[sampled])
        seen.add_numbers(values)

    def _empty(self, block: Block, name: str, rows: Ints) -> int:
        """Return how many of these rows have no text in a column: in all that it is made from, with a profile."""
        here = block.fields.columns if isinstance(block.fields, Plain) else block.fields.column_names
        names = [name]
        if self._profile:
            of = self._profile.column(name)
            found = [each for each in of.sources if each in here]
            names = found[:1] if of.names else found
        empty = np.ones(len(rows), bool)
        for each in names:
            if isinstance(block.fields, Plain):
                text = block.fields.text(each, rows)
            else:
                text = column(block.fields, each).take(pa.array(rows))
            empty &= mask(pc.equal(pc.utf8_trim(text.fill_null(""), " \t"), ""))
        return int(np.count_nonzero(empty)) if names else 0

    def _sampled(self, block: Block, parts: Sequence[RowRange], row: int) -> Ints | None:
        """Return which of a block's rows are of the sample, among those that were read; None for all.

        It has one row of each ``_group`` rows of a file, which the file's place and the row's number decide.
        """
        if self._group == 1:
            return None
        size = np.uint64(self._group)
        if parts[1:]:
            files = np.repeat(np.array([part.file for part in parts], np.uint64), [part.rows for part in parts])
            at = np.concatenate([np.arange(part.rows) + part.first_row - 1 for part in parts]).astype(np.uint64)
            places = np.flatnonzero(mixed(at // size * _ROW + files * _FILE) % size == at % size)
        else:
            first = row - 1
            groups = np.arange(first // self._group, (first + block.rows - 1) // self._group + 1).astype(np.uint64)
            chosen = mixed(groups * _ROW + np.array([parts[0].file], np.uint64) * _FILE) % size
            places = (groups * size + chosen).astype(np.int64) - first
            places = places[(places >= 0) & (places < block.rows)]
        if len(block.kept) == block.rows:
            return places
        where = np.searchsorted(block.kept, places)
        inside = where < len(block.kept)
        where, places = where[inside], places[inside]
        read: Ints = where[block.kept[where] == places]
        return read

    def state(self) -> pa.Table:
        """Return what was seen, in `SCHEMA`."""
        return pa.Table.from_pylist([_row(each) for each in self.seen], SCHEMA)


def _integers(array: pa.Array) -> Ints:
    """Return a typed column as integers, whatever they are where it is null."""
    if not len(array) or pa.types.is_decimal(array.type):
        return cents_of(array)
    return np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array)]


def _row(seen: ColumnState) -> dict[str, Any]:
    """Return what was seen of a column as a row of `SCHEMA`."""
    steps, counts = seen.steps, seen.counts or {}
    text = {
        name: None if value is None else str(value)
        for name, value in (
            ("total", seen.total),
            ("least", seen.least),
            ("most", seen.most),
            ("first", steps.first),
            ("last", steps.last),
        )
    }
    return {
        **{name: getattr(seen, name) for name in ("name", "kind", "rows", "empty", "unreadable", "longest")},
        **text,
        **{name: getattr(steps, name) for name in ("up", "down", "changes")},
        "few": seen.counts is not None,
        "values": [str(value) for value in counts],
        "counts": [*counts.values()],
        "lowest": seen.distinct.lowest,
        "sample": np.concatenate([np.empty(0, np.int64), *seen.sample]),
    }


def _seen(row: dict[str, Any], lowest: Any, sample: Any) -> ColumnState:
    """Return what a row of `SCHEMA` says."""

    def value(text: str | None) -> Any:
        return text if text is None or row["kind"] == "text" else int(text)

    counts = dict(zip(map(value, row["values"]), row["counts"], strict=True)) if row["few"] else None
    seen = ColumnState(row["name"], row["kind"], row["rows"], row["empty"], row["unreadable"], row["longest"])
    seen.total, seen.least, seen.most, seen.counts = int(row["total"]), value(row["least"]), value(row["most"]), counts
    steps = seen.steps
    steps.up, steps.down, steps.changes = row["up"], row["down"], row["changes"]
    steps.first, steps.last = value(row["first"]), value(row["last"])
    seen.distinct.add(lowest)
    seen.sample.append(sample)
    return seen


def account(extra: list[str], states: Iterable[pa.Table], in_file: Mapping[str, str]) -> ColumnsAccount:
    """Return what is told of our columns and the ``extra`` ones, from the states of partitions in their order.

    ``in_file`` are the names in the first file, where these are others.
    """
    names = told_of(extra)
    found = [_new(name) for name in names]
    rows = 0
    for state in states:
        lists = [column(state, name) for name in ("lowest", "sample")]
        small = state.drop_columns(["lowest", "sample"]).to_pylist()
        for at, (seen, row) in enumerate(zip(found, small, strict=True)):
            seen.merge(_seen(row, *(array[at].values.to_numpy() for array in lists)))
        rows += small[0]["rows"]
    columns = [each.told(in_file.get(each.name, "")) for each in found]
    return ColumnsAccount(VERSION, rows, columns, len(COLUMNS) + len(extra) - len(names))


def write_state(file: HashingFile, state: pa.Table) -> None:
    """Write what was seen."""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(pa.PythonFile(file, "w"), state.schema, options=options) as writer:
        writer.write_table(state)


def read_states(storage: Storage, files: Mapping[str, Output]) -> Iterator[pa.Table]:
    """Yield what was seen of the columns in each partition, from files that must hold what is said of them."""

    def read(name: str) -> pa.Table:
        data = storage.read(name, files[name])
        with sound(storage, name):
            return pa.ipc.open_stream(data).read_all()

    yield from in_turn(read, [*files], storage.streams(storage.root))
