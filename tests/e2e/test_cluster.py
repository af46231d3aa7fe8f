"""The run's own Dask cluster against the real operator, without Argo."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from daskjobs.cluster.kubernetes.examination import pod_of
from e2e.conftest import IMAGE, ROOT, TEST_POD, Namespace
from policies import Pod, allowed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

PREPARE = "daskjobs generate && daskjobs split"
VALIDATE = f"{PREPARE} && daskjobs validate"
ANYBODYS = """
import os, daskjobs

with daskjobs.dask_cluster(workers=2, worker_cpu="50m", worker_memory="512Mi") as client:
    pods = client.gather(client.map(lambda number: os.environ["HOSTNAME"], range(8)))
    print("worked in", sorted(set(pods)))
print("done")
"""


def test_validate_alone_uses_its_own_cluster_and_leaves_nothing(namespace: Namespace) -> None:
    pod = namespace.pod(f"{VALIDATE} && daskjobs cleanup")
    code, log = namespace.ended(pod)
    assert code == 0, log
    facts = json.loads(namespace.read(pod, "validate/facts.json"))
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
        "Secret": 1,
        "Service": 1,
        "Pod": 3,
        "NetworkPolicy": 1,
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
    facts = json.loads(namespace.read(pod, "validate/facts.json"))
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
    namespace.until(namespace.dask_objects, lambda left: left == [], 200)


def test_doctor_finds_nothing_missing_when_asked_in_a_pod_as_validate_is(namespace: Namespace) -> None:
    pod = namespace.pod("daskjobs doctor --cluster kubernetes")
    code, log = namespace.ended(pod)
    assert code == 0, log
    assert "ok    DaskCluster (kubernetes.dask.org/v1) is served" in log
    assert "ok    you may list, create, patch, delete daskclusters" in log
    assert f"ok    storage: s3://daskjobs/runs/{pod} can be written, read and removed from here" in log


def test_doctor_says_what_a_pod_without_the_rights_lacks(own_namespace: Namespace) -> None:
    own_namespace.kubectl("delete", "rolebinding", "daskjobs-cluster")
    code, log = own_namespace.ended(own_namespace.pod("daskjobs doctor --cluster kubernetes"))
    assert code == 11
    assert "FAIL  you may not create, patch daskclusters: apply k8s/" in log
    assert "Traceback" not in log


def test_anybodys_code_has_a_cluster_of_pods_that_is_gone_when_its_block_ends(namespace: Namespace) -> None:
    pod = namespace.pod('python -c "$CODE"', CODE=ANYBODYS, DASKJOBS_CLUSTER="", DASKJOBS_WORKERS="")
    code, log = namespace.ended(pod)
    assert code == 0, log
    assert f"worked in ['dv-{pod}-" in log
    assert "done" in log
    assert namespace.dask_objects() == []


@pytest.mark.parametrize("overlay", ["dev", "production", "step"])
def test_overlay_is_accepted_by_the_api_server(namespace: Namespace, overlay: str) -> None:
    said = namespace.kubectl("apply", "-k", str(ROOT / "k8s/overlays" / overlay), "--dry-run=server")
    assert "networkpolicy.networking.k8s.io/daskjobs-isolated" in said


def test_run_works_with_policies_that_let_its_own_pods_through_and_no_others(namespace: Namespace) -> None:
    """Policies and pods are those of the API server, whether or not the network enforces them."""
    run = namespace.pod(VALIDATE, DASKJOBS_KEEP_CLUSTER="true")
    code, log = namespace.ended(run)
    assert code == 0, log
    policies = namespace.get("networkpolicies")["items"]
    ours = [each for each in policies if each["metadata"]["labels"].get("daskjobs/run") == run]
    owners = [owner["uid"] for each in ours for owner in each["metadata"]["ownerReferences"]]
    assert owners == [namespace.get("daskcluster", f"dv-{run}")["metadata"]["uid"]]

    def pods(label: str) -> list[Pod]:
        found = namespace.get("pods", "-l", label)["items"]
        return [Pod(namespace.name, pod["metadata"]["labels"], pod["status"]["podIP"]) for pod in found]

    (stage,), dask = pods(f"{TEST_POD},daskjobs/run={run}"), pods(f"dask.org/cluster-name=dv-{run}")
    (storage,) = pods("app.kubernetes.io/name=daskjobs-storage")
    another = Pod(namespace.name, {**stage.labels, "daskjobs/run": "another"})
    assert len(dask) == 3
    for pod in dask:
        is_worker = pod.labels["dask.org/component"] == "worker"
        assert all(allowed(policies, other, pod, 8786) for other in [stage, *dask])
        assert allowed(policies, pod, storage, 9000) == is_worker
        assert not allowed(policies, another, pod, 8786)
        assert not allowed(policies, pod, another, 8786)
    assert allowed(policies, stage, storage, 9000)
    namespace.kubectl("delete", "daskcluster", f"dv-{run}")
    namespace.until(namespace.dask_objects, lambda left: left == [], 200)


def test_doctor_says_whether_the_network_enforces_policies(namespace: Namespace) -> None:
    """Who is no run's must not reach the storage: a pod that tries, with nothing of the doctor's, says what is true."""
    secret = yaml.safe_load((ROOT / "k8s/overlays/dev/secret.yaml").read_text())["stringData"]
    environment = {**os.environ, **secret, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{namespace.port}"}
    where = ["--cluster", "kubernetes", "--namespace", namespace.name, "--run", "s3://daskjobs/runs/doctor"]
    command = [sys.executable, "-m", "daskjobs", "doctor", *where, "--image", IMAGE, "--network"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    knock = "import socket; socket.create_connection(('daskjobs-storage', 9000), 5)"
    labels = dict([TEST_POD.split("=")])
    stranger = pod_of(IMAGE, "stranger", 60, labels, command=["python", "-c", knock])
    namespace.kubectl("create", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "Pod", **stranger}))
    code, _ = namespace.ended("stranger")
    enforced = code != 0
    assert "ok    network: a stage reaches the scheduler of its run" in done.stdout, done.stdout + done.stderr
    assert "ok    network: a stage reaches kubernetes.default.svc:443, as Argo must in each pod" in done.stdout
    assert "ok    network: a stage reaches the storage, http://daskjobs-storage:9000" in done.stdout
    assert ("ok    network: policies are enforced" in done.stdout) == enforced
    assert ("FAIL  the network of this cluster doesn't enforce NetworkPolicies" in done.stdout) != enforced
    assert done.returncode == (0 if enforced else 11)
    namespace.until(
        lambda: namespace.kubectl("get", "pods,networkpolicies", "-o", "name"),
        lambda names: "daskjobs-doctor" not in names,
        30,
    )
