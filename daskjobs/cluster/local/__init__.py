"""Dask workers on this machine, which only the process that starts them can use."""

from dataclasses import dataclass

from daskjobs.cluster.addresses import host_port
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import UsageError
from daskjobs.options import option, quoted


@dataclass(frozen=True)
class LocalSettings(ClusterSettings):
    """On this machine."""

    dashboard: str = option(
        "127.0.0.1:8787", "Where the dashboard listens; a port that is taken is replaced by a free one."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            host_port(self.dashboard)
        except ValueError as error:
            raise UsageError(
                f"--dashboard must be host:port, like 127.0.0.1:8787, got {quoted(self.dashboard)}: {error}"
            ) from None
