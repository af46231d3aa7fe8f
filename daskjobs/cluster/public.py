"""`dask_cluster`: a Dask cluster for any code, on a laptop or in a pod."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypedDict, Unpack

from daskjobs.cluster.backends import backend_of, connect, default_backend
from daskjobs.cluster.connection import Workload
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.options import flags, from_environment, keywords

if TYPE_CHECKING:  # its import takes a third of a second, and a program may never need it
    from distributed import Client


class ClusterKeywords(TypedDict, total=False):
    """The fields of `ClusterSettings`, as keyword arguments."""

    backend: str
    workers: int
    dashboard: str
    timeout: float
    threads: int
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
    workflow: str
    workflow_uid: str
    pod: str
    namespace: str
    start_timeout: float
    worker_timeout: float
    delete_timeout: float
    idle_timeout: float
    key: str


CLUSTER_FLAGS = {**flags(ClusterSettings), "key": "--key"}


@contextmanager
def dask_cluster(
    *, processes: bool = True, preload: tuple[str, ...] = (), **settings: Unpack[ClusterKeywords]
) -> Iterator["Client"]:
    """Give a client of a Dask cluster that lives as long as this block.

    On a laptop the workers run on this machine, as processes or, without ``processes``, as threads of this one. In a
    pod that knows its own name (DASKJOBS_POD, which flows/ sets) they run in copies of the pod, on an ephemeral Dask
    cluster that belongs to the pod's workflow. ``backend`` overrides this: "local", "kubernetes", or the address of a
    scheduler. Workers import the modules that ``preload`` names before their first task.

    The other keyword arguments are the fields of `ClusterSettings`. One that isn't given has the value of its
    environment variable, such as DASKJOBS_WORKER_MEMORY, or else its default. The client is distributed's own, and
    Dask's default in the block:

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
    if not chosen.keep_cluster:
        backend_of(chosen).remove(chosen).check(chosen.delete_timeout)


def _settings(given: ClusterKeywords) -> ClusterSettings:
    """Return the settings: given values, else those of the environment, else the defaults."""
    values = {**from_environment(ClusterSettings, os.environ), **keywords("dask_cluster", given, CLUSTER_FLAGS)}
    values.setdefault("backend", default_backend(values.get("pod", "")))
    values.setdefault("key", secrets.token_hex(4))  # so that clusters of one workflow have different names
    return ClusterSettings(**values)
