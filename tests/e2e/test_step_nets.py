"""Each of the ways in which the Dask cluster of a step of flows/dask-step.yaml is removed, alone."""

from pathlib import Path

import pytest

from e2e.conftest import DASK_KINDS, Namespace
from e2e.faults import FOREVER, argo
from e2e.steps import at_work, attempts, cluster_in, clusters, gone, kill, log, pod_of, receipt_in, submit, task
from e2e.test_dashboard import Viewer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo", "image")]


def test_step_alone_removes_its_cluster(namespace: Namespace) -> None:
    step = task("trouble:wait", '{"seconds": 2}', hook=False, idle_timeout=FOREVER)
    done = namespace.finished(submit(namespace, step))
    (run,) = attempts(done)
    assert done["status"]["phase"] == "Succeeded"
    assert attempts(done, "cleanup") == []
    assert pod_of(namespace, run)["spec"]["activeDeadlineSeconds"] == 3600 + 120 + 90 + 600
    gone(namespace)


def test_exit_hook_alone_removes_the_cluster_when_the_pod_is_killed(namespace: Namespace) -> None:
    workflow = submit(namespace, task("trouble:wait", retries="0", idle_timeout=FOREVER))
    pod, _ = at_work(namespace, workflow)
    kill(namespace, pod)
    done = namespace.finished(workflow)
    (step,), (cleanup,) = attempts(done), attempts(done, "cleanup")
    assert step["phase"] == "Failed"
    assert "cluster.deleted" not in log(namespace, step)
    receipt = receipt_in(log(namespace, cleanup))
    assert receipt["remaining"] == []
    kinds = {each["kind"] for each in receipt["objects"]}
    assert kinds == DASK_KINDS
    assert "receipt" in {artifact["name"] for artifact in cleanup["outputs"]["artifacts"]}
    assert namespace.dask_objects() == []


def test_owner_reference_alone_removes_the_cluster_when_the_workflow_is_deleted(namespace: Namespace) -> None:
    workflow = submit(namespace, task("trouble:wait", hook=False, idle_timeout=FOREVER))
    pod, _ = at_work(namespace, workflow)
    kill(namespace, pod)  # so that it can't remove its cluster itself
    namespace.kubectl("delete", "workflow", workflow)
    gone(namespace)


def test_janitor_alone_removes_the_cluster_when_the_workflow_is_terminated(namespace: Namespace) -> None:
    workflow = submit(namespace, task("trouble:wait", hook=False, retries="0", idle_timeout=FOREVER))
    pod, cluster = at_work(namespace, workflow)
    kill(namespace, pod)
    argo("terminate", workflow, "-n", namespace.name)
    namespace.finished(workflow)
    assert clusters(namespace) == [cluster]
    namespace.kubectl("create", "job", "sweep", "--from=cronjob/daskjobs-janitor")
    try:
        namespace.kubectl("wait", "job/sweep", "--for=condition=complete", "--timeout=100s")
        assert f"its workflow {workflow} has failed" in namespace.kubectl("logs", "job/sweep")
    finally:
        namespace.kubectl("delete", "job", "sweep")
    assert namespace.dask_objects() == []


def test_idle_timeout_alone_removes_the_cluster_that_is_kept_for_a_look_at_a_failure(
    namespace: Namespace, tmp_path: Path
) -> None:
    """With keep-on-failure neither the step nor its exit hook removes it; `daskjobs dashboard` shows it by its task."""
    waits = {"start_timeout": "45", "worker_timeout": "80", "idle_timeout": "1"}  # the workflow ends well before these
    done = namespace.finished(submit(namespace, task("trouble:error", keep_on_failure="true", **waits)))
    viewer = Viewer(namespace, done["metadata"]["name"], tmp_path / "viewer.log", "--step", "step")
    try:
        assert "Dask" in viewer.page()
        assert viewer.process.wait(timeout=220) == 0  # a look is no work: the cluster ends nevertheless
    finally:
        viewer.process.kill()
        viewer.process.wait(timeout=10)
    (step,), (cleanup,) = attempts(done), attempts(done, "cleanup")
    text = log(namespace, step)
    assert "cluster.kept" in text
    receipt = receipt_in(log(namespace, cleanup))
    assert [each["name"] for each in receipt["kept"]] == [cluster_in(text)]
    assert receipt["objects"] == []
    gone(namespace)
