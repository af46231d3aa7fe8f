"""Lets only requests with the token of its link reach a dashboard.

Every user of the machine can reach a port on loopback, and so can every web page in a browser there. So the link has a
token, which the browser keeps as a cookie; requests from other sites' pages are refused even with the cookie. Browsers
send a cookie to all ports of a host, but only below the cookie's path, so the path begins with a random part.
"""

import asyncio
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, RequestHandler

TOKEN, COOKIE = "token", "daskjobs"
FIRST = "status"  # the page that people see first
# Files of Dask's package, which its pages about tasks and workers request at the root, whatever the prefix is.
STATICS = re.compile(r"/(statics/\w+/[\w-][\w.-]*)")


def new_prefix() -> str:
    """Return the path below which a dashboard has its pages."""
    return f"/{secrets.token_hex(8)}/"


class TokenRouter(Router):
    """Checks each request before it reaches a web application whose pages are below ``prefix``.

    ``load`` adds the pages to the application; it is called when they are first requested by somebody who may see them.
    """

    def __init__(
        self,
        application: Application,
        host: str,
        port: int,
        prefix: str,
        load: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._application, self._page, self._prefix = application, f"http://{host}:{port}{prefix}{FIRST}", prefix
        self._token = secrets.token_urlsafe(16)
        self._load, self._loading = load, asyncio.Lock()

    def link(self) -> str:
        """Return the dashboard's address for people."""
        return f"{self._page}?{TOKEN}={self._token}"

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> HTTPMessageDelegate | None:
        """Serve requests with a valid cookie from the application, and all others from `_Enter`."""
        static = STATICS.fullmatch(request.path)
        if static:
            request.path = self._prefix + static[1]
            return self._application.find_handler(request)
        below, origin = request.path.startswith(self._prefix), request.headers.get("Origin")
        cookie = request.cookies.get(COOKIE)
        known = cookie is not None and self._is_token(cookie.value)
        if below and known and (not origin or urlsplit(origin).netloc == request.host):
            if request.path == self._prefix:
                return self._enter(request, f"{self._prefix}{FIRST}")
            return self._enter(request, request.uri or "") if self._load else self._application.find_handler(request)
        given = request.query_arguments.get(TOKEN, [b""])[-1].decode(errors="replace")
        return self._enter(request, request.path if below and self._is_token(given) and not origin else "")

    async def ready(self) -> None:
        """Load the pages, once for all requests; raise what ``load`` raises."""
        async with self._loading:
            if self._load:
                await self._load()
                self._load = None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="replace"), self._token.encode())

    def _enter(self, request: HTTPServerRequest, page: str) -> HTTPMessageDelegate:
        arguments = {"page": page, "token": self._token, "prefix": self._prefix, "ready": self.ready}
        return self._application.get_handler_delegate(request, _Enter, arguments)


class _Enter(RequestHandler):
    """Sets the cookie and redirects to ``page`` when the pages are ready; refuses the request where it is empty."""

    def initialize(self, page: str, token: str, prefix: str, ready: Callable[[], Awaitable[object]]) -> None:
        self._page, self._token, self._prefix, self._ready = page, token, prefix, ready

    async def prepare(self) -> None:
        """Answer here, because all HTTP methods get the same answer."""
        if not self._page:
            self.set_status(HTTPStatus.FORBIDDEN)
            self.finish("Use the link to the dashboard that was printed when it started.\n")
            return
        try:
            await self._ready()
        except Exception as error:  # whatever is wrong with bokeh or its settings does the work no harm
            self.set_status(HTTPStatus.SERVICE_UNAVAILABLE)
            self.finish(f"The dashboard can't be shown: {type(error).__name__}: {error}\n")
            return
        self.set_cookie(COOKIE, self._token, path=self._prefix, httponly=True, samesite="Lax")
        self.redirect(self._page)
