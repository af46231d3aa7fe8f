"""What a run is told: built once from the command line or the environment, frozen, passed on."""

from dataclasses import dataclass

from daskjobs.errors import UsageError

LOCAL, KUBERNETES = "local", "kubernetes"
REMOTE = ("tcp://", "tls://")
LEAST = {
    "rows": 0,
    "seed": 0,
    "partitions": 0,
    "workers": 0,
    "timeout": 1,
    "start_timeout": 1,
    "worker_timeout": 1,
    "delete_timeout": 1,
    "idle_timeout": 1,
}


@dataclass(frozen=True)
class Settings:
    """The settings of one run; the defaults stand here and nowhere else.

    ``run`` is the URI of the run's files; ``input`` is a path, URI or glob of the user's own orders, or
    empty to generate ``rows`` of them from ``seed``; ``partitions`` 0 means five, or a multiple of ten where the
    orders are large; ``workers`` 0 means one for each core; ``timeout`` bounds the validation of all partitions, in
    seconds.

    ``delimiter``, ``encoding`` and ``columns`` say how the input is written, where that can't be seen; ``rules`` is
    the path or URI of a Python file; more rejected rows than the share ``max_rejected`` fail the run.

    Those from ``worker_cpu`` on are for a Dask cluster on Kubernetes: what a worker requests, the workflow that
    owns the cluster, the pod that asks for it, and how many seconds its scheduler may take to answer, its first
    worker to come, and its objects to be gone; it ends by itself ``idle_timeout`` seconds after its last task.
    """

    run: str
    rows: int = 50_000
    seed: int = 7
    input: str = ""
    delimiter: str = ""
    encoding: str = ""
    columns: str = ""
    rules: str = ""
    max_rejected: float = 1.0
    partitions: int = 0
    workers: int = 0
    cluster: str = LOCAL
    dashboard: str = "127.0.0.1:8787"
    timeout: float = 3600.0
    worker_cpu: str = "1"
    worker_memory: str = "2Gi"
    keep_cluster: bool = False
    workflow: str = ""
    workflow_uid: str = ""
    pod: str = ""
    namespace: str = ""
    start_timeout: float = 120.0
    worker_timeout: float = 90.0
    delete_timeout: float = 120.0
    idle_timeout: float = 300.0

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise UsageError(f"--{name.replace('_', '-')} is {getattr(self, name)}; the least is {least}")
        if not 0 <= self.max_rejected <= 1:
            raise UsageError(f"--max-rejected is {self.max_rejected}; it can be a share from 0 to 1, like 0.05")
        if self.cluster not in (LOCAL, KUBERNETES) and not self.cluster.startswith(REMOTE):
            allowed = " or ".join([LOCAL, KUBERNETES, *(f"{prefix}host:port" for prefix in REMOTE)])
            raise UsageError(f"--cluster is {self.cluster!r}; it can be {allowed}")
