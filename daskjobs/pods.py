"""What Kubernetes knows of a Dask cluster's pods: what holds them up, and how they ended."""

import re
from typing import Any

import kr8s
from kr8s.objects import APIObject, Event, Pod

from daskjobs.errors import DaskjobsError
from daskjobs.kubernetes import explained, find
from daskjobs.resource import selector
from daskjobs.settings import Settings
from daskjobs.workers import LastWords

LOG_LINES, SHOWN_LINES = 300, 3
TELLING = re.compile(r" - (WARNING|ERROR|CRITICAL) - |[Kk]illed|Traceback|Error")
# Signal 9 is the kernel's, which was quicker than Dask's nanny: nobody else kills a worker and lets its container be.
OUT_OF_MEMORY = re.compile(
    r"exceeded \d+% memory budget|OOMKilled|MemoryError|malloc of size .* failed|killed by signal 9\b"
)


def trouble(api: kr8s.Api, settings: Settings) -> str:
    """Say which of the cluster's pods aren't ready and why, in Kubernetes' own words."""
    pods = find(api, selector(settings), (Pod,))
    if not pods:
        return "the Dask operator has made no pod for it: is it running?"
    return " | ".join(f"{pod.name}: {why(api, pod)}" for pod in pods if not _is_ready(pod)) or "its pods are ready"


def _is_ready(pod: APIObject) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.status.get("conditions", []))


def why(api: kr8s.Api, pod: APIObject) -> str:
    """Say what holds a pod up: what its containers wait for, its last warning, or its phase."""
    with explained(f"list the events of {pod.name}"):
        events: list[Any] = list(
            api.get(Event, namespace=api.namespace, field_selector={"involvedObject.name": pod.name})
        )
    warnings = [found.raw["message"] for found in events if found.raw.get("type") == "Warning"]
    states = [status.get("state", {}).get("waiting") for status in pod.status.get("containerStatuses", [])]
    waiting = [state for state in states if state]
    told = [f"{state['reason']}: {state['message']}" for state in waiting if state.get("message")]
    return (told or warnings[-1:] or [state["reason"] for state in waiting] or [str(pod.status.get("phase"))])[0]


def last_words(api: kr8s.Api, settings: Settings, worker: str) -> LastWords:
    """Say how the worker of a name ended: its container's exit reason, if that ended, and its log's last lines."""
    try:
        pods: list[Any] = [pod for pod in find(api, selector(settings), (Pod,)) if pod.name.startswith(worker)]
        if not pods:
            return LastWords(f"the pod of {worker} is gone")
        pod = pods[-1]
        before = [s["lastState"]["terminated"] for s in pod.status.get("containerStatuses", []) if s.get("lastState")]
        reasons = [f"{end.get('reason')}, exit code {end['exitCode']}" for end in before]
        lines = [line for previous in ([True] if before else []) + [False] for line in _log(pod, previous)]
    except DaskjobsError as error:
        return LastWords(f"the end of {worker} can't be looked up: {error}")
    return ending(pod.name, reasons, lines)


def ending(name: str, reasons: list[str], lines: list[str]) -> LastWords:
    """Read the end of a worker from its container's exit reasons and the lines of its log."""
    starved = [line for line in lines if OUT_OF_MEMORY.search(line)]
    telling = starved[-1:] or [line for line in lines if TELLING.search(line)][-SHOWN_LINES:] or lines[-SHOWN_LINES:]
    memory = bool(starved) or any(OUT_OF_MEMORY.search(reason) for reason in reasons)
    said = " | ".join(reasons + telling) or "its log is empty"
    return LastWords(f"{name}: {said}{' (it ran out of memory)' if memory else ''}", memory)


def _log(pod: Any, previous: bool) -> list[str]:
    with explained(f"read the log of {pod.name}"):
        return [line.strip() for line in pod.logs(previous=previous, tail_lines=LOG_LINES) if line.strip()]
