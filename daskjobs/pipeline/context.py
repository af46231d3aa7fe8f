"""The context of a stage: its settings, its storage, and how it commits its work (see `StageContext.commit`)."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import dropwhile, takewhile
from typing import Any, Generic, Protocol, Self, TypeVar

from fsspec.utils import get_protocol

from daskjobs import options
from daskjobs.cores import cores
from daskjobs.errors import ConfigError, DaskjobsError, InputError, UsageError
from daskjobs.events import event
from daskjobs.files.digest import Output
from daskjobs.files.documents import dump, parse, to_json
from daskjobs.files.storage import Storage, real_path
from daskjobs.memory import peak_bytes
from daskjobs.pipeline.lease import Check, InUseError, lease
from daskjobs.pipeline.manifest import Facts, Manifest
from daskjobs.pipeline.stage import Stage, is_inside
from daskjobs.version import __version__

Committed = tuple[Manifest, str]  # a manifest, and the SHA-256 of its file


class RefusedError(ConfigError):
    """A stage did not begin, because it may not work on this run: the run's files stay as they are."""


class AccountedError(InputError):
    """A stage fails, and has written an account of the reason, which stays, without a manifest, for people to read."""


class RunSettings(Protocol):
    """The settings that every pipeline must have, a dataclass whose fields are `options`."""

    @property
    def run_uri(self) -> str:
        """Where the run's files live."""

    @property
    def given(self) -> frozenset[str]:
        """The names of the settings that the user set."""

    @property
    def workflow_uid(self) -> str:
        """The uid of the workflow that runs this, if any; a later attempt of it may take over from an earlier one."""


S = TypeVar("S", bound=RunSettings)


@dataclass(frozen=True)
class Done:
    """What a stage did: its output files, and its row counts in the shape that the stage names.

    ``facts`` say how it ran, and ``beside`` names further files; no result depends on these.
    """

    outputs: dict[str, Output]
    rows: object
    facts: dict[str, Any] = field(default_factory=dict)
    beside: tuple[str, ...] = ()


def _nothing(_: object) -> None:
    """Do nothing. It is no lambda, so that a context can be pickled."""


@dataclass(frozen=True)
class StageContext(Generic[S]):
    """What the stages of one run are given: its settings, its storage, and how to report progress.

    ``stages`` are all stages of the pipeline, in their order. ``progress`` takes a share from 0 to 1; ``tell`` takes a
    line to show at once; ``taken_back`` takes the stages whose results were removed, see `take_back`. ``check`` raises
    LostWorkError when another process has taken over the run; it is None while this process has not locked the run.
    ``known`` has the manifests that this process has written or read, by stage: later stages continue from these, even
    if the files change meanwhile. ``written`` has the identities of local files that this process wrote
    (`Storage.identity`).
    """

    settings: S
    stages: Mapping[str, Stage] = field(repr=False)
    progress: Callable[[float], None] = _nothing
    tell: Callable[[str], None] = _nothing
    taken_back: Callable[[list[Stage]], None] = _nothing
    check: Check | None = None
    known: dict[str, Committed] = field(default_factory=dict, repr=False, compare=False)
    written: dict[str, tuple[int, ...] | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def storage(self) -> Storage:
        """The run's files."""
        run_uri = self.settings.run_uri
        return Storage(run_uri, self.check) if self.check else Storage(run_uri)

    def refuse_own(self, option: str, files: Iterable[str]) -> None:
        """Raise RefusedError when one of the ``files`` is in a folder of this run, which may overwrite it."""
        protocol = get_protocol(self.settings.run_uri)
        root = real_path(self.settings.run_uri)
        for file in files:
            if get_protocol(file) == protocol and is_inside(real_path(file), root, self.stages):
                raise RefusedError(
                    f"{option} {file} is among the files of {self.settings.run_uri}, which this run may overwrite: "
                    "choose another --run"
                )

    @contextmanager
    def held(self) -> Iterator[Self]:
        """Lock the run, so that no other process works on it, and give a context that can change it; see `lease`."""
        if self.check:
            self.check()
            yield self
            return
        with lease(self.settings.run_uri, self.settings.workflow_uid) as check:
            yield replace(self, check=check)

    @property
    def version(self) -> str:
        """The version of this package, on which results depend, as on inputs and settings."""
        return __version__

    def manifest(self, stage: str) -> Manifest:
        """Return the manifest of an earlier stage.

        Raises ConfigError when that stage has not run, or when a stage before it has run again since.
        """
        return self._known(stage)[0]

    def committed(self, stage: str) -> Manifest | None:
        """Return what an earlier attempt has committed of a stage, whatever it was made from; None without any."""
        committed = self._committed(stage)
        return committed and committed[0]

    def digest(self, stage: str) -> dict[str, str]:
        """Return the name and hash of a stage's manifest, as an input of a later stage."""
        return {self.stages[stage].manifest: self._known(stage)[1]}

    def output(self, stage: str, name: str) -> Output:
        """Return the size and hash of a file of ``stage``. Raises ConfigError when its manifest doesn't list it."""
        output = self.manifest(stage).outputs.get(name)
        if output is None:
            raise ConfigError(f"{self.stages[stage].manifest} names no {name}: {self._remedy(stage)}")
        return output

    def vouched(self, stage: str, name: str) -> bytes:
        """Return the bytes of a file of ``stage``. Raises StorageError when they differ from its manifest's hash."""
        return self.storage.read(name, self.output(stage, name))

    def accept(self, stage: str, given: bytes) -> None:
        """Continue from a manifest received as an Argo artifact, if it equals the one in storage.

        Raises RefusedError when the two differ, because another process has worked on the run since that stage ended.
        A retry would find the same two, so the exit code is one that Argo does not retry.
        """
        self.known.pop(stage, None)
        if self._known(stage)[1] != hashlib.sha256(given).hexdigest():
            del self.known[stage]
            raise RefusedError(
                f"{self.storage.uri(self.stages[stage].manifest)} is not the manifest that this stage was given: "
                f"something else has worked on the run since {stage} ended; submit a new workflow, with its own folder"
            )

    def commit(
        self,
        name: str,
        inputs: dict[str, str],
        settings: dict[str, Any],
        work: Callable[[], Done],
        sealing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Manifest:
        """Do a stage's ``work`` once for the same inputs and settings, and commit it by its manifest.

        The manifest is written last and atomically: writing it is the commit. The work is skipped when a manifest
        already matches inputs, settings and version, and its outputs are in place; outputs in the stage's own folder
        are checked against their hashes. Otherwise, what this stage and those after it have committed is taken back
        before the work begins. Before the commit, all outputs are flushed to disk, and stale files with names of this
        stage are removed. The manifest is written inside ``sealing``, which may refuse it.
        """
        stage = self.stages[name]
        made = Manifest(name, self.version, inputs, settings, outputs={}, rows={})
        committed = self._committed(name)
        if committed is not None:
            manifest, _ = committed
            if replace(manifest, outputs={}, rows={}) == made:
                damaged = self._damaged(manifest, stage.folder)
                if damaged is None:
                    self.known[name] = committed
                    event("stage.skipped", stage=name, reason="same inputs and settings, outputs in place")
                    return replace(manifest, skipped=True)
                reason = f"{damaged} is not what the manifest says"
                event("stage.again", level=logging.WARNING, stage=name, reason=reason)
            elif manifest.daskjobs != self.version:
                reason = f"daskjobs {manifest.daskjobs} made it, and this is daskjobs {self.version}"
                event("stage.again", level=logging.WARNING, stage=name, reason=reason)
        self.take_back(name)
        event("stage.started", stage=name, **settings)
        started, cpu = time.time(), time.process_time()
        done = work()
        facts = {
            "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="milliseconds"),
            "seconds": round(time.time() - started, 3),
            "cpu_seconds": round(time.process_time() - cpu, 3),
            "peak_bytes": peak_bytes(),
            **done.facts,
        }
        self.storage.put(stage.facts, dump(facts))
        kept = {*done.outputs, stage.facts, *done.beside}
        for stale in stage.made(self.storage.names(stage.folder)) - kept:
            self.storage.remove(stale)
        # Files in other folders were flushed when their own stage committed them.
        self.storage.sync([stage.facts, *(each for each in done.outputs if each.startswith(f"{stage.folder}/"))])
        manifest = replace(made, outputs=done.outputs, rows=to_json(done.rows))
        data = manifest.to_json()
        with sealing():
            self.storage.put(stage.manifest, data, durable=True)
        self.known[name] = manifest, hashlib.sha256(data).hexdigest()
        event("stage.done", stage=name, seconds=facts["seconds"])
        return manifest

    @contextmanager
    def making(self, name: str) -> Iterator[None]:
        """Take back a stage and later ones when the block fails, because their results are those of an earlier attempt.

        They stay when the stage was refused, which says nothing about the run, or wrote an account of its failure.
        """
        try:
            yield
        except (RefusedError, UsageError, InUseError, AccountedError):
            raise
        except BaseException:
            with suppress(DaskjobsError):  # the first failure is the one to report
                self.take_back(name)
                folder = self.stages[name].folder  # half-written files of interrupted tasks may be large
                self.storage.remove_all(self.stages[name].partial(self.storage.names(folder)))
            raise

    def take_back(self, name: str) -> None:
        """Remove the results of a stage and of later ones, because the stage will run again, or has failed.

        Their manifests and files are removed, except the files that a later attempt can reuse. The last stage is
        removed first, and files before their manifest, durably: if this is interrupted, no file is left that looks like
        a result of this run, and a manifest whose files are gone is no commit.
        """
        stages = [self.stages[each] for each in dropwhile(lambda other: other != name, self.stages)]
        there = self.storage.folders()
        for stage in reversed(stages):
            self.known.pop(stage.name, None)
            names = {each for folder in {stage.folder, stage.name} & there for each in self.storage.names(folder)}
            self.storage.remove_all(sorted(stage.passing(names)))
            if stage.name == name or stage.manifest in names:
                self.storage.remove(stage.manifest)
        self.taken_back(stages)

    def unfiled(self, stage: str, rows: object = None, skipped: bool = False) -> Manifest:
        """Return a manifest for a stage that commits nothing; it is not written."""
        return Manifest(
            stage, self.version, inputs={}, settings={}, outputs={}, rows=to_json(rows or {}), skipped=skipped
        )

    def facts(self, stage: str) -> Facts:
        """Return how a stage ran (durations, workers); no result depends on it."""
        data = self.storage.find(self.stages[stage].facts)
        try:
            return parse(data, Facts) if data is not None else {}
        except ValueError as error:
            event("facts.unreadable", level=logging.WARNING, stage=stage, error=error)
            return {}

    def note(self, stage: str, facts: dict[str, Any]) -> list[dict[str, str]]:
        """Write ``facts`` before the stage has ended; return their objects together with those of earlier attempts.

        The receipt lists them all, so the facts at the end of the stage must have them too.
        """
        known = self.facts(stage).get("objects", [])
        objects = known + [each for each in facts["objects"] if each not in known]
        self.storage.put(self.stages[stage].facts, dump({**facts, "objects": objects}))
        return objects

    def _known(self, stage: str) -> Committed:
        """Return a manifest from memory or storage, and check that it was made from the manifests before it."""
        if stage in self.known:
            return self.known[stage]
        committed = self._committed(stage)
        if committed is None:
            name = self.stages[stage].manifest
            there = self.storage.size(name) is not None
            raise ConfigError(
                f"{self.settings.run_uri} has no {name}{' that can be read' if there else ''}: "
                f"{self._remedy(stage)} first"
            )
        manifest, _ = committed
        for before in takewhile(lambda other: other != stage, self.stages):
            recorded = manifest.inputs.get(self.stages[before].manifest)
            if recorded is not None and recorded != self._known(before)[1]:
                raise ConfigError(
                    f"{self.stages[stage].manifest} was made from another {self.stages[before].manifest} than the one "
                    f"that is there: {self._remedy(stage)} again"
                )
        self._refuse_other_settings(stage, manifest)
        self.known[stage] = committed
        return committed

    def _refuse_other_settings(self, stage: str, manifest: Manifest) -> None:
        """Raise RefusedError when the user gives a setting another value than an earlier stage had."""
        mine, theirs = self.stages[stage].compared(self.settings, manifest)
        for name in sorted(mine.keys() & theirs.keys()):
            if mine[name] != theirs[name]:
                raise RefusedError(
                    f"{stage} was made with {options.flags(self.settings)[name]} {theirs[name]!r}, and this stage is "
                    f"given {mine[name]!r}: {self._remedy(stage)} again with the same value, or leave the option out"
                )

    def _committed(self, stage: str) -> Committed | None:
        """Return the manifest in storage, or None if there is none or it can't be read."""
        data = self.storage.find(self.stages[stage].manifest)
        if data is None:
            return None
        try:
            manifest = Manifest.from_json(data, stage, self.stages[stage].rows)
        except ValueError as error:
            event("manifest.unreadable", level=logging.WARNING, stage=stage, error=error)
            return None
        return manifest, hashlib.sha256(data).hexdigest()

    def _remedy(self, stage: str) -> str:
        return f"run `daskjobs {stage} --run {self.settings.run_uri}`"

    def _damaged(self, manifest: Manifest, folder: str) -> str | None:
        """Return the name of an output that is missing or changed, or None.

        Outputs in the stage's own folder are checked against their hashes; the others only by size, since the stage
        that wrote them checks their hashes.
        """
        outputs = manifest.outputs
        for name, output in outputs.items():
            if self.storage.size(name) != output.size:
                return name
        own = [name for name in outputs if name.startswith(f"{folder}/")]
        with ThreadPoolExecutor(cores()) as pool:
            held = pool.map(lambda name: self.storage.holds(name, outputs[name]), own)
            return next((name for name, good in zip(own, held, strict=True) if not good), None)
