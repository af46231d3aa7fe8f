"""The last net: remove Dask clusters of this product whose run is over or gone, or which are past their deadline.

And give up pods of its workflows that don't start. Argo checks a template's pendingTimeout only where it has no
retryStrategy, or where the pod is gone (4.1.2); Kubernetes' deadline of a pod begins when that is on a node.
The janitor looks at its own namespace, and at nothing that doesn't carry this product's labels.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import kr8s
from kr8s.objects import APIObject, Pod, new_class

from daskjobs import pods, removal
from daskjobs.kubernetes import DaskCluster, DaskWorkerGroup, age, connect, delete, explained, find
from daskjobs.resource import CLUSTER_LABEL, DEADLINE, PART_OF, RUN_LABEL, WORKFLOW
from daskjobs.settings import Settings

OF_WORKFLOW = "workflows.argoproj.io/workflow"
Workflow = new_class("Workflow", "argoproj.io/v1alpha1", asyncio=False)


def sweep(settings: Settings) -> Iterator[str]:
    """Remove what nobody needs any more, and yield a line for each cluster that was found.

    Raises ClusterError, once all were tried, when something could not be removed.
    """
    api = connect(settings)
    yield from _give_up(api, settings.pending_timeout)
    remaining: list[removal.Described] = []
    groups = _ours(find(api, PART_OF, (DaskWorkerGroup,)))  # first, or a cluster could come between the two
    clusters = _ours(find(api, PART_OF, (DaskCluster,)))
    names = {cluster.name for cluster in clusters}
    alone = [group for group in groups if group.raw["spec"]["cluster"] not in names]
    for found in clusters + alone:
        why = "its DaskCluster is gone" if found in alone else _over(api, found)
        if not why:
            yield f"kept {found.kind} {found.name}: its run goes on"
            continue
        removed = removal.remove(
            api, {key: found.labels[key] for key in (RUN_LABEL, CLUSTER_LABEL)}, settings.delete_timeout
        )
        remaining += removed.remaining
        yield f"removed {found.kind} {found.name}, {len(removed.objects) - len(removed.remaining)} objects: {why}"
    removal.check(remaining, settings.delete_timeout)


def _give_up(api: kr8s.Api, seconds: float) -> Iterator[str]:
    """End pods of workflows that have not started within so many seconds.

    One that is on no node fails with Kubernetes' reason, which Argo shows. One on a node, whose status the kubelet
    writes, is deleted: Argo is about to make it again, and finds that the template's pendingTimeout is over.
    """
    for pod in find(api, PART_OF, (Pod,)):
        if OF_WORKFLOW not in pod.labels or pod.status.phase != "Pending" or age(pod) <= seconds:
            continue
        said = f"did not start within {seconds:.0f} s: {pods.why(api, pod)}"
        if pod.spec.get("nodeName"):
            delete(pod)
        else:
            status = {"phase": "Failed", "reason": "NotStarted", "message": said}
            with explained(f"give up the pod {pod.name}"):
                pod.patch({"status": status}, subresource="status")
        yield f"gave up Pod {pod.name}: {said}"


def _ours(found: list[APIObject]) -> list[APIObject]:
    return [each for each in found if RUN_LABEL in each.labels and CLUSTER_LABEL in each.labels]


def _over(api: kr8s.Api, cluster: APIObject) -> str:
    """Say why a cluster is not needed any more; nothing, when it is."""
    said = cluster.metadata.get("annotations", {})
    if WORKFLOW in said and (why := _ended(api, said[WORKFLOW], cluster.labels[RUN_LABEL])):
        return why
    deadline = said.get(DEADLINE)
    if deadline and datetime.fromisoformat(deadline) < datetime.now(UTC):
        return f"its deadline was {deadline}"
    return ""


def _ended(api: kr8s.Api, name: str, uid: str) -> str:
    with explained(f"look for the workflow {name}"):
        named: list[Any] = list(api.get(Workflow, name, namespace=api.namespace))
    found = [each for each in named if each.metadata["uid"] == uid]
    if not found:
        return f"its workflow {name} is gone"
    status = found[0].raw.get("status", {})
    return f"its workflow {name} has {status['phase'].lower()}" if status.get("finishedAt") else ""
