"""An ephemeral Dask cluster on Kubernetes, made like the pod that asks for it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

from daskjobs.cluster.connection import Connection, Workload
from daskjobs.cluster.findings import Finding
from daskjobs.cluster.kubernetes import KubernetesSettings, kubernetes_packages
from daskjobs.cluster.removed import ObjectName, Removed


class Kubernetes:
    """The backend "kubernetes"."""

    settings = KubernetesSettings
    shares_disk = False

    def check(self, settings: KubernetesSettings) -> None:
        """Accept all settings: whether this process runs in a pod is found out when it connects."""

    def connect(self, settings: KubernetesSettings, workload: Workload) -> AbstractContextManager[Connection]:
        """Create the cluster, or reuse the one that was started ahead, and delete it at the end."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.lifecycle import ephemeral_cluster
        return ephemeral_cluster(settings, workload)

    def start_ahead(self, settings: KubernetesSettings, workload: Workload) -> tuple[str, list[ObjectName]]:
        """Create the cluster without waiting until it is ready."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.lifecycle import start_ahead
        return start_ahead(settings, workload)

    def remove(self, settings: KubernetesSettings) -> Removed:
        """Delete the cluster, and wait until each of its objects is gone."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.removal import remove_cluster
        return remove_cluster(settings)

    def examine(self, settings: KubernetesSettings, image: str) -> Iterator[Finding]:
        """Look at kinds, controllers and rights; start and remove a pod of the ``image``, if there is one."""
        with kubernetes_packages():
            from daskjobs.cluster.kubernetes.examination import examine
        yield from examine(settings, image)
