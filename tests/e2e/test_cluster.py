"""The run's own Dask cluster against the real operator, without Argo."""

import json

import pytest

from e2e.conftest import Namespace

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

PREPARE = "daskjobs generate && daskjobs split"
VALIDATE = f"{PREPARE} && daskjobs validate"


def test_validate_alone_uses_its_own_cluster_and_leaves_nothing(namespace: Namespace) -> None:
    pod = namespace.pod(f"{VALIDATE} && daskjobs cleanup")
    code, log = namespace.ended(pod)
    assert code == 0, log
    facts = json.loads(namespace.read(pod, "validate/run.json"))
    assert (facts["cluster"], facts["workers_wanted"], facts["how"]) == ("kubernetes", 2, "created")
    assert 1 <= facts["workers"] <= 2  # the second one is waited for, but no longer than five seconds
    assert ("why" in facts) == (facts["workers"] < 2)
    assert namespace.dask_objects() == []
    receipt = json.loads(namespace.read(pod, "cleanup/receipt.json"))
    assert receipt["remaining"] == []
    kinds = [found["kind"] for found in receipt["objects"]]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "DaskCluster": 1,
        "DaskWorkerGroup": 1,
        "Deployment": 3,
        "ReplicaSet": 3,
        "Service": 1,
        "Pod": 3,
    }
    assert b"Dask Performance Report" in namespace.read(pod, "validate/performance.html")


def test_dask_pods_have_no_rights_and_no_token(namespace: Namespace) -> None:
    pod = namespace.pod(VALIDATE, DASKJOBS_KEEP_CLUSTER="true")
    code, log = namespace.ended(pod)
    assert code == 0, log
    pods = namespace.get("pods", "-l", f"daskjobs/run={pod},dask.org/cluster-name")["items"]
    assert len(pods) == 3
    for found in pods:
        assert found["spec"]["automountServiceAccountToken"] is False
        assert found["metadata"]["labels"]["app.kubernetes.io/part-of"] == "daskjobs"
        assert found["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
        assert not any("projected" in volume for volume in found["spec"]["volumes"])


@pytest.mark.parametrize(
    ("state", "how"),
    [("healthy", "reused"), ("of another shape", "created"), ("terminating", "created"), ("stuck", "created")],
)
def test_retry_gets_a_working_cluster_when_its_predecessors_is_there(
    namespace: Namespace, state: str, how: str
) -> None:
    run = f"retry-{state.split()[-1]}"
    first, second, third = (f"{run}-{number}" for number in (1, 2, 3))
    folder = f"daskjobs/runs/{run}"
    settings = {"DASKJOBS_WORKFLOW_UID": run, "DASKJOBS_RUN": f"s3://{folder}", "DASKJOBS_KEEP_CLUSTER": "true"}
    shape = {"DASKJOBS_WORKERS": "1"} if state == "of another shape" else {}
    if state == "stuck":
        shape = {"DASKJOBS_WORKER_CPU": "100", "DASKJOBS_WORKER_TIMEOUT": "5"}
    namespace.pod(VALIDATE, **settings, **shape, DASKJOBS_POD=first)
    code, log = namespace.ended(first)
    assert code == (21 if state == "stuck" else 0), log
    before = namespace.get("daskcluster", f"dv-{run}")["metadata"]["uid"]
    if state == "terminating":
        namespace.kubectl("delete", "daskcluster", f"dv-{run}", "--wait=false")
    # As a retry that finds its predecessor's work undone.
    files = namespace.files()
    if files.exists(f"{folder}/validate"):
        files.rm(f"{folder}/validate", recursive=True)
    namespace.pod("daskjobs validate", **settings, DASKJOBS_POD=second)
    code, log = namespace.ended(second)
    assert code == 0, log
    assert f"how={how}" in log
    after = namespace.get("daskcluster", f"dv-{run}")["metadata"]["uid"]
    assert (before == after) == (how == "reused")
    namespace.pod("daskjobs cleanup", **settings, DASKJOBS_POD=third)
    code, log = namespace.ended(third)
    assert code == 0, log
    assert namespace.dask_objects() == []


def test_run_goes_on_and_says_so_when_only_some_workers_can_be_scheduled(namespace: Namespace) -> None:
    pod = namespace.pod(VALIDATE, DASKJOBS_WORKERS="3", DASKJOBS_WORKER_CPU="700m")
    code, log = namespace.ended(pod)
    assert code == 0, log
    facts = json.loads(namespace.read(pod, "validate/run.json"))
    assert 1 <= facts["workers"] < facts["workers_wanted"] == 3
    assert "Insufficient cpu" in facts["why"]
    assert "cluster.short" in log


def test_run_fails_with_kubernetes_reason_when_no_worker_can_be_scheduled(namespace: Namespace) -> None:
    pod = namespace.pod(VALIDATE, DASKJOBS_WORKER_CPU="100", DASKJOBS_WORKER_TIMEOUT="10")
    code, log = namespace.ended(pod)
    assert code == 21
    assert "no Dask worker came within 10 s" in log
    assert "Insufficient cpu" in log
    assert "Traceback" not in log
    namespace.until(namespace.dask_objects, lambda left: left == [], 120)


def test_doctor_finds_nothing_missing_when_asked_in_a_pod_as_validate_is(namespace: Namespace) -> None:
    pod = namespace.pod("daskjobs doctor --cluster kubernetes")
    code, log = namespace.ended(pod)
    assert code == 0, log
    assert "ok    DaskCluster (kubernetes.dask.org/v1) is served" in log
    assert "ok    you may get, list, create, patch, delete daskclusters" in log
    assert f"ok    storage: s3://daskjobs/runs/{pod} can be written, read and removed from here" in log


def test_doctor_says_what_a_pod_without_the_rights_lacks(own_namespace: Namespace) -> None:
    own_namespace.kubectl("delete", "rolebinding", "daskjobs-cluster")
    code, log = own_namespace.ended(own_namespace.pod("daskjobs doctor --cluster kubernetes"))
    assert code == 11
    assert "FAIL  you may not get, list, create, patch, delete daskclusters: apply k8s/" in log
    assert "Traceback" not in log
