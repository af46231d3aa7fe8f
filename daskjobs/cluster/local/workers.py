"""Workers on this machine, threads or processes, that live as long as a `with`.

Nobody else can use them: whatever listens does so on loopback; threads have no port at all, and processes take commands
only from who has the key pair of this process (TLS). The dashboard has a `Door`.

Several may live at once in a process, which may use Dask and multiprocessing by itself: all settings are those of one
cluster's objects, and nothing of the process is changed but sys.path, to which Dask adds folders.
"""

import logging
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from mmap import mmap
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from distributed import Client, Security, SpecCluster
from tornado.ioloop import IOLoop

from daskjobs.cluster.addresses import free
from daskjobs.cluster.clients import closing
from daskjobs.cluster.connection import ClusterFacts, Connection, Requested, WorkerEnd, Workload
from daskjobs.cluster.local.processes import Nanny, briefly, environment_now, fork_server
from daskjobs.cluster.local.servers import GuardedScheduler, LinkedCluster, QuietWorker
from daskjobs.cluster.loops import silent_loop
from daskjobs.cluster.security import new_key_pair
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.cluster.tuning import QUIET, TRIES
from daskjobs.cores import cores
from daskjobs.errors import ClusterError, ConfigError
from daskjobs.options import quoted

LOOPBACK = "127.0.0.1"
FORKED = f"{__package__}.forked"  # not imported here, since it makes its process ignore Ctrl-C
START_SECONDS = 60  # processes may take long to start on a busy machine
THREAD_BYTES = 32 << 20  # of address space: a thread's stack, mostly of 8 MiB, and what it needs to begin
KILL_SECONDS = 1.5
SPARE_THREADS = 24  # Dask, Arrow and numpy start these beside the workers


@contextmanager
def local_cluster(settings: ClusterSettings, workload: Workload) -> Iterator[Connection]:
    """Start workers on this machine, and give a connection to them.

    Raises ConfigError where the machine lacks what they need: a folder for temporary files, threads, a module.
    """
    workers = settings.workers or cores()
    _try_threads(workers + SPARE_THREADS)
    address = free(settings.dashboard)
    _find(workload.preload)
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        _import_pages(folder)
        worker = stack.enter_context(_processes(settings, workload, folder)) if workload.processes else _threads()
        loop = stack.enter_context(silent_loop())
        cluster = stack.enter_context(_cluster(workers, worker, settings, address, folder, loop))
        client = stack.enter_context(closing(Client(cluster, loop=loop, timeout=START_SECONDS, set_as_default=False)))
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
            how_worker_ended=_how_worker_ended,
            share_process=not workload.processes,
            watched=False,
        )


def _how_worker_ended(worker: str) -> WorkerEnd:
    return WorkerEnd(f"the process of worker {worker} ended itself or was killed; if memory ran out, dmesg says so")


@dataclass(frozen=True)
class _Kind:
    """The class of workers of one kind and its options, and the options that the scheduler has, too."""

    worker: type
    options: dict[str, Any]
    common: dict[str, Any]


def _threads() -> _Kind:
    return _Kind(QuietWorker, {}, {"security": Security(), "protocol": "inproc://"})


@contextmanager
def _processes(settings: ClusterSettings, workload: Workload, folder: str) -> Iterator[_Kind]:
    """Give workers in processes, which have the environment of this process as it is now."""
    environment = environment_now()
    # A variable of the user's own stays.
    with fork_server(folder, [FORKED, *workload.preload], {**workload.environment, **environment}) as context:
        security = new_key_pair(settings.timeout).security()  # meanwhile the fork server imports modules
        options = {
            "context": context,
            "preload": list(workload.preload),
            "env": {**environment, "__DASK_PARENT_PID": str(os.getpid())},  # by which Dask knows whose title to set
            "config": {**QUIET, "temporary-directory": folder, "distributed.worker.http.routes": []},
        }
        yield _Kind(Nanny, options, {"security": security, "protocol": "tls://", "host": LOOPBACK})


@contextmanager
def _cluster(
    workers: int, kind: _Kind, settings: ClusterSettings, dashboard: str, folder: str, loop: IOLoop
) -> Iterator[LinkedCluster]:
    """Give what Dask's LocalCluster would, with addresses, dashboard and folder of our choice."""
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
    except (RuntimeError, OSError) as error:  # Dask turns most failures into the first
        raise ClusterError(f"Dask's workers on this machine didn't start: {error}") from error
    try:
        with closing(cluster):
            try:
                yield cluster
            finally:
                if kind.worker is Nanny:
                    with suppress(OSError):  # if the loop doesn't answer in time, `closing` ends what it can
                        cluster.sync(_kill, cluster, callback_timeout=KILL_SECONDS)
    finally:
        for server in (cluster.scheduler, *cluster._created):
            for name in ("scheduler", "worker", "nanny"):  # whose loggers would keep the log of this one
                logging.getLogger(f"distributed.{name}").removeHandler(server._deque_handler)
            if server._workdir:
                server._workdir.release()  # or one that couldn't be closed would complain when its folder is gone


async def _kill(cluster: SpecCluster) -> None:
    """Kill the worker processes, which hold nothing of value at the end.

    A worker that is asked to end while it replaces one that died would show stack traces.
    """
    for nanny in cluster.workers.values():
        nanny.close_gracefully()  # so that it starts no other
        worker = nanny.process and nanny.process.process
        if worker:
            await worker.kill()


@contextmanager
def _folder() -> Iterator[str]:
    """Give a folder for temporary files that only its owner can use.

    Dask puts it first in sys.path, and waits for locks in it; in a shared folder anyone could create it first.
    """
    try:
        folder = mkdtemp(prefix="daskjobs-")
    except OSError as error:
        raise ConfigError(
            f"Dask needs a folder for temporary files: {error.strerror or error}; "
            "set TMPDIR to one that you may write to"
        ) from error
    try:
        yield folder
    finally:
        for entry in [each for each in sys.path if each.startswith(folder)]:  # anyone could create it again
            with suppress(ValueError):  # Dask may take it out meanwhile
                sys.path.remove(entry)
        shutil.rmtree(folder, ignore_errors=True)


def _try_threads(count: int) -> None:
    """Raise ConfigError where so many threads can't be started: Dask would wait for the missing ones for ever."""
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


def _import_pages(folder: str) -> None:
    """Import the dashboard where this user has no home directory, in which bokeh looks for settings."""
    try:
        Path.home()
    except RuntimeError:
        with briefly({"HOME": folder}):
            import distributed.dashboard.scheduler  # noqa: F401


def _find(modules: tuple[str, ...]) -> None:
    """Raise ConfigError unless each of the modules is there."""
    for name in modules:
        try:
            found = find_spec(name) is not None
        except (ImportError, ValueError):  # of the package that it would be in; of a name that is none
            found = False
        if not found:
            raise ConfigError(f"preload must name modules that are installed, got {quoted(name)}")
