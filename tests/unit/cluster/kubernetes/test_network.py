"""Who may reach whom: the policies of k8s/ and of two runs, judged by policies.py, with pods as they are rendered."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import kr8s
import pytest
from dask_kubernetes.operator.controller.controller import (
    build_default_worker_group_spec,
    build_scheduler_deployment_spec,
    build_worker_deployment_spec,
)

from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.lifecycle import ensure
from daskjobs.cluster.kubernetes.naming import CLUSTER_LABEL, PART_OF, RUN_LABEL
from daskjobs.cluster.kubernetes.spec import render
from daskjobs.errors import ConfigError
from kubeapi import KubeApi
from manifests import build, named
from policies import End, Outside, Pod, Policy, allowed

ACCOUNT = "daskjobs-cluster"
API_SERVER = Outside("172.18.0.2")
METADATA, METADATA_6 = Outside("169.254.169.254"), Outside("fd00:ec2::254")
INTERNET, INTERNET_6 = Outside("198.51.100.7"), Outside("2001:db8::7")
NODE_DNS = Outside("169.254.20.10")
DNS = Pod("kube-system", {"k8s-app": "kube-dns"})
STRANGER, OPERATOR = Pod("elsewhere"), Pod("dask-operator", {"app.kubernetes.io/name": "dask-kubernetes-operator"})
OVERLAYS = ("dev", "production", "step")


@dataclass(frozen=True)
class Place:
    """A namespace with an overlay and two runs: all its policies, and its pods by name; those of run two end in "2"."""

    policies: list[Policy]
    pods: dict[str, Pod]

    def passes(self, source: End | str, target: End | str, port: int, protocol: str = "TCP") -> bool:
        """Tell whether a connection passes; networks that read an ipBlock differently must agree on it."""
        ends = [self.pods[each] if isinstance(each, str) else each for each in (source, target)]
        said = [allowed(self.policies, *ends, port, protocol, blocks_have_pods=reading) for reading in (True, False)]
        assert said[0] == said[1], f"{source} to {target}: networks disagree"
        return said[0]


def template_pods(built: list[dict[str, Any]], namespace: str, run: str) -> dict[str, Pod]:
    """A pod of each container template of the workflow templates, with the labels that Argo gives it."""
    pods = dict[str, Pod]()
    for template in named(built, "WorkflowTemplate").values():
        labels = template["spec"].get("podMetadata", {}).get("labels", {})
        for each in template["spec"]["templates"]:
            if "container" in each:
                given = {**labels, **each.get("metadata", {}).get("labels", {})}
                chosen = {key: value.replace("{{workflow.uid}}", run) for key, value in given.items()}
                pods[f"{template['metadata']['name']}/{each['name']}"] = Pod(namespace, chosen)
    return pods


def dask_pods(resource: dict[str, Any], namespace: str) -> dict[str, Pod]:
    """The pods that the Dask operator makes of a DaskCluster."""
    name, labels, spec = resource["metadata"]["name"], resource["metadata"]["labels"], resource["spec"]
    group = build_default_worker_group_spec(name, spec["worker"], {}, labels)["metadata"]
    made = {
        "scheduler": build_scheduler_deployment_spec(name, spec["scheduler"]["spec"], {}, labels),
        "worker": build_worker_deployment_spec(
            group["name"], namespace, name, "1", spec["worker"]["spec"], {}, group["labels"]
        ),
    }
    return {role: _of(deployment["spec"]["template"], namespace) for role, deployment in made.items()}


def _of(template: dict[str, Any], namespace: str) -> Pod:
    return Pod(namespace, template.get("metadata", {}).get("labels", {}))


@pytest.fixture
def place(kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings) -> Callable[[str], Place]:
    def make(overlay: str) -> Place:
        built = build(overlay)
        pods = dict[str, Pod]()
        for number in ("", "2"):
            run = replace(settings, workflow_uid=f"w{number}")
            resource = render(run, {"containers": [{"name": "main", "image": "any"}]})
            ensure(api, run, resource)
            made = template_pods(built, kube.namespace, f"w{number}") | dask_pods(resource, kube.namespace)
            pods |= {f"{name}{number}": pod for name, pod in made.items()}
        janitor = named(built, "CronJob")["daskjobs-janitor"]["spec"]["jobTemplate"]["spec"]["template"]
        pods["janitor"] = _of(janitor, kube.namespace)
        for name, deployment in named(built, "Deployment").items():
            pods[name] = _of(deployment["spec"]["template"], kube.namespace)
        policies = list(named(built, "NetworkPolicy").values())
        for each in policies:
            each["metadata"]["namespace"] = kube.namespace
        return Place(policies + [kube.get("NetworkPolicy", name) for name in kube.names("NetworkPolicy")], pods)

    return make


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_reach_what_they_need_and_nothing_else(place: Callable[[str], Place], overlay: str) -> None:
    there = place(overlay)
    stage = "dask-step/run" if overlay == "step" else "daskjobs/validate"
    neighbour = Pod(there.pods[stage].namespace, {"app": "neighbour"})
    dask, ours = ("scheduler", "worker"), ("scheduler", "worker", stage, "janitor")
    passing = [
        *((pod, DNS, 53) for pod in ours),
        *((pod, NODE_DNS, 53) for pod in ours),
        *((pod, API_SERVER, port) for pod in (stage, "janitor") for port in (443, 6443)),
        *((source, target, 8786) for source in (*dask, stage) for target in dask),
        *(
            (source, target, 40123) for source in ("worker", stage) for target in dask
        ),  # a worker's and its nanny's port
        (stage, "scheduler", 8787),
        (OPERATOR, "scheduler", 8787),
        (neighbour, API_SERVER, 6443),  # who isn't ours is as free as before
        (neighbour, STRANGER, 1),
    ]
    refused = [
        *((source, target, port) for source in (neighbour, STRANGER) for target in ours for port in (8786, 8787, 9000)),
        *((OPERATOR, target, 8786) for target in ours),
        *((OPERATOR, target, 8787) for target in ("worker", stage, "janitor")),
        *((f"{source}2", target, port) for source in (*dask, stage) for target in dask for port in (8786, 8787, 40123)),
        *((source, f"{target}2", port) for source in (*dask, stage) for target in dask for port in (8786, 8787, 40123)),
        *(("janitor", target, port) for target in dask for port in (8786, 8787)),
        *((source, stage, 8786) for source in ("worker2", "scheduler2", f"{stage}2", "janitor")),
        *((pod, API_SERVER, 6443) for pod in dask),
        ("scheduler", API_SERVER, 443),
        ("scheduler", INTERNET, 443),
        *((pod, outside, 80) for pod in ours for outside in (INTERNET, INTERNET_6, METADATA, METADATA_6)),
        *((pod, outside, 443) for pod in ours for outside in (METADATA, METADATA_6)),
        *((pod, Outside("10.0.0.5"), 22) for pod in ours),
        *((pod, DNS, 9153) for pod in ours),
        *((pod, Pod("elsewhere", DNS.labels), 53) for pod in ours),
        *((pod, other, 8786) for pod in ours for other in (neighbour, STRANGER, OPERATOR)),
        ("scheduler", NODE_DNS, 443),
    ]
    assert [each for each in passing if not there.passes(*each)] == []
    assert [each for each in refused if there.passes(*each)] == []
    assert all(there.passes(pod, DNS, 53, "UDP") for pod in ours)


@pytest.mark.parametrize("overlay", ["production", "step"])
def test_storage_is_any_address_but_the_metadata_service(place: Callable[[str], Place], overlay: str) -> None:
    there = place(overlay)
    stage = "dask-step/run" if overlay == "step" else "daskjobs/merge"
    for pod in ("worker", stage):
        assert there.passes(pod, INTERNET, 443)
        assert there.passes(pod, INTERNET_6, 443)
        assert not there.passes(pod, METADATA, 443)
    assert not there.passes("scheduler", INTERNET_6, 443)


def test_storage_of_dev_is_its_server_alone_and_nobody_else_reaches_that(place: Callable[[str], Place]) -> None:
    there = place("dev")
    server = "daskjobs-storage"
    neighbour = Pod(there.pods[server].namespace, {"app": "neighbour"})
    for pod in ("worker", "worker2", "daskjobs/generate", "daskjobs/cleanup", "dask-step/run"):
        assert there.passes(pod, server, 9000), pod
        assert not there.passes(pod, server, 9001)
    for stranger in ("scheduler", "janitor", neighbour, STRANGER, OPERATOR):
        assert not there.passes(stranger, server, 9000), stranger
    for target in (INTERNET, METADATA, API_SERVER, DNS, "worker", STRANGER):
        assert not there.passes(server, target, 443)
    assert not there.passes("worker", INTERNET, 443)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_of_a_template_is_isolated_and_reaches_the_api_server(
    place: Callable[[str], Place], overlay: str
) -> None:
    there = place(overlay)
    templates = [name for name in there.pods if "/" in name]
    assert len(templates) >= 4
    for pod in templates:
        assert there.passes(pod, API_SERVER, 6443), pod
        assert not there.passes(pod, INTERNET, 80), pod
        assert not there.passes(STRANGER, pod, 8786), pod


def test_policy_goes_with_its_cluster_and_another_attempt_makes_no_second_one(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings
) -> None:
    resource = render(settings, {"containers": [{"name": "main", "image": "any"}]})
    for how in ("created", "reused"):
        assert ensure(api, settings, resource).how == how
    (name,) = kube.names("NetworkPolicy")
    policy, cluster = kube.get("NetworkPolicy", name)["metadata"], kube.get("DaskCluster", "dv-w")["metadata"]
    assert [owner["uid"] for owner in policy["ownerReferences"]] == [cluster["uid"]]
    assert policy["labels"] == {**PART_OF, RUN_LABEL: "w", CLUSTER_LABEL: "dv-w"}
    kube.remove(("daskclusters", kube.namespace, "dv-w"))
    assert kube.names("NetworkPolicy") == []


def test_successor_gets_a_policy_of_its_own_while_its_predecessors_is_still_there(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings
) -> None:
    resource = render(settings, {"containers": [{"name": "main", "image": "any"}]})
    ensure(api, settings, resource)
    del kube.objects["daskclusters", kube.namespace, "dv-w"]  # as Kubernetes does: what it owns goes a moment later
    ensure(api, settings, resource)
    uid = kube.get("DaskCluster", "dv-w")["metadata"]["uid"]
    owners = [kube.get("NetworkPolicy", name)["metadata"]["ownerReferences"] for name in kube.names("NetworkPolicy")]
    assert [each["uid"] for (each,) in owners].count(uid) == 1 < len(owners)


def test_rights_of_an_older_installation_are_a_sentence(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings
) -> None:
    kube.refused.add("create networkpolicies")
    with pytest.raises(ConfigError, match="refused to create the NetworkPolicy dv-w-.*; apply k8s/, which grants"):
        ensure(api, settings, render(settings, {"containers": [{"name": "main", "image": "any"}]}))
