"""Thirty nights in one series: each planted event shows on its night alone, and the total is that of the oracle."""

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import nights
from nights import Delivery

pytestmark = pytest.mark.slow
OPTIONS = ("--again", "newest", "--workers", "1", "--partitions", "2", "--dashboard", "127.0.0.1:0")


@dataclass
class Books:
    """A series of runs, played night after night, and what was told of each."""

    root: Path
    posts: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def command(self, file: Delivery) -> list[str]:
        folder = self.root / "in" / file.run
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "orders.csv").write_bytes(file.data)
        (folder / "orders.csv.control.json").write_bytes(file.control)
        series = self.root / "runs"
        arguments = ["run", "--input", str(folder / "orders.csv"), "--run", str(series / file.run), "--as-of", file.day]
        told = ["--notify", self.url] if self.url else []
        known = ["--known", str(series), "--compare", "last"]
        return [sys.executable, "-m", "daskjobs", *arguments, *known, *OPTIONS, *told]

    def play(self, file: Delivery) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(self.command(file), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == (0 if file.complete else 10), done.stderr
        return done

    def history(self, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "daskjobs", "history", str(self.root / "runs"), "--json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in (0, 10), done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def drift(self, run: str) -> set[str]:
        found = json.loads((self.root / "runs" / run / "report/drift.json").read_text())
        return {each["name"] for each in found["measures"] if each["over"]}


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """Thirty nights in their order; each is told to a server here."""
    played = Books(tmp_path_factory.mktemp("nights"))

    class Recorder(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            played.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    played.url = f"http://127.0.0.1:{server.server_port}/hook"
    for file in nights.deliveries():
        played.play(file)
    yield played
    server.shutdown()
    server.server_close()


# The measures that are over on the night of each planted event, and a word of its sentence.
EVENTS = {
    "n05": ({"region", "region.values"}, "region west"),
    "n08": ({"revenue", "value.mean", "value.p05", "value.p50", "value.p95"}, "a revenue of"),
    "n11": ({"columns"}, "the column coupon is gone, the column voucher is new"),
    "n16": ({"days", "newest"}, "1 day is missing between 2026-11-14 and 2026-11-16"),
    "n18": ({"rejected", "rejected.seen_before"}, "seen_before"),
    "n20": ({"rejected", "rejected.negative_price", "rejected.unknown_status", "rejected.wrong_total"}, "are rejected"),
    "n22": ({"corrections"}, "correct orders of earlier runs"),
    "n30-again": ({"rejected", "rejected.seen_before", "revenue"}, "seen_before"),
}


def total(history: dict[str, Any]) -> tuple[int, Decimal]:
    (found,) = history["totals"]
    return found["orders"], Decimal(found["revenue"])


def test_each_event_is_over_on_its_night_and_nothing_on_others(books: Books) -> None:
    over = {file.run: books.drift(file.run) for file in nights.deliveries()}
    assert {run for run, measures in over.items() if measures} == EVENTS.keys()
    for run, (measures, _) in EVENTS.items():
        assert over[run] <= measures, run


def test_each_event_is_in_the_history_on_its_night_alone(books: Books) -> None:
    history = books.history("--missing", "2026-11-01..30")
    assert [each["day"] for each in history["missing"]] == ["2026-11-15"]
    assert {run["run"] for run in history["runs"] if run["drifted"]} == EVENTS.keys()
    assert [run["run"] for run in history["not_good"]] == [f"n{nights.CUT}-cut"]
    assert {run["run"]: run["corrections"] for run in history["runs"] if run["corrections"]} == {
        f"n{nights.CORRECTED}": nights.CORRECTIONS
    }
    for run in history["runs"]:
        said = " ".join(run["drifted"])
        assert (EVENTS[run["run"]][1] in said) if run["run"] in EVENTS else not said


def test_each_event_is_told_on_its_night_alone(books: Books) -> None:
    told = {post["run"].rpartition("/")[2]: post for post in books.posts}
    assert len(told) == len(books.posts) == len(nights.deliveries())
    for run, post in told.items():
        if run.endswith("-cut"):
            assert post["result"] == "failed"
            assert "the sender's 1,000 rows are 880 received + 120 missing" in post["text"]
            continue
        assert post["result"] == "succeeded"
        assert (EVENTS[run][1] in post["text"]) if run in EVENTS else "drift" not in post["text"], run
        assert ("missing" in post["text"]) == (run == "n16"), run


def test_books_come_to_the_total_of_an_oracle_that_reads_all_files(books: Books) -> None:
    assert total(books.history()) == nights.books(file for file in nights.deliveries() if file.complete)


def killed_and_done(played: Books, file: Delivery, draw: random.Random) -> None:
    """Play a night whose process is killed at random moments, twice at most, and is then left alone."""
    for _ in range(draw.randrange(3)):
        process = subprocess.Popen(played.command(file), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(draw.uniform(0.1, 1.5))
            return
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    played.play(file)


def test_another_order_of_the_nights_and_kills_at_random_come_to_the_same_total(tmp_path: Path) -> None:
    draw, played = random.Random(27), Books(tmp_path)
    files = [file for file in nights.deliveries() if file.complete]
    draw.shuffle(files)
    for file in files:
        killed_and_done(played, file, draw)
    assert total(played.history()) == nights.books(files)
