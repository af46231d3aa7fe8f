"""The last safety net: removes Dask clusters that nobody needs any more.

These are clusters whose workflow is over or gone, or which are past their deadline. The janitor also ends pods of
workflows that don't start: Argo checks a template's pendingTimeout only if the template has no retryStrategy, or if
the pod is gone (4.1.2), and Kubernetes counts a pod's deadline only once the pod is on a node.
It sees only its own namespace, and only objects with this product's labels.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import kr8s
from kr8s.objects import APIObject, Pod

from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.api import (
    DaskCluster,
    DaskWorkerGroup,
    Workflow,
    age,
    api_call,
    delete_object,
    is_kept,
    list_objects,
    open_api,
)
from daskjobs.cluster.kubernetes.diagnosis import why_not_ready
from daskjobs.cluster.kubernetes.naming import CLUSTER_LABEL, DEADLINE, PART_OF, RUN_LABEL, WORKFLOW
from daskjobs.cluster.kubernetes.removal import remove
from daskjobs.cluster.removed import Remaining, Removed

OF_WORKFLOW = "workflows.argoproj.io/workflow"


def sweep(settings: KubernetesSettings, pending_timeout: float) -> Iterator[str]:
    """Remove what nobody needs any more, and yield a line for each cluster that there was.

    Ends pods of workflows that have not started within ``pending_timeout`` seconds.
    Raises ClusterError, after all have been tried, when something could not be removed.
    """
    api = open_api(settings)
    yield from _give_up_pods(api, pending_timeout)
    remaining: list[Remaining] = []
    groups = _ours(list_objects(api, PART_OF, (DaskWorkerGroup,)))  # first, since a cluster may appear in between
    clusters = _ours(list_objects(api, PART_OF, (DaskCluster,)))
    names = {cluster.name for cluster in clusters}
    orphans = [group for group in groups if group.raw["spec"]["cluster"] not in names]
    for existing in clusters + orphans:
        why = "its DaskCluster is gone" if existing in orphans else _why_over(api, existing)
        if not why:
            yield f"kept {existing.kind} {existing.name}: its run goes on"
            continue
        labels = {key: existing.labels[key] for key in (RUN_LABEL, CLUSTER_LABEL)}
        removed = remove(api, labels, settings.delete_timeout)
        remaining += removed.remaining
        count = len(removed.objects) - len(removed.remaining)
        yield f"removed {existing.kind} {existing.name}, {count} objects: {why}"
    Removed(remaining=remaining, seconds=settings.delete_timeout).check()


def _give_up_pods(api: kr8s.Api, seconds: float) -> Iterator[str]:
    """End pods of workflows that have not started within ``seconds``.

    A pod that is on no node gets the phase Failed with Kubernetes' reason, which Argo shows. A pod on a node is
    deleted, because only the kubelet may write its status: Argo, about to create it again, then sees that the
    template's pendingTimeout is over.
    """
    for pod in list_objects(api, PART_OF, (Pod,)):
        if OF_WORKFLOW not in pod.labels or pod.status.phase != "Pending" or age(pod) <= seconds:
            continue
        message = f"did not start within {seconds:.0f} s: {why_not_ready(api, pod)}"
        if pod.spec.get("nodeName"):
            delete_object(pod)
        else:
            status = {"phase": "Failed", "reason": "NotStarted", "message": message}
            with api_call(f"give up the pod {pod.name}"):
                pod.patch({"status": status}, subresource="status")
        yield f"gave up Pod {pod.name}: {message}"


def _ours(objects: list[APIObject]) -> list[APIObject]:
    return [each for each in objects if RUN_LABEL in each.labels and CLUSTER_LABEL in each.labels]


def _why_over(api: kr8s.Api, cluster: APIObject) -> str:
    """Say why a cluster is not needed any more, or return an empty text: it is, or it is kept for people to look at."""
    annotations = cluster.metadata.get("annotations", {})
    if (
        WORKFLOW in annotations
        and not is_kept(cluster)
        and (why := _why_ended(api, annotations[WORKFLOW], cluster.labels[RUN_LABEL]))
    ):
        return why
    deadline = annotations.get(DEADLINE)
    if deadline and datetime.fromisoformat(deadline) < datetime.now(UTC):
        return f"its deadline was {deadline}"
    return ""


def _why_ended(api: kr8s.Api, name: str, uid: str) -> str:
    """Say how a workflow ended, or return an empty text while it runs."""
    with api_call(f"look for the workflow {name}"):
        named: list[Any] = list(api.get(Workflow, name, namespace=api.namespace))
    workflows = [each for each in named if each.metadata["uid"] == uid]
    if not workflows:
        return f"its workflow {name} is gone"
    status = workflows[0].raw.get("status", {})
    return f"its workflow {name} has {status['phase'].lower()}" if status.get("finishedAt") else ""
