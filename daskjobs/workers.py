"""The workers of any Dask cluster: how many there are, and how one ended."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from distributed import Client

from daskjobs.errors import ClusterError

ANSWER_SECONDS = 10
PROGRESS = "daskjobs"  # the scheduler's topic, which `daskjobs dashboard` follows


@dataclass(frozen=True)
class LastWords:
    """How a worker ended, and whether it was for want of memory."""

    text: str
    memory: bool = False


Asked = Callable[[str], LastWords]  # takes a worker's name


def unheard(worker: str) -> LastWords:
    """Say where to look, where nobody can ask for us."""
    return LastWords(f"the log of the worker {worker} should say more")


def ask(client: Client, what: str, seconds: float = ANSWER_SECONDS, **arguments: Any) -> Any:
    """Call the scheduler directly: of Client's own methods, some wait without bound. Raises OSError without answer."""
    scheduler: Any = client.scheduler
    return client.sync(getattr(scheduler, what), callback_timeout=seconds, **arguments)


def announce(client: Client, what: str) -> None:
    """Tell whoever watches the cluster how far the work is; that nobody heard it is no failure."""
    with suppress(OSError):
        ask(client, "log_event", topic=PROGRESS, msg=what)


def count(client: Client) -> int:
    """Return how many workers there are. Raises ClusterError when the scheduler doesn't say."""
    try:
        found = ask(client, "identity", n_workers=-1)
    except OSError as error:
        raise ClusterError(f"the Dask scheduler doesn't say how many workers it has: {error}") from error
    return len(found["workers"])
