"""Workers as Kubernetes starts and ends them, processes of `dask worker`, and a scheduler that forgives no death."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dask
import pytest
from distributed import Client, Event, Future, KilledWorker, LocalCluster

from daskjobs.cluster.kubernetes.spec import RETIREMENT
from daskjobs.cluster.retirement import MOVE_SECONDS

pytestmark = pytest.mark.slow
ENDS = 3  # of workers, one after another, that have the task


@pytest.fixture
def client() -> Iterator[Client]:
    """A client of a scheduler without workers, which gives a task up when the first worker dies with it."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def worker(client: Client) -> Iterator[subprocess.Popen[bytes]]:
    """Have a worker more while the block lasts, if it isn't ended before."""
    command = [sys.executable, "-m", "dask", "worker", address_of(client), "--preload-nanny", RETIREMENT]
    before = len(workers(client))
    options = ["--nthreads", "1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--host", "127.0.0.1"]
    with subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: len(workers(client)) > before)
            yield process
        finally:
            process.kill()


def address_of(client: Client) -> str:
    return str(client.scheduler_info(n_workers=0)["address"])


def workers(client: Client) -> list[str]:
    return list(client.scheduler_info(n_workers=-1)["workers"])


def wait_until(good: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < end
        time.sleep(0.05)


def hold(over: Event) -> int:
    over.wait()
    return os.getpid()


def taken(client: Client, task: Future[int]) -> bool:
    return any(task.key in keys for keys in client.processing().values())


def test_task_is_not_given_up_when_each_worker_that_takes_it_is_asked_to_end(client: Client) -> None:
    over = Event(client=client)
    task = client.submit(hold, over)
    for _ in range(ENDS):
        with worker(client) as process:
            wait_until(lambda: taken(client, task))
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: not workers(client))
            assert task.status == "pending"
    over.set()
    with worker(client):
        assert task.result(timeout=20) != os.getpid()


@pytest.mark.parametrize("asked", [False, True])
def test_task_is_given_up_when_its_worker_is_killed(client: Client, asked: bool) -> None:
    """By the kernel, at once; or by the kubelet, which asks a second before, when a pod uses more than it may."""
    task = client.submit(hold, Event(client=client))
    with worker(client) as process:
        wait_until(lambda: taken(client, task))
        if asked:
            process.send_signal(signal.SIGTERM)
            time.sleep(1)
        process.kill()
        with pytest.raises(KilledWorker):
            task.result(timeout=20)


def test_data_that_only_this_worker_has_go_to_another_when_it_is_asked_to_end(client: Client) -> None:
    with worker(client) as first:
        (data,) = client.scatter([bytearray(1000)])
        with worker(client):
            first.send_signal(signal.SIGTERM)
            first.wait(20)
            assert len(data.result(timeout=10)) == 1000


def test_worker_that_is_asked_to_end_ends_soon_when_the_scheduler_is_gone(client: Client) -> None:
    with worker(client) as process:
        client.shutdown()
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert time.monotonic() - begun < MOVE_SECONDS  # which it may take where the scheduler answers
