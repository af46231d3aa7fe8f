"""One run: its settings, its files, and the contract that every stage keeps (see `Run.stage`)."""

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from daskjobs import __version__
from daskjobs.errors import ConfigError, StorageError
from daskjobs.log import event
from daskjobs.outputs import Output
from daskjobs.settings import Settings
from daskjobs.storage import Storage

Manifest = dict[str, Any]


def dump(value: Any) -> bytes:
    """Return JSON for people and machines: indented, keys in the order given, a newline at the end."""
    return (json.dumps(value, indent=2) + "\n").encode()


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

    ``progress`` takes a share from 0 to 1; ``tell`` takes a line that a person wants to see at once.
    """

    settings: Settings
    progress: Callable[[float], None] = field(default=lambda _: None)
    tell: Callable[[str], None] = field(default=lambda _: None)

    @property
    def storage(self) -> Storage:
        """The run's files."""
        return Storage(self.settings.run)

    @property
    def version(self) -> str:
        """The version that results depend on, beside inputs and settings."""
        return __version__

    def manifest(self, stage: str) -> Manifest:
        """Return what a stage before this one committed. Raises ConfigError when it has not run."""
        found = self._committed(stage)
        if found is None:
            raise ConfigError(
                f"{self.settings.run} has no {stage}/manifest.json: "
                f"run `daskjobs {stage} --run {self.settings.run}` first"
            )
        return found

    def vouched(self, stage: str, name: str) -> bytes:
        """Return the bytes of a file that ``stage`` committed. Raises StorageError when they have changed."""
        return self.storage.read(name, Output.vouched(self.manifest(stage)["outputs"][name]))

    def digest(self, stage: str) -> dict[str, str]:
        """Return a stage's manifest as an input of the next: its name and hash."""
        return {f"{stage}/manifest.json": hashlib.sha256(dump(self.manifest(stage))).hexdigest()}

    def stage(
        self, name: str, folder: str, inputs: dict[str, str], settings: dict[str, Any], work: Callable[[], Done]
    ) -> Manifest:
        """Do a stage's ``work`` once for the same inputs and settings, and commit it.

        The manifest is written last and at once: it is the commit. A manifest that matches inputs, settings
        and version, with its outputs in place, means that the work is done. What lies in ``folder`` and is not
        vouched for by the new manifest is removed before the commit.
        """
        wanted = {"stage": name, "daskjobs": self.version, "inputs": inputs, "settings": settings}
        found = self._committed(name)
        if (
            found is not None
            and all(found.get(key) == value for key, value in wanted.items())
            and self._in_place(found)
        ):
            event(
                "stage.skipped", run=self.settings.run, stage=name, reason="same inputs and settings, outputs in place"
            )
            return {**found, "skipped": True}
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
        for stale in set(self.storage.names(folder)) - done.outputs.keys() - {f"{name}/run.json", *done.beside}:
            self.storage.remove(stale)
        manifest = {
            **wanted,
            "outputs": {key: done.outputs[key].json() for key in sorted(done.outputs)},
            "rows": done.rows,
        }
        self.storage.put(f"{name}/manifest.json", dump(manifest))
        event("stage.done", run=self.settings.run, stage=name, seconds=facts["seconds"])
        return manifest

    def facts(self, stage: str) -> dict[str, Any]:
        """Return what a stage noted of how it ran (durations, workers), which no result depends on."""
        name = f"{stage}/run.json"
        return dict(json.loads(self.storage.read(name))) if self.storage.size(name) is not None else {}

    def note(self, stage: str, facts: dict[str, Any]) -> None:
        """Note ``facts`` before the stage has ended, their objects beside those of attempts before: for the receipt."""
        known = self.facts(stage).get("objects", [])
        facts["objects"] = known + [each for each in facts["objects"] if each not in known]
        self.storage.put(f"{stage}/run.json", dump(facts))

    def _committed(self, stage: str) -> Manifest | None:
        name = f"{stage}/manifest.json"
        if self.storage.size(name) is None:
            return None
        try:
            return dict(json.loads(self.storage.read(name)))
        except ValueError as error:
            raise StorageError(
                f"{self.storage.uri(name)} is not JSON: remove it and run `daskjobs {stage}` again"
            ) from error

    def _in_place(self, manifest: Manifest) -> bool:
        return all(self.storage.size(name) == output["bytes"] for name, output in manifest["outputs"].items())
