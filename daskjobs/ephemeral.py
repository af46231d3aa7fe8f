"""A Dask cluster on Kubernetes that lives as long as a `with`: ensure, ready, client, release."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import kr8s
from distributed import Client

from daskjobs import kubernetes, pods, removal, start
from daskjobs.clients import connected
from daskjobs.errors import ClusterError, DaskjobsError
from daskjobs.kubernetes import POLL_SECONDS, DaskCluster, DaskWorkerGroup
from daskjobs.lease import Check
from daskjobs.log import event
from daskjobs.resource import DASHBOARD_PORT, SCHEDULER_PORT, cluster_name, scheduler_host, selector
from daskjobs.settings import KUBERNETES, Settings
from daskjobs.workers import Asked, count

GATHER_SECONDS = 5  # for all workers to come once one has: a moment in which work is shared better
GROUP_SECONDS = 60  # the operator may fail to make the workers' group and not try again (dask-kubernetes#976)


@contextmanager
def ephemeral(settings: Settings, check: Check) -> Iterator[tuple[Client, dict[str, Any], Asked]]:
    """Give a client of the run's own Dask cluster, the facts for run.json, and whom to ask how a worker ended.

    The cluster is deleted at the end, unless ``check`` raises, as it does when the run has become another process's:
    then it may be that one's. With ``keep_cluster`` it stays until cleanup.
    Raises ClusterError, with Kubernetes' reason, when no worker comes.
    """
    api = kubernetes.connect(settings)
    settings = replace(settings, namespace=api.namespace)
    resource = start.rendered(api, settings)
    host, wanted = scheduler_host(settings), resource["spec"]["worker"]["replicas"]
    dashboard = f"http://{host}:{DASHBOARD_PORT}/status"
    started = time.monotonic()
    uid = ""
    try:
        how, uid = start.ensure(api, settings, resource)
        _await_scheduler(api, settings, host, resource)
        with connected(f"tcp://{host}:{SCHEDULER_PORT}", settings.start_timeout) as client:
            if not _come(client, 1, settings.worker_timeout):
                why = pods.trouble(api, settings)
                raise ClusterError(f"no Dask worker came within {settings.worker_timeout:.0f} s: {why}")
            _come(client, wanted, GATHER_SECONDS)
            objects = [removal.describe(found) for found in kubernetes.find(api, selector(settings))]
            facts: dict[str, Any] = {"cluster": KUBERNETES, "how": how, "dashboard": dashboard, "objects": objects}
            facts |= {"start_seconds": round(time.monotonic() - started, 3)}
            facts |= {"workers": count(client), "workers_wanted": wanted}
            yield client, facts, partial(pods.last_words, api, settings)
            with _by_the_way("count the workers", settings):
                facts |= _who_came(api, settings, client, wanted)
    finally:
        if not settings.keep_cluster:
            with _by_the_way("delete the Dask cluster", settings):
                check()
                release(api, settings, uid)


def release(api: kr8s.Api, settings: Settings, uid: str) -> None:
    """Ask for the deletion of the run's cluster of this uid, or of any where none is known; cleanup waits for it."""
    for found in kubernetes.find(api, selector(settings), (DaskCluster,)):
        if uid and found.metadata["uid"] != uid:
            continue
        kubernetes.delete(found)
        event("cluster.deleted", run=settings.run, object=f"{found.kind}/{found.name}")


@contextmanager
def _by_the_way(doing: str, settings: Settings) -> Iterator[None]:
    """Note a failure that must not hide how the work itself ended."""
    try:
        yield
    except DaskjobsError as error:
        event("cluster.failed", level=logging.WARNING, run=settings.run, doing=doing, error=error)


def _await_scheduler(api: kr8s.Api, settings: Settings, host: str, resource: dict[str, Any]) -> None:
    started = time.monotonic()
    group_made = False
    while not start.answers(host):
        waited = time.monotonic() - started
        if waited > settings.start_timeout:
            why = pods.trouble(api, settings)
            raise ClusterError(f"the Dask scheduler did not answer within {settings.start_timeout:.0f} s: {why}")
        if waited > GROUP_SECONDS and not group_made:
            group_made = _make_group(api, settings, resource)
        time.sleep(POLL_SECONDS)


def _come(client: Client, wanted: int, seconds: float) -> bool:
    """Wait until there are enough workers. Unlike Client.wait_for_workers, it outlives a dropped connection."""
    deadline = time.monotonic() + seconds
    while (come := count(client)) < wanted and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 2)
    return come >= wanted


def _who_came(api: kr8s.Api, settings: Settings, client: Client, wanted: int) -> dict[str, Any]:
    """Say how many workers there are at the end, and why fewer than wanted."""
    come = count(client)
    if come >= wanted:
        return {"workers": come}
    why = pods.trouble(api, settings)
    event("cluster.short", level=logging.WARNING, run=settings.run, workers=come, wanted=wanted, why=why)
    return {"workers": come, "why": why}


def _make_group(api: kr8s.Api, settings: Settings, resource: dict[str, Any]) -> bool:
    """Make the workers' group that the operator should have made, where it has not."""
    name = cluster_name(settings)
    if not kubernetes.find(api, selector(settings), (DaskWorkerGroup,)):
        metadata = {"name": f"{name}-default", "labels": resource["metadata"]["labels"]}
        body = {"apiVersion": DaskWorkerGroup.version, "kind": DaskWorkerGroup.kind, "metadata": metadata,
                "spec": {"cluster": name, "worker": resource["spec"]["worker"]}}  # fmt: skip
        with kubernetes.explained(f"create the DaskWorkerGroup {name}-default"):
            DaskWorkerGroup(body, api=api, namespace=api.namespace).create()
        event("cluster.group_made", run=settings.run, cluster=name)
    return True
