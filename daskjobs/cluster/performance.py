"""Saves the pages of the Dask dashboard in one file, since an ephemeral cluster is gone after the work."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client, performance_report

from daskjobs.cluster.clients import within
from daskjobs.events import event


@contextmanager
def performance_page(client: Client, page: Path, seconds: float, on_failure: bool = False) -> Iterator[None]:
    """Save the dashboard's pages to ``page`` when this block ends; when it fails, only with ``on_failure``.

    Beginning and ending the page take at most ``seconds`` each. A failure is only logged, and leaves no file.
    """
    report = performance_report(filename=str(page), mode="inline")
    begun = _done(client, seconds, report.__enter__)
    try:
        yield
    except Exception:  # and no signal: there is no time left then
        if begun and on_failure:
            _done(client, seconds, lambda: report.__exit__(None, None, None))
        raise
    if begun:
        _done(client, seconds, lambda: report.__exit__(None, None, None))


def _done(client: Client, seconds: float, work: Callable[[], object]) -> bool:
    """Begin or end the page, and tell whether that worked."""

    if client.status != "running":  # the client has lost its scheduler, and would wait until it is back
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
