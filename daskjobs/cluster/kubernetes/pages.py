"""Serves the pages of a scheduler on Kubernetes on this machine, behind a `TokenRouter`.

Connections to the pod go through a Unix socket in a private folder, so that no other user can use them.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from http import HTTPStatus
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import httpx_ws
import kr8s.asyncio
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.netutil import Resolver, bind_sockets
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClientConnection, WebSocketHandler, websocket_connect

from daskjobs.cluster.dashboard_access import TokenRouter, new_prefix
from daskjobs.cluster.kubernetes.api import POLL_SECONDS, api_call
from daskjobs.cluster.kubernetes.naming import DASHBOARD_PORT
from daskjobs.cluster.loops import silent_loop
from daskjobs.errors import ClusterError

LOOPBACK = "127.0.0.1"
POD = f"localhost:{DASHBOARD_PORT}"
PAGE_SECONDS = 20.0
NO_ANSWER = 599  # of tornado
MOST_BYTES = 1 << 30  # of one message of a page that shows many tasks
OF_ONE_CONNECTION = {"connection", "content-length", "keep-alive", "server", "transfer-encoding", "upgrade"}


@contextmanager
def shown(cluster: str, namespace: str, seconds: float) -> Iterator[str]:
    """Serve the dashboard of a Dask cluster in this block, and give its link.

    Raises ClusterError when it doesn't answer within ``seconds``.
    """
    with silent_loop() as loop, TemporaryDirectory(prefix="daskjobs-") as folder:
        there: Any = loop
        served = _served(f"{cluster}-scheduler", namespace, os.path.join(folder, "pod"))

        def do(work: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(work, there.asyncio_loop).result(seconds)

        try:
            link = do(served.__aenter__())
        except OSError as error:
            raise ClusterError(f"the Dask cluster {cluster} does not answer within {seconds:g} s") from error
        try:
            yield str(link)
        finally:
            do(served.__aexit__(None, None, None))


@asynccontextmanager
async def _served(name: str, namespace: str, path: str) -> AsyncIterator[str]:
    """Wait for the scheduler's service, serve its dashboard, and give the link to it."""
    with api_call(f"find the service {name}"):
        while not (found := [each async for each in kr8s.asyncio.get("services", name, namespace=namespace)]):
            await asyncio.sleep(POLL_SECONDS)
    forward = found[0].portforward(DASHBOARD_PORT)  # is never started, since it would listen on a port

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await forward._sync_sockets(reader, writer)
        except* (OSError, RuntimeError, kr8s.ConnectionClosedError, httpx.HTTPError, httpx_ws.HTTPXWSException):
            writer.close()  # the pod or the connection to it is gone

    async with AsyncExitStack() as stack:
        pod = await asyncio.start_unix_server(carry, path)
        stack.callback(pod.close)
        resolver = _Socket(path)
        client = SimpleAsyncHTTPClient(force_instance=True, resolver=resolver, max_buffer_size=MOST_BYTES)
        stack.callback(client.close)
        while (await client.fetch(f"http://{POD}/health", raise_error=False)).code != HTTPStatus.OK:
            await asyncio.sleep(POLL_SECONDS)
        prefix = new_prefix()
        pages = Application(
            [(f"{prefix}(.*/ws)", _Stream, {"resolver": resolver}), (f"{prefix}(.*)", _Page, {"client": client})]
        )
        server = HTTPServer(pages)
        (listening,) = bind_sockets(0, LOOPBACK)
        server.add_socket(listening)
        stack.callback(server.stop)
        router = TokenRouter(pages, LOOPBACK, listening.getsockname()[1], prefix)
        server.request_callback = router
        yield router.link()


class _Socket(Resolver):
    """Resolves every host name to a Unix socket."""

    def initialize(self, path: str) -> None:
        self._path = path

    async def resolve(self, *_: Any, **__: Any) -> list[tuple[int, Any]]:
        return [(socket.AF_UNIX, self._path)]


def _asked(headers: HTTPHeaders) -> HTTPHeaders:
    """Return a browser's headers without its cookie and its origin, which the pod doesn't get."""
    kept = ("Accept", "Accept-Encoding", "Accept-Language", "If-Modified-Since", "If-None-Match", "Range")
    return HTTPHeaders({name: headers[name] for name in kept if name in headers})


class _Page(RequestHandler):
    """Forwards requests to the pod."""

    def initialize(self, client: AsyncHTTPClient) -> None:
        self._client = client

    def compute_etag(self) -> None:
        """Keep the pod's own ETag."""

    async def get(self, page: str) -> None:
        """Fetch the page."""
        query = f"?{self.request.query}" if self.request.query else ""
        answer = await self._client.fetch(
            HTTPRequest(
                f"http://{POD}/{page}{query}",
                headers=_asked(self.request.headers),
                follow_redirects=False,
                decompress_response=False,
                request_timeout=PAGE_SECONDS,
            ),
            raise_error=False,
        )
        if answer.code == NO_ANSWER:
            self.set_status(HTTPStatus.BAD_GATEWAY)
            self.finish("The scheduler does not answer: its work may be over.\n")
            return
        self.set_status(answer.code, answer.reason)
        for name, value in answer.headers.get_all():
            if name.lower() not in OF_ONE_CONNECTION:
                self.set_header(name, value)
        self.finish(answer.body or None)


class _Stream(WebSocketHandler):
    """Forwards the WebSocket messages of a page in both directions."""

    _pod: WebSocketClientConnection | None = None

    def initialize(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Select the first: bokeh sends a token in place of the second."""
        self._subprotocols = subprotocols
        return subprotocols[0] if subprotocols else None

    async def open(self, page: str) -> None:
        """Connect to the pod before any message is read."""
        query = f"?{self.request.query}" if self.request.query else ""
        self._pod = await websocket_connect(
            HTTPRequest(f"ws://{POD}/{page}{query}", connect_timeout=PAGE_SECONDS),
            on_message_callback=self._tell,
            subprotocols=self._subprotocols,
            max_message_size=MOST_BYTES,
            resolver=self._resolver,
        )

    def _tell(self, message: str | bytes | None) -> None:
        if message is None:
            self.close()
        else:
            self.write_message(message, binary=isinstance(message, bytes))

    async def on_message(self, message: str | bytes) -> None:
        """Pass it on."""
        if self._pod:
            await self._pod.write_message(message, binary=isinstance(message, bytes))

    def on_close(self) -> None:
        """Close the other side, too."""
        if self._pod:
            self._pod.close()
