"""Which earlier runs a run looks at: split fixes them once, by their URIs and the hashes of their manifests."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from daskjobs.errors import ConfigError, UsageError
from daskjobs.files.storage import real_path
from daskjobs.pipeline.stage import Stage
from daskjobs.series.runs import GoodRun, again, good_run, good_runs

LAST = "last"  # --compare: the newest good run before this one


@dataclass(frozen=True)
class Looked:
    """A run that is looked at: its URI, and the SHA-256 of its report's manifest."""

    run: str
    sha256: str

    @classmethod
    def of(cls, run: GoodRun) -> "Looked":
        """Return what is written of a run."""
        return cls(run.uri, run.sha256)


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
        return again([(each.run, each.sha256) for each in self.known], stages)

    def compared_run(self, stages: Mapping[str, Stage]) -> GoodRun | None:
        """Return the run that is compared with, None without one. Raises ConfigError as `known_runs` does."""
        return again([(self.compare.run, self.compare.sha256)], stages)[0] if self.compare else None

    def stands(self, stages: Mapping[str, Stage]) -> bool:
        """Tell whether all of these runs are still there as they were."""
        try:
            self.known_runs(stages)
            self.compared_run(stages)
        except ConfigError:
            return False
        return True


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
        return self.known or self.uri.rstrip("/").rpartition("/")[0] or "/"

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


def find(asked: Asked, stages: Mapping[str, Stage]) -> Earlier:
    """Return the good runs that are looked at now.

    Raises UsageError when the series is a run, or the one to compare with is none, or is no good one.
    """
    runs = asked.runs(stages) if asked.known or asked.compare == LAST else []
    known = [Looked.of(run) for run in runs if asked.looks_at(run)] if asked.known else []
    return Earlier(asked.series, known, _compared(asked, runs, stages))


def _compared(asked: Asked, runs: list[GoodRun], stages: Mapping[str, Stage]) -> Looked | None:
    if not asked.compare:
        return None
    if asked.compare == LAST:
        before = [run for run in runs if run.order < (asked.day, asked.made, asked.uri)]
        return Looked.of(before[-1]) if before else None
    where = asked.compare if "/" in asked.compare else f"{asked.series.rstrip('/')}/{asked.compare}"
    if real_path(where).rstrip("/") == real_path(asked.uri).rstrip("/"):
        raise UsageError(f"--compare {asked.compare} is this run itself: name another one, or `{LAST}`")
    run = good_run(where.rstrip("/"), stages)
    if run is None:
        raise UsageError(
            f"--compare {asked.compare} is no good run: {where} has no committed report; name a run that has one, or "
            f"`{LAST}` for the newest one before this one"
        )
    return Looked.of(run)
