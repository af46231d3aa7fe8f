"""Dask tasks: handed out, gathered, and given up with a reason."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Future, KilledWorker
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from daskjobs.cluster import Connected
from daskjobs.errors import ConfigError, DaskjobsError, LostWorkError
from daskjobs.run import Run
from daskjobs.settings import KUBERNETES
from daskjobs.workers import count

LOOK_SECONDS = 1  # for workers that joined in
RESULT_SECONDS = 30


@dataclass(frozen=True)
class Job:
    """A task: what people call it, the function and its arguments, and where the rows are that it is about."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    rows: str = ""


def gather(run: Run, connected: Connected, key: str, deadline: float, jobs: list[Job]) -> list[Any]:
    """Do all jobs, and return what came of each in their order; ``deadline`` is one of `time.monotonic`.

    There are never more tasks than workers, so that a worker that dies has one, and takes no other with it. A job
    whose worker dies each time is given up; the others are finished first, and what they wrote is kept.
    Raises LostWorkError when tasks are lost or don't end in time, ConfigError when one wants more memory.
    """
    client, finished = connected.client, SimpleQueue[Future[Any]]()
    waiting, running = list(enumerate(jobs)), dict[str, tuple[int, Future[Any]]]()
    results: dict[int, Any] = {}
    killed: list[tuple[Job, KilledWorker]] = []
    mark = f"{key[:16]}-{secrets.token_hex(4)}"
    try:
        while waiting or running:
            room = max(1, count(client)) - len(running) if waiting else 0
            for number, job in [waiting.pop(0) for _ in waiting[: max(0, room)]]:
                name = f"{job.function.__name__}-{number}-{mark}"
                future = client.submit(job.function, *job.arguments, key=name, pure=False)
                running[name] = (number, future)
                future.add_done_callback(finished.put)
            try:
                future = finished.get(timeout=max(0, min(LOOK_SECONDS, deadline - time.monotonic())))
            except Empty:
                if time.monotonic() < deadline:
                    continue
                raise LostWorkError(
                    f"{len(results)} of {len(jobs)} tasks ({jobs[0].name} and others like it) were done within "
                    f"{run.settings.timeout:.0f} s: allow more with --timeout, or use more workers"
                ) from None
            number, _ = running.pop(str(future.key))
            try:
                results[number] = _result(jobs[number], future)
            except KilledWorker as error:
                killed.append((jobs[number], error))
            run.progress(len(results) / len(jobs))
    finally:
        client.cancel([future for _, future in running.values()])
    if killed:
        raise _given_up(run, connected, killed)
    return [results[number] for number in range(len(jobs))]


def _result(job: Job, future: Future[Any]) -> Any:
    if future.status == "finished":
        return future.result(timeout=RESULT_SECONDS)
    error = future.exception(timeout=RESULT_SECONDS) if future.status == "error" else None
    if isinstance(error, NoValidWorkerError | NoWorkerError):
        raise LostWorkError(f"{job.name} was given up: {error}") from error
    if error is None:
        raise LostWorkError(f"{job.name} was lost ({future.status}): the scheduler or its workers went away")
    if isinstance(error, DaskjobsError | KilledWorker):
        raise error
    raise RuntimeError(f"{job.name} failed") from error


def _given_up(run: Run, connected: Connected, killed: list[tuple[Job, KilledWorker]]) -> DaskjobsError:
    """Say which rows kill their worker, how it ended, and what to change."""
    job, error = killed[0]
    last = connected.last_words(str(error.last_worker.name))
    others = ", ".join(other.name for other, _ in killed[1:])
    given = f" (now {run.settings.worker_memory})" if run.settings.cluster == KUBERNETES else ""
    kind = ConfigError if last.memory else LostWorkError
    advice = f"give each worker more memory with --worker-memory{given}"
    return kind(
        f"{job.name}{job.rows} was given up: its worker died each of the "
        f"{error.allowed_failures + 1} times that it was tried; the last one: {last.text}; "
        f"{'' if last.memory else 'look at these rows, or '}{advice}"
        f"{f'; {others} were given up as well' if others else ''}; the others are done, and are kept"
    )
