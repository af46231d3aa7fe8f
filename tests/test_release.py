"""Whose Dask cluster is deleted, and whose is not; a server that speaks Kubernetes' part of HTTP stands for it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import kr8s
import pytest

from daskjobs import ephemeral, kubernetes, start
from daskjobs.errors import ClusterError, LostWorkError
from daskjobs.resource import selector
from daskjobs.settings import Settings

SETTINGS = Settings(run="s3://b/x", workflow_uid="w", namespace="x", cluster="kubernetes")


class Handler(BaseHTTPRequestHandler):
    """One DaskCluster, of a uid that can change between two requests."""

    uids: list[str]  # of each answer in turn; the last one stays
    deleted: list[str]
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def uid(self) -> str:
        return self.uids.pop(0) if len(self.uids) > 1 else self.uids[0]

    def do_GET(self) -> None:
        if self.path.startswith("/version"):
            self.answer(200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0"})
            return
        item = {
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskCluster",
            "metadata": {"name": "dv-w", "namespace": "x", "uid": self.uid(), "labels": selector(SETTINGS)},
        }
        self.answer(200, {"kind": "List", "metadata": {}, "items": [item]})

    def do_DELETE(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["preconditions"]["uid"]
        if wanted != self.uid():
            self.answer(409, {"message": "the UID in the precondition does not match the UID in record"})
            return
        self.deleted.append(wanted)
        self.answer(200, {"kind": "Status", "status": "Success"})

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[kr8s.Api, type[Handler]]]:
    handler = type("Served", (Handler,), {"uids": ["new"], "deleted": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield kr8s.api(url=f"http://127.0.0.1:{served.server_port}", namespace="x"), handler
        served.shutdown()


@pytest.mark.parametrize(
    ("mine", "uids", "deleted"),
    [
        ("new", ["new"], ["new"]),
        ("old", ["new"], []),  # another attempt has replaced it
        ("old", ["old", "new"], []),  # it does so between a look and the deletion
        ("", ["new"], ["new"]),  # whose creation had no answer
    ],
)
def test_cluster_of_ones_own_is_deleted_and_never_that_of_a_newer_attempt(
    server: tuple[kr8s.Api, type[Handler]], mine: str, uids: list[str], deleted: list[str]
) -> None:
    api, handler = server
    handler.uids = uids
    ephemeral.release(api, SETTINGS, mine)
    assert handler.deleted == deleted


def test_cluster_stays_when_the_run_has_become_another_process_s(
    server: tuple[kr8s.Api, type[Handler]], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, handler = server
    monkeypatch.setattr(kubernetes, "connect", lambda _: api)
    monkeypatch.setattr(start, "rendered", lambda *_: {"spec": {"worker": {"replicas": 1}}})
    monkeypatch.setattr(start, "ensure", lambda *_: ("reused", "new"))

    def fail(*_: object) -> None:
        raise ClusterError("the scheduler did not answer")

    monkeypatch.setattr(ephemeral, "_await_scheduler", fail)

    def lost() -> None:
        raise LostWorkError("taken over")

    with pytest.raises(ClusterError, match="did not answer"), ephemeral.ephemeral(SETTINGS, lost):
        pass
    assert handler.deleted == []
    with pytest.raises(ClusterError, match="did not answer"), ephemeral.ephemeral(SETTINGS, lambda: None):
        pass
    assert handler.deleted == ["new"]
