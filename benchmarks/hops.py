"""Where the time of workflows went, hop by hop: python benchmarks/hops.py NAMESPACE WORKFLOW [WORKFLOW …]

Of one workflow, a table of its hops; of several, one table with the sums of each.

From the status of the Workflow and of its pods, which are there for ten minutes after its end; KUBECONFIG names the
cluster. A row is a stage on the way that took longest, from the workflow's creation to the end of its last pod:

- Argo: from the end of the pod before it, as Kubernetes had it, until Argo's controller made this one
- pod start: until its first container runs (scheduling, volumes, Argo's init container)
- Dask start: what validate waited for its cluster, as its log says
- work: the rest of the time that its container ran, the start of Python included; several stages in one pod, each from
  the end of the one before it, as the pod's log has it
- pod end: until its last container, which saves what Argo shows, has ended; and unless it is the last pod, until
  Kubernetes says that the pod has ended, which is what Argo's controller waits for

Kubernetes notes whole seconds, so that a cell may be one off; the sums are exact.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Any

COLUMNS = ("Argo", "pod start", "Dask start", "work", "pod end")
ENDED = re.compile(r'^(\S+) \{"stage": "(\w+)"', re.M)  # what daskjobs prints of each stage, behind Kubernetes' time
DASK_START = re.compile(r"cluster\.ready .*start_seconds=([0-9.]+)")


@dataclass(frozen=True)
class Hop:
    """One stage: its name, and the seconds of each of `COLUMNS`."""

    stage: str
    seconds: dict[str, float]


def kubectl(*arguments: str, text: str | None = None) -> str:
    return subprocess.run(["kubectl", *arguments], input=text, capture_output=True, text=True, check=True).stdout


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def hops(namespace: str, workflow: str) -> list[Hop]:
    """Return the hops of the longest way through a workflow that has ended, in their order."""
    found = json.loads(kubectl("-n", namespace, "get", "workflow", workflow, "-o", "json"))
    label = f"workflows.argoproj.io/workflow={workflow}"
    pods = json.loads(kubectl("-n", namespace, "get", "pods", "-l", label, "-o", "json"))["items"]
    by_node = {pod["metadata"]["annotations"]["workflows.argoproj.io/node-id"]: pod for pod in pods}
    nodes = [node for node in found["status"]["nodes"].values() if node["type"] == "Pod" and node.get("finishedAt")]
    if missing := [node["displayName"] for node in nodes if node["id"] not in by_node]:
        sys.exit(f"the pods of {', '.join(missing)} are gone: Argo removes them ten minutes after the end")
    before, way = moment(found["metadata"]["creationTimestamp"]), list[Hop]()
    nodes = longest(nodes)
    for node, later in zip(nodes, [*nodes[1:], None], strict=True):
        pod, end = by_node[node["id"]], moment(node["finishedAt"])
        if later:
            end = max(end, min(moment(later["startedAt"]), gone(pod)))
        way += of_pod(namespace, node, pod, before, end)
        before = end
    return way


def longest(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Walk from the last pod back to the first, each time to the one that ended last before it; return their order."""
    way = []
    node = max(nodes, key=lambda each: moment(each["finishedAt"]))
    while node:
        way.append(node)
        earlier = [each for each in nodes if moment(each["finishedAt"]) <= moment(node["startedAt"]) and each != node]
        node = max(earlier, key=lambda each: moment(each["finishedAt"]), default={})
    return way[::-1]


def gone(pod: dict[str, Any]) -> float:
    """Return when Kubernetes had taken down a pod's network, which is when it says that the pod has ended."""
    conditions = {each["type"]: each for each in pod["status"]["conditions"]}
    return moment(conditions.get("PodReadyToStartContainers", conditions["Ready"])["lastTransitionTime"])


def of_pod(namespace: str, node: dict[str, Any], pod: dict[str, Any], before: float, over: float) -> list[Hop]:
    """Return the hops of one pod: a stage for each that its log names, or the whole as one."""
    (main,) = [each for each in pod["status"]["containerStatuses"] if each["name"] == "main"]
    began, runs, end = (
        moment(text)
        for text in (node["startedAt"], *(main["state"]["terminated"][f"{at}At"] for at in ("started", "finished")))
    )
    log = kubectl("-n", namespace, "logs", pod["metadata"]["name"], "-c", "main", "--timestamps")
    ends = [(stage, moment(time)) for time, stage in ENDED.findall(log)] or [(node["templateName"], end)]
    ends[-1] = ends[-1][0], end
    rows = [Hop(stage, dict.fromkeys(COLUMNS, 0.0)) for stage, _ in ends]
    rows[0].seconds.update({"Argo": began - before, "pod start": runs - began})
    for row, (_, ended) in zip(rows, ends, strict=True):
        row.seconds["work"], runs = ended - runs, ended
    if said := DASK_START.search(log):
        rows[-1].seconds["Dask start"] = float(said[1])
        rows[-1].seconds["work"] -= float(said[1])
    rows[-1].seconds["pod end"] = over - end
    return rows


def table(way: list[Hop]) -> str:
    """Return the hops as a table in Markdown, with the sums of its rows and columns."""
    lines = [f"| | {' | '.join(COLUMNS)} | all |", f"| --- |{' ---: |' * (len(COLUMNS) + 1)}"]
    total = Hop("all", {column: sum(hop.seconds[column] for hop in way) for column in COLUMNS})
    for hop in [*way, total]:
        cells = [f"{hop.seconds[column]:.0f}" if round(hop.seconds[column]) else "" for column in COLUMNS]
        lines.append(f"| {hop.stage} | {' | '.join(cells)} | {sum(hop.seconds.values()):.0f} |")
    return "\n".join(lines)


def sums(ways: dict[str, list[Hop]]) -> str:
    """Return a table in Markdown with a row for each way, and its sums."""
    lines = [f"| | {' | '.join(COLUMNS)} | all |", f"| --- |{' ---: |' * (len(COLUMNS) + 1)}"]
    for name, way in ways.items():
        cells = [f"{sum(hop.seconds[column] for hop in way):.0f}" for column in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} | {seconds(way):.0f} |")
    return "\n".join(lines)


def seconds(way: list[Hop]) -> float:
    """Return how long a way took."""
    return sum(sum(hop.seconds.values()) for hop in way)


def main(namespace: str, *workflows: str) -> None:
    ways = {workflow: hops(namespace, workflow) for workflow in workflows}
    print(sums(ways) if len(ways) > 1 else table(ways[workflows[0]]))


if __name__ == "__main__":
    main(*sys.argv[1:])
