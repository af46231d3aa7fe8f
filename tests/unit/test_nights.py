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

import nights
import pytest
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
    orders, revenue = nights.books(files)
    total = played.history()["total"]
    assert (total["orders"], Decimal(total["revenue"])) == (orders, revenue)
