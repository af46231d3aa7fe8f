"""What a backend gives, a connection to a Dask cluster that is ready, and what a workload asks of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from daskjobs.cluster.removed import ObjectName
from daskjobs.cluster.settings import ClusterSettings

if TYPE_CHECKING:  # its import takes a third of a second, and most commands need no client
    from multiprocessing.context import ForkServerContext

    from distributed import Client


@dataclass(frozen=True)
class Workload:
    """What the work asks of the workers that are started for it; a scheduler that runs already has its own.

    With ``processes``, local workers are processes, which start with the variables in ``environment``; else they are
    threads of this process. Workers import the modules that ``preload`` names before their first task. ``check`` raises
    when another process has taken over the cluster, which is not deleted then. All processes look for modules in the
    folder or zip file ``code`` first. ``tell`` takes sentences for people about the wait for the cluster. ``results``
    is False for tasks that write their results elsewhere; such workers never pause for memory. ``node`` is the name of
    the Argo node that does the work. Local processes are forked from ``forks``, if a fork server has been started.
    """

    processes: bool = False
    preload: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[], None] = lambda: None
    code: str = ""
    tell: Callable[[str], None] = lambda _: None
    results: bool = True
    node: str = ""
    forks: ForkServerContext | None = None


@dataclass(frozen=True)
class Requested:
    """What was requested: the number of workers, and the resources of each, empty where the backend takes no request.

    ``cores`` are those of this machine, if the workers run on it. The field names are those of the settings.
    """

    workers: int
    worker_cpu: str = ""
    worker_memory: str = ""
    cores: int = 0


@dataclass
class ClusterFacts:
    """How a Dask cluster started and how large it was; a field that doesn't apply to the backend is None.

    ``cluster`` is the backend's name or the scheduler's address, ``workers_are`` "threads" or "processes", ``how``
    "created" or "reused". ``start_seconds`` don't include the ``queue_seconds`` before. ``why`` says why there were
    fewer workers than requested.
    """

    cluster: str
    workers: int
    dashboard: str
    workers_are: str | None = None
    how: str | None = None
    workers_wanted: int | None = None
    queue_seconds: float | None = None
    start_seconds: float | None = None
    objects: list[ObjectName] | None = None
    why: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are not None, as JSON has them; the dashboard's token, for people, is left out."""
        facts = {**asdict(self), "dashboard": self.dashboard.partition("?")[0]}
        return {name: value for name, value in facts.items() if value is not None}


@dataclass(frozen=True)
class End:
    """A sentence, or an empty text, about how a worker or a scheduler ended, and whether it ran out of memory."""

    text: str = ""
    out_of_memory: bool = False


@dataclass(frozen=True)
class Connection:
    """A client of a Dask cluster that is ready, and what the cluster's backend knows about it.

    ``memory_advice`` says how to give workers more memory. ``how_worker_ended`` takes a worker's name.
    ``how_cluster_ended`` says why a scheduler that was there has gone, where that can be known. ``last_logs`` takes a
    number of lines, and returns so many of each process's log, by its name, where logs can be read. Workers that
    ``share_process`` are threads of one process, and die together. People elsewhere may look at a cluster that is
    ``watched``: so progress is announced to it, and its dashboard's pages are worth keeping. One that is ``kept`` stays
    when the work has ended.
    """

    settings: ClusterSettings
    client: Client
    facts: ClusterFacts
    requested: Requested
    memory_advice: str
    how_worker_ended: Callable[[str], End]
    how_cluster_ended: Callable[[], End] = End
    last_logs: Callable[[int], dict[str, str]] = lambda _: {}
    share_process: bool = False
    watched: bool = True
    kept: bool = False
