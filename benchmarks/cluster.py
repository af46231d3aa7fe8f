"""Time whole workflows on a cluster, from submit to the last pod's end: python benchmarks/cluster.py NAMESPACE [rows …]

The namespace has k8s/overlays/dev installed, KUBECONFIG names the cluster, and nothing else runs there. Each line shows
the whole, how long each pod ran, and the start of the Dask cluster as validate saw it.
"""

import json
import subprocess
import sys
import time
from datetime import datetime
from typing import Any

IMAGE = "docker.io/library/daskjobs:dev"
ROUNDS = 2


def kubectl(*arguments: str, text: str | None = None) -> str:
    return subprocess.run(["kubectl", *arguments], input=text, capture_output=True, text=True, check=True).stdout


def once(namespace: str, rows: int) -> dict[str, Any]:
    parameters = [{"name": "rows", "value": str(rows)}, {"name": "image", "value": IMAGE}]
    spec = {"workflowTemplateRef": {"name": "daskjobs"}, "arguments": {"parameters": parameters}}
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "bench-"},
        "spec": spec,
    }
    name = json.loads(kubectl("-n", namespace, "create", "-f", "-", "-o", "json", text=json.dumps(workflow)))[
        "metadata"
    ]["name"]
    while True:
        found = json.loads(kubectl("-n", namespace, "get", "workflow", name, "-o", "json"))
        if found.get("status", {}).get("finishedAt"):
            break
        time.sleep(1)
    if found["status"]["phase"] != "Succeeded":
        sys.exit(f"{name} {found['status']['phase']}: {found['status'].get('message')}")
    pods = [node for node in found["status"]["nodes"].values() if node["type"] == "Pod"]
    end = max(moment(pod["finishedAt"]) for pod in pods)
    stages = {pod["templateName"]: round(moment(pod["finishedAt"]) - moment(pod["startedAt"])) for pod in pods}
    return {"rows": rows, "seconds": round(end - moment(found["metadata"]["creationTimestamp"])), **stages}


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main() -> None:
    namespace, *sizes = sys.argv[1:]
    for _ in range(ROUNDS):
        for rows in [int(size) for size in sizes] or [50_000, 5_000_000]:
            print(json.dumps(once(namespace, rows)), flush=True)


if __name__ == "__main__":
    main()
