"""What the janitor removes and what it leaves; see kubeapi.py for the API server."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.janitor import OF_WORKFLOW, sweep
from daskjobs.cluster.kubernetes.naming import CLUSTER_LABEL, DEADLINE, KEPT, PART_OF, RUN_LABEL, WORKFLOW
from daskjobs.errors import ClusterError
from kubeapi import KubeApi, Object

ACCOUNT = "daskjobs-janitor"
FLOW = {WORKFLOW: "flow"}


def hours(count: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=count)).isoformat(timespec="seconds")


def labels(run: str) -> dict[str, str]:
    return {**PART_OF, RUN_LABEL: run, CLUSTER_LABEL: f"dv-{run}"}


def cluster(kube: KubeApi, run: str, annotations: dict[str, str], finalizers: tuple[str, ...] = ()) -> None:
    metadata: Object = {"annotations": annotations, "finalizers": list(finalizers)}
    kube.add("DaskCluster", f"dv-{run}", labels(run), metadata=metadata)


def workflow(kube: KubeApi, **status: str) -> str:
    return str(kube.add("Workflow", "flow", PART_OF, status=status)["metadata"]["uid"])


def swept(settings: KubernetesSettings) -> list[str]:
    return list(sweep(settings, 300))


def test_cluster_is_kept_while_its_workflow_runs(kube: KubeApi, settings: KubernetesSettings) -> None:
    uid = workflow(kube, phase="Running")
    cluster(kube, uid, {**FLOW, DEADLINE: hours(1)})
    assert swept(settings) == [f"kept DaskCluster dv-{uid}: its run goes on"]
    assert kube.calls == []


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Error"])
def test_cluster_is_removed_when_its_workflow_has_ended(
    kube: KubeApi, settings: KubernetesSettings, phase: str
) -> None:
    uid = workflow(kube, phase=phase, finishedAt="2026-01-01T00:00:00Z")
    cluster(kube, uid, {**FLOW, DEADLINE: hours(1)})
    assert swept(settings) == [f"removed DaskCluster dv-{uid}, 1 objects: its workflow flow has {phase.lower()}"]
    assert kube.names("DaskCluster") == []


def test_cluster_is_removed_when_its_workflow_is_gone_and_another_has_its_name(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    workflow(kube, phase="Running")
    cluster(kube, "gone", FLOW)
    assert swept(settings) == ["removed DaskCluster dv-gone, 1 objects: its workflow flow is gone"]


def test_cluster_without_a_workflow_is_removed_past_its_deadline_alone(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    cluster(kube, "late", {DEADLINE: (late := hours(-1))})
    cluster(kube, "early", {DEADLINE: hours(1)})
    cluster(kube, "unknown", {})
    assert swept(settings) == [
        f"removed DaskCluster dv-late, 1 objects: its deadline was {late}",
        "kept DaskCluster dv-early: its run goes on",
        "kept DaskCluster dv-unknown: its run goes on",
    ]
    assert kube.names("DaskCluster") == ["dv-early", "dv-unknown"]


def test_worker_group_is_removed_when_its_cluster_is_gone(kube: KubeApi, settings: KubernetesSettings) -> None:
    cluster(kube, "there", {})
    for run in ("there", "gone"):
        kube.add("DaskWorkerGroup", f"dv-{run}-default", labels(run), spec={"cluster": f"dv-{run}"})
    assert "removed DaskWorkerGroup dv-gone-default, 1 objects: its DaskCluster is gone" in swept(settings)
    assert kube.names("DaskWorkerGroup") == ["dv-there-default"]


def test_clusters_of_others_and_of_other_namespaces_are_left_alone(kube: KubeApi, settings: KubernetesSettings) -> None:
    kube.add("DaskCluster", "others", {RUN_LABEL: "x", CLUSTER_LABEL: "others"})
    kube.add("DaskCluster", "by-hand", PART_OF)
    kube.add("DaskCluster", "dv-far", labels("far"), namespace="far", metadata={"annotations": {DEADLINE: hours(-1)}})
    assert swept(settings) == []
    assert kube.calls == []


def test_the_others_are_removed_when_one_stays_and_that_one_is_told(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    cluster(kube, "stuck", {DEADLINE: hours(-1)}, finalizers=("kopf.dev/dask",))
    cluster(kube, "late", {DEADLINE: hours(-1)})
    lines = sweep(replace(settings, delete_timeout=1), 300)
    assert next(lines).startswith("removed DaskCluster dv-stuck, 0 objects")
    assert next(lines).startswith("removed DaskCluster dv-late, 1 objects")
    with pytest.raises(ClusterError, match="DaskCluster dv-stuck: the finalizer kopf.dev/dask holds it"):
        next(lines)


def pod(kube: KubeApi, name: str, age: float, phase: str = "Pending", node: str = "", of: str = OF_WORKFLOW) -> None:
    status = {"phase": phase, "containerStatuses": [{"state": {"waiting": {"reason": "PullFailed", "message": "no"}}}]}
    spec = {"nodeName": node} if node else {}
    kube.add("Pod", name, {**PART_OF, of: "flow"}, age=age, spec=spec, status=status)


def test_pod_that_does_not_start_fails_with_its_reason_or_is_deleted_when_it_is_on_a_node(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    pod(kube, "nowhere", 400)
    pod(kube, "on-node", 400, node="one")
    pod(kube, "young", 100)
    pod(kube, "running", 400, phase="Running")
    pod(kube, "worker", 400, of="daskjobs/other")
    why = "did not start within 300 s: PullFailed: no"
    assert swept(settings) == [f"gave up Pod nowhere: {why}", f"gave up Pod on-node: {why}"]
    status = kube.get("Pod", "nowhere")["status"]
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "NotStarted", why)
    assert kube.names("Pod") == ["nowhere", "young", "running", "worker"]
    assert kube.calls == ["patch pods/nowhere/status", "delete pods/on-node"]


def test_cluster_that_is_kept_outlives_its_workflow_but_not_its_deadline(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    uid = workflow(kube, phase="Failed", finishedAt="2026-01-01T00:00:00Z")
    cluster(kube, uid, {**FLOW, DEADLINE: hours(1), KEPT: "true"})
    assert swept(settings) == [f"kept DaskCluster dv-{uid}: its run goes on"]
    kube.get("DaskCluster", f"dv-{uid}")["metadata"]["annotations"][DEADLINE] = (late := hours(-1))
    assert swept(settings) == [f"removed DaskCluster dv-{uid}, 1 objects: its deadline was {late}"]
