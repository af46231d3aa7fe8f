"""The door to the dashboard: only people who were given its link come in.

A port on loopback is open to every user of the machine, and to every web page that a browser on it shows. So the link
has a token, which the browser keeps as a cookie; requests of other sites' pages are refused even with the cookie.
"""

import hmac
import secrets
from typing import Any
from urllib.parse import urlsplit

from distributed import Scheduler
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, RequestHandler

from daskjobs.cluster.local.quiet import calm, unprofiled

TOKEN = "token"


class Door(Router):
    """Answers requests before a web application does; see this module."""

    def __init__(self, application: Application, host: str, port: int) -> None:
        self._application, self._address = application, f"{host}:{port}"
        self._token = secrets.token_urlsafe(16)
        self._cookie = f"daskjobs-{port}"  # cookies are one host's, whatever the port

    def link(self) -> str:
        """Return the dashboard's address for people."""
        return f"http://{self._address}/status?{TOKEN}={self._token}"

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> HTTPMessageDelegate | None:
        """Return the application's handler to who has the cookie, and `_Enter` to all others."""
        origin = request.headers.get("Origin")
        cookie = request.cookies.get(self._cookie)
        if cookie and self._is_token(cookie.value) and (not origin or urlsplit(origin).netloc == request.host):
            return self._application.find_handler(request)
        given = request.query_arguments.get(TOKEN, [b""])[-1].decode(errors="replace")
        cookies = {self._cookie: self._token} if self._is_token(given) and not origin else {}
        return self._application.get_handler_delegate(request, _Enter, {"cookies": cookies})

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="replace"), self._token.encode())


class _Enter(RequestHandler):
    """Gives the cookie to who has the token, and redirects to the page itself; refuses all others."""

    def initialize(self, cookies: dict[str, str]) -> None:
        self._cookies = cookies

    def prepare(self) -> None:
        """Answer before the method is looked at, because the answer is the same for each."""
        for name, value in self._cookies.items():
            self.set_cookie(name, value, httponly=True, samesite="Lax")
            self.redirect(self.request.path)
            return
        self.set_status(403)
        self.finish("Use the link to the dashboard that the run printed.\n")


class GuardedScheduler(Scheduler):
    """A scheduler whose web server has a `Door` from its first request on."""

    door: Door

    def __init__(self, **options: Any) -> None:
        unprofiled()
        super().__init__(**options, dashboard=True)
        calm(self)

    def start_http_server(self, routes: Any, dashboard_address: Any, *others: Any, **more: Any) -> None:
        """Start the server; no request is taken before this returns."""
        start: Any = super().start_http_server
        start(routes, dashboard_address, *others, **more)
        server: Any = self.http_server
        self.door = Door(self.http_application, server.address, server.port)
        server.request_callback = self.door
