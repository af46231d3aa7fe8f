"""Checks, with short-lived pods, whether the network enforces k8s/base/networkpolicies.yaml."""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import kr8s
from kr8s.objects import Pod

from daskjobs.cluster.findings import Finding
from daskjobs.cluster.kubernetes import KubernetesSettings, probe
from daskjobs.cluster.kubernetes.api import POLL_SECONDS, api_call, delete_object, open_api
from daskjobs.cluster.kubernetes.diagnosis import log_lines, why_not_ready
from daskjobs.cluster.kubernetes.examination import may, pod_of
from daskjobs.cluster.kubernetes.naming import CLUSTER_LABEL, COMPONENT_LABEL, PART_OF, RUN_LABEL, SCHEDULER_PORT
from daskjobs.cluster.kubernetes.network import ensure_policy
from daskjobs.display import shown
from daskjobs.errors import ClusterError, DaskjobsError

API_SERVER = "kubernetes.default.svc:443"
STORAGE = "$(AWS_ENDPOINT_URL)"  # Kubernetes expands it, if the ConfigMap has this variable
ENDPOINT = {
    "name": "AWS_ENDPOINT_URL",
    "valueFrom": {"configMapKeyRef": {"name": "daskjobs", "key": "AWS_ENDPOINT_URL", "optional": True}},
}
PAGE = "docs/kubernetes.md, Network"
POD_SECONDS = 120  # until each pod must have printed what it reached
LIFE_SECONDS = 3 * POD_SECONDS + 30  # then Kubernetes ends pods that this process could not remove
NEEDED = (("", "pods", "create"), ("", "pods", "delete"), ("networking.k8s.io", "networkpolicies", "create"))
COMES_IN, GOES_OUT = "a pod of no run reached a run's scheduler", "a stage reached a pod that isn't of its run"


def examine_network(settings: KubernetesSettings, image: str) -> Iterator[Finding]:
    """Start three pods of the image, and yield what they reached; they are removed in any case.

    One is labelled as a run's scheduler, one as a stage of that run, and one, the stranger, not at all. The stage must
    reach the scheduler, the API server by its name, and the storage that the ConfigMap daskjobs names, but not the
    stranger; the stranger must not reach the scheduler.
    """
    try:
        api = open_api(settings)
        refused = [f"{verb} {resource}" for group, resource, verb in NEEDED if not may(api, group, resource, verb)]
        if refused:
            lacking = ", ".join(refused)
            yield Finding(False, f"network: not tried, since you may not {lacking} in {api.namespace}; ask who may")
            return
        yield from _judged(_tried(api, image))
    except DaskjobsError as error:
        yield Finding(False, f"network: {error}")


@dataclass(frozen=True)
class Outcome:
    """Why each target was not reached; empty if it was. ``storage`` is the storage's URI, if known."""

    scheduler: str
    api_server: str
    stranger: str
    by_stranger: str
    storage: str
    to_storage: str


def _tried(api: kr8s.Api, image: str) -> Outcome:
    """Start a scheduler, a stranger that tries to reach it, and a stage that tries to reach both and what it needs."""
    name = f"daskjobs-doctor-{secrets.token_hex(3)}"
    run = {**PART_OF, RUN_LABEL: name}
    scheduler_labels = {**run, CLUSTER_LABEL: name, COMPONENT_LABEL: "scheduler"}
    with _probing(api, f"{name}-scheduler", scheduler_labels, image) as (pod, scheduler, _):
        ensure_policy(api, pod)
        with _probing(api, f"{name}-stranger", {}, image, f"-{scheduler}") as (_, stranger, by_stranger):
            targets = (f"+{scheduler}", f"+{API_SERVER}", f"-{stranger}", f"+{STORAGE}")
            with _probing(api, f"{name}-stage", run, image, *targets) as (_, _, by_stage):
                storage = next((each for each in by_stage if each not in (scheduler, API_SERVER, stranger)), "")
                return Outcome(
                    scheduler=by_stage[scheduler],
                    api_server=by_stage[API_SERVER],
                    stranger=by_stage[stranger],
                    by_stranger=by_stranger[scheduler],
                    storage=storage,
                    to_storage=by_stage.get(storage, ""),
                )


@contextmanager
def _probing(
    api: kr8s.Api, name: str, labels: dict[str, str], image: str, *targets: str
) -> Iterator[tuple[Any, str, dict[str, str]]]:
    """Give a pod that listens, its host:port, and, by target, why it wasn't reached. Removes the pod at the end."""
    command = ["python", "-m", probe.__name__, str(SCHEDULER_PORT), *targets]
    resource = pod_of(image, name, LIFE_SECONDS, labels, command=command, env=[ENDPOINT])
    pod: Any = Pod(resource, api=api, namespace=api.namespace)
    with api_call(f"start the pod {name}"):
        pod.create()
    try:
        outcomes = _await_outcomes(api, pod)
        address = str(pod.status["podIP"])
        yield pod, f"{f'[{address}]' if ':' in address else address}:{SCHEDULER_PORT}", outcomes
    finally:
        delete_object(pod)


def _await_outcomes(api: kr8s.Api, pod: Any) -> dict[str, str]:
    deadline = time.monotonic() + POD_SECONDS
    while time.monotonic() < deadline:
        with api_call(f"look at the pod {pod.name}"):
            pod.refresh()
        phase = pod.status.get("phase")
        lines = log_lines(pod) if phase in {"Running", "Succeeded", "Failed"} else []
        if phase in {"Succeeded", "Failed"}:
            raise ClusterError(f"the pod {pod.name} ended early: {(lines or [str(phase)])[-1]}")
        if said := [line for line in lines if line.startswith("{")]:
            return {str(target): str(why) for target, why in json.loads(said[0]).items()}
        time.sleep(POLL_SECONDS)
    raise ClusterError(f"the pod {pod.name} said nothing within {POD_SECONDS} s: {why_not_ready(api, pod)}")


def _judged(tried: Outcome) -> Iterator[Finding]:
    yield _needed("the scheduler of its run", tried.scheduler, "does another policy of the namespace forbid it?")
    yield _needed(f"{API_SERVER}, as Argo must in each pod", tried.api_server, f"apply k8s/, and see {PAGE}")
    if tried.storage:
        yield _needed(f"the storage, {shown(tried.storage)}", tried.to_storage, f"add a policy that allows it: {PAGE}")
    passed = [text for text, why in ((COMES_IN, tried.by_stranger), (GOES_OUT, tried.stranger)) if not why]
    free = (
        f"the network of this cluster doesn't enforce {'' if len(passed) == 2 else 'all '}NetworkPolicies: "
        f"{' and '.join(passed)}; install Calico or Cilium, or what your cloud has for network policies"
    )
    yield Finding(not passed, free if passed else "network: policies are enforced, for ingress and egress")


def _needed(what: str, why: str, remedy: str) -> Finding:
    """Say whether a stage reaches what it needs, and why not."""
    return Finding(
        not why, f"network: a stage can't reach {what}: {why}; {remedy}" if why else f"network: a stage reaches {what}"
    )
