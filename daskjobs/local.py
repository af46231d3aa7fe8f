"""Workers on this machine, threads or processes, that live as long as a `with`."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any

import dask
import pyarrow as pa
from distributed import Client, LocalCluster

from daskjobs.addresses import free
from daskjobs.log import event
from daskjobs.settings import LOCAL, Settings
from daskjobs.tuning import KEEP_MEMORY, QUIET

CONNECT_SECONDS = 10
START_SECONDS = 60  # of processes, on a machine that has other things to do
PROCESS_ROWS = 5_000_000  # from which on processes earn their start, with two cores


def choose(rows: int) -> tuple[bool, str]:
    """Tell whether this machine's workers should be processes, for so many rows, and why.

    Threads start at once. Processes need half a second more, never wait for each other's hold of Python's lock, and
    keep their memory (`tuning.KEEP_MEMORY`), which a process that runs already can't be told.
    """
    if rows < PROCESS_ROWS:
        return False, f"{rows} rows are soon done: the start of processes pays from {PROCESS_ROWS} rows on"
    return True, f"{rows} rows are worth the start of processes, which don't wait for each other as threads do"


@contextmanager
def local(settings: Settings, rows: int) -> Iterator[tuple[Client, dict[str, Any]]]:
    """Give a client of workers for so many ``rows``, and the facts for run.json."""
    workers = settings.workers or os.cpu_count() or 1
    processes, why = choose(rows)
    event("cluster.chosen", run=settings.run, workers="processes" if processes else "threads", why=why)
    if processes:
        _start_forkserver()
    address = free(settings.dashboard)
    with (
        dask.config.set({**QUIET, "distributed.worker.multiprocessing-method": "forkserver"}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=processes,
            memory_limit=None,  # a worker holds a few blocks, and nothing that it could spill
            dashboard_address=address,
            silence_logs=logging.CRITICAL,  # how a task failed is raised, and told once
        ) as cluster,
        Client(cluster, timeout=CONNECT_SECONDS) as client,
    ):
        client.wait_for_workers(workers, timeout=START_SECONDS)
        port = cluster.scheduler_info["services"]["dashboard"]
        yield (
            client,
            {
                "cluster": LOCAL,
                "workers": workers,
                "workers_are": "processes" if processes else "threads",
                "dashboard": f"http://{address.rpartition(':')[0]}:{port}/status",
            },
        )


def _start_forkserver() -> None:
    """Start the process that workers are forked from, if there is none: it imports what they need, once for all."""
    if "jemalloc" in pa.supported_memory_backends():
        for name, value in KEEP_MEMORY.items():
            os.environ.setdefault(name, value)
    forkserver.set_forkserver_preload(["daskjobs.forked"])
    forkserver.ensure_running()
