"""Measures what Dask workers use, by a plugin on each worker, including those that join later."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dask.typing import Key
from distributed import Client, Worker, WorkerPlugin
from distributed.protocol.pickle import dumps

from daskjobs.cluster.clients import ANSWER_SECONDS, ask
from daskjobs.cluster.connection import Connection, Requested
from daskjobs.cluster.sizing import Advice, Used, advise
from daskjobs.events import event
from daskjobs.memory import peak_bytes

NAME = "daskjobs-usage"
TIDY_SECONDS = 2


@dataclass(frozen=True)
class Reading:
    """What one worker used: seconds, and bytes of its process; all threads of a process report the same figures."""

    worker: str
    busy_seconds: float
    cpu_seconds: float
    queued_seconds: float
    memory_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Resources:
    """What the workers requested and used, each and in all, and what to request next time."""

    requested: Requested
    used: Used
    each: list[Reading]
    advice: Advice

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object, for the page and the facts."""
        each = [asdict(reading) for reading in self.each]
        return {
            "asked": asdict(self.requested),
            "used": {**asdict(self.used), "cores": round(self.used.cores, 3), "each": each},
            "next": self.advice.values,
            "advice": self.advice.sentences,
        }


@dataclass
class Measurement:
    """Gets its ``resources`` when the measured block ends."""

    resources: Resources | None = None


class Usage(WorkerPlugin):
    """Measures a worker from the moment it is installed: at the start of the work, or when the worker joins later."""

    name = NAME

    def setup(self, worker: Worker) -> None:
        """Take the first reading."""
        self._worker, self._samples = worker, worker.monitor.count
        self._cpu, self._busy, self._queued = time.process_time(), 0.0, 0.0
        self._running, self._since = set[Key](), (0.0, 0.0)

    def transition(self, key: Key, start: str, finish: str, **_: Any) -> None:
        """Add up the time in which tasks run, and the part of it in which they wait for a core."""
        if finish == "executing" != start:
            if not self._running:
                self._since = time.monotonic(), queued_seconds()
            self._running.add(key)
        elif key in self._running:
            self._running.remove(key)
            if not self._running:  # several may run at a time, of which each second counts once
                began, queued = self._since
                self._busy += time.monotonic() - began
                self._queued += max(0.0, queued_seconds() - queued)

    def reading(self) -> Reading:
        """Return what the worker has used since it got this plugin."""
        monitor = self._worker.monitor
        sampled = [each for each in monitor.range_query(self._samples)["memory"] if each is not None]
        memory = sampled or [monitor.get_process_memory()]
        return Reading(
            worker=str(self._worker.name),
            busy_seconds=round(self._busy, 3),
            cpu_seconds=round(time.process_time() - self._cpu, 3),
            queued_seconds=round(self._queued, 3),
            memory_bytes=int(sum(memory) / len(memory)),
            peak_bytes=peak_bytes(),
        )


def queued_seconds() -> float:
    """Return the seconds for which this process's threads were ready to run but waited for a core; 0 outside Linux."""
    nanoseconds = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has just ended
            nanoseconds += int(path.read_text().split()[1])
    return nanoseconds / 1e9


def read(dask_worker: Worker) -> Reading | None:
    """Return the reading of the worker that runs this function, if it has the plugin."""
    plugin = dask_worker.plugins.get(NAME)
    return plugin.reading() if isinstance(plugin, Usage) else None


@contextmanager
def measured(connection: Connection, tasks: int, kept: bool = False) -> Iterator[Measurement]:
    """Measure what workers use for the ``tasks`` of this block, and recommend what to request next time.

    ``kept`` says that results of an earlier attempt may have been kept, so that some tasks had less to do.
    A worker that doesn't answer counts as lost: the work is done by then, and no failure here may fail it.
    """
    client, measurement = connection.client, Measurement()
    begun = _begin(client)
    try:
        yield measurement
        readings = _readings(client)
        start_seconds = connection.facts.start_seconds or 0.0
        used = summed(readings, begun, kept, start_seconds, connection.share_process)
        advice = advise(connection.requested, used, tasks)
        measurement.resources = Resources(connection.requested, used, list(readings.values()), advice)
    finally:
        with suppress(OSError, ValueError):  # the scheduler is gone, or never had the plugin
            ask(client, "unregister_worker_plugin", TIDY_SECONDS, name=NAME)


def summed(readings: dict[str, Reading], begun: set[str], kept: bool, start_seconds: float, threads: bool) -> Used:
    """Add up the readings, keyed by worker address; ``threads`` of one process all report its CPU time."""
    each = list(readings.values())
    most = max if threads else sum
    return Used(
        workers=len(readings),
        lost=len(begun - readings.keys()),
        kept=kept,
        start_seconds=start_seconds,
        busy_seconds=round(sum(reading.busy_seconds for reading in each), 3),
        cpu_seconds=round(most([0.0, *(reading.cpu_seconds for reading in each)]), 3),
        queued_seconds=round(most([0.0, *(reading.queued_seconds for reading in each)]), 3),
        memory_bytes=max([0, *(reading.memory_bytes for reading in each)]),
        peak_bytes=max([0, *(reading.peak_bytes for reading in each)]),
    )


def _begin(client: Client) -> set[str]:
    """Install the plugin on all workers, including later ones; return the addresses of the present ones."""
    try:
        return set(ask(client, "register_worker_plugin", plugin=dumps(Usage()), name=NAME, idempotent=False))
    except OSError as error:
        event("usage.unknown", level=logging.WARNING, error=error)
        return set()


def _readings(client: Client) -> dict[str, Reading]:
    try:
        readings = client.run(read, on_error="ignore", callback_timeout=ANSWER_SECONDS)
    except OSError as error:
        event("usage.unknown", level=logging.WARNING, error=error)
        return {}
    return {address: reading for address, reading in readings.items() if reading}
