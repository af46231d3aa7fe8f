"""flows/dask-step.yaml in workflows that know nothing of orders: its contract, and each of its nets alone."""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from daskjobs.cluster.kubernetes.spec import TRIES
from daskjobs.cluster.results import kept_by_argo
from e2e.conftest import DASK_KINDS, IMAGE, ROOT, Namespace, kubectl, no_operator, over
from e2e.faults import FOREVER, KILL, argo
from e2e.queue import admit, held, queue
from e2e.test_dashboard import Viewer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo")]

OWN_IMAGE = os.environ.get("DASKJOBS_TEST_STEP_IMAGE", "docker.io/library/own-step:dev")
HOOK = {"exit": {"templateRef": {"name": "dask-step", "template": "cleanup"}}}
LITTLE = {"workers": "1", "worker-cpu": "20m", "worker-memory": "512Mi"}


def task(call: str, args: str = "{}", hook: bool = True, **parameters: str) -> dict[str, Any]:
    given = LITTLE | {"call": call, "args": args, "image": OWN_IMAGE}
    given |= {name.replace("_", "-"): value for name, value in parameters.items()}
    return {
        "name": "step",
        "templateRef": {"name": "dask-step", "template": "run"},
        "arguments": {"parameters": [{"name": name, "value": value} for name, value in given.items()]},
        **({"hooks": HOOK} if hook else {}),
    }


def submit(namespace: Namespace, *tasks: dict[str, Any], **parameters: str) -> str:
    dag = {"tasks": list(tasks), "failFast": False}
    spec: dict[str, Any] = {"entrypoint": "main", "templates": [{"name": "main", "dag": dag}]}
    spec["arguments"] = {"parameters": [{"name": name, "value": value} for name, value in parameters.items()]}
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "theirs-"},
        "spec": spec,
    }
    return create(namespace, workflow)


def create(namespace: Namespace, workflow: dict[str, Any]) -> str:
    return namespace.kubectl("create", "-f", "-", "-o", "jsonpath={.metadata.name}", text=json.dumps(workflow))


def attempts(workflow: dict[str, Any], template: str = "run") -> list[dict[str, Any]]:
    """Return the pods of one of the templates of dask-step, in the order in which they started."""
    nodes = [node for node in workflow["status"]["nodes"].values() if node["type"] == "Pod"]
    own = [node for node in nodes if node.get("templateRef", {}).get("template") == template]
    return sorted(own, key=lambda node: str(node["startedAt"]))


def pod_of(namespace: Namespace, node: dict[str, Any]) -> dict[str, Any]:
    """Return the pod of a step's attempt, which stays with its workflow."""
    flow = node["name"].partition(".")[0]
    label = f"workflows.argoproj.io/workflow={flow}"
    pods = namespace.get("pods", "-l", label)["items"]
    (pod,) = [p for p in pods if p["metadata"]["annotations"]["workflows.argoproj.io/node-name"] == node["name"]]
    found: dict[str, Any] = pod
    return found


def log(namespace: Namespace, node: dict[str, Any]) -> str:
    """Return the log of a step's attempt."""
    return namespace.kubectl("logs", pod_of(namespace, node)["metadata"]["name"], "-c", "main")


def cluster_in(text: str) -> str:
    """Return the name of the Dask cluster that a step's log tells of."""
    (line,) = [line for line in text.splitlines() if "cluster.ensured" in line]
    return line.partition("cluster=")[2].split()[0]


def receipt_in(text: str) -> dict[str, Any]:
    """Return the receipt that the log of a cleanup has."""
    (line,) = [line for line in text.splitlines() if line.startswith("{")]
    receipt: dict[str, Any] = json.loads(line)
    return receipt


def clusters(namespace: Namespace) -> list[str]:
    return namespace.kubectl("get", "daskclusters", "-o", "name").split()


def at_work(namespace: Namespace, workflow: str) -> tuple[str, str]:
    """Wait until a step's function is called; return the names of its pod and of its Dask cluster."""

    def pod() -> tuple[str, str]:
        label = f"workflows.argoproj.io/workflow={workflow}"
        for name in namespace.kubectl("get", "pods", "-l", label, "-o", "name").split():
            text = namespace.kubectl("logs", name, "-c", "main", check=False)
            if "step.called" in text:
                return name, f"daskcluster.kubernetes.dask.org/{cluster_in(text)}"
        return "", ""

    name, cluster = namespace.until(pod, lambda found: found[0], 200)
    assert cluster in clusters(namespace)
    return name, cluster


def workers(namespace: Namespace, cluster: str) -> list[str]:
    """Return the pods of a Dask cluster's workers that run."""
    label = f"dask.org/component=worker,dask.org/cluster-name={cluster.partition('/')[2]}"
    return namespace.kubectl("get", "pods", "-l", label, "--field-selector=status.phase=Running", "-o", "name").split()


def gone(namespace: Namespace) -> None:
    namespace.until(namespace.dask_objects, lambda left: left == [], 120)


def kill(namespace: Namespace, pod: str) -> None:
    namespace.kubectl("exec", pod, "-c", "main", "--", "sh", "-c", KILL, check=False)


@pytest.fixture(autouse=True)
def image(place: Namespace) -> None:
    """Have cleanups and the janitor run the image that is tested."""
    place.configure(DASKJOBS_IMAGE=IMAGE)
    janitor = f"janitor={IMAGE}"
    place.kubectl("set", "image", "cronjob/daskjobs-janitor", janitor)


def test_workflow_of_the_how_to_runs_and_its_steps_have_clusters_of_their_own(namespace: Namespace) -> None:
    """sales, and then two of risk side by side, in a loop; each with a cluster of its own, and nothing is left."""
    pd = pytest.importorskip("pandas")
    with namespace.files().open("daskjobs/theirs/orders.parquet", "wb") as file:
        frame = pd.DataFrame({"region": ["north", "south", "north"], "quantity": [1, 2, 3], "price": [1.5, 2.0, 4.0]})
        frame.to_parquet(file)
    workflow = yaml.safe_load((ROOT / "examples/own_step/workflow.yaml").read_text())
    workflow["spec"]["arguments"]["parameters"] = [
        {"name": "image", "value": OWN_IMAGE},
        {"name": "orders", "value": "s3://daskjobs/theirs/*.parquet"},
    ]
    tasks = workflow["spec"]["templates"][0]["dag"]["tasks"]
    for each in tasks:
        more = {**LITTLE, "secret": "daskjobs-storage"}
        each["arguments"]["parameters"] += [
            {"name": name, "value": value} for name, value in more.items() if name != "workers"
        ]
    done = namespace.finished(create(namespace, workflow))
    steps, cleanups = attempts(done), attempts(done, "cleanup")
    assert done["status"]["phase"] == "Succeeded", [step.get("message") for step in steps + cleanups]
    results = [json.loads(step["outputs"]["parameters"][0]["value"]) for step in steps]
    assert results[0] == {"north": 13.5, "south": 4.0}
    assert [set(each) for each in results[1:]] == [{"mean", "exceeded"}] * 2
    uid = done["metadata"]["uid"]
    names = [cluster_in(log(namespace, step)) for step in steps]
    assert len(set(names)) == 3
    assert all(name.startswith(f"dv-{uid}-") for name in names)
    receipts = [receipt_in(log(namespace, each)) for each in cleanups]
    assert {receipt["cluster"] for receipt in receipts} > set(names)  # a loop as a whole has an exit hook, too
    assert not any(receipt["remaining"] for receipt in receipts)
    made = {artifact["name"] for artifact in steps[0]["outputs"]["artifacts"]}
    assert {"files", "performance", "cluster"} <= made
    assert namespace.dask_objects() == []


def test_exception_of_the_function_is_12_names_its_line_and_is_not_tried_again(namespace: Namespace) -> None:
    workflow = submit(namespace, task("trouble:error", '{"message": "no orders today"}'))
    done = namespace.finished(workflow)
    (step,) = attempts(done)
    assert done["status"]["phase"] == "Failed"
    assert step["outputs"]["exitCode"] == "12"
    assert "ValueError: no orders today" in step["message"]
    assert "/app/trouble.py, line " in step["message"]
    assert "Traceback" in log(namespace, step)
    assert {"logs", "performance"} <= {artifact["name"] for artifact in step["outputs"]["artifacts"]}
    assert namespace.dask_objects() == []


def test_failed_step_is_done_again_by_the_command_of_the_page(namespace: Namespace) -> None:
    """Which `argo retry` alone does not do where the exit hook has succeeded: argo-workflows#13184."""
    (command,) = re.findall(r"^argo (retry .*)$", (ROOT / "docs/step.md").read_text(), re.M)
    name = submit(namespace, task("{{workflow.parameters.call}}"), call="trouble:error")
    assert namespace.finished(name)["status"]["phase"] == "Failed"
    for written, is_here in (("-n theirs", f"-n {namespace.name}"), ("theirs-x7k2p", name), (".features", ".step")):
        command = command.replace(written, is_here)
    argo(*command.split(), "-p", "call=operator:truth")
    done = namespace.until(lambda: namespace.get("workflow", name), lambda found: over(found) and is_again(found), 120)
    (step,) = attempts(done)
    assert done["status"]["phase"] == "Succeeded", step.get("message")
    assert step["outputs"]["parameters"][0]["value"] == "true"
    assert namespace.dask_objects() == []


def is_again(workflow: dict[str, Any]) -> bool:
    """Tell whether a workflow's end is that of its second time."""
    return str(workflow["status"]["phase"]) in {"Succeeded", "Error"}


def test_task_that_ends_its_workers_is_22_and_is_tried_again(namespace: Namespace) -> None:
    done = namespace.finished(submit(namespace, task("trouble:poison", retries="1")))
    steps = attempts(done)
    assert [step["outputs"]["exitCode"] for step in steps] == ["22", "22"]
    assert "its worker died each of the 3 times that it was tried" in steps[0]["message"]
    assert len({cluster_in(log(namespace, step)) for step in steps}) == 1
    assert namespace.dask_objects() == []


# What a function does that has its result, or fails by its own doing: its call, its parameters, its exit code, and its
# result or a part of its sentence. None is tried again.
OWN_DOING: dict[str, tuple[str, dict[str, str], str, str]] = {
    "closes": ("trouble:close", {}, "0", "14"),
    "shuts-down": ("trouble:close", {"args": '{"end_cluster": true}'}, "0", "14"),
    "away": ("trouble:idle", {"args": '{"seconds": 60, "again": false}'}, "0", '"the result of the function itself"'),
    "exits": ("trouble:leave", {}, "12", "SystemExit: 3"),
    "floods": ("trouble:flood", {"scheduler_memory": "256Mi"}, "11", "ran out of memory .*--scheduler-memory"),
    "no-code": ("trouble:close", {"code": "s3://daskjobs/nope.zip", "secret": "daskjobs-storage"}, "11", "there is no"),
    "no-cpu": ("trouble:close", {"worker_cpu": "many"}, "11", "--worker-cpu must be a Kubernetes quantity like 1 or"),
    "no-workers": ("trouble:close", {"workers": "0"}, "2", "--workers must be at least 1 on Kubernetes, got 0"),
}  # fmt: skip


def test_functions_own_doing_is_told_and_not_tried_again(namespace: Namespace) -> None:
    """All of them in one workflow, three at a time."""
    short = {"start_timeout": "30", "worker_timeout": "20", "idle_timeout": "1", "retries": "1"}
    tasks = [task(call, **{**short, **given}) | {"name": name} for name, (call, given, _, _) in OWN_DOING.items()]
    for before, after in zip(tasks, tasks[3:], strict=False):
        after["depends"] = f"{before['name']}.Succeeded || {before['name']}.Failed"
    done = namespace.finished(submit(namespace, *tasks))
    steps = {step["name"].split(".")[1].partition("(")[0]: step for step in attempts(done)}
    assert len(attempts(done)) == len(OWN_DOING)
    seen = {
        name: (step["outputs"]["exitCode"], step["outputs"]["parameters"][0]["value"], step.get("message", ""))
        for name, step in steps.items()
    }
    for name, (_, _, code, words) in OWN_DOING.items():
        assert seen[name][0] == code, seen[name]
        assert seen[name][1] == words if code == "0" else re.search(words, seen[name][2]), seen[name]
    assert "said by a task" in log(namespace, steps["closes"])
    assert "logs" in {artifact["name"] for artifact in steps["closes"]["outputs"]["artifacts"]}
    assert namespace.dask_objects() == []


def test_second_attempt_takes_the_cluster_over_when_the_first_ones_pod_is_killed(namespace: Namespace) -> None:
    workflow = submit(namespace, task("trouble:wait", '{"seconds": 15}', retries="1"))
    pod, cluster = at_work(namespace, workflow)
    kill(namespace, pod)
    done = namespace.finished(workflow)
    assert done["status"]["phase"] == "Succeeded"
    first, second = attempts(done)
    text = log(namespace, second)
    assert cluster_in(text) == cluster.partition("/")[2] == cluster_in(log(namespace, first))
    assert "how=reused" in text
    assert namespace.dask_objects() == []


def test_second_attempt_replaces_the_cluster_when_its_scheduler_is_killed(namespace: Namespace) -> None:
    workflow = submit(namespace, task("trouble:wait", '{"seconds": 15}', retries="1"))
    _, cluster = at_work(namespace, workflow)
    label = f"dask.org/component=scheduler,dask.org/cluster-name={cluster.partition('/')[2]}"
    namespace.kubectl("delete", "pods", "-l", label, "--grace-period=0", "--force")
    done = namespace.finished(workflow)
    first, *_ = steps = attempts(done)
    assert done["status"]["phase"] == "Succeeded", [step.get("message") for step in steps]
    assert first["outputs"]["exitCode"] in {"21", "22"}
    assert len(steps) == 2
    assert namespace.dask_objects() == []


# What is wrong, or breaks: the step's parameters, what to do meanwhile, its exit code, and its sentence.
FAULTS: dict[str, tuple[dict[str, str], Callable[[], AbstractContextManager[None]], str, str]] = {
    "the operator is down": ({"start_timeout": "5"}, no_operator, "21", "the Dask operator has made no pod for it"),
    "it is at its timeout": ({"timeout": "3"}, nullcontext, "22", "trouble:wait was still at work after 3 s: allow"),
    "the function leaves its cluster idle": (
        {"call": "trouble:idle", "args": '{"seconds": 60}', "start_timeout": "30", "worker_timeout": "20",
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
        assert step["outputs"]["exitCode"] == code, step["message"]
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
    workflow = submit(namespace, task("trouble:wait", '{"seconds": 5, "each": 5}'))
    _, cluster = at_work(namespace, workflow)
    (worker,) = workers(namespace, cluster)
    namespace.kubectl("exec", worker, "--", "sh", "-c", KILL, check=False)
    done = namespace.finished(workflow)
    (step,) = attempts(done)
    assert done["status"]["phase"] == "Succeeded", step.get("message")
    assert float(step["outputs"]["parameters"][0]["value"]) > 5  # it took the task twice


def test_task_is_not_given_up_when_its_worker_is_evicted_as_often_as_a_task_may_be_tried(namespace: Namespace) -> None:
    workflow = submit(namespace, task("trouble:wait", '{"seconds": 8, "each": 8}'))
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


def test_function_needs_no_image_of_its_own_when_its_code_is_in_storage(namespace: Namespace, tmp_path: Path) -> None:
    """In the image of daskjobs itself, which the template uses unless another is given."""
    archive = shutil.make_archive(str(tmp_path / "code"), "zip", ROOT / "examples/own_step")
    namespace.files().put(archive, "daskjobs/theirs/code.zip")
    arguments = '{"sales": {"north": 100.0}, "swing": 0.1, "paths": 1000}'
    step = task(
        "risk:simulate", arguments, code="s3://daskjobs/theirs/code.zip", secret="daskjobs-storage", image=IMAGE
    )
    done = namespace.finished(submit(namespace, step))
    (run,) = attempts(done)
    assert done["status"]["phase"] == "Succeeded", run.get("message")
    assert set(json.loads(run["outputs"]["parameters"][0]["value"])) == {"mean", "exceeded"}


def test_workers_are_added_while_tasks_wait(namespace: Namespace) -> None:
    done = namespace.finished(submit(namespace, task("trouble:crowd", max_workers="3")))
    (step,) = attempts(done)
    assert done["status"]["phase"] == "Succeeded", step.get("message")
    assert step["outputs"]["parameters"][0]["value"] == "3"
    assert "cluster.grown workers=3 before=1" in log(namespace, step)
    assert namespace.dask_objects() == []


def test_workers_are_placed_apart_from_the_scheduler_and_queued_by_name(namespace: Namespace) -> None:
    placed = {
        "worker_node_selector": '{"kubernetes.io/os": "linux"}',
        "worker_tolerations": '[{"key": "spot", "operator": "Exists"}]',
        "queue": "nobodys",  # no Kueue is here: the label does nothing
    }
    workflow = submit(namespace, task("trouble:wait", '{"seconds": 5}', **placed))
    at_work(namespace, workflow)
    pods = {
        pod["metadata"]["labels"]["dask.org/component"]: pod
        for pod in namespace.get("pods", "-l", "dask.org/component")["items"]
    }
    assert {pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] for pod in pods.values()} == {"nobodys"}
    worker, scheduler = pods["worker"]["spec"], pods["scheduler"]["spec"]
    assert worker["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert "nodeSelector" not in scheduler
    assert "spot" in {each.get("key") for each in worker["tolerations"]}
    assert "spot" not in {each.get("key") for each in scheduler["tolerations"]}
    assert namespace.finished(workflow)["status"]["phase"] == "Succeeded"


@contextmanager
def gpus_of_the_node(resource: str) -> Iterator[None]:
    """Have a node say that it has a GPU of this name, which Kubernetes counts like one that is there."""
    node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    paths = [f"/status/{part}/{resource.replace('/', '~1')}" for part in ("capacity", "allocatable")]

    def patch(operation: str) -> None:
        operations = [{"op": operation, "path": path, "value": "1"} for path in paths]
        kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps(operations))

    patch("add")
    try:
        yield
    finally:
        patch("remove")


def test_workers_have_a_gpu_a_volume_and_an_account_and_all_pods_the_labels_that_are_given(
    namespace: Namespace,
) -> None:
    """A task that asks for Dask's resource GPU reads the volume, with a library that the Dockerfile has installed."""
    gpu = f"{namespace.name}.example/gpu"
    note = "a: {b} $(HOME) {{"
    given = {
        "worker_resources": json.dumps({gpu: 1}),
        "worker_volumes": '[{"configMap": {"name": "given"}, "mountPath": "/given", "readOnly": true}]',
        "worker_service_account": "theirs",
        "pod_labels": '{"team": "features"}',
        "pod_annotations": kept_by_argo(json.dumps({"example.com/note": note})),
    }
    namespace.kubectl("create", "serviceaccount", "theirs")
    namespace.kubectl("create", "configmap", "given", f"--from-literal=orders.csv={'x' * 2000}")
    with gpus_of_the_node(gpu):
        step = task("given:sizes", '{"folder": "/given", "gpus": 1}', **given)
        workflow = submit(namespace, step)
        pods = namespace.until(
            lambda: {
                pod["metadata"]["labels"]["dask.org/component"]: pod
                for pod in namespace.get("pods", "-l", "dask.org/component,team=features")["items"]
            },
            lambda found: found.keys() == {"scheduler", "worker"},
            200,
        )
        done = namespace.finished(workflow)
    (run,) = attempts(done)
    assert done["status"]["phase"] == "Succeeded", run.get("message")
    assert json.loads(run["outputs"]["parameters"][0]["value"]) == {"orders.csv": "2.0 kB"}
    assert {pod["metadata"]["annotations"]["example.com/note"] for pod in pods.values()} == {note}
    resources = {name: pod["spec"]["containers"][0]["resources"] for name, pod in pods.items()}
    assert (resources["worker"]["requests"][gpu], resources["worker"]["limits"][gpu]) == ("1", "1")
    assert gpu not in str(resources["scheduler"])
    accounts = {name: pod["spec"]["serviceAccountName"] for name, pod in pods.items()}
    assert accounts == {"scheduler": "default", "worker": "theirs"}
    assert namespace.dask_objects() == []


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
    waits = {"start_timeout": "45", "worker_timeout": "20", "idle_timeout": "1"}
    done = namespace.finished(submit(namespace, task("trouble:error", keep_on_failure="true", **waits)))
    viewer = Viewer(namespace, done["metadata"]["name"], tmp_path / "viewer.log", "--step", "step")
    try:
        assert "Dask" in viewer.page()
        assert viewer.process.wait(timeout=150) == 0  # a look is no work: the cluster ends nevertheless
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
