"""What `daskjobs doctor --network` says; see kubeapi.py for the API server. A network that enforces is played here."""

import json
from typing import Any

import pytest

from daskjobs.cluster.findings import Finding
from daskjobs.cluster.kubernetes import KubernetesSettings, reach
from daskjobs.cluster.kubernetes.reach import STORAGE, examine_network
from kubeapi import KubeApi, Object
from policies import Pod, allowed

API_SERVER = "kubernetes.default.svc:443"


def play(
    kube: KubeApi, *, enforces: tuple[str, ...], api_server: str = "", storage: str = "", to_storage: str = ""
) -> None:
    """Let each pod say what it reaches in a network that enforces policies of these types."""
    pods = dict[str, Pod]()

    def start(made: Object) -> None:
        if made["kind"] != "Pod":
            return
        name = made["metadata"]["name"]
        pod = Pod(kube.namespace, made["metadata"]["labels"], f"10.244.0.{len(pods) + 1}")
        pods[f"{pod.address}:8786"] = pod
        made["status"] = {"phase": "Running", "podIP": pod.address}
        _, _, _, port, *targets = made["spec"]["containers"][0]["command"]
        assert port == "8786"
        policies = [kube.get("NetworkPolicy", each) for each in kube.names("NetworkPolicy")]
        policies = [{**each, "spec": {**each["spec"], "policyTypes": list(enforces)}} for each in policies]
        said = dict[str, str]()
        for target in (each[1:] for each in targets):
            if target == API_SERVER:
                said[target] = api_server
            elif target == STORAGE:
                said |= {storage: to_storage} if storage else {}
            else:
                said[target] = "" if not enforces or allowed(policies, pod, pods[target], 8786) else "timed out"
        kube.logs[name] = f"a warning of Python's\n{json.dumps(said)}\n"

    kube.on_create = start


def found(settings: KubernetesSettings) -> list[Finding]:
    return list(examine_network(settings, "daskjobs:dev"))


def test_all_is_good_where_the_network_enforces_policies(kube: KubeApi, settings: KubernetesSettings) -> None:
    play(kube, enforces=("Ingress", "Egress"))
    assert found(settings) == [
        Finding(True, "network: a stage reaches the scheduler of its run"),
        Finding(True, "network: a stage reaches kubernetes.default.svc:443, as Argo must in each pod"),
        Finding(True, "network: policies are enforced, for ingress and egress"),
    ]


@pytest.mark.parametrize(
    ("enforces", "said"),
    [
        (
            (),
            "NetworkPolicies: a pod of no run reached a run's scheduler and a stage reached a pod that isn't of "
            "its run",
        ),
        (("Ingress",), "all NetworkPolicies: a stage reached a pod that isn't of its run"),
        (("Egress",), "all NetworkPolicies: a pod of no run reached a run's scheduler"),
    ],
)
def test_what_the_network_does_not_enforce_is_told_with_a_remedy(
    kube: KubeApi, settings: KubernetesSettings, enforces: tuple[str, ...], said: str
) -> None:
    play(kube, enforces=enforces)
    *good, last = found(settings)
    assert all(finding.good for finding in good)
    assert last == Finding(
        False,
        f"the network of this cluster doesn't enforce {said}; install Calico or Cilium, or what your cloud has for "
        "network policies",
    )


def test_api_server_that_policies_keep_away_is_told_with_the_reason(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    play(kube, enforces=("Ingress", "Egress"), api_server="timed out")
    bad = [finding.what for finding in found(settings) if not finding.good]
    assert len(bad) == 1
    assert bad[0].startswith(
        f"network: a stage can't reach {API_SERVER}, as Argo must in each pod: timed out; apply k8s/"
    )


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("", "network: a stage reaches the storage, http://minio:9000"),
        (
            "timed out",
            "network: a stage can't reach the storage, http://minio:9000: timed out; add a policy that allows it: "
            "docs/kubernetes.md, Network",
        ),
    ],
)
def test_storage_at_an_address_of_its_own_is_tried(
    kube: KubeApi, settings: KubernetesSettings, why: str, said: str
) -> None:
    play(kube, enforces=("Ingress", "Egress"), storage="http://minio:9000", to_storage=why)
    assert Finding(not why, said) in found(settings)


def test_nothing_stays_and_every_pod_ends_by_itself(kube: KubeApi, settings: KubernetesSettings) -> None:
    play(kube, enforces=())
    played, made = kube.on_create, list[Object]()

    def note(each: Object) -> None:
        made.append(each)
        played(each)

    kube.on_create = note
    found(settings)
    pods = [each["spec"] for each in made if each["kind"] == "Pod"]
    assert len(pods) == 3
    assert {pod["activeDeadlineSeconds"] for pod in pods} == {reach.LIFE_SECONDS}
    assert not any(pod["automountServiceAccountToken"] for pod in pods)
    assert (kube.names("Pod"), kube.names("NetworkPolicy")) == ([], [])


@pytest.mark.parametrize(
    ("status", "log", "said"),
    [
        ({"phase": "Failed"}, "No module named daskjobs", "ended early: No module named daskjobs"),
        ({"phase": "Pending"}, "", "said nothing within 0.05 s: Pending"),
        ({"phase": "Running"}, "", "said nothing within 0.05 s: Running"),
    ],
)
def test_pod_that_says_nothing_is_a_sentence_and_is_removed(
    kube: KubeApi, settings: KubernetesSettings, monkeypatch: pytest.MonkeyPatch, status: Any, log: str, said: str
) -> None:
    def start(made: Object) -> None:
        made["status"] = status
        kube.logs[made["metadata"]["name"]] = log

    kube.on_create = start
    monkeypatch.setattr(reach, "POD_SECONDS", 0.05)
    (finding,) = found(settings)
    assert not finding.good
    assert finding.what.startswith("network: the pod daskjobs-doctor-")
    assert finding.what.endswith(said)
    assert kube.names("Pod") == []


def test_nothing_is_started_by_who_may_not_and_the_rights_are_named(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    kube.refused |= {"create pods", "create networkpolicies"}
    assert found(settings) == [
        Finding(
            False,
            f"network: not tried, since you may not create pods, create networkpolicies in {kube.namespace}; ask who "
            "may",
        )
    ]
    assert kube.names("Pod") == []
