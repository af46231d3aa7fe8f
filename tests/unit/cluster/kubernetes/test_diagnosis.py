import logging
import os
import signal

import kr8s
import pytest
from distributed import Client, LocalCluster

from conftest import until
from daskjobs.cluster.connection import End
from daskjobs.cluster.kubernetes import KubernetesSettings, diagnosis
from daskjobs.cluster.kubernetes.diagnosis import cluster_end, how_worker_ended, trouble, worker_end
from daskjobs.cluster.kubernetes.naming import selector
from kubeapi import KubeApi, Object


def test_worker_ran_out_of_memory_when_the_kernel_was_quicker_than_its_nanny(caplog: pytest.LogCaptureFixture) -> None:
    """The words are Dask's own: a worker process killed as the kernel does it, while its nanny and container live."""
    nanny = logging.getLogger("distributed.nanny")
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=False) as cluster,
        Client(cluster),
    ):
        nanny.addHandler(caplog.handler)
        try:
            os.kill(cluster.workers[0].process.pid, signal.SIGKILL)
            until(lambda: "killed by" in caplog.text, "the nanny's word of it")
        finally:
            nanny.removeHandler(caplog.handler)
    end = worker_end("worker-1", [], caplog.messages)
    assert end.out_of_memory
    assert "was killed by signal 9 (it ran out of memory)" in end.text


@pytest.mark.parametrize(
    ("reasons", "lines", "memory"),
    [
        (["OOMKilled, exit code 137"], [], True),
        ([], ["distributed.nanny.memory - WARNING - Worker (pid=32) exceeded 95% memory budget. Restarting..."], True),
        ([], ["distributed.nanny - INFO - Worker process 32 was killed by signal 11"], False),
        (["Error, exit code 1"], ["distributed.worker - INFO - Stopping worker"], False),
        ([], [], False),
    ],
)
def test_end_is_for_want_of_memory_only_when_container_or_log_say_so(
    reasons: list[str], lines: list[str], memory: bool
) -> None:
    end = worker_end("worker-1", reasons, lines)
    assert end.out_of_memory is memory
    assert ("ran out of memory" in end.text) is memory
    assert all(said in end.text for said in reasons + lines)


def add_worker(kube: KubeApi, settings: KubernetesSettings, pod: str, worker: str, status: Object) -> None:
    container = {"name": "worker", "env": [{"name": "DASK_WORKER_NAME", "value": worker}]}
    kube.add("Pod", pod, selector(settings), spec={"containers": [container]}, status=status)


def test_pod_of_a_worker_is_found_when_kubernetes_cut_its_name(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings
) -> None:
    """As it does in each workflow: a uid and what the operator adds have more than the 58 characters that it keeps."""
    name = f"dv-{'4f002343-c29a-4fdd-ac11-b9dabe4d4980'}-default-worker-"
    add_worker(kube, settings, f"{name[:58]}q7xwz", f"{name}bff264a1c0", {"phase": "Running"})
    add_worker(kube, settings, f"{name[:58]}a1b2c", f"{name}0000000000", {"phase": "Running"})
    kube.logs |= {f"{name[:58]}q7xwz": "its last words", f"{name[:58]}a1b2c": "another's words"}
    assert how_worker_ended(api, settings, f"{name}bff264a1c0").text.endswith(": its last words")
    assert "is gone" in how_worker_ended(api, settings, f"{name}1111111111").text


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            'Usage of EmptyDir volume "tmp" exceeds the limit "1Gi". ',
            'Usage of EmptyDir volume "tmp" exceeds the limit "1Gi". (--worker-disk is 1Gi)',
        ),
        ("The node was low on resource: memory. ", "The node was low on resource: memory."),
    ],
)
def test_evicted_worker_has_kubernetes_words_and_the_option_that_gives_more_disk(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, message: str, said: str
) -> None:
    """Its Deployment has made another pod by then, whose log says nothing of it."""
    evicted = {"phase": "Failed", "reason": "Evicted", "message": message}
    add_worker(kube, settings, "dv-w-a", "dv-w-worker-1", evicted)
    add_worker(kube, settings, "dv-w-b", "dv-w-worker-1", {"phase": "Running"})
    end = how_worker_ended(api, settings, "dv-w-worker-1")
    assert end.text == f"dv-w-a: Evicted: {said}"
    assert not end.out_of_memory


PREEMPTED = {"type": "DisruptionTarget", "reason": "PreemptionByScheduler", "message": "preempting to accommodate"}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"conditions": [{**PREEMPTED, "status": "True"}]}, "PreemptionByScheduler: preempting to accommodate"),
        ({"conditions": [{**PREEMPTED, "status": "False"}]}, "last words"),
        ({}, "last words"),
    ],
)
def test_end_names_who_took_the_workers_pod_away(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, status: Object, said: str
) -> None:
    """Its Deployment has started another pod by then."""
    add_worker(kube, settings, "worker-1-a", "worker-1", {"phase": "Failed", **status})
    add_worker(kube, settings, "worker-1-b", "worker-1", {"phase": "Running"})
    kube.logs["worker-1-b"] = "last words"
    assert said in how_worker_ended(api, settings, "worker-1").text


QUOTA = "is forbidden: exceeded quota: team, requested: pods=1, used: pods=2, limited: pods=2"


def add_event(kube: KubeApi, of: Object, message: str, kind: str = "Warning") -> None:
    involved = {"kind": of["kind"], "name": of["metadata"]["name"]}
    kube.add("Event", f"event-{len(kube.objects)}", involvedObject=involved, type=kind, message=message)


@pytest.mark.parametrize("scheduler", [True, False])
def test_quota_is_told_by_kubernetes_words_also_when_other_pods_are_ready(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, scheduler: bool
) -> None:
    """A refused pod isn't there: its ReplicaSet has the event."""
    labels = selector(settings)
    if scheduler:
        kube.add("Pod", "sched", labels, status={"conditions": [{"type": "Ready", "status": "True"}]})
    for name in ("w1", "w2"):
        made = kube.add("ReplicaSet", name, labels, spec={"replicas": 1}, status={"replicas": 0})
        add_event(kube, made, f'Error creating: pods "{name}-x7k2p" {QUOTA}')
    there = kube.add("ReplicaSet", "w3", labels, spec={"replicas": 1}, status={"replicas": 1})
    add_event(kube, there, "an old one")
    another = kube.add("ReplicaSet", "theirs", {}, spec={"replicas": 1}, status={})
    add_event(kube, another, "of another cluster")
    assert trouble(api, settings) == f"w1 and 1 more: Error creating: {QUOTA.removeprefix('is ')}"


def test_what_the_operator_says_of_a_cluster_is_told(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings
) -> None:
    made = kube.add("DaskCluster", "dv-w", selector(settings))
    add_event(kube, made, "Creation is processed", "Normal")
    assert "the Dask operator has made no pod for it" in trouble(api, settings)
    add_event(kube, made, 'deployments.apps "dv-w" is forbidden', "Error")
    assert trouble(api, settings) == 'dv-w: deployments.apps "dv-w" is forbidden'


def ended(reason: str, code: int) -> Object:
    return {"containerStatuses": [{"lastState": {"terminated": {"reason": reason, "exitCode": code}}}]}


def test_end_of_a_cluster_is_its_own_idle_timeout_or_its_schedulers_memory(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "END_SECONDS", 0.05)
    gone = cluster_end(api, settings, "uid-of-one-that-was")
    assert "deleted, as it is after 450 s without a task" in gone.text
    assert "raise --idle-timeout (now 300)" in gone.text
    made = kube.add("DaskCluster", "dv-w", selector(settings))
    assert cluster_end(api, settings, made["metadata"]["uid"]) == End()  # nothing is known
    labels = {**selector(settings), "dask.org/component": "scheduler"}
    kube.add("Pod", "sched", labels, status=ended("Error", 1))
    assert cluster_end(api, settings, made["metadata"]["uid"]) == End("its scheduler ended (sched: Error, exit code 1)")
    kube.add("Pod", "sched", labels, status=ended("OOMKilled", 137))
    end = cluster_end(api, settings, made["metadata"]["uid"])
    assert end.out_of_memory
    assert "(sched: OOMKilled, exit code 137); give it more with --scheduler-memory (now 512Mi)" in end.text
