"""The cores that this process may use, and work in several threads."""

import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import TypeVar

CGROUPS = Path("/sys/fs/cgroup")

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Return their number, as limited by affinity and the cgroup's CPU limit.

    Dask counts them like this, too, but importing it for that takes longer than the work of most stages.
    """
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = _quota()
    return max(1, min(here, ceil(quota / period))) if quota > 0 and period > 0 else here


def _quota() -> tuple[int, int]:
    """Return the microseconds of a core that this process's cgroup gets in each period; zeros without a limit."""
    with suppress(OSError, ValueError):  # version 1
        folder = CGROUPS / "cpu"
        return int((folder / "cpu.cfs_quota_us").read_text()), int((folder / "cpu.cfs_period_us").read_text())
    with suppress(OSError, ValueError):  # version 2, which says "max" where there is no limit
        own = Path("/proc/self/cgroup").read_text().strip().split(":")[-1].strip("/")
        quota, period = (CGROUPS / own / "cpu.max").read_text().split()
        return int(quota), int(period)
    return 0, 0


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
