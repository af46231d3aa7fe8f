"""Event loops of Dask that log nothing, while other uses of Dask in this process log as before."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import ref

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
    silence = _Silence(loop.asyncio_loop)
    places = {handler for name in ("", *LOGGERS) for handler in logging.getLogger(name).handlers}
    for each in places:
        each.addFilter(silence)
    try:
        yield loop
    finally:
        runner.stop()
        if not loop.asyncio_loop.is_running():
            for each in places:
                each.removeFilter(silence)


class _Silence(logging.Filter):
    """Drops what Dask logs in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = ref(loop)

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to keep a line."""
        if record.levelno >= logging.CRITICAL or record.name.partition(".")[0] not in LOGGERS:
            return True
        try:
            return asyncio.get_running_loop() is not self._loop()
        except RuntimeError:  # this thread has no event loop
            return True
