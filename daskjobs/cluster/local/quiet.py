"""Dask's servers in this process, with settings of their own: Dask's configuration is the whole process's."""

from collections import deque
from typing import Any

from dask.utils import parse_timedelta
from distributed import Worker
from tornado.ioloop import IOLoop

from daskjobs.cluster.tuning import QUIET

CALLBACKS = {"tick": "distributed.admin.tick.interval", "profile": "distributed.worker.profile.interval"}


def calm(server: Any) -> None:
    """Let a server that was just made do what it does periodically as seldom as `QUIET` says."""
    for name, setting in CALLBACKS.items():
        if name in server.periodic_callbacks:
            server.periodic_callbacks[name].callback_time = 1000 * parse_timedelta(QUIET[setting])


def unprofiled() -> None:
    """Let Dask not profile the event loop of this thread, for which it would have a thread of its own."""
    loop: Any = IOLoop.current()
    loop.profile = deque()


class QuietWorker(Worker):
    """A worker in this process; it has an HTTP server on a port, as all have, but no pages there."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        calm(self)

    def start_http_server(self, routes: Any, *others: Any, **more: Any) -> None:  # noqa: ARG002
        """Start the server without pages."""
        start: Any = super().start_http_server
        start([], *others, **more)
