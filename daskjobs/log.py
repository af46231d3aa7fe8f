"""Log lines for people and machines: the time, an event name, and its fields."""

import json
import logging
import sys
import time
import warnings

from daskjobs.names import escaped, shown

LEVELS = ("debug", "info", "warning", "error")

logger = logging.getLogger("daskjobs")


def event(name: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Log an event: ``stage.done stage=split seconds=0.2``; a text with spaces is quoted."""
    if logger.isEnabledFor(level):
        said = (f"{key}={_text(value)}" for key, value in fields.items())
        logger.log(level, escaped(" ".join([name, *said])))


def _text(value: object) -> str:
    text = shown(str(value))
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=\n') else text


def configure(level: str) -> None:
    """Send this package's events to standard error, in UTC, and keep other libraries to their warnings."""
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    hush()
    # distributed now and then leaves a timer behind when it closes, and asyncio reports it (tornado.locks).
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def hush() -> None:
    """Keep quiet what Dask warns of when it is imported on a machine without a network, which needs none."""
    warnings.filterwarnings("ignore", "Couldn't detect a suitable IP address", RuntimeWarning)
