"""How the command line ends when it is told to, or when a bound is over, while something hangs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from conftest import Command, row, until

SLEEPS = "import time\ndef sleepy(orders):\n    open('asleep', 'w').close()\n    time.sleep(60)\n"
LOADS = "import time\nopen('asleep', 'w').close()\ntime.sleep(60)\n"
# A shell ignores Ctrl-C for what runs in its background, as these tests may.
HEARS = """
import signal
from daskjobs import __main__
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
# Sleeps in a thread of the process itself, where nothing can end it.
THREADS = f"""{HEARS}
import time
from daskjobs.cluster import clients
from daskjobs.orders.validation import partition
def sleepy(*_):
    open('asleep', 'w').close()
    time.sleep(60)
partition.check_partition = sleepy
"""
RUN = ["run", "--rows", "10", "--run", "run", "--workers", "2", "--dashboard", "127.0.0.1:0"]
BOUND = 10 + 3  # of the settings, and for a busy machine


@contextmanager
def started(where: Path, *arguments: str, script: str = THREADS) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", f"{script}\n__main__.entry()", *RUN, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=where, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def arguments(where: Path, kind: str) -> list[str]:
    if kind == "threads":
        return []
    (where / "mine.py").write_text(SLEEPS if kind == "processes" else LOADS)
    return ["--rules", "mine.py"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "sent", "code", "words"),
    [
        ("threads", signal.SIGINT, 130, "daskjobs: stopped by Ctrl-C; start it again with the same --run to continue"),
        ("threads", signal.SIGTERM, 143, "daskjobs: stopped by SIGTERM; start it again with the same --run"),
        ("processes", signal.SIGHUP, 129, "daskjobs: stopped by SIGHUP, as when a terminal is closed; start it again"),
    ],
)
def test_run_ends_with_a_sentence_when_it_is_told_to_while_a_task_hangs(
    tmp_path: Path, kind: str, sent: signal.Signals, code: int, words: str
) -> None:
    with started(tmp_path, *arguments(tmp_path, kind)) as process:
        until((tmp_path / "asleep").exists, "a task", 60)
        children = psutil.Process(process.pid).children(recursive=True)
        begun = time.monotonic()
        process.send_signal(sent)
        _, said = process.communicate(timeout=60)
    assert time.monotonic() - begun < BOUND
    assert process.returncode == code
    assert words in said
    assert "Traceback" not in said
    assert (tmp_path / "run/cleanup/receipt.json").exists()
    assert not psutil.wait_procs(children, timeout=10)[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("threads", 22, "0 of 5 partitions were done within 1 s: allow more with --timeout"),
        ("processes", 22, "0 of 5 partitions were done within 2 s: allow more with --timeout"),
        ("loading", 11, "mine.py was still loading when --timeout was over"),
    ],
)
def test_run_ends_when_the_timeout_is_over_while_a_task_hangs(tmp_path: Path, kind: str, code: int, words: str) -> None:
    seconds = "1" if kind == "threads" else "2"  # in which a process may load its modules
    with started(tmp_path, "--timeout", seconds, *arguments(tmp_path, kind)) as process:
        until((tmp_path / "asleep").exists, "a task", 60)
        begun = time.monotonic()
        _, said = process.communicate(timeout=60)
    assert time.monotonic() - begun < BOUND + 2
    assert (process.returncode, words in said) == (code, True), said
    assert "Traceback" not in said


@pytest.mark.slow
def test_second_ctrl_c_ends_the_run_at_once(tmp_path: Path) -> None:
    with started(tmp_path, script=f"{THREADS}\nclients.CLOSE_SECONDS = 60") as process:
        until((tmp_path / "asleep").exists, "a task", 60)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert time.monotonic() - begun < 3
    assert (process.returncode, said.splitlines()[-1].split(";")[0]) == (130, "daskjobs: stopped by Ctrl-C")


@pytest.mark.slow
def test_ctrl_c_is_a_sentence_when_the_imports_are_not_done(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import time\nopen('asleep', 'w').close()\ntime.sleep(60)\n")
    with started(tmp_path, script=HEARS) as process:
        until((tmp_path / "asleep").exists, "an import")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said == "daskjobs: stopped by Ctrl-C\n"  # there is nothing yet that could be continued


HANGS = """
import os, signal, sys, time
from daskjobs.pipeline import ending
ending.GRACE_SECONDS = 0.5
ending.watch()
ending.has_run()
try:
    with ending.bounded() as bound:
        if sys.argv[1] == "bound":
            bound(60, 1, "another")
            bound(0.1, 22, "it took too long")
        else:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
finally:
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("bound", 22, "daskjobs: it took too long\n"),
        (
            "signal",
            143,
            "daskjobs: stopped by SIGTERM; start it again with the same --run to continue where it stopped; "
            "not everything was closed in time\n",
        ),
    ],
)
def test_process_is_ended_when_what_it_closes_hangs(what: str, code: int, words: str) -> None:
    done = subprocess.run([sys.executable, "-c", HANGS, what], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (code, words)


def test_command_that_says_so_without_coming_to_its_end_is_no_success(daskjobs: Command, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, daskjobs.pipeline.context as c\nc.StageContext.commit = lambda *_: sys.exit(0)\n"
    )
    done = daskjobs("generate", "--run", "x", PYTHONPATH=str(tmp_path))
    assert (done.returncode, "SystemExit: 0" in done.stderr) == (1, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("ulimit -v 500000", "this process is limited to 488 MiB of memory: allow it 1 GiB or more"),
        ("ulimit -v 1100000", "more threads, and 25 are needed: allow it more processes (ulimit -u) and memory"),
    ],
)
def test_run_ends_with_a_sentence_when_it_may_have_too_little(tmp_path: Path, limit: str, words: str) -> None:
    (tmp_path / "mine.csv").write_text("\n".join(["order_id,user_id,region,product,quantity,price,total_amount,"
                                                  "payment_mode,status,timestamp", row()]))  # fmt: skip
    command = f"{limit}; exec {sys.executable} -m daskjobs run --input mine.csv --run run --workers 1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, words in done.stderr) == (11, True), done.stderr
    assert "Traceback" not in done.stderr


# The last messages wait 60 ms, not 5, to be sent, and the loop lives on: it may happen at any time.
LATE = """
import asyncio
from distributed import scheduler
from distributed.deploy import cluster
from daskjobs import __main__
closed = cluster.Cluster._close
async def slowly(self):
    await closed(self)
    await asyncio.sleep(0.1)
def start(self, scheduling, comm):
    self.bcomm = scheduler.BatchedSend(interval="60ms")
    self.bcomm.start(comm)
    scheduling.add_plugin(self)
cluster.Cluster._close = slowly
scheduler.WorkerStatusPlugin.__init__ = start
"""


@pytest.mark.slow
def test_run_that_ends_well_shows_no_stack_trace_when_messages_come_too_late(tmp_path: Path) -> None:
    with started(tmp_path, script=LATE) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert "CommClosedError" not in said


OFFLINE = """
import socket
connect = socket.socket.connect
def offline(self, address):
    if self.type == socket.SOCK_DGRAM:
        raise OSError(101, "Network is unreachable")
    return connect(self, address)
socket.socket.connect = offline
from daskjobs import __main__
"""


@pytest.mark.slow
def test_run_warns_of_nothing_when_the_machine_has_no_network(tmp_path: Path) -> None:
    with started(tmp_path, script=OFFLINE) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Warning" not in said


@pytest.mark.slow
@pytest.mark.parametrize("text", ["distributed: [", "just a text"])
def test_run_ends_with_a_sentence_when_dask_cannot_read_its_configuration(
    daskjobs: Command, tmp_path: Path, text: str
) -> None:
    (tmp_path / "dask").mkdir()
    (tmp_path / "dask/mine.yaml").write_text(text)
    done = daskjobs("run", "--rows", "10", "--run", "run", DASK_CONFIG="dask")
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, last.startswith("daskjobs: A dask config file at 'dask/mine.yaml' is malformed")) == (
        11,
        True,
    )
    assert last.endswith("; mend that file, or set DASK_CONFIG to another")
    assert "Traceback" not in done.stderr
