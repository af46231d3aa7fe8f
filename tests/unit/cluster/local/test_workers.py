"""Workers on this machine: what they are given, that they end, and that nobody else can use them."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from distributed import Security
from distributed.comm import connect

from conftest import RESULTS, Pipeline, listening
from daskjobs import stages
from daskjobs.cluster.connection import Connection, Workload
from daskjobs.cluster.local import LocalSettings, forks
from daskjobs.cluster.local import workers as local_workers
from daskjobs.cluster.local.workers import local_cluster
from daskjobs.errors import ConfigError, InputError
from daskjobs.memory import KEEP_MEMORY
from daskjobs.pipeline.manifest import Manifest
from daskjobs.stages import workers
from daskjobs.stages.run_settings import Context, Settings

SETTINGS = LocalSettings(workers=2, dashboard="127.0.0.1:0")


@pytest.mark.slow
def test_results_are_the_same_bytes_when_workers_are_processes(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline(where="threads", rows=3000)
    monkeypatch.setattr(workers, "PROCESS_BYTES", 0)
    pipeline(where="processes", rows=3000)
    for where in ("threads", "processes"):
        assert json.loads((tmp_path / where / "validate/facts.json").read_text())["workers_are"] == where
    for name in RESULTS:
        assert (tmp_path / "threads" / name).read_bytes() == (tmp_path / "processes" / name).read_bytes()


def test_processes_have_todays_variables_and_this_one_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LocalSettings(workers=1, dashboard="127.0.0.1:0")
    for word in ("once", "again"):  # the second cluster's workers are forked from a process that the first one started
        monkeypatch.setenv("DASKJOBS_TEST_WORD", word)
        before = dict(os.environ)
        with local_cluster(settings, Workload(processes=True, environment=KEEP_MEMORY)) as connection:
            assert list(connection.client.run(os.environ.get, "DASKJOBS_TEST_WORD").values()) == [word]
            assert dict(os.environ) == before
        assert dict(os.environ) == before


def test_dashboard_is_on_a_free_port_without_a_word_when_its_own_is_taken_at_the_last_moment(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(local_workers, "free", lambda address: address)  # as another process takes it right after that
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with local_cluster(LocalSettings(workers=1, dashboard=f"127.0.0.1:{taken}"), Workload()) as connection:
            port = urlsplit(connection.facts.dashboard).port
    assert port not in (None, taken)
    assert [str(each.message) for each in recwarn if "Port" in str(each.message)] == []


AS_PROCESSES = """
import signal
from daskjobs.cli import main as cli
from daskjobs.stages import workers
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in its background
workers.PROCESS_BYTES = 0
cli.entry()
"""


@contextmanager
def until_it_says(text: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run with processes that has said this, and all that it has said."""
    options = ["--run", "run", "--rows", "400000", "--workers", "2", "--dashboard", "127.0.0.1:0"]
    with subprocess.Popen(
        [sys.executable, "-c", AS_PROCESSES, "run", *options],
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = ""
        while text not in said:
            line = process.stdout.readline()
            assert line, said  # it ended before it worked
            said += line
        yield process, said


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, None])
def test_no_worker_process_is_left_nor_a_stack_trace_shown_when_a_run_ends(
    tmp_path: Path, ending: signal.Signals | None
) -> None:
    with until_it_says("dashboard", tmp_path) as (process, said):
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) > 2  # the workers, and what they were forked from
        if ending == signal.SIGINT:
            os.killpg(process.pid, ending)  # as a terminal does
        elif ending is not None:
            process.send_signal(ending)
        said += process.communicate(timeout=60)[0]
    _, left = psutil.wait_procs(children, timeout=10)
    assert not left
    assert "Traceback" not in said
    assert (process.returncode == 0) == (ending is None)


@pytest.mark.slow
def test_no_process_is_left_when_a_run_is_stopped_while_its_workers_start(tmp_path: Path) -> None:
    with until_it_says("\nsplit", tmp_path) as (process, said):
        while len(psutil.Process(process.pid).children()) < 2:  # what tracks resources, and the fork server
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        said += process.communicate(timeout=60)[0]
        assert process.returncode == 128 + signal.SIGTERM, said
    assert "Traceback" not in said
    assert "not everything was closed" not in said
    deadline = time.monotonic() + 10
    while left := [each for each in psutil.process_iter() if session(each) == process.pid]:
        assert time.monotonic() < deadline, left


def session(process: psutil.Process) -> int:
    with suppress(OSError):
        return os.getsid(process.pid)
    return 0


def test_workers_start_while_split_reads_and_end_with_validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PROCESS_BYTES", 0)
    begun = dict[str, bool]()

    def run(name: str, context: Context) -> Manifest:
        assert context.early is not None
        begun[name] = context.early.begun
        return stages.run_stage(name, context)

    context = stages.new_context(
        Settings.of(run_uri=str(tmp_path / "run"), rows=100, workers=1, dashboard="127.0.0.1:0")
    )
    stages.run_all(context, run)
    assert json.loads((tmp_path / "run/validate/facts.json").read_text())["workers_are"] == "processes"
    assert {name for name, early in begun.items() if early} == {"validate"}


def test_fork_server_ends_when_split_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PROCESS_BYTES", 0)
    (tmp_path / "x.csv").write_text("no,orders\n1,2\n")
    forked = list[int]()
    end = forks._Server.end

    def noted(server: Any) -> None:
        forked.append(server._forkserver_pid)
        end(server)

    monkeypatch.setattr(forks._Server, "end", noted)
    context = stages.new_context(Settings.of(run_uri=str(tmp_path / "run"), input=str(tmp_path / "x.csv")))
    with pytest.raises(InputError, match="order_id"):
        stages.run_all(context)
    assert len(forked) == 1
    assert not psutil.pid_exists(forked[0])


@pytest.fixture(params=["threads", "processes"])
def running(request: pytest.FixtureRequest) -> Iterator[tuple[Connection, set[tuple[str, int]]]]:
    """A connection, and the addresses at which something listens for it."""
    before = listening()
    with local_cluster(SETTINGS, Workload(request.param == "processes")) as connection:
        assert connection.facts.workers_are == request.param
        yield connection, listening() - before


def test_all_that_listens_does_so_on_loopback(running: tuple[Connection, set[tuple[str, int]]]) -> None:
    connection, addresses = running
    assert {host for host, _ in addresses} == {"127.0.0.1"}
    # The dashboard, and a web server without pages of each worker; processes take commands on top, as do their nannies.
    assert len(addresses) == (3 if connection.facts.workers_are == "threads" else 8)


@pytest.mark.slow
def test_nothing_that_listens_takes_a_command_from_who_lacks_the_key_pair(
    running: tuple[Connection, set[tuple[str, int]]],
) -> None:
    stranger = Security.temporary().get_connection_args("client")

    async def command(address: str) -> None:
        arguments = stranger if address.startswith("tls") else {}
        comm = await connect(address, timeout=1, **arguments)
        await comm.write({"op": "identity", "reply": True})
        await asyncio.wait_for(comm.read(), 1)

    async def answers() -> list[object]:
        addresses = [f"{protocol}://{host}:{port}" for host, port in running[1] for protocol in ("tcp", "tls")]
        commands = (asyncio.wait_for(command(address), 2) for address in addresses)
        return list(await asyncio.gather(*commands, return_exceptions=True))

    refusals = asyncio.run(answers())
    assert len(refusals) >= 6
    assert [each for each in refusals if not isinstance(each, OSError | ValueError | asyncio.TimeoutError)] == []
    assert running[0].client.submit(lambda: 1).result(timeout=20) == 1


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files in which someone else has made Dask's scratch folder first."""
    scratch = tmp_path / "dask-scratch-space"
    scratch.mkdir()
    (scratch / "planted.py").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return scratch


@pytest.fixture(params=["threads", "processes"])
def running_in(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_no_module_is_imported_from_a_shared_scratch_folder_and_its_lock_stops_nothing(
    running_in: str, shared: Path
) -> None:
    def finds() -> tuple[bool, list[str]]:
        from importlib.util import find_spec

        return find_spec("planted") is not None, sys.path

    with (shared / "global.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with local_cluster(SETTINGS, Workload(running_in == "processes")) as connection:
            assert not any(entry.startswith(str(shared)) for entry in sys.path)
            planted, path = connection.client.submit(finds).result(timeout=20)
            own = [*shared.parent.glob("daskjobs-*")]  # the cluster's, and the fork server's
            assert len(own) == (2 if running_in == "processes" else 1)
            assert {each.stat().st_mode & 0o777 for each in own} == {0o700}
    assert not planted
    assert not any(entry.startswith(str(shared)) for entry in path)
    assert not any(each.exists() for each in own)
    assert not any(entry.startswith(str(each)) for entry in sys.path for each in own)


@pytest.mark.slow
def test_no_module_is_imported_from_the_working_folder_when_processes_are_started(tmp_path: Path) -> None:
    (tmp_path / "planted").mkdir()
    for name in ("multiprocessing", "signal", "selectors"):
        (tmp_path / "planted" / f"{name}.py").write_text("open('../run_by_another', 'w').close()\nraise SystemExit")
    (tmp_path / "mine.py").write_text("def odd(orders):\n    return orders['quantity'] > 7\n")
    command = [
        sys.executable,
        "-P",
        "-m",
        "daskjobs",
        "run",
        "--rows",
        "10",
        "--run",
        "../run",
        "--rules",
        "../mine.py",
    ]
    done = subprocess.run(command, cwd=tmp_path / "planted", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run_by_another").exists()


def test_run_says_so_when_there_is_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    with pytest.raises(ConfigError, match="Dask needs a folder for temporary files: .*: set TMPDIR|; set TMPDIR"):
        local_cluster(SETTINGS, Workload()).__enter__()
