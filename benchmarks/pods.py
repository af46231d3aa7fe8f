"""How long each pod of the flow takes until its work begins: python benchmarks/pods.py NAMESPACE [--image IMAGE …]

KUBECONFIG names the cluster, and k8s/overlays/dev is installed in the namespace. Each round runs all stages on a few
orders, one pod after another, with a Dask cluster of their own, as Argo would, but without Argo; several images take
turns. It prints a table of medians:

- seconds: from the start of the container until the line of its log that begins the work: that of its stage; that it
  has asked for the cluster, or cleaned up; that the scheduler listens, or the worker has registered
- CPU: what the processes of a scheduler or worker have used soon after that line, and those of a stage up to their end;
  a few orders are hardly any work

On a busy machine, rely on CPU.
"""

import argparse
import json
import re
import secrets
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hops import kubectl, moment

ROOT = Path(__file__).parent.parent
FLOW = yaml.safe_load((ROOT / "flows/pipeline.yaml").read_text())["spec"]
STAGES = ("cluster", "generate", "validate", "merge", "clean", "report", "cleanup")
WORKERS = 2
SECONDS = 180  # that a pod may take
SCRIPT = 'echo begins; daskjobs "$@"; code=$?; times; exit $code'
WORK = re.compile(r"^(\S+) .*(?:stage\.started|cluster\.ensured|cleanup\.done|Scheduler at:|Registered to:)", re.M)
TIMES = re.compile(r"(\d+)m([0-9.]+)s (\d+)m([0-9.]+)s\s*$")  # of the shell's children: user and system
# The start of a container's first process, in seconds since 1970, and the CPU of its processes and their children.
LOOK = """
import os, pathlib, time
tick = os.sysconf("SC_CLK_TCK")
processes = pathlib.Path("/proc").glob("[0-9]*")
stats = {path.name: (path / "stat").read_text().rpartition(")")[2].split() for path in processes}
since_boot = float(pathlib.Path("/proc/uptime").read_text().split()[0])
print(time.time() - since_boot + int(stats["1"][19]) / tick)
print(sum(int(each) for pid, stat in stats.items() if pid != str(os.getpid()) for each in stat[11:15]) / tick)
"""


@dataclass(frozen=True)
class Start:
    """How one container began: seconds until its work, and seconds of CPU."""

    seconds: float
    cpu: float


class Pods:
    """The pods of one run in a namespace."""

    def __init__(self, namespace: str, image: str, rows: int) -> None:
        self.namespace, self.image = namespace, image
        self.run = f"pods-{secrets.token_hex(4)}"
        self.settings = {
            "DASKJOBS_RUN": f"s3://daskjobs/runs/{self.run}",
            "DASKJOBS_CLUSTER": "kubernetes",
            "DASKJOBS_ROWS": str(rows),
            "DASKJOBS_WORKERS": str(WORKERS),
            "DASKJOBS_NAMESPACE": namespace,
            "DASKJOBS_WORKFLOW_UID": self.run,
            "DASKJOBS_OUTPUTS": "/tmp/outputs",
        }

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return kubectl("-n", self.namespace, *arguments, text=text)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def measured(self) -> dict[str, Start]:
        """Run all stages, and return how each pod began; of several workers, the medians."""
        found = {}
        for stage in STAGES:
            found[stage] = self.stage(stage)
            if stage == "cluster":
                found |= self.dask()
        return found

    def stage(self, stage: str) -> Start:
        """Run one stage in a pod as the flow's."""
        (template,) = [each for each in FLOW["templates"] if each["name"] == stage]
        default = FLOW["templateDefaults"]["container"]
        name = f"{self.run}-{stage}"
        account = template.get("serviceAccountName", FLOW["serviceAccountName"])
        tls = {"name": "tls", "secret": {"secretName": f"dv-{self.run}-tls", "optional": True}}
        environment = self.settings | {"DASKJOBS_POD": name}
        container = {key: default[key] for key in ("envFrom", "securityContext", "resources")}
        container |= {
            "name": "main",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", SCRIPT, "daskjobs", *template["container"]["args"]],
            "env": [{"name": key, "value": value} for key, value in environment.items()],
            "volumeMounts": [*default["volumeMounts"], {"name": "tls", "mountPath": "/etc/daskjobs/tls"}],
        }
        spec = {
            "serviceAccountName": account,
            "automountServiceAccountToken": account != FLOW["serviceAccountName"],
            "restartPolicy": "Never",
            "securityContext": FLOW["securityContext"],
            "volumes": [*FLOW["volumes"], tls],
            "containers": [container],
        }
        labels = {**FLOW["podMetadata"]["labels"], "daskjobs/run": self.run}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
        self.kubectl("create", "-f", "-", text=json.dumps(pod))
        phase = self.until(lambda: self.get("pod", name)["status"]["phase"], lambda phase: phase in ENDED)
        log = self.kubectl("logs", name, "--timestamps")
        if phase != "Succeeded":
            sys.exit(f"{name} {phase}:\n{log}")
        began, work, used = moment(log.split()[0]), WORK.search(log), TIMES.search(log)
        if not (work and used):
            sys.exit(f"{name} says nothing of its work:\n{log}")
        minutes, seconds, more_minutes, more_seconds = map(float, used.groups())
        return Start(moment(work[1]) - began, 60 * (minutes + more_minutes) + seconds + more_seconds)

    def dask(self) -> dict[str, Start]:
        """Wait for the run's Dask cluster, and return how its pods began."""
        label = f"dask.org/cluster-name=dv-{self.run}"
        pods = self.until(lambda: self.get("pods", "-l", label)["items"], lambda pods: len(pods) == 1 + WORKERS)
        found: dict[str, list[Start]] = defaultdict(list)
        for name, kind in [(p["metadata"]["name"], p["metadata"]["labels"]["dask.org/component"]) for p in pods]:
            work = self.until(lambda pod=name: WORK.search(self.log(pod)), bool)  # type: ignore[misc]
            began, used = self.kubectl("exec", name, "--", "python", "-c", LOOK).split()
            found[kind].append(Start(moment(work[1]) - float(began), float(used)))
        return {kind: median(starts) for kind, starts in found.items()}

    def log(self, pod: str) -> str:
        if self.get("pod", pod)["status"]["phase"] != "Running":
            return ""
        return self.kubectl("logs", pod, "--timestamps")

    def until(self, look: Callable[[], Any], good: Callable[[Any], object]) -> Any:
        deadline = time.monotonic() + SECONDS
        while not good(seen := look()):
            if time.monotonic() > deadline:
                sys.exit(f"{self.run}: after {SECONDS} s there was still {str(seen)[:1000]}")
            time.sleep(1)
        return seen

    def remove(self) -> None:
        self.kubectl("delete", "daskclusters,pods", "-l", f"daskjobs/run={self.run}", "--timeout=60s")


ENDED = ("Succeeded", "Failed")


def median(starts: list[Start]) -> Start:
    return Start(statistics.median(start.seconds for start in starts), statistics.median(start.cpu for start in starts))


def table(found: dict[str, dict[str, list[Start]]]) -> str:
    """Return the medians as a table in Markdown, with two columns for each image."""
    heads = [f"{image.rpartition(':')[2]}: {what}" for image in found for what in ("seconds", "CPU")]
    lines = [f"| pod | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for pod in next(iter(found.values())):
        starts = [median(each[pod]) for each in found.values()]
        lines.append(f"| {pod} | {' | '.join(f'{start.seconds:.2f} | {start.cpu:.2f}' for start in starts)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("namespace")
    parser.add_argument("--image", nargs="+", default=["docker.io/library/daskjobs:dev"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1000)
    options = parser.parse_args()
    found: dict[str, dict[str, list[Start]]] = {image: defaultdict(list) for image in options.image}
    for number in range(options.rounds):
        for image in options.image:
            pods = Pods(options.namespace, image, options.rows)
            try:
                for pod, start in pods.measured().items():
                    found[image][pod].append(start)
            finally:
                pods.remove()
        print(f"\nafter round {number + 1}:\n\n{table(found)}", file=sys.stderr, flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
