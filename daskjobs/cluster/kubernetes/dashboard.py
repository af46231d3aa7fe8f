"""Shows a live Dask cluster on Kubernetes on this machine, reached by a kubeconfig; nothing there is changed."""

import asyncio
import base64
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import kr8s
from dask_kubernetes.operator.networking import get_scheduler_address
from distributed import Client
from distributed.versions import VersionMismatchWarning
from kr8s.objects import APIObject, Secret

from daskjobs.cluster.clients import PROGRESS, answering, ask, connected, within
from daskjobs.cluster.kubernetes.api import (
    POLL_SECONDS,
    DaskCluster,
    Workflow,
    api_call,
    is_ending,
    list_objects,
    open_api,
)
from daskjobs.cluster.kubernetes.naming import CERTIFICATE, PART_OF, RUN_LABEL, secret_name
from daskjobs.cluster.kubernetes.pages import shown
from daskjobs.cluster.kubernetes.secret import FILES
from daskjobs.cluster.security import KeyPair
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import ClusterError, ConfigError

LOOK_SECONDS = 1


def watch(settings: ClusterSettings) -> Iterator[str]:
    """Forward the ports of a workflow's Dask cluster to this machine, and yield lines for people until it is gone.

    The first line is the dashboard's address. Raises ConfigError when there is no such workflow or it is over,
    ClusterError when its cluster does not come within the start timeout or doesn't answer.
    """
    api = open_api(settings)
    cluster = await_cluster(api, settings)
    pair = key_pair(api, cluster)
    warnings.simplefilter("ignore", VersionMismatchWarning)  # no task goes from here to there
    with ExitStack() as stack:
        stack.enter_context(answering())
        link = stack.enter_context(shown(cluster.name, str(cluster.namespace), settings.start_timeout))
        client = stack.enter_context(_client(cluster, pair, settings.start_timeout)) if pair else None
        yield f"dashboard  {link}"
        goes_on, seen = True, 0.0
        while goes_on:
            goes_on = is_there(api, cluster)
            for when, line in news(client, seen) if client else ():  # and once more at the end
                seen = when
                yield line
            time.sleep(LOOK_SECONDS if goes_on else 0)
    yield "the Dask cluster has been removed: its work is over"


@contextmanager
def _client(cluster: APIObject, pair: KeyPair, seconds: float) -> Iterator[Client]:
    """Give a client of the scheduler, whose port is forwarded to this machine: it lets in who has the key pair."""
    with connected(f"tls://{forwarded(cluster, 'tcp-comm', seconds)}", seconds, pair.security()) as client:
        yield client


def await_cluster(api: kr8s.Api, settings: ClusterSettings) -> APIObject:
    """Wait for the Dask cluster of a workflow while the workflow goes on."""
    deadline = time.monotonic() + settings.start_timeout
    while time.monotonic() < deadline:
        uid = _live_uid(api, settings)
        for cluster in list_objects(api, {**PART_OF, RUN_LABEL: uid}, (DaskCluster,)):
            if not is_ending(cluster):
                return cluster
        time.sleep(POLL_SECONDS)
    raise ClusterError(
        f"the workflow {settings.workflow} has no Dask cluster within {settings.start_timeout:.0f} s: it has not "
        "started one yet, or the work on it is over"
    )


def _live_uid(api: kr8s.Api, settings: ClusterSettings) -> str:
    """Return the uid of a workflow that has not ended."""
    with api_call(f"look for the workflow {settings.workflow}"):
        workflow: Any = next(iter(api.get(Workflow, settings.workflow, namespace=api.namespace)), None)
    if workflow is None:
        raise ConfigError(f"there is no workflow {settings.workflow} in {api.namespace}: `argo list -n …` names them")
    status = workflow.raw.get("status", {})
    if status.get("finishedAt"):
        raise ConfigError(
            f"the workflow {settings.workflow} has {status['phase'].lower()}, and its Dask cluster is gone; the "
            "artifact performance of the task that used it has the dashboard's pages"
        )
    return str(workflow.metadata["uid"])


def is_there(api: kr8s.Api, cluster: APIObject) -> bool:
    """Tell whether this very cluster is still there and not being deleted."""
    clusters = list_objects(api, dict(cluster.labels), (DaskCluster,))
    is_same = any(each.metadata["uid"] == cluster.metadata["uid"] for each in clusters)
    return is_same and not any(is_ending(each) for each in clusters)


def forwarded(cluster: APIObject, port_name: str, seconds: float) -> str:
    """Return the address on this machine to which a port of the scheduler's service is forwarded, as host:port.

    It is forwarded until this process ends. Raises ClusterError when that takes longer than so many seconds.
    """

    def forward() -> str:
        return str(
            asyncio.run(
                get_scheduler_address(
                    f"{cluster.name}-scheduler",
                    cluster.namespace,
                    port_name=port_name,
                    port_forward_cluster_ip=True,
                )
            )
        )

    try:
        return within(seconds, forward).partition("://")[2]
    except (OSError, kr8s.NotFoundError) as error:
        raise ClusterError(f"the Dask cluster {cluster.name} does not answer: {error or 'no connection'}") from error


def key_pair(api: kr8s.Api, cluster: APIObject) -> KeyPair | None:
    """Return the key pair of a cluster's processes from its Secret, or None where they speak without TLS.

    Raises ConfigError when this person may not read it.
    """
    if CERTIFICATE not in cluster.metadata.get("annotations", {}):
        return None
    name = secret_name(cluster.name)
    with api_call(f"read the Secret {name}, without which nobody is let in"):
        secret: Any = next(iter(api.get(Secret, name, namespace=api.namespace)), None)
    if secret is None:
        raise ClusterError(f"the Secret {name} is gone: the work on its Dask cluster is over")
    certificate, key = (base64.b64decode(secret.raw["data"][path.name]).decode() for path in FILES)
    return KeyPair(certificate, key)


def news(client: Client, seen: float) -> Iterator[tuple[float, str]]:
    """Yield the time and the text of what was announced after the time ``seen``, while the scheduler answers."""
    with suppress(OSError):
        for when, what in ask(client, "events", topic=PROGRESS):
            if when > seen:
                yield when, str(what)
