"""The cores that this process may use, and work in several threads."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from daskjobs.configured import dask_configured

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Return their number, as limited by affinity and the cgroup's CPU limit."""
    with dask_configured():
        from dask.system import CPU_COUNT  # imported late: it takes a tenth of a second
    return int(CPU_COUNT)


def in_turn(
    function: Callable[[T], R], items: Iterable[T], threads: int, stop: Callable[[], object] = lambda: None
) -> Generator[R, None, None]:
    """Yield what ``function`` returns for each item, in their order; so many threads work on the next ones.

    No more than two items a thread wait for their turn, and after an error none is begun. ``stop`` is called at the
    end, also at an early one, and ends work that takes long; close this generator where that end may be early.
    """
    if threads < 2:
        yield from map(function, items)
        return
    waiting = list[Future[R]]()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * threads:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        stop()
        pool.shutdown(cancel_futures=True)
