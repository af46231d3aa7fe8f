"""Whose dashboard is shown, and when there is none; e2e/test_dashboard.py shows one. See kubeapi.py for the server."""

from urllib.request import HTTPCookieProcessor, build_opener

import kr8s
import pytest
from distributed import LocalCluster

from conftest import listening
from daskjobs.cluster.kubernetes.dashboard import await_cluster, is_there, watch
from daskjobs.cluster.kubernetes.naming import CLUSTER_LABEL, PART_OF, RUN_LABEL
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import ClusterError, ConfigError
from kubeapi import KubeApi, Object


def labels(run: str) -> dict[str, str]:
    return {**PART_OF, RUN_LABEL: run, CLUSTER_LABEL: f"dv-{run}"}


def test_workflow_that_is_not_there_is_a_sentence(kube: KubeApi, settings: ClusterSettings) -> None:
    with pytest.raises(ConfigError, match=f"there is no workflow flow in {kube.namespace}: `argo list"):
        next(watch(settings))


def test_workflow_that_is_over_is_a_sentence_that_names_the_pages(kube: KubeApi, settings: ClusterSettings) -> None:
    kube.add("Workflow", "flow", status={"phase": "Failed", "finishedAt": "2026-01-01T00:00:00Z"})
    with pytest.raises(ConfigError, match="flow has failed, and its Dask cluster is gone; the artifact performance"):
        next(watch(settings))


def test_cluster_of_the_workflow_is_waited_for_and_no_other_is_taken(
    kube: KubeApi, api: kr8s.Api, settings: ClusterSettings
) -> None:
    uid = kube.add("Workflow", "flow", status={"phase": "Running"})["metadata"]["uid"]
    kube.add("DaskCluster", "dv-other", labels("other"))
    kube.add("DaskCluster", "dv-ending", labels(uid), metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    made: list[Object] = []

    def make_at_the_second_look(plural: str) -> None:
        if plural == "daskclusters":
            made.append(kube.add("DaskCluster", "dv-mine", labels(uid)) if made else {})

    kube.before_list = make_at_the_second_look
    cluster = await_cluster(api, settings)
    assert cluster.name == "dv-mine"
    assert len(made) == 2


def test_cluster_that_does_not_come_is_a_sentence(kube: KubeApi, api: kr8s.Api, settings: ClusterSettings) -> None:
    kube.add("Workflow", "flow", status={"phase": "Running"})
    object.__setattr__(settings, "start_timeout", 0.05)
    with pytest.raises(ClusterError, match="the workflow flow has no Dask cluster within 0 s: it has not started one"):
        await_cluster(api, settings)


def test_end_of_the_cluster_is_seen_when_it_is_gone_ending_or_replaced(
    kube: KubeApi, api: kr8s.Api, settings: ClusterSettings
) -> None:
    uid = kube.add("Workflow", "flow", status={"phase": "Running"})["metadata"]["uid"]
    raw = kube.add("DaskCluster", "dv-mine", labels(uid))
    cluster = await_cluster(api, settings)
    assert is_there(api, cluster)
    raw["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not is_there(api, cluster)
    kube.finalize()
    assert not is_there(api, cluster)
    kube.add("DaskCluster", "dv-mine", labels(uid))
    assert not is_there(api, cluster)


def test_dashboard_is_shown_until_its_cluster_is_gone_by_a_link_alone(kube: KubeApi, settings: ClusterSettings) -> None:
    """A cluster without TLS has no port forwarded: whoever reached it could run code in the cluster."""
    uid = kube.add("Workflow", "flow", status={"phase": "Running"})["metadata"]["uid"]
    raw = kube.add("DaskCluster", "dv-mine", labels(uid))
    options = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0", "processes": False}
    with LocalCluster(n_workers=0, **options) as pod:
        kube.serve("dv-mine-scheduler", 8787, pod.scheduler.http_server.port)
        before = listening()
        lines = watch(settings)
        link = next(lines).removeprefix("dashboard  ")
        assert len(listening() - before) == 1
        with build_opener(HTTPCookieProcessor()).open(link, timeout=20) as answer:
            assert "Dask Diagnostic UI" in answer.read().decode()
        raw["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        assert list(lines) == ["the Dask cluster has been removed: its work is over"]
        assert listening() <= before


def test_scheduler_that_does_not_answer_is_a_sentence(kube: KubeApi, settings: ClusterSettings) -> None:
    uid = kube.add("Workflow", "flow", status={"phase": "Running"})["metadata"]["uid"]
    kube.add("DaskCluster", "dv-mine", labels(uid))
    object.__setattr__(settings, "start_timeout", 0.5)
    with pytest.raises(ClusterError, match="the Dask cluster dv-mine does not answer within 0.5 s"):
        next(watch(settings))
    kube.serve("dv-mine-scheduler", 8787, 1)
    with pytest.raises(ClusterError, match="the Dask cluster dv-mine does not answer within 0.5 s"):
        next(watch(settings))
