"""A real HTTP server on loopback that keeps what is posted to it, and answers as a test wants."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Came:
    """One request."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Receiver:
    """The server; ``answers`` are the codes of the next answers, 200 afterwards, all with these ``headers``.

    One that ``drips`` sends a byte of its answer now and then, and never ends.
    """

    answers: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    came: list[Came] = field(default_factory=list)
    drips: bool = False

    def __enter__(self) -> Self:
        receiver, self.ended = self, Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                with suppress(ValueError):
                    receiver.came.append(Came(self.path, dict(self.headers), json.loads(raw)))
                if receiver.drips:
                    with suppress(OSError):
                        while not receiver.ended.wait(0.1):
                            self.wfile.write(b"H")
                            self.wfile.flush()
                    return
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.server.server_port}"
