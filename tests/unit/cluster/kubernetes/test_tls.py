"""Dask's own commands, started on loopback as the rendered pods start them: who is let in, and what HTTP answers."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Security

from conftest import until
from daskjobs.cluster.clients import connected
from daskjobs.cluster.connection import Workload
from daskjobs.cluster.kubernetes import KubernetesSettings, secret
from daskjobs.cluster.kubernetes.secret import known_pair
from daskjobs.cluster.kubernetes.spec import render
from daskjobs.cluster.security import KeyPair, new_key_pair

SETTINGS = KubernetesSettings(workers=1, workflow_uid="w", namespace="ns", worker_memory="1Gi")
PLACES = {"8786": "0", ":8787": "127.0.0.1:0", "/tmp": "."}


def container(settings: KubernetesSettings, role: str) -> dict[str, Any]:
    own = {"containers": [{"name": "main", "image": "daskjobs:dev"}]}
    (found,) = render(settings, own, Workload())["spec"][role]["spec"]["containers"]
    return dict(found)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyPair:
    """A key pair, in files where a pod has those of its Secret."""
    made = new_key_pair(60)
    for name, text in (("CERTIFICATE", made.certificate), ("KEY", made.key)):
        path = tmp_path / getattr(secret, name).name
        path.write_text(text)
        monkeypatch.setattr(secret, name, path)
    return made


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Start a container's command on loopback, and return its log; it ends with the test."""
    with ExitStack() as stack:

        def begin(role: str, address: str) -> Path:
            rendered = container(SETTINGS, role)
            command = [shutil.which("dask", path=os.path.dirname(sys.executable)) or "dask"]
            command += [PLACES.get(part, part) for part in rendered["args"]]
            environment = {entry["name"]: entry["value"] for entry in rendered["env"]}
            own = {"DASK_SCHEDULER_ADDRESS": address}
            name = [part.replace("$(DASK_WORKER_NAME)", "one") for part in command]
            log = tmp_path / f"{role}.log"
            with log.open("w") as file:
                process = subprocess.Popen(
                    [*name, "--host", "127.0.0.1"],
                    cwd=tmp_path,
                    env=os.environ | environment | own,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)
            return log

        yield begin


def said(log: Path, after: str) -> str:
    """Return the word that a log has after a text, once it has it."""
    until(lambda: after in log.read_text(), f"{after} in {log.name}", 60)
    return log.read_text().partition(after)[2].split()[0]


@pytest.mark.slow
def test_only_who_has_the_key_pair_of_the_run_is_let_in(pair: KeyPair, start: Any) -> None:
    log = start("scheduler", "")
    address = said(log, "Scheduler at:")
    assert address.startswith("tls://")
    start("worker", address)
    with connected(address, 60, pair.security()) as client:
        client.wait_for_workers(1, timeout=60)
        (worker,) = client.scheduler_info()["workers"].values()
        assert worker["nanny"].startswith("tls://")
        assert client.submit(sum, [1, 2, 3]).result(timeout=30) == 6
    for stranger, where in (
        (new_key_pair(60).security(), address),
        (Security(), address.replace("tls://", "tcp://")),
    ):
        with pytest.raises(OSError, match="."):
            Client(where, security=stranger, timeout=3)


TELLING = ("info/main/workers.html", "info/logs/x.html", "info/call-stack/x.html", "json/counts.json", "metrics")


@pytest.mark.slow
def test_http_tells_the_operator_whether_the_scheduler_is_idle_and_takes_no_orders(pair: KeyPair, start: Any) -> None:
    page = said(start("scheduler", ""), "dashboard at:").removesuffix("/status")
    with urllib.request.urlopen(f"{page}/api/v1/check_idle", timeout=10) as response:
        assert json.load(response)["idle_since"] > 0
    with urllib.request.urlopen(f"{page}/health", timeout=10) as response:
        assert response.read() == b"ok"
    for path, data in [("api/v1/retire_workers", b"{}"), *((each, None) for each in TELLING)]:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{page}/{path}", data=data, timeout=10)
        assert refused.value.code == 404, path


def test_key_pair_is_that_of_the_mounted_secret(pair: KeyPair) -> None:
    assert known_pair("dv-w") == pair


def test_no_key_pair_is_known_where_no_secret_is_mounted() -> None:
    assert known_pair("dv-w") is None


def test_pods_have_neither_a_key_pair_nor_tls_where_a_mesh_protects_them() -> None:
    for role in ("scheduler", "worker"):
        found = container(replace(SETTINGS, security="none"), role)
        assert "tls" not in json.dumps(found).lower()
