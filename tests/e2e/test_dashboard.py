"""`daskjobs dashboard` beside a live run: it sees the run, and its end, however it ends, is no end of the run's."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from conftest import RESULTS, Pipeline, until
from e2e.conftest import Namespace, Wire, pods_of
from e2e.faults import DURING

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo")]


STARTED = """
import signal
from daskjobs.cli import main as cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in its background
cli.entry()
"""


class Viewer:
    """`daskjobs dashboard` as a process on this machine."""

    def __init__(self, namespace: Namespace, workflow: str, said: Path, *more: str) -> None:
        pytest.importorskip("dask_kubernetes", reason="pip install 'daskjobs[kubernetes]' to run this test")
        command = ["-c", STARTED, "dashboard", "--workflow", workflow, "--namespace", namespace.name, *more]
        self.said = said
        with said.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )

    def page(self) -> str:
        until(lambda: "dashboard  http" in self.said.read_text(), "the dashboard's address", 180)
        link = self.said.read_text().split()[1]
        with build_opener(HTTPCookieProcessor()).open(link, timeout=20) as response:
            return str(response.read().decode())


def test_viewers_that_leave_or_are_killed_or_stay_harm_nothing(
    namespace: Namespace, wire: Wire, pipeline: Pipeline, tmp_path: Path
) -> None:
    workflow = namespace.submit(rows=2000, seed=11, workers=2, worker_cpu="20m")
    uid = namespace.uid(workflow)
    request = DURING.format(uid=uid)
    wire.does(f"hold {request}")
    wire.await_held(request)
    viewers = [Viewer(namespace, workflow, tmp_path / f"{end}.log") for end in ("leaves", "killed", "stays")]
    leaves, killed, stays = viewers
    try:
        for viewer in viewers:
            assert "Dask" in viewer.page()
        before = namespace.get("daskclusters")["items"][0]["metadata"]
        leaves.process.send_signal(signal.SIGINT)
        killed.process.kill()
        assert leaves.process.wait(timeout=30) != 0
        assert "Traceback" not in leaves.said.read_text()
        (cluster,) = namespace.get("daskclusters")["items"]
        assert cluster["metadata"]["uid"] == before["uid"]
        assert "deletionTimestamp" not in cluster["metadata"]
        wire.does()
        found = namespace.finished(workflow)
        assert stays.process.wait(timeout=60) == 0
    finally:
        for viewer in viewers:
            viewer.process.kill()
            viewer.process.wait(timeout=10)
    assert found["status"]["phase"] == "Succeeded", json.dumps(found["status"])[:3000]
    assert len(pods_of(found, "validate")) == 1
    lines = stays.said.read_text().splitlines()
    assert lines[0].startswith("dashboard  http://127.0.0.1:")
    progress = [line for line in lines if line.endswith(" of 5 partitions done")]
    assert progress  # it looks once a second, and the cluster may be gone before it sees the last one
    assert progress == sorted(set(progress))
    assert lines[-1] == "the Dask cluster has been removed: its work is over"
    pipeline(rows=2000, seed=11)
    for name in RESULTS:
        assert namespace.read(uid, name) == (tmp_path / "run" / name).read_bytes()
    assert namespace.dask_objects() == []


def test_dashboard_says_why_there_is_none(namespace: Namespace, tmp_path: Path) -> None:
    viewer = Viewer(namespace, "nobodys", tmp_path / "nobodys.log")
    assert viewer.process.wait(timeout=60) == 11
    assert f"there is no workflow nobodys in {namespace.name}" in viewer.said.read_text()
