"""Workers on this machine, which end with the process that starts them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from daskjobs.cluster.addresses import free, host_port
from daskjobs.cluster.connection import Connection, Workload
from daskjobs.cluster.findings import Finding
from daskjobs.cluster.local import LocalSettings
from daskjobs.cluster.removed import Removed
from daskjobs.configured import dask_configured
from daskjobs.cores import cores
from daskjobs.errors import ConfigError, UsageError

MOST_WORKERS = 128  # each has threads and sockets, or a process of its own


class Local:
    """The backend "local"."""

    settings = LocalSettings
    shares_disk = True
    start_ahead = None  # local workers live no longer than the process that starts them

    def check(self, settings: LocalSettings) -> None:
        """Raise UsageError for more workers than one machine can start."""
        if settings.workers > MOST_WORKERS:
            raise UsageError(
                f"--workers must be at most {MOST_WORKERS} with --cluster {settings.backend}, got {settings.workers:,}"
            )

    def connect(self, settings: LocalSettings, workload: Workload) -> AbstractContextManager[Connection]:
        """Start workers, threads of this process or processes of their own, and stop them at the end."""
        with dask_configured():
            from daskjobs.cluster.local.workers import local_cluster
        return local_cluster(settings, workload)

    @contextmanager
    def fork(self, workload: Workload) -> Iterator[Workload]:
        """Start the process that workers are forked from, and give the workload with it."""
        from daskjobs.cluster.local.forking import forking

        with forking(workload) as forks:
            yield replace(workload, forks=forks)

    def remove(self, settings: LocalSettings) -> Removed:
        """Remove nothing: the workers have ended with the process that started them."""
        return Removed()

    def examine(self, settings: LocalSettings, image: str) -> Iterator[Finding]:
        """Look at the cores and at the dashboard's port."""
        try:
            yield Finding(True, f"cores that this process may use: {cores()}, as many workers by default")
        except ConfigError as error:
            yield Finding(False, str(error))
        yield _port(settings.dashboard)


def _port(address: str) -> Finding:
    port = host_port(address)[1]
    try:
        if free(address) == address:
            return Finding(True, f"port {port} is free for the Dask dashboard")
    except ConfigError as error:
        return Finding(False, str(error))
    return Finding(True, f"port {port} is taken: the dashboard will be on another one, which the run prints")
