"""daskjobs and the plain flow of pandas on one cluster, whole workflows: python benchmarks/cluster.py NAMESPACE

KUBECONFIG names the cluster, k8s/overlays/dev is installed in the namespace, and nothing else runs. Our two entrypoints
and the plain flow take turns, round after round, at each requeue time of Argo's controller, which this sets; a time is
from the workflow's creation to the end of its last pod. One that doesn't come to the others' numbers ends this with an
error. Then where the time went in each flow's last run (see hops.py).
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from hops import Hop, hops, kubectl, seconds, sums, table

HERE = Path(__file__).parent
ROOT = HERE.parent
RUN = ROOT / "flows/run.yaml"
FLOWS = {"pipeline": RUN, "compact": RUN, "plain": HERE / "plain/flow.yaml"}
CONTROLLER = ("-n", "argo", "deployment/workflow-controller")
PROGRAM = (HERE / "plain/stages.py", HERE / "contenders/with_pandas.py")
RESULTS = ("orders", "revenue", "rejected")


def install_plain(namespace: str) -> None:
    """Put the program of the plain flow into a ConfigMap."""
    data = {path.name: path.read_text() for path in PROGRAM}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plain"}, "data": data}
    kubectl("-n", namespace, "apply", "-f", "-", text=json.dumps(body))


def once(namespace: str, flow: str, rows: int, image: str) -> tuple[str, dict[str, str]]:
    """Run a flow to its end; return the workflow's name, and its results."""
    workflow = yaml.safe_load(FLOWS[flow].read_text())
    workflow["spec"].setdefault("entrypoint", flow)
    given = [{"name": "rows", "value": str(rows)}, {"name": "image", "value": image}]
    own = workflow["spec"].get("arguments", {}).get("parameters", [])
    workflow["spec"]["arguments"] = {
        "parameters": [each for each in own if each["name"] not in ("rows", "image")] + given
    }
    created = kubectl("-n", namespace, "create", "-f", "-", "-o", "json", text=json.dumps(workflow))
    name = json.loads(created)["metadata"]["name"]
    while not (found := status(namespace, name)).get("finishedAt"):
        time.sleep(2)
    if found["phase"] != "Succeeded":
        sys.exit(f"{name} {found['phase']}: {found.get('message')}")
    shown = {parameter["name"]: parameter["value"] for parameter in found["outputs"]["parameters"]}
    return name, {result: shown[result] for result in RESULTS}


def status(namespace: str, workflow: str) -> dict[str, Any]:
    return dict(json.loads(kubectl("-n", namespace, "get", "workflow", workflow, "-o", "json")).get("status", {}))


def requeue(time: str) -> None:
    """Have Argo's controller look at a workflow so long after each event."""
    namespace, where, what = CONTROLLER
    kubectl("set", "env", namespace, where, what, f"DEFAULT_REQUEUE_TIME={time}")
    kubectl("rollout", "status", namespace, where, what, "--timeout=120s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("namespace")
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 5_000_000])
    parser.add_argument("--requeue", nargs="+", default=["10s", "2s"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--image", default="docker.io/library/daskjobs:dev")
    options = parser.parse_args()
    install_plain(options.namespace)
    ours = [flow for flow in FLOWS if flow != "plain"]
    lines = [f"| rows | requeue time | {' | '.join(FLOWS)} | {' | '.join(f'{flow} to plain' for flow in ours)} |"]
    lines.append(f"| ---: |{' ---: |' * (1 + len(FLOWS) + len(ours))}")
    last: dict[int, dict[str, list[Hop]]] = {}
    for look in options.requeue:
        requeue(look)
        once(options.namespace, "compact", min(options.rows), options.image)  # not counted: its controller is new
        for rows in options.rows:
            took: dict[str, list[float]] = {flow: [] for flow in FLOWS}
            truth: dict[str, str] = {}
            for _ in range(options.rounds):
                for flow in FLOWS:
                    name, results = once(options.namespace, flow, rows, options.image)
                    truth = truth or results
                    if results != truth:
                        sys.exit(f"{name} came to {results}, the first run to {truth}")
                    way = hops(options.namespace, name)
                    took[flow].append(seconds(way))
                    last.setdefault(rows, {})[f"{flow}, {look}"] = way
                    print(f"{flow} {rows:,} {look}: {took[flow][-1]:.0f} s", file=sys.stderr, flush=True)
            shown = [", ".join(f"{each:.0f} s" for each in took[flow]) for flow in FLOWS]
            ratios = [statistics.median(a / b for a, b in zip(took[flow], took["plain"], strict=True)) for flow in ours]
            lines.append(
                f"| {rows:,} | {look} | {' | '.join(shown)} | {' | '.join(f'{each:.2f}' for each in ratios)} |"
            )
    print("\n".join(lines))
    for rows, ways in last.items():
        print(f"\n{rows:,} rows, the last of each:\n\n{sums(ways)}")
    for name, way in last[options.rows[0]].items():
        print(f"\n{options.rows[0]:,} rows, {name}:\n\n{table(way)}")


if __name__ == "__main__":
    main()
