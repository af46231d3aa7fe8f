"""`dask_cluster`: a Dask cluster for any code, on a laptop or in a pod."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypedDict, Unpack

from daskjobs.cluster.backends import backend_of, connect, default_backend, settings_kinds, settings_of
from daskjobs.cluster.connection import Workload
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.options import flags, from_environment, keywords

if TYPE_CHECKING:  # its import takes a third of a second, and a program may never need it
    from distributed import Client


class ClusterKeywords(TypedDict, total=False):
    """The settings of a Dask cluster, those of all backends, as keyword arguments."""

    # made by `make generate`: options of a Dask cluster as keywords
    backend: str
    workers: int
    threads: int
    timeout: float
    workflow: str
    workflow_uid: str
    pod: str
    namespace: str
    dashboard: str
    worker_cpu: str
    worker_memory: str
    worker_disk: str
    max_workers: int
    worker_node_selector: str
    worker_tolerations: str
    worker_resources: str
    worker_volumes: str
    worker_service_account: str
    pod_labels: str
    pod_annotations: str
    security: str
    queue: str
    queue_timeout: float
    scheduler_memory: str
    keep_cluster: bool
    keep_on_failure: bool
    start_timeout: float
    worker_timeout: float
    delete_timeout: float
    idle_timeout: float
    # made until here
    key: str


def cluster_flags() -> dict[str, str]:
    """Return the flag of each keyword of a Dask cluster."""
    return {**flags(*settings_kinds()), "key": "--key"}


@contextmanager
def dask_cluster(
    *, processes: bool = True, preload: tuple[str, ...] = (), **settings: Unpack[ClusterKeywords]
) -> Iterator["Client"]:
    """Give a client of a Dask cluster that lives as long as this block.

    On a laptop the workers run on this machine, as processes or, without ``processes``, as threads of this one. In a
    pod that knows its own name (DASKJOBS_POD, which flows/ sets) they run in copies of the pod, on an ephemeral Dask
    cluster that belongs to the pod's workflow. ``backend`` overrides this: "local", "kubernetes", or the address of a
    scheduler. Workers import the modules that ``preload`` names before their first task.

    The other keyword arguments are the options of a Dask cluster. Where one is missing, its environment variable
    counts, such as DASKJOBS_WORKER_MEMORY, and then its default. The client is distributed's own, and the default one
    in the block:

        with daskjobs.dask_cluster(workers=5, worker_memory="2Gi") as client:
            client.gather(client.map(work, parts))

    Every wait has a time limit. If this process is killed, the cluster ends by its idle timeout, with its workflow, or
    by the janitor. Raises ClusterError when no scheduler or worker comes within the timeouts, or when something can't
    be removed at the end, and ConfigError when this process and the workers have different versions.
    """
    chosen = _settings(settings)
    with connect(chosen, Workload(processes, preload)) as connection:
        from daskjobs.cluster.clients import default  # as late as Dask itself

        with default(connection.client):
            yield connection.client
    if not connection.kept:
        backend_of(chosen).remove(chosen).check()


def _settings(given: ClusterKeywords) -> ClusterSettings:
    """Return the settings: given values, else those of the environment, else the defaults."""
    set_here = from_environment(os.environ, *settings_kinds())
    values = {**set_here, **keywords("dask_cluster", given, cluster_flags())}
    values.setdefault("backend", default_backend(values.get("pod", "")))
    values.setdefault("key", secrets.token_hex(4))  # so that clusters of one workflow have different names
    return settings_of(**values)
