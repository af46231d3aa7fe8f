"""flows/dask-step.yaml in workflows that know nothing of orders: its contract."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from daskjobs.cluster.results import kept_by_argo
from e2e.conftest import IMAGE, ROOT, Namespace, kubectl, over
from e2e.faults import argo
from e2e.steps import (
    LITTLE,
    OWN_IMAGE,
    at_work,
    attempts,
    cluster_in,
    create,
    kill,
    log,
    receipt_in,
    submit,
    task,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo", "image")]


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
