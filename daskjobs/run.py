"""One run: its settings, its files, and the contract that every stage keeps (see `Run.stage`)."""

import hashlib
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, Self

from fsspec.utils import get_protocol

from daskjobs import __version__, layout
from daskjobs.errors import ConfigError, StorageError
from daskjobs.lease import Check, lease
from daskjobs.log import event
from daskjobs.manifest import NAME, ROWS, Facts, Manifest, dump, fits, parse, sealed, unsealed
from daskjobs.outputs import Output
from daskjobs.settings import Settings, option
from daskjobs.storage import Storage, real_path

Committed = tuple[Manifest, str]  # with the SHA-256 of its file


def peak_bytes() -> int:
    """Return the most memory that this process has held since it started, in bytes (resident)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass(frozen=True)
class Done:
    """What a stage did: its files and row counts, and how it ran: facts and files that no result depends on."""

    outputs: dict[str, Output]
    rows: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """What a stage is given: settings, storage, and where to tell how far it is.

    ``progress`` takes a share from 0 to 1; ``tell`` takes a line that a person wants to see at once. ``check`` raises
    LostWorkError when the run has become another process's; without it, nobody holds the run yet. ``known`` are the
    manifests that this process has written or read, by stage: stages that share it go on from these, whatever becomes
    of the files meanwhile. ``written`` has the identities of local files that it wrote (`Storage.identity`).
    """

    settings: Settings
    progress: Callable[[float], None] = field(default=lambda _: None)
    tell: Callable[[str], None] = field(default=lambda _: None)
    check: Check | None = None
    known: dict[str, Committed] = field(default_factory=dict, repr=False, compare=False)
    written: dict[str, tuple[int, ...] | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def storage(self) -> Storage:
        """The run's files."""
        return Storage(self.settings.run, self.check) if self.check else Storage(self.settings.run)

    def refuse_own(self, option: str, files: Iterable[str]) -> None:
        """Raise ConfigError when one of the ``files`` lies in a folder of this run's: it may write that one anew."""
        protocol = get_protocol(self.settings.run)
        root = real_path(self.settings.run)
        for file in files:
            if get_protocol(file) == protocol and layout.is_inside(real_path(file), root):
                raise ConfigError(
                    f"{option} {file} lies among the files of {self.settings.run}, which this run may write anew: "
                    "choose another --run"
                )

    @contextmanager
    def held(self) -> Iterator[Self]:
        """Give this run while no other process works on it; see `lease`."""
        if self.check:
            self.check()
            yield self
            return
        with lease(self.settings) as check:
            yield replace(self, check=check)

    @property
    def version(self) -> str:
        """The version that results depend on, beside inputs and settings."""
        return __version__

    def manifest(self, stage: str) -> Manifest:
        """Return what a stage before this one committed.

        Raises ConfigError when it has not run, or when a stage before it was done again since.
        """
        return self._known(stage)[0]

    def digest(self, stage: str) -> dict[str, str]:
        """Return a stage's manifest as an input of the next: its name and hash."""
        return {f"{stage}/manifest.json": self._known(stage)[1]}

    def output(self, stage: str, name: str) -> Output:
        """Return what ``stage`` says of a file. Raises ConfigError when it vouches for none of that name."""
        said = self.manifest(stage)["outputs"].get(name)
        if said is None:
            raise ConfigError(f"{stage}/manifest.json vouches for no {name}: {self._remedy(stage)}")
        return Output.vouched(said)

    def vouched(self, stage: str, name: str) -> bytes:
        """Return the bytes of a file that ``stage`` committed. Raises StorageError when they have changed."""
        return self.storage.read(name, self.output(stage, name))

    def hold(self, stage: str, given: bytes) -> None:
        """Hold a manifest that came another way, as an artifact, against the one in storage, and go on from it.

        Raises ConfigError when the two differ: another process has worked on the run since that stage ended. A second
        try would meet the same two, so it is no failure that Argo tries again.
        """
        self.known.pop(stage, None)
        if self._known(stage)[1] != hashlib.sha256(given).hexdigest():
            del self.known[stage]
            raise ConfigError(
                f"{self.storage.uri(f'{stage}/manifest.json')} is not the manifest that this stage was given: "
                f"something else has worked on the run since {stage} ended; submit a new workflow, with its own folder"
            )

    def stage(
        self, name: str, folder: str, inputs: dict[str, str], settings: dict[str, Any], work: Callable[[], Done]
    ) -> Manifest:
        """Do a stage's ``work`` once for the same inputs and settings, and commit it.

        The manifest is written last and at once: it is the commit. A manifest that matches inputs, settings
        and version, with its outputs in place, means that the work is done: those in ``folder`` are held against
        their hashes. Before the commit, all that the manifest vouches for is on disk, and files of the stage's own
        names in ``folder`` that it doesn't vouch for are removed.
        """
        made: Manifest = {**self.unfiled(name, {}), "inputs": inputs, "settings": settings}
        found = self._committed(name)
        if found is not None and {**found[0], "outputs": {}, "rows": {}} == made:
            damaged = self._damaged(found[0], folder)
            if damaged is None:
                self.known[name] = found
                reason = "same inputs and settings, outputs in place"
                event("stage.skipped", run=self.settings.run, stage=name, reason=reason)
                return {**found[0], "skipped": True}
            reason = f"{damaged} is not what the manifest says"
            event("stage.again", level=logging.WARNING, run=self.settings.run, stage=name, reason=reason)
        self.known.pop(name, None)
        self.storage.remove(f"{name}/manifest.json")
        event("stage.started", run=self.settings.run, stage=name, **settings)
        started, cpu = time.time(), time.process_time()
        done = work()
        facts = {
            "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="milliseconds"),
            "seconds": round(time.time() - started, 3),
            "cpu_seconds": round(time.process_time() - cpu, 3),
            "peak_bytes": peak_bytes(),
            **done.facts,
        }
        self.storage.put(f"{name}/run.json", dump(facts))
        kept = {*done.outputs, f"{name}/run.json", *done.beside}
        for stale in layout.made(name, self.storage.names(folder)) - kept:
            self.storage.remove(stale)
        # Those in other folders were on disk when their own stage vouched for them.
        self.storage.sync([f"{name}/run.json", *(each for each in done.outputs if each.startswith(f"{folder}/"))])
        manifest: Manifest = {
            **made,
            "outputs": {key: done.outputs[key].json() for key in sorted(done.outputs)},
            "rows": done.rows,
        }
        data = sealed(manifest)
        self.storage.put(f"{name}/manifest.json", data, durable=True)
        self.known[name] = manifest, hashlib.sha256(data).hexdigest()
        event("stage.done", run=self.settings.run, stage=name, seconds=facts["seconds"])
        return manifest

    def unfiled(self, stage: str, rows: dict[str, Any]) -> Manifest:
        """Return the manifest of a stage that commits nothing."""
        return {"stage": stage, "daskjobs": self.version, "inputs": {}, "settings": {}, "outputs": {}, "rows": rows}

    def facts(self, stage: str) -> Facts:
        """Return what a stage noted of how it ran (durations, workers), which no result depends on."""
        data = self._read(f"{stage}/run.json")
        try:
            return parse(data, Facts) if data is not None else {}
        except ValueError as error:
            event("facts.unreadable", level=logging.WARNING, run=self.settings.run, stage=stage, error=error)
            return {}

    def note(self, stage: str, facts: dict[str, Any]) -> None:
        """Note ``facts`` before the stage has ended, their objects beside those of attempts before: for the receipt."""
        known = self.facts(stage).get("objects", [])
        facts["objects"] = known + [each for each in facts["objects"] if each not in known]
        self.storage.put(f"{stage}/run.json", dump(facts))

    def _known(self, stage: str) -> Committed:
        """Return a manifest from memory, or else from storage, where it must be made from those before it."""
        if stage in self.known:
            return self.known[stage]
        found = self._committed(stage)
        if found is None:
            there = self.storage.size(f"{stage}/manifest.json") is not None
            raise ConfigError(
                f"{self.settings.run} has no {stage}/manifest.json{' that can be read' if there else ''}: "
                f"{self._remedy(stage)} first"
            )
        for before in takewhile(lambda other: other != stage, ROWS):
            recorded = found[0]["inputs"].get(f"{before}/manifest.json")
            if recorded is not None and recorded != self._known(before)[1]:
                raise ConfigError(
                    f"{stage}/manifest.json was made from another {before}/manifest.json than the one that is there: "
                    f"{self._remedy(stage)} again"
                )
        self._refuse_other_settings(stage, found[0])
        self.known[stage] = found
        return found

    def _refuse_other_settings(self, stage: str, manifest: Manifest) -> None:
        """Raise ConfigError when a stage was made with a setting of another value than was given for this one."""
        mine = {name: getattr(self.settings, name) for name in self.settings.given}
        theirs = dict(manifest["settings"])
        if "statuses" in theirs and "statuses" in mine:
            from daskjobs.sources.block import statuses  # with all of pyarrow, which few commands need

            mine["statuses"] = statuses(mine["statuses"])
        if stage == "split" and "generate/manifest.json" in manifest["inputs"]:
            theirs["input"] = "none"
        if stage == "validate" and "rules" in mine:
            with suppress(StorageError):  # a file that is gone since has been read by the stage that it is for
                mine["rules"] = hashlib.sha256(self.storage.read(mine["rules"])).hexdigest()
                theirs["rules"] = manifest["inputs"].get("rules", "none")
        for name in sorted(mine.keys() & theirs.keys()):
            if mine[name] != theirs[name]:
                raise ConfigError(
                    f"{stage} was made with {option(name)} {theirs[name]!r}, and this stage is given {mine[name]!r}: "
                    f"{self._remedy(stage)} again with the same value, or leave the option out"
                )

    def _committed(self, stage: str) -> Committed | None:
        """Return the manifest in storage; one that can't be read, whatever is in it, counts as none."""
        data = self._read(f"{stage}/manifest.json")
        if data is None:
            return None
        try:
            manifest = unsealed(data, Manifest)
            if manifest["stage"] != stage or not fits(manifest["rows"], ROWS.get(stage, Any)):
                raise ValueError("it is another stage's")
            if not all(NAME.fullmatch(name) for name in manifest["outputs"]):
                raise ValueError("it names files that are none of a run's")
        except ValueError as error:
            event("manifest.unreadable", level=logging.WARNING, run=self.settings.run, stage=stage, error=error)
            return None
        return manifest, hashlib.sha256(data).hexdigest()

    def _read(self, name: str) -> bytes | None:
        return None if self.storage.size(name) is None else self.storage.read(name)

    def _remedy(self, stage: str) -> str:
        return f"run `daskjobs {stage} --run {self.settings.run}`"

    def _damaged(self, manifest: Manifest, folder: str) -> str | None:
        """Return the name of an output that isn't there as it was written.

        Those in the stage's own folder are held against their hashes; others are so by the stage that wrote them.
        """
        outputs = {name: Output.vouched(said) for name, said in manifest["outputs"].items()}
        for name, output in outputs.items():
            if self.storage.size(name) != output.size:
                return name
        own = [name for name in outputs if name.startswith(f"{folder}/")]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            held = pool.map(lambda name: self.storage.holds(name, outputs[name]), own)
            return next((name for name, good in zip(own, held, strict=True) if not good), None)
