"""What a pod of `daskjobs doctor --network` finds out: here, of ports of this machine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from conftest import free_port
from daskjobs.cluster.kubernetes import probe
from daskjobs.cluster.kubernetes.probe import connect, listen, outcome


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "TRY_SECONDS", 0.2)
    monkeypatch.setattr(probe, "PATIENCE_SECONDS", 1)


@contextmanager
def open_port() -> Iterator[int]:
    with listen(0) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_one_who_listens_is_reached_whether_that_is_wished_or_not(host: str) -> None:
    with open_port() as port:
        assert outcome(f"+{host}:{port}") == outcome(f"-{host}:{port}") == ""


def test_reason_is_told_when_nobody_listens() -> None:
    port = free_port()
    assert "refused" in outcome(f"+127.0.0.1:{port}")
    assert "refused" in outcome(f"-127.0.0.1:{port}")


def test_target_may_be_a_uri_whose_port_is_its_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[str, int]]()
    monkeypatch.setattr(probe, "connect", lambda host, port: asked.append((host, port)) or "")
    for target in ("http://storage", "https://storage", "http://storage:9000/", "storage:1", "[::1]:2"):
        assert outcome(f"+{target}") == ""
    assert asked == [("storage", 80), ("storage", 443), ("storage", 9000), ("storage", 1), ("::1", 2)]


def test_reason_is_told_when_a_name_is_unknown() -> None:
    assert outcome("+nowhere.invalid:443") != ""


def test_wished_connection_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["timed out", "timed out", ""])
    monkeypatch.setattr(probe, "connect", lambda *_: next(answers))
    assert outcome("+10.0.0.1:8786") == ""


def test_unwished_connection_must_fail_several_times_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["no route yet", "", "timed out", "timed out", "timed out"])
    monkeypatch.setattr(probe, "connect", lambda *_: next(answers))
    assert outcome("-10.0.0.1:8786") == "timed out"
    assert next(answers, "all were asked for") == "all were asked for"


def test_connection_passes_without_anybody_who_accepts_it() -> None:
    with open_port() as port:
        assert [connect("127.0.0.1", port) for _ in range(40)] == [""] * 40


def test_program_prints_its_outcomes_and_listens_until_it_is_ended() -> None:
    own = free_port()
    with open_port() as port:
        command = [sys.executable, "-m", probe.__name__, str(own), f"+127.0.0.1:{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout
            try:
                assert json.loads(run.stdout.readline()) == {f"127.0.0.1:{port}": ""}
                assert outcome(f"+127.0.0.1:{own}") == ""
                assert run.poll() is None
            finally:
                run.kill()
