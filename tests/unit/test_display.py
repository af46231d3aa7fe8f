"""Passwords, tokens and signatures of URIs stand in no file, no message and no log; the URI itself still opens."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import daskjobs.files.web
from conftest import Command, Pipeline, csv_text, row
from daskjobs.display import shown
from daskjobs.errors import DaskjobsError, InputError, UsageError
from daskjobs.stages import generate
from daskjobs.stages.run_settings import Settings

SECRET = "hunter2"
OWN = ("split", "validate", "merge", "clean", "report", "cleanup")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me:hunter2@host/a.csv?sig=hunter2", "https://host/a.csv"),
        ("https://hunter2@host/", "https://host/"),
        ("HTTPS://me:hunter2@host:8443/a?hunter2", "HTTPS://host:8443/a"),
        ("https://host/a#access_token=hunter2", "https://host/a"),
        ("s3://KEY:hunt/er2/@bucket/a", "s3://bucket/a"),
        ("s3://bucket/a?X-Amz-Signature=hunter2&X-Amz-Date=1", "s3://bucket/a"),
        ("zip://a.csv::https://me:hunter2@host/a.zip?sig=hunter2", "zip://a.csv::https://host/a.zip"),
        ("abfs://box@account.dfs.core.windows.net/a?sig=hunter2", "abfs://box@account.dfs.core.windows.net/a"),
        ("http://[::1]:80/a?sig=hunter2", "http://[::1]:80/a"),
        ("could not read https://host/a?sig=hunter2: not there", "could not read https://host/a: not there"),
        ("404, url='https://me:hunter2@host/a?sig=hunter2'", "404, url='https://host/a'"),
        # What is no secret stays.
        ("s3://bucket/orders-?.csv", "s3://bucket/orders-?.csv"),
        ("s3://bucket/year=202?/x=1/*.csv", "s3://bucket/year=202?/x=1/*.csv"),
        ("s3://bucket/me@home.csv", "s3://bucket/me@home.csv"),
        ("http://host:8080/me@home.csv", "http://host:8080/me@home.csv"),
        ("/data/what?=1@2.csv", "/data/what?=1@2.csv"),
        ("memory://x, a:b@c", "memory://x, a:b@c"),
    ],
)  # fmt: skip
def test_name_is_shown_without_what_is_secret(text: str, expected: str) -> None:
    assert shown(text) == expected
    assert shown(expected) == expected
    assert str(DaskjobsError(text)) == expected


class _Guarded(BaseHTTPRequestHandler):
    """Serves files, and parts of them, to who has the password or the token."""

    folder: Path
    parts = True

    def do_GET(self) -> None:
        password = base64.b64encode(f"me:{SECRET}".encode()).decode()
        path = self.folder / self.path.partition("?")[0].strip("/")
        if self.headers.get("Authorization") != f"Basic {password}" and f"sig={SECRET}" not in self.path:
            self.send_error(403)
        elif not path.is_file():
            self.send_error(404)
        else:
            data, wanted = path.read_bytes(), re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            start, end = (int(wanted[1]), int(wanted[2]) + 1) if wanted and self.parts else (0, len(data))
            self.send_response(206 if wanted and self.parts else 200)
            if wanted and self.parts:
                self.send_header("Content-Range", f"bytes {start}-{min(end, len(data)) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data[start:end])))
            self.send_header("ETag", hashlib.sha256(data).hexdigest())
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data[start:end])

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path, **how: object) -> Iterator[str]:
    """Serve a folder on a port of its own; gives the address."""
    handler = type("Handler", (_Guarded,), {"folder": folder, **how})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server that wants a password or a token; gives its address, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(folder) as address:
        yield address, folder


def leaks(folder: Path) -> list[str]:
    """Name the files in which the secret stands, as text or within compressed pages."""
    texts = {
        path: str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_bytes().decode("latin-1")
        for path in folder.rglob("*")
        if path.is_file()
    }
    return [str(path.relative_to(folder)) for path, text in texts.items() if SECRET in text]


@pytest.mark.slow
@pytest.mark.parametrize("uri", [f"http://me:{SECRET}@{{}}/a.csv", f"http://{{}}/a.csv?X-Amz-Date=1&sig={SECRET}"])
def test_run_reads_what_needs_a_secret_and_leaves_it_in_no_file_nor_message(
    daskjobs: Command, tmp_path: Path, web: tuple[str, Path], uri: str
) -> None:
    host, folder = web
    (folder / "a.csv").write_bytes(csv_text(row(), row(price="-1"), row(status="failed")))
    given = uri.format(host)
    done = daskjobs("run", "--input", given, "--run", "mine", "--dashboard", "127.0.0.1:0", "--log-level", "debug")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "mine/report/analytics_report.json").read_text()) == {"orders": 1, "revenue": 21.00}
    assert SECRET not in done.stdout + done.stderr
    assert leaks(tmp_path / "mine") == []
    assert f"http://{host}/a.csv" in (tmp_path / "mine/merge/quarantine.csv").read_text()
    rejected = daskjobs("explain", "--run", "mine", "--row", "2")
    assert (rejected.returncode, f"row        2 of http://{host}/a.csv" in rejected.stdout) == (0, True)
    refused = daskjobs("explain", "--run", "mine", "--row", "1")
    assert refused.returncode == 20
    valid = daskjobs("explain", "--run", "mine", "--row", "1", "--input", given)
    assert (valid.returncode, "and paid" in valid.stdout) == (0, True), valid.stderr


@pytest.mark.slow
def test_failure_shows_no_secret(daskjobs: Command, web: tuple[str, Path]) -> None:
    host, folder = web
    (folder / "bad.csv").write_text("a,b\n1,2\n")
    for name in (f"nothing.csv?sig={SECRET}", f"bad.csv?sig={SECRET}"):
        for option, rows in {"--input": (), "--rules": ("--rows", "1")}.items():
            done = daskjobs("run", option, f"http://{host}/{name}", *rows, "--dashboard", "127.0.0.1:0")
            assert done.returncode in {10, 11}, done.stderr
            assert SECRET not in done.stdout + done.stderr
            assert f"http://{host}/" in done.stderr


def test_changed_web_file_is_read_anew_though_its_address_is_the_same(
    pipeline: Pipeline, tmp_path: Path, web: tuple[str, Path]
) -> None:
    host, folder = web
    for count in (1, 3):
        (folder / "a.csv").write_bytes(csv_text(*(row() for _ in range(count))))
        pipeline(*OWN, input=f"http://{host}/a.csv?sig={SECRET}")
        assert json.loads((tmp_path / "run/report/analytics_report.json").read_text())["orders"] == count


def test_run_with_a_secret_in_its_name_is_refused_without_showing_it() -> None:
    with pytest.raises(UsageError, match=r"^--run s3://bucket/a must have no user, password or query") as raised:
        Settings(f"s3://me:{SECRET}@bucket/a")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"HOME=/root\0PASSWORD=hunter2\0", "its first row has none of these names"),
        (b"root:x:0:0:hunter2:/root:/bin/bash\n", "its first row has none of these names"),
        (b"hunter2,price\n1,2\n", "its first row is 'hunter2, price'"),
        (b"price,PASSWORD=hunter2\n1,2\n", "has some of these names, and others that are no names of columns"),
        (b"\xffhunter2\n", "its first row is no text in UTF-8"),
    ],
)
def test_first_row_is_quoted_only_where_it_looks_like_a_header(
    pipeline: Pipeline, tmp_path: Path, data: bytes, words: str
) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(InputError, match=re.escape(words)) as raised:
        pipeline("split", input=str(tmp_path / "x"))
    assert (SECRET in str(raised.value)) == (data == b"hunter2,price\n1,2\n")


def test_environment_of_the_process_is_not_told_when_it_is_given_as_the_input(daskjobs: Command) -> None:
    done = daskjobs("run", "--input", "file:///proc/self/environ", AAA=SECRET)
    assert done.returncode == 10, done.stderr
    assert SECRET not in done.stderr
    assert generate.NAME in done.stderr


def test_web_server_that_gives_no_parts_of_files_is_a_sentence(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_bytes(csv_text(*(row() for _ in range(50))))
    monkeypatch.setattr(daskjobs.files.web, "WHOLE_BYTES", 1000)
    with serving(tmp_path, parts=False) as address, pytest.raises(InputError, match=r"a\.csv can't be read in parts"):
        pipeline(*OWN, input=f"http://{address}/a.csv?sig={SECRET}")


def test_message_of_an_error_is_one_line_that_no_terminal_obeys() -> None:
    assert str(InputError("no\x1b[31m\u202e.csv\nis not there")) == r"no\x1b[31m\u202e.csv\nis not there"
