import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client, LocalCluster

from conftest import Command, Pipeline, until
from daskjobs.cluster import usage
from daskjobs.cluster.clients import count_workers
from daskjobs.cluster.connection import ClusterFacts, Connection, End, Requested
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.cluster.usage import Reading, measured, peak_bytes

SECTION = re.compile(r'<section id="resources">.*?</section>', re.DOTALL)
ABOUT = re.compile(r'<dl id="about">.*?</dl>', re.DOTALL)


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds  # other threads of the process have CPU time of their own
    while time.thread_time() < end:
        pass


def share_core() -> None:
    """Keep all threads of this process, those to come too, on one core."""
    core = min(os.sched_getaffinity(0))
    for thread in psutil.Process().threads():
        os.sched_setaffinity(thread.id, [core])


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """Two worker processes, each with its nanny, as on Kubernetes."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as running:
        yield running


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as found:
        yield found


@pytest.fixture
def measure(client: Client) -> Callable[..., dict[str, Any]]:
    """Do work on the workers, and return what is noted of their resources."""

    def measure(work: Callable[[], object]) -> dict[str, Any]:
        address = client.scheduler_info()["address"]
        facts, settings = ClusterFacts(address, 2, ""), ClusterSettings(address)
        with measured(Connection(settings, client, facts, Requested(2), "", End), 5) as measurement:
            work()
        assert measurement.resources is not None
        return measurement.resources.to_json()

    return measure


@pytest.mark.slow
def test_each_worker_says_what_it_used_for_the_work_alone_when_it_has_worked_before(
    client: Client, measure: Callable[..., dict[str, Any]]
) -> None:
    def spin_on(address: str, seconds: float) -> None:
        client.submit(spin, seconds, workers=[address], pure=False).result(timeout=30)

    one, two = sorted(client.scheduler_info()["workers"])
    spin_on(one, 1.5)
    used = measure(lambda: (spin_on(one, 0.3), spin_on(two, 0.6)))["used"]
    assert (used["workers"], used["lost"], len(used["each"])) == (2, 0, 2)
    low, high = sorted(used["each"], key=lambda each: each["busy_seconds"])
    assert 0.3 <= low["busy_seconds"] < 1.5  # and not the 1.5 before
    assert 0.3 <= low["cpu_seconds"] < 1.5
    assert high["busy_seconds"] >= 0.6
    assert used["busy_seconds"] == pytest.approx(low["busy_seconds"] + high["busy_seconds"], abs=0.01)
    assert used["cores"] == pytest.approx(used["cpu_seconds"] / used["busy_seconds"], rel=0.02)
    assert all(16 << 20 < each["memory_bytes"] <= each["peak_bytes"] for each in used["each"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how long a thread waited for a core")
def test_time_in_which_others_had_the_core_is_counted_when_workers_share_one(
    client: Client, measure: Callable[..., dict[str, Any]]
) -> None:
    client.run(share_core)

    def work() -> None:
        client.gather([client.submit(spin, 0.5, workers=[address], pure=False) for address in client.ncores()])

    used = measure(work)["used"]
    assert used["queued_seconds"] > 0.3
    assert used["cpu_seconds"] + used["queued_seconds"] == pytest.approx(used["busy_seconds"], rel=0.3)


@pytest.mark.slow
def test_peak_is_the_workers_most_when_memory_was_given_back(
    client: Client, measure: Callable[..., dict[str, Any]]
) -> None:
    def hold() -> None:
        bytearray(os.urandom(1) * (400 << 20))

    used = measure(lambda: client.submit(hold, pure=False).result(timeout=30))["used"]
    assert used["peak_bytes"] > 400 << 20
    assert used["peak_bytes"] == max(each["peak_bytes"] for each in used["each"])
    assert used["memory_bytes"] < used["peak_bytes"]


@pytest.mark.slow
def test_worker_that_joins_later_says_what_it_used_too(
    cluster: LocalCluster, client: Client, measure: Callable[..., dict[str, Any]]
) -> None:
    def work() -> None:
        cluster.scale(3)
        until(lambda: count_workers(client) == 3, "a third worker")

    used = measure(work)["used"]
    assert (used["workers"], used["lost"]) == (3, 0)
    assert all(each["cpu_seconds"] < 1 for each in used["each"])  # its start is not counted


@pytest.mark.slow
def test_worker_lost_before_the_reading_is_noted_and_nothing_is_advised(
    cluster: LocalCluster, client: Client, measure: Callable[..., dict[str, Any]]
) -> None:
    def work() -> None:
        before = set(client.scheduler_info()["workers"])
        os.kill(cluster.workers[0].process.pid, signal.SIGKILL)
        until(lambda: not before <= set(client.scheduler_info()["workers"]), "the loss of a worker")
        until(lambda: count_workers(client) == 2, "its successor")  # its nanny starts another

    found = measure(work)
    assert (found["used"]["workers"], found["used"]["lost"]) == (2, 1)
    assert found["next"] == {}
    assert "gone before they could report what they used: 1" in found["advice"][0]


@pytest.mark.slow
def test_work_is_done_all_the_same_when_a_worker_does_not_answer(
    cluster: LocalCluster, measure: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "ANSWER_SECONDS", 1)
    process = psutil.Process(cluster.workers[0].process.pid)
    try:
        found = measure(process.suspend)
    finally:
        process.resume()
    assert found["used"]["workers"] == 0
    assert found["advice"] == ["nothing to advise: no worker reported what it used"]


def test_plugin_is_gone_from_a_cluster_that_others_use_when_the_work_fails(
    client: Client, measure: Callable[..., dict[str, Any]]
) -> None:
    def fail() -> None:
        assert all(client.run(lambda dask_worker: usage.NAME in dask_worker.plugins).values())
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        measure(fail)
    assert not any(client.run(lambda dask_worker: usage.NAME in dask_worker.plugins).values())


def test_run_json_and_page_say_what_workers_asked_for_and_used(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline(workers=2)
    resources = json.loads((tmp_path / "run/report/facts.json").read_text())["stages"]["validate"]["resources"]
    assert resources["asked"]["workers"] == 2
    assert resources["used"]["cpu_seconds"] > 0
    assert 0 < resources["used"]["peak_bytes"] <= peak_bytes()
    assert resources["next"]["workers"] <= 2
    (section,) = SECTION.findall((tmp_path / "run/report/report.html").read_text())
    assert resources["advice"][0] in section
    assert f"{resources['used']['cores']:.2f} cores while busy" in section


@pytest.mark.slow
def test_page_differs_in_what_workers_used_and_its_first_lines_alone_when_a_run_is_repeated(
    daskjobs: Command, tmp_path: Path
) -> None:
    pages = []
    for workers in ("1", "2"):
        done = daskjobs("run", "--run", workers, "--workers", workers, "--rows", "500", "--dashboard", "127.0.0.1:0")
        assert done.returncode == 0, done.stderr
        pages.append((tmp_path / workers / "report/report.html").read_text())
    first, second = (SECTION.sub("", page) for page in pages)
    assert first != second
    assert ABOUT.sub("", first) == ABOUT.sub("", second)


def test_nothing_is_advised_when_partitions_were_kept_from_an_attempt_before(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    pipeline("generate", "split", "validate")
    (tmp_path / "run/validate/manifest.json").unlink()
    pipeline("validate")
    resources = json.loads((tmp_path / "run/validate/facts.json").read_text())["resources"]
    assert (resources["used"]["kept"], resources["next"]) == (True, {})


@pytest.mark.parametrize(("threads", "cpu_seconds"), [(True, 3.0), (False, 5.0)])
def test_cpu_counts_once_when_workers_are_threads_of_one_process(threads: bool, cpu_seconds: float) -> None:
    readings = {each: Reading(each, 2.0, cpu, 0.0, 10, 20) for each, cpu in (("a", 3.0), ("b", 2.0))}
    used = usage.summed(readings, {"a", "b", "c"}, kept=False, start_seconds=1.0, threads=threads)
    assert (used.cpu_seconds, used.busy_seconds, used.peak_bytes, used.lost) == (cpu_seconds, 4.0, 20, 1)
