"""Which earlier runs a run looks at: split fixes them once, by their URIs and the hashes of their manifests."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date

from daskjobs.errors import ConfigError, StorageError, UsageError
from daskjobs.files.storage import real_path
from daskjobs.pipeline.lease import InUseError, lease
from daskjobs.pipeline.stage import Stage
from daskjobs.series.layout import EARLIER, LOCK_FOLDER
from daskjobs.series.runs import (
    GoodRun,
    again,
    good_run,
    good_runs,
    has_report,
    name_of,
    refuse_no_series,
    series_of,
    still,
)

WAIT_SECONDS = 120  # for the lock, longer than a stale one takes to be free
LAST = "last"  # --compare: the newest good run before this one


@dataclass(frozen=True)
class Looked:
    """A run that is looked at: its URI, the SHA-256 of its report's manifest, and that of what it ``counts``.

    The latter stays when the same run is done again, and the former may not, since the page says how long it took.
    """

    run: str
    sha256: str
    counts: str

    @property
    def name(self) -> str:
        """The name of its folder."""
        return name_of(self.run)

    @classmethod
    def of(cls, run: GoodRun) -> "Looked":
        """Return what is written of a run."""
        return cls(run.uri, run.sha256, run.counts)


@dataclass(frozen=True)
class Earlier:
    """The content of split/earlier.json.

    ``series`` is the folder of runs, ``known`` are those of it whose orders are not counted again, in their order, and
    ``compare`` is the one that this run is compared with, if there is one.
    """

    series: str
    known: list[Looked]
    compare: Looked | None

    def known_runs(self, stages: Mapping[str, Stage]) -> list[GoodRun]:
        """Return the known runs. Raises ConfigError when one is gone, or was made again."""
        return again([(each.run, each.counts) for each in self.known], stages, lambda run: run.counts)

    def compared_run(self, stages: Mapping[str, Stage]) -> GoodRun | None:
        """Return the run that is compared with, None without one. Raises ConfigError as `known_runs` does."""
        return again([(self.compare.run, self.compare.sha256)], stages)[0] if self.compare else None

    def that_know(self, name: str, stages: Mapping[str, Stage]) -> list[str]:
        """Return the names of those known runs that have looked at a run of this name themselves."""
        return [run.name for run in self.known_runs(stages) if name in looked_at(run)]


@dataclass(frozen=True)
class Asked:
    """What a run asks of earlier ones: the settings of these names, and the run's own URI, day, and when it was made.

    ``known`` and ``compare`` are empty where they are not asked for.
    """

    uri: str
    day: str
    made: str
    known: str
    known_days: int
    compare: str

    @property
    def series(self) -> str:
        """The folder of the runs: that of --known, or else the one that holds this run."""
        return self.known or series_of(self.uri)

    @property
    def inside(self) -> bool:
        """Whether this run lies directly in the series."""
        return real_path(series_of(self.uri)) == real_path(self.series).rstrip("/")

    @property
    def compared(self) -> str:
        """The URI of the run that --compare names, if it is not `LAST`."""
        where = self.compare if "/" in self.compare else f"{self.series.rstrip('/')}/{self.compare}"
        return where.rstrip("/")

    def looks_at(self, run: GoodRun) -> bool:
        """Tell whether --known looks at a run of the series: one whose day is near enough to this run's."""
        if not self.known_days:
            return True
        between = date.fromisoformat(run.day) - date.fromisoformat(self.day)
        return abs(between.days) <= self.known_days

    def runs(self, stages: Mapping[str, Stage]) -> list[GoodRun]:
        """Return the good runs of the series, without this run. Raises as `good_runs` does."""
        here = real_path(self.uri).rstrip("/")
        return [run for run in good_runs(self.series, stages, self.uri) if real_path(run.uri).rstrip("/") != here]


class OvertakenError(ConfigError):
    """Another run of the series was committed first, which this one has not looked at; a retry alone won't look."""


@contextmanager
def first(asked: Asked, earlier: Earlier, stages: Mapping[str, Stage], counts: str) -> Iterator[None]:
    """Let a run of the series commit its report if nothing has changed since it looked; ``counts`` is `GoodRun.counts`.

    Runs of the series commit one after another. Raises OvertakenError when a good run is there by now that --known
    would have looked at, unless that one knows what this one counts; ConfigError when one that was looked at is gone or
    was made again; and StorageError when another process doesn't free the series within `WAIT_SECONDS`.
    """
    with _locked(f"{asked.series.rstrip('/')}/{LOCK_FOLDER}") if asked.inside else nullcontext():
        _refuse_overtaken(asked, earlier, stages, counts)
        yield


def stands(asked: Asked, earlier: Earlier, stages: Mapping[str, Stage], counts: str) -> bool:
    """Tell whether a run that begins again can look at the runs that it has looked at, and need not look anew.

    They must be there as they were, and no other one that `first` would refuse; ``counts`` is what this run will count,
    or an empty text if that isn't known.
    """
    try:
        earlier.compared_run(stages)
        if asked.known:
            _refuse_overtaken(asked, earlier, stages, counts)
    except ConfigError:
        return False
    return True


def _refuse_overtaken(asked: Asked, earlier: Earlier, stages: Mapping[str, Stage], counts: str) -> None:
    there, me = {run.uri: run for run in asked.runs(stages)}, name_of(asked.uri)
    for each in earlier.known:
        now = there.get(each.run)
        still(each.run, now, now.counts if now else None, each.counts)
    looked = {(each.name, each.counts) for each in earlier.known}
    for run in there.values():
        if (
            asked.looks_at(run)
            and (run.name, run.counts) not in looked
            and not (asked.inside and looked_at(run).get(me) == counts)  # it has not counted the same orders
        ):
            raise OvertakenError(
                f"{run.uri} was committed while this run worked, and may have counted the same orders: run all "
                "stages again, from split, which then looks at it"
            )


def looked_at(run: GoodRun) -> dict[str, str]:
    """Return the runs that a run has looked at with --known: what each counted then (`GoodRun.counts`), by its name."""
    known = run.parsed("split", EARLIER, Earlier).known if run.has("split", EARLIER) else []
    return {each.name: each.counts for each in known}


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with ExitStack() as stack:
            try:
                check = stack.enter_context(lease(folder))
            except InUseError as error:
                if time.monotonic() > deadline:
                    raise StorageError(f"the series could not be locked within {WAIT_SECONDS} s: {error}") from error
                time.sleep(0.2)
                continue
            yield
            check()
            return


def refuse_asked(asked: Asked, stages: Mapping[str, Stage]) -> None:
    """Raise UsageError when the series is a file or a run, or the run to compare with is none, or is no good one.

    Nothing is written, and little is read: a command that is refused leaves no folder of a run.
    """
    if asked.known or asked.compare == LAST:
        refuse_no_series(asked.series)
    if asked.compare in ("", LAST):
        return
    if real_path(asked.compared).rstrip("/") == real_path(asked.uri).rstrip("/"):
        raise UsageError(f"--compare {asked.compare} is this run itself: name another one, or `{LAST}`")
    if not has_report(asked.compared, stages):
        raise _no_good_one(asked)


def _no_good_one(asked: Asked) -> UsageError:
    return UsageError(
        f"--compare {asked.compare} is no good run: {asked.compared} has no committed report; name a run that has one, "
        f"or `{LAST}` for the newest one before this one"
    )


def find(asked: Asked, stages: Mapping[str, Stage]) -> Earlier:
    """Return the good runs that are looked at now.

    Raises UsageError as `refuse_asked` does.
    """
    refuse_asked(asked, stages)
    runs = asked.runs(stages) if asked.known or asked.compare == LAST else []
    known = [Looked.of(run) for run in runs if asked.looks_at(run)] if asked.known else []
    return Earlier(asked.series, known, _compared(asked, runs, stages))


def _compared(asked: Asked, runs: list[GoodRun], stages: Mapping[str, Stage]) -> Looked | None:
    if not asked.compare:
        return None
    if asked.compare == LAST:
        before = [run for run in runs if run.order < (asked.day, asked.made, asked.uri)]
        return Looked.of(before[-1]) if before else None
    run = good_run(asked.compared, stages)
    if run is None:  # it is being made again
        raise _no_good_one(asked)
    return Looked.of(run)
