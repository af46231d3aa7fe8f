"""What a run is told: built once from the command line or the environment, frozen, passed on."""

from dataclasses import dataclass

from daskjobs.errors import UsageError

LOCAL = "local"
REMOTE = ("tcp://", "tls://")


@dataclass(frozen=True)
class Settings:
    """The settings of one run; the defaults stand here and nowhere else.

    ``run`` is the URI of the run's files; ``input`` is a path, URI or glob of the user's own orders, or
    empty to generate ``rows`` of them from ``seed``; ``workers`` 0 means one for each core;
    ``timeout`` bounds the validation of all partitions, in seconds.
    """

    run: str
    rows: int = 50_000
    seed: int = 7
    input: str = ""
    partitions: int = 5
    workers: int = 0
    cluster: str = LOCAL
    dashboard: str = "127.0.0.1:8787"
    timeout: float = 3600.0

    def __post_init__(self) -> None:
        for name, least in (("rows", 0), ("seed", 0), ("partitions", 1), ("workers", 0), ("timeout", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name} is {getattr(self, name)}; the least is {least}")
        if self.cluster != LOCAL and not self.cluster.startswith(REMOTE):
            allowed = " or ".join([LOCAL, *(f"{prefix}host:port" for prefix in REMOTE)])
            raise UsageError(f"--cluster is {self.cluster!r}; it can be {allowed}")
