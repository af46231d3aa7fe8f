"""Workers on this machine, threads or processes, that live as long as a `with`.

Nobody else on this machine or beside it can use them: what listens does so on loopback; threads have no port at all,
and processes take commands from those alone who have the key pair of this process (TLS). The dashboard has a `door`.
"""

import logging
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import forkserver
from tempfile import mkdtemp
from typing import Any

import dask
import pyarrow as pa
from distributed import Client, Nanny, Security, SpecCluster, Worker
from distributed.utils import silence_logging_cmgr

from daskjobs import openssl
from daskjobs.addresses import free
from daskjobs.clients import closing
from daskjobs.door import GuardedScheduler
from daskjobs.errors import ClusterError, ConfigError
from daskjobs.log import event
from daskjobs.settings import LOCAL, Settings
from daskjobs.tuning import KEEP_MEMORY, QUIET

LOOPBACK = "127.0.0.1"
START_SECONDS = 60  # of processes, on a machine that has other things to do
PROCESS_ROWS = 5_000_000  # from which on processes earn their start, with two cores
KILL_SECONDS = 1.5
SPARE_THREADS = 24  # that Dask, Arrow and numpy start beside the workers


def choose(rows: int, rules: str = "") -> tuple[bool, str]:
    """Tell whether this machine's workers should be processes, for so many rows and these rules, and why.

    Threads start at once. Processes need half a second more, never wait for each other's hold of Python's lock, and
    keep their memory (`tuning.KEEP_MEMORY`), which a process that runs already can't be told. And they can be ended,
    whatever the user's rules do in them.
    """
    if rules:
        return True, f"{rules} is code of its own, which may run for ever or end its process"
    if rows < PROCESS_ROWS:
        return False, f"{rows} rows are soon done: the start of processes pays from {PROCESS_ROWS} rows on"
    return True, f"{rows} rows are worth the start of processes, which don't wait for each other as threads do"


@contextmanager
def local(settings: Settings, rows: int) -> Iterator[tuple[Client, dict[str, Any]]]:
    """Give a client of workers for so many ``rows``, and the facts for run.json.

    Raises ConfigError where this machine lacks what they need: a folder for temporary files, threads.
    """
    workers = settings.workers or os.cpu_count() or 1
    processes, why = choose(rows, settings.rules)
    event("cluster.chosen", run=settings.run, workers="processes" if processes else "threads", why=why)
    _try_threads(workers + SPARE_THREADS)
    address = free(settings.dashboard)
    config = {
        **QUIET,
        "distributed.worker.multiprocessing-method": "forkserver",
        "distributed.worker.http.routes": [],  # of a server that can't be left out, on a port of each worker
    }
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        # How a task failed is raised, and told once. From before the cluster until its loop has ended: what can't be
        # sent any more when it closes is logged with a stack trace.
        stack.enter_context(silence_logging_cmgr(logging.CRITICAL))
        stack.enter_context(silence_logging_cmgr(logging.CRITICAL, root="bokeh"))
        stack.enter_context(dask.config.set({**config, "temporary-directory": folder}))
        cluster = stack.enter_context(_cluster(workers, processes, address, folder))
        client = stack.enter_context(closing(Client(cluster, timeout=START_SECONDS, set_as_default=False)))
        client.wait_for_workers(workers, timeout=START_SECONDS)
        guarded: Any = cluster.scheduler
        yield (
            client,
            {
                "cluster": LOCAL,
                "workers": workers,
                "workers_are": "processes" if processes else "threads",
                "dashboard": guarded.door.link(),
            },
        )


@contextmanager
def _cluster(workers: int, processes: bool, dashboard: str, folder: str) -> Iterator[SpecCluster]:
    """Give what Dask's LocalCluster would, with addresses, dashboard and folder as we want them."""
    security = _security() if processes else Security()
    common: dict[str, Any] = {"security": security, "protocol": "tls://" if processes else "inproc://"}
    own: dict[str, Any] = {}
    if processes:
        common["host"] = LOOPBACK
        own["env"] = dict(os.environ)  # as it is now: the process that workers are forked from has it as it was
    worker = {
        "cls": Nanny if processes else Worker,
        "options": {
            **common,
            **own,
            "nthreads": 1,
            "memory_limit": None,  # a worker holds a few blocks, and nothing that it could spill
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
    except (RuntimeError, OSError) as error:  # the first is what Dask makes of whatever it was
        raise ClusterError(f"Dask's workers on this machine didn't start: {error}") from error
    with closing(cluster):
        try:
            yield cluster
        finally:
            if processes:
                with suppress(OSError):  # the loop doesn't answer in time, and `closing` ends what it can
                    cluster.sync(_kill, cluster, callback_timeout=KILL_SECONDS)


async def _kill(cluster: SpecCluster) -> None:
    """Kill the worker processes, which at the end hold nothing of worth.

    One that is asked to end while it starts in the place of another, which died, shows stack traces.
    """
    for nanny in cluster.workers.values():
        nanny.close_gracefully()  # and start no other
        worker = nanny.process and nanny.process.process
        if worker:
            await worker.kill()


@contextmanager
def _folder() -> Iterator[str]:
    """Give a folder for temporary files that is its owner's alone.

    Dask puts it first in sys.path, and waits for locks in it; in a shared one, anyone can make its name first.
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
        sys.path[:] = [entry for entry in sys.path if not entry.startswith(folder)]  # anyone can make it again
        shutil.rmtree(folder, ignore_errors=True)


def _try_threads(count: int) -> None:
    """Raise ConfigError where so many threads can't be started: Dask would wait for those it lacks for ever."""
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


def _security() -> Security:
    """Return a key pair of this process, and see that its connections outlive a peer that is lost."""
    _start_forkserver()  # which has work of its own while the pair is made
    openssl.mend()
    security: Security = Security.temporary()
    return security


def _start_forkserver() -> None:
    """Start the process that workers are forked from, if there is none: it imports what they need, once for all."""
    keep = KEEP_MEMORY if "jemalloc" in pa.supported_memory_backends() else {}
    forkserver.set_forkserver_preload(["daskjobs.forked"])
    # Or the two processes that this starts would import from the working folder, whosever that is; and the second one
    # would tell, after the end of a run that was stopped, what it tidied up.
    keep = {name: value for name, value in keep.items() if name not in os.environ}
    with _environment({**keep, "PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "ignore:resource_tracker"}):
        forkserver.ensure_running()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Have other variables while the block lasts: what it starts keeps them, and this process doesn't."""
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
