"""Where a Dask cluster comes from: each backend is a module of this package and a line in the table `BACKENDS`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import fields
from functools import partial
from typing import Any, Protocol, TypeVar

from daskjobs.cluster.backends.kubernetes import Kubernetes
from daskjobs.cluster.backends.local import Local
from daskjobs.cluster.backends.remote import Remote
from daskjobs.cluster.connection import Connection, Workload
from daskjobs.cluster.early import Early
from daskjobs.cluster.findings import Finding
from daskjobs.cluster.removed import ObjectName, Removed
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.configured import dask_configured
from daskjobs.errors import UsageError
from daskjobs.events import event
from daskjobs.options import quoted

S = TypeVar("S", bound=ClusterSettings)


class Backend(Protocol[S]):
    """Connects to Dask clusters of one kind, and removes them.

    Importing a backend's module must be quick: its methods import the libraries that they need.
    """

    @property
    def settings(self) -> type[S]:
        """The class of its settings: `ClusterSettings`, or a subclass that adds options of its own."""

    @property
    def shares_disk(self) -> bool:
        """Whether workers can read and write this machine's files."""

    def check(self, settings: S) -> None:
        """Raise UsageError when the settings make no sense here, or ValueError when the address is wrong."""

    def connect(self, settings: S, workload: Workload) -> AbstractContextManager[Connection]:
        """Give a connection to a cluster that is ready; whatever was started for it ends with the block."""

    @property
    def start_ahead(self) -> Callable[[S, Workload], tuple[str, list[ObjectName]]] | None:
        """What starts the cluster without waiting for it, and says "created" or "reused"; or None, if nothing does."""

    @property
    def fork(self) -> Callable[[Workload], AbstractContextManager[Workload]] | None:
        """What starts the process that workers are forked from, for a workload of processes; None, if nothing does."""

    def remove(self, settings: S) -> Removed:
        """Remove the cluster in whatever state it is, and report what was removed and what remains."""

    def examine(self, settings: S, image: str) -> Iterator[Finding]:
        """Yield what is there and what is missing for a cluster; a backend that uses pods tries one of ``image``."""


# Keys are names of backends, or schemes of addresses.
BACKENDS: dict[str, Backend[Any]] = {
    "local": Local(),
    "kubernetes": Kubernetes(),
    "tcp://": Remote(),
    "tls://": Remote(),
}


def default_backend(pod: str) -> str:
    """Return the default backend: Kubernetes in a pod that knows its own name, else local."""
    return "kubernetes" if pod else "local"


def settings_kinds() -> list[type[ClusterSettings]]:
    """Return `ClusterSettings` and the settings classes of all backends: they have all options of Dask clusters."""
    return list(dict.fromkeys([ClusterSettings, *(backend.settings for backend in BACKENDS.values())]))


def settings_of(**values: Any) -> ClusterSettings:
    """Build the settings of the backend that ``backend`` names from one flat set of names.

    What other backends alone have is checked by these, and is without effect. Raises UsageError for a value that makes
    no sense, and when there is no such backend.
    """
    names = {kind: {each.name for each in fields(kind)} for kind in settings_kinds()}
    others = set[str]().union(*names.values())
    built = {
        kind: kind(**{name: value for name, value in values.items() if name in own or name not in others})
        for kind, own in names.items()
    }
    return built[_named(built[ClusterSettings].backend).settings]


def backend_of(settings: ClusterSettings) -> Backend[Any]:
    """Return the backend that the settings name. Raises UsageError if there is none, or if it refuses the settings."""
    backend = _named(settings.backend)
    try:
        backend.check(settings)
    except ValueError as error:
        raise UsageError(f"--cluster must be {_allowed()}, got {quoted(settings.backend)}: {error}") from None
    return backend


def _named(name: str) -> Backend[Any]:
    backend = BACKENDS.get("".join(name.partition("://")[:2]))
    if backend is None:
        raise UsageError(f"--cluster must be {_allowed()}, got {quoted(name)}")
    return backend


def _allowed() -> str:
    return " or ".join(f"{name}host:port" if name.endswith("://") else name for name in BACKENDS)


def early_workers(settings: ClusterSettings) -> Early | None:
    """Return what starts the backend's workers before they are needed, or None where that doesn't help."""
    backend = backend_of(settings)
    return Early(backend.fork, partial(backend.connect, settings)) if backend.fork else None


@contextmanager
def connect(
    settings: ClusterSettings,
    workload: Workload = Workload(),  # noqa: B008  # frozen
    early: Early | None = None,
) -> Iterator[Connection]:
    """Give a connection to a Dask cluster that is ready; whatever was started for it ends with the block.

    If ``early`` has begun to start one for this workload, it is that.
    Raises ClusterError when no scheduler or worker answers, and ConfigError when versions differ.
    """
    backend = backend_of(settings)
    with dask_configured():
        from daskjobs.cluster.clients import answering
    with ExitStack() as stack:
        with answering():
            begun = early.connection() if early and early.begun else backend.connect(settings, workload)
            connection = stack.enter_context(begun)
        facts = connection.facts.to_json() | {"dashboard": connection.facts.dashboard}
        event("cluster.ready", **{name: value for name, value in facts.items() if name != "objects"})
        yield connection
