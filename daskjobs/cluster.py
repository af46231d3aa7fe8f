"""Where Dask runs: one `with` gives a client, on this machine or on a scheduler that runs already."""

import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import dask
from distributed import Client, Security
from distributed.comm.core import CommClosedError

from daskjobs.clients import connected
from daskjobs.errors import ClusterError, ConfigError
from daskjobs.extras import kubernetes_module
from daskjobs.lease import Check
from daskjobs.local import local
from daskjobs.log import event
from daskjobs.settings import KUBERNETES, LOCAL, Settings
from daskjobs.workers import Asked, unheard

CONNECT_SECONDS = 7  # within which a scheduler and a first worker must have answered
TLS_FILES = ("ca-file", "client.cert", "client.key")
PACKAGES = ("dask", "distributed", "pandas", "pyarrow", "numpy", "daskjobs")


@dataclass(frozen=True)
class Connected:
    """A client that can be used, what run.json says of the cluster behind it, and whom to ask how a worker ended.

    Workers that are ``together`` are threads of one process.
    """

    client: Client
    facts: dict[str, Any]
    last_words: Asked = unheard
    together: bool = False


@contextmanager
def connect(settings: Settings, rows: int, check: Check = lambda: None) -> Iterator[Connected]:
    """Give a client of a cluster that so many ``rows`` need; what was started for it is gone afterwards.

    A cluster on Kubernetes stays when ``check`` raises: see `ephemeral`.
    Raises ClusterError when a scheduler doesn't answer, ConfigError when its versions aren't ours.
    """
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it logs with a stack trace, it raises too
    kinds: dict[str, Callable[[Settings, int], AbstractContextManager[Connected]]]
    kinds = {LOCAL: _local, KUBERNETES: partial(_kubernetes, check=check)}
    try:
        with kinds.get(settings.cluster, _remote)(settings, rows) as connected:
            event("cluster.ready", run=settings.run, **{k: v for k, v in connected.facts.items() if k != "objects"})
            yield connected
    except (CommClosedError, TimeoutError) as error:
        raise ClusterError(f"the Dask scheduler went away while it was needed: {error}") from error


@contextmanager
def _local(settings: Settings, rows: int) -> Iterator[Connected]:
    with local(settings, rows) as (client, facts):
        yield Connected(client, facts, together=facts["workers_are"] == "threads")


@contextmanager
def _kubernetes(settings: Settings, _: int, check: Check) -> Iterator[Connected]:
    with kubernetes_module("ephemeral").ephemeral(settings, check) as (client, facts, last_words):
        compare_versions(client)
        yield Connected(client, facts, last_words)


@contextmanager
def _remote(settings: Settings, _: int) -> Iterator[Connected]:
    if settings.cluster.startswith("tls://"):
        _check_certificates()
    with ExitStack() as stack:
        try:
            client = stack.enter_context(connected(settings.cluster, CONNECT_SECONDS))
        except OSError as error:
            raise ClusterError(
                f"no Dask scheduler answers at {settings.cluster} within {CONNECT_SECONDS} s: {error}; give the "
                "address that `dask scheduler` prints, not its dashboard's"
            ) from error
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            raise ClusterError(
                f"the scheduler at {settings.cluster} has no worker: start one with `dask worker {settings.cluster}`"
            ) from error
        workers = client.scheduler_info(n_workers=-1)["workers"]
        compare_versions(client)
        yield Connected(
            client, {"cluster": settings.cluster, "workers": len(workers), "dashboard": client.dashboard_link}
        )


def _check_certificates() -> None:
    """Raise ConfigError unless Dask's configuration has the files with which a client speaks TLS."""
    keys = {f"distributed.comm.tls.{name}": dask.config.get(f"distributed.comm.tls.{name}", None) for name in TLS_FILES}
    missing = [key for key, path in keys.items() if not path]
    if missing:
        raise ConfigError(
            f"--cluster tls:// needs certificates: set {', '.join(missing)} in Dask's configuration, "
            f"or {', '.join(_variable(key) for key in missing)} in the environment"
        )
    try:
        Security().get_connection_args("client")
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"--cluster tls:// can't use {', '.join(map(str, keys.values()))}: {error}; "
            "give PEM files that belong together"
        ) from error


def _variable(key: str) -> str:
    return f"DASK_{key.upper().replace('.', '__').replace('-', '_')}"


def own_versions() -> dict[str, str]:
    """Return the versions, where this runs, of what both sides must have alike."""
    return {"python": platform.python_version().rpartition(".")[0], **{name: version(name) for name in PACKAGES}}


def compare_versions(client: Client) -> None:
    """Raise ConfigError unless the scheduler and every worker run our versions of what matters."""
    ours = own_versions()
    try:
        theirs = {
            "the scheduler": client.run_on_scheduler(own_versions, callback_timeout=CONNECT_SECONDS),
            **client.run(own_versions, callback_timeout=CONNECT_SECONDS),
        }
    except ImportError as error:
        raise ConfigError(
            f"the Dask cluster lacks a package: {error}; install daskjobs there, or use its image"
        ) from error
    wrong = sorted(
        f"{name} {versions[name]} at {where}, {ours[name]} here"
        for where, versions in theirs.items()
        for name in ours
        if versions[name] != ours[name]
    )
    if wrong:
        raise ConfigError(
            f"versions differ: {'; '.join(wrong)}; install the same ones, or use the same image, on both sides"
        )
