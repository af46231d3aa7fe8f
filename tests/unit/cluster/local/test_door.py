"""The dashboard is open to who has its link, and to no other user or web page."""

import asyncio
import http.client
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from conftest import Pipeline
from daskjobs.cluster.connection import Workload
from daskjobs.cluster.local.workers import local_cluster
from daskjobs.cluster.settings import ClusterSettings

SETTINGS = ClusterSettings(workers=2, dashboard="127.0.0.1:0")


def get(address: str, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def test_dashboard_lets_nobody_in_without_its_link() -> None:
    with local_cluster(SETTINGS, Workload()) as connection:
        link = urlsplit(connection.facts.dashboard)
        for path in ("/", "/status", "/status?token=x", "/health", "/sitemap.json", "/json/counts.json", "/metrics"):
            assert get(link.netloc, path).status == 403, path
        entered = get(link.netloc, f"{link.path}?{link.query}")
        assert (entered.status, entered.headers["Location"]) == (302, "/status")
        assert {"HttpOnly", "SameSite=Lax"} <= {part.strip() for part in entered.headers["Set-Cookie"].split(";")}
        cookie = entered.headers["Set-Cookie"].split(";")[0]
        assert get(link.netloc, "/status", Cookie=cookie).status == 200
        assert get(link.netloc, "/status", Cookie=cookie, Origin=f"http://{link.netloc}").status == 200
        for origin in ("http://127.0.0.1:1", "https://example.com", "null"):
            assert get(link.netloc, "/status", Cookie=cookie, Origin=origin).status == 403
            assert get(link.netloc, f"{link.path}?{link.query}", Origin=origin).status == 403
        assert get(link.netloc, "/status", Host="rebound.example.com").status == 403
        known = connection.client.scheduler_info()["workers"]
        worker = next(iter(known.values()))["services"]["dashboard"]
        assert get(f"127.0.0.1:{worker}", "/metrics").status == 404


def test_dashboard_streams_to_its_own_pages_alone() -> None:
    async def stream(address: str, cookie: str, origin: str) -> None:
        request = HTTPRequest(f"ws://{address}/status/ws", headers={"Cookie": cookie, "Origin": origin})
        (await websocket_connect(request, subprotocols=["bokeh", token])).close()

    with local_cluster(SETTINGS, Workload()) as connection:
        link = urlsplit(connection.facts.dashboard)
        cookie = get(link.netloc, f"{link.path}?{link.query}").headers["Set-Cookie"].split(";")[0]
        page = get(link.netloc, "/status", Cookie=cookie).read().decode()
        token = re.findall(r'"token":"([^"]+)"', page)[0]
        asyncio.run(stream(link.netloc, cookie, f"http://{link.netloc}"))
        with pytest.raises(Exception, match="403"):
            asyncio.run(stream(link.netloc, cookie, "http://127.0.0.1:1"))


def test_the_token_stands_in_no_file_of_the_run(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline("generate", "split", "validate")
    assert "/status" in (tmp_path / "run/validate/facts.json").read_text()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"token=" in path.read_bytes()]
