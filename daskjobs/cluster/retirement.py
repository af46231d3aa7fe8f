"""A preload of Dask's nannies: a worker that Kubernetes ends gives its tasks and data to other workers first.

Kubernetes sends SIGTERM when it preempts or evicts a pod, or drains a node. Dask then closes the worker, but treats it
as dead: the tasks that run there count as having killed it, and data that only this worker has is lost.

A worker that the kernel or its own task kills gets no SIGTERM, so it is never retired. One that uses more disk or
memory than it may gets SIGTERM from the kubelet, and is killed a second later, before it is retired: it counts as dead.
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

from distributed import Nanny, Status

LOOK_SECONDS = 0.1
KILL_SECONDS, ANSWER_SECONDS, MOVE_SECONDS = 2.0, 2.0, 20.0
logger = logging.getLogger("distributed.nanny")  # writes to the pod's log


async def dask_teardown(nanny: Nanny) -> None:
    """Retire the worker: other workers, if any, take its data, and its tasks count as never begun."""
    process: Any = nanny.process
    if process is None or not process.is_alive():
        return
    for _ in range(round(KILL_SECONDS / LOOK_SECONDS)):
        await asyncio.sleep(LOOK_SECONDS)
        if nanny.status == Status.closing_gracefully or not process.is_alive():
            return  # the scheduler ends its workers at the end of a cluster, and the nannies know it
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await process.running.wait()  # before that, the nanny doesn't know the worker's address
            await nanny.scheduler.identity(n_workers=0)
        await _retire(nanny.scheduler, process.worker_address)
    except (TimeoutError, OSError) as error:
        logger.warning("The scheduler does not hear that %s was asked to end: %s", process.worker_address, error)


async def _retire(scheduler: Any, worker: str) -> None:
    stimulus, retired = f"asked-to-end-{time.time()}", {}
    with suppress(TimeoutError):
        async with asyncio.timeout(MOVE_SECONDS):
            retired = await scheduler.retire_workers(workers=[worker], stimulus_id=stimulus)
    if not retired:
        logger.warning("Not all data of %s found another worker", worker)
        async with asyncio.timeout(ANSWER_SECONDS):
            await scheduler.unregister(address=worker, expected=True, stimulus_id=stimulus)
