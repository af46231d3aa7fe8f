"""Remove what there is of a Dask cluster on Kubernetes, and say what stayed, why, and what would end it."""

import time
from dataclasses import dataclass

import kr8s
from kr8s.objects import APIObject

from daskjobs.errors import ClusterError
from daskjobs.kubernetes import DASK_KINDS, POLL_SECONDS, connect, delete, find
from daskjobs.resource import selector
from daskjobs.settings import Settings

Described = dict[str, str]
FREE = """--type=merge -p '{"metadata":{"finalizers":null}}'"""


@dataclass(frozen=True)
class Removed:
    """What a receipt says: every object that there was, and those that outlived the time limit, with the reason."""

    objects: list[Described]
    remaining: list[Described]


def remove_run(settings: Settings) -> Removed:
    """Remove the Dask cluster of a run, wherever the run has come to."""
    return remove(connect(settings), selector(settings), settings.delete_timeout)


def remove(api: kr8s.Api, labels: dict[str, str], seconds: float) -> Removed:
    """Delete the Dask objects with these labels, and wait until they and all that they made are gone.

    The Dask operator and Kubernetes remove the rest: pods, services and deployments are not ours to delete.
    """
    deadline = time.monotonic() + seconds
    seen: dict[str, Described] = {}
    left = find(api, labels)
    for found in left:
        if isinstance(found, DASK_KINDS):
            delete(found)
    while left:
        seen |= {found.metadata["uid"]: describe(found) for found in left}
        if time.monotonic() > deadline:
            return Removed(list(seen.values()), [{**describe(found), **_stuck(found)} for found in left])
        time.sleep(POLL_SECONDS)
        left = find(api, labels)
    return Removed(list(seen.values()), [])


def describe(found: APIObject) -> Described:
    """Return what a receipt says of an object."""
    return {"kind": found.kind, "name": found.name, "uid": str(found.metadata["uid"])}


def _stuck(found: APIObject) -> Described:
    """Say why an object is still there, and the command that would end it; what an owner takes along has none."""
    what = f"{found.kind.lower()}/{found.name}"
    kubectl = f"kubectl -n {found.namespace}"
    if held := found.metadata.get("finalizers"):
        why = f"the finalizer {', '.join(held)} holds it until the Dask operator runs; it goes by itself then"
        return {"why": why, "command": f"{kubectl} patch {what} {FREE}"}
    if found.metadata.get("ownerReferences"):
        if "deletionTimestamp" in found.metadata:
            return {"why": "it is being ended", "command": f"{kubectl} delete {what} --force --grace-period=0"}
        return {"why": "its owner is still there"}
    return {"why": "it was not deleted", "command": f"{kubectl} delete {what}"}


def check(remaining: list[Described], seconds: float) -> None:
    """Raise ClusterError, which names the objects, the reason and the commands, unless nothing remains."""
    if not remaining:
        return
    told = [found for found in remaining if "command" in found] or remaining
    names = "; ".join(f"{found['kind']} {found['name']}: {found['why']}" for found in told)
    others = len(remaining) - len(told)
    commands = " && ".join(found["command"] for found in told if "command" in found)
    raise ClusterError(
        f"still there {seconds:.0f} s after the Dask cluster was deleted: {names}"
        f"{f' ({others} more objects go with it)' if others else ''}"
        f"{f'; to remove it at once: {commands}' if commands else ''}"
    )
