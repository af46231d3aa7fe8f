"""What a run is told: built once from the command line or the environment, frozen, passed on."""

from dataclasses import dataclass, fields

from daskjobs.addresses import host_port
from daskjobs.errors import UsageError
from daskjobs.names import shown

LOCAL, KUBERNETES = "local", "kubernetes"
QUOTINGS = RFC4180, NONE, BACKSLASH = "rfc4180", "none", "backslash"
REMOTE = ("tcp://", "tls://")
SECONDS = (1, 30 * 86_400)  # a longer wait than a month is a mistake, and beyond 2^31 s some of Dask's timers fail
BOUNDS: dict[str, tuple[float, float]] = {
    "rows": (0, 4_000_000_000),  # 340 GB of CSV; a partition counts its rows in 32 bits
    "seed": (0, 2**63 - 1),
    "max_rejected": (0, 1),
    "partitions": (0, 10_000),
    "workers": (0, 1000),
    "timeout": SECONDS,
    "start_timeout": SECONDS,
    "worker_timeout": SECONDS,
    "delete_timeout": SECONDS,
    "idle_timeout": SECONDS,
    "pending_timeout": SECONDS,
}
MOST_LOCAL_WORKERS = 128  # each has threads, sockets and, from five million rows on, a process of its own
STORES = ("file://", "s3://")  # in which files can be written whole or not at all, and removed
PATHS = {"run", "input", "rules"}  # which may be of any bytes
MOST_TEXT = 4096  # characters; Linux takes no longer path


@dataclass(frozen=True)
class Settings:
    """The settings of one run; the defaults stand here and nowhere else.

    ``run`` is the URI of the run's files; ``input`` is a path, URI or glob of the user's own orders, or
    empty to generate ``rows`` of them from ``seed``; ``partitions`` 0 means five, or a multiple of ten where the
    orders are large; ``workers`` 0 means one for each core; ``timeout`` bounds the validation of all partitions, in
    seconds.

    ``delimiter``, ``quoting``, ``encoding``, ``columns`` and ``statuses`` say how the input is written, where that
    can't be seen; ``rules`` is the path or URI of a Python file; more rejected rows than the share ``max_rejected``
    fail the run.

    Those from ``worker_cpu`` on are for a Dask cluster on Kubernetes: what a worker requests, the workflow that
    owns the cluster, the pod that asks for it, and how many seconds its scheduler may take to answer, its first
    worker to come, and its objects to be gone; it ends by itself ``idle_timeout`` seconds after its last task.
    ``pending_timeout`` is the janitor's: how many seconds a pod of a workflow may take to start.

    ``given`` are the names of those that were set, on the command line or by the environment: what a stage before was
    made with must be the same.
    """

    run: str
    rows: int = 50_000
    seed: int = 7
    input: str = ""
    delimiter: str = ""
    quoting: str = RFC4180
    encoding: str = ""
    columns: str = ""
    statuses: str = ""
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
    pending_timeout: float = 300.0
    given: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if not least <= value <= most:  # nan too
                raise UsageError(f"{option(name)} must be between {least:,} and {most:,}, got {_number(value)}")
        for each in fields(self):
            text = getattr(self, each.name)
            if isinstance(text, str) and len(text) > MOST_TEXT:
                raise UsageError(f"{option(each.name)} must have at most {MOST_TEXT:,} characters, got {len(text):,}")
            if isinstance(text, str) and each.name not in PATHS and not text.isascii() and not _is_unicode(text):
                raise UsageError(f"{option(each.name)} must be text in the terminal's encoding, got {quoted(text)}")
            if isinstance(text, str) and "\0" in text:
                raise UsageError(f"{option(each.name)} must have no NUL character, got {quoted(text)}")
        if "::" in self.run:
            raise UsageError(f"--run must be one path or URI, got the chain {quoted(shown(self.run))}")
        if "://" in self.run and not self.run.startswith(STORES):
            raise UsageError(f"--run must be a path, or a URI of {' or '.join(STORES)}, got {quoted(shown(self.run))}")
        if shown(self.run) != self.run:
            raise UsageError(
                f"--run {self.run} must have no user, password or query: it is shown and stored, so give these by the "
                "environment or the configuration of the storage's client"
            )
        if self.cluster == LOCAL and self.workers > MOST_LOCAL_WORKERS:
            raise UsageError(
                f"--workers must be at most {MOST_LOCAL_WORKERS} with --cluster {LOCAL}, got {self.workers:,}"
            )
        if self.quoting not in QUOTINGS:
            allowed = f"{', '.join(QUOTINGS[:-1])} or {QUOTINGS[-1]}"
            raise UsageError(f"--quoting must be {allowed}, got {quoted(self.quoting)}")
        _check_addresses(self.cluster, self.dashboard)


def option(name: str) -> str:
    """Return the option of a setting: ``--max-rejected`` of ``max_rejected``."""
    return f"--{name.replace('_', '-')}"


def quoted(text: str) -> str:
    """Return a text as an error message shows it: quoted, escaped, and cut where it is long."""
    return repr(text if len(text) <= 100 else f"{text[:100]}…")


def _is_unicode(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:  # bytes of the command line that are no text
        return False


def _number(value: float) -> str:
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"a number of {int(value.bit_length() * 0.30103) + 1:,} digits"
    return str(value)


def _check_addresses(cluster: str, dashboard: str) -> None:
    try:
        host_port(dashboard)
    except ValueError as error:
        raise UsageError(
            f"--dashboard must be host:port, like 127.0.0.1:8787, got {quoted(dashboard)}: {error}"
        ) from None
    if cluster in (LOCAL, KUBERNETES):
        return
    allowed = " or ".join([LOCAL, KUBERNETES, *(f"{scheme}host:port" for scheme in REMOTE)])
    if not cluster.startswith(REMOTE):
        raise UsageError(f"--cluster must be {allowed}, got {quoted(cluster)}")
    try:
        _, port = host_port(cluster.partition("://")[2])
        if port == 0:
            raise ValueError("no scheduler listens on port 0")
    except ValueError as error:
        raise UsageError(f"--cluster must be {allowed}, got {quoted(cluster)}: {error}") from None
