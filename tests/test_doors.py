"""What a run opens on this machine is open to nobody else: other users, other machines, web pages."""

import asyncio
import fcntl
import http.client
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from distributed import Client, Security
from distributed.comm import connect, listen
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from conftest import Pipeline, until
from daskjobs import cluster, local, openssl
from daskjobs.errors import ClusterError, ConfigError
from daskjobs.settings import Settings
from manifests import ROOT

SETTINGS = Settings(run="/nowhere", workers=2, dashboard="127.0.0.1:0")


def listening(pid: int | None = None) -> set[tuple[str, int]]:
    process = psutil.Process(pid)
    found = set()
    for each in [process, *process.children(recursive=True)]:
        found |= {c.laddr for c in each.net_connections("inet") if c.status == psutil.CONN_LISTEN or c.type == 2}
    return {(address.ip, address.port) for address in found}


@pytest.fixture(params=["threads", "processes"])
def running(request: pytest.FixtureRequest) -> Iterator[tuple[Client, dict[str, object], set[tuple[str, int]]]]:
    """A client, its facts, and the addresses at which something listens for it."""
    before = listening()
    with local.local(SETTINGS, 10**9 if request.param == "processes" else 10) as (client, facts):
        assert facts["workers_are"] == request.param
        yield client, facts, listening() - before


def test_all_that_listens_does_so_on_loopback(running: tuple[Client, dict[str, object], set[tuple[str, int]]]) -> None:
    _, facts, addresses = running
    assert {host for host, _ in addresses} == {"127.0.0.1"}
    # The dashboard, and a web server without pages of each worker; processes take commands on top, as do their nannies.
    assert len(addresses) == (3 if facts["workers_are"] == "threads" else 8)


def test_nothing_that_listens_takes_a_command_from_who_lacks_the_key_pair(
    running: tuple[Client, dict[str, object], set[tuple[str, int]]],
) -> None:
    stranger = Security.temporary().get_connection_args("client")

    async def command(address: str) -> None:
        arguments = stranger if address.startswith("tls") else {}
        comm = await connect(address, timeout=2, **arguments)
        await comm.write({"op": "identity", "reply": True})
        await asyncio.wait_for(comm.read(), 2)

    for host, port in running[2]:
        for protocol in ("tcp", "tls"):
            with pytest.raises((OSError, TimeoutError, ValueError, asyncio.TimeoutError)):
                asyncio.run(asyncio.wait_for(command(f"{protocol}://{host}:{port}"), 4))
    assert running[0].submit(lambda: 1).result(timeout=20) == 1


def get(address: str, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def test_dashboard_lets_nobody_in_without_its_link() -> None:
    with local.local(SETTINGS, 10) as (client, facts):
        link = urlsplit(facts["dashboard"])
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
        (worker,) = {w["services"]["dashboard"] for w in list(client.scheduler_info()["workers"].values())[:1]}
        assert get(f"127.0.0.1:{worker}", "/metrics").status == 404


def test_dashboard_streams_to_its_own_pages_alone() -> None:
    async def stream(address: str, cookie: str, origin: str) -> None:
        request = HTTPRequest(f"ws://{address}/status/ws", headers={"Cookie": cookie, "Origin": origin})
        (await websocket_connect(request, subprotocols=["bokeh", token])).close()

    with local.local(SETTINGS, 10) as (_, facts):
        link = urlsplit(facts["dashboard"])
        cookie = get(link.netloc, f"{link.path}?{link.query}").headers["Set-Cookie"].split(";")[0]
        page = get(link.netloc, "/status", Cookie=cookie).read().decode()
        token = re.findall(r'"token":"([^"]+)"', page)[0]
        asyncio.run(stream(link.netloc, cookie, f"http://{link.netloc}"))
        with pytest.raises(Exception, match="403"):
            asyncio.run(stream(link.netloc, cookie, "http://127.0.0.1:1"))


def test_the_token_stands_in_no_file_of_the_run(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline("generate", "split", "validate")
    assert "/status" in (tmp_path / "run/validate/run.json").read_text()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"token=" in path.read_bytes()]


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files in which someone else has made Dask's scratch folder first."""
    scratch = tmp_path / "dask-scratch-space"
    scratch.mkdir()
    (scratch / "planted.py").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return scratch


def test_no_module_is_imported_from_a_shared_scratch_folder_and_its_lock_stops_nothing(
    running_in: str, shared: Path
) -> None:
    def finds() -> tuple[bool, list[str]]:
        from importlib.util import find_spec

        return find_spec("planted") is not None, sys.path

    with (shared / "global.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with local.local(SETTINGS, 10**9 if running_in == "processes" else 10) as (client, _):
            assert not any(entry.startswith(str(shared)) for entry in sys.path)
            planted, path = client.submit(finds).result(timeout=20)
            (own,) = shared.parent.glob("daskjobs-*")
            assert own.stat().st_mode & 0o777 == 0o700
    assert not planted
    assert not any(entry.startswith(str(shared)) for entry in path)
    assert not own.exists()
    assert not any(entry.startswith(str(own)) for entry in sys.path)


@pytest.fixture(params=["threads", "processes"])
def running_in(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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
        local.local(SETTINGS, 10).__enter__()


class _Web(BaseHTTPRequestHandler):
    """A server that takes connections and speaks no Dask."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_address_of_a_server_that_is_no_scheduler_is_a_sentence_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.server_port}"
        try:
            with pytest.raises(ClusterError, match=f"no Dask scheduler answers at {address} within 1 s"):
                cluster.connect(Settings(run="/nowhere", cluster=address), 1).__enter__()
        finally:
            server.shutdown()


def test_readmes_own_scheduler_and_worker_listen_on_loopback() -> None:
    lines = [
        line.strip() for line in re.findall(r"^    (\.venv/bin/dask .*) &$", (ROOT / "README.md").read_text(), re.M)
    ]
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


@pytest.mark.skipif(ssl.OPENSSL_VERSION_INFO < (3, 4), reason=f"{ssl.OPENSSL_VERSION} has no such fault")
@pytest.mark.parametrize("mended", [True, False])
def test_healthy_tls_connections_outlive_one_whose_peer_is_lost(mended: bool) -> None:
    command = [sys.executable, "-c", f"import test_doors; test_doors.lose_peers({mended})"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=100, check=True)
    assert (int(done.stdout) == 50) == mended


def lose_peers(mended: bool) -> None:
    """Print how many of fifty replies come over five TLS connections beside ten that are reset."""
    if mended:
        openssl.mend()
    print(asyncio.run(_replies()))


async def _replies() -> int:
    security = Security.temporary()

    async def echo(comm: object) -> None:
        try:
            while True:
                await comm.write(await comm.read())  # type: ignore[attr-defined]
        except OSError:
            return

    replies = 0
    async with listen("tls://127.0.0.1:0", echo, **security.get_listen_args("scheduler")) as server:
        arguments = security.get_connection_args("client")
        healthy = [await connect(server.contact_address, **arguments) for _ in range(5)]
        for number in range(10):
            lost = await connect(server.contact_address, **arguments)
            lost.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            lost.abort()
            await asyncio.sleep(0.02)
            for comm in healthy:
                try:
                    await comm.write(number)
                    replies += await asyncio.wait_for(comm.read(), 2) == number
                except (OSError, TimeoutError):
                    continue
    return replies


def test_openssls_errors_are_cleared_before_each_tls_operation() -> None:
    calls: list[str] = []
    cleared = openssl._clearing(lambda *arguments: calls.append("read") or arguments, lambda: calls.append("clear"))
    assert cleared("stream", b"buffer") == ("stream", b"buffer")
    assert calls == ["clear", "read"]


def test_nothing_of_this_process_is_left_in_the_environment_of_what_it_starts_later() -> None:
    with local._environment({"PYTHONSAFEPATH": "1", "DASKJOBS_NEW": "x"}):
        assert os.environ["DASKJOBS_NEW"] == "x"
    assert "DASKJOBS_NEW" not in os.environ
