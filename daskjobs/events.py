"""Log lines for people and machines: the time, an event name, and its fields."""

import json
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from daskjobs.display import escaped, shown

LEVELS = ("debug", "info", "warning", "error")

logger = logging.getLogger("daskjobs")
_bound: ContextVar[dict[str, object]] = ContextVar("bound", default={})  # noqa: B039  # replaced, never changed


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Add these fields, such as the run's URI, to every event in the block, before its own fields."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def event(name: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Log an event as ``stage.done stage=split seconds=0.2``; values with spaces are quoted."""
    if logger.isEnabledFor(level):
        said = (f"{key}={_text(value)}" for key, value in {**_bound.get(), **fields}.items())
        logger.log(level, escaped(" ".join([name, *said])))


def _text(value: object) -> str:
    text = shown(str(value))
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=\n') else text


def configure(level: str) -> None:
    """Send this package's events to standard error, with times in UTC, and silence other libraries."""
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    hush()
    # distributed sometimes leaves a timer behind when it closes, which asyncio reports (tornado.locks).
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def hush() -> None:
    """Silence Dask's warning about a missing network, which a local cluster does not need."""
    warnings.filterwarnings("ignore", "Couldn't detect a suitable IP address", RuntimeWarning)
