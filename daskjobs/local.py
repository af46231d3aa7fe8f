"""Workers on this machine, threads or processes, that live as long as a `with`."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster

from daskjobs.log import event
from daskjobs.settings import LOCAL, Settings

CONNECT_SECONDS = 10
START_SECONDS = 60  # of processes, on a machine that has other things to do
MOST_THREADS = 4  # that work side by side in one process
PROFILE_INTERVAL = "50ms"  # Dask's 10 ms stop the threads so often that they take a twelfth longer
PROCESS_ROWS = 20_000_000  # from which on processes of their own earn their start, which takes a second or two


def choose(workers: int, rows: int) -> tuple[bool, str]:
    """Tell whether workers of this machine should be processes, and why.

    Threads start at once, and a few share the cores as well as processes do: Arrow, which parses, checks and writes,
    lets go of Python's lock. About an eighth of the work holds it; benchmarks/ has the figures.
    """
    if workers > MOST_THREADS and rows >= PROCESS_ROWS:
        return True, f"{workers} threads would wait for each other, and {rows} rows are worth the processes' start"
    few = f"{workers} workers hardly wait for each other" if workers <= MOST_THREADS else f"{rows} rows are soon done"
    return False, f"{few}: processes pay from {MOST_THREADS + 1} workers and {PROCESS_ROWS} rows on"


@contextmanager
def local(settings: Settings, rows: int) -> Iterator[tuple[Client, dict[str, Any]]]:
    """Give a client of workers for so many ``rows``, and the facts for run.json."""
    workers = settings.workers or os.cpu_count() or 1
    processes, why = choose(workers, rows)
    event("cluster.chosen", run=settings.run, workers="processes" if processes else "threads", why=why)
    address = _free(settings.dashboard)
    with (
        dask.config.set({"distributed.worker.profile.interval": PROFILE_INTERVAL}),
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


def _free(address: str) -> str:
    """Return the dashboard's address, or one with a port that is free where that one is taken."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host or "127.0.0.1", int(port)))
        except OSError:
            return f"{host}:0"
    return address
