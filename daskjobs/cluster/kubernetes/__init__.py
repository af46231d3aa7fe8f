"""Ephemeral Dask clusters on Kubernetes, which the Dask operator runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from daskjobs.cluster.settings import ClusterSettings
from daskjobs.configured import dask_configured
from daskjobs.errors import ConfigError
from daskjobs.options import SECONDS, option

TLS = "tls"


@dataclass(frozen=True)
class KubernetesSettings(ClusterSettings):
    """On Kubernetes."""

    worker_cpu: str = option("1", "The CPU that each worker requests.")
    worker_memory: str = option("2Gi", "The memory that each worker requests and may use.")
    worker_disk: str = option(
        "1Gi", "The disk that each worker requests and may use, such as for what Dask spills to it."
    )
    max_workers: int = option(
        0, "Add workers, up to so many, while tasks wait for them; 0 adds none.", bounds=(0, 1000)
    )
    worker_node_selector: str = option(
        "", 'The labels of the nodes for workers, as a JSON object like `{"pool": "spot"}`.'
    )
    worker_tolerations: str = option("", "Tolerations that workers have besides those of this pod, as a JSON list.")
    worker_resources: str = option(
        "", 'What each worker requests besides, as a JSON object like `{"nvidia.com/gpu": 1}`.'
    )
    worker_volumes: str = option("", "Further volumes of workers, as a JSON list; each has a `mountPath`, too.")
    worker_service_account: str = option("", "The service account of the workers' pods.")
    pod_labels: str = option("", 'Labels of all pods of the cluster, as a JSON object like `{"team": "a"}`.')
    pod_annotations: str = option("", "Annotations of all pods of the cluster, as a JSON object.")
    security: str = option(
        TLS,
        "What protects the cluster's connections: `tls`, or `none` where a service mesh does it.",
        choices=(TLS, "none"),
    )
    queue: str = option("", "The Kueue queue that admits the pods of the Dask cluster.")
    queue_timeout: float = option(
        3600.0, "Seconds until the queue must have admitted the scheduler and the first worker.", bounds=SECONDS
    )
    scheduler_memory: str = option("512Mi", "The memory that the scheduler requests and may use.")
    keep_cluster: bool = option(False, "Leave the cluster up until cleanup, for a look at its dashboard.")
    keep_on_failure: bool = option(
        False, "When the work fails, leave the cluster up until it has been idle for too long."
    )
    start_timeout: float = option(120.0, "Seconds until the scheduler must answer.", bounds=SECONDS)
    worker_timeout: float = option(
        90.0, "Seconds until the first worker must have come; others join later.", bounds=SECONDS
    )
    delete_timeout: float = option(120.0, "Seconds until what was deleted must be gone.", bounds=SECONDS, cleanup=True)
    idle_timeout: float = option(300.0, "Seconds without a task until the cluster ends by itself.", bounds=SECONDS)

    @property
    def longest_queue(self) -> float:
        """The most seconds that pods may wait in the queue; 0 without a queue."""
        return self.queue_timeout if self.queue else 0.0

    @property
    def longest_start(self) -> float:
        """The most seconds from the request for a cluster until its first worker has joined."""
        return self.longest_queue + self.start_timeout + self.worker_timeout


@contextmanager
def kubernetes_packages() -> Iterator[None]:
    """Import modules that need the extra "kubernetes" in this block.

    Raises ConfigError, which says how to install it, when a package is missing.
    """
    try:
        with dask_configured():
            yield
    except ImportError as error:
        raise ConfigError(f"Kubernetes needs a package: {error}; pip install 'daskjobs[kubernetes]'") from error
