import logging
import os
import signal

import kr8s
import pytest
from distributed import Client, LocalCluster

from conftest import until
from daskjobs.cluster.kubernetes.diagnosis import how_worker_ended, worker_end
from daskjobs.cluster.kubernetes.naming import selector
from daskjobs.cluster.settings import ClusterSettings
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


def add_worker(kube: KubeApi, settings: ClusterSettings, pod: str, worker: str, status: Object) -> None:
    container = {"name": "worker", "env": [{"name": "DASK_WORKER_NAME", "value": worker}]}
    kube.add("Pod", pod, selector(settings), spec={"containers": [container]}, status=status)


def test_pod_of_a_worker_is_found_when_kubernetes_cut_its_name(
    kube: KubeApi, api: kr8s.Api, settings: ClusterSettings
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
    kube: KubeApi, api: kr8s.Api, settings: ClusterSettings, message: str, said: str
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
    kube: KubeApi, api: kr8s.Api, settings: ClusterSettings, status: Object, said: str
) -> None:
    """Its Deployment has started another pod by then."""
    add_worker(kube, settings, "worker-1-a", "worker-1", {"phase": "Failed", **status})
    add_worker(kube, settings, "worker-1-b", "worker-1", {"phase": "Running"})
    kube.logs["worker-1-b"] = "last words"
    assert said in how_worker_ended(api, settings, "worker-1").text
