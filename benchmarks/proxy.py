"""A proxy before an S3 server, as far away as an object store: python benchmarks/proxy.py http://127.0.0.1:7070

It answers each request after ``--delay`` seconds at the earliest, lets through ``--rate`` bytes a second of each
connection and direction, and counts requests: GET /-/requests gives them as JSON, and forgets them.
"""

import argparse
import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

PIECE = 1 << 18  # bytes that are read and written at a time
HEAD_BYTES = 1 << 16
OURS = "/-/requests"
KINDS = {  # by the method and a key of the query; the first that fits
    ("GET", "list-type"): "LIST",
    ("GET", "uploads"): "LIST",
    ("PUT", "partNumber"): "part",
    ("POST", "uploads"): "multipart",
    ("POST", "uploadId"): "multipart",
    ("DELETE", "uploadId"): "multipart",
    ("POST", "delete"): "DELETE",
}


@dataclass(frozen=True)
class Request:
    """A request: its kind (LIST, HEAD, GET, PUT, part, multipart, DELETE), its key, its range, and its body's size."""

    kind: str
    key: str
    range: str = ""
    sent: int = 0


@dataclass
class Proxy:
    """What a proxy does, and which requests it has seen."""

    host: str
    port: int
    delay: float = 0.0
    rate: float = 0.0
    url: str = ""
    requests: list[Request] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on the requests of one connection, and their answers."""
        there, back = await asyncio.open_connection(self.host, self.port, limit=PIECE)
        line = _Line(self, asyncio.get_running_loop())
        pumps = [asyncio.create_task(line.up(reader, writer, back)), asyncio.create_task(line.down(there, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in pumps:
                each.cancel()
            for each in (back, writer):
                each.close()
            await asyncio.gather(*pumps, return_exceptions=True)


class _Line:
    """One connection: when its next answer may begin, and when it can take more bytes in each direction."""

    def __init__(self, proxy: Proxy, loop: asyncio.AbstractEventLoop) -> None:
        self.proxy, self.loop, self.answer_at = proxy, loop, 0.0
        self.free = [0.0, 0.0]

    async def up(
        self, client: asyncio.StreamReader, writer: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await client.readuntil(b"\r\n\r\n")
                request, size = _request(head)
                if request.key == OURS:
                    body = json.dumps([asdict(each) for each in self.proxy.requests]).encode()
                    self.proxy.requests.clear()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                    continue
                self.proxy.requests.append(request)
                self._wait_for_answer()
                server.write(head)
                while size:
                    data = await client.read(min(size, PIECE))
                    if not data:
                        return
                    size -= len(data)
                    await self._pace(0, len(data))
                    self._wait_for_answer()
                    server.write(data)
                    await server.drain()

    async def down(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await server.read(PIECE):
                if (wait := self.answer_at - self.loop.time()) > 0:
                    await asyncio.sleep(wait)
                await self._pace(1, len(data))
                client.write(data)
                await client.drain()

    def _wait_for_answer(self) -> None:
        self.answer_at = self.loop.time() + self.proxy.delay

    async def _pace(self, direction: int, size: int) -> None:
        if self.proxy.rate:
            now = self.loop.time()
            self.free[direction] = max(now, self.free[direction]) + size / self.proxy.rate
            await asyncio.sleep(self.free[direction] - now)


def _request(head: bytes) -> tuple[Request, int]:
    """Return the request of a head, and the size of its body."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "transfer-encoding" in headers:
        raise NotImplementedError("no client of ours sends a body without its size")
    query, size = parse_qs(urlsplit(target).query, keep_blank_values=True), int(headers.get("content-length", 0))
    kind = next((name for (how, key), name in KINDS.items() if how == method and key in query), method)
    return Request(kind, unquote(urlsplit(target).path), headers.get("range", ""), size), size


@contextmanager
def proxy(upstream: str, delay: float = 0.0, rate: float = 0.0, port: int = 0) -> Iterator[Proxy]:
    """Give a proxy before the server of this URL, which listens on loopback as long as the block lasts."""
    host, there = re.fullmatch(r"http://([^:/]+):(\d+)/?", upstream).groups()  # type: ignore[union-attr]
    made, started, ended = Proxy(host, int(there), delay, rate), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        server = await asyncio.start_server(made.serve, "127.0.0.1", port, limit=PIECE)
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        async with server:
            await ended.wait()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    if not started.wait(10):
        raise RuntimeError("the proxy didn't start")
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)


def main() -> None:
    """Serve until this process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    with proxy(options.upstream, options.delay, options.rate, options.port) as made:
        print(made.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
