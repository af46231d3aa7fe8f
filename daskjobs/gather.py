"""One Dask task a partition: handed out, gathered, and given up with a reason."""

import time
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Future, KilledWorker
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from daskjobs import partition as work
from daskjobs.cluster import Connected
from daskjobs.errors import ConfigError, DaskjobsError, LostWorkError
from daskjobs.partition import Result
from daskjobs.run import Run
from daskjobs.settings import KUBERNETES
from daskjobs.workers import count

LOOK_SECONDS = 1  # for workers that joined in
RESULT_SECONDS = 30


def gather(
    run: Run, connected: Connected, plan: dict[str, Any], partitions: list[dict[str, Any]], key: str
) -> list[Result]:
    """Check all partitions, and return their results in order.

    There are never more tasks than workers, so that a worker that dies has one partition, and takes no other with
    it. A partition whose worker dies each time is given up; the others are finished first, and kept.
    Raises LostWorkError when tasks are lost or don't end within the timeout, ConfigError when one wants more memory.
    """
    client, finished = connected.client, SimpleQueue[Future[Result]]()
    waiting, running = list(partitions), dict[str, Future[Result]]()
    results: list[Result] = []
    killed: list[tuple[dict[str, Any], KilledWorker]] = []
    deadline = time.monotonic() + run.settings.timeout
    try:
        while waiting or running:
            room = max(1, count(client)) - len(running) if waiting else 0
            for partition in [waiting.pop(0) for _ in waiting[: max(0, room)]]:
                name = f"validate-{partition['partition']}-{key}"
                running[name] = client.submit(
                    work.check_partition, run.settings.run, plan, partition, key, key=name, pure=False
                )
                running[name].add_done_callback(finished.put)
            try:
                future = finished.get(timeout=max(0, min(LOOK_SECONDS, deadline - time.monotonic())))
            except Empty:
                if time.monotonic() < deadline:
                    continue
                raise LostWorkError(
                    f"{len(results)} of {len(partitions)} partitions were checked within {run.settings.timeout:.0f} s: "
                    "allow more with --timeout, or use more workers"
                ) from None
            del running[str(future.key)]
            try:
                results.append(_result(future))
            except KilledWorker as error:
                killed.append((partitions[_number(future)], error))
            run.progress(len(results) / len(partitions))
    finally:
        client.cancel(list(running.values()))
    if killed:
        raise _given_up(run, connected, plan, killed)
    return sorted(results, key=lambda result: int(result["partition"]))


def _number(future: Future[Result]) -> int:
    return int(str(future.key).split("-")[1])


def _result(future: Future[Result]) -> Result:
    if future.status == "finished":
        result: Result = future.result(timeout=RESULT_SECONDS)
        return result
    partition = _number(future)
    error = future.exception(timeout=RESULT_SECONDS) if future.status == "error" else None
    if isinstance(error, NoValidWorkerError | NoWorkerError):
        raise LostWorkError(f"partition {partition} was given up: {error}") from error
    if error is None:
        raise LostWorkError(f"partition {partition} was lost ({future.status}): the scheduler or its workers went away")
    if isinstance(error, DaskjobsError | KilledWorker):
        raise error
    raise RuntimeError(f"partition {partition} failed") from error


def _given_up(
    run: Run, connected: Connected, plan: dict[str, Any], killed: list[tuple[dict[str, Any], KilledWorker]]
) -> DaskjobsError:
    """Say which rows kill their worker, how it ended, and what to change."""
    partition, error = killed[0]
    rows = "; ".join(
        f"{plan['files'][part['file']]['name']} bytes {part['start']} to {part['end']}, {part['rows']} rows"
        for part in partition["ranges"]
    )
    last = connected.last_words(str(error.last_worker.name))
    others = ", ".join(str(other["partition"]) for other, _ in killed[1:])
    given = f" (now {run.settings.worker_memory})" if run.settings.cluster == KUBERNETES else ""
    kind = ConfigError if last.memory else LostWorkError
    advice = f"give each worker more memory with --worker-memory{given}"
    return kind(
        f"partition {partition['partition']} ({rows}) was given up: its worker died each of the "
        f"{error.allowed_failures + 1} times that it was tried; the last one: {last.text}; "
        f"{'' if last.memory else 'look at these rows, or '}{advice}"
        f"{f'; partitions {others} were given up as well' if others else ''}; the others are done, and are kept"
    )
