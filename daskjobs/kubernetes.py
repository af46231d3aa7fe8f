"""The Kubernetes objects of a run's Dask cluster: ensured, found again, deleted."""

import copy
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import kr8s
from kr8s._async_utils import as_sync_func  # which its own methods are made with; below 0.21 it is there
from kr8s.objects import APIObject, Deployment, Pod, ReplicaSet, Service, new_class

from daskjobs.errors import ClusterError, ConfigError
from daskjobs.log import event
from daskjobs.resource import DEADLINE, HASH, VERSION, deadline, selector
from daskjobs.settings import Settings

API_SECONDS = 10  # for each request to the API server
POLL_SECONDS = 0.5

DaskCluster = new_class("DaskCluster", VERSION, asyncio=False)
DaskWorkerGroup = new_class("DaskWorkerGroup", VERSION, asyncio=False)
DASK_KINDS = (DaskCluster, DaskWorkerGroup)
KINDS = (*DASK_KINDS, Deployment, ReplicaSet, Service, Pod)  # no Secret: a run makes none


def connect(settings: Settings) -> kr8s.Api:
    """Give a client of the API server, each request of which has a time limit.

    Raises ConfigError when nothing says where the API server is, and who asks.
    """
    try:
        api = kr8s.api(namespace=settings.namespace or None)
    except ValueError as error:
        raise ConfigError(
            f"there is no way to Kubernetes from here: {error}; run this in a pod, or set KUBECONFIG to a working file"
        ) from error
    api.timeout = API_SECONDS
    return api


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what the Kubernetes client raises into one sentence."""
    try:
        yield
    except kr8s.ServerError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in {401, 403}:
            raise ConfigError(f"Kubernetes refused to {doing}: {error}; apply k8s/, which grants the rights") from error
        if status == 404:
            raise ConfigError(f"Kubernetes can't {doing}: {error}; is the Dask operator installed?") from error
        if status in {400, 422}:
            raise ConfigError(f"Kubernetes did not accept it when asked to {doing}: {error}") from error
        raise ClusterError(f"Kubernetes could not {doing}: {error}") from error
    except (httpx.HTTPError, kr8s.APITimeoutError, kr8s.ConnectionClosedError, OSError) as error:
        raise ClusterError(f"the Kubernetes API did not answer when asked to {doing}: {error}") from error


def own_pod(api: kr8s.Api, settings: Settings) -> dict[str, Any]:
    """Return the spec of the pod that this runs in. Raises ConfigError outside of one."""
    if not settings.pod:
        raise ConfigError("--cluster kubernetes works in a pod that knows its name by --pod: submit flows/run.yaml")
    with explained(f"read the pod {settings.pod}"):
        found: Any = next(iter(api.get(Pod, settings.pod, namespace=api.namespace)), None)
    if found is None:
        raise ConfigError(f"there is no pod {settings.pod} in {api.namespace}: --pod must be this pod's name")
    return dict(found.raw["spec"])


def find(api: kr8s.Api, labels: dict[str, str], kinds: tuple[Any, ...] = KINDS) -> list[APIObject]:
    """Return the objects with these labels that exist."""
    found = list[Any]()
    with explained("list the objects of a Dask cluster"):
        for kind in kinds:
            found += api.get(kind, namespace=api.namespace, label_selector=labels)
    return found


def ensure(api: kr8s.Api, resource: dict[str, Any], settings: Settings, answers: Callable[[], bool]) -> tuple[str, str]:
    """Have the cluster exist, and say how, 'created' or 'reused', and its uid. Safe to repeat.

    A cluster of the same run and spec is reused when its scheduler ``answers``, or is younger than the start timeout:
    it may be starting still. Any other of its name is deleted first, and waited for until it is gone.
    Raises ClusterError when that takes longer than the delete timeout.
    """
    patience = time.monotonic() + settings.delete_timeout
    while True:
        wanted = DaskCluster(copy.deepcopy(resource), api=api, namespace=api.namespace)
        try:
            with explained(f"create the DaskCluster {wanted.name}"):
                wanted.create()
            return "created", str(wanted.metadata["uid"])
        except ClusterError as error:
            if not is_conflict(error):
                raise
        existing = next(iter(find(api, selector(settings), (DaskCluster,))), None)
        if existing is not None and "deletionTimestamp" not in existing.metadata:
            same = existing.metadata.get("annotations", {}).get(HASH) == resource["metadata"]["annotations"][HASH]
            if same and (age(existing) < settings.start_timeout or answers()):
                with explained(f"set the deadline of the DaskCluster {wanted.name}"):
                    existing.patch({"metadata": {"annotations": {DEADLINE: deadline(settings)}}})
                return "reused", str(existing.metadata["uid"])
            event("cluster.replaced", run=settings.run, cluster=wanted.name)
            delete(existing)
        if time.monotonic() > patience:
            raise ClusterError(
                f"the DaskCluster {wanted.name} is still there {settings.delete_timeout:.0f} s after it was deleted: "
                "is the Dask operator running? its finalizer holds the object until it is"
            )
        time.sleep(POLL_SECONDS)


def age(found: APIObject) -> float:
    """Return the seconds since an object was created."""
    created = datetime.fromisoformat(str(found.metadata["creationTimestamp"]))
    return (datetime.now(UTC) - created).total_seconds()


def is_conflict(error: Exception) -> bool:
    """Tell whether a creation failed because there is an object of that name already."""
    cause = error.__cause__
    return isinstance(cause, kr8s.ServerError) and cause.response is not None and cause.response.status_code == 409


def delete(found: APIObject) -> None:
    """Ask for the deletion of this very object; one that is gone is fine, and another one of its name stays."""
    with explained(f"delete {found.kind} {found.name}"):
        try:
            as_sync_func(_delete)(found)
        except kr8s.ServerError as error:
            if error.response is None or error.response.status_code not in (404, 409):
                raise


async def _delete(found: APIObject) -> None:
    """Delete an object under the condition of its uid, which kr8s' own method doesn't know."""
    condition = {"preconditions": {"uid": found.metadata["uid"]}}
    path = f"{found.endpoint}/{found.name}"
    async with found.api.call_api(
        "DELETE", version=found.version, url=path, namespace=found.namespace, content=json.dumps(condition)
    ):
        pass
