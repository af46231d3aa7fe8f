"""A scheduler that runs already, at a given address; others size and stop it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from daskjobs.cluster.addresses import host_port
from daskjobs.cluster.connection import ClusterFacts, Connection, End, Requested, Workload
from daskjobs.cluster.findings import Finding
from daskjobs.cluster.removed import Removed
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.configured import dask_configured
from daskjobs.errors import ClusterError, DaskjobsError

CONNECT_SECONDS = 7  # until the scheduler, and then a first worker, must have answered


class Remote:
    """The backend for addresses, tcp://host:port or tls://host:port."""

    settings = ClusterSettings
    shares_disk = True  # assumed, since it can't be known here
    start_ahead = None  # the scheduler runs already
    fork = None  # no worker is a process of this one's

    def check(self, settings: ClusterSettings) -> None:
        """Raise ValueError when no scheduler can have this address."""
        _, port = host_port(settings.backend.partition("://")[2])
        if port == 0:
            raise ValueError("no scheduler listens on port 0")

    @contextmanager
    def connect(self, settings: ClusterSettings, workload: Workload) -> Iterator[Connection]:
        """Connect to the scheduler, and leave it running at the end."""
        with dask_configured():
            from daskjobs.cluster.clients import connected
            from daskjobs.cluster.openssl import mend_openssl
            from daskjobs.cluster.security import check_certificates
            from daskjobs.cluster.versions import compare_versions
        address = settings.backend
        if address.startswith("tls://"):
            check_certificates()
            mend_openssl()
        with ExitStack() as stack:
            try:
                client = stack.enter_context(connected(address, CONNECT_SECONDS))
            except ClusterError as error:
                raise ClusterError(
                    f"{error}; give the address that `dask scheduler` prints, not its dashboard's"
                ) from error
            try:
                client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            except TimeoutError as error:
                raise ClusterError(
                    f"the scheduler at {address} has no worker: start one with `dask worker {address}`"
                ) from error
            workers = len(client.scheduler_info(n_workers=-1)["workers"])
            compare_versions(client)
            yield Connection(
                settings,
                client,
                ClusterFacts(cluster=address, workers=workers, dashboard=client.dashboard_link),
                Requested(workers),
                memory_advice="start its workers with more memory (dask worker --memory-limit)",
                how_worker_ended=lambda worker: End(f"the log of the worker {worker} should say more"),
            )

    def remove(self, settings: ClusterSettings) -> Removed:
        """Remove nothing: whoever started the scheduler stops it."""
        return Removed()

    def examine(self, settings: ClusterSettings, image: str) -> Iterator[Finding]:
        """Connect to the scheduler as a run would, which checks its workers and versions."""
        try:
            with self.connect(settings, Workload()) as connection:
                yield Finding(True, f"{settings.backend} has {connection.facts.workers} workers of the same versions")
        except DaskjobsError as error:
            yield Finding(False, str(error))
