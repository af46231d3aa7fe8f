"""Processes and machines that lack something: a home directory, /proc, the right to have children, cores."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from dask.system import cpu_count

from daskjobs.cluster.public import dask_cluster
from daskjobs.cores import cores
from daskjobs.errors import ConfigError

CLUSTER = """
from daskjobs.cluster.public import dask_cluster
from daskjobs.errors import ConfigError
with dask_cluster(dashboard="127.0.0.1:0", processes=False) as client:
    print(client.submit(pow, 2, 3).result(), len(client.ncores()))
"""
PAGE = """
    from http.cookiejar import CookieJar
    from urllib.request import HTTPCookieProcessor, build_opener
    print(build_opener(HTTPCookieProcessor(CookieJar())).open(client.dashboard_link).status, "page")
"""
NO_HOME = """
import os, pwd
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
del os.environ["HOME"]
"""
ONE_CORE = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
NO_PROC = """
import sys, psutil
psutil.PROCFS_PATH = "/nowhere"
sys.argv[1:] = %r
from daskjobs.cli.main import entry
entry()
"""


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_workers_are_as_many_as_the_cores_that_the_process_may_use(tmp_path: Path) -> None:
    done = python(ONE_CORE + CLUSTER, tmp_path)
    assert (done.stdout, done.stderr) == ("8 1\n", "")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "99900000 100000"}, None),
    ],
)
def test_cores_are_as_few_as_the_containers_limit_says(
    files: dict[str, str], expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path("/proc/self/cgroup").read_text().strip().split(":")[-1].strip("/")
    for name, text in files.items():
        path = tmp_path / ("" if name.startswith("cpu/") else own) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    monkeypatch.setattr("daskjobs.cores.CGROUPS", tmp_path)
    assert cores() == (expected or len(os.sched_getaffinity(0)))


def test_cores_are_those_that_dask_counts() -> None:
    assert cores() == cpu_count()


def test_user_without_a_home_directory_has_a_cluster_and_no_variable_more(tmp_path: Path) -> None:
    done = python(f"{NO_HOME}{CLUSTER}{PAGE}print('HOME' in os.environ)", tmp_path)
    assert done.stdout.split()[::2] == ["8", "200", "False"], done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["run", "--rows", "10"], "daskjobs: Dask can't find this process on this machine (.*): mount /proc"),
        (["doctor"], "FAIL  the free memory can't be read (.*): mount /proc"),
    ],
)
def test_machine_without_proc_is_a_sentence(tmp_path: Path, command: list[str], said: str) -> None:
    done = python(NO_PROC % (command,), tmp_path)
    assert done.returncode == 11
    before, after = said.split("(.*)")
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(before)]
    assert line.endswith(after)
    assert "Traceback" not in done.stdout + done.stderr


def test_path_that_is_too_long_for_a_socket_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ("long" * 25)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 25)))
    with pytest.raises(ConfigError, match="too long.*TMPDIR name a folder whose path has at most"), dask_cluster():
        pass


def test_working_directory_that_was_removed_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConfigError, match="the working directory must exist"), dask_cluster(workers=1):
        pass


@pytest.mark.parametrize("missing", ["nowhere", "nowhere.at.all", ""])
def test_module_to_preload_that_is_not_there_is_a_sentence(missing: str) -> None:
    said = f"preload must name modules that are installed, got '{missing}'"
    with pytest.raises(ConfigError, match=said), dask_cluster(preload=(missing,)):
        pass


def _in_a_cluster(_: int) -> tuple[int, bool]:
    with dask_cluster(workers=1, dashboard="127.0.0.1:0") as client:
        return client.submit(os.getpid).result(timeout=20), os.getpid() in client.run(os.getpid).values()


@pytest.mark.slow
def test_daemonic_process_has_worker_processes_which_end_with_it() -> None:
    """As the workers of multiprocessing.Pool are, and so Celery's and Airflow's."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (worker, is_own) = pool.apply(_in_a_cluster, (0,))
    assert not is_own
    assert worker != os.getpid()
