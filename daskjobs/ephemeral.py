"""A Dask cluster on Kubernetes that lives as long as a `with`: ensure, ready, client, release."""

import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import kr8s
from distributed import Client

from daskjobs import encryption, kubernetes
from daskjobs.errors import ClusterError
from daskjobs.kubernetes import POLL_SECONDS, DaskWorkerGroup
from daskjobs.log import event
from daskjobs.resource import DASHBOARD_PORT, SCHEDULER_PORT, cluster_name, render, scheduler_host
from daskjobs.settings import KUBERNETES, Settings

HEALTH_SECONDS = 2
GROUP_SECONDS = 60  # the operator may fail to make the workers' group and not try again (dask-kubernetes#976)


@contextmanager
def ephemeral(settings: Settings) -> Iterator[tuple[Client, dict[str, Any]]]:
    """Give a client of the run's own Dask cluster, and the facts for run.json; the cluster is deleted at the end.

    With ``keep_cluster`` it stays until cleanup. Raises ClusterError, with Kubernetes' reason, when no worker comes.
    """
    api = kubernetes.connect(settings)
    settings = replace(settings, namespace=api.namespace)
    resource = render(settings, kubernetes.own_pod(api, settings))
    host = scheduler_host(settings)
    dashboard = f"http://{host}:{DASHBOARD_PORT}/status"
    started = time.monotonic()
    try:
        security = encryption.security(api, settings)
        how = kubernetes.ensure(api, resource, settings, lambda: _answers(host))
        event("cluster.ensured", run=settings.run, cluster=cluster_name(settings), how=how)
        _await_scheduler(api, settings, host, resource)
        with Client(f"tls://{host}:{SCHEDULER_PORT}", security=security, timeout=settings.start_timeout) as client:
            facts = _await_workers(api, settings, client, resource["spec"]["worker"]["replicas"])
            objects = [kubernetes.describe(found) for found in kubernetes.find(api, settings)]
            took = {"start_seconds": round(time.monotonic() - started, 3)}
            yield client, {**facts, **took, "how": how, "dashboard": dashboard, "objects": objects}
    finally:
        if not settings.keep_cluster:
            release(api, settings)


def release(api: kr8s.Api, settings: Settings) -> None:
    """Ask for the deletion of the run's cluster; cleanup waits for it, and proves it."""
    for found in kubernetes.find(api, settings, kubernetes.ROOTS):
        kubernetes.delete(found)
        event("cluster.deleted", run=settings.run, object=f"{found.kind}/{found.name}")


def _answers(host: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{host}:{DASHBOARD_PORT}/health", timeout=HEALTH_SECONDS) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _await_scheduler(api: kr8s.Api, settings: Settings, host: str, resource: dict[str, Any]) -> None:
    started = time.monotonic()
    group_made = False
    while not _answers(host):
        waited = time.monotonic() - started
        if waited > settings.start_timeout:
            why = kubernetes.trouble(api, settings)
            raise ClusterError(f"the Dask scheduler did not answer within {settings.start_timeout:.0f} s: {why}")
        if waited > GROUP_SECONDS and not group_made:
            group_made = _make_group(api, settings, resource)
        time.sleep(POLL_SECONDS)


def _await_workers(api: kr8s.Api, settings: Settings, client: Client, wanted: int) -> dict[str, Any]:
    """Wait for all workers; go on with those that came in time, if there is one."""
    try:
        client.wait_for_workers(wanted, timeout=settings.worker_timeout)
    except TimeoutError as error:
        come = len(client.scheduler_info(n_workers=-1)["workers"])
        why = kubernetes.trouble(api, settings)
        if not come:
            raise ClusterError(f"no Dask worker came within {settings.worker_timeout:.0f} s: {why}") from error
        event("cluster.short", level=30, run=settings.run, workers=come, wanted=wanted, why=why)
        return {"cluster": KUBERNETES, "workers": come, "workers_wanted": wanted, "why": why}
    return {"cluster": KUBERNETES, "workers": wanted, "workers_wanted": wanted}


def _make_group(api: kr8s.Api, settings: Settings, resource: dict[str, Any]) -> bool:
    """Make the workers' group that the operator should have made, where it has not."""
    name = cluster_name(settings)
    if not kubernetes.find(api, settings, (DaskWorkerGroup,)):
        metadata = {"name": f"{name}-default", "labels": resource["metadata"]["labels"]}
        body = {"apiVersion": DaskWorkerGroup.version, "kind": DaskWorkerGroup.kind, "metadata": metadata,
                "spec": {"cluster": name, "worker": resource["spec"]["worker"]}}  # fmt: skip
        with kubernetes.explained(f"create the DaskWorkerGroup {name}-default"):
            DaskWorkerGroup(body, api=api, namespace=api.namespace).create()
        event("cluster.group_made", run=settings.run, cluster=name)
    return True
