"""An ephemeral Dask cluster on Kubernetes, whose pods are copies of the pod that creates it."""

from collections.abc import Iterator
from contextlib import contextmanager

from daskjobs.cluster.connection import Connection, Workload
from daskjobs.cluster.findings import Finding
from daskjobs.cluster.kubernetes import kubernetes_packages
from daskjobs.cluster.removed import ObjectName, Removed
from daskjobs.cluster.settings import ClusterSettings


class Kubernetes:
    """The backend "kubernetes"."""

    shares_disk = False

    def check(self, settings: ClusterSettings) -> None:
        """Accept all settings: `connect` finds out whether this process runs in a pod."""

    @contextmanager
    def connect(self, settings: ClusterSettings, workload: Workload) -> Iterator[Connection]:
        """Create the cluster, or reuse the one that was started ahead, and delete it at the end."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.lifecycle import ephemeral_cluster
        with ephemeral_cluster(settings, workload) as connection:
            yield connection

    def start_ahead(self, settings: ClusterSettings, workload: Workload) -> tuple[str, list[ObjectName]]:
        """Create the cluster without waiting until it is ready."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.lifecycle import start_ahead
        return start_ahead(settings, workload)

    def remove(self, settings: ClusterSettings) -> Removed:
        """Delete the cluster, and wait until each of its objects is gone."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.removal import remove_cluster
        return remove_cluster(settings)

    def examine(self, settings: ClusterSettings, image: str) -> Iterator[Finding]:
        """Look at kinds, controllers and rights; start and remove a pod of ``image``, unless that is empty."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.examination import examine
        yield from examine(settings, image)
