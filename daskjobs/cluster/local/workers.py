"""Workers on this machine, threads or processes, that live as long as a `with`.

Nobody else can use them: all ports are on loopback, threads have none, and worker processes accept only connections
with this process's key pair (TLS). A `TokenRouter` protects the dashboard.

A process may have several such clusters, and use Dask and multiprocessing for itself: all settings belong to the
objects of one cluster, and nothing of the process changes but sys.path, to which Dask adds folders.
"""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from mmap import mmap
from typing import Any

from distributed import Client, Security, SpecCluster
from tornado.ioloop import IOLoop

from daskjobs.cluster.addresses import free
from daskjobs.cluster.clients import closing
from daskjobs.cluster.connection import ClusterFacts, Connection, End, Requested, Workload
from daskjobs.cluster.local import LocalSettings
from daskjobs.cluster.local.environment import environment_now
from daskjobs.cluster.local.forking import forking
from daskjobs.cluster.local.forks import private_folder
from daskjobs.cluster.local.servers import GuardedScheduler, LinkedCluster, QuietWorker
from daskjobs.cluster.loops import silent_loop
from daskjobs.cluster.tuning import QUIET, TRIES
from daskjobs.cores import cores
from daskjobs.errors import ClusterError, ConfigError
from daskjobs.options import quoted

LOOPBACK = "127.0.0.1"
START_SECONDS = 60  # processes may take long to start on a busy machine
THREAD_BYTES = 32 << 20  # of address space: a thread's stack, mostly of 8 MiB, and what it needs to begin
KILL_SECONDS = 1.5
MESSAGE_SECONDS = 0.001  # between a client's messages, which within a process cost nothing; Dask's own are 0.01
SPARE_THREADS = 24  # Dask, Arrow and numpy start these beside the workers


@contextmanager
def local_cluster(settings: LocalSettings, workload: Workload) -> Iterator[Connection]:
    """Start workers on this machine, and give a connection to them.

    Raises ConfigError where they lack something: a folder for temporary files, threads, or a module.
    """
    workers = settings.workers or cores()
    _try_threads(workers + SPARE_THREADS)
    address = free(settings.dashboard)
    _find(workload.preload)
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        worker = stack.enter_context(_processes(settings, workload, folder)) if workload.processes else _threads()
        loop = stack.enter_context(silent_loop())
        cluster = stack.enter_context(_cluster(workers, worker, settings, address, folder, loop))
        client = stack.enter_context(closing(Client(cluster, loop=loop, timeout=START_SECONDS, set_as_default=False)))
        if not workload.processes:
            messages: Any = client.scheduler_comm
            messages.interval = MESSAGE_SECONDS
        client.wait_for_workers(workers, timeout=START_SECONDS)
        yield Connection(
            settings,
            client,
            ClusterFacts(
                cluster=settings.backend,
                workers=workers,
                dashboard=cluster.dashboard_link,
                workers_are="processes" if workload.processes else "threads",
            ),
            Requested(workers, cores=cores()),
            memory_advice="use fewer --workers, or a machine with more memory",
            how_worker_ended=lambda worker: End(
                f"the process of worker {worker} ended itself or was killed; if memory ran out, dmesg says so"
            ),
            share_process=not workload.processes,
            watched=False,
        )


@dataclass(frozen=True)
class _Kind:
    """A class of workers with its options, and the options that the scheduler has as well."""

    processes: bool
    worker: type
    options: dict[str, Any]
    common: dict[str, Any]


def _threads() -> _Kind:
    return _Kind(False, QuietWorker, {}, {"security": Security(), "protocol": "inproc://"})


@contextmanager
def _processes(settings: LocalSettings, workload: Workload, folder: str) -> Iterator[_Kind]:
    """Give workers in processes, which get a copy of this process's environment as it is now."""
    from daskjobs.cluster.local.processes import Nanny  # imported late: threads need neither
    from daskjobs.cluster.security import new_key_pair

    environment = environment_now()
    forks = nullcontext(workload.forks) if workload.forks else forking(workload)
    with forks as context:
        security = new_key_pair(settings.timeout).security()  # meanwhile the fork server imports modules
        options = {
            "context": context,
            "preload": list(workload.preload),
            "env": {**environment, "__DASK_PARENT_PID": str(os.getpid())},  # Dask sets no title of that process
            "config": {**QUIET, "temporary-directory": folder, "distributed.worker.http.routes": []},
        }
        yield _Kind(True, Nanny, options, {"security": security, "protocol": "tls://", "host": LOOPBACK})


@contextmanager
def _cluster(
    workers: int, kind: _Kind, settings: LocalSettings, dashboard: str, folder: str, loop: IOLoop
) -> Iterator[LinkedCluster]:
    """Give a cluster like Dask's LocalCluster, but with our addresses, dashboard and folder."""
    common = {**kind.common, "local_directory": folder}
    worker = {
        "cls": kind.worker,
        "options": {
            **common,
            **kind.options,
            "nthreads": settings.threads,
            "memory_limit": None,  # all workers share this machine's memory
            "dashboard_address": f"{LOOPBACK}:0",
        },
    }
    scheduler = {
        "cls": GuardedScheduler,
        "options": {**common, "dashboard_address": dashboard, "port": 0, "allowed_failures": TRIES - 1},
    }
    made: Any = LinkedCluster
    try:
        cluster = made(
            scheduler=scheduler,
            workers=dict.fromkeys(range(workers), worker),
            security=kind.common["security"],
            name="daskjobs",
            loop=loop,
        )
    except (RuntimeError, OSError) as error:  # Dask turns most failures into RuntimeError
        raise ClusterError(f"Dask's workers on this machine didn't start: {error}") from error
    try:
        with closing(cluster):
            try:
                yield cluster
            finally:
                if kind.processes:
                    with suppress(OSError):  # the loop may not answer in time: `closing` then ends what it can
                        cluster.sync(_kill, cluster, callback_timeout=KILL_SECONDS)
    finally:
        for server in (cluster.scheduler, *cluster._created):
            for name in ("scheduler", "worker", "nanny"):  # their loggers would keep this cluster's log in memory
                logging.getLogger(f"distributed.{name}").removeHandler(server._deque_handler)
            if server._workdir:
                server._workdir.release()  # else a server that couldn't be closed would log that its folder is gone


async def _kill(cluster: SpecCluster) -> None:
    """Kill the worker processes, whose data nobody needs any more.

    Closing a worker that just replaces a dead one would print stack traces.
    """
    for nanny in cluster.workers.values():
        nanny.close_gracefully()  # so that it starts no other
        worker = nanny.process and nanny.process.process
        if worker:
            await worker.kill()


@contextmanager
def _folder() -> Iterator[str]:
    """Give a folder for temporary files that only its owner can use.

    Dask puts it first in sys.path and waits for locks in it.
    """
    with private_folder() as folder:
        try:
            yield folder
        finally:
            for entry in [each for each in sys.path if each.startswith(folder)]:  # others could create the folder again
                with suppress(ValueError):  # Dask may remove it meanwhile
                    sys.path.remove(entry)


def _try_threads(count: int) -> None:
    """Raise ConfigError unless ``count`` threads can be started: Dask would wait for missing ones for ever."""
    over, started = threading.Event(), []
    try:
        for _ in range(count):
            mmap(-1, THREAD_BYTES).close()  # or a thread might die as it begins, and its start would wait for ever
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except (RuntimeError, MemoryError, OSError) as error:
        raise ConfigError(
            f"this process may start {len(started)} more threads, and {count} are needed: allow it more processes "
            "(ulimit -u) and memory (ulimit -v), or use fewer --workers"
        ) from error
    finally:
        over.set()
        for thread in started:
            thread.join()


def _find(modules: tuple[str, ...]) -> None:
    """Raise ConfigError unless each of the modules is there."""
    for name in modules:
        try:
            found = find_spec(name) is not None
        except (ImportError, ValueError):  # its package is missing, or the name can't be a module's
            found = False
        if not found:
            raise ConfigError(f"preload must name modules that are installed, got {quoted(name)}")
