"""A preload of Dask's nannies: a worker that is asked to end gives back its tasks and its data before it goes.

Kubernetes asks by SIGTERM when it preempts or evicts a pod, or drains a node. Dask closes the worker then, but takes it
for one that died: it counts that against the tasks at work there, and loses what only this worker holds.

A worker that dies by the kernel or by its task isn't asked and never comes here. One that uses more disk or memory than
it may is asked by the kubelet too, and killed a second later: it isn't retired until then, so that it counts as dead.
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

from distributed import Nanny, Status

LOOK_SECONDS = 0.1
KILL_SECONDS, ANSWER_SECONDS, MOVE_SECONDS = 2.0, 2.0, 20.0
logger = logging.getLogger("distributed.nanny")  # whose lines are in the pod's log


async def dask_teardown(nanny: Nanny) -> None:
    """Retire the worker: other workers take its data where there are any, and its tasks are as if never begun."""
    process: Any = nanny.process
    if process is None or not process.is_alive():
        return
    for _ in range(round(KILL_SECONDS / LOOK_SECONDS)):
        await asyncio.sleep(LOOK_SECONDS)
        if nanny.status == Status.closing_gracefully or not process.is_alive():
            return  # at the end of a cluster the scheduler ends its workers, and they say so to their nannies
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
