"""The lifecycle of a Dask cluster on Kubernetes: ensure, wait until the scheduler is ready, release.

It imports no Dask, since `daskjobs cluster` only asks for a cluster; `ephemeral` connects to it.
"""

import copy
import time
import urllib.request
from dataclasses import dataclass, replace
from typing import Any

import kr8s

from daskjobs.cluster.connection import Workload
from daskjobs.cluster.kubernetes import TLS, KubernetesSettings
from daskjobs.cluster.kubernetes.admission import Admission
from daskjobs.cluster.kubernetes.api import (
    POLL_SECONDS,
    DaskCluster,
    DaskWorkerGroup,
    age,
    api_call,
    create_object,
    delete_object,
    is_ending,
    list_objects,
    open_api,
    own_pod,
)
from daskjobs.cluster.kubernetes.diagnosis import OOM, trouble
from daskjobs.cluster.kubernetes.naming import (
    CERTIFICATE,
    DASHBOARD_PORT,
    DEADLINE,
    HASH,
    KEPT,
    cluster_name,
    scheduler_host,
    selector,
)
from daskjobs.cluster.kubernetes.network import ensure_policy
from daskjobs.cluster.kubernetes.removal import object_name
from daskjobs.cluster.kubernetes.secret import create_secret, mounted_pair
from daskjobs.cluster.kubernetes.spec import deadline, lifetime, render
from daskjobs.cluster.removed import ObjectName
from daskjobs.cluster.security import KeyPair, new_key_pair
from daskjobs.errors import ClusterError, ConfigError, DaskjobsError
from daskjobs.events import event

HEALTH_SECONDS = 2
GROUP_SECONDS = 60  # the operator may fail to create the worker group and not try again (dask-kubernetes#976)


def start_ahead(
    settings: KubernetesSettings, workload: Workload, pairs: dict[str, KeyPair]
) -> tuple[str, list[ObjectName]]:
    """Ensure the cluster without waiting until it is ready; return "created" or "reused", and its objects so far."""
    api = open_api(settings)
    settings = replace(settings, namespace=api.namespace)
    ensured = ensure(api, settings, render(settings, own_pod(api, settings), workload), pairs)
    return ensured.how, ensured.secrets + [object_name(each) for each in list_objects(api, selector(settings))]


@dataclass(frozen=True)
class Ensured:
    """A DaskCluster that exists: "created" or "reused", its uid, its key pair, if any, and the Secrets made for it."""

    how: str
    uid: str
    pair: KeyPair | None
    secrets: list[ObjectName]


def ensure(api: kr8s.Api, settings: KubernetesSettings, resource: dict[str, Any], pairs: dict[str, KeyPair]) -> Ensured:
    """Create the DaskCluster, its network policy and the Secret of its key pair unless they exist. Safe to repeat.

    A cluster of the same name and spec, whose key pair this process has, is reused when its scheduler is healthy, or
    when it is younger than the timeouts of queue and start, since it may still be starting; its certificate must be
    valid until its new deadline. Any other cluster of the name is deleted first. Raises ClusterError when it is not
    gone within the delete timeout.

    ``pairs`` are the key pairs of the clusters that this process created, by name, to which a new one is added: the
    pod's own files have only that of a cluster which is older than the pod.
    """
    patience = time.monotonic() + settings.delete_timeout
    secure = settings.security == TLS
    pair = new_key_pair(lifetime(settings)) if secure else None
    known = (pairs.get(cluster_name(settings)) or mounted_pair()) if secure else None
    lasts = known is None or known.seconds_left() > lifetime(settings)
    resource = copy.deepcopy(resource)
    if pair:
        resource["metadata"]["annotations"][CERTIFICATE] = pair.fingerprint
    while True:
        wanted = DaskCluster(copy.deepcopy(resource), api=api, namespace=api.namespace)
        if create_object(wanted) is None:
            event("cluster.ensured", cluster=wanted.name, how="created")
            ensure_policy(api, wanted)
            secrets = []
            if pair:
                secrets.append(create_secret(api, wanted, pair, settings.delete_timeout))
                pairs[wanted.name] = pair
            return Ensured("created", str(wanted.metadata["uid"]), pair, secrets)
        existing = next(iter(list_objects(api, selector(settings), (DaskCluster,))), None)
        if existing is not None and not is_ending(existing):
            annotations = existing.metadata.get("annotations", {})
            same = annotations.get(HASH) == resource["metadata"]["annotations"][HASH] and annotations.get(
                CERTIFICATE
            ) == (known and known.fingerprint)
            young = age(existing) < settings.longest_queue + settings.start_timeout
            if same and lasts and (young or is_healthy(scheduler_host(settings))):
                with api_call(f"set the deadline of the DaskCluster {wanted.name}"):
                    existing.patch({"metadata": {"annotations": {DEADLINE: deadline(settings), KEPT: None}}})
                event("cluster.ensured", cluster=wanted.name, how="reused")
                ensure_policy(api, existing)
                return Ensured("reused", str(existing.metadata["uid"]), known, [])
            event("cluster.replaced", cluster=wanted.name)
            delete_object(existing)
        if time.monotonic() > patience:
            raise ClusterError(
                f"the DaskCluster {wanted.name} is still there {settings.delete_timeout:.0f} s after it was deleted: "
                "is the Dask operator running? its finalizer holds the object until it is"
            )
        time.sleep(POLL_SECONDS)


def is_healthy(host: str) -> bool:
    """Tell whether the scheduler on this host reports that it is healthy."""
    try:
        with urllib.request.urlopen(f"http://{host}:{DASHBOARD_PORT}/health", timeout=HEALTH_SECONDS) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def await_scheduler(
    api: kr8s.Api, settings: KubernetesSettings, resource: dict[str, Any], admission: Admission
) -> None:
    """Wait until the scheduler is healthy.

    Raises ClusterError, with Kubernetes' reason, when that takes longer than the start timeout.
    """
    host = scheduler_host(settings)
    group_made = False
    for waited in admission.waits("scheduler"):
        if is_healthy(host):
            return
        if waited > settings.start_timeout:
            said = f"the Dask scheduler did not answer within {settings.start_timeout:.0f} s"
            raise too_late(api, settings, said, "give it more memory with --scheduler-memory")
        if waited > GROUP_SECONDS and not group_made:
            make_group(api, settings, resource)
            group_made = True


def too_late(api: kr8s.Api, settings: KubernetesSettings, said: str, remedy: str) -> DaskjobsError:
    """Return the error of a component that has not come in time, with Kubernetes' reason."""
    why = trouble(api, settings)
    return ConfigError(f"{said}: {why}; {remedy}") if OOM in why else ClusterError(f"{said}: {why}")


def make_group(api: kr8s.Api, settings: KubernetesSettings, resource: dict[str, Any]) -> None:
    """Create the DaskWorkerGroup if the operator has failed to."""
    if list_objects(api, selector(settings), (DaskWorkerGroup,)):
        return
    name = cluster_name(settings)
    group = {
        "apiVersion": DaskWorkerGroup.version,
        "kind": DaskWorkerGroup.kind,
        "metadata": {"name": f"{name}-default", "labels": resource["metadata"]["labels"]},
        "spec": {"cluster": name, "worker": resource["spec"]["worker"]},
    }
    with api_call(f"create the DaskWorkerGroup {name}-default"):
        DaskWorkerGroup(group, api=api, namespace=api.namespace).create()
    event("cluster.group_made", cluster=name)


def release(api: kr8s.Api, settings: KubernetesSettings, uid: str) -> None:
    """Ask for the deletion of the cluster of this uid or, without a uid, of its name; don't wait."""
    for cluster in list_objects(api, selector(settings), (DaskCluster,)):
        if uid and cluster.metadata["uid"] != uid:
            continue
        delete_object(cluster)
        event("cluster.deleted", object=f"{cluster.kind}/{cluster.name}")
