"""What breaks while a step of flows/dask-step.yaml works, and what is wrong with it."""

import json
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import pytest

from daskjobs.cluster.kubernetes.spec import TRIES
from e2e.conftest import Namespace, no_operator
from e2e.faults import FOREVER, KILL, argo
from e2e.queue import admit, held, queue
from e2e.steps import at_work, attempts, gone, log, pod_of, receipt_in, submit, task, workers

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo", "image")]


# What is wrong, or breaks: the step's parameters, what to do meanwhile, its exit code, and its sentence.
FAULTS: dict[str, tuple[dict[str, str], Callable[[], AbstractContextManager[None]], str, str]] = {
    "the operator is down": ({"start_timeout": "5"}, no_operator, "21", "the Dask operator has made no pod for it"),
    "it is at its timeout": ({"timeout": "3"}, nullcontext, "22", "trouble:wait was still at work after 3 s: allow"),
    "the function leaves its cluster idle": (
        {"call": "trouble:idle", "args": '{"seconds": 90}', "start_timeout": "30", "worker_timeout": "20",
         "idle_timeout": "1"},
        nullcontext, "21", "it was deleted, as it is after 51 s without a task; .* raise --idle-timeout .now 1",
    ),
    "a limit refuses the workers": (
        {"worker_timeout": "15", "worker_memory": "3Gi"}, nullcontext, "21",
        "no Dask worker came within 15 s: .*maximum memory usage per Container is 2500Mi, but limit is 3Gi",
    ),
    "no node has room for a worker": (
        {"worker_cpu": "100", "worker_timeout": "8"}, nullcontext, "21",
        "no Dask worker came within 8 s: .*Insufficient cpu",
    ),
}  # fmt: skip


LIMIT = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "team"},
    "spec": {"limits": [{"type": "Container", "max": {"memory": "2500Mi"}}]},
}


@pytest.mark.alone
@pytest.mark.parametrize("fault", FAULTS)
def test_step_fails_with_a_sentence_and_leaves_nothing_when(namespace: Namespace, fault: str) -> None:
    given, meanwhile, code, sentence = FAULTS[fault]
    namespace.kubectl("apply", "-f", "-", text=json.dumps(LIMIT))
    with meanwhile():
        done = namespace.finished(submit(namespace, task(**{"call": "trouble:wait", "retries": "0", **given})))
        (step,), (cleanup,) = attempts(done), attempts(done, "cleanup")
        assert step["outputs"]["exitCode"] == code, step.get("message", step["phase"])
        assert re.search(sentence, step["message"])
        assert "Traceback" not in log(namespace, step)
        assert receipt_in(log(namespace, cleanup))["remaining"] == []
        assert namespace.dask_objects() == []


@pytest.mark.alone
def test_step_runs_on_the_workers_that_nodes_have_room_for(namespace: Namespace) -> None:
    step = task("trouble:crowd", '{"tasks": 2}', workers="3", worker_cpu="700m")
    done = namespace.finished(submit(namespace, step))
    (run,) = attempts(done)
    assert done["status"]["phase"] == "Succeeded", run.get("message")
    assert 1 <= int(run["outputs"]["parameters"][0]["value"]) < 3
    assert "Insufficient cpu" in log(namespace, run)
    assert namespace.dask_objects() == []


def test_step_that_needs_more_memory_than_its_own_pod_may_use_is_not_tried_again(namespace: Namespace) -> None:
    done = namespace.finished(submit(namespace, task("trouble:swell", step_memory="300Mi")))
    (step,) = attempts(done)
    assert "OOMKilled (exit code 137)" in step["message"]
    requested = pod_of(namespace, step)["spec"]["containers"]
    (main,) = [each["resources"] for each in requested if each["name"] == "main"]
    assert (main["requests"]["memory"], main["limits"]["memory"]) == ("300Mi", "300Mi")
    assert (main["requests"]["cpu"], main["limits"]["ephemeral-storage"]) == ("100m", "4Gi")
    gone(namespace)


def test_first_attempt_goes_on_when_a_worker_is_killed(namespace: Namespace) -> None:
    workflow = submit(namespace, task("trouble:wait", '{"seconds": 15, "each": 15}'))
    _, cluster = at_work(namespace, workflow)
    (worker,) = workers(namespace, cluster)
    namespace.kubectl("exec", worker, "--", "sh", "-c", KILL, check=False)
    done = namespace.finished(workflow)
    (step,) = attempts(done)
    assert done["status"]["phase"] == "Succeeded", step.get("message")
    assert float(step["outputs"]["parameters"][0]["value"]) > 15  # it took the task twice


def test_task_is_not_given_up_when_its_worker_is_evicted_as_often_as_a_task_may_be_tried(namespace: Namespace) -> None:
    workflow = submit(namespace, task("trouble:wait", '{"seconds": 15, "each": 15}'))
    _, cluster = at_work(namespace, workflow)
    evicted = set[str]()
    for _ in range(TRIES):
        (worker,) = namespace.until(
            lambda: set(workers(namespace, cluster)) - evicted,
            lambda found: found and "Registered to" in namespace.kubectl("logs", *found, check=False),
            60,
        )
        namespace.evict(worker)
        evicted.add(worker)
    done = namespace.finished(workflow)
    (step,) = attempts(done)
    assert done["status"]["phase"] == "Succeeded", step.get("message")
    assert namespace.dask_objects() == []


def test_data_that_have_no_room_in_memory_are_written_to_the_workers_disk(namespace: Namespace) -> None:
    """500 MB, on a worker that may use 512 MiB in all."""
    done = namespace.finished(submit(namespace, task("trouble:hoard")))
    (step,) = attempts(done)
    assert done["status"]["phase"] == "Succeeded", step.get("message")
    assert int(step["outputs"]["parameters"][0]["value"]) > 100e6


def test_time_in_a_queue_is_told_and_is_no_part_of_the_start(namespace: Namespace) -> None:
    """The scheduler's pod is held for longer than its start may take."""
    waits = {"start_timeout": "15", "worker_timeout": "20"}
    with queue(namespace):
        workflow = submit(namespace, task("trouble:wait", '{"seconds": 1}', queue="batch", **waits))
        for component, seconds in (("scheduler", 18), ("worker", 3)):
            namespace.until(partial(held, namespace, component), bool, 100)
            time.sleep(seconds)
            admit(namespace, component)
        done = namespace.finished(workflow)
    (step,) = attempts(done)
    said = log(namespace, step)
    assert done["status"]["phase"] == "Succeeded", step.get("message")
    assert "waiting for the queue batch to admit the Dask scheduler's pod" in said
    assert "cluster.queued queue=batch component=scheduler gates=kueue.x-k8s.io/admission" in said
    assert namespace.dask_objects() == []


def test_step_that_no_queue_admits_fails_at_the_queues_timeout_and_leaves_nothing(namespace: Namespace) -> None:
    with queue(namespace):
        step = task("trouble:wait", queue="batch", queue_timeout="5", retries="0")
        done = namespace.finished(submit(namespace, step))
    (run,) = attempts(done)
    assert run["outputs"]["exitCode"] == "21"
    assert "the queue batch did not admit the Dask scheduler's pod" in run["message"]
    assert pod_of(namespace, run)["spec"]["activeDeadlineSeconds"] == 3600 + 120 + 90 + 5 + 600
    assert namespace.dask_objects() == []


def test_step_removes_its_cluster_when_the_workflow_is_at_its_deadline(namespace: Namespace) -> None:
    workflow = submit(namespace, task("trouble:wait", idle_timeout=FOREVER))
    at_work(namespace, workflow)
    namespace.kubectl("patch", "workflow", workflow, "--type=merge", "-p", '{"spec":{"activeDeadlineSeconds":1}}')
    done = namespace.finished(workflow)
    assert done["status"]["phase"] == "Failed"
    gone(namespace)


def test_step_removes_its_cluster_when_the_workflow_is_stopped(namespace: Namespace) -> None:
    """By itself, at SIGTERM: Argo 4.1.2 may end the DAG before it starts the hook."""
    workflow = submit(namespace, task("trouble:wait", idle_timeout=FOREVER))
    at_work(namespace, workflow)
    argo("stop", workflow, "-n", namespace.name)
    done = namespace.finished(workflow)
    (step,) = attempts(done)
    assert "cluster.deleted" in log(namespace, step)
    gone(namespace)
