"""What cleanup says when it can't: the operator is down, and its finalizer holds the DaskCluster."""

import json
import shlex
import subprocess
from typing import Any

import pytest

from conftest import RESULTS, Pipeline
from e2e.conftest import Namespace, by_name, no_operator, pods_of
from e2e.faults import argo

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

VALIDATE = "daskjobs generate && daskjobs split && daskjobs validate"
HELD = "the finalizer kopf.zalando.org/KopfFinalizerMarker holds it until the Dask operator runs"


@pytest.mark.alone
def test_cleanup_says_what_stayed_and_its_command_removes_it_when_a_finalizer_hangs(namespace: Namespace) -> None:
    name = "finalizer-hangs"
    settings = {"DASKJOBS_WORKFLOW_UID": name, "DASKJOBS_RUN": f"s3://daskjobs/runs/{name}", "DASKJOBS_WORKERS": "1"}
    code, log = namespace.ended(namespace.pod(VALIDATE, **settings, DASKJOBS_KEEP_CLUSTER="true"))
    assert code == 0, log
    with no_operator():
        pod = namespace.pod("daskjobs cleanup", **settings, DASKJOBS_DELETE_TIMEOUT="10")
        code, log = namespace.ended(pod)
        assert code == 21, log
        said = log.strip().splitlines()[-1]
        assert "Traceback" not in log
        assert said.startswith(
            f"daskjobs: still there 10 s after the Dask cluster was deleted: DaskCluster dv-{name}: {HELD}"
        )
        receipt = json.loads(namespace.read(name, "cleanup/receipt.json"))
        left = {found["kind"]: found for found in receipt["remaining"]}
        assert set(left) == {"DaskCluster", "Deployment", "ReplicaSet", "Service", "Pod", "NetworkPolicy"}
        command = left["DaskCluster"]["command"]
        assert said.endswith(f"to remove it at once: {command}")
        subprocess.run(shlex.split(command), check=True, timeout=30)
        namespace.until(namespace.dask_objects, lambda found: found == [], 200)


@pytest.mark.usefixtures("argo")
@pytest.mark.alone
def test_workflow_shows_what_stayed_and_retry_cleans_up_again_when_the_operator_was_down(
    namespace: Namespace, pipeline: Pipeline, tmp_path: Any
) -> None:
    """The report that was written stays; the retry redoes no finished stage, and its receipt is the one that counts."""
    namespace.configure(DASKJOBS_DELETE_TIMEOUT="5")
    workflow = namespace.submit(rows=2000, seed=11, workers=1, keep_cluster="true", worker_cpu="20m")
    uid = namespace.uid(workflow)
    namespace.until(
        lambda: namespace.get("workflow", workflow).get("status", {}).get("nodes", {}),
        lambda nodes: any(node["displayName"].startswith("merge") for node in nodes.values()),
        240,
    )
    with no_operator():
        failed = namespace.finished(workflow, 400)
        assert failed["status"]["phase"] in {"Failed", "Error"}
        assert HELD in failed["status"]["message"] + str([node.get("message") for node in by_name(failed).values()])
        first = json.loads(namespace.read(uid, "cleanup/receipt.json"))
        assert first["remaining"]
    namespace.configure(DASKJOBS_DELETE_TIMEOUT=None)
    pipeline(rows=2000, seed=11)
    for name in RESULTS:
        assert namespace.read(uid, name) == (tmp_path / "run" / name).read_bytes()
    argo("retry", workflow, "-n", namespace.name)
    again = namespace.until(
        lambda: namespace.get("workflow", workflow),
        lambda found: found["status"].get("finishedAt") not in {None, failed["status"]["finishedAt"]},
        200,
    )
    assert again["status"]["phase"] == "Succeeded"
    for task in ("cluster", "generate", "validate", "merge", "clean", "report"):
        before, after = (max(pod["finishedAt"] for pod in pods_of(found, task)) for found in (failed, again))
        assert before == after, task
    last = json.loads(namespace.read(uid, "cleanup/receipt.json"))
    assert last["remaining"] == []
    assert last["at"] > first["at"]
    assert namespace.dask_objects() == []
