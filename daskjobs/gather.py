"""One Dask task a job: handed out, gathered, and given up with a reason."""

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

from daskjobs.clients import within
from daskjobs.cluster import Connected
from daskjobs.errors import ConfigError, DaskjobsError, LostWorkError
from daskjobs.run import Run
from daskjobs.settings import KUBERNETES, LOCAL
from daskjobs.workers import announce, count

LOOK_SECONDS = 1  # for workers that joined in; to ask each time would let a worker wait for its next task
RESULT_SECONDS = 30
CANCEL_SECONDS = 2


class TooLateError(LostWorkError):
    """Tasks didn't end in time."""


@dataclass(frozen=True)
class Job:
    """What one task is given; its name and place are for people: 'partition 3', and which rows these are."""

    name: str
    arguments: tuple[Any, ...]
    place: str = ""


def gather(run: Run, connected: Connected, deadline: float, work: Callable[..., Any], jobs: list[Job]) -> list[Any]:
    """Do ``work`` for all jobs before ``deadline`` (of time.monotonic), and return what came of each in their order.

    There are never more tasks than workers, so that a worker that dies has one job, and takes no other with it; threads
    of one process die together, and get all at once. A job whose worker dies each time is given up; the others are
    finished first.
    Raises LostWorkError when tasks are lost, TooLateError when they don't end in time, ConfigError when one wants more
    memory, or ends its worker where rules of the user's own are in it.
    """
    client, finished, mark = connected.client, SimpleQueue[Future[Any]](), secrets.token_hex(8)
    waiting, running = list(enumerate(jobs)), dict[str, tuple[int, Future[Any]]]()
    results: dict[int, Any] = {}
    killed: list[tuple[Job, KilledWorker]] = []
    workers, looked = (len(jobs), math.inf) if connected.together else (0, -math.inf)

    def hand_out() -> None:
        room = max(0, workers - len(running))
        for number, job in [waiting.pop(0) for _ in waiting[:room]]:
            key = f"{job.name.replace(' ', '-')}-{mark}"
            running[key] = number, client.submit(work, *job.arguments, key=key, pure=False)
            running[key][1].add_done_callback(finished.put)

    try:
        while waiting or running:
            if waiting and time.monotonic() > looked + LOOK_SECONDS:
                workers, looked = max(1, count(client)), time.monotonic()
            hand_out()
            try:
                future = finished.get(timeout=max(0, min(LOOK_SECONDS, deadline - time.monotonic())))
            except Empty:
                if time.monotonic() < deadline:
                    continue
                raise TooLateError(
                    f"{len(results)} of {len(jobs)} {jobs[0].name.split()[0]}s were checked within "
                    f"{run.settings.timeout:.0f} s: allow more with --timeout, or use more workers"
                ) from None
            number, _ = running.pop(str(future.key))
            hand_out()  # before anything else is asked or said: a worker rests until it has its next task
            try:
                results[number] = _result(future, jobs[number].name, deadline)
            except KilledWorker as error:
                killed.append((jobs[number], error))
            del future  # released now: later, that would hold up the next task for the client's 10 ms between messages
            run.progress(len(results) / len(jobs))
            if run.settings.cluster != LOCAL:
                announce(client, f"{len(results)} of {len(jobs)} {jobs[0].name.split()[0]}s checked")
    finally:
        with suppress(OSError):  # of a scheduler that doesn't answer any more
            within(CANCEL_SECONDS, lambda: client.cancel([future for _, future in running.values()]))
    if killed:
        raise _given_up(run, connected, killed)
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


def _given_up(run: Run, connected: Connected, killed: list[tuple[Job, KilledWorker]]) -> DaskjobsError:
    """Say which rows kill their worker, how it ended, and what to change."""
    job, error = killed[0]
    last = connected.last_words(str(error.last_worker.name))
    others = ", ".join(other.name for other, _ in killed[1:])
    given = f" (now {run.settings.worker_memory})" if run.settings.cluster == KUBERNETES else ""
    rules = run.settings.rules
    kind = ConfigError if last.memory or rules else LostWorkError
    advice = f"give each worker more memory with --worker-memory{given}"
    if not last.memory:
        look = f"look at {rules}, whose code can end a worker (os._exit), " if rules else ""
        advice = f"{look}look at these rows, or {advice}"
    return kind(
        f"{job.name}{f' ({job.place})' if job.place else ''} was given up: its worker died each of the "
        f"{error.allowed_failures + 1} times that it was tried; the last one: {last.text}; {advice}"
        f"{f'; so were {others}' if others else ''}; the others are done, and are kept"
    )
