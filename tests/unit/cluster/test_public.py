"""`dask_cluster`, as other people's code uses it."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import dask
import psutil
import pytest
from distributed import Client

from daskjobs.cluster.backends import settings_kinds
from daskjobs.cluster.public import ClusterKeywords, dask_cluster
from daskjobs.errors import ConfigError, UsageError
from kubeapi import KubeApi, kube_api

HERE = "127.0.0.1:0"
SCRIPT = """
from daskjobs.cluster.public import dask_cluster

def double(number):
    return 2 * number

print("begins")
with dask_cluster(workers=2, dashboard="127.0.0.1:0") as client:
    print(client.gather(client.map(double, [1, 2, 3])))
"""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("CLUSTER", "POD", "WORKERS", "WORKFLOW", "WORKFLOW_UID"):
        monkeypatch.delenv(f"DASKJOBS_{each}", raising=False)


def test_client_is_distributeds_own_and_the_default_one_in_the_block() -> None:
    with dask_cluster(processes=False, workers=2, dashboard=HERE) as client:
        assert type(client) is Client
        assert len(client.ncores()) == 2
        assert Client.current() is client
        assert dask.delayed(sum)([1, 2]).compute() == 3
        assert client.scheduler_info()["address"].startswith("inproc://")
    assert client.status == "closed"


def test_dask_computes_as_before_when_blocks_of_several_threads_do_not_end_in_turn() -> None:
    """Nor does any block leave a handler with a logger of Dask's."""
    loggers = [logging.getLogger(f"distributed.{name}") for name in ("scheduler", "worker", "nanny")]
    before, handlers = dict(dask.config.config), [list(each.handlers) for each in loggers]
    opened = [threading.Event() for _ in range(3)]
    ended = [threading.Event() for _ in range(3)]

    def use(number: int) -> int:
        with dask_cluster(processes=False, workers=1, dashboard=HERE):
            opened[number].set()
            assert ended[number].wait(30)
            return int(dask.delayed(sum)([1, 2]).compute())

    with ThreadPoolExecutor(3) as pool:
        results = []
        for number in range(3):
            results.append(pool.submit(use, number))
            assert opened[number].wait(30)
        for number in (1, 0, 2):
            ended[number].set()
            assert results[number].result(30) == 3
    assert dict(dask.config.config) == before
    for each, were in zip(loggers, handlers, strict=True):  # those of others may go meanwhile
        assert set(each.handlers) <= set(were)
    assert dask.delayed(sum)([1, 2]).compute() == 3


def test_block_in_another_leaves_the_scheduler_that_was_chosen_between() -> None:
    with (
        dask_cluster(processes=False, workers=1, dashboard=HERE),
        dask.config.set(scheduler="threads"),
    ):
        with dask_cluster(processes=False, workers=1, dashboard=HERE):
            assert dask.config.get("scheduler") == "dask.distributed"
        assert dask.config.get("scheduler") == "threads"


def test_workers_are_processes_that_are_gone_afterwards() -> None:
    with dask_cluster(workers=1, dashboard=HERE) as client:
        (pid,) = client.run(lambda: __import__("os").getpid()).values()
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.slow
def test_script_without_a_guard_runs_once_and_its_functions_reach_the_workers(tmp_path: Path) -> None:
    """multiprocessing runs a script in each of its processes again, unless it says `if __name__ == "__main__"`."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "begins\n[2, 4, 6]\n", "")


@pytest.mark.parametrize("error", [TimeoutError("mine"), OSError("mine"), KeyboardInterrupt("mine")])
def test_error_of_the_block_is_raised_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error), match="mine") as raised, dask_cluster(processes=False, workers=1, dashboard=HERE):
        raise error
    assert raised.value is error


def test_environment_counts_where_no_argument_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASKJOBS_WORKERS", "2")
    monkeypatch.setenv("DASKJOBS_DASHBOARD", HERE)
    with dask_cluster(processes=False) as client:
        assert len(client.ncores()) == 2
    with dask_cluster(processes=False, workers=1) as client:
        assert len(client.ncores()) == 1
    monkeypatch.setenv("DASKJOBS_WORKERS", "many")
    with pytest.raises(UsageError, match="DASKJOBS_WORKERS must be a whole number, got 'many'"), dask_cluster():
        pass
    monkeypatch.setenv("DASKJOBS_WORKERS", "")
    monkeypatch.setenv("DASKJOBS_KEEP_CLUSTER", "maybe")
    with pytest.raises(UsageError, match="DASKJOBS_KEEP_CLUSTER must be true or false, got 'maybe'"), dask_cluster():
        pass


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeApi]:
    with kube_api() as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
        yield api


def test_cluster_is_in_pods_when_it_is_asked_for_in_a_pod(kube: KubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    kube.add("Pod", "me", spec={"containers": [{"name": "main", "image": "mine"}]})
    kube.refused.add("create daskclusters")
    for name, value in (("POD", "me"), ("NAMESPACE", kube.namespace), ("WORKFLOW", "flow"), ("WORKFLOW_UID", "u-1")):
        monkeypatch.setenv(f"DASKJOBS_{name}", value)
    with pytest.raises(ConfigError, match="refused to create the DaskCluster dv-u-1-[0-9a-f]{8}: "), dask_cluster():
        pass
    with dask_cluster(backend="local", processes=False, workers=1, dashboard=HERE) as client:
        assert len(client.ncores()) == 1
    assert set(kube.calls) == {"create daskclusters"}  # which kr8s repeats, since credentials may have expired


def test_keyword_arguments_are_the_settings_fields() -> None:
    kinds = {each.name: type(each.default) for kind in settings_kinds() for each in fields(kind)}
    assert get_type_hints(ClusterKeywords) == kinds, "ClusterKeywords in daskjobs/cluster/public.py lacks an option"


def test_no_module_of_the_cluster_half_imports_what_only_orders_need() -> None:
    code = """
import importlib, pkgutil, sys
import daskjobs.cluster
for module in pkgutil.walk_packages(daskjobs.cluster.__path__, "daskjobs.cluster."):
    importlib.import_module(module.name)
print(sorted({"pyarrow", "pandas", "bokeh", "fsspec"} & sys.modules.keys()))
others = ("daskjobs.orders", "daskjobs.stages", "daskjobs.pipeline")
print(sorted(name for name in sys.modules if name.startswith(others)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n[]\n"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("daskjobs.cluster.public", {"dask", "distributed", "kr8s"}),
        ("daskjobs.cluster.kubernetes.removal", {"dask", "distributed"}),
        ("daskjobs.cluster.kubernetes.janitor", {"dask", "distributed"}),
    ],
)
def test_what_has_no_client_starts_without_dask(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(sorted({absent} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
