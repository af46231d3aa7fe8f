"""A look at a live run's Dask cluster on Kubernetes, from any machine with a kubeconfig; nothing there is changed."""

import asyncio
import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any

import kr8s
from dask_kubernetes.operator import KubeCluster
from distributed import Client
from distributed.versions import VersionMismatchWarning
from kr8s.objects import APIObject
from tornado.ioloop import IOLoop

from daskjobs.errors import ClusterError, ConfigError
from daskjobs.janitor import Workflow
from daskjobs.kubernetes import POLL_SECONDS, DaskCluster, connect, explained, find
from daskjobs.resource import PART_OF, RUN_LABEL
from daskjobs.settings import Settings
from daskjobs.workers import ANSWER_SECONDS, PROGRESS

LOOK_SECONDS = 1


def watch(settings: Settings) -> Iterator[str]:
    """Forward the ports of a workflow's Dask cluster to this machine, and yield lines for people until it is gone.

    The first line is the dashboard's address. Raises ConfigError when the workflow is not there or over, ClusterError
    when its cluster does not come within the start timeout, or doesn't answer.
    """
    api = connect(settings)
    cluster = _cluster(api, settings)
    with asyncio.Runner() as runner:
        viewer = _Viewer(runner, cluster, settings.start_timeout)
        try:
            yield f"dashboard  {viewer.link}"
            while _there(api, cluster):
                yield from viewer.news()
                time.sleep(LOOK_SECONDS)
        finally:
            viewer.close()
    yield "the Dask cluster has been removed: validate has ended"


def _cluster(api: kr8s.Api, settings: Settings) -> APIObject:
    """Wait for the Dask cluster of a workflow, as long as that may have one still."""
    deadline = time.monotonic() + settings.start_timeout
    while time.monotonic() < deadline:
        uid = _live(api, settings)
        for found in find(api, {**PART_OF, RUN_LABEL: uid}, (DaskCluster,)):
            if "deletionTimestamp" not in found.metadata:
                return found
        time.sleep(POLL_SECONDS)
    raise ClusterError(
        f"the workflow {settings.workflow} has no Dask cluster within {settings.start_timeout:.0f} s: it comes with "
        "the task cluster, and is gone when validate has ended"
    )


def _live(api: kr8s.Api, settings: Settings) -> str:
    """Return the uid of a workflow that has not ended."""
    with explained(f"look for the workflow {settings.workflow}"):
        found: Any = next(iter(api.get(Workflow, settings.workflow, namespace=api.namespace)), None)
    if found is None:
        raise ConfigError(f"there is no workflow {settings.workflow} in {api.namespace}: `argo list -n …` names them")
    status = found.raw.get("status", {})
    if status.get("finishedAt"):
        raise ConfigError(
            f"the workflow {settings.workflow} has {status['phase'].lower()}, and its Dask cluster is gone; the "
            "artifact performance of its task validate has the dashboard's pages"
        )
    return str(found.metadata["uid"])


def _there(api: kr8s.Api, cluster: APIObject) -> bool:
    found = find(api, dict(cluster.labels), (DaskCluster,))
    return any(each.metadata["uid"] == cluster.metadata["uid"] for each in found) and all(
        "deletionTimestamp" not in each.metadata for each in found
    )


class _Viewer:
    """A client that submits nothing, by dask-kubernetes, whose end leaves the cluster as it is."""

    def __init__(self, runner: asyncio.Runner, cluster: APIObject, seconds: float) -> None:
        self._runner, self._seen = runner, 0.0
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # the cluster's end is no failure here
        warnings.simplefilter("ignore", VersionMismatchWarning)  # no task goes from here to there
        try:
            runner.run(asyncio.wait_for(self._open(cluster), seconds))
        except (OSError, kr8s.NotFoundError) as error:
            raise ClusterError(
                f"the Dask cluster {cluster.name} does not answer: {error or 'no connection'}"
            ) from error

    async def _open(self, cluster: APIObject) -> None:
        self._cluster = await KubeCluster.from_name(
            cluster.name,
            namespace=cluster.namespace,
            shutdown_on_close=False,
            port_forward_cluster_ip=True,
            quiet=True,
            asynchronous=True,
            loop=IOLoop.current(),  # or it would start a second time, and warn
        )
        self._client = await Client(self._cluster, asynchronous=True, timeout=ANSWER_SECONDS)
        self.link = self._cluster.dashboard_link

    def news(self) -> Iterator[str]:
        """Yield what was announced since the last time; nothing from a scheduler that doesn't answer any more."""
        try:
            events = self._runner.run(asyncio.wait_for(self._client.get_events(PROGRESS), ANSWER_SECONDS))
        except OSError:
            return
        for when, what in events:
            if when > self._seen:
                self._seen = when
                yield str(what)

    def close(self) -> None:
        """Leave."""
        self._runner.run(self._leave())

    async def _leave(self) -> None:
        for each in (self._client, self._cluster):
            try:
                await asyncio.wait_for(each.close(), ANSWER_SECONDS)
            except OSError:
                continue
