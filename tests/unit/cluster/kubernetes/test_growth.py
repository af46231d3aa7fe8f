"""Workers that are added while tasks wait; see kubeapi.py for the API server. The scheduler is a real one."""

import time
from dataclasses import replace

import kr8s
import pytest
from distributed import Client, LocalCluster

from conftest import until
from daskjobs.cluster.kubernetes import KubernetesSettings, growth
from daskjobs.cluster.kubernetes.growth import growing
from daskjobs.cluster.kubernetes.naming import PART_OF, selector
from kubeapi import KubeApi

ACCOUNT = "daskjobs-cluster"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "LOOK_SECONDS", 0.05)


def replicas(kube: KubeApi) -> int:
    return int(kube.get("DaskWorkerGroup", "dv-w-default")["spec"]["worker"]["replicas"])


def test_workers_are_added_up_to_the_most_while_tasks_wait_and_none_is_taken_away(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings
) -> None:
    kube.add("DaskWorkerGroup", "dv-w-default", {**PART_OF, **selector(settings)}, spec={"worker": {"replicas": 2}})
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        with growing(api, replace(settings, max_workers=4), client, 2):
            time.sleep(0.3)
            assert replicas(kube) == 2  # nothing waits
            futures = client.map(time.sleep, [0.2] * 200, pure=False)
            until(lambda: replicas(kube) == 4, "four workers")
            client.cancel(futures)
            time.sleep(0.3)
            assert replicas(kube) == 4
        changes = len(kube.calls)
        futures = client.map(time.sleep, [0.2] * 200, pure=False)
        time.sleep(0.3)
        assert len(kube.calls) == changes  # the block has ended


def test_failure_to_add_workers_ends_nothing(kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings) -> None:
    kube.add("DaskWorkerGroup", "dv-w-default", {**PART_OF, **selector(settings)}, spec={"worker": {"replicas": 2}})
    kube.refused.add("patch daskworkergroups")
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
        growing(api, replace(settings, max_workers=4), client, 2),
    ):
        futures = client.map(time.sleep, [0.2] * 200, pure=False)
        until(lambda: "patch daskworkergroups" in str(kube.calls), "a refusal")
        assert client.submit(lambda: 7, priority=10).result(timeout=10) == 7
        del futures
    assert replicas(kube) == 2
