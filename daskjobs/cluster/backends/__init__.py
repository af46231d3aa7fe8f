"""Where a Dask cluster comes from: each backend is a module of this package and a line in the table `BACKENDS`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

from daskjobs.cluster.backends.kubernetes import Kubernetes
from daskjobs.cluster.backends.local import Local
from daskjobs.cluster.backends.remote import Remote
from daskjobs.cluster.connection import Connection, Workload
from daskjobs.cluster.findings import Finding
from daskjobs.cluster.removed import ObjectName, Removed
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.configured import dask_configured
from daskjobs.errors import UsageError
from daskjobs.events import event
from daskjobs.options import quoted

StartAhead = Callable[[ClusterSettings, Workload], tuple[str, list[ObjectName]]]  # gives "created" or "reused"


class Backend(Protocol):
    """Connects to Dask clusters of one kind, and removes them.

    Importing a backend's module must be quick: its methods import the libraries that they need.
    """

    @property
    def shares_disk(self) -> bool:
        """Whether workers can read and write this machine's files."""

    def check(self, settings: ClusterSettings) -> None:
        """Raise UsageError when the settings make no sense here, or ValueError when the address is wrong."""

    def connect(self, settings: ClusterSettings, workload: Workload) -> AbstractContextManager[Connection]:
        """Give a connection to a cluster that is ready; whatever was started for it ends with the block."""

    @property
    def start_ahead(self) -> StartAhead | None:
        """A function that starts the cluster without waiting for it, or None where nothing is started ahead."""

    def remove(self, settings: ClusterSettings) -> Removed:
        """Remove the cluster in whatever state it is, and report what was removed and what remains."""

    def examine(self, settings: ClusterSettings, image: str) -> Iterator[Finding]:
        """Yield what is there and what is missing for a cluster; a backend that uses pods tries one of ``image``."""


# Keys are names of backends, or schemes of addresses.
BACKENDS: dict[str, Backend] = {
    "local": Local(),
    "kubernetes": Kubernetes(),
    "tcp://": Remote(),
    "tls://": Remote(),
}


def default_backend(pod: str) -> str:
    """Return the default backend: Kubernetes in a pod that knows its own name, else local."""
    return "kubernetes" if pod else "local"


def backend_of(settings: ClusterSettings) -> Backend:
    """Return the backend that the settings name. Raises UsageError if there is none, or if it refuses the settings."""
    name, scheme, _ = settings.backend.partition("://")
    backend = BACKENDS.get(name + scheme)
    if backend is None:
        raise UsageError(f"--cluster must be {_allowed()}, got {quoted(settings.backend)}")
    try:
        backend.check(settings)
    except ValueError as error:
        raise UsageError(f"--cluster must be {_allowed()}, got {quoted(settings.backend)}: {error}") from None
    return backend


def _allowed() -> str:
    return " or ".join(f"{name}host:port" if name.endswith("://") else name for name in BACKENDS)


@contextmanager
def connect(settings: ClusterSettings, workload: Workload = Workload()) -> Iterator[Connection]:  # noqa: B008  # frozen
    """Give a connection to a Dask cluster that is ready; whatever was started for it ends with the block.

    Raises ClusterError when no scheduler or worker answers, and ConfigError when versions differ.
    """
    backend = backend_of(settings)
    with dask_configured():
        from daskjobs.cluster.clients import answering
    with ExitStack() as stack:
        with answering():
            connection = stack.enter_context(backend.connect(settings, workload))
        facts = connection.facts.to_json()
        event("cluster.ready", **{name: value for name, value in facts.items() if name != "objects"})
        yield connection
