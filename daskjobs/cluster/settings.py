"""The settings of a Dask cluster: where it comes from, how large it is, and how long each wait may take."""

from dataclasses import dataclass

from daskjobs.cluster.addresses import host_port
from daskjobs.errors import UsageError
from daskjobs.options import SECONDS, check, option, quoted

TLS, NONE = SECURITIES = ("tls", "none")


@dataclass(frozen=True)
class ClusterSettings:
    """The settings of one Dask cluster; the defaults stand here and nowhere else.

    ``backend`` is a name or the beginning of an address in `backends.BACKENDS`, which is looked up when it is needed:
    see `backends.backend_of`. All fields from ``worker_cpu`` on are for Kubernetes alone. ``key`` tells clusters of one
    workflow apart there, and names a cluster that no workflow owns. Raises UsageError for a value that makes no sense.
    """

    backend: str = option(
        "local", "Where Dask runs: local, kubernetes (in a pod), or the address of a scheduler (tcp://host:port).",
        flag="--cluster",
    )  # fmt: skip
    workers: int = option(
        0, "Dask workers; 0 is one for each core that this process may use, and five on Kubernetes.", bounds=(0, 1000)
    )
    dashboard: str = option("127.0.0.1:8787", "Address of the Dask dashboard of a local cluster.")
    timeout: float = option(3600.0, "Seconds that the work on the cluster may take.", bounds=SECONDS)
    threads: int = option(1, "Threads of each Dask worker.", bounds=(1, 256))
    worker_cpu: str = option("1", "On Kubernetes: CPU that each worker requests.")
    worker_memory: str = option("2Gi", "On Kubernetes: memory that each worker requests and may use.")
    worker_disk: str = option(
        "1Gi", "On Kubernetes: ephemeral storage that each worker requests and may use, for what it spills to disk."
    )
    max_workers: int = option(
        0, "On Kubernetes: add workers, up to so many, while tasks wait for them; 0 adds none.", bounds=(0, 1000)
    )
    worker_node_selector: str = option(
        "", 'On Kubernetes: labels of the nodes for workers, as a JSON object like {"pool": "spot"}.'
    )
    worker_tolerations: str = option(
        "", "On Kubernetes: tolerations that workers have besides those of this pod, as a JSON list."
    )
    worker_resources: str = option(
        "", 'On Kubernetes: what each worker requests besides, as a JSON object like {"nvidia.com/gpu": 1}.'
    )
    worker_volumes: str = option(
        "", "On Kubernetes: volumes of workers besides, as a JSON list; each has a mountPath, too."
    )
    worker_service_account: str = option("", "On Kubernetes: the service account of the workers' pods.")
    pod_labels: str = option(
        "", 'On Kubernetes: labels of all pods of the cluster, as a JSON object like {"team": "a"}.'
    )
    pod_annotations: str = option("", "On Kubernetes: annotations of all pods of the cluster, as a JSON object.")
    security: str = option(
        TLS, "On Kubernetes: what protects the cluster's connections, tls, or none where a service mesh does it."
    )
    queue: str = option("", "On Kubernetes: the Kueue queue that admits the cluster's pods.")
    queue_timeout: float = option(
        3600.0, "On Kubernetes: seconds until the queue must have admitted the scheduler and the first worker.",
        bounds=SECONDS,
    )  # fmt: skip
    scheduler_memory: str = option("512Mi", "On Kubernetes: memory that the scheduler requests and may use.")
    keep_cluster: bool = option(
        False, "On Kubernetes: leave the cluster up until cleanup, for a look at its dashboard."
    )
    keep_on_failure: bool = option(
        False, "On Kubernetes: when the work fails, leave the cluster up until it has been idle for too long."
    )
    workflow: str = option("", "On Kubernetes: name of the workflow that owns the cluster.")
    workflow_uid: str = option("", "On Kubernetes: uid of that workflow.")
    pod: str = option("", "On Kubernetes: name of the pod that this runs in; the cluster's pods are made like it.")
    namespace: str = option("", "On Kubernetes: where the cluster lives, which is where this pod does.")
    start_timeout: float = option(120.0, "On Kubernetes: seconds until the scheduler must answer.", bounds=SECONDS)
    worker_timeout: float = option(
        90.0, "On Kubernetes: seconds until the first worker must have come; others join in later.", bounds=SECONDS
    )
    delete_timeout: float = option(120.0, "On Kubernetes: seconds until what was deleted must be gone.", bounds=SECONDS)
    idle_timeout: float = option(
        300.0, "On Kubernetes: seconds without work after which the cluster ends by itself.", bounds=SECONDS
    )
    key: str = ""

    def __post_init__(self) -> None:
        check(self)
        if self.security not in SECURITIES:
            raise UsageError(f"--security must be {' or '.join(SECURITIES)}, got {quoted(self.security)}")
        try:
            host_port(self.dashboard)
        except ValueError as error:
            raise UsageError(
                f"--dashboard must be host:port, like 127.0.0.1:8787, got {quoted(self.dashboard)}: {error}"
            ) from None

    @property
    def longest_queue(self) -> float:
        """The most seconds that pods may wait in the queue; 0 without a queue."""
        return self.queue_timeout if self.queue else 0.0

    @property
    def longest_start(self) -> float:
        """The most seconds from the request for a cluster until its first worker has joined."""
        return self.longest_queue + self.start_timeout + self.worker_timeout
