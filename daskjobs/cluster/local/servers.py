"""Dask's servers in this process, with their own settings, since Dask's configuration is one for the whole process."""

import asyncio
import warnings
from collections import deque
from pathlib import Path
from typing import Any

from dask.utils import parse_timedelta
from distributed import Scheduler, SpecCluster, Worker
from distributed.diagnostics.task_stream import TaskStreamPlugin
from tornado.ioloop import IOLoop

from daskjobs.cluster.dashboard_access import TokenRouter, new_prefix
from daskjobs.cluster.local.environment import briefly
from daskjobs.cluster.loops import silence
from daskjobs.cluster.tuning import QUIET

SHOWN_TASKS = 10_000  # the last ones, each a kilobyte
CALLBACKS = {"tick": "distributed.admin.tick.interval", "profile": "distributed.worker.profile.interval"}


def calm(server: Any) -> None:
    """Give the periodic callbacks of a new server the intervals in `QUIET`."""
    for name, setting in CALLBACKS.items():
        if name in server.periodic_callbacks:
            server.periodic_callbacks[name].callback_time = 1000 * parse_timedelta(QUIET[setting])


class GuardedScheduler(Scheduler):
    """A scheduler whose web server checks each request by a `TokenRouter`.

    Its pages are imported when they are first requested, which takes half a second. The tasks that they show are
    recorded from the beginning.
    """

    router: TokenRouter

    def __init__(self, **options: Any) -> None:
        loop: Any = IOLoop.current()
        loop.profile = deque()  # so that Dask starts no thread that profiles the loop
        self._prefix = new_prefix()
        self._folder = options["local_directory"]
        super().__init__(**options, dashboard=False, http_prefix=self._prefix)
        self.add_plugin(TaskStreamPlugin(self, SHOWN_TASKS))
        calm(self)

    def start_http_server(self, *arguments: Any, **more: Any) -> None:
        """Start the server; no request is taken before this returns.

        Another process may take the port after it was found free: then Dask takes another one, and would warn of it.
        """
        start: Any = super().start_http_server
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Port .* is already in use", UserWarning)
            start(*arguments, **more)
        server: Any = self.http_server
        self.router = TokenRouter(self.http_application, server.address, server.port, self._prefix, self._load_pages)
        server.request_callback = self.router

    async def performance_report(self, *arguments: Any, **more: Any) -> Any:
        """Return the pages in one file (Dask calls this)."""
        await self._import_pages()
        report: Any = super().performance_report
        return await report(*arguments, **more)

    async def _load_pages(self) -> None:
        connect = await self._import_pages()
        connect(self.http_application, self.http_server, self, prefix=self._prefix)

    async def _import_pages(self) -> Any:
        """Return the function that adds the pages; they are imported in a thread, since Dask goes on meanwhile."""
        connect = await asyncio.to_thread(_import_pages, self._folder)
        silence(asyncio.get_running_loop())  # bokeh has its own handler of log lines
        return connect


def _import_pages(folder: str) -> Any:
    with briefly({} if _has_home() else {"HOME": folder}):  # where bokeh looks for settings
        from distributed.dashboard.scheduler import connect
    return connect


def _has_home() -> bool:
    try:
        Path.home()
    except RuntimeError:
        return False
    return True


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
