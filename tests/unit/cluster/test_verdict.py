"""Functions that get a client of one real Dask cluster, here: what they may do, and what their failures mean."""

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client, KilledWorker, get_client
from distributed.comm.core import CommClosedError

from daskjobs.cluster.backends import connect
from daskjobs.cluster.connection import Connection, End, Workload
from daskjobs.cluster.exits import keep_workers
from daskjobs.cluster.inside import call
from daskjobs.cluster.local import LocalSettings
from daskjobs.cluster.verdict import judged, said
from daskjobs.errors import ClusterError, ConfigError, DaskjobsError, FunctionError, LostWorkError

HERE = str(Path(__file__).parent)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """One worker, a process, as a step has it."""
    with connect(LocalSettings(workers=1, dashboard="127.0.0.1:0"), Workload(processes=True)) as made:
        keep_workers(made.client)
        yield made


def raised(error: BaseException) -> None:
    raise error


class OwnError(BaseException):
    """What is no Exception."""


class NoText(Exception):
    """An exception that has no text."""

    def __str__(self) -> str:
        if self.args[0]:
            raise KeyError
        nothing: Any = None
        return nothing


class Text(str):
    """A text that can't be split."""

    def __str__(self) -> str:
        return self

    def splitlines(self, keepends: bool = False) -> list[str]:
        raise RuntimeError(keepends)


class NoTextExit(BaseException):
    """The same of what is no Exception."""

    def __str__(self) -> str:
        return str(1 / 0)


def cancels(client: Client) -> None:
    future = client.submit(time.sleep, 5)
    client.cancel(future)
    future.result()


def cancels_many(client: Client) -> None:
    futures = client.map(time.sleep, [5, 5], pure=False)
    client.cancel(futures)
    client.gather(futures)


def closes_and_fails(client: Client) -> None:
    client.close()
    raise ValueError("my own error")


def closes_and_submits(client: Client) -> None:
    client.close()
    client.submit(sum, [1])


def knows_no_outputs(client: Client) -> None:
    client.submit(raised, KeyError("DASKJOBS_OUTPUTS")).result()


# What a function does, and its sentence. None of these is the cluster's fault.
OWN: dict[str, tuple[Any, str]] = {
    "sys.exit in a task": (lambda client: client.submit(sys.exit, 3, pure=False).result(), "SystemExit: 3"),
    "Ctrl-C in a task": (lambda client: client.submit(raised, KeyboardInterrupt()).result(), "KeyboardInterrupt"),
    "GeneratorExit in a task": (lambda client: client.submit(raised, GeneratorExit("x")).result(), "GeneratorExit: x"),
    "no Exception in a task": (lambda client: client.submit(raised, OwnError("mine")).result(), "OwnError: mine"),
    "sys.exit": (lambda _: sys.exit(3), "SystemExit: 3"),
    "an exception whose text raises": (lambda _: raised(NoText(1)), "NoText: its text can't be shown, .* KeyError$"),
    "an exception without a text": (lambda _: raised(NoText(None)), "NoText: its text can't be shown, .* TypeError$"),
    "no Exception, without a text, in a task": (
        lambda client: client.submit(raised, NoTextExit()).result(),
        "NoTextExit: its text can't be shown, since its __str__ raises ZeroDivisionError",
    ),
    "an exception whose text is of its own class": (lambda _: raised(ValueError(Text("mine"))), "ValueError: mine$"),
    "words that Dask uses": (
        lambda _: raised(TypeError("Could not serialize object")),
        "TypeError: Could not .* object$",
    ),
    "a KeyError of an array": (lambda _: raised(KeyError(np.arange(2))), r"KeyError: array\(\[0, 1\]\)"),
    "Dask's own error of a killed worker": (lambda _: raised(KilledWorker("x", None, 1)), "KilledWorker: "),  # type: ignore[arg-type]
    "Dask's own error of a connection": (lambda _: raised(CommClosedError("my own base")), "CommClosedError: my own"),
    "its own cancel": (cancels, "FutureCancelledError: .* cancelled for reason: unknown"),
    "its own cancel of many": (cancels_many, "FutureCancelledError: .* cancelled for reason: unknown"),
    "its client closed": (closes_and_fails, "ValueError: my own error"),
    "its closed client used": (closes_and_submits, "ClosedClientError: Client is closed"),
    "an argument that can't be pickled": (
        lambda client: client.submit(id, threading.Lock()).result(),
        "Could not serialize object of type [A-Za-z]+: TypeError: cannot pickle '_thread.lock' object$",
    ),
    "a task's result that can't be pickled": (
        lambda client: client.submit(threading.Lock).result(),
        "Could not serialize object of type lock: TypeError: cannot pickle '_thread.lock' object$",
    ),
    "its own timeout": (lambda client: client.submit(time.sleep, 1).result(timeout=0.1), "TimeoutError"),
    "no outputs in a task": (knows_no_outputs, "KeyError: 'DASKJOBS_OUTPUTS': tasks have no such folder; let them"),
}


@pytest.mark.parametrize("what", OWN)
def test_functions_own_doing_is_told_by_its_own_words_and_is_no_fault_of_the_cluster(
    connection: Connection, what: str
) -> None:
    function, words = OWN[what]
    with pytest.raises(BaseException) as failure:  # noqa: PT011  # which of them is what is judged
        call(connection.client, function, {})
    verdict = judged("mine:f", HERE, failure.value, connection)
    assert type(verdict) is FunctionError, verdict
    with pytest.raises(FunctionError, match=words):
        raise verdict
    assert len(str(verdict)) < 700
    assert call(connection.client, lambda client: client.submit(abs, -1).result(), {}) == 1  # nothing died of it


def closes(client: Client) -> int:
    result: int = client.submit(sum, [1, 2]).result()
    client.close()
    return result


def uses_with(client: Client) -> int:
    with client:
        return int(client.submit(sum, [1, 2]).result())


def computes_in_threads(client: Client) -> list[float]:
    assert get_client() is client
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(lambda n: float(da.ones(n, chunks=2).sum().compute()), [4, 6, 8]))


def makes_clients(client: Client) -> list[int]:
    with Client() as mine, Client(client.scheduler.address) as another:
        assert mine.scheduler.address == another.scheduler.address == client.scheduler.address
        return [each.submit(sum, [1, 2], pure=False).result() for each in (mine, another, client)]


async def awaits(client: Client, numbers: list[int]) -> int:
    futures = client.map(abs, numbers)
    await asyncio.sleep(0)
    return sum(await client.gather(futures))


@pytest.mark.parametrize(
    ("function", "arguments", "result"),
    [
        (closes, {}, 3),
        (uses_with, {}, 3),
        (computes_in_threads, {}, [4.0, 6.0, 8.0]),
        (makes_clients, {}, [3, 3, 3]),
        (awaits, {"numbers": [-1, -2]}, 3),
    ],
)
def test_function_may_use_its_client_as_any(
    connection: Connection, function: Any, arguments: dict[str, Any], result: object
) -> None:
    assert call(connection.client, function, arguments) == result
    assert call(connection.client, closes, {}) == 3


def test_what_tasks_print_by_dask_is_printed_once(connection: Connection, capfd: pytest.CaptureFixture[str]) -> None:
    def prints() -> None:
        from distributed import print as tell

        tell("said once")

    def function(client: Client) -> None:
        client.submit(prints).result()
        client.sync(asyncio.sleep, 0.3)  # it comes as an event

    call(connection.client, function, {})
    assert capfd.readouterr().out.count("said once") <= 2  # the worker's own, and the client's


class Ended:
    """A connection whose cluster has gone, and says how."""

    def __init__(self, connection: Connection, end: End) -> None:
        self.client, self.settings, self.memory_advice = Closed(connection.client), connection.settings, "more memory"
        self.how_cluster_ended = lambda: end
        self.how_worker_ended = lambda _: End("OOMKilled", out_of_memory=True)


class Closed:
    """A client that has lost its scheduler for so long that it closed itself."""

    def __init__(self, client: Client) -> None:
        self.scheduler, self.sync = None, client.sync


@pytest.mark.parametrize(
    ("end", "kind", "words"),
    [
        (End("the scheduler was OOMKilled", out_of_memory=True), ConfigError, "used it: the scheduler was OOMK"),
        (End("it was idle"), ClusterError, "went away while mine:f used it: it was idle"),
        (End(), ClusterError, "used it: .*closed"),
    ],
)
def test_lost_cluster_is_told_by_its_end(
    connection: Connection, end: End, kind: type[DaskjobsError], words: str
) -> None:
    gone: Any = Ended(connection, end)
    with pytest.raises(BaseException) as failure:  # noqa: PT011
        call(connection.client, closes_and_submits, {})
    for error in (failure.value, CommClosedError("the comm is closed")):
        with pytest.raises(kind, match=words):
            raise judged("mine:f", HERE, error, gone)
    own = judged("mine:f", HERE, ValueError("my own error"), gone)
    assert type(own) is FunctionError  # whatever became of the cluster


def test_worker_that_is_out_of_memory_each_time_needs_more_and_is_not_tried_again(connection: Connection) -> None:
    gone: Any = Ended(connection, End())
    worker = SimpleNamespace(name="dv-1-worker", address="tls://10.0.0.1:1")
    with pytest.raises(ConfigError, match=r"^mine:f lost the task big-1: .*OOMKilled; more memory$"):
        raise judged("mine:f", HERE, KilledWorker("big-1", worker, 2), gone)  # type: ignore[arg-type]
    gone.how_worker_ended = lambda _: End("Error 1")
    with pytest.raises(LostWorkError, match=r"Error 1; look at what this task holds, or more memory$"):
        raise judged("mine:f", HERE, KilledWorker("big-1", worker, 2), gone)  # type: ignore[arg-type]


def test_text_of_an_error_is_one_line() -> None:
    assert said(ValueError("two\n  lines")) == "ValueError: two lines"
    assert said(ValueError()) == "ValueError"
