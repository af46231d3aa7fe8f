"""Finds, for validate, the orders that earlier runs of the series have counted; see `daskjobs.series.known`."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from daskjobs.errors import ConfigError
from daskjobs.files.digest import Piece
from daskjobs.orders.profiles import Profile
from daskjobs.pipeline.stage import numbered
from daskjobs.series.earlier import looked_at
from daskjobs.series.layout import CORRECTIONS, PARTITIONS
from daskjobs.series.runs import COUNTING, GoodRun, looking_at, name_of

if TYPE_CHECKING:
    import pyarrow as pa

    from daskjobs.orders.sources.format import Ints
    from daskjobs.orders.validation.partition import Task
    from daskjobs.orders.validation.result import PartitionResult
    from daskjobs.series.known import Counted

InBuckets = dict[int, tuple[str, list[list[Piece]]]]


@dataclass(frozen=True)
class Series:
    """The earlier runs that validate looks at, whether the newest row of an order counts, and its search's tasks."""

    runs: list[GoodRun]
    newest: bool

    def refuse(self, profile: Profile | None, extra: list[str]) -> None:
        """Raise ConfigError when nobody could tell, by this profile, which rows earlier runs have counted."""
        if not profile:
            return
        from daskjobs.orders.profiles.columns import kept_as, kept_key

        if profile.order.returns == "subtract" and (profile.by_line or not profile.order.key):
            raise ConfigError(
                f"--known can't tell whether a return was counted before, since returns repeat the order_id, and the "
                f'profile {profile.name} has returns = "subtract"'
                f"{' and lines of orders' if profile.by_line else ' without a key'}: "
                f"{'leave --known out' if profile.by_line else 'name a key under [order], or leave --known out'}"
            )
        if self.newest and profile.by_line:
            raise ConfigError(
                f"--again newest compares rows that are orders, and those of the profile {profile.name} are lines of "
                "orders: leave it out, and the first delivery of an order counts"
            )
        if profile.order.key and not profile.by_line:
            kept_key(profile, "this run", extra)
        if self.newest and profile.order.version and not kept_as(profile, profile.order.version, extra):
            raise ConfigError(
                f"[order] version of the profile {profile.name} names {profile.order.version}, of which results keep "
                "no text: name a column of its own"
            )

    def refuse_currencies(self, profile: Profile | None, results: "list[PartitionResult]") -> None:
        """Raise ConfigError when an order would count in no run, or a correction in another currency than its order."""
        from daskjobs.series.known import profile_of

        mine = _currency(profile, {name for each in results for name in each.currencies})
        for run in self.runs:
            paid = run.manifests[COUNTING].rows.get("currencies", {})
            theirs = _currency(profile_of(run), {*paid})
            if not mine or not theirs or mine == theirs:
                continue
            if self.newest:
                fault = "--again newest would take back amounts of another currency"
            elif mine in paid:
                fault = f"the orders of {mine} that it holds are known, and count in neither"
            else:
                continue
            raise ConfigError(
                f"{run.uri} is of {theirs}, and this run is of {mine}: {fault}; keep the runs of each currency in a "
                "series of their own"
            )


def _currency(profile: Profile | None, currencies: set[str]) -> str:
    if not profile or not profile.order.currency:
        return ""
    return profile.order.report_currency.upper() or (next(iter(currencies)) if len(currencies) == 1 else "")


@dataclass(frozen=True)
class Names:
    """The names of the files that the search writes, each with a star for a number."""

    filters: str
    known: str
    matches: str
    earlier: str
    taken: str


def find_known(
    names: Names,
    series: Series,
    gathered: Callable[..., list[Any]],
    task: "Task",
    results: "list[PartitionResult]",
    entries: "Callable[[list[PartitionResult]], InBuckets]",
) -> dict[int, dict[str, Piece]]:
    """Return the pieces of files that say what earlier runs have counted, by the partition of this run.

    ``entries`` returns the ids of partitions in buckets, as the search for repeated ones has them.
    """
    from daskjobs.cluster.tasks import Job
    from daskjobs.orders.validation.duplicates import Part
    from daskjobs.series import known

    series.refuse_currencies(task.profile, results)
    lines = task.profile is not None and task.profile.by_line
    like = task.profile if task.profile and task.profile.order.key and not lines else None
    theirs, some = _both(series, results, ranged=not lines and like is None)
    if not theirs or not some:
        return {}
    mine = entries(some)
    parts = [
        [Part(name, pieces[at], number) for number, (name, pieces) in sorted(mine.items()) if pieces[at]]
        for at in range(task.buckets)
    ]
    rows = sum(each.rows.rows_in for each in some)
    bits = known.filter_bits(rows, task.buckets)
    at = [bucket for bucket, each in enumerate(parts) if each]
    made = gathered(
        known.make_filter,
        [Job(f"filter {each}", (task.root, parts[each], numbered(names.filters, each), bits)) for each in at],
    )
    written = {bucket: (numbered(names.filters, bucket), output) for bucket, output in zip(at, made, strict=True)}
    filters = [written.get(bucket) for bucket in range(task.buckets)]
    together = known.groups(theirs)
    targets = [numbered(names.known, number) for number in range(len(together))]
    jobs = [
        Job(f"known {number}", (task.root, group, filters, bits, target, like), group[0].root)
        for number, (group, target) in enumerate(zip(together, targets, strict=True))
    ]
    read = list(zip(targets, gathered(known.read_known, jobs), strict=True))
    gone = _gone(series, theirs)
    taken = _taken(series, task.root, numbered(names.taken, 0)) if series.newest and like is None else None
    every = series.newest or bool(gone)
    jobs, into = [], []
    for bucket in at:
        if found := [Part(target, pieces[bucket]) for target, pieces in read if pieces[bucket]]:
            into.append(numbered(names.matches, bucket))
            jobs.append(Job(f"bucket {bucket}", (task.root, parts[bucket], found, into[-1], every, taken)))
    matches = defaultdict[int, list[tuple[str, Piece]]](list)
    for name, each in zip(into, gathered(known.search_known, jobs), strict=True):
        for number, piece in each.items():
            matches[number].append((name, piece))
    numbers = sorted(matches)
    nothing = _none()
    jobs = [
        Job(
            f"earlier {number}",
            (
                task.root,
                theirs[number],
                matches[number],
                gone.get(number, nothing),
                task.extra,
                numbered(names.earlier, number),
                lines,
                like,
            ),
            theirs[number].root,
        )
        for number in numbers
    ]
    by_partition = defaultdict[int, dict[str, Piece]](dict)
    for number, each in zip(numbers, gathered(known.show_known, jobs), strict=True):
        for partition, piece in each.items():
            by_partition[partition][numbered(names.earlier, number)] = piece
    return dict(by_partition)


def _none() -> "Ints":
    import numpy as np

    return np.empty(0, np.int64)


def _both(
    series: Series, results: "list[PartitionResult]", ranged: bool
) -> "tuple[list[Counted], list[PartitionResult]]":
    """Return the earlier partitions that may have ids in common with this run's, and those of this run that may.

    ``ranged`` says that this run's partitions know from which order id to which one theirs go.
    """
    from daskjobs.series import known

    theirs = list["Counted"]()
    for number, run in enumerate(series.runs):
        profile = known.profile_of(run)
        theirs += known.counted(run, number, PARTITIONS, profile)
    mine = [each for each in results if (each.ids.rows if not each.runs else any(each.runs))]
    if ranged and all(each.ids.least is not None and each.ids.most is not None for each in mine):
        ends = [(each.ids.least or "", each.ids.most or "") for each in mine]
        their_ends = [(each.noted[1].least or "", each.noted[1].most or "") for each in theirs]
        wide = {number for number, each in enumerate(theirs) if not each.ranged}
        near = wide | {number for number in known.overlapping(their_ends, ends) if number not in wide}
        if not wide:
            mine = [mine[number] for number in known.overlapping(ends, [their_ends[number] for number in near])]
        theirs = [theirs[number] for number in sorted(near)]
    return [replace(each, number=number) for number, each in enumerate(theirs)], mine


def _corrections(run: GoodRun) -> "Iterator[pa.Table]":
    from daskjobs.files.tables import row_groups

    with looking_at(run.uri):
        yield from row_groups(run.storage, CORRECTIONS, run.manifests[COUNTING].outputs[CORRECTIONS])


def _taken(series: Series, root: str, target: str) -> tuple[str, Piece] | None:
    """Write the ids of this run's own orders that the others have taken back, if it was there before, to a file.

    These count on: what takes them back stands in the other runs. If they didn't, a run that is made again would turn
    a right total into a wrong one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from daskjobs.files.storage import Storage
    from daskjobs.files.tables import write_piece

    ids, me = list["pa.Table"](), name_of(root)
    for run in series.runs:
        if run.has(COUNTING, CORRECTIONS):
            for group in _corrections(run):
                uris = group["run"].combine_chunks().dictionary_encode()
                mine = [name_of(uri) == me for uri in uris.dictionary.to_pylist()]
                ids.append(group.filter(pa.array(mine, pa.bool_()).take(uris.indices)).select(["order_id"]))
    taken = pa.concat_tables(ids) if ids else None
    if taken is None or not len(taken):
        return None
    with Storage(root).write(target) as file:
        return target, write_piece(file, pa.table([pc.unique(taken["order_id"])], ["order_id"]))


def _gone(series: Series, theirs: "list[Counted]") -> "dict[int, Ints]":
    """Return the positions, ascending, of orders of earlier partitions that one of the runs has taken back.

    What a run has taken back of another attempt at one of these runs is nothing of this one's orders: it says no more
    than that this run has to be made again, too, as `daskjobs history` does.
    """
    import numpy as np

    from daskjobs.files.tables import column

    by_name = {run.name: (number, run) for number, run in enumerate(series.runs)}  # a series may be moved as a whole
    place = {(each.run, each.partition): each for each in theirs}
    found = defaultdict[int, list["Ints"]](list)
    for run in series.runs:
        if not run.has(COUNTING, CORRECTIONS):
            continue
        with looking_at(run.uri):
            looked = looked_at(run)
        for group in _corrections(run):
            uris = group["run"].combine_chunks().dictionary_encode()
            for code, uri in enumerate(uris.dictionary.to_pylist()):
                if (name := name_of(uri)) not in by_name:
                    continue
                number, other = by_name[name]
                if looked.get(name) != other.counts:
                    continue
                rows = group.filter(uris.indices.to_numpy() == code)
                partitions = column(rows, "partition").to_numpy()
                at, paid = column(rows, "at").to_numpy(), column(rows, "paid").to_numpy(zero_copy_only=False)
                for partition in np.unique(partitions).tolist():
                    if each := place.get((number, partition)):
                        which = partitions == partition
                        found[each.number].append(np.where(paid[which], at[which], each.paid_rows + at[which]))
    return {number: np.sort(np.concatenate(several)) for number, several in found.items()}
