"""Runs each job as a Dask task, gathers the results, and gives up jobs that kill their workers."""

import math
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Future, KilledWorker
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from daskjobs.cluster.clients import announce, answering, count_workers, within
from daskjobs.cluster.connection import Connection, End
from daskjobs.errors import ConfigError, DaskjobsError, LostWorkError

LOOK_SECONDS = 1  # between two checks for new workers: a check after each task would keep workers waiting
RESULT_SECONDS = 30
CANCEL_SECONDS = 2


class TooLateError(LostWorkError):
    """Tasks did not end before their deadline."""


@dataclass(frozen=True)
class Job:
    """The arguments of one task and, for people, its name, like "part 3", and the ``place`` of its data."""

    name: str
    arguments: tuple[Any, ...]
    place: str = ""


@answering()
def gather(
    connection: Connection,
    deadline: float,
    work: Callable[..., Any],
    jobs: list[Job],
    progress: Callable[[float], None] = lambda _: None,
    suspect: str = "",
    done: Callable[[Any], None] = lambda _: None,
) -> list[Any]:
    """Call ``work`` for each job on a worker by ``deadline`` (of time.monotonic); return the results in their order.

    A worker has one task at a time or, where there are more jobs than workers, one for each of its threads: so one that
    dies has few jobs. Workers of one process die together, and get all jobs at once. A job whose worker dies each time
    is given up after the others are done. ``progress`` takes the share of jobs that are done; ``suspect`` names code of
    the user's that may end a worker. ``done`` takes each result as it arrives; an exception from it cancels the other
    jobs. Raises LostWorkError when tasks are lost, TooLateError when they don't end in time, ConfigError when a task
    needs more memory, or kills its worker and code is ``suspect``, and ClusterError when the scheduler doesn't answer
    any more.
    """
    if not jobs:
        return []
    client, finished, mark = connection.client, SimpleQueue[Future[Any]](), secrets.token_hex(8)
    waiting, running = list(enumerate(jobs)), dict[str, tuple[int, Future[Any]]]()
    results: dict[int, Any] = {}
    killed: list[tuple[Job, KilledWorker]] = []
    workers, looked = (len(jobs), math.inf) if connection.share_process else (0, -math.inf)
    kind = jobs[0].name.split()[0]
    most = connection.facts.workers_wanted or connection.facts.workers
    threads = connection.settings.threads if len(jobs) > most else 1  # else those that come later would have none

    def hand_out() -> None:
        room = max(0, workers * threads - len(running))
        for number, job in [waiting.pop(0) for _ in waiting[:room]]:
            key = f"{job.name.replace(' ', '-')}-{mark}"
            running[key] = number, client.submit(work, *job.arguments, key=key, pure=False)
            running[key][1].add_done_callback(finished.put)

    try:
        while waiting or running:
            if waiting and time.monotonic() > looked + LOOK_SECONDS:
                workers, looked = max(1, count_workers(client)), time.monotonic()
            hand_out()
            try:
                future = finished.get(timeout=max(0, min(LOOK_SECONDS, deadline - time.monotonic())))
            except Empty:
                if time.monotonic() < deadline:
                    continue
                raise TooLateError(
                    f"{len(results)} of {len(jobs)} {kind}s were done within {connection.settings.timeout:.0f} s: "
                    "allow more with --timeout, or use more workers"
                ) from None
            number, _ = running.pop(str(future.key))
            hand_out()  # first, since a worker is idle until it gets its next task
            try:
                results[number] = _result(future, jobs[number].name, deadline)
            except KilledWorker as error:
                killed.append((jobs[number], error))
            else:
                done(results[number])
            del future  # releasing it later would delay the next task by the client's 10 ms between messages
            progress(len(results) / len(jobs))
            if connection.watched:
                announce(client, f"{len(results)} of {len(jobs)} {kind}s done")
    finally:
        with suppress(OSError):  # the scheduler may be gone
            within(CANCEL_SECONDS, lambda: client.cancel([future for _, future in running.values()]))
    if killed:
        raise _given_up(connection, killed, suspect)
    return [results[number] for number in range(len(jobs))]


def _result(future: Future[Any], what: str, deadline: float) -> Any:
    seconds = max(1.0, min(RESULT_SECONDS, deadline - time.monotonic()))
    if future.status == "finished":
        return future.result(timeout=seconds)
    error = future.exception(timeout=seconds) if future.status == "error" else None
    if isinstance(error, NoValidWorkerError | NoWorkerError):
        raise LostWorkError(f"{what} was given up: {error}") from error
    if error is None:
        raise LostWorkError(f"{what} was lost ({future.status}): the scheduler or its workers went away")
    if isinstance(error, DaskjobsError | KilledWorker):
        raise error
    raise RuntimeError(f"{what} failed") from error


def _given_up(connection: Connection, killed: list[tuple[Job, KilledWorker]], suspect: str) -> DaskjobsError:
    """Return the error that says which job kills its worker, how the worker ended, and what to change."""
    job, error = killed[0]
    deaths, end = worker_deaths(connection, error)
    others = ", ".join(other.name for other, _ in killed[1:])
    kind = ConfigError if end.out_of_memory or suspect else LostWorkError
    advice = connection.memory_advice
    if not end.out_of_memory:
        look = f"look at {suspect}, whose code can end a worker (os._exit), " if suspect else ""
        advice = f"{look}look at what this {job.name.split()[0]} holds, or {advice}"
    return kind(
        f"{job.name}{f' ({job.place})' if job.place else ''} was given up: {deaths}; {advice}"
        f"{f'; so were {others}' if others else ''}; the others are done"
    )


def worker_deaths(connection: Connection, error: KilledWorker) -> tuple[str, End]:
    """Say how often a task's worker died and how the last one ended, in words and as the backend says it."""
    end = connection.how_worker_ended(str(error.last_worker.name))
    times = error.allowed_failures + 1
    return f"its worker died each of the {times} times that it was tried; the last one: {end.text}", end
