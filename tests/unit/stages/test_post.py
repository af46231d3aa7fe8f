"""Posting against real servers on loopback: slow, failing, redirecting, gone."""

import socket
import sys
import time
from contextlib import suppress
from threading import Thread

import pytest

from conftest import free_port
from daskjobs.errors import ConfigError, UsageError
from daskjobs.stages import post
from daskjobs.stages.post import NotPostedError, post_json, post_text, refuse_address
from receiver import Receiver

SECRET = "T0/B1/s3cr3t"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "WAIT", 0.01)


def refused(address: str, **bounds: float) -> str:
    """Return why nothing was posted; no part of the secret is in it."""
    with pytest.raises(NotPostedError) as raised:
        post_json("--notify", address, b"{}", **bounds)
    said = str(raised.value)
    assert not any(part in said for part in ("s3cr3t", "T0", "B1", "hunter2"))
    return said


def test_body_arrives_as_json_and_a_password_as_authorization(server: Receiver) -> None:
    post_json("--notify", f"{server.url}/{SECRET}", b'{"a": 1}', {"Authorization": "Bearer k"})
    post_json("--notify", f"{server.url.replace('://', '://me:hunter%402@')}/x?y=1#z", b"{}")
    first, second = server.came
    assert (first.path, first.body, first.headers["Content-Type"]) == (f"/{SECRET}", {"a": 1}, "application/json")
    assert first.headers["Authorization"] == "Bearer k"
    assert (second.path, second.headers["Authorization"]) == ("/x?y=1", "Basic bWU6aHVudGVyQDI=")
    assert second.headers["Host"] == server.url.removeprefix("http://")


@pytest.mark.parametrize("passing", [500, 503, 429, 408])
def test_server_that_fails_for_a_moment_is_asked_again(server: Receiver, passing: int) -> None:
    server.answers = [passing, passing]
    post_json("--notify", f"{server.url}/{SECRET}", b"{}")
    assert len(server.came) == 3


@pytest.mark.parametrize("lasting", [400, 401, 403, 404, 410, 501])
def test_answer_that_stays_is_a_failure_after_so_many_tries(server: Receiver, lasting: int) -> None:
    server.answers = [lasting] * 9
    tries = post.TRIES if lasting >= 500 else 1
    times = f", {tries} times" if tries > 1 else ""
    assert refused(f"{server.url}/{SECRET}") == f"127.0.0.1 answers {lasting}{times}"
    assert len(server.came) == tries


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(server: Receiver, code: int) -> None:
    with Receiver() as other:
        server.answers, server.headers = [code], {"Location": f"{other.url}/{SECRET}"}
        assert refused(f"{server.url}/{SECRET}").startswith(f"127.0.0.1 answers {code}, a redirect")
        assert other.came == []
    assert len(server.came) == 1


def test_wait_that_a_server_asks_for_is_kept_up_to_a_bound(server: Receiver) -> None:
    server.answers, server.headers = [429], {"Retry-After": "1"}
    begun = time.monotonic()
    post_json("--notify", server.url, b"{}")
    assert time.monotonic() - begun >= 1
    server.answers, server.headers = [503], {"Retry-After": "3600"}
    assert refused(server.url) == "127.0.0.1 answers 503"
    assert len(server.came) == 3


def test_nobody_listens() -> None:
    assert refused(f"http://127.0.0.1:{free_port()}/{SECRET}") == (
        f"127.0.0.1 can't be reached (Connection refused), {post.TRIES} times"
    )


def test_name_that_nobody_has() -> None:
    assert refused(f"http://no-such-host.invalid/{SECRET}", seconds=5).startswith(
        "no-such-host.invalid can't be reached ("
    )


def test_server_that_says_nothing_or_drips_is_left_in_time(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte that drips in would begin the client's own timeout again."""
    monkeypatch.setattr(post, "TRY_SECONDS", 0.3)
    server.drips = True
    begun = time.monotonic()
    assert refused(f"{server.url}/{SECRET}", seconds=1).startswith("127.0.0.1 did not answer within ")
    assert time.monotonic() - begun < 5


def test_what_is_no_http_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as came:
                        came.recv(9)
                        came.sendall(b"SSH-2.0-s3cr3t\r\n\r\n")

        Thread(target=serve, daemon=True).start()
        said = refused(f"http://127.0.0.1:{listener.getsockname()[1]}/{SECRET}")
        assert said.endswith(f"{post.TRIES} times")


def test_proxy_of_the_environment_is_used(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    post_json("--notify", f"http://hooks.example.com/{SECRET}", b"{}")
    assert server.came[0].path == f"http://hooks.example.com/{SECRET}"


@pytest.mark.parametrize(
    "address",
    ["", "hooks.example.com/x", "https://", "https:///x", "http://host:port/x", "https://host/a b", "https://host/ä"],
)
def test_address_that_is_none_is_refused_without_showing_it(address: str) -> None:
    for services in (True, False):
        with pytest.raises(UsageError) as raised:
            refuse_address("--notify", address, services)
        assert str(raised.value).startswith("--notify must be an address like https://hooks.example.com/")
    assert refused(address).startswith("--notify must be an address like")


def test_blanks_around_an_address_of_a_secret_do_no_harm(server: Receiver) -> None:
    refuse_address("--notify", f"{server.url}/x\n")
    post_json("--notify", f"{server.url}/x\n", b"{}")
    assert server.came[0].path == "/x"


def test_other_schemes_are_services_of_apprise_or_refused() -> None:
    with pytest.raises(UsageError, match="--openlineage must begin with http:// or https://"):
        refuse_address("--openlineage", "ftp://host/x")
    pytest.importorskip("apprise", reason="pip install daskjobs[notify] to run this test")
    refuse_address("--notify", f"slack://{SECRET}/#general", services=True)
    with pytest.raises(UsageError, match="--notify names no service that the package apprise knows") as raised:
        refuse_address("--notify", f"nosuch://{SECRET}", services=True)
    assert "s3cr3t" not in str(raised.value)


def test_service_of_apprise_is_posted_to_and_tried_again(server: Receiver, capfd: pytest.CaptureFixture[str]) -> None:
    """By its service json://, which posts to any server."""
    pytest.importorskip("apprise", reason="pip install daskjobs[notify] to run this test")
    address = f"{server.url.replace('http', 'json')}/{SECRET}"
    server.answers = [500]
    post_text("--notify", address, "a title", "two\nlines <b>")
    assert [each.path for each in server.came] == [f"/{SECRET}"] * 2
    assert server.came[1].body["title"] == "a title"
    assert server.came[1].body["message"] == "two\nlines <b>"
    server.answers = [404] * 9
    with pytest.raises(NotPostedError) as raised:
        post_text("--notify", address, "a title", "text")
    assert str(raised.value) == f"the service of apprise did not take it, {post.TRIES} times"
    assert "s3cr3t" not in "".join(capfd.readouterr())


def test_apprise_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match=r"needs the package apprise: pip install 'daskjobs\[notify\]'") as raised:
        refuse_address("--notify", f"slack://{SECRET}", services=True)
    with pytest.raises(NotPostedError, match="needs the package apprise"):
        post_text("--notify", f"slack://{SECRET}", "a", "b")
    assert "s3cr3t" not in str(raised.value)
