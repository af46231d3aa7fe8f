"""The pages of the Dask dashboard, saved in one file, since a cluster of its own is gone when the work has ended."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client, performance_report

from daskjobs.cluster.clients import within
from daskjobs.events import event


@contextmanager
def performance_page(client: Client, page: Path, seconds: float, on_failure: bool = False) -> Iterator[None]:
    """Save the dashboard's pages as they are when the work of this block has ended, or ``on_failure`` when it failed.

    Beginning and ending the page take at most so many ``seconds`` each. If it can't be had, that is logged and fails
    nothing: there is no file then.
    """
    report = performance_report(filename=str(page), mode="inline")
    begun = _done(client, seconds, report.__enter__)
    try:
        yield
    except Exception:  # not a signal, after which there is no time left
        if begun and on_failure:
            _done(client, seconds, lambda: report.__exit__(None, None, None))
        raise
    if begun:
        _done(client, seconds, lambda: report.__exit__(None, None, None))


def _done(client: Client, seconds: float, work: Callable[[], object]) -> bool:
    """Do a part of the page, and tell whether it was done."""

    if client.status != "running":  # it has lost the scheduler, and would wait for another
        event("performance.lost", level=logging.WARNING, error="the scheduler is gone")
        return False

    def current() -> None:
        with client.as_current():
            work()

    try:
        within(seconds, current)
    except (OSError, ImportError, ValueError, RuntimeError) as error:
        event("performance.lost", level=logging.WARNING, error=error)
        return False
    return True
