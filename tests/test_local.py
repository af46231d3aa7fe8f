import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from conftest import RESULTS, Pipeline
from daskjobs import local
from daskjobs.settings import Settings
from daskjobs.tuning import KEEP_MEMORY


@pytest.mark.parametrize(("rows", "processes"), [(50_000, False), (10**9, True)])
def test_workers_are_processes_when_the_rows_are_many(rows: int, processes: bool) -> None:
    chosen, why = local.choose(rows)
    assert chosen is processes
    assert str(rows) in why


def test_results_are_the_same_bytes_when_workers_are_processes(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline(where="threads", rows=3000)
    monkeypatch.setattr(local, "PROCESS_ROWS", 0)
    pipeline(where="processes", rows=3000)
    for where in ("threads", "processes"):
        assert json.loads((tmp_path / where / "validate/run.json").read_text())["workers_are"] == where
    for name in RESULTS:
        assert (tmp_path / "threads" / name).read_bytes() == (tmp_path / "processes" / name).read_bytes()


def test_processes_have_todays_variables_and_this_one_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(run="unused", workers=1, dashboard="127.0.0.1:0")
    for word in ("once", "again"):  # the second cluster's workers are forked from a process that the first one started
        monkeypatch.setenv("DASKJOBS_TEST_WORD", word)
        before = dict(os.environ)
        with local.local(settings, local.PROCESS_ROWS) as (client, _):
            assert list(client.run(os.environ.get, "DASKJOBS_TEST_WORD").values()) == [word]
        added = os.environ.keys() - before.keys()
        assert not added & {*KEEP_MEMORY, "PYTHONSAFEPATH"}


AS_PROCESSES = """
import signal
from daskjobs import cli, local
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in its background
local.PROCESS_ROWS = 0
cli.entry()
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, None])
def test_no_worker_process_is_left_nor_a_stack_trace_shown_when_a_run_ends(
    tmp_path: Path, ending: signal.Signals | None
) -> None:
    options = ["--run", "run", "--rows", "400000", "--workers", "2", "--dashboard", "127.0.0.1:0"]
    with subprocess.Popen(
        [sys.executable, "-c", AS_PROCESSES, "run", *options],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = ""
        while "dashboard" not in said:
            line = process.stdout.readline()
            assert line, said  # it ended before it worked
            said += line
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
