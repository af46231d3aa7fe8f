"""A connection to a Dask cluster on Kubernetes that is created for it, and deleted at the end.

The rest of such a cluster's life is in `lifecycle`, which imports no Dask: `daskjobs cluster` needs none.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import kr8s
from distributed import Client

from daskjobs.cluster.clients import connected, count_workers
from daskjobs.cluster.connection import ClusterFacts, Connection, Requested, Workload
from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.admission import Admission
from daskjobs.cluster.kubernetes.api import POLL_SECONDS, DaskCluster, api_call, list_objects, open_api, own_pod
from daskjobs.cluster.kubernetes.diagnosis import cluster_end, how_worker_ended, last_logs, trouble
from daskjobs.cluster.kubernetes.growth import growing
from daskjobs.cluster.kubernetes.lifecycle import await_scheduler, ensure, release, too_late
from daskjobs.cluster.kubernetes.naming import DASHBOARD_PORT, KEPT, scheduler_address, scheduler_host, selector
from daskjobs.cluster.kubernetes.removal import object_name
from daskjobs.cluster.kubernetes.spec import render
from daskjobs.cluster.security import KeyPair
from daskjobs.cluster.versions import compare_versions
from daskjobs.errors import DaskjobsError
from daskjobs.events import event

GATHER_SECONDS = 5  # for the other workers to join after the first, so that work is shared better


@contextmanager
def ephemeral_cluster(
    settings: KubernetesSettings, workload: Workload, pairs: dict[str, KeyPair]
) -> Iterator[Connection]:
    """Give a connection to a Dask cluster that is created for it and deleted at the end; for ``pairs`` see `ensure`.

    The cluster is kept with ``keep_cluster``, with ``keep_on_failure`` when the work fails, and when the workload's
    check raises because another process has taken the cluster over. Raises ClusterError, with Kubernetes' reason, when
    no worker joins.
    """
    api = open_api(settings)
    settings = replace(settings, namespace=api.namespace)
    resource = render(settings, own_pod(api, settings), workload)
    wanted = resource["spec"]["worker"]["replicas"]
    started = time.monotonic()
    uid, keep = "", settings.keep_cluster
    try:
        ensured = ensure(api, settings, resource, pairs)
        uid = ensured.uid
        admission = Admission(api, settings, workload.tell)
        await_scheduler(api, settings, resource, admission)
        security = ensured.pair.security() if ensured.pair else None
        with connected(scheduler_address(settings), settings.start_timeout, security) as client:
            _await_workers(api, settings, client, wanted, admission)
            facts = ClusterFacts(
                cluster=settings.backend,
                workers=count_workers(client),
                dashboard=f"http://{scheduler_host(settings)}:{DASHBOARD_PORT}/status",
                how=ensured.how,
                workers_wanted=wanted,
                queue_seconds=round(admission.seconds, 3) if settings.queue else None,
                start_seconds=round(time.monotonic() - started - admission.seconds, 3),
                objects=ensured.secrets + [object_name(each) for each in list_objects(api, selector(settings))],
            )
            compare_versions(client)
            connection = Connection(
                settings,
                client,
                facts,
                Requested(wanted, settings.worker_cpu, settings.worker_memory),
                memory_advice=f"give each worker more memory with --worker-memory (now {settings.worker_memory})",
                how_worker_ended=partial(how_worker_ended, api, settings),
                how_cluster_ended=partial(cluster_end, api, settings, uid),
                last_logs=partial(last_logs, api, settings),
                kept=settings.keep_cluster,
            )
            with growing(api, settings, client, wanted):
                yield connection
            with _failure_noted("count the workers"):
                _note_workers(api, settings, client, facts)
    except Exception:
        keep = keep or settings.keep_on_failure
        if keep and not settings.keep_cluster:
            with _failure_noted("keep the Dask cluster"):
                _mark_kept(api, settings)
        raise
    finally:
        if not keep:
            with _failure_noted("delete the Dask cluster"):
                workload.check()
                release(api, settings, uid)


def _await_workers(
    api: kr8s.Api, settings: KubernetesSettings, client: Client, wanted: int, admission: Admission
) -> None:
    """Wait until one worker has come, and then a moment for the others.

    Unlike Client.wait_for_workers, it survives a dropped connection. Raises ClusterError, with Kubernetes' reason, when
    none joins within the worker timeout.
    """
    for waited in admission.waits("worker"):
        if count_workers(client):
            break
        if waited > settings.worker_timeout:
            said = f"no Dask worker came within {settings.worker_timeout:.0f} s"
            raise too_late(api, settings, said, "give each worker more memory with --worker-memory")
    end = time.monotonic() + GATHER_SECONDS
    while count_workers(client) < wanted and time.monotonic() < end:
        time.sleep(POLL_SECONDS / 2)


def _note_workers(api: kr8s.Api, settings: KubernetesSettings, client: Client, facts: ClusterFacts) -> None:
    """Note in the facts how many workers there are at the end, and why there are fewer than wanted."""
    if client.status != "running":
        return  # the scheduler doesn't answer, perhaps because of the work itself
    facts.workers = count_workers(client)
    if facts.workers < (facts.workers_wanted or 0):
        facts.why = trouble(api, settings)
        event("cluster.short", level=logging.WARNING, workers=facts.workers, wanted=facts.workers_wanted, why=facts.why)


def _mark_kept(api: kr8s.Api, settings: KubernetesSettings) -> None:
    """Mark the cluster as kept after a failure, until its idleTimeout or deadline."""
    for cluster in list_objects(api, selector(settings), (DaskCluster,)):
        with api_call(f"mark the DaskCluster {cluster.name} as kept"):
            cluster.patch({"metadata": {"annotations": {KEPT: "true"}}})
        event("cluster.kept", cluster=cluster.name, idle_seconds=cluster.spec.get("idleTimeout"))


@contextmanager
def _failure_noted(doing: str) -> Iterator[None]:
    """Log an exception of this block instead of raising it, since it must not hide how the work itself ended."""
    try:
        yield
    except DaskjobsError as error:
        event("cluster.failed", level=logging.WARNING, doing=doing, error=error)
