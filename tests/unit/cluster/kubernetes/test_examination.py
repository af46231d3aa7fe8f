"""What the doctor finds in a Kubernetes cluster; see kubeapi.py for the API server."""

from typing import Any

import pytest

from daskjobs.cluster.findings import Finding
from daskjobs.cluster.kubernetes import KubernetesSettings, examination
from daskjobs.cluster.kubernetes.examination import examine, hops
from daskjobs.cluster.kubernetes.naming import PART_OF
from kubeapi import KubeApi, Object


def controllers(kube: KubeApi, ready: int = 1) -> None:
    for name in examination.CONTROLLERS:
        template = {"spec": {"containers": [{"image": f"quay.io/any/{name}:v1"}]}}
        kube.add(
            "Deployment", name, namespace="elsewhere", spec={"template": template}, status={"readyReplicas": ready}
        )


def bad(settings: KubernetesSettings, image: str = "") -> list[str]:
    return [finding.what for finding in examine(settings, image) if not finding.good]


def test_all_is_good_when_kinds_controllers_and_rights_are_there(kube: KubeApi, settings: KubernetesSettings) -> None:
    controllers(kube)
    findings = list(examine(settings, ""))
    assert [finding.what for finding in findings if not finding.good] == []
    assert findings[0] == Finding(True, f"Kubernetes v1.34.0 answers; namespace {kube.namespace}")
    said = {finding.what for finding in findings}
    assert "DaskCluster (kubernetes.dask.org/v1) is served" in said
    assert "workflow-controller is ready (elsewhere/workflow-controller)" in said
    assert "you may list, create, patch, delete daskclusters" in said


def test_kind_controller_and_right_are_named_when_they_are_missing(kube: KubeApi, settings: KubernetesSettings) -> None:
    kube.missing.add("DaskCluster")
    kube.refused |= {"create daskclusters", "delete daskclusters", "list events"}
    operator, argo = examination.CONTROLLERS.values()
    assert bad(settings) == [
        "DaskCluster (kubernetes.dask.org/v1) is not known: install its operator",
        f"dask-kubernetes-operator isn't there: {operator}",
        f"workflow-controller isn't there: {argo}",
        "you may not create, delete daskclusters: apply k8s/",
        "you may not list events: apply k8s/",
    ]


def test_namespace_in_which_pods_may_be_root_on_their_node_is_named_with_the_remedy(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    controllers(kube)
    kube.restricted = False
    (said,) = bad(settings)
    assert said.endswith(f"kubectl label namespace {kube.namespace} pod-security.kubernetes.io/enforce=restricted")
    assert kube.names("Pod") == []
    kube.refused.add("create pods")
    assert bad(settings) == []


def test_controller_that_is_not_ready_is_named_with_its_place(kube: KubeApi, settings: KubernetesSettings) -> None:
    controllers(kube, ready=0)
    assert bad(settings)[0] == "dask-kubernetes-operator isn't ready: see elsewhere/dask-kubernetes-operator"


def test_what_one_may_not_look_at_is_said_and_is_no_fault(kube: KubeApi, settings: KubernetesSettings) -> None:
    kube.refused |= {"list deployments", "list workflows"}
    findings = {finding.what: finding.good for finding in examine(settings, "")}
    assert findings["the operators are in namespaces that you may not look at: not checked"]
    assert findings["how long Argo takes from task to task: not checked, you may not list workflows"]


def test_only_that_nothing_answers_is_said_when_nothing_does(
    kube: KubeApi, settings: KubernetesSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    (said,) = bad(KubernetesSettings(namespace="other"))
    assert said.endswith("; does KUBECONFIG name the cluster?")


@pytest.mark.parametrize(("phase", "good"), [("Succeeded", True), ("Failed", False)])
def test_image_is_tried_in_a_pod_that_is_removed_again(
    kube: KubeApi, settings: KubernetesSettings, phase: str, good: bool
) -> None:
    def run(made: Object) -> None:
        if made["kind"] == "Pod":
            (container,) = made["spec"]["containers"]
            assert container["image"] == "daskjobs:dev"
            assert set(container["resources"]["limits"]) == {"memory", "ephemeral-storage"}
            made["status"] = {"phase": phase}

    kube.on_create = run
    *_, last = examine(settings, "daskjobs:dev")
    assert last == Finding(good, f"image: a pod of daskjobs:dev {phase.lower()}")
    assert kube.names("Pod") == []


def test_image_that_can_not_be_pulled_is_told_with_the_reason(
    kube: KubeApi, settings: KubernetesSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = {"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
    kube.on_create = lambda made: made.update(status={"phase": "Pending", "containerStatuses": [waiting]})
    monkeypatch.setattr(examination, "PULL_SECONDS", 0.05)
    *_, last = examine(settings, "nowhere:1")
    assert last == Finding(False, "image: nowhere:1 did not start in 0.05 s: ErrImagePull: no such image")
    assert kube.names("Pod") == []


def pod(started: int, finished: int) -> dict[str, Any]:
    return {
        "type": "Pod",
        "startedAt": f"2026-01-01T00:00:{started:02}Z",
        "finishedAt": f"2026-01-01T00:00:{finished:02}Z",
    }


@pytest.mark.parametrize(
    ("nodes", "waits"),
    [
        ([], []),
        ([pod(0, 5)], []),
        ([pod(0, 4), pod(0, 5), pod(10, 14), pod(21, 25)], [5, 7]),  # of two side by side, the later one counts
        ([pod(0, 5), pod(5, 9), {"type": "DAG", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": None}], [0]),
    ],
)
def test_waits_are_those_along_the_longest_way(nodes: list[dict[str, Any]], waits: list[float]) -> None:
    assert hops({str(number): node for number, node in enumerate(nodes)}) == waits


def test_slow_controller_is_told_with_the_setting_that_makes_it_quick(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    controllers(kube)
    for day, nodes in ((1, [pod(0, 5), pod(6, 7)]), (2, [pod(0, 5), pod(15, 20)])):
        status = {"finishedAt": f"2026-01-0{day}T00:00:00Z", "nodes": {str(n): node for n, node in enumerate(nodes)}}
        kube.add("Workflow", f"flow-{day}", PART_OF, status=status)
    (said,) = [finding.what for finding in examine(settings, "") if finding.what.startswith("Argo took")]
    assert said.startswith("Argo took 10 s from task to task in the last workflow, 10 s in all: DEFAULT_REQUEUE_TIME")
