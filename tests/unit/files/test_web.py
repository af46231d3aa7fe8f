"""Files of web servers, whatever they say of length, parts and compression: read right, or a sentence."""

import gzip
import io
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import pytest

import inline
from conftest import TESTS, csv_text, row
from daskjobs.errors import ConfigError, DaskjobsError, InputError, StorageError
from daskjobs.files import web
from daskjobs.files.storage import Storage
from daskjobs.orders.rules.ruleset import read_rules

ORDERS = csv_text(*(row() for _ in range(40)))
REPORT = b'{"orders": 40, "revenue": 840.00}\n'
PARQUET = (TESTS / "corpus/parquet_of_texts.parquet").read_bytes()
Answer = Callable[[BaseHTTPRequestHandler, bytes, tuple[int, int] | None], None]


def send(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, length: int | None = None, **headers: str | None
) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body) if length is None else length), **headers}.items():
        if value is not None:
            handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command == "GET":
        handler.wfile.write(body)


def in_parts(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    if part is None:
        send(handler, 200, data)
    elif part[0] >= len(data):
        send(handler, 416, b"", Content_Range=f"bytes */{len(data)}")
    else:
        body = data[part[0] : part[1] + 1]
        send(handler, 206, body, Content_Range=f"bytes {part[0]}-{part[0] + len(body) - 1}/{len(data)}")


def whole(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    send(handler, 200, data)


def chunked(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
    send(handler, 200, body, Content_Length=None, Transfer_Encoding="chunked")


def packed(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    send(handler, 200, gzip.compress(data), Content_Encoding="gzip")


def parts_of_packed(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    if part is None:
        packed(handler, data, part)
    else:
        body = gzip.compress(data)
        size, body = len(body), body[part[0] : part[1] + 1]
        send(handler, 206, body, Content_Encoding="gzip", Content_Range=f"bytes {part[0]}-{part[1]}/{size}")


def until_it_closes(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    send(handler, 200, data, Content_Length=None, Connection="close")
    handler.close_connection = True


def without_head(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    send(handler, 403, b"") if handler.command == "HEAD" else in_parts(handler, data, part)


def without_total(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    if part is None:
        send(handler, 200, data)
    else:
        send(handler, 206, data[part[0] : part[1] + 1], Content_Range=f"bytes {part[0]}-{part[1]}/*")


def closing_early(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    send(handler, 200, data[:-9], length=len(data))
    handler.close_connection = True


def closing_early_in_parts(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    start, end = part or (0, len(data) - 1)
    body, total = data[start : end + 1], len(data)
    cut = body if end == 0 else body[:-9]
    send(handler, 206, cut, length=len(body), Content_Range=f"bytes {start}-{end}/{total}")
    handler.close_connection = True


def with_a_wrong_total(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    start, end = part or (0, len(data) - 1)
    body = data[start : end + 1]
    send(handler, 206, body, Content_Range=f"bytes {start}-{end}/{len(data) + 1000}")


def whole_as_a_part(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    send(handler, 206, data, Content_Range=f"bytes {part[0]}-{part[1]}/{len(data)}" if part else None)


def parts_at_first(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    in_parts(handler, data, part) if part == (0, 0) else whole(handler, data, None)


def status(code: int) -> Answer:
    return lambda handler, data, part: send(handler, code, b"<html>no</html>")


def plain_as_packed(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    send(handler, 200, data, Content_Encoding="gzip")


def redirecting(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    send(handler, 302, b"", Location="/again.csv")


def no_http(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    handler.wfile.write(b"220 ready for a mail\r\n\r\n")
    handler.close_connection = True


def then_busy(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    in_parts(handler, data, part) if part == (0, 0) else send(handler, 503, b"")


def silent(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
    time.sleep(1.5)


@contextmanager
def serving(answer: Answer, data: bytes) -> Iterator[str]:
    """Serve the same file under every name; gives the server's URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            answer(self, data, (int(wanted[1]), int(wanted[2])) if wanted else None)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


READ = [in_parts, whole, chunked, packed, parts_of_packed, until_it_closes, without_head, without_total]


@pytest.mark.parametrize("answer", READ)
def test_file_is_read_right_however_a_server_gives_it(tmp_path: Path, answer: Answer) -> None:
    with serving(answer, ORDERS) as url:
        results = inline.run(tmp_path / "csv", f"{url}/o.csv", partitions=3)
    assert results["report/analytics_report.json"] == REPORT
    with serving(answer, PARQUET) as url:
        results = inline.run(tmp_path / "parquet", f"{url}/o.parquet", partitions=3)
    assert results["report/analytics_report.json"] == b'{"orders": 1, "revenue": 21.00}\n'


@pytest.mark.parametrize("answer", [in_parts, whole, chunked, until_it_closes])
def test_file_is_said_to_be_empty_when_it_is(tmp_path: Path, answer: Answer) -> None:
    with serving(answer, b"") as url, pytest.raises(InputError, match="is empty; it must begin with a header row"):
        inline.run(tmp_path, f"{url}/o.csv")


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (closing_early, StorageError, "try again later"),
        (closing_early_in_parts, StorageError, "try again later"),
        (with_a_wrong_total, InputError, "its server gave .* bytes where .* were asked for.*: download it"),
        (whole_as_a_part, InputError, "its server gave .* bytes where .* were asked for.*: download it"),
        (status(404), InputError, "names no file"),
        (status(410), InputError, "names no file"),
        (status(401), InputError, "its server answers 401"),
        (status(403), InputError, "its server answers 403"),
        (status(405), InputError, "its server answers 405"),
        (status(429), StorageError, "its server answers 429 .*; try again later"),
        (status(500), StorageError, "its server answers 500 .*; try again later"),
        (status(503), StorageError, "its server answers 503 .*; try again later"),
        (plain_as_packed, InputError, r"says that it compresses the file \(Content-Encoding\), and sends what can't"),
        (redirecting, InputError, "its server redirects without end: give the address of"),
        (no_http, InputError, "its server's answer is no HTTP"),
        (then_busy, StorageError, "its server answers 503 .*; try again later"),
        (silent, StorageError, "no answer came in time; try again later"),
    ],
)
def test_run_ends_with_a_sentence_and_whether_to_try_again_when_a_server_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, kind: type[DaskjobsError], words: str
) -> None:
    monkeypatch.setattr(web, "WAIT", 0)
    if answer is silent:  # the others answer, however busy the machine
        monkeypatch.setattr(web, "TIMEOUTS", {"total": 0.5})
    with serving(answer, ORDERS) as url, pytest.raises(DaskjobsError, match=words) as raised:
        inline.run(tmp_path, f"{url}/o.csv")
    assert isinstance(raised.value, kind)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("busy", [429, 503])
@pytest.mark.parametrize("first", [in_parts, whole])
def test_file_is_read_when_its_server_was_busy_for_a_moment(tmp_path: Path, first: Answer, busy: int) -> None:
    asked = count()

    def answer(handler: BaseHTTPRequestHandler, data: bytes, part: tuple[int, int] | None) -> None:
        if next(asked) % 2:
            first(handler, data, part)
        else:
            send(handler, busy, b"", Retry_After="0")

    with serving(answer, ORDERS) as url:
        assert inline.run(tmp_path, f"{url}/o.csv")["report/analytics_report.json"] == REPORT


@pytest.mark.parametrize("after", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_run_ends_at_once_when_a_server_asks_for_a_long_wait(tmp_path: Path, after: str) -> None:
    asked = list[int]()

    def answer(handler: BaseHTTPRequestHandler, *_: object) -> None:
        asked.append(1)
        send(handler, 429, b"", Retry_After=after)

    with serving(answer, ORDERS) as url, pytest.raises(StorageError, match="answers 429 .*; try again later"):
        inline.run(tmp_path, f"{url}/o.csv")
    assert len(asked) == 1


def test_large_file_that_comes_only_whole_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "WHOLE_BYTES", len(ORDERS))
    with serving(chunked, ORDERS) as url:
        assert inline.run(tmp_path / "small", f"{url}/o.csv")["report/analytics_report.json"] == REPORT
    for answer in (whole, chunked, packed):
        with (
            serving(answer, ORDERS + b"\n") as url,
            pytest.raises(InputError, match="can't be read in parts .*more than"),
        ):
            inline.run(tmp_path / "large", f"{url}/o.csv")


def test_run_ends_with_a_sentence_when_a_server_gives_parts_no_more(tmp_path: Path) -> None:
    with (
        serving(parts_at_first, ORDERS) as url,
        Storage(str(tmp_path)).open(f"{url}/o.csv") as file,
        pytest.raises(InputError, match="can't be read in parts"),
    ):
        file.seek(100)
        file.read(10)


def test_archive_on_a_server_is_read_in_parts_or_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "WAIT", 0)
    packed_orders = io.BytesIO()
    with zipfile.ZipFile(packed_orders, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("o.csv", ORDERS)
    with serving(in_parts, packed_orders.getvalue()) as url:
        results = inline.run(tmp_path / "run", f"zip://o.csv::{url}/o.zip")
        assert results["report/analytics_report.json"] == REPORT
    for answer, kind in {chunked: InputError, status(404): InputError, status(503): StorageError}.items():
        with serving(answer, packed_orders.getvalue()) as url, pytest.raises(DaskjobsError) as raised:
            inline.run(tmp_path / "no", f"zip://o.csv::{url}/o.zip")
        assert isinstance(raised.value, kind), raised.value


def test_rules_of_a_server_are_read_right_or_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "WAIT", 0)
    source = b"def all_of_them(orders):\n    return orders['quantity'] > 0\n"
    with serving(chunked, source) as url:
        assert "all_of_them" in read_rules(Storage(str(tmp_path)), f"{url}/rules.py").code
    for code, kind in {404: ConfigError, 403: ConfigError, 503: StorageError}.items():
        with serving(status(code), source) as url, pytest.raises(kind):
            read_rules(Storage(str(tmp_path)), f"{url}/rules.py")


@pytest.mark.parametrize("uri", ["https://[", "http://a:b:c/rules.py", "http://host:99999/rules.py", "s3://", "s3:///"])
def test_uri_that_names_no_file_is_a_sentence(tmp_path: Path, uri: str) -> None:
    with pytest.raises(ConfigError, match="^--rules can't be read: .* (is no address of the web|names no file): "):
        read_rules(Storage(str(tmp_path)), uri)
