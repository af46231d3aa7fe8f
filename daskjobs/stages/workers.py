"""The workers that check partitions: what they are on this machine, and how they start before validate needs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from daskjobs.cluster.backends import early_workers
from daskjobs.cluster.connection import Workload
from daskjobs.memory import KEEP_MEMORY
from daskjobs.orders import validation
from daskjobs.stages.run_settings import Context, Settings

SPARED = f"{__package__}.spared"  # not imported here, since it is for processes that only work for this run
PROCESS_BYTES = 360 << 20  # from here on, processes are faster than threads in spite of their slow start, on two cores


def workload(settings: Settings) -> Workload:
    """Return what the partitions' tasks ask of their workers."""
    own = not settings.rules and not settings.rule_functions
    return Workload(preload=(*((SPARED,) if own else ()), f"{validation.__name__}.partition"), results=False)


def local_workload(context: Context, processes: bool) -> Workload:
    """Return the same for the workers of a run: whether local ones are ``processes``, and what these start with."""
    return replace(
        workload(context.settings),
        processes=processes,
        environment=_environment() if processes else {},
        check=context.storage.check,
        tell=context.tell,
    )


def are_processes(size: int, rules: str) -> tuple[bool, str]:
    """Tell whether local workers should be processes, for ``size`` bytes of orders, and why.

    Threads start at once. Processes take half a second more, but don't wait for each other's hold of Python's lock, and
    keep freed memory (`memory.KEEP_MEMORY`), which must be set before a process starts. And they can be killed,
    whatever the user's rules do in them.
    """
    if rules:
        return True, f"{rules} is code of its own, which may run for ever or end its process"
    if size < PROCESS_BYTES:
        return False, f"{size >> 20} MiB are soon done: the start of processes pays from {PROCESS_BYTES >> 20} MiB on"
    return True, f"{size >> 20} MiB are worth the start of processes, which don't wait for each other as threads do"


def _environment() -> dict[str, str]:
    """Return the variables that make worker processes keep freed memory, if this machine's Arrow supports them."""
    import pyarrow as pa

    return KEEP_MEMORY if "jemalloc" in pa.supported_memory_backends() else {}


@contextmanager
def workers_ahead(context: Context) -> Iterator[Context]:
    """Give a context in which `fork` and `begin` start the run's workers; they end with the block at the latest."""
    early = early_workers(context.settings.cluster)
    try:
        yield replace(context, early=early)
    finally:
        if early:
            early.end()


def fork(context: Context, size: int) -> None:
    """Start the process that local workers are forked from, if ``size`` bytes of orders are to be checked by some.

    It imports what they need, beside whatever this process does.
    """
    if context.early and _are_processes(context, size):
        context.early.fork(local_workload(context, processes=True))


def begin(context: Context, size: int) -> None:
    """Start the workers in a thread, if they are processes; end what `fork` has started for a wrong ``size`` before.

    The thread imports Dask: it begins when this process has made its own imports.
    """
    fork(context, size)
    if context.early:
        context.early.begin() if _are_processes(context, size) else context.early.end()


def _are_processes(context: Context, size: int) -> bool:
    settings = context.settings
    return are_processes(size, "own rules" if settings.rules or settings.rule_functions else "")[0]
