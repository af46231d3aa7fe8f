"""A scheduler that runs already, or that is none."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from conftest import listening, until
from daskjobs.cluster.backends import backend_of, connect, remote
from daskjobs.cluster.findings import Finding
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import ClusterError
from manifests import ROOT


class _Web(BaseHTTPRequestHandler):
    """A server that takes connections and speaks no Dask."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_address_of_a_server_that_is_no_scheduler_is_a_sentence_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CONNECT_SECONDS", 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.server_port}"
        try:
            with pytest.raises(ClusterError, match=f"no Dask scheduler answers at {address} within 1 s"):
                connect(ClusterSettings(address)).__enter__()
        finally:
            server.shutdown()


def test_scheduler_and_worker_of_the_tuning_page_listen_on_loopback() -> None:
    lines = re.findall(r"^(\.venv/bin/dask .*) &$", (ROOT / "docs/tuning.md").read_text(), re.M)
    assert [line.split()[1] for line in lines] == ["scheduler", "worker"]
    started = []
    try:
        for line in lines:
            command = [str(Path(sys.executable).with_name("dask")), *shlex.split(line)[1:]]
            started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True))
            until(lambda: listening(started[-1].pid), "an address", 60)
        with Client("tcp://127.0.0.1:8786", timeout=20) as client:
            client.wait_for_workers(2, timeout=60)
            addresses = set().union(*(listening(process.pid) for process in started))
            assert {host for host, _ in addresses} == {"127.0.0.1"}
            assert len(addresses) == 8  # of scheduler, two nannies and two workers; dashboards of all but the nannies
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=20)


def test_scheduler_that_runs_already_is_examined_by_connecting_to_it() -> None:
    with LocalCluster(n_workers=1, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0") as cluster:
        address = cluster.scheduler_address
        (finding,) = backend_of(ClusterSettings(address)).examine(ClusterSettings(address), "")
    assert finding == Finding(True, f"{address} has 1 workers of the same versions")


def test_scheduler_that_is_not_there_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CONNECT_SECONDS", 1)
    settings = ClusterSettings("tcp://127.0.0.1:9")
    (finding,) = backend_of(settings).examine(settings, "")
    assert not finding.good
    assert finding.what.startswith("no Dask scheduler answers at tcp://127.0.0.1:9 within 1 s")
