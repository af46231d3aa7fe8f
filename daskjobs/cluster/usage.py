"""Measures what Dask workers use while they work: each has a plugin that takes readings, whenever it joined."""

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
    """What one worker used: times in seconds, and bytes of its process; threads of one process share its figures."""

    worker: str
    busy_seconds: float
    cpu_seconds: float
    queued_seconds: float
    memory_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Resources:
    """What the workers requested and used, each of them and all together, and what to request next time."""

    requested: Requested
    used: Used
    each: list[Reading]
    advice: Advice

    def to_json(self) -> dict[str, Any]:
        """Return it as the page and the facts have it."""
        each = [asdict(reading) for reading in self.each]
        return {
            "asked": asdict(self.requested),
            "used": {**asdict(self.used), "cores": round(self.used.cores, 3), "each": each},
            "next": self.advice.values,
            "advice": self.advice.sentences,
        }


@dataclass
class Measurement:
    """Has the ``resources`` once the block that was measured has ended."""

    resources: Resources | None = None


class Usage(WorkerPlugin):
    """Counts from the moment when a worker gets it: at the start of the work, or when the worker joins later."""

    name = NAME

    def setup(self, worker: Worker) -> None:
        """Take the first reading."""
        self._worker, self._samples = worker, worker.monitor.count
        self._cpu, self._busy, self._queued = time.process_time(), 0.0, 0.0
        self._began = dict[Key, tuple[float, float]]()

    def transition(self, key: Key, start: str, finish: str, **_: Any) -> None:
        """Add up the time in which tasks are executed, and the part of it in which they wait for a core."""
        if finish == "executing" != start:
            self._began[key] = time.monotonic(), queued_seconds()
        elif key in self._began:
            began, queued = self._began.pop(key)
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
    """Return for how long this process's threads were ready to run and waited for a core; 0 where it is not Linux."""
    nanoseconds = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that has just ended
            nanoseconds += int(path.read_text().split()[1])
    return nanoseconds / 1e9


def read(dask_worker: Worker) -> Reading | None:
    """Return the reading of the worker that this function runs on, if it has the plugin."""
    plugin = dask_worker.plugins.get(NAME)
    return plugin.reading() if isinstance(plugin, Usage) else None


@contextmanager
def measured(connection: Connection, tasks: int, kept: bool = False) -> Iterator[Measurement]:
    """Measure what workers use for the ``tasks`` of this block, and recommend what to request next time.

    ``kept`` says that results of an earlier attempt may have been kept, whose tasks had less to do.
    A worker that can't be asked is counted as lost: the work is done by then, and nothing here fails it.
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
        with suppress(OSError, ValueError):  # of a scheduler that is gone, or never had the plugin
            ask(client, "unregister_worker_plugin", TIDY_SECONDS, name=NAME)


def summed(readings: dict[str, Reading], begun: set[str], kept: bool, start_seconds: float, threads: bool) -> Used:
    """Add up the readings, by the worker's address; ``threads`` of one process have one CPU time together."""
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
    """Give the plugin to all workers, those that join later too; return the addresses of those that are there now."""
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
