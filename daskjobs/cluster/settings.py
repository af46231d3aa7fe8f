"""The settings of a Dask cluster that every backend has; those of one backend alone are declared beside it."""

from dataclasses import dataclass

from daskjobs.options import SECONDS, check, option

START_SECONDS = 210.0  # a bound on the start of a cluster whose settings have none
WORKERS_ON_KUBERNETES = 5  # where their number isn't given


@dataclass(frozen=True)
class ClusterSettings:
    """The Dask cluster.

    The settings of one cluster that are the same whatever its backend; each backend adds its own in a subclass, and
    `backends.settings_of` chooses among these. ``backend`` is a name or the beginning of an address in
    `backends.BACKENDS`. ``workflow``, ``workflow_uid``, ``pod`` and ``namespace`` say where this process runs. ``key``
    tells the clusters of one workflow apart, and names a cluster that no workflow owns. Raises UsageError for a value
    that makes no sense.
    """

    backend: str = option(
        "local", "Where Dask runs: `local`, `kubernetes` (in a pod), or the address of a scheduler, `tcp://host:port`.",
        flag="--cluster", cleanup=True,
    )  # fmt: skip
    workers: int = option(
        0, "How many Dask workers to start.", bounds=(0, 1000),
        unset=f"0: one for each core that this process may use, and {WORKERS_ON_KUBERNETES} on Kubernetes",
    )  # fmt: skip
    threads: int = option(1, "How many threads each Dask worker has.", bounds=(1, 256))
    timeout: float = option(3600.0, "Seconds that the work on the cluster may take.", bounds=SECONDS)
    workflow: str = option("", "In a pod: the name of the workflow that owns the cluster.", cleanup=True)
    workflow_uid: str = option("", "In a pod: the uid of that workflow.", cleanup=True)
    pod: str = option("", "In a pod: its name; the pods of a cluster are made like it.", cleanup=True)
    namespace: str = option("", "In a pod: its namespace, which is where the cluster lives.", cleanup=True)
    key: str = ""

    def __post_init__(self) -> None:
        check(self)

    @property
    def longest_start(self) -> float:
        """The most seconds from the request for a cluster until its first worker has joined."""
        return START_SECONDS
