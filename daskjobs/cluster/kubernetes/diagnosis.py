"""What Kubernetes knows about a Dask cluster's pods: why they aren't ready, and how they ended."""

import re
from typing import Any

import kr8s
from kr8s.objects import APIObject, Event, Pod

from daskjobs.cluster.connection import WorkerEnd
from daskjobs.cluster.kubernetes.api import api_call, list_objects
from daskjobs.cluster.kubernetes.naming import COMPONENT_LABEL, selector
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import DaskjobsError

LOG_LINES, SHOWN_LINES = 300, 3
WORKER_NAME = "DASK_WORKER_NAME"
TELLING = re.compile(r" - (WARNING|ERROR|CRITICAL) - |[Kk]illed|Traceback|Error")
# Signal 9 is the kernel's, which was quicker than Dask's nanny: nobody else kills a worker and lets its container be.
OUT_OF_MEMORY = re.compile(
    r"exceeded \d+% memory budget|OOMKilled|MemoryError|malloc of size .* failed|killed by signal 9\b"
)


def trouble(api: kr8s.Api, settings: ClusterSettings) -> str:
    """Say which of the cluster's pods aren't ready and why, in Kubernetes' own words."""
    pods = list_objects(api, selector(settings), (Pod,))
    if not pods:
        return "the Dask operator has made no pod for it: is it running?"
    reasons = (f"{pod.name}: {why_not_ready(api, pod)}" for pod in pods if not _is_ready(pod))
    return (
        " | ".join(reasons)
        or "its pods are ready; does the network let them reach each other? (daskjobs doctor --network)"
    )


def _is_ready(pod: APIObject) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.status.get("conditions", []))


def held_by(api: kr8s.Api, settings: ClusterSettings, component: str) -> str:
    """Say which scheduling gates hold all pods of a component; nothing if it has no pod, or one that no gate holds."""
    pods = list_objects(api, {**selector(settings), COMPONENT_LABEL: component}, (Pod,))
    held = [_gates(pod) for pod in pods if pod.status.phase not in ("Failed", "Succeeded")]
    return ", ".join(sorted({gate for gates in held for gate in gates})) if all(held) else ""


def _gates(pod: APIObject) -> list[str]:
    return [gate["name"] for gate in pod.raw.get("spec", {}).get("schedulingGates", [])]


def why_not_ready(api: kr8s.Api, pod: APIObject) -> str:
    """Say why a pod isn't ready: what holds it, what its containers wait for, its last warning, or its phase."""
    if gates := _gates(pod):
        return f"the scheduling gate {', '.join(gates)} holds it"
    with api_call(f"list the events of {pod.name}"):
        events: list[Any] = list(
            api.get(Event, namespace=api.namespace, field_selector={"involvedObject.name": pod.name})
        )
    warnings = [each.raw["message"] for each in events if each.raw.get("type") == "Warning"]
    states = [status.get("state", {}).get("waiting") for status in pod.status.get("containerStatuses", [])]
    waiting = [state for state in states if state]
    explained = [f"{state['reason']}: {state['message']}" for state in waiting if state.get("message")]
    return (explained or warnings[-1:] or [state["reason"] for state in waiting] or [str(pod.status.get("phase"))])[0]


def how_worker_ended(api: kr8s.Api, settings: ClusterSettings, worker: str) -> WorkerEnd:
    """Say how a worker ended: who took its pod away, its container's exit reason, and the last lines of its log."""
    try:
        pods: list[Any] = [pod for pod in list_objects(api, selector(settings), (Pod,)) if _worker_of(pod) == worker]
        if not pods:
            return WorkerEnd(f"the pod of {worker} is gone")
        taken = [f"{pod.name}: {why}" for pod in pods if (why := _why_taken(pod, settings))]
        if taken:  # and its Deployment makes another, whose log says nothing of it
            return WorkerEnd(taken[-1])
        pod = pods[-1]
        before = [s["lastState"]["terminated"] for s in pod.status.get("containerStatuses", []) if s.get("lastState")]
        reasons = [f"{end.get('reason')}, exit code {end['exitCode']}" for end in before]
        lines = [line for previous in ([True] if before else []) + [False] for line in log_lines(pod, previous)]
    except DaskjobsError as error:
        return WorkerEnd(f"how {worker} ended can't be looked up: {error}")
    return worker_end(pod.name, reasons, lines)


def _worker_of(pod: APIObject) -> str:
    """Return the name of the worker that runs in a pod: the operator's, which the name of a pod has only in part."""
    entries = [entry for container in pod.spec["containers"] for entry in container.get("env", [])]
    return next((str(entry["value"]) for entry in entries if entry["name"] == WORKER_NAME), "")


def _why_taken(pod: APIObject, settings: ClusterSettings) -> str:
    """Say who took a pod away, in Kubernetes' own words: Evicted by the kubelet, or such as PreemptionByScheduler."""
    if pod.status.get("reason") == "Evicted":
        message = pod.status["message"].strip()
        disk = "ephemeral" in message or "EmptyDir" in message
        return f"Evicted: {message}{f' (--worker-disk is {settings.worker_disk})' if disk else ''}"
    conditions = [each for each in pod.status.get("conditions", []) if each["type"] == "DisruptionTarget"]
    return "".join(f"{each['reason']}: {each.get('message', '')}" for each in conditions if each["status"] == "True")


def worker_end(name: str, reasons: list[str], lines: list[str]) -> WorkerEnd:
    """Judge how a worker ended by its container's exit reasons and the lines of its log."""
    starved = [line for line in lines if OUT_OF_MEMORY.search(line)]
    telling = starved[-1:] or [line for line in lines if TELLING.search(line)][-SHOWN_LINES:] or lines[-SHOWN_LINES:]
    memory = bool(starved) or any(OUT_OF_MEMORY.search(reason) for reason in reasons)
    text = " | ".join(reasons + [line.strip() for line in telling]) or "its log is empty"
    return WorkerEnd(f"{name}: {text}{' (it ran out of memory)' if memory else ''}", memory)


def last_logs(api: kr8s.Api, settings: ClusterSettings, lines: int) -> dict[str, str]:
    """Return the last lines of the log of each of the cluster's pods, by its name; before a restart, too."""
    logs = dict[str, str]()
    for pod in list_objects(api, selector(settings), (Pod,)):
        restarted = any(status.get("lastState") for status in pod.status.get("containerStatuses", []))
        for name, previous in [(f"{pod.name}-before-restart", True)] * restarted + [(pod.name, False)]:
            try:
                logs[name] = "\n".join(log_lines(pod, previous, lines))
            except DaskjobsError as error:
                logs[name] = f"the log can't be read: {error}"
    return logs


def log_lines(pod: Any, previous: bool = False, lines: int = LOG_LINES) -> list[str]:
    """Return the last lines of a pod's log, or of its container before its restart; empty lines are left out."""
    with api_call(f"read the log of {pod.name}"):
        return [line.rstrip() for line in pod.logs(previous=previous, tail_lines=lines) if line.strip()]
