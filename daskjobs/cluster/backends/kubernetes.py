"""An ephemeral Dask cluster on Kubernetes, whose pods are copies of the pod that creates it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from daskjobs.cluster.connection import Connection, Workload
from daskjobs.cluster.findings import Finding
from daskjobs.cluster.kubernetes import KubernetesSettings, kubernetes_packages
from daskjobs.cluster.removed import ObjectName, Removed

if TYPE_CHECKING:  # it takes long to import
    from daskjobs.cluster.security import KeyPair


class Kubernetes:
    """The backend "kubernetes", which knows the key pairs of the clusters that it created."""

    settings = KubernetesSettings
    shares_disk = False
    fork = None  # no worker is a process of this one's

    def __init__(self) -> None:
        self._pairs: dict[str, KeyPair] = {}

    def check(self, settings: KubernetesSettings) -> None:
        """Accept all settings: `connect` finds out whether this process runs in a pod."""

    def connect(self, settings: KubernetesSettings, workload: Workload) -> AbstractContextManager[Connection]:
        """Create the cluster, or reuse the one that was started ahead, and delete it at the end."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.ephemeral import ephemeral_cluster
        return ephemeral_cluster(settings, workload, self._pairs)

    def start_ahead(self, settings: KubernetesSettings, workload: Workload) -> tuple[str, list[ObjectName]]:
        """Create the cluster without waiting until it is ready."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.lifecycle import start_ahead
        return start_ahead(settings, workload, self._pairs)

    def remove(self, settings: KubernetesSettings) -> Removed:
        """Delete the cluster, and wait until each of its objects is gone."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.removal import remove_cluster
        return remove_cluster(settings)

    def examine(self, settings: KubernetesSettings, image: str) -> Iterator[Finding]:
        """Look at kinds, controllers and rights; start and remove a pod of ``image``, unless that is empty."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.examination import examine
        yield from examine(settings, image)
