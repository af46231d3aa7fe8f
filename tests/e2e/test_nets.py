"""The five safety nets under a Dask cluster, each alone: in every test the other four are off.

Off means: own delete by --keep-cluster; cleanup by no workflow, or one that ends without its exit handler; idleTimeout
by a day's patience; the ownerReference taken away, or its Workflow there; the janitor suspended, as in all tests here.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from e2e.conftest import DASK_KINDS, GONE_SECONDS, Namespace, Wire
from e2e.faults import DURING, FOREVER, argo

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

VALIDATE = "daskjobs generate && daskjobs split && daskjobs validate"
RUN = {"rows": 2000, "workers": 1, "worker_cpu": "20m"}
OWNERS = '[{"op":"remove","path":"/metadata/ownerReferences"}]'


@pytest.fixture(autouse=True)
def patient(namespace: Namespace) -> Iterator[None]:
    """Switch idleTimeout off."""
    namespace.configure(DASKJOBS_IDLE_TIMEOUT=FOREVER)
    yield
    namespace.configure(DASKJOBS_IDLE_TIMEOUT=None)


def names(namespace: Namespace) -> list[str]:
    return namespace.kubectl("get", "daskclusters", "-o", "name").split()


def started(namespace: Namespace, workflow: str) -> str:
    """Wait for a run's Dask cluster; return its name."""
    name = f"daskcluster.kubernetes.dask.org/dv-{namespace.uid(workflow)}"
    namespace.until(lambda: names(namespace), lambda found: name in found, 200)
    return name


def disown(namespace: Namespace, cluster: str) -> None:
    namespace.kubectl("patch", cluster, "--type=json", "-p", OWNERS)


def begun(namespace: Namespace, workflow: str, stage: str) -> None:
    def nodes() -> Any:
        return namespace.get("workflow", workflow).get("status", {}).get("nodes", {})

    namespace.until(nodes, lambda all: any(n["displayName"].startswith(stage) for n in all.values()), 240)


def gone(namespace: Namespace) -> None:
    namespace.until(namespace.dask_objects, lambda left: left == [], GONE_SECONDS)


def test_validate_alone_removes_its_cluster(namespace: Namespace) -> None:
    pod = namespace.pod(VALIDATE)
    code, log = namespace.ended(pod)
    assert code == 0, log
    assert "cluster.deleted" in log
    assert len(json.loads(namespace.read(pod, "validate/facts.json"))["objects"]) > 8
    gone(namespace)


def test_idle_timeout_alone_removes_the_cluster(namespace: Namespace) -> None:
    waits = {"DASKJOBS_START_TIMEOUT": "45", "DASKJOBS_WORKER_TIMEOUT": "20", "DASKJOBS_IDLE_TIMEOUT": "1"}
    code, log = namespace.ended(namespace.pod(VALIDATE, DASKJOBS_KEEP_CLUSTER="true", **waits))
    assert code == 0, log
    (cluster,) = namespace.get("daskclusters")["items"]
    assert "ownerReferences" not in cluster["metadata"]
    assert "deletionTimestamp" not in cluster["metadata"]
    assert cluster["spec"]["idleTimeout"] == 66
    gone(namespace)


@pytest.mark.usefixtures("argo")
@pytest.mark.parametrize("entrypoint", ["pipeline", "compact"])
def test_cleanup_alone_removes_the_cluster(namespace: Namespace, entrypoint: str) -> None:
    workflow = namespace.submit(spec={"entrypoint": entrypoint}, keep_cluster="true", **RUN)
    cluster = started(namespace, workflow)
    disown(namespace, cluster)
    begun(namespace, workflow, "merge")
    assert names(namespace) == [cluster]
    assert namespace.finished(workflow)["status"]["phase"] == "Succeeded"
    assert namespace.dask_objects() == []
    receipt = json.loads(namespace.read(namespace.uid(workflow), "cleanup/receipt.json"))
    assert receipt["remaining"] == []
    kinds = {found["kind"] for found in receipt["objects"]}
    assert kinds == DASK_KINDS
    assert all(found["uid"] for found in receipt["objects"])


@pytest.mark.usefixtures("argo")
def test_owner_reference_alone_removes_the_cluster_when_its_workflow_is_deleted(namespace: Namespace) -> None:
    workflow = namespace.submit(keep_cluster="true", **RUN)
    started(namespace, workflow)
    namespace.until(namespace.dask_objects, lambda found: len(found) > 8, 100)
    namespace.kubectl("delete", "workflow", workflow)
    gone(namespace)


def cloned(namespace: Namespace, cluster: str, name: str, metadata: dict[str, Any]) -> str:
    """Make another DaskCluster, small, as one that is there but for its metadata; nobody owns it."""
    spec = namespace.get(cluster)["spec"]
    spec["worker"]["replicas"] = 0
    body = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "spec": spec}
    namespace.kubectl("create", "-f", "-", text=json.dumps(body | {"metadata": {"name": name, **metadata}}))
    return f"daskcluster.kubernetes.dask.org/{name}"


@pytest.mark.usefixtures("argo")
def test_janitor_alone_removes_what_is_over_and_touches_no_other(namespace: Namespace, wire: Wire) -> None:
    """On its schedule. Over: a terminated run, one gone, one past its deadline; not: a live run, and another's."""
    over = namespace.submit(keep_cluster="true", **RUN)
    terminated = started(namespace, over)
    argo("terminate", over, "-n", namespace.name)
    namespace.finished(over)
    live = namespace.submit(**RUN)
    request = DURING.format(uid=namespace.uid(live))
    wire.does(f"hold {request}")
    running = started(namespace, live)

    def ours(run: str, **annotations: str) -> dict[str, Any]:
        labels = {"app.kubernetes.io/part-of": "daskjobs", "daskjobs/run": run, "dask.org/cluster-name": f"dv-{run}"}
        return {"labels": labels, "annotations": {f"daskjobs/{key}": value for key, value in annotations.items()}}

    past, soon = ((datetime.now(UTC) + timedelta(hours=hours)).isoformat() for hours in (-1, 1))
    vanished = cloned(namespace, running, "dv-gone", ours("gone", workflow="daskjobs-gone", deadline=soon))
    late = cloned(namespace, running, "dv-late", ours("late", deadline=past))
    alone = cloned(namespace, running, "dv-alone", ours("alone", deadline=soon))
    labels = {"app.kubernetes.io/part-of": "another", "daskjobs/run": "x", "dask.org/cluster-name": "theirs"}
    theirs = cloned(namespace, running, "theirs", {"labels": labels, "annotations": {"daskjobs/deadline": past}})
    wire.await_held(request)
    assert set(names(namespace)) == {terminated, running, vanished, late, alone, theirs}
    before = {name: namespace.get(name)["metadata"]["uid"] for name in (running, alone, theirs)}

    schedule = {"spec": {"suspend": False, "schedule": "* * * * *"}}
    try:
        namespace.kubectl("patch", "cronjob", "daskjobs-janitor", "-p", json.dumps(schedule))
        pods = namespace.until(
            lambda: namespace.get("pods", "-l", "job-name")["items"],
            lambda pods: any(pod["status"]["phase"] in {"Succeeded", "Failed"} for pod in pods),
            200,
        )
    finally:
        namespace.kubectl("patch", "cronjob", "daskjobs-janitor", "-p", '{"spec":{"suspend":true}}')
    log = namespace.kubectl("logs", pods[0]["metadata"]["name"])
    assert pods[0]["status"]["phase"] == "Succeeded", log
    assert f"its workflow {over} has failed" in log
    assert "its workflow daskjobs-gone is gone" in log
    assert f"its deadline was {past}" in log
    assert log.count("removed DaskCluster dv-") == 3
    assert log.count("kept DaskCluster dv-") == 2
    assert "theirs" not in log
    after = {name: namespace.get(name)["metadata"] for name in names(namespace)}
    assert {name: metadata["uid"] for name, metadata in after.items()} == before
    assert not any("deletionTimestamp" in metadata for metadata in after.values())
    wire.does()
    assert namespace.finished(live)["status"]["phase"] == "Succeeded"
