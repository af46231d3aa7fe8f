"""Steps of flows/dask-step.yaml in workflows: how to submit them, and what to see of them."""

import json
import os
from typing import Any

from e2e.conftest import Namespace
from e2e.faults import KILL

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
    namespace.until(namespace.dask_objects, lambda left: left == [], 200)


def kill(namespace: Namespace, pod: str) -> None:
    namespace.kubectl("exec", pod, "-c", "main", "--", "sh", "-c", KILL, check=False)
