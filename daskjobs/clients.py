"""Clients and clusters of Dask, whose own timeouts don't always hold: here each start and end has a bound."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from distributed import Client, SpecCluster

CLOSE_SECONDS = 4  # a task that is at work in a thread can't be ended; its process can

T = TypeVar("T")
Opened = TypeVar("Opened", Client, SpecCluster)


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, or raise what it raises; TimeoutError when that takes longer, and let it go on.

    It has a thread of its own: what waits there for ever ends with the process.
    """
    results: SimpleQueue[Callable[[], T]] = SimpleQueue()

    def do() -> None:
        try:
            result = work()
        except BaseException as error:
            raised = error  # the name in the clause is gone after it
            results.put(lambda: _raise(raised))
        else:
            results.put(lambda: result)

    Thread(target=do, daemon=True).start()
    try:
        outcome = results.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    return outcome()


def _raise(error: BaseException) -> Any:
    raise error


@contextmanager
def connected(address: str, seconds: float) -> Iterator[Client]:
    """Give a client of the scheduler at ``address``. Raises OSError when it doesn't answer as one, in time."""
    with closing(within(seconds, lambda: Client(address, timeout=seconds))) as client:
        yield client


@contextmanager
def closing(opened: Opened) -> Iterator[Opened]:
    """Close a client or cluster at the end, and don't wait for a thread that is still at work."""
    try:
        yield opened
    finally:
        try:
            opened.close(timeout=CLOSE_SECONDS)
        except TimeoutError:
            logging.getLogger("distributed").setLevel(logging.CRITICAL)  # nobody waits for what it will have to tell
