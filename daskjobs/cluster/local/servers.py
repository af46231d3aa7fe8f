"""Dask's servers in this process, with settings of their own: Dask's configuration is the whole process's."""

from collections import deque
from typing import Any

from dask.utils import parse_timedelta
from distributed import Scheduler, SpecCluster, Worker
from tornado.ioloop import IOLoop

from daskjobs.cluster.door import Door, new_prefix
from daskjobs.cluster.tuning import QUIET

CALLBACKS = {"tick": "distributed.admin.tick.interval", "profile": "distributed.worker.profile.interval"}


def calm(server: Any) -> None:
    """Let a server that was just made do what it does periodically as seldom as `QUIET` says."""
    for name, setting in CALLBACKS.items():
        if name in server.periodic_callbacks:
            server.periodic_callbacks[name].callback_time = 1000 * parse_timedelta(QUIET[setting])


class GuardedScheduler(Scheduler):
    """A scheduler whose web server has a `Door` from its first request on."""

    door: Door

    def __init__(self, **options: Any) -> None:
        loop: Any = IOLoop.current()
        loop.profile = deque()  # or Dask would profile it, in a thread of its own
        self._prefix = new_prefix()
        super().__init__(**options, dashboard=True, http_prefix=self._prefix)
        calm(self)

    def start_http_server(self, *arguments: Any, **more: Any) -> None:
        """Start the server; no request is taken before this returns."""
        start: Any = super().start_http_server
        start(*arguments, **more)
        server: Any = self.http_server
        self.door = Door(self.http_application, server.address, server.port, self._prefix)
        server.request_callback = self.door


class QuietWorker(Worker):
    """A worker in this process; it has an HTTP server on a port, as all have, but no pages there."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        calm(self)

    def start_http_server(self, routes: Any, *others: Any, **more: Any) -> None:  # noqa: ARG002
        """Start the server without pages."""
        start: Any = super().start_http_server
        start([], *others, **more)


class LinkedCluster(SpecCluster):
    """A cluster that knows the link to its dashboard, so that its clients do."""

    @property
    def dashboard_link(self) -> str:
        """The dashboard's address for people."""
        guarded: Any = self.scheduler
        return str(guarded.door.link()) if guarded else ""
