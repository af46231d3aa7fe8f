"""daskjobs and the plain flow of pandas on one cluster, whole workflows: python benchmarks/cluster.py NAMESPACE

KUBECONFIG names the cluster, k8s/overlays/dev is installed in the namespace, and nothing else runs. They take turns,
round after round; a time is from the workflow's creation to the end of its last pod. One that doesn't come to the
other's numbers doesn't count: this ends with an error. Then the hops of each flow's last run (see hops.py).
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from hops import hops, kubectl, table

HERE = Path(__file__).parent
ROOT = HERE.parent
FLOWS = {"daskjobs": ROOT / "flows/run.yaml", "plain": HERE / "plain/flow.yaml"}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("namespace")
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 500_000, 5_000_000])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--image", default="docker.io/library/daskjobs:dev")
    options = parser.parse_args()
    install_plain(options.namespace)
    lines = [f"| rows | {' | '.join(FLOWS)} | ratio |", f"| ---: |{' ---: |' * (len(FLOWS) + 1)}"]
    last = {}
    for rows in options.rows:
        seconds: dict[str, list[float]] = {flow: [] for flow in FLOWS}
        truth: dict[str, str] = {}
        for _ in range(options.rounds):
            for flow in FLOWS:
                name, results = once(options.namespace, flow, rows, options.image)
                truth = truth or results
                if results != truth:
                    sys.exit(f"{name} came to {results}, the first run to {truth}")
                way = hops(options.namespace, name)
                seconds[flow].append(sum(sum(hop.seconds.values()) for hop in way))
                last[flow, rows] = table(way)
                print(f"{flow} {rows:,}: {seconds[flow][-1]:.0f} s", file=sys.stderr, flush=True)
        shown = [", ".join(f"{each:.0f} s" for each in seconds[flow]) for flow in FLOWS]
        ratios = [ours / theirs for ours, theirs in zip(*seconds.values(), strict=True)]
        lines.append(f"| {rows:,} | {' | '.join(shown)} | {statistics.median(ratios):.2f} |")
    print("\n".join(lines))
    for (flow, rows), hopped in last.items():
        print(f"\n{flow}, {rows:,} rows:\n\n{hopped}")


if __name__ == "__main__":
    main()
