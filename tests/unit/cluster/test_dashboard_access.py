"""The dashboard is open to who has its link, and to no other user or web page."""

import asyncio
import http.client
import json
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urljoin, urlsplit

import pytest
from distributed import LocalCluster
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from conftest import Pipeline, listening
from daskjobs.cluster.connection import Workload
from daskjobs.cluster.local import LocalSettings
from daskjobs.cluster.local.workers import local_cluster

SETTINGS = LocalSettings(workers=2, dashboard="127.0.0.1:0")


def get(address: str, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(address, timeout=60)  # on a busy machine, pages take long
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


Shown = tuple[str, str, str, str]


@contextmanager
def local() -> Iterator[str]:
    """The link to the dashboard of a cluster on this machine."""
    with local_cluster(SETTINGS, Workload()) as connection:
        assert connection.client.dashboard_link == connection.facts.dashboard
        yield connection.facts.dashboard


@contextmanager
def forwarded() -> Iterator[str]:
    """The link by which `daskjobs dashboard` shows the dashboard of a scheduler in a pod."""
    pytest.importorskip("dask_kubernetes", reason="pip install 'daskjobs[kubernetes]' to run this test")
    from daskjobs.cluster.kubernetes.pages import shown
    from kubeapi import kube_api

    scheduler = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0", "processes": False}
    with (
        LocalCluster(n_workers=1, **scheduler) as cluster,
        kube_api() as api,
        TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        api.serve("dv-x-scheduler", 8787, cluster.scheduler.http_server.port)
        patch.setenv("KUBECONFIG", str(api.kubeconfig(Path(folder))))
        before = listening()
        with shown("dv-x", api.namespace, 30) as link:
            (address,) = listening() - before
            assert f"{address[0]}:{address[1]}" == urlsplit(link).netloc  # only the guarded server listens
            yield link


@pytest.fixture(scope="module", params=[local, forwarded])
def shown(request: pytest.FixtureRequest) -> Iterator[Shown]:
    """The address of a dashboard, the path below which its pages are, the token, and the cookie of who came in."""
    with request.param() as whole:
        link = urlsplit(whole)
        entered = get(link.netloc, f"{link.path}?{link.query}")
        assert (entered.status, entered.headers["Location"]) == (302, link.path)
        below = link.path.removesuffix("status")
        assert re.fullmatch("/[0-9a-f]{16}/", below)
        cookie, *rest = (part.strip() for part in entered.headers["Set-Cookie"].split(";"))
        assert {"HttpOnly", "SameSite=Lax", f"Path={below}"} == set(rest)  # so it goes to no other server of the host
        yield link.netloc, below, link.query, cookie


def test_dashboard_lets_nobody_in_without_its_link(shown: Shown) -> None:
    address, below, token, cookie = shown
    for path in ("status", "status?token=x", "health", "json/counts.json", "metrics", "", "static/js/bokeh.min.js"):
        assert get(address, below + path).status == 403, path
    assert get(address, f"{below}status", Cookie=cookie).status == 200
    assert get(address, f"{below}status", Cookie=cookie, Origin=f"http://{address}").status == 200
    for origin in ("http://127.0.0.1:1", "https://example.com", "null"):
        assert get(address, f"{below}status", Cookie=cookie, Origin=origin).status == 403
        assert get(address, f"{below}status?{token}", Origin=origin).status == 403
    assert get(address, f"{below}status", Host="rebound.example.com").status == 403
    for path in ("/", "/status", f"/status?{token}", "/sitemap.json", f"//example.com{below}?{token}"):
        assert get(address, path, Cookie=cookie).status == 403, path


def test_every_page_that_the_dashboard_links_to_is_there(shown: Shown) -> None:
    address, below, _, cookie = shown
    seen, ahead = set[str](), {below}
    while ahead:
        path = ahead.pop()
        seen.add(path)
        answer = get(address, path, Cookie=cookie)
        if answer.status == 302:
            found = [answer.headers["Location"]]
        else:
            assert answer.status == 200, path
            is_page = answer.headers["Content-Type"].startswith("text/html")
            assert len(answer.headers.get_all("Content-Type")) == 1
            found = re.findall(r'(?:href|src)="([^"#]+)"', answer.read().decode()) if is_page else []
        links = {urljoin(path, each).partition("?")[0] for each in found if not urlsplit(each).scheme}
        assert {each for each in links if not each.startswith((below, "/statics/"))} == set(), path
        ahead |= {each for each in links if not re.search("/individual-|/hardware", each)} - seen
    pages = {path.removeprefix(below) for path in seen}
    assert {"status", "workers", "tasks", "graph", "info/main/workers.html"} <= pages
    assert "/statics/css/sortable.min.css" in seen
    assert any(page.startswith("static/js/bokeh") for page in pages)


def test_dashboard_streams_to_its_own_pages_alone(shown: Shown) -> None:
    address, below, _, cookie = shown
    page = get(address, f"{below}status", Cookie=cookie).read().decode()
    token = re.findall(r'"token":"([^"]+)"', page)[0]

    async def stream(origin: str) -> str:
        request = HTTPRequest(f"ws://{address}{below}status/ws", headers={"Cookie": cookie, "Origin": origin})
        connection = await websocket_connect(request, subprotocols=["bokeh", token])
        said = await connection.read_message()
        connection.close()
        return str(said)

    assert asyncio.run(stream(f"http://{address}"))
    with pytest.raises(Exception, match="403"):
        asyncio.run(stream("http://127.0.0.1:1"))


def document(link: str) -> str:
    """The document of a page, which bokeh sends through a WebSocket, for who opens the link."""
    host, path, query = urlsplit(link).netloc, urlsplit(link).path, urlsplit(link).query
    cookie = get(host, f"{path}?{query}").headers["Set-Cookie"].partition(";")[0]
    token = re.findall(r'"token":"([^"]+)"', get(host, path, Cookie=cookie).read().decode())[0]

    async def pulled() -> str:
        request = HTTPRequest(f"ws://{host}{path}/ws", headers={"Cookie": cookie})
        connection = await websocket_connect(request, subprotocols=["bokeh", token])
        await connection.read_message()
        for part in (json.dumps({"msgid": "1", "msgtype": "PULL-DOC-REQ"}), "{}", "{}"):
            await connection.write_message(part)
        said = ""
        while "PULL-DOC-REPLY" not in said:
            said = str(await connection.read_message())
        document = [await connection.read_message() for _ in range(2)][1]  # after the reply's metadata
        connection.close()
        return str(document)

    return asyncio.run(asyncio.wait_for(pulled(), 30))


def test_tasks_that_ran_before_anybody_looked_are_on_the_page() -> None:
    with local_cluster(SETTINGS, Workload()) as connection:
        assert connection.client.submit(pow, 2, 3, key="nobody-looked-yet").result(timeout=20) == 8
        link = connection.facts.dashboard
        assert "nobody-looked-yet" in document(link.replace("/status?", "/individual-task-stream?"))
        assert "nobody-looked-yet" in document(link)


def test_pages_are_added_once_for_all_who_ask_at_the_same_time_and_not_for_who_may_not_see_them() -> None:
    with local_cluster(SETTINGS, Workload()) as connection:
        link, cluster = urlsplit(connection.facts.dashboard), connection.client.cluster
        pages = cluster.scheduler.http_application.applications
        assert get(link.netloc, link.path).status == get(link.netloc, f"{link.path}?token=x").status == 403
        assert pages == []
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: get(link.netloc, f"{link.path}?{link.query}").status, range(4)))
        assert (answers, len(pages)) == ([302] * 4, 1)


def test_pages_that_cannot_be_imported_are_a_sentence_and_are_there_once_they_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with local_cluster(SETTINGS, Workload()) as connection:
        link, client = urlsplit(connection.facts.dashboard), connection.client
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "distributed.dashboard.scheduler", None)
            answer = get(link.netloc, f"{link.path}?{link.query}")
            said = answer.read().decode()
        assert answer.status == 503
        assert re.fullmatch(r"The dashboard can't be shown: \w+: .*distributed.dashboard.scheduler.*\n", said)
        assert client.submit(pow, 2, 3).result(timeout=20) == 8
        assert get(link.netloc, f"{link.path}?{link.query}").status == 302


def test_workers_have_no_pages() -> None:
    with local_cluster(SETTINGS, Workload()) as connection:
        (worker, *_) = connection.client.scheduler_info()["workers"].values()
        assert get(f"127.0.0.1:{worker['services']['dashboard']}", "/metrics").status == 404


def test_the_token_stands_in_no_file_of_the_run(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline("generate", "split", "validate")
    assert "/status" in (tmp_path / "run/validate/facts.json").read_text()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"token=" in path.read_bytes()]
