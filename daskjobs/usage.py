"""What the Dask workers use while they work: a plugin takes readings on each, whenever it came."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dask.typing import Key
from distributed import Client, Worker, WorkerPlugin
from distributed.protocol.pickle import dumps

from daskjobs.cluster import Connected
from daskjobs.log import event
from daskjobs.run import Run, peak_bytes
from daskjobs.settings import KUBERNETES, LOCAL
from daskjobs.sizing import Asked, Used, advise
from daskjobs.workers import ANSWER_SECONDS, ask

NAME = "daskjobs-usage"
TIDY_SECONDS = 2
Reading = dict[str, Any]


class Usage(WorkerPlugin):
    """Counts from when a worker gets it: at the start of the work, or when the worker comes later."""

    name = NAME

    def setup(self, worker: Worker) -> None:
        """Take the first reading."""
        self._worker, self._samples = worker, worker.monitor.count
        self._cpu, self._busy, self._queued = time.process_time(), 0.0, 0.0
        self._began = dict[Key, tuple[float, float]]()

    def transition(self, key: Key, start: str, finish: str, **_: Any) -> None:
        """Add up the time in which tasks are executed, and in which they waited for a core."""
        if finish == "executing" != start:
            self._began[key] = time.monotonic(), queued_seconds()
        elif key in self._began:
            began, queued = self._began.pop(key)
            self._busy += time.monotonic() - began
            self._queued += max(0.0, queued_seconds() - queued)

    def reading(self) -> Reading:
        """Return what was used since: seconds, and bytes of the worker's process; threads of one share its figures."""
        monitor = self._worker.monitor
        sampled = [each for each in monitor.range_query(self._samples)["memory"] if each is not None]
        memory = sampled or [monitor.get_process_memory()]
        return {
            "worker": str(self._worker.name),
            "busy_seconds": round(self._busy, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
            "queued_seconds": round(self._queued, 3),
            "memory_bytes": int(sum(memory) / len(memory)),
            "peak_bytes": peak_bytes(),
        }


def queued_seconds() -> float:
    """Return how long this process's threads could have run, and waited for a core; 0 where it is not Linux."""
    nanoseconds = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that has just ended
            nanoseconds += int(path.read_text().split()[1])
    return nanoseconds / 1e9


def read(dask_worker: Worker) -> Reading | None:
    """Return the reading of the worker that this runs on, if it has the plugin."""
    plugin = dask_worker.plugins.get(NAME)
    return plugin.reading() if isinstance(plugin, Usage) else None


@contextmanager
def measured(run: Run, connected: Connected, partitions: int) -> Iterator[None]:
    """Note among the facts, when the block's work is done, what the workers asked for and used, and what is advised.

    A worker that can't be asked is noted too; the work is done by then, and nothing here fails it.
    """
    client = connected.client
    kept = any(name.endswith("/result.json") for name in run.storage.names("validate"))
    begun = _begin(run, client)
    try:
        yield
        readings = _readings(run, client)
        asked = _asked(run, connected.facts)
        used = summed(readings, begun, kept, connected.facts.get("start_seconds", 0.0), connected.together)
        advice = advise(asked, used, partitions)
        connected.facts["resources"] = {
            "asked": asdict(asked),
            "used": {**asdict(used), "cores": round(used.cores, 3), "each": list(readings.values())},
            "next": advice.values,
            "advice": advice.sentences,
        }
    finally:
        with suppress(OSError, ValueError):  # a scheduler that is gone, or never had it
            ask(client, "unregister_worker_plugin", TIDY_SECONDS, name=NAME)


def summed(readings: dict[str, Reading], begun: set[str], kept: bool, start_seconds: float, threads: bool) -> Used:
    """Add up the readings, which stand by the worker's address; ``threads`` of one process have one CPU time."""

    def every(what: str) -> list[float]:
        return [reading[what] for reading in readings.values()]

    most = max if threads else sum
    return Used(
        workers=len(readings),
        lost=len(begun - readings.keys()),
        kept=kept,
        start_seconds=start_seconds,
        busy_seconds=round(sum(every("busy_seconds")), 3),
        cpu_seconds=round(most([0.0, *every("cpu_seconds")]), 3),
        queued_seconds=round(most([0.0, *every("queued_seconds")]), 3),
        memory_bytes=int(max([0, *every("memory_bytes")])),
        peak_bytes=int(max([0, *every("peak_bytes")])),
    )


def _asked(run: Run, facts: dict[str, Any]) -> Asked:
    settings = run.settings
    if settings.cluster == KUBERNETES:
        return Asked(facts["workers_wanted"], settings.worker_cpu, settings.worker_memory)
    return Asked(facts["workers"], cores=(os.cpu_count() or 1) if settings.cluster == LOCAL else 0)


def _begin(run: Run, client: Client) -> set[str]:
    """Give the plugin to all workers, there now or later; return the addresses of those there now."""
    try:
        return set(ask(client, "register_worker_plugin", plugin=dumps(Usage()), name=NAME, idempotent=False))
    except OSError as error:
        event("usage.unknown", level=logging.WARNING, run=run.settings.run, error=error)
        return set()


def _readings(run: Run, client: Client) -> dict[str, Reading]:
    try:
        found = client.run(read, on_error="ignore", callback_timeout=ANSWER_SECONDS)
    except OSError as error:
        event("usage.unknown", level=logging.WARNING, run=run.settings.run, error=error)
        return {}
    return {address: reading for address, reading in found.items() if reading}
