"""The process in which local clusters run is as it was: its settings, folders and children, and its own use of Dask."""

import copy
import gc
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver, spawn
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client, LocalCluster, get_client

from conftest import listening
from daskjobs.cluster.connection import Workload
from daskjobs.cluster.local import LocalSettings
from daskjobs.cluster.local.workers import local_cluster
from daskjobs.cluster.public import dask_cluster

SETTINGS = LocalSettings(workers=1, dashboard="127.0.0.1:0")


def logging_now() -> dict[str, Any]:
    names = ["", *(name for name in logging.root.manager.loggerDict if name.startswith(("distributed", "bokeh")))]
    loggers = {name: logging.getLogger(name) for name in names}
    return {
        name: (logger.level, logger.propagate, [(type(each), each.level, each.filters[:]) for each in logger.handlers])
        for name, logger in loggers.items()
        if name in ("", "distributed", "distributed.client", "bokeh")
    }


def surroundings() -> dict[str, Any]:
    """What of this process others could notice."""
    return {
        "dask": copy.deepcopy(dask.config.config),
        "logging": logging_now(),
        "spawn": (spawn.get_preparation_data, multiprocessing.get_start_method(allow_none=True)),
        "fork server": (forkserver._forkserver._forkserver_pid, forkserver._forkserver._preload_modules[:]),
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "path": sys.path[:],
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)},
        "warnings": warnings.filters[:],
        "files": sorted(os.listdir(tempfile.gettempdir())),
        "children": set(psutil.Process().children(recursive=True)),
        "processes": multiprocessing.active_children(),
        "addresses": listening(),
    }


def overlapping(kinds: list[bool], at_work: Callable[[], Any] = lambda: None) -> list[Any]:
    """Start a cluster in a thread each, of processes where it says True, and end the first one first."""
    all_up, over = threading.Barrier(len(kinds)), [threading.Event() for _ in kinds]
    over[0].set()

    def one(number: int) -> int:
        with local_cluster(SETTINGS, Workload(processes=kinds[number])) as connection:
            all_up.wait(30)
            if number == 0:
                at_work()
            assert over[number].wait(30)
            found = connection.client.submit(pow, 2, 3).result(timeout=20)
        if number + 1 < len(kinds):
            over[number + 1].set()
        return int(found)

    with ThreadPoolExecutor(len(kinds)) as pool:
        return list(pool.map(one, range(len(kinds))))


@pytest.fixture(scope="module", autouse=True)
def used_before() -> None:
    """What Dask, bokeh and multiprocessing start once for a process, such as the resource tracker, is there."""
    overlapping([False, True])


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gc.collect()
    return surroundings()


def test_process_is_as_it_was_when_clusters_of_several_threads_do_not_end_in_turn(before: dict[str, Any]) -> None:
    meanwhile: list[dict[str, Any]] = []
    assert overlapping([False, True, False], lambda: meanwhile.append(surroundings())) == [8, 8, 8]
    assert surroundings() == before
    for name in ("dask", "spawn", "fork server", "environment", "signals", "warnings"):
        assert meanwhile[0][name] == before[name], name


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_process_is_as_it_was_when_one_cluster_in_another_ends_by_an_exception(
    before: dict[str, Any], error: type[BaseException]
) -> None:
    with pytest.raises(error), dask_cluster(processes=False, workers=1, dashboard="127.0.0.1:0") as outer:
        with dask_cluster(processes=False, workers=1, dashboard="127.0.0.1:0") as inner:
            assert get_client() is inner
        assert outer.submit(pow, 2, 3).result() == 8
        raise error
    assert surroundings() == before


def test_cluster_of_the_programs_own_is_untouched_and_logs_what_it_logs(
    before: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("distributed.worker")
    own = {"n_workers": 1, "processes": False, "dashboard_address": None, "worker_dashboard_address": "127.0.0.1:0"}
    with local_cluster(SETTINGS, Workload()) as connection, LocalCluster(**own) as cluster, Client(cluster) as client:
        (worker,) = cluster.workers.values()
        assert worker.local_directory.startswith(f"{tempfile.gettempdir()}/dask-scratch-space")
        assert worker.periodic_callbacks["tick"].callback_time == 20
        assert len(worker.http_application.wildcard_router.rules) > 1  # the pages of its web server
        assert get_client() is client
        logger.warning("said by the program")
        for name, each in (("theirs", client), ("ours", connection.client)):
            each.loop.add_callback(logger.warning, f"said in {name}")
            assert each.submit(pow, 2, 3).result() == 8
    said = {record.getMessage() for record in caplog.records}
    assert {"said by the program", "said in theirs"} <= said
    assert "said in ours" not in said
