"""Event loops of Dask that log nothing, while other uses of Dask in this process log as before."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, ref

from distributed.utils import LoopRunner
from tornado.ioloop import IOLoop

LOGGERS = ("distributed", "bokeh", "tornado")


@contextmanager
def silent_loop() -> Iterator[IOLoop]:
    """Give an event loop in a thread of its own, in which Dask logs only what is critical.

    Dask also logs the exceptions that it raises and, at the end, stack traces of messages that it can't send any more.
    A loop that can't be ended stays silent.
    """
    runner = LoopRunner()
    runner.start()
    loop: Any = runner.loop
    _silences[loop.asyncio_loop] = _Silence(loop.asyncio_loop)
    silence(loop.asyncio_loop)
    try:
        yield loop
    finally:
        runner.stop()
        if not loop.asyncio_loop.is_running():
            _silences.pop(loop.asyncio_loop).remove()


def silence(loop: asyncio.AbstractEventLoop) -> None:
    """Keep a silent loop silent where a library that was imported since has added handlers of log lines."""
    if loop in _silences:
        _silences[loop].add()


class _Silence(logging.Filter):
    """Drops what Dask logs in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop, self._places = ref(loop), set[logging.Handler]()

    def add(self) -> None:
        """Add this filter to all handlers that there are now."""
        self._places |= {handler for name in ("", *LOGGERS) for handler in logging.getLogger(name).handlers}
        for each in self._places:
            each.addFilter(self)

    def remove(self) -> None:
        """Remove this filter."""
        for each in self._places:
            each.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to keep a line."""
        if record.levelno >= logging.CRITICAL or record.name.partition(".")[0] not in LOGGERS:
            return True
        try:
            return asyncio.get_running_loop() is not self._loop()
        except RuntimeError:  # this thread has no event loop
            return True


_silences = WeakKeyDictionary[asyncio.AbstractEventLoop, _Silence]()
