"""Jobs on a real Dask: handed out, gathered, lost, late, and given up."""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from dask.typing import Key
from distributed import Client, Future, LocalCluster, SchedulerPlugin

from daskjobs.cluster.clients import PROGRESS
from daskjobs.cluster.connection import ClusterFacts, Connection, End, Requested
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.cluster.tasks import Job, TooLateError, gather
from daskjobs.errors import ConfigError, InputError, LostWorkError

TRIES = {"distributed.scheduler.allowed-failures": 1}


def connection(client: Client, **changes: Any) -> Connection:
    settings = ClusterSettings("tcp://127.0.0.1:9", timeout=5.0)
    facts = ClusterFacts("a test", 2, "")
    made = Connection(settings, client, facts, Requested(2), "give it more memory", lambda name: End("it ended"))
    return replace(made, **changes)


@pytest.fixture(scope="module")
def threads() -> Iterator[Client]:
    """Two workers, each a thread of this process."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def jobs(*arguments: Any) -> list[Job]:
    return [Job(f"part {number}", (argument,), f"row {argument}") for number, argument in enumerate(arguments)]


def soon(seconds: float = 20) -> float:
    return time.monotonic() + seconds


# What tasks that are threads of this process share with their test; Dask pickles arguments, and no event.
begun, over = threading.Event(), threading.Event()
seen = list[int]()


@pytest.fixture(autouse=True)
def at_the_end() -> Iterator[None]:
    """Let each task end that waits."""
    begun.clear()
    over.clear()
    seen.clear()
    yield
    over.set()


def wait_for_the_end(_: object) -> None:
    begun.set()
    over.wait(20)


def first_waits_for_another(number: int) -> int:
    over.wait(20) if number == 0 else over.set()
    return number * 10


class CountTasks(SchedulerPlugin):
    """Counts the tasks that are out at once."""

    def __init__(self) -> None:
        self.seen, self.out, self.most = 0, set[Key](), 0

    def transition(self, key: Key, start: str, finish: str, *_: object, **__: object) -> None:
        if finish == "processing":
            self.seen += 1
            self.out.add(key)
        elif start == "processing":
            self.out.discard(key)
        self.most = max(self.most, len(self.out))


def fail(kind: str) -> None:
    raise InputError("no orders") if kind == "mistake" else KeyError("a bug")


def test_results_are_in_the_order_of_the_jobs_when_later_ones_end_first(threads: Client) -> None:
    assert gather(connection(threads), soon(), first_waits_for_another, jobs(0, 1, 2, 3)) == [0, 10, 20, 30]


def test_no_more_tasks_are_out_than_there_are_workers(threads: Client) -> None:
    counting = CountTasks()
    threads.cluster.scheduler.add_plugin(counting)
    gather(connection(threads), soon(), str, jobs(*range(6)))
    assert counting.seen == 6
    assert counting.most <= 2


@pytest.mark.parametrize(("wanted", "most"), [(2, 4), (8, 2)])
def test_worker_has_a_task_for_each_thread_when_there_are_more_jobs_than_workers(wanted: int, most: int) -> None:
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        counts = CountTasks()
        cluster.scheduler.add_plugin(counts)
        settings = ClusterSettings("tcp://127.0.0.1:9", timeout=5.0, threads=2)
        facts = ClusterFacts("a test", 2, "", workers_wanted=wanted)
        given = connection(client, settings=settings, facts=facts)
        assert gather(given, soon(), time.sleep, jobs(*[0.1] * 8)) == [None] * 8
        assert counts.most == most


def test_progress_is_told_here_and_to_who_watches_the_cluster(threads: Client) -> None:
    shares = list[float]()
    gather(connection(threads), soon(), lambda number: number, jobs(1, 2), shares.append)
    assert shares == [0.5, 1.0]
    assert [text for _, text in threads.get_events(PROGRESS)][-2:] == ["1 of 2 parts done", "2 of 2 parts done"]


def test_nothing_is_announced_when_nobody_can_watch(threads: Client) -> None:
    before = len(threads.get_events(PROGRESS))
    gather(connection(threads, watched=False), soon(), lambda number: number, jobs(1, 2))
    assert len(threads.get_events(PROGRESS)) == before


def test_work_is_too_late_when_a_task_does_not_end_before_the_deadline(threads: Client) -> None:
    with pytest.raises(TooLateError, match="0 of 1 parts were done within 5 s: allow more with --timeout"):
        gather(connection(threads), soon(0.1), wait_for_the_end, jobs(1))


def test_no_job_is_no_work(threads: Client) -> None:
    assert gather(connection(threads), soon(-1), lambda: None, []) == []


def test_users_mistake_is_raised_as_it_is_and_a_bug_with_its_cause(threads: Client) -> None:
    with pytest.raises(InputError, match="no orders"):
        gather(connection(threads), soon(), fail, jobs("mistake"))
    with pytest.raises(RuntimeError, match="part 0 failed") as raised:
        gather(connection(threads), soon(), fail, jobs("bug"))
    assert isinstance(raised.value.__cause__, KeyError)


def test_task_that_is_cancelled_is_lost(threads: Client) -> None:
    def cancel() -> None:
        begun.wait(10)
        futures = [future for future in threads.futures if str(future).startswith("part-")]
        threads.cancel([Future(key, threads) for key in futures], force=True)

    threading.Thread(target=cancel).start()
    with pytest.raises(LostWorkError, match=r"part 0 was lost \(cancelled\): the scheduler or its workers went away"):
        gather(connection(threads), soon(), wait_for_the_end, jobs(1))


def die_if(poison: bool) -> int:
    if poison:
        os._exit(1)
    return 7


@pytest.fixture
def processes() -> Iterator[Client]:
    """A worker process, whose nanny starts it again; a task is given up when it has died twice."""
    import dask

    with (
        dask.config.set(TRIES),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suspect", "memory", "kind", "advice"),
    [
        ("", False, LostWorkError, "; look at what this part holds, or give it more memory; the others are done"),
        ("mine.py", False, ConfigError, "; look at mine.py, whose code can end a worker (os._exit), look at what this"),
        ("", True, ConfigError, "it ended; give it more memory; the others are done"),
    ],
)
def test_job_that_ends_its_worker_each_time_is_given_up_after_the_others(
    processes: Client, suspect: str, memory: bool, kind: type[Exception], advice: str
) -> None:
    shares = list[float]()
    ended = connection(processes, how_worker_ended=lambda _: End("it ended", memory))
    with pytest.raises(kind) as raised:
        gather(ended, soon(60), die_if, jobs(True, False, False), shares.append, suspect)
    said = str(raised.value)
    assert said.startswith("part 0 (row True) was given up: its worker died each of the 2 times that it was tried; the")
    assert advice in said
    assert shares[-1] == pytest.approx(2 / 3)
