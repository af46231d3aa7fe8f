"""Removes a Dask cluster from Kubernetes, and reports what remains, why, and which command removes it."""

import time

import kr8s
from kr8s.objects import APIObject

from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.api import (
    DASK_KINDS,
    POLL_SECONDS,
    DaskCluster,
    delete_object,
    is_ending,
    is_kept,
    list_objects,
    open_api,
)
from daskjobs.cluster.kubernetes.naming import CLUSTER_LABEL, selector
from daskjobs.cluster.kubernetes.secret import delete_secret
from daskjobs.cluster.removed import ObjectName, Remaining, Removed

FREE = """--type=merge -p '{"metadata":{"finalizers":null}}'"""


def remove_cluster(settings: KubernetesSettings) -> Removed:
    """Remove the Dask cluster of these settings, in whatever state it is, unless it is kept after a failure."""
    api, labels = open_api(settings), selector(settings)
    kept = [object_name(each) for each in list_objects(api, labels, (DaskCluster,)) if is_kept(each)]
    return Removed(kept=kept) if kept else remove(api, labels, settings.delete_timeout)


def remove(api: kr8s.Api, labels: dict[str, str], seconds: float) -> Removed:
    """Delete the Dask objects with these labels, and wait until they and everything that they own are gone.

    The Dask operator and Kubernetes remove the rest: pods, services and deployments. The Secret is deleted by its name
    until Kubernetes says that there is none, which needs no right to list Secrets.
    """
    deadline = time.monotonic() + seconds
    seen: dict[str, ObjectName] = {}
    left = list_objects(api, labels)
    secret = delete_secret(api, labels[CLUSTER_LABEL])  # before its owner, with which it would go unreported
    for existing in left:
        if isinstance(existing, DASK_KINDS):
            delete_object(existing)
    while left or secret:
        seen |= {existing.metadata["uid"]: object_name(existing) for existing in left}
        seen |= {secret.uid: secret} if secret else {}
        if time.monotonic() > deadline:
            remaining = [_remaining(existing) for existing in left]
            remaining += [Remaining(secret, "it was deleted, and something holds it")] if secret else []
            return Removed(list(seen.values()), remaining, seconds=seconds)
        time.sleep(POLL_SECONDS)
        left = list_objects(api, labels)
        secret = delete_secret(api, labels[CLUSTER_LABEL])
    return Removed(list(seen.values()))


def object_name(existing: APIObject) -> ObjectName:
    """Return the kind, name and uid of an object."""
    return ObjectName(existing.kind, existing.name, str(existing.metadata["uid"]))


def _remaining(existing: APIObject) -> Remaining:
    """Say why an object remains, and which command removes it; one that goes with its owner needs no command."""
    named, kubectl = object_name(existing), f"kubectl -n {existing.namespace}"
    what = f"{named.kind.lower()}/{named.name}"
    if finalizers := existing.metadata.get("finalizers"):
        why = f"the finalizer {', '.join(finalizers)} holds it until the Dask operator runs; it goes by itself then"
        return Remaining(named, why, f"{kubectl} patch {what} {FREE}")
    if existing.metadata.get("ownerReferences"):
        if is_ending(existing):
            return Remaining(named, "it is being ended", f"{kubectl} delete {what} --force --grace-period=0")
        return Remaining(named, "its owner is still there")
    return Remaining(named, "it was not deleted", f"{kubectl} delete {what}")
