"""An ephemeral Dask cluster on Kubernetes, made like the pod that asks for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from daskjobs.cluster.connection import Connection, Workload
from daskjobs.cluster.findings import Finding
from daskjobs.cluster.kubernetes import kubernetes_packages
from daskjobs.cluster.removed import ObjectName, Removed
from daskjobs.cluster.settings import ClusterSettings

if TYPE_CHECKING:  # it takes long to import
    from daskjobs.cluster.security import KeyPair


class Kubernetes:
    """The backend "kubernetes", which knows the key pairs of the clusters that it created."""

    shares_disk = False

    def __init__(self) -> None:
        self._pairs: dict[str, KeyPair] = {}

    def check(self, settings: ClusterSettings) -> None:
        """Accept all settings: whether this process runs in a pod is found out when it connects."""

    @contextmanager
    def connect(self, settings: ClusterSettings, workload: Workload) -> Iterator[Connection]:
        """Create the cluster, or reuse the one that was started ahead, and delete it at the end."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.lifecycle import ephemeral_cluster
        with ephemeral_cluster(settings, workload, self._pairs) as connection:
            yield connection

    def start_ahead(self, settings: ClusterSettings, workload: Workload) -> tuple[str, list[ObjectName]]:
        """Create the cluster without waiting until it is ready."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.lifecycle import start_ahead
        return start_ahead(settings, workload, self._pairs)

    def remove(self, settings: ClusterSettings) -> Removed:
        """Delete the cluster, and wait until each of its objects is gone."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.removal import remove_cluster
        return remove_cluster(settings)

    def examine(self, settings: ClusterSettings, image: str) -> Iterator[Finding]:
        """Look at kinds, controllers and rights; start and remove a pod of the ``image``, if there is one."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.examination import examine
        yield from examine(settings, image)
