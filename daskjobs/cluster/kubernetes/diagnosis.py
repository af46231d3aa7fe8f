"""Explains, by what Kubernetes knows, why a Dask cluster's pods aren't ready, and how they ended."""

import re
import time
from typing import Any

import kr8s
from kr8s.objects import APIObject, Deployment, Event, Pod, ReplicaSet

from daskjobs.cluster.connection import End
from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.api import DASK_KINDS, POLL_SECONDS, DaskCluster, api_call, is_ending, list_objects
from daskjobs.cluster.kubernetes.naming import COMPONENT_LABEL, selector
from daskjobs.errors import DaskjobsError

LOG_LINES, SHOWN_LINES = 300, 3
END_SECONDS = 5.0  # until the kubelet has reported how a container ended
OOM = "OOMKilled"
POD_NAME = re.compile(r'pods "[^"]*" is ')
WORKER_NAME = "DASK_WORKER_NAME"
TELLING = re.compile(r" - (WARNING|ERROR|CRITICAL) - |[Kk]illed|Traceback|Error")
# Signal 9 means the kernel's OOM killer, quicker than Dask's nanny: nothing else kills a worker without its container.
OUT_OF_MEMORY = re.compile(
    r"exceeded \d+% memory budget|OOMKilled|MemoryError|malloc of size .* failed|killed by signal 9\b"
)


def trouble(api: kr8s.Api, settings: KubernetesSettings) -> str:
    """Say which pods of the cluster aren't ready or were refused, and why, in Kubernetes' own words."""
    pods = list_objects(api, selector(settings), (Pod,))
    reasons = [f"{pod.name}: {why_not_ready(api, pod)}" for pod in pods if not _is_ready(pod)]
    if reasons := reasons + _refusals(api, settings):
        return " | ".join(reasons)
    if not pods:
        return "the Dask operator has made no pod for it: is it running?"
    return "its pods are ready; does the network let them reach each other? (daskjobs doctor --network)"


def _refusals(api: kr8s.Api, settings: KubernetesSettings) -> list[str]:
    """Say which objects of the cluster could not create their pods, and why, such as a quota."""
    lacking = [each for each in list_objects(api, selector(settings), (ReplicaSet, Deployment)) if _lacks_pods(each)]
    makers = {each.name for each in [*lacking, *list_objects(api, selector(settings), DASK_KINDS)]}
    messages = dict[str, str]()  # by object; its last event is listed last, and so it stays
    with api_call("list the events of a Dask cluster's objects"):
        for kind in (ReplicaSet, Deployment, *DASK_KINDS) if makers else ():
            events: Any = api.get(Event, namespace=api.namespace, field_selector={"involvedObject.kind": kind.kind})
            for each in events:
                name = each.raw["involvedObject"]["name"]
                if name in makers and each.raw.get("type") != "Normal":
                    messages[name] = each.raw["message"]
    said = dict[str, list[str]]()  # names of objects by reason: pods refused by one quota differ only in their names
    for name, message in messages.items():
        said.setdefault(POD_NAME.sub("", message), []).append(name)
    return [f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {why}" for why, names in said.items()]


def _lacks_pods(maker: APIObject) -> bool:
    wanted = maker.raw.get("spec", {}).get("replicas", 1)
    return bool(maker.raw.get("status", {}).get("replicas", 0) < wanted)


def _is_ready(pod: APIObject) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.status.get("conditions", []))


def held_by(api: kr8s.Api, settings: KubernetesSettings, component: str) -> str:
    """Return the scheduling gates that hold all pods of a component, or an empty text if it has none or a free one."""
    pods = list_objects(api, {**selector(settings), COMPONENT_LABEL: component}, (Pod,))
    held = [_gates(pod) for pod in pods if pod.status.phase not in ("Failed", "Succeeded")]
    return ", ".join(sorted({gate for gates in held for gate in gates})) if all(held) else ""


def _gates(pod: APIObject) -> list[str]:
    return [gate["name"] for gate in pod.raw.get("spec", {}).get("schedulingGates", [])]


def why_not_ready(api: kr8s.Api, pod: APIObject) -> str:
    """Say why a pod isn't ready: a scheduling gate, what its containers wait for, its last warning, or its phase."""
    if gates := _gates(pod):
        return f"the scheduling gate {', '.join(gates)} holds it"
    with api_call(f"list the events of {pod.name}"):
        events: list[Any] = list(
            api.get(Event, namespace=api.namespace, field_selector={"involvedObject.name": pod.name})
        )
    warnings = [each.raw["message"] for each in events if each.raw.get("type") == "Warning"]
    states = [status.get("state", {}).get("waiting") for status in pod.status.get("containerStatuses", [])]
    waiting = [state for state in states if state]
    ended = "".join(f" (before, it ended by {why})" for why in _ends_before(pod))
    explained = [f"{state['reason']}: {state['message']}{ended}" for state in waiting if state.get("message")]
    return (explained or warnings[-1:] or [state["reason"] for state in waiting] or [str(pod.status.get("phase"))])[0]


def how_worker_ended(api: kr8s.Api, settings: KubernetesSettings, worker: str) -> End:
    """Say how a worker ended: who removed its pod, its container's exit reason, and the last lines of its log."""
    try:
        pods: list[Any] = [pod for pod in list_objects(api, selector(settings), (Pod,)) if _worker_of(pod) == worker]
        if not pods:
            return End(f"the pod of {worker} is gone")
        taken = [f"{pod.name}: {why}" for pod in pods if (why := _why_taken(pod, settings))]
        if taken:  # its Deployment makes another pod, whose log doesn't show why
            return End(taken[-1])
        pod = pods[-1]
        reasons = _ends_before(pod)
        lines = [line for previous in [True] * _restarted(pod) + [False] for line in log_lines(pod, previous)]
    except DaskjobsError as error:
        return End(f"how {worker} ended can't be looked up: {error}")
    return worker_end(pod.name, reasons, lines)


def _restarted(pod: APIObject) -> bool:
    return any(status.get("lastState") for status in pod.status.get("containerStatuses", []))


def _ends_before(pod: APIObject) -> list[str]:
    """Return how the containers of a pod have ended: the reason and the exit code."""
    statuses = pod.status.get("containerStatuses", [])
    states = [status.get(state, {}).get("terminated") for status in statuses for state in ("lastState", "state")]
    return [f"{end.get('reason')}, exit code {end['exitCode']}" for end in states if end]


def cluster_end(api: kr8s.Api, settings: KubernetesSettings, uid: str) -> End:
    """Wait until Kubernetes knows why the scheduler of the cluster with this uid went away, and say it, if it does."""
    end = time.monotonic() + END_SECONDS
    try:
        while not (known := _cluster_end(api, settings, uid)).text and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
    except DaskjobsError as error:
        return End(f"why can't be looked up: {error}")
    return known


def _cluster_end(api: kr8s.Api, settings: KubernetesSettings, uid: str) -> End:
    clusters = list_objects(api, selector(settings), (DaskCluster,))
    if not any(each.metadata["uid"] == uid and not is_ending(each) for each in clusters):
        return End(
            f"it was deleted, as it is after {settings.longest_start + settings.idle_timeout:,.0f} s without a task; "
            f"for work that leaves it idle for longer, raise --idle-timeout (now {settings.idle_timeout:,.0f})"
        )
    pods = list_objects(api, {**selector(settings), COMPONENT_LABEL: "scheduler"}, (Pod,))
    reasons = [f"{pod.name}: {why}" for pod in pods for why in [*_ends_before(pod), _why_taken(pod, settings)] if why]
    if starved := [why for why in reasons if OOM in why]:
        return End(
            f"its scheduler ran out of memory ({starved[-1]}); give it more with --scheduler-memory (now "
            f"{settings.scheduler_memory}), or make fewer and larger tasks",
            out_of_memory=True,
        )
    return End(f"its scheduler ended ({reasons[-1]})" if reasons else "")


def _worker_of(pod: APIObject) -> str:
    """Return the operator's name of the worker in a pod, of which the pod's own name has only a part."""
    entries = [entry for container in pod.spec["containers"] for entry in container.get("env", [])]
    return next((str(entry["value"]) for entry in entries if entry["name"] == WORKER_NAME), "")


def _why_taken(pod: APIObject, settings: KubernetesSettings) -> str:
    """Say who removed a pod, in Kubernetes' own words, such as Evicted (the kubelet) or PreemptionByScheduler."""
    if pod.status.get("reason") == "Evicted":
        message = pod.status["message"].strip()
        disk = "ephemeral" in message or "EmptyDir" in message
        return f"Evicted: {message}{f' (--worker-disk is {settings.worker_disk})' if disk else ''}"
    conditions = [each for each in pod.status.get("conditions", []) if each["type"] == "DisruptionTarget"]
    return "".join(f"{each['reason']}: {each.get('message', '')}" for each in conditions if each["status"] == "True")


def worker_end(name: str, reasons: list[str], lines: list[str]) -> End:
    """Judge how a worker ended by its container's exit reasons and the lines of its log."""
    starved = [line for line in lines if OUT_OF_MEMORY.search(line)]
    telling = starved[-1:] or [line for line in lines if TELLING.search(line)][-SHOWN_LINES:] or lines[-SHOWN_LINES:]
    memory = bool(starved) or any(OUT_OF_MEMORY.search(reason) for reason in reasons)
    text = " | ".join(reasons + [line.strip() for line in telling]) or "its log is empty"
    return End(f"{name}: {text}{' (it ran out of memory)' if memory else ''}", memory)


def last_logs(api: kr8s.Api, settings: KubernetesSettings, lines: int) -> dict[str, str]:
    """Return the last log lines of each of the cluster's pods, by the pod's name; also those before a restart."""
    logs = dict[str, str]()
    for pod in list_objects(api, selector(settings), (Pod,)):
        before = [(f"{pod.name}-before-restart", True)] * _restarted(pod)
        for name, previous in [*before, (pod.name, False)]:
            try:
                logs[name] = "\n".join(log_lines(pod, previous, lines))
            except DaskjobsError as error:
                logs[name] = f"the log can't be read: {error}"
    return logs


def log_lines(pod: Any, previous: bool = False, lines: int = LOG_LINES) -> list[str]:
    """Return the last lines of a pod's log, or of its ``previous`` container's; empty lines are left out."""
    with api_call(f"read the log of {pod.name}"):
        return [line.rstrip() for line in pod.logs(previous=previous, tail_lines=lines) if line.strip()]
