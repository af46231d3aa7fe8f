"""The Kubernetes API: every request has a time limit, and every failure becomes one sentence."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import kr8s
from kr8s._async_utils import as_sync_func  # private, but kr8s uses it for its own methods in all versions below 0.21
from kr8s.objects import APIObject, Deployment, NetworkPolicy, Pod, ReplicaSet, Service, new_class

from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.naming import DASK_VERSION, KEPT
from daskjobs.errors import ClusterError, ConfigError

API_SECONDS = 10  # for each request to the API server
POLL_SECONDS = 0.5

DaskCluster = new_class("DaskCluster", DASK_VERSION, asyncio=False)
DaskWorkerGroup = new_class("DaskWorkerGroup", DASK_VERSION, asyncio=False)
Workflow = new_class("Workflow", "argoproj.io/v1alpha1", asyncio=False)
DASK_KINDS = (DaskCluster, DaskWorkerGroup)
KINDS = (*DASK_KINDS, Deployment, ReplicaSet, Service, Pod, NetworkPolicy)  # the Secret can't be listed: see secret.py


def open_api(settings: KubernetesSettings) -> kr8s.Api:
    """Return a client of the API server.

    Raises ConfigError when there is neither a kubeconfig nor a service account.
    """
    try:
        api = kr8s.api(namespace=settings.namespace or None)
    except ValueError as error:
        raise ConfigError(
            f"Kubernetes can't be reached from here: {error}; run this in a pod, or set KUBECONFIG to a working file"
        ) from error
    api.timeout = API_SECONDS
    return api


@contextmanager
def api_call(purpose: str) -> Iterator[None]:
    """Turn exceptions of the Kubernetes client in this block into one sentence, which names the ``purpose``.

    Raises ConfigError when Kubernetes refuses the request, ClusterError when it fails or doesn't answer.
    """
    try:
        yield
    except kr8s.ServerError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in {401, 403}:
            raise ConfigError(
                f"Kubernetes refused to {purpose}: {error}; apply k8s/, which grants the rights"
            ) from error
        if status == 404:
            raise ConfigError(f"Kubernetes can't {purpose}: {error}; is the Dask operator installed?") from error
        if status in {400, 422}:
            raise ConfigError(f"Kubernetes rejected the request to {purpose}: {error}") from error
        raise ClusterError(f"Kubernetes could not {purpose}: {error}") from error
    except (httpx.HTTPError, kr8s.APITimeoutError, kr8s.ConnectionClosedError, OSError) as error:
        raise ClusterError(f"the Kubernetes API did not answer when asked to {purpose}: {error}") from error


def own_pod(api: kr8s.Api, settings: KubernetesSettings) -> dict[str, Any]:
    """Return the spec of the pod that this process runs in. Raises ConfigError outside of one."""
    if not settings.pod:
        raise ConfigError(
            "--cluster kubernetes works in a pod that knows its own name by --pod or DASKJOBS_POD: see flows/"
        )
    with api_call(f"read the pod {settings.pod}"):
        pod: Any = next(iter(api.get(Pod, settings.pod, namespace=api.namespace)), None)
    if pod is None:
        raise ConfigError(f"there is no pod {settings.pod} in {api.namespace}: --pod must be this pod's name")
    return dict(pod.raw["spec"])


def list_objects(api: kr8s.Api, labels: dict[str, str], kinds: tuple[Any, ...] = KINDS) -> list[APIObject]:
    """Return all objects of these kinds that have these labels."""
    objects = list[Any]()
    with api_call("list the objects of a Dask cluster"):
        for kind in kinds:
            objects += api.get(kind, namespace=api.namespace, label_selector=labels)
    return objects


def owner_reference(owner: APIObject) -> dict[str, str]:
    """Return the ownerReference by which Kubernetes deletes an object with its owner."""
    return {"apiVersion": owner.version, "kind": owner.kind, "name": owner.name, "uid": str(owner.metadata["uid"])}


def age(existing: APIObject) -> float:
    """Return the seconds since an object was created."""
    created = datetime.fromisoformat(str(existing.metadata["creationTimestamp"]))
    return (datetime.now(UTC) - created).total_seconds()


def is_ending(existing: APIObject) -> bool:
    """Tell whether an object has been deleted and waits only for its finalizers."""
    return "deletionTimestamp" in existing.metadata


def is_kept(cluster: APIObject) -> bool:
    """Tell whether a cluster's work has failed and ``keep_on_failure`` keeps the cluster."""
    return KEPT in cluster.metadata.get("annotations", {})


def create_object(new: Any) -> ClusterError | None:
    """Create an object; return None, or Kubernetes' refusal if an object of its name exists already."""
    try:
        with api_call(f"create the {new.kind} {new.name}"):
            new.create()
    except ClusterError as error:
        cause = error.__cause__
        if isinstance(cause, kr8s.ServerError) and cause.response is not None and cause.response.status_code == 409:
            return error
        raise
    return None


def delete_object(existing: APIObject) -> None:
    """Ask for the deletion of this very object; it may be gone already, and another of the same name stays."""
    with api_call(f"delete {existing.kind} {existing.name}"):
        try:
            as_sync_func(_delete)(existing)
        except kr8s.ServerError as error:
            if error.response is None or error.response.status_code not in (404, 409):
                raise


async def _delete(existing: APIObject) -> None:
    """Delete an object only if it still has this uid, which kr8s' own method can't do."""
    condition = {"preconditions": {"uid": existing.metadata["uid"]}}
    path = f"{existing.endpoint}/{existing.name}"
    async with existing.api.call_api(
        "DELETE", version=existing.version, url=path, namespace=existing.namespace, content=json.dumps(condition)
    ):
        pass
