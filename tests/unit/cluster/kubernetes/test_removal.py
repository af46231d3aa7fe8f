"""Removing a Dask cluster, and what is said of that which stays; see kubeapi.py for the API server."""

import kr8s
import pytest

from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.naming import KEPT, PART_OF, selector
from daskjobs.cluster.kubernetes.removal import remove, remove_cluster
from daskjobs.cluster.removed import ObjectName, Remaining, Removed
from daskjobs.errors import ClusterError, ConfigError
from kubeapi import KubeApi, Object

ACCOUNT = "daskjobs-cleanup"
FINALIZER = "kopf.dev/dask"


def cluster(kube: KubeApi, settings: KubernetesSettings, held: bool = False) -> Object:
    """Have a DaskCluster with a pod, as the operator makes it."""
    labels = {**PART_OF, **selector(settings)}
    metadata = {"finalizers": [FINALIZER]} if held else {}
    made = kube.add("DaskCluster", "dv-w", labels, metadata=metadata)
    kube.add("Pod", "dv-w-scheduler", labels, owner=made)
    return made


def test_all_objects_of_the_cluster_are_gone_and_named_and_no_others(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    uid = cluster(kube, settings)["metadata"]["uid"]
    kube.add("DaskCluster", "dv-other", {**PART_OF, "daskjobs/run": "other", "dask.org/cluster-name": "dv-other"})
    kube.add("Secret", "dv-other-tls")
    kube.add("Secret", "dv-w-tls")  # without an owner, as one whose creation came too late
    kube.add("Pod", "unrelated")
    removed = remove_cluster(settings)
    assert removed.remaining == []
    assert removed.objects[0] == ObjectName("DaskCluster", "dv-w", uid)
    assert {each.kind for each in removed.objects} == {"DaskCluster", "Pod", "Secret"}
    assert kube.names("DaskCluster") == ["dv-other"]
    assert kube.names("Pod") == ["unrelated"]
    assert kube.names("Secret") == ["dv-other-tls"]
    assert set(kube.calls) == {"delete daskclusters/dv-w", "delete secrets/dv-w-tls"}  # its pod is not ours to delete


def test_key_pair_is_named_though_it_goes_with_the_cluster_at_once(kube: KubeApi, settings: KubernetesSettings) -> None:
    made = cluster(kube, settings)
    kube.add("Secret", "dv-w-tls", owner=made)
    assert {each.kind for each in remove_cluster(settings).objects} == {"DaskCluster", "Pod", "Secret"}


def test_removal_waits_until_the_operator_has_let_go(kube: KubeApi, settings: KubernetesSettings) -> None:
    cluster(kube, settings, held=True)
    looks = 0

    def let_go_at_the_third_look(plural: str) -> None:
        nonlocal looks
        looks += plural == "daskclusters"
        if looks == 3:
            kube.finalize()

    kube.before_list = let_go_at_the_third_look
    removed = remove_cluster(settings)
    assert looks == 3
    assert (removed.remaining, kube.objects) == ([], {})


def test_nothing_is_deleted_when_there_is_nothing(kube: KubeApi, settings: KubernetesSettings) -> None:
    assert remove_cluster(settings) == Removed()
    assert kube.calls == ["delete secrets/dv-w-tls"]  # which nobody may look for


def test_reason_and_command_are_told_when_a_finalizer_holds_the_cluster(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings
) -> None:
    cluster(kube, settings, held=True)
    removed = remove(api, selector(settings), 0)
    held, pod = removed.remaining
    assert held.why.startswith(f"the finalizer {FINALIZER} holds it until the Dask operator runs")
    patch = """--type=merge -p '{"metadata":{"finalizers":null}}'"""
    assert held.command == f"kubectl -n {kube.namespace} patch daskcluster/dv-w {patch}"
    assert (pod.why, pod.command) == ("its owner is still there", "")
    with pytest.raises(ClusterError) as raised:
        removed.check()
    assert str(raised.value) == (
        "still there 0 s after the Dask cluster was deleted: "
        f"DaskCluster dv-w: {held.why} (1 more objects go with it); to remove it at once: {held.command}"
    )


def test_pod_that_does_not_end_is_told_with_the_command_that_ends_it(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings
) -> None:
    gone = kube.add("DaskCluster", "dv-w")
    ending = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    kube.add("Pod", "stuck", selector(settings), owner=gone, metadata=ending)
    (stuck,) = remove(api, selector(settings), 0).remaining
    assert (stuck.why, stuck.command) == (
        "it is being ended",
        f"kubectl -n {kube.namespace} delete pod/stuck --force --grace-period=0",
    )


def test_newer_cluster_of_the_same_name_stays_when_it_comes_between_look_and_deletion(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings
) -> None:
    cluster(kube, settings)

    def replace(name: str) -> None:
        kube.get("DaskCluster", name)["metadata"]["uid"] = "newer"

    kube.before_delete = replace
    removed = remove(api, selector(settings), 0)
    assert kube.get("DaskCluster", "dv-w")["metadata"]["uid"] == "newer"
    assert removed.remaining[0].named.uid != "newer"


def test_rights_are_named_when_they_are_missing(kube: KubeApi, settings: KubernetesSettings) -> None:
    cluster(kube, settings)
    kube.refused.add("delete daskclusters")
    with pytest.raises(ConfigError, match="Kubernetes refused to delete DaskCluster dv-w: .*forbidden.*; apply k8s/"):
        remove_cluster(settings)


def test_receipt_has_no_command_where_none_would_help() -> None:
    named = ObjectName("Pod", "p", "u")
    assert Remaining(named, "why").to_json() == {"kind": "Pod", "name": "p", "uid": "u", "why": "why"}
    assert Remaining(named, "why", "do").to_json()["command"] == "do"
    Removed([named]).check()


def test_cluster_that_is_kept_for_a_look_at_a_failure_stays(kube: KubeApi, settings: KubernetesSettings) -> None:
    made = cluster(kube, settings)
    made["metadata"]["annotations"] = {KEPT: "true"}
    assert remove_cluster(settings) == Removed(kept=[ObjectName("DaskCluster", "dv-w", made["metadata"]["uid"])])
    assert kube.calls == []
