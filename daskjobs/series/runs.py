"""The good runs of a series: the folders in it whose report is committed, with their manifests.

A run's manifests name each other by hash, from the report's back to split's, and vouch for every file that is read
here. A folder without a committed report is passed over: a run that has failed, or that is being written meanwhile.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from daskjobs.cores import in_turn
from daskjobs.errors import ConfigError, StorageError, UsageError
from daskjobs.files.documents import dump, parse
from daskjobs.files.storage import Storage, damaged
from daskjobs.pipeline.lease import MARKER
from daskjobs.pipeline.manifest import Manifest, version_of
from daskjobs.pipeline.stage import Stage
from daskjobs.series.layout import PARTITION_FILES
from daskjobs.version import __version__

LAST = "report"  # the stage whose commit makes a run good
COUNTING = "merge"  # the one whose manifest vouches for what a run counts
VALID = {PARTITION_FILES[content].rpartition("/")[2] for content in ("paid", "unpaid")}
KNOWN_TODO = "move it out of the series, and then run this one from split"
TRIES = 3  # a run may be done again while its manifests are read

T = TypeVar("T")


@dataclass(frozen=True)
class GoodRun:
    """A run whose report is committed: its URI, the SHA-256 of its report's manifest, and all of its manifests.

    ``made`` is when its folder was made (UTC, as ISO 8601 writes it). ``manifests`` are by stage, in their order.
    """

    uri: str
    sha256: str
    made: str
    manifests: Mapping[str, Manifest] = field(repr=False)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return name_of(self.uri)

    @property
    def day(self) -> str:
        """The day that it stands for, like 2026-11-29: that of --as-of, or else when its folder was made."""
        given: str = self.manifests["split"].settings.get("as_of", "")
        return given or self.made[:10]

    @property
    def order(self) -> tuple[str, str, str]:
        """What the runs of a series are ordered by."""
        return self.day, self.made, self.uri

    @property
    def counts(self) -> str:
        """The hash of its valid orders, see `counts_of`."""
        return counts_of(self.manifests[COUNTING])

    @property
    def storage(self) -> Storage:
        """Its files."""
        return Storage(self.uri)

    def counted(self, stage: str, shape: type[T]) -> T:
        """Return the row counts of a stage."""
        return self.manifests[stage].counted(shape)

    def has(self, stage: str, name: str) -> bool:
        """Tell whether a stage has written a file; one of an older version may not have."""
        return name in self.manifests[stage].outputs

    def read(self, stage: str, name: str) -> bytes:
        """Return the bytes of a file of a stage. Raises StorageError when they are not what the manifest says."""
        return self.storage.read(name, self.manifests[stage].outputs[name])

    def parsed(self, stage: str, name: str, shape: type[T], read: Callable[[bytes, type[T]], T] = parse) -> T:
        """Return what a file of a stage has, as its writer has dumped or (``read``) sealed it.

        Raises StorageError as `read` does, and ConfigError when another version has written it in another shape.
        """
        try:
            return read(self.read(stage, name), shape)
        except ValueError as error:
            where, version = self.storage.uri(name), self.manifests[stage].daskjobs
            if version == __version__:
                raise damaged(where, error) from error
            raise ConfigError(
                f"{where} can't be read by daskjobs {__version__}, since daskjobs {version} wrote it ({error}): run "
                f"{self.uri} again with this version, or do without it"
            ) from error


def name_of(uri: str) -> str:
    """Return the name of a run's folder."""
    return uri.rstrip("/").rpartition("/")[2]


def series_of(uri: str) -> str:
    """Return the folder that holds a run."""
    return uri.rstrip("/").rpartition("/")[0] or "/"


def counts_of(merged: Manifest) -> str:
    """Return the hash of a run's valid orders, from the manifest that vouches for them.

    It stays when a run is done again and has the same ones, whatever became of others, or of other runs.
    """
    files = {name: output.sha256 for name, output in merged.outputs.items() if name.rpartition("/")[2] in VALID}
    return hashlib.sha256(dump(dict(sorted(files.items())))).hexdigest()


def good_runs(series: str, stages: Mapping[str, Stage], but: str = "") -> list[GoodRun]:
    """Return the good runs of a series in their order, without the run ``but``; a series may not exist yet.

    ``stages`` are those of the pipeline, in their order. Raises UsageError when the series is itself a run, and
    StorageError when a run's manifests are not what its report was made from, since nobody can tell what such a run
    has counted.
    """
    uris = [uri for uri in folders(series) if uri.rstrip("/") != but.rstrip("/")]
    return sorted(filter(None, _each(uris, stages)), key=lambda run: run.order)


def folders(series: str) -> list[str]:
    """Return the URIs of what is in a series, its runs among it. Raises UsageError when it is a file, or a run."""
    storage = Storage(series)
    names = sorted(storage.folders())
    if "" in names and storage.size(series) is not None:
        raise _is_file(series)
    if MARKER in names:
        raise _is_run(series)
    return [storage.uri(name) for name in names]


def refuse_no_series(series: str) -> None:
    """Raise UsageError when a series is a file, or itself a run."""
    if Storage(series).size(series) is not None:
        raise _is_file(series)
    if Storage(series).size(MARKER) is not None:
        raise _is_run(series)


def _is_file(series: str) -> UsageError:
    return UsageError(f"{series} is a file, and a series is the folder that holds runs")


def _is_run(series: str) -> UsageError:
    return UsageError(f"{series} is a run, and a series is the folder that holds runs: name the folder above it")


def good_run(uri: str, stages: Mapping[str, Stage]) -> GoodRun | None:
    """Return the run at a URI if it is a good one. Raises as `good_runs` does."""
    for _ in range(TRIES):
        told = _report(uri, stages)
        if told is None:
            return None
        try:
            manifests = _chain(uri, stages, told[0])
        except _OtherError as other:
            error = other
            continue
        return GoodRun(uri, told[1], made(uri), manifests)
    raise StorageError(
        f"{Storage(uri).uri(error.name)} is not what the report of {uri} was made from: run it again, or move its "
        "folder out of the series"
    )


def has_report(uri: str, stages: Mapping[str, Stage]) -> bool:
    """Tell whether a run has a committed report."""
    return Storage(uri).size(stages[LAST].manifest) is not None


def again(
    runs: Iterable[tuple[str, str]],
    stages: Mapping[str, Stage],
    same: Callable[[GoodRun], str] = lambda run: run.sha256,
) -> list[GoodRun]:
    """Return runs that were found before, by their URIs and what ``same`` says of each: its report's hash.

    Raises ConfigError when one of them is gone, or has another one by now.
    """
    asked = [*runs]
    found = _each([uri for uri, _ in asked], stages)
    return [
        still(uri, run, same(run) if run else None, expected) for (uri, expected), run in zip(asked, found, strict=True)
    ]


def still(uri: str, run: GoodRun | None, now: str | None, expected: str) -> GoodRun:
    """Return a run that was found before, if it is what it was. Raises ConfigError as `again` does."""
    if run is None or now != expected:
        raise ConfigError(
            f"{uri} {'is gone' if run is None else 'was made again'} since this run looked at it: run all stages "
            "again, from split"
        )
    return run


def _each(uris: list[str], stages: Mapping[str, Stage]) -> list[GoodRun | None]:
    """Return the runs at some URIs, read in threads where a store has to be asked, as `good_run` does."""
    threads = Storage(uris[0]).requests(uris[0]) if uris else 1
    with closing(in_turn(partial(good_run, stages=stages), uris, threads)) as found:
        return [*found]


@contextmanager
def looking_at(run: str, why: str = "of whose orders this run must know", todo: str = KNOWN_TODO) -> Iterator[None]:
    """Say of which earlier run files are that can't be read, and what to do about that."""
    try:
        yield
    except StorageError as error:
        raise StorageError(f"{run}, {why}, can't be read: {error}; do that for {run}, or {todo}") from error


class _OtherError(Exception):
    """A manifest is not the one that a later one was made from."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _report(uri: str, stages: Mapping[str, Stage]) -> tuple[Manifest, str] | None:
    name = stages[LAST].manifest
    data = Storage(uri).find(name)
    return None if data is None else (_manifest(uri, stages[LAST], data), hashlib.sha256(data).hexdigest())


def _chain(uri: str, stages: Mapping[str, Stage], report: Manifest) -> dict[str, Manifest]:
    """Return all manifests of a run: each must be the one that the later ones were made from."""
    found = {LAST: report}
    for stage in reversed([*stages.values()]):
        expected = {each.inputs[stage.manifest] for each in found.values() if stage.manifest in each.inputs}
        if not expected:
            continue
        data = Storage(uri).find(stage.manifest)
        if data is None or expected != {hashlib.sha256(data).hexdigest()}:
            raise _OtherError(stage.manifest)
        found[stage.name] = _manifest(uri, stage, data)
    return {stage: found[stage] for stage in stages if stage in found}


def _manifest(uri: str, stage: Stage, data: bytes) -> Manifest:
    try:
        return Manifest.from_json(data, stage.name, stage.rows)
    except ValueError as error:
        where = Storage(uri).uri(stage.manifest)
        if version_of(data):
            raise ConfigError(
                f"{where} can't be read ({error}): run it again with this version, or move {uri} out of the series"
            ) from error
        raise damaged(where, error) from error


def made(uri: str) -> str:
    """Return when the folder of a run was made (UTC, as ISO 8601 writes it), or an empty text if it is no run's."""
    data = Storage(uri).find(MARKER)
    try:
        return str(parse(data, dict[str, Any])["made"]) if data is not None else ""
    except (ValueError, KeyError) as error:
        raise damaged(Storage(uri).uri(MARKER), error) from error
