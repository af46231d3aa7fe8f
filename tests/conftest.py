import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from shutil import which
from typing import Any

import hypothesis
import psutil
import pytest

from daskjobs.orders.schema import COLUMNS
from daskjobs.pipeline.manifest import Manifest
from daskjobs.stages import STAGES, new_context, run_stage
from daskjobs.stages.run_settings import Settings

TESTS = Path(__file__).parent
GOOD = dict(
    order_id="A1",
    user_id="U1",
    region="north",
    product="lamp",
    quantity="2",
    price="10.50",
    total_amount="21.00",
    payment_mode="card",
    status="success",
    timestamp="2025-03-01 12:00:00",
)

hypothesis.settings.register_profile("ours", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("ours")
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, also in the processes that tests start

GATEWAY = which("versitygw") or which("versitygw", path="/opt/cluster/bin")

# The same bytes however a run went.
RESULTS = (
    "report/analytics_report.json",
    "report/quality.json",
    "report/columns.json",
    "merge/quarantine.csv",
    "merge/quarantine.parquet",
)
_ids = count(1)

Pipeline = Callable[..., dict[str, Manifest]]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Let two of the quick tests share a core: they wait as long as they compute."""
    return 2 * (os.cpu_count() or 1) if "not slow" in config.option.markexpr else None


def row(**values: str) -> str:
    """One good order as CSV text, with an id of its own, and some fields changed."""
    return ",".join({**GOOD, "order_id": f"A{next(_ids)}", **values}.values())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(pid: int | None = None) -> set[tuple[str, int]]:
    """Return the addresses at which a process, this one by default, and its children listen."""
    process = psutil.Process(pid)
    found = set()
    for each in [process, *process.children(recursive=True)]:
        found |= {c.laddr for c in each.net_connections("inet") if c.status == psutil.CONN_LISTEN or c.type == 2}
    return {(address.ip, address.port) for address in found}


def until(good: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Wait for what is to come within so many seconds."""
    deadline = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def csv_text(*rows: str, header: str = ",".join(COLUMNS)) -> bytes:
    return ("\n".join([header, *rows]) + "\n").encode()


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Undo what a command, run in this process, has done to the log, which later tests look at."""
    log = logging.getLogger("daskjobs")
    before = log.handlers[:], log.propagate, log.level
    yield
    log.handlers[:], log.propagate, level = before
    log.setLevel(level)


@pytest.fixture
def orders_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a CSV file of the given rows."""

    def write(*rows: str, name: str = "mine.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(csv_text(*rows))
        return path

    return write


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """Run all stages, or those named, in this process; return their manifests."""

    def run(*names: str, where: str = "run", **settings: Any) -> dict[str, Manifest]:
        given = {"run_uri": str(tmp_path / where), "rows": 500, "dashboard": "127.0.0.1:0", "max_rejected": 1.0}
        run = new_context(Settings.of(**given | settings))
        return {name: run_stage(name, run) for name in names or STAGES}

    return run


@pytest.fixture
def daskjobs(tmp_path: Path) -> Command:
    """Run the command line as a user would, in a directory of its own."""

    def call(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DASKJOBS_")}
        command = [sys.executable, "-m", "daskjobs", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=clean | environment, capture_output=True, text=True, timeout=100, check=False
        )

    return call


@contextmanager
def s3_server(data: Path, *options: str) -> Iterator[str]:
    """A real S3 server on loopback, whose buckets are the folders of ``data``; gives its URL. Its owner is test."""
    if GATEWAY is None:
        pytest.skip("no S3 server here: put versitygw on PATH to run this test")
    pytest.importorskip("s3fs", reason="pip install daskjobs[s3] to run this test")
    port = free_port()
    command = [GATEWAY, "--port", f"127.0.0.1:{port}", *options, "posix", str(data)]
    keys = {"ROOT_ACCESS_KEY": "test", "ROOT_SECRET_KEY": "testtest"}
    with subprocess.Popen(command, env=os.environ | keys, stdout=subprocess.DEVNULL) as server:
        try:
            until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), "the S3 server")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real S3 server on loopback; gives the URI of an empty bucket."""
    data = tmp_path_factory.mktemp("s3")
    (data / "orders").mkdir()
    with s3_server(data) as url, pytest.MonkeyPatch.context() as patch:
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()  # another server's
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testtest")
        patch.setenv("AWS_ENDPOINT_URL", url)
        yield "s3://orders"
