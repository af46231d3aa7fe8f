"""Dask's servers in this process, with their own settings, since Dask's configuration is one for the whole process."""

from collections import deque
from typing import Any

from dask.utils import parse_timedelta
from distributed import Scheduler, SpecCluster, Worker
from tornado.ioloop import IOLoop

from daskjobs.cluster.dashboard_access import TokenRouter, new_prefix
from daskjobs.cluster.tuning import QUIET

CALLBACKS = {"tick": "distributed.admin.tick.interval", "profile": "distributed.worker.profile.interval"}


def calm(server: Any) -> None:
    """Give the periodic callbacks of a new server the intervals in `QUIET`."""
    for name, setting in CALLBACKS.items():
        if name in server.periodic_callbacks:
            server.periodic_callbacks[name].callback_time = 1000 * parse_timedelta(QUIET[setting])


class GuardedScheduler(Scheduler):
    """A scheduler whose web server checks each request by a `TokenRouter`."""

    router: TokenRouter

    def __init__(self, **options: Any) -> None:
        loop: Any = IOLoop.current()
        loop.profile = deque()  # so that Dask starts no thread that profiles the loop
        self._prefix = new_prefix()
        super().__init__(**options, dashboard=True, http_prefix=self._prefix)
        calm(self)

    def start_http_server(self, *arguments: Any, **more: Any) -> None:
        """Start the server; no request is taken before this returns."""
        start: Any = super().start_http_server
        start(*arguments, **more)
        server: Any = self.http_server
        self.router = TokenRouter(self.http_application, server.address, server.port, self._prefix)
        server.request_callback = self.router


class QuietWorker(Worker):
    """A worker in this process, whose HTTP server has no pages."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        calm(self)

    def start_http_server(self, routes: Any, *others: Any, **more: Any) -> None:  # noqa: ARG002
        """Start the server without pages."""
        start: Any = super().start_http_server
        start([], *others, **more)


class LinkedCluster(SpecCluster):
    """A cluster whose ``dashboard_link`` has the token, for its clients too."""

    @property
    def dashboard_link(self) -> str:
        """The dashboard's address for people."""
        guarded: Any = self.scheduler
        return str(guarded.router.link()) if guarded else ""
