"""Workers on this machine, threads or processes, that live as long as a `with`.

Nobody else can use them: whatever listens does so on loopback; threads have no port at all, and processes take commands
only from who has the key pair of this process (TLS). The dashboard has a `Door`.
"""

import logging
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import forkserver, spawn
from tempfile import mkdtemp
from typing import Any

import dask
from distributed import Client, Nanny, Security, SpecCluster, Worker
from distributed.utils import silence_logging_cmgr

from daskjobs.cluster.addresses import free
from daskjobs.cluster.clients import closing
from daskjobs.cluster.connection import ClusterFacts, Connection, Requested, WorkerEnd, Workload
from daskjobs.cluster.local.door import GuardedScheduler
from daskjobs.cluster.security import new_key_pair
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.cluster.tuning import QUIET
from daskjobs.errors import ClusterError, ConfigError

LOOPBACK = "127.0.0.1"
FORKED = f"{__package__}.forked"  # not imported here, since it makes its process ignore Ctrl-C
START_SECONDS = 60  # processes may take long to start on a busy machine
KILL_SECONDS = 1.5
WORKER_PROCESS = "Dask Worker process"  # how Dask names the processes of its workers
SPARE_THREADS = 24  # Dask, Arrow and numpy start these beside the workers


@contextmanager
def local_cluster(settings: ClusterSettings, workload: Workload) -> Iterator[Connection]:
    """Start workers on this machine, and give a connection to them.

    Raises ConfigError where the machine lacks what they need: a folder for temporary files, threads.
    """
    workers = settings.workers or os.cpu_count() or 1
    _try_threads(workers + SPARE_THREADS)
    address = free(settings.dashboard)
    config = {
        **QUIET,
        "distributed.worker.multiprocessing-method": "forkserver",
        "distributed.worker.http.routes": [],  # each worker has an HTTP server on a port, which then has no pages
    }
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        # Dask logs what is raised anyway, and at the end stack traces of messages that can't be sent any more; so it is
        # silent from before the cluster starts until its event loop has ended.
        stack.enter_context(silence_logging_cmgr(logging.CRITICAL))
        stack.enter_context(silence_logging_cmgr(logging.CRITICAL, root="bokeh"))
        stack.enter_context(dask.config.set({**config, "temporary-directory": folder}))
        stack.enter_context(_without_main())
        stack.enter_context(_same_environment())
        cluster = stack.enter_context(_cluster(workers, settings, workload, address, folder))
        client = stack.enter_context(closing(Client(cluster, timeout=START_SECONDS, set_as_default=False)))
        client.wait_for_workers(workers, timeout=START_SECONDS)
        guarded: Any = cluster.scheduler
        yield Connection(
            settings,
            client,
            ClusterFacts(
                cluster=settings.backend,
                workers=workers,
                dashboard=guarded.door.link(),
                workers_are="processes" if workload.processes else "threads",
            ),
            Requested(workers, cores=os.cpu_count() or 1),
            memory_advice="use fewer --workers, or a machine with more memory",
            how_worker_ended=_how_worker_ended,
            share_process=not workload.processes,
            watched=False,
        )


def _how_worker_ended(worker: str) -> WorkerEnd:
    return WorkerEnd(f"the process of worker {worker} ended itself or was killed; if memory ran out, dmesg says so")


@contextmanager
def _cluster(
    workers: int, settings: ClusterSettings, workload: Workload, dashboard: str, folder: str
) -> Iterator[SpecCluster]:
    """Give what Dask's LocalCluster would, with addresses, dashboard and folder of our choice."""
    processes = workload.processes
    if processes:
        _start_forkserver(workload)  # it imports modules while the key pair is made
    security = new_key_pair(settings.timeout).security() if processes else Security()
    common: dict[str, Any] = {"security": security, "protocol": "tls://" if processes else "inproc://"}
    own: dict[str, Any] = {}
    if processes:
        common["host"] = LOOPBACK
        own["env"] = dict(os.environ)  # as it is now: the fork server has it as it was when it started
    worker = {
        "cls": Nanny if processes else Worker,
        "options": {
            **common,
            **own,
            "nthreads": settings.threads,
            "memory_limit": None,  # all workers share this machine's memory
            "dashboard_address": f"{LOOPBACK}:0",
            "local_directory": folder,
            "silence_logs": logging.CRITICAL,
        },
    }
    scheduler = {
        "cls": GuardedScheduler,
        "options": {**common, "dashboard": True, "dashboard_address": dashboard, "port": 0},
    }
    try:
        cluster = SpecCluster(
            scheduler=scheduler,
            workers=dict.fromkeys(range(workers), worker),
            security=security,
            name="daskjobs",
        )
    except (RuntimeError, OSError) as error:  # Dask turns most failures into the first
        raise ClusterError(f"Dask's workers on this machine didn't start: {error}") from error
    with closing(cluster):
        try:
            yield cluster
        finally:
            if processes:
                with suppress(OSError):  # if the loop doesn't answer in time, `closing` ends what it can
                    cluster.sync(_kill, cluster, callback_timeout=KILL_SECONDS)


@contextmanager
def _same_environment() -> Iterator[None]:
    """Take the variables out of this process's environment that Dask's nannies add to it for the workers they start."""
    added = {*dask.config.get("distributed.nanny.pre-spawn-environ"), "PYTHONHASHSEED"} - os.environ.keys()
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


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
def _without_main() -> Iterator[None]:
    """Let worker processes not import the user's script, which would start workers of its own in each of them.

    multiprocessing imports the main module in each new process, since it may have what is pickled by name. Dask pickles
    what is of the main module by value, so its workers don't need it, and scripts need no `if __name__ == "__main__"`.
    """
    prepare = spawn.get_preparation_data

    def without_main(name: str) -> dict[str, Any]:
        data: dict[str, Any] = prepare(name)
        main = {"init_main_from_name", "init_main_from_path"} if name.startswith(WORKER_PROCESS) else set()
        return {key: value for key, value in data.items() if key not in main}

    spawn.get_preparation_data = without_main
    try:
        yield
    finally:
        spawn.get_preparation_data = prepare


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
        sys.path[:] = [entry for entry in sys.path if not entry.startswith(folder)]  # anyone could create it again
        shutil.rmtree(folder, ignore_errors=True)


def _try_threads(count: int) -> None:
    """Raise ConfigError where so many threads can't be started: Dask would wait for the missing ones for ever."""
    over, started = threading.Event(), []
    try:
        for _ in range(count):
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except (RuntimeError, MemoryError) as error:
        raise ConfigError(
            f"this process may start {len(started)} more threads, and {count} are needed: allow it more processes "
            "(ulimit -u) and memory (ulimit -v), or use fewer --workers"
        ) from error
    finally:
        over.set()
        for thread in started:
            thread.join()


def _start_forkserver(workload: Workload) -> None:
    """Start the process that workers are forked from, unless it runs: it imports what they need once for all."""
    forkserver.set_forkserver_preload([FORKED, *workload.preload])
    # A variable of the user's own stays. The fork server and its resource tracker must not import from the working
    # folder, whosever that is; and the tracker must not tell, after a run that was stopped, what it tidied up.
    chosen = {name: value for name, value in workload.environment.items() if name not in os.environ}
    with _environment({**chosen, "PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "ignore:resource_tracker"}):
        forkserver.ensure_running()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables while the block lasts: a process that it starts keeps them, and this one doesn't."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
