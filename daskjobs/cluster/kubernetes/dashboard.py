"""Shows the dashboard of a live Dask cluster on Kubernetes on this machine; it changes nothing there."""

import asyncio
import base64
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import kr8s
from dask_kubernetes.operator.networking import get_scheduler_address
from distributed import Client
from distributed.versions import VersionMismatchWarning
from kr8s.objects import APIObject, Secret

from daskjobs.cluster.clients import PROGRESS, answering, ask, connected, within
from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.api import (
    POLL_SECONDS,
    DaskCluster,
    Workflow,
    api_call,
    is_ending,
    list_objects,
    open_api,
)
from daskjobs.cluster.kubernetes.naming import CERTIFICATE, NODE, PART_OF, RUN_LABEL, secret_name
from daskjobs.cluster.kubernetes.pages import shown
from daskjobs.cluster.kubernetes.secret import FILES
from daskjobs.cluster.security import KeyPair
from daskjobs.errors import ClusterError, ConfigError, UsageError
from daskjobs.options import quoted

LOOK_SECONDS = 1
LISTED = 10  # at most, of the steps that a sentence names at most


def watch(settings: KubernetesSettings, step: str = "") -> Iterator[str]:
    """Forward the ports of a workflow's Dask cluster to this machine, and yield lines for people until it is gone.

    The first line is the dashboard's address. ``step`` chooses one of several steps: see `fitting`. Raises ConfigError
    when there is no such workflow or it is over, UsageError when several clusters fit, and ClusterError when none
    starts within the start timeout or it doesn't answer.
    """
    api = open_api(settings)
    cluster = await_cluster(api, settings, step)
    pair = key_pair(api, cluster)
    warnings.simplefilter("ignore", VersionMismatchWarning)  # this client submits no tasks
    with ExitStack() as stack:
        stack.enter_context(answering())
        link = stack.enter_context(shown(cluster.name, str(cluster.namespace), settings.start_timeout))
        client = None
        if pair:
            address = f"tls://{forwarded(cluster, 'tcp-comm', settings.start_timeout)}"
            client = stack.enter_context(connected(address, settings.start_timeout, pair.security()))
        yield f"dashboard  {link}"
        goes_on, seen = True, 0.0
        while goes_on:
            goes_on = is_there(api, cluster)
            for when, line in news(client, seen) if client else ():  # and once more at the end
                seen = when
                yield line
            time.sleep(LOOK_SECONDS if goes_on else 0)
    yield "the Dask cluster has been removed: its work is over"


def await_cluster(api: kr8s.Api, settings: KubernetesSettings, step: str = "") -> APIObject:
    """Wait for the one Dask cluster of a workflow, or of its ``step``, while the workflow runs."""
    deadline = time.monotonic() + settings.start_timeout
    named, listed = f"of the step {quoted(step)} " if step else "", ""
    while time.monotonic() < deadline:
        workflow = _workflow(api, settings)
        labels = {**PART_OF, RUN_LABEL: str(workflow["metadata"]["uid"])}
        clusters = [each for each in list_objects(api, labels, (DaskCluster,)) if not is_ending(each)]
        found = fitting(clusters, settings.workflow, step)
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"the workflow {settings.workflow} has several Dask clusters {named}now, those of {_listed(found)}: "
                "choose one by --step, with its name or the end of it"
            )
        listed = f"it has those of {_listed(clusters)}" if clusters else ""
        status = workflow.get("status", {})
        if status.get("finishedAt"):
            gone = f"has no Dask cluster {named}now: {listed}" if listed else "its Dask cluster is gone"
            raise ConfigError(
                f"the workflow {settings.workflow} has {status['phase'].lower()}, and {gone}; the artifact performance "
                "of the task that used it has the dashboard's pages"
            )
        time.sleep(POLL_SECONDS)
    raise ClusterError(
        f"the workflow {settings.workflow} has no Dask cluster {named}within {settings.start_timeout:.0f} s: "
        + (listed or "it has not started one yet, or the work on it is over")
    )


def fitting(clusters: list[APIObject], workflow: str, step: str) -> list[APIObject]:
    """Return the Dask clusters of the steps that a name fits, or all clusters for an empty name.

    The name is that of an Argo node, with or without the workflow's name before it; or else the end of such a name; or
    else the name of a loop, each item of which is a node. `features` fits flow-x7.features, or else
    flow-x7.nested.features, or else flow-x7.features(0:a).
    """
    if not step:
        return clusters
    its = re.escape(step)
    for pattern in (its, rf"{re.escape(workflow)}\.{its}", rf".*\.{its}", rf".*\.{its}\(\d+:.*"):
        if found := [each for each in clusters if re.fullmatch(pattern, _node(each), re.DOTALL)]:
            return found
    return []


def _node(cluster: APIObject) -> str:
    """Return the name of a cluster's step: its Argo node's or, without one, as for orders, the cluster's own."""
    return str(cluster.metadata.get("annotations", {}).get(NODE) or cluster.name)


def _listed(clusters: list[APIObject]) -> str:
    names = sorted(map(_node, clusters))
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(quoted, names[:LISTED])) + more


def _workflow(api: kr8s.Api, settings: KubernetesSettings) -> Any:
    """Return the workflow, as Kubernetes has it."""
    with api_call(f"look for the workflow {settings.workflow}"):
        workflow: Any = next(iter(api.get(Workflow, settings.workflow, namespace=api.namespace)), None)
    if workflow is None:
        raise ConfigError(f"there is no workflow {settings.workflow} in {api.namespace}: `argo list -n …` names them")
    return workflow.raw


def is_there(api: kr8s.Api, cluster: APIObject) -> bool:
    """Tell whether this very cluster is still there and not being deleted."""
    clusters = list_objects(api, dict(cluster.labels), (DaskCluster,))
    is_same = any(each.metadata["uid"] == cluster.metadata["uid"] for each in clusters)
    return is_same and not any(is_ending(each) for each in clusters)


def forwarded(cluster: APIObject, port_name: str, seconds: float) -> str:
    """Forward a port of the scheduler's service to this machine, and return the local address as host:port.

    It stays forwarded until this process ends. Raises ClusterError when it doesn't answer within ``seconds``.
    """

    def forward() -> str:
        name, here = f"{cluster.name}-scheduler", {"port_name": port_name, "port_forward_cluster_ip": True}
        return str(asyncio.run(get_scheduler_address(name, cluster.namespace, **here)))

    try:
        return within(seconds, forward).partition("://")[2]
    except (OSError, kr8s.NotFoundError) as error:
        raise ClusterError(f"the Dask cluster {cluster.name} does not answer: {error or 'no connection'}") from error


def key_pair(api: kr8s.Api, cluster: APIObject) -> KeyPair | None:
    """Return the key pair of a cluster's processes from its Secret, or None for a cluster without TLS.

    Raises ConfigError when the user may not read the Secret.
    """
    if CERTIFICATE not in cluster.metadata.get("annotations", {}):
        return None
    name = secret_name(cluster.name)
    with api_call(f"read the Secret {name}, which has the key pair for its connections"):
        secret: Any = next(iter(api.get(Secret, name, namespace=api.namespace)), None)
    if secret is None:
        raise ClusterError(f"the Secret {name} is gone: the work on its Dask cluster is over")
    certificate, key = (base64.b64decode(secret.raw["data"][path.name]).decode() for path in FILES)
    return KeyPair(certificate, key)


def news(client: Client, seen: float) -> Iterator[tuple[float, str]]:
    """Yield time and text of each progress message after the time ``seen``, while the scheduler answers."""
    with suppress(OSError):
        for when, what in ask(client, "events", topic=PROGRESS):
            if when > seen:
                yield when, str(what)
