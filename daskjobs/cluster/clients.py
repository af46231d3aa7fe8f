"""Calls to a Dask client, each with a time limit: Dask's own timeouts don't always hold."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from threading import Lock, Thread
from typing import Any, TypeVar

import dask
from distributed import Client, Security, SpecCluster
from distributed.client import _current_client
from distributed.comm.core import CommClosedError

from daskjobs.cluster.loops import silent_loop
from daskjobs.errors import ClusterError

ANSWER_SECONDS = 10
NAME_SECONDS = 0.5
CLOSE_SECONDS = 4  # a task that runs in a thread can't be stopped, and must not block the end
PROGRESS = "daskjobs"  # the scheduler's topic for progress, which `daskjobs dashboard` follows

T = TypeVar("T")
Closable = TypeVar("Closable", Client, SpecCluster)


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return or raise what ``work`` does, or raise TimeoutError when that takes longer than ``seconds``.

    After a timeout, the work goes on in a thread, which ends with the process.
    """
    outcome: Future[T] = Future()

    def do() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=do, daemon=True).start()
    if not wait([outcome], seconds).done:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return outcome.result()


@contextmanager
def connected(address: str, seconds: float, security: Security | None = None) -> Iterator[Client]:
    """Give a client of the scheduler at ``address``; without ``security``, Dask's configuration names the TLS files.

    Raises ClusterError when no scheduler answers within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    with silent_loop() as loop:
        while True:
            left = max(deadline - time.monotonic(), 1)
            try:
                opened = within(left, partial(Client, address, timeout=left, security=security, loop=loop))
                break
            except OSError as error:
                # Dask resolves the name again after it has connected, and fails if the name server is busy then.
                if isinstance(error, socket.gaierror) and time.monotonic() < deadline:
                    time.sleep(NAME_SECONDS)
                    continue
                raise ClusterError(f"no Dask scheduler answers at {address} within {seconds:g} s: {error}") from error
        with closing(opened) as client:
            yield client


@contextmanager
def closing(opened: Closable) -> Iterator[Closable]:
    """Close a client or cluster at the end of the block, without waiting for threads that still work."""
    try:
        yield opened
    finally:
        with suppress(TimeoutError):  # its event loop then goes on, and logs nothing (`silent_loop`)
            opened.close(timeout=CLOSE_SECONDS)


@dataclass(eq=False)
class _Chosen:
    """Dask's default scheduler for the whole process, and how to restore the one before."""

    undo: AbstractContextManager[Any]


_chosen: list[_Chosen] = []  # one for each open block of `default`, in order
_choosing = Lock()


@contextmanager
def default(client: Client) -> Iterator[None]:
    """Make the client Dask's default in this block, as its ``as_current`` does, and restore everything afterwards.

    Blocks of several threads may end in any order: one that isn't the last passes on what it would restore to the next.
    """
    with _choosing:
        mine = _Chosen(dask.config.set(scheduler="dask.distributed"))
        _chosen.append(mine)
    current = _current_client.set(client)
    try:
        yield
    finally:
        _current_client.reset(current)
        with _choosing:
            at = _chosen.index(mine)
            _chosen.remove(mine)
            if at < len(_chosen):
                _chosen[at].undo = mine.undo
            else:
                mine.undo.__exit__(None, None, None)


@contextmanager
def answering() -> Iterator[None]:
    """Raise ClusterError when the scheduler stops answering in this block."""
    try:
        yield
    except (CommClosedError, TimeoutError) as error:
        raise ClusterError(f"the Dask scheduler went away during the work: {error}") from error


def ask(client: Client, operation: str, seconds: float = ANSWER_SECONDS, **arguments: Any) -> Any:
    """Call the scheduler's RPC with a timeout, because some Client methods can hang.

    Raises OSError when the scheduler does not answer.
    """
    scheduler: Any = client.scheduler
    if scheduler is None:
        raise CommClosedError("the client is closed")
    return client.sync(getattr(scheduler, operation), callback_timeout=seconds, **arguments)


def announce(client: Client, progress: str) -> None:
    """Publish the progress to `daskjobs dashboard`; a scheduler that doesn't answer is no failure."""
    with suppress(OSError):
        ask(client, "log_event", topic=PROGRESS, msg=progress)


def count_workers(client: Client) -> int:
    """Return the number of workers. Raises ClusterError when the scheduler doesn't say."""
    try:
        identity = ask(client, "identity", n_workers=-1)
    except OSError as error:
        raise ClusterError(f"the Dask scheduler doesn't say how many workers it has: {error}") from error
    return len(identity["workers"])
