"""Finds the orders of this run that earlier runs of the series have counted, by what these keep of their ids.

As in the search for ids that occur twice in a run, ids stand in buckets by their hash, and a task for each bucket
compares hashes first, and texts where these are equal. A partition of an earlier run whose ids are all below or above
those of this run is not read. Of the others, only ids go into the buckets whose hash this run may have, which a filter
of bits tells: so the work is linear in the ids that are read, and memory is that of this run, however many runs are
looked at. Then the values of the orders that were found are read, for each partition of this run, which is checked
again with them.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.errors import LostWorkError
from daskjobs.files.digest import Output, Piece
from daskjobs.files.documents import from_json, parse, unsealed
from daskjobs.files.storage import Storage
from daskjobs.files.tables import column, mask, plain_texts, read_pieces, reading, row_groups, write_piece
from daskjobs.orders.plan import Plan
from daskjobs.orders.profiles import Profile
from daskjobs.orders.profiles.columns import kept_key, key_texts
from daskjobs.orders.rules.builtin import DUPLICATE
from daskjobs.orders.schema import COLUMNS, COUNTS, PAID
from daskjobs.orders.sources.format import Ints
from daskjobs.orders.validation.duplicates import Part
from daskjobs.orders.validation.ids import Buckets, Entries, Hashes, bucket_of, hashes, rank, texts
from daskjobs.orders.validation.known import VALUE, WHERE, what_it_adds
from daskjobs.orders.validation.result import SEEN_BEFORE, Ids, PartitionResult
from daskjobs.series.layout import partition_files
from daskjobs.series.runs import COUNTING, GoodRun, looking_at

GROUP_ROWS = 2_000_000  # of partitions of a run that one task reads
FILTER_BITS = 26, 29  # of a bucket's filter, and of all filters together, as powers of two
BATCH_ROWS = 1_000_000  # whose texts are looked up together
ENTRIES = pa.schema([("position", pa.uint32()), ("order_id", pa.string()), ("partition", pa.uint32())])
MINE = ["order_id", "partition", "position"]
MATCHES = pa.schema([("at", pa.uint32()), ("partition", pa.uint32()), ("position", pa.uint32())])


@dataclass(frozen=True)
class Counted:
    """The valid orders of a partition of an earlier run, and the files that tell of them.

    ``number`` is its own among all that may be read, and ``run`` that of its run among those that are looked at.
    ``profile`` is that of its run. ``furniture`` counts rows that are no orders.
    """

    number: int
    run: int
    root: str
    partition: int
    rows: int
    paid_rows: int
    paid: tuple[str, Output]
    unpaid: tuple[str, Output]
    quarantine: tuple[str, Output]
    noted: tuple[str, Ids]
    plan: tuple[str, Output]
    furniture: int
    profile: Profile | None = field(repr=False)

    @property
    def ranged(self) -> bool:
        """Whether it is known from which order id to which one its orders go."""
        least = self.noted[1].least is not None and self.noted[1].most is not None
        return least and (self.profile is None or not (self.profile.by_line or self.profile.order.key))

    @property
    def counts(self) -> bool:
        """Whether columns of its orders say what each adds."""
        return self.profile is not None and self.profile.counts

    @property
    def numbered(self) -> bool:
        """Whether it is known which rows of its files its orders are."""
        returns = self.profile is not None and self.profile.order.returns == "subtract" and not self.profile.order.key
        return not (self.furniture or returns or (self.profile and self.profile.by_line))


def profile_of(run: GoodRun) -> Profile | None:
    """Return the profile of a run, if it has one."""
    rows = run.manifests[COUNTING].rows
    return from_json(rows["profile"], Profile, "profile") if rows.get("profile") else None


def counted(run: GoodRun, number: int, plan: str, profile: Profile | None) -> Iterator[Counted]:
    """Yield the partitions of a run that have valid orders; ``number`` is that of the run.

    ``plan`` is the name of its file of partitions, and ``profile`` its profile.
    """
    validated, merged = run.manifests["validate"], run.manifests[COUNTING]
    for each in merged.rows["partitions"]:
        names = partition_files(each["partition"])
        if not each["valid"]:
            continue
        with looking_at(run.uri):
            result = run.parsed("validate", names["result"], PartitionResult, unsealed)
        yield Counted(
            number=0,
            run=number,
            root=run.uri,
            partition=each["partition"],
            rows=result.rows.valid,
            paid_rows=result.statuses.get(PAID, 0),
            paid=(names["paid"], merged.outputs[names["paid"]]),
            unpaid=(names["unpaid"], merged.outputs[names["unpaid"]]),
            quarantine=(names["quarantine"], validated.outputs[names["quarantine"]]),
            noted=(names["ids"], result.ids),
            plan=(plan, run.manifests["split"].outputs[plan]),
            furniture=result.rows.furniture,
            profile=profile,
        )


def overlapping(ranges: Sequence[tuple[str, str]], others: Iterable[tuple[str, str]]) -> list[int]:
    """Return which of the ranges of ids, each with its ends, have an id in common with one of the others.

    >>> overlapping([("8", "10"), ("20", "30"), ("30", "31")], [("10", "12"), ("31", "99")])
    [0, 2]
    """
    starts, ends = list[tuple[int, bytes]](), list[tuple[int, bytes]]()
    for least, most in sorted((rank(least), rank(most)) for least, most in others):
        if ends and least <= ends[-1]:
            ends[-1] = max(ends[-1], most)
        else:
            starts.append(least)
            ends.append(most)
    found = []
    for number, (first, last) in enumerate(ranges):
        at = bisect_left(ends, rank(first))
        if at < len(ends) and starts[at] <= rank(last):
            found.append(number)
    return found


def groups(some: Sequence[Counted]) -> list[list[Counted]]:
    """Return the partitions in groups of those of one run, each of which a task reads."""
    found, held = list[list[Counted]](), 0
    for each in some:
        if found and found[-1][-1].run == each.run and held + each.rows <= GROUP_ROWS:
            found[-1].append(each)
        else:
            found.append([each])
            held = 0
        held += each.rows
    return found


def filter_bits(rows: int, buckets: int) -> int:
    """Return of how many bits, as a power of two, the filter of each bucket is: some ten for each id.

    >>> filter_bits(1_000_000, 1), filter_bits(10_000_000, 2), filter_bits(1_000_000_000, 200)
    (24, 26, 21)
    """
    most = min(FILTER_BITS[0], FILTER_BITS[1] - (buckets - 1).bit_length())
    return max(10, min(most, (10 * rows // buckets).bit_length()))


def make_filter(root: str, parts: list[Part], target: str, bits: int) -> Output:
    """Write the bits of the hashes of a bucket's ids to a file."""
    storage, seen = Storage(root), np.zeros(1 << bits, bool)
    for part in parts:
        for entries in read_pieces(storage, part.name, part.pieces):
            seen[hashes(column(entries, "order_id")) & np.uint64((1 << bits) - 1)] = True
    return storage.put(target, np.packbits(seen, bitorder="little").tobytes())


def read_known(
    root: str,
    some: list[Counted],
    filters: list[tuple[str, Output] | None],
    bits: int,
    target: str,
    like: Profile | None,
) -> Buckets:
    """Read the ids of valid orders of earlier partitions, and write those that this run may have into buckets.

    ``filters`` are the files of `make_filter`, by bucket, or None where this run has no ids. ``like`` is this run's
    profile, where it names a key. Each entry has the number of its partition, and its position there: the paid orders
    come first, then the unpaid ones. Returns the pieces, by bucket.
    """
    storage = Storage(root)
    packed = [np.frombuffer(storage.read(*each), np.uint8) if each else None for each in filters]
    with storage.write(target) as file:
        entries = Entries(file, len(filters), ENTRIES)
        for each in some:
            done = 0
            for orders in _orders(each, like):
                ids = column(orders, "order_id")
                at = np.flatnonzero(_passing(hashes(ids), packed, bits))
                if "counts" in orders.column_names:
                    at = at[mask(orders["counts"])[at]]
                if len(at):
                    number = pa.repeat(pa.scalar(each.number, pa.uint32()), len(at))
                    entries.take(ids.take(pa.array(at)), number, positions=done + at)
                done += len(orders)
            if done != each.rows:
                raise LostWorkError(
                    f"{each.root} has {done} orders in partition {each.partition}, and its result tells of "
                    f"{each.rows}: run it again, or move it out of the series"
                )
        entries.flush()
    return entries.pieces


def _passing(hashed: Hashes, packed: "list[np.ndarray | None]", bits: int) -> "np.ndarray":
    """Return which hashes are in the filters of their buckets."""
    numbers = bucket_of(hashed, len(packed)) if len(packed) > 1 else np.zeros(len(hashed), np.uint16)
    low = hashed & np.uint64((1 << bits) - 1)
    found = np.zeros(len(hashed), bool)
    for number, held in enumerate(packed):
        if held is None:
            continue
        rows = np.flatnonzero(numbers == number) if len(packed) > 1 else slice(None)
        places = low[rows]
        found[rows] = (held[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8)) & 1
    return found


def _orders(each: Counted, like: Profile | None) -> Iterator[pa.Table]:
    """Yield the ids of a partition's valid orders, first of the paid ones; ``counts`` says which rows are orders.

    Where ``like`` has a key, these are the keys.
    """
    storage = Storage(each.root)
    returns = each.profile is not None and each.profile.order.returns == "subtract" and not each.profile.by_line
    for name, output in (each.paid, each.unpaid):
        with looking_at(each.root), reading(storage, name, output) as file:
            names = kept_key(like, each.root, file.schema_arrow.names) if like else ["order_id"]
            told = ["orders"] if returns and not like else []
            for index in range(file.num_row_groups):
                group = file.read_row_group(index, columns=[*dict.fromkeys([*names, *told])], use_threads=False)
                ids = key_texts(group, names, like) if like else column(group, "order_id").cast(pa.string())
                if told:
                    yield pa.table({"order_id": ids, "counts": pc.greater(column(group, "orders"), 0)})
                else:
                    yield pa.table({"order_id": ids})


def search_known(
    root: str, mine: list[Part], theirs: list[Part], target: str, every: bool, taken: tuple[str, Piece] | None = None
) -> dict[int, Piece]:
    """Look in a bucket for ids of this run that earlier runs have counted, and write where these stand to ``target``.

    ``mine`` are this run's entries, and ``theirs`` those of earlier partitions, in the order of their runs. Returns the
    piece for each earlier partition. Of an id that several earlier runs have counted, the first one is taken, or, with
    ``every``, each. ``taken`` is a file with ids that are not looked for. The texts of at most `BATCH_ROWS` different
    hashes are in memory at once, or of as many rows.
    """
    storage = Storage(root)
    hit, matches, numbers = _common(storage, mine, theirs), [MATCHES.empty_table()], [np.empty(0, np.int64)]
    for start in range(0, len(hit), BATCH_ROWS):
        found, number = _matches(storage, mine, theirs, hit[start : start + BATCH_ROWS], every, taken)
        matches.append(found)
        numbers.append(number)
    return _by_number(storage, target, pa.concat_tables(matches), np.concatenate(numbers))


def _matches(
    storage: Storage,
    mine: list[Part],
    theirs: list[Part],
    hit: Hashes,
    every: bool,
    taken: tuple[str, Piece] | None,
) -> tuple[pa.Table, Ints]:
    """Return the entries of this run whose ids earlier runs have counted, and the numbers of the partitions there.

    Only ids whose hash is among those that are ``hit`` are looked for.
    """
    parts = []
    for part in mine:
        for entries in read_pieces(storage, part.name, part.pieces):
            some = entries.filter(pa.array(_among(hashes(column(entries, "order_id")), hit)))
            number = pa.repeat(pa.scalar(part.partition, pa.uint32()), len(some))
            parts.append(pa.table([texts(column(some, "order_id")), number, some["position"]], MINE))
    rows = pa.concat_tables(parts).combine_chunks()
    if taken:
        path, piece = taken
        (ids,) = read_pieces(storage, path, [piece])
        rows = rows.filter(pc.invert(pc.is_in(rows["order_id"], value_set=column(ids, "order_id")))).combine_chunks()
    coded = column(rows, "order_id").dictionary_encode()
    codes, rows = coded.indices.to_numpy(), rows.drop_columns("order_id")
    which, number, at = _found(storage, theirs, hit, coded.dictionary, every)
    low, high = np.searchsorted(which, codes), np.searchsorted(which, codes, "right")
    counts = high - low
    matched = rows.take(pa.array(np.repeat(np.arange(len(codes)), counts)))
    found = np.repeat(low, counts) + np.arange(len(matched)) - np.repeat(np.cumsum(counts) - counts, counts)
    return pa.table([pa.array(at[found].astype(np.uint32)), *matched.columns], schema=MATCHES), number[found]


def _by_number(storage: Storage, target: str, table: pa.Table, numbers: Ints) -> dict[int, Piece]:
    """Write the rows of a table to a file, in a piece for each number."""
    order = np.argsort(numbers, kind="stable")
    each, starts = np.unique(numbers[order], return_index=True)
    if not len(each):
        return {}
    table = table.take(pa.array(order))
    ends = [*starts[1:].tolist(), len(table)]
    with storage.write(target) as file:
        return {
            int(number): write_piece(file, table.slice(start, end - start).combine_chunks())
            for number, start, end in zip(each.tolist(), starts.tolist(), ends, strict=True)
        }


def _common(storage: Storage, mine: list[Part], theirs: list[Part]) -> Hashes:
    """Return the hashes that ids of this run have in common with ids of earlier ones, each once, sorted."""
    hashed = [np.empty(0, np.uint64)]
    for part in mine:
        hashed += [hashes(column(entries, "order_id")) for entries in read_pieces(storage, part.name, part.pieces)]
    ordered = np.concatenate(hashed)
    ordered.sort()
    hit = np.zeros(len(ordered), bool)
    for part in theirs:
        for entries in read_pieces(storage, part.name, part.pieces):
            known = hashes(column(entries, "order_id"))
            at = np.searchsorted(ordered, known)
            inside = at < len(ordered)
            at = at[inside]
            hit[at[ordered[at] == known[inside]]] = True
    once: Hashes = ordered[hit]  # the first of equal ones is found
    return once


def _among(hashed: Hashes, ordered: Hashes) -> "np.ndarray":
    at = np.minimum(np.searchsorted(ordered, hashed), len(ordered) - 1)
    found: np.ndarray = ordered[at] == hashed
    return found


def _found(storage: Storage, theirs: list[Part], hit: Hashes, ids: pa.Array, every: bool) -> tuple[Ints, Ints, Ints]:
    """Return which of the ``ids`` earlier runs have counted, ascending, and in which partition at which position."""
    taken, held, size = np.zeros(len(ids), bool), list[pa.Table](), 0
    found = [(np.empty(0, np.int64),) * 3]

    def look() -> None:
        nonlocal size
        if not size:
            return
        batch = pa.concat_tables(held).combine_chunks()
        at = pc.index_in(column(batch, "order_id"), value_set=ids)
        rows = np.flatnonzero(at.is_valid().to_numpy(zero_copy_only=False))
        which = at.take(pa.array(rows)).to_numpy().astype(np.int64)
        if not every:
            first = np.unique(which, return_index=True)[1]
            first = first[~taken[which[first]]]
            rows, which = rows[first], which[first]
            taken[which] = True
        some = batch.take(pa.array(rows))
        found.append((which, *(column(some, name).to_numpy().astype(np.int64) for name in ("partition", "position"))))
        held.clear()
        size = 0

    for part in theirs:
        for entries in read_pieces(storage, part.name, part.pieces):
            some = entries.filter(pa.array(_among(hashes(column(entries, "order_id")), hit)))
            held.append(some.set_column(1, "order_id", texts(column(some, "order_id"))))
            size += len(some)
            if size >= BATCH_ROWS:
                look()
    look()
    which, number, at = (np.concatenate(each) for each in zip(*found, strict=True))
    order = np.lexsort((at, number, which))
    return which[order], number[order], at[order]


def show_known(
    root: str,
    each: Counted,
    pieces: list[tuple[str, Piece]],
    gone: Ints,
    extra: list[str],
    target: str,
    lines: bool,
    like: Profile | None,
) -> dict[int, Piece]:
    """Write what an earlier partition says of the orders that were found in it, in a piece for each partition here.

    ``pieces`` are those of `search_known`. ``gone`` are the positions, ascending, of orders that a run has taken back:
    these are left out. ``extra`` are this run's columns besides ours, and ``like`` is its profile, if that names a key.
    With ``lines``, rows are lines of orders, and only the run is named.
    """
    storage = Storage(root)
    matches = pa.concat_tables(table for name, piece in pieces for table in read_pieces(storage, name, [piece]))
    at = column(matches, "at").to_numpy().astype(np.int64)
    matches = matches.filter(pa.array(~np.isin(at, gone)))
    at = column(matches, "at").to_numpy().astype(np.int64)
    numbers = column(matches, "partition").to_numpy().astype(np.int64)
    if lines:
        named = {"position": column(matches, "position"), "run": _repeated(each.run, len(at), pa.uint32())}
        empty = {name: pa.nulls(len(at), kind) for name, kind in zip(WHERE.names, WHERE.types, strict=True)}
        where = pa.table([(empty | named)[name] for name in WHERE.names], schema=WHERE)
        return _by_number(storage, target, where, numbers)
    distinct, place = np.unique(at, return_inverse=True)
    with looking_at(each.root):
        values = _values(each, distinct, extra)
        sources, rows = _rows(each, distinct, values, like) if each.numbered else (None, None)
    orders, revenue = what_it_adds(values, each.counts)
    late = distinct >= each.paid_rows
    unpaid = pa.array(late)
    named = {
        "run": _repeated(each.run, len(distinct), pa.uint32()),
        "earlier_source": sources or pa.nulls(len(distinct), pa.string()),
        "earlier_row": rows or pa.nulls(len(distinct), pa.int64()),
        "partition": _repeated(each.partition, len(distinct), pa.int32()),
        "paid": pc.invert(unpaid),
        "at": pa.array(np.where(late, distinct - each.paid_rows, distinct)),
        "orders": pc.if_else(unpaid, 0, orders),
        "revenue": pc.if_else(unpaid, pa.scalar(None, revenue.type), revenue),
    }
    kept = [name for name in values.column_names if name not in (COUNTS if each.counts else ())]
    named |= {f"{VALUE}{name}": column(values, name) for name in kept}
    table = pa.table(named).take(pa.array(place))
    table = table.add_column(0, "position", column(matches, "position"))
    table = table.select([*WHERE.names, *(f"{VALUE}{name}" for name in kept)])
    written = _by_number(storage, target, table, numbers)
    del values, table, named
    pa.default_memory_pool().release_unused()  # else an idle worker would look as large as a busy one
    return written


def _repeated(value: object, count: int, kind: pa.DataType) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), count)


def _values(each: Counted, wanted: Ints, extra: list[str]) -> pa.Table:
    """Return the valid orders at some positions of a partition."""
    storage, done, tables = Storage(each.root), 0, []
    for name, output in (each.paid, each.unpaid):
        for group in row_groups(storage, name, output):
            low, high = np.searchsorted(wanted, [done, done + len(group)])
            tables.append(plain_texts(group.take(pa.array(wanted[low:high] - done))))
            done += len(group)
    counts = COUNTS if each.counts else ()
    names = [name for name in tables[0].column_names if name in (*COLUMNS, *extra, *counts)]
    return pa.concat_tables(table.select(names) for table in tables).combine_chunks()


def _rows(
    each: Counted, wanted: Ints, values: pa.Table, like: Profile | None
) -> tuple[pa.Array | None, pa.Array | None]:
    """Return the sources and the numbers of the rows that are the valid orders at some positions of a partition.

    ``values`` are these orders. Its ranges say which rows it has, and its quarantine which of them are not valid. Which
    of the valid ones are unpaid is in its file of ids; where that has the ids themselves, they say where each stands.
    If these are not what this run looks for, nobody knows.
    """
    paid = each.paid_rows
    if (like.order.key if like else []) != (each.profile.order.key if each.profile else []):
        return None, None
    storage, (name, ids) = Storage(each.root), each.noted
    plan = _plan(each.root, *each.plan)
    ranges = plan.partitions[each.partition].ranges
    files = np.repeat([part.file for part in ranges], [part.rows for part in ranges])
    numbers = np.concatenate([np.arange(part.first_row, part.first_row + part.rows) for part in ranges])
    passing = ~_rejected(each, plan, files, numbers, but=bool(ids.buckets))
    if not ids.buckets:
        unpaid = _positions(storage, name, ids)
        before = unpaid - np.arange(len(unpaid))
        positions = np.where(wanted < paid, wanted, 0)
        positions = positions + np.searchsorted(before, positions, "right")
        late = wanted >= paid
        positions[late] = unpaid[wanted[late] - paid]
    else:
        valid = ~_rejected(each, plan, files, numbers, but=False)[passing]
        named = kept_key(like, each.root, values.column_names) if like else []
        keys = key_texts(values, named, like) if like else column(values, "order_id")
        positions = np.full(len(wanted), -1)
        for entries in read_pieces(storage, name, [piece for bucket in ids.buckets for piece in bucket]):
            found = pc.index_in(texts(column(entries, "order_id")), value_set=keys)
            rows = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
            there = column(entries, "position").to_numpy().astype(np.int64)[rows]
            which = found.take(pa.array(rows)).to_numpy().astype(np.int64)
            positions[which[valid[there]]] = there[valid[there]]
    if (positions < 0).any():
        return None, None
    at = np.flatnonzero(passing)[positions]
    names = pa.array([file.name for file in plan.files], pa.string())
    return names.take(pa.array(files[at])), pa.array(numbers[at])


def _rejected(each: Counted, plan: Plan, files: Ints, numbers: Ints, but: bool) -> "np.ndarray":
    """Return which rows of a partition are rejected; with ``but``, those are not told that passed every rule."""
    number_of = {file.name: number for number, file in enumerate(plan.files)}
    rejected = np.zeros(len(numbers), bool)
    key = files.astype(np.int64) << 40 | numbers
    order = np.argsort(key, kind="stable")
    for group in row_groups(Storage(each.root), *each.quarantine, ["row", "source", "reasons"]):
        if but:
            first = pc.list_element(group["reasons"], 0)
            group = group.filter(pc.invert(pc.is_in(first, value_set=pa.array([DUPLICATE, SEEN_BEFORE]))))
        coded = column(group, "source").dictionary_encode()
        file = np.array([number_of[name] for name in coded.dictionary.to_pylist()], np.int64)[coded.indices.to_numpy()]
        rows = file << 40 | column(group, "row").to_numpy()
        rejected[order[np.searchsorted(key[order], rows)]] = True
    return rejected


def _positions(storage: Storage, name: str, ids: Ids) -> Ints:
    found = [column(table, "position").to_numpy() for table in read_pieces(storage, name, ids.unpaid)]
    return np.concatenate([np.empty(0, np.int64), *found]).astype(np.int64)


@lru_cache(maxsize=2)
def _plan(root: str, name: str, output: Output) -> Plan:
    """Return the plan of an earlier run, which several tasks of one process read."""
    return parse(Storage(root).read(name, output), Plan)
