"""The life of a Dask cluster on Kubernetes; see kubeapi.py for the API server. The scheduler is a real one, here."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import kr8s
import pytest
from distributed import Client, LocalCluster

from daskjobs.cluster.backends.kubernetes import Kubernetes
from daskjobs.cluster.connection import Workload
from daskjobs.cluster.kubernetes import KubernetesSettings, admission, ephemeral, lifecycle, secret
from daskjobs.cluster.kubernetes.api import own_pod
from daskjobs.cluster.kubernetes.ephemeral import ephemeral_cluster
from daskjobs.cluster.kubernetes.lifecycle import (
    Ensured,
    ensure,
    make_group,
    release,
    start_ahead,
)
from daskjobs.cluster.kubernetes.naming import CERTIFICATE, COMPONENT_LABEL, DEADLINE, HASH, KEPT, PART_OF, selector
from daskjobs.cluster.kubernetes.spec import render
from daskjobs.cluster.security import KeyPair, new_key_pair
from daskjobs.errors import ClusterError, ConfigError, LostWorkError
from kubeapi import KubeApi, Object

ACCOUNT = "daskjobs-cluster"
PAIR = new_key_pair(60)
CONTAINER = {"name": "main", "image": "daskjobs:dev"}


@pytest.fixture(autouse=True)
def me(kube: KubeApi) -> Object:
    """The pod that asks for the cluster."""
    return kube.add("Pod", "me", spec={"containers": [CONTAINER]})


@pytest.fixture
def resource(api: kr8s.Api, settings: KubernetesSettings) -> dict[str, Any]:
    return render(settings, own_pod(api, settings), Workload())


@pytest.fixture(scope="module")
def dask() -> Iterator[LocalCluster]:
    """A scheduler and a worker, threads of this process, that speak TLS; and a port for the scheduler's health."""
    with scheduler_and_workers(1) as run:
        yield run


def scheduler_and_workers(workers: int) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=False,
        protocol="tls",
        security=PAIR.security(),
        dashboard_address="127.0.0.1:0",
    )


def answer_at(dask: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "new_key_pair", lambda _: PAIR)
    monkeypatch.setattr(lifecycle, "scheduler_host", lambda _: urlsplit(dask.scheduler_address).hostname)
    monkeypatch.setattr(ephemeral, "scheduler_address", lambda _: dask.scheduler_address)
    monkeypatch.setattr(lifecycle, "DASHBOARD_PORT", dask.scheduler.http_server.port)
    monkeypatch.setattr(ephemeral, "GATHER_SECONDS", 0.05)


@pytest.fixture
def answers(dask: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the cluster's scheduler where that of these tests is."""
    answer_at(dask, monkeypatch)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no scheduler answer."""
    monkeypatch.setattr(lifecycle, "scheduler_host", lambda _: "127.0.0.1")
    monkeypatch.setattr(lifecycle, "DASHBOARD_PORT", 9)


def add_scheduler(kube: KubeApi, made: Object) -> None:
    """Do what the Dask operator does for a DaskCluster: make a pod, which is pending."""
    if made["kind"] == "DaskCluster":
        kube.add("Pod", "dv-w-scheduler", made["metadata"]["labels"], owner=made)


def existing(kube: KubeApi, settings: KubernetesSettings, spec: str, age: float, **metadata: Any) -> Object:
    """Have a cluster whose key pair this process knows, as the one that it gets from files."""
    labels = {**PART_OF, **selector(settings)}
    annotations = {HASH: spec, CERTIFICATE: PAIR.fingerprint}
    secret.CERTIFICATE.write_text(PAIR.certificate)
    secret.KEY.write_text(PAIR.key)
    return kube.add("DaskCluster", "dv-w", labels, age=age, metadata={"annotations": annotations, **metadata})


@pytest.mark.usefixtures("silent")
def test_cluster_is_created_when_there_is_none(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, resource: dict[str, Any]
) -> None:
    ensured = ensure(api, settings, resource, {})
    made = kube.get("DaskCluster", "dv-w")
    assert (ensured.how, ensured.uid) == ("created", made["metadata"]["uid"])
    assert made["spec"]["worker"]["replicas"] == 2
    assert made["metadata"]["ownerReferences"][0]["name"] == "flow"


@pytest.mark.usefixtures("silent")
def test_cluster_that_may_be_starting_still_is_reused_and_gets_a_new_deadline(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, resource: dict[str, Any]
) -> None:
    young = existing(kube, settings, resource["metadata"]["annotations"][HASH], age=5)
    assert ensure(api, settings, resource, {}) == Ensured("reused", young["metadata"]["uid"], PAIR, [])
    assert young["metadata"]["annotations"][DEADLINE] >= resource["metadata"]["annotations"][DEADLINE]
    assert kube.calls == ["create daskclusters", "patch daskclusters/dv-w", "create networkpolicies"]


@pytest.mark.usefixtures("answers")
def test_old_cluster_is_reused_when_its_scheduler_answers(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, resource: dict[str, Any]
) -> None:
    old = existing(kube, settings, resource["metadata"]["annotations"][HASH], age=600)
    assert ensure(api, settings, resource, {}) == Ensured("reused", old["metadata"]["uid"], PAIR, [])


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(("spec", "age"), [("same", 600), ("another", 5)])
def test_cluster_is_replaced_when_it_does_not_answer_or_has_another_spec(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, resource: dict[str, Any], spec: str, age: float
) -> None:
    known = resource["metadata"]["annotations"][HASH]
    old = existing(kube, settings, known if spec == "same" else spec, age)["metadata"]["uid"]
    ensured = ensure(api, settings, resource, {})
    assert ensured.how == "created"
    assert kube.get("DaskCluster", "dv-w")["metadata"]["uid"] == ensured.uid != old


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize(("timeout", "reused"), [(80_000, True), (2 * 86_400, False)])
def test_cluster_is_replaced_when_its_certificate_ends_before_its_new_deadline(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, timeout: float, reused: bool
) -> None:
    later = replace(settings, timeout=timeout, start_timeout=60, idle_timeout=60)
    resource = render(later, own_pod(api, later), Workload())
    old = existing(kube, later, resource["metadata"]["annotations"][HASH], age=600)["metadata"]["uid"]
    assert (ensure(api, later, resource, {}).uid == old) == reused


@pytest.mark.usefixtures("silent")
def test_cluster_is_created_once_its_predecessor_has_ended(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, resource: dict[str, Any]
) -> None:
    known = resource["metadata"]["annotations"][HASH]
    existing(kube, settings, known, 5, finalizers=["kopf"], deletionTimestamp="2026-01-01T00:00:00Z")
    looks = list[str]()

    def end_at_the_second_look(plural: str) -> None:
        looks.append(plural)
        if len(looks) == 2:
            kube.finalize()

    kube.before_list = end_at_the_second_look
    assert ensure(api, settings, resource, {}).how == "created"
    assert set(kube.calls) == {
        "create daskclusters",
        "create networkpolicies",
        "create secrets",
    }  # nothing is deleted that is being deleted, nor reused


@pytest.mark.usefixtures("silent")
def test_predecessor_that_does_not_end_is_a_sentence(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, resource: dict[str, Any]
) -> None:
    existing(kube, settings, "another", 5, finalizers=["kopf"])
    object.__setattr__(settings, "delete_timeout", 0)  # bounds forbid what a test need not wait for
    with pytest.raises(ClusterError, match="the DaskCluster dv-w is still there 0 s after it was deleted: is the Dask"):
        ensure(api, settings, resource, {})


@pytest.mark.parametrize(
    ("mine", "there", "later", "deleted"),
    [
        ("new", "new", "new", True),
        ("old", "new", "new", False),  # another attempt has replaced it
        ("old", "old", "new", False),  # it does so between a look and the deletion
        ("", "new", "new", True),  # whose creation had no answer
    ],
)
def test_cluster_of_ones_own_is_deleted_and_never_that_of_a_newer_attempt(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, mine: str, there: str, later: str, deleted: bool
) -> None:
    found = existing(kube, settings, "any", 5, uid=there)
    kube.before_delete = lambda _: found["metadata"].update(uid=later)
    release(api, settings, mine)
    assert (kube.names("DaskCluster") == []) == deleted


@pytest.mark.usefixtures("answers")
def test_connection_has_the_cluster_s_facts_and_the_cluster_is_gone_afterwards(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    kube.on_create = partial(add_scheduler, kube)
    with ephemeral_cluster(settings, Workload(), {}) as connection:
        assert connection.client.submit(lambda: 7).result(timeout=10) == 7
        assert connection.requested.workers == 2
        assert kube.names("DaskCluster") == ["dv-w"]
    facts = connection.facts.to_json()
    assert (facts["cluster"], facts["how"]) == ("kubernetes", "created")
    assert (facts["workers"], facts["workers_wanted"]) == (1, 2)
    assert [each["kind"] for each in facts["objects"]] == ["Secret", "DaskCluster", "Pod", "NetworkPolicy"]
    assert facts["why"] == "dv-w-scheduler: Pending"
    assert kube.names("DaskCluster") == []
    assert kube.names("Pod") == ["me"]


@pytest.mark.usefixtures("answers")
def test_cluster_stays_when_it_is_to_be_kept(kube: KubeApi, settings: KubernetesSettings) -> None:
    with ephemeral_cluster(replace(settings, keep_cluster=True), Workload(), {}):
        pass
    assert kube.names("DaskCluster") == ["dv-w"]


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize(("error", "kept"), [(ValueError("of the work"), True), (SystemExit("by SIGTERM"), False)])
def test_cluster_is_kept_on_failure_until_the_next_attempt_takes_it_over(
    kube: KubeApi, settings: KubernetesSettings, error: BaseException, kept: bool
) -> None:
    settings, pairs = replace(settings, keep_on_failure=True), dict[str, KeyPair]()
    with pytest.raises(type(error)), ephemeral_cluster(settings, Workload(), pairs):
        raise error
    assert kube.names("DaskCluster") == (["dv-w"] if kept else [])
    if kept:
        assert kube.get("DaskCluster", "dv-w")["metadata"]["annotations"][KEPT] == "true"
        with ephemeral_cluster(settings, Workload(), pairs) as connection:
            assert connection.facts.how == "reused"
            assert KEPT not in kube.get("DaskCluster", "dv-w")["metadata"]["annotations"]
        assert kube.names("DaskCluster") == []


@pytest.mark.usefixtures("answers")
def test_last_lines_of_each_pods_log_are_there_while_the_cluster_is(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    kube.on_create = partial(add_scheduler, kube)
    kube.logs["dv-w-scheduler"] = "one\n  two\n"
    with ephemeral_cluster(settings, Workload(), {}) as connection:
        assert connection.last_logs(200) == {"dv-w-scheduler": "one\n  two"}


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize("lost", [True, False])
def test_cluster_stays_when_the_run_has_become_another_process_s(
    kube: KubeApi, settings: KubernetesSettings, lost: bool
) -> None:
    def check() -> None:
        if lost:
            raise LostWorkError("taken over")

    with (
        pytest.raises(ValueError, match="the work failed"),
        ephemeral_cluster(settings, Workload(check=check), {}),
    ):
        raise ValueError("the work failed")
    assert kube.names("DaskCluster") == (["dv-w"] if lost else [])


@pytest.mark.usefixtures("silent")
def test_scheduler_that_does_not_answer_is_told_with_kubernetes_reason_and_removed(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    warning = {"type": "Warning", "message": "0/1 nodes: Insufficient cpu"}
    kube.add("Event", "told", involvedObject={"name": "dv-w-scheduler"}, **warning)
    kube.on_create = partial(add_scheduler, kube)
    settings = replace(settings, start_timeout=1)
    with (
        pytest.raises(ClusterError, match="did not answer within 1 s: dv-w-scheduler: 0/1 nodes: Insufficient cpu"),
        ephemeral_cluster(settings, Workload(), {}),
    ):
        pass
    assert kube.names("DaskCluster") == []


def test_cluster_without_workers_is_a_sentence(
    kube: KubeApi, settings: KubernetesSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(settings, worker_timeout=1)
    with scheduler_and_workers(0) as empty:
        answer_at(empty, monkeypatch)
        with (
            pytest.raises(ClusterError, match="no Dask worker came within 1 s: the Dask operator has made no pod for"),
            ephemeral_cluster(settings, Workload(), {}),
        ):
            pass
    assert kube.names("DaskCluster") == []


GATE = "kueue.x-k8s.io/admission"


def hold(kube: KubeApi, *components: str, looks: int) -> set[str]:
    """Have a gate hold the pods of a cluster to come until there were so many looks; return the components it holds."""
    held, seen = set(components), dict.fromkeys(components, 0)

    def gated(made: Object) -> None:
        if made["kind"] == "DaskCluster":
            for component in components:
                labels = {**made["metadata"]["labels"], COMPONENT_LABEL: component}
                kube.add("Pod", f"dv-w-{component}", labels, owner=made, spec={"schedulingGates": [{"name": GATE}]})

    def admit(plural: str) -> None:
        for component in [each for each in components if plural == "pods" and each in held][:1]:
            seen[component] += 1
            if seen[component] > looks and f"dv-w-{component}" in kube.names("Pod"):
                kube.get("Pod", f"dv-w-{component}")["spec"]["schedulingGates"] = []
                held.remove(component)

    kube.on_create, kube.before_list = gated, admit
    return held


@pytest.fixture
def queued(settings: KubernetesSettings, monkeypatch: pytest.MonkeyPatch) -> KubernetesSettings:
    """Settings with a queue, and a start that must be quick."""
    monkeypatch.setattr(admission, "QUEUE_POLL_SECONDS", 0.2)
    return replace(settings, queue="batch", start_timeout=2, worker_timeout=2, queue_timeout=60)


def test_time_in_the_queue_is_told_and_is_no_part_of_the_start(
    kube: KubeApi, queued: KubernetesSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each component waits for longer than its start may take."""
    held, said = hold(kube, "scheduler", "worker", looks=18), list[str]()
    with scheduler_and_workers(0) as cluster:
        answer_at(cluster, monkeypatch)
        healthy, count = lifecycle.is_healthy, ephemeral.count_workers
        monkeypatch.setattr(lifecycle, "is_healthy", lambda host: "scheduler" not in held and healthy(host))

        def count_admitted(client: Client) -> int:
            cluster.scale(0 if held else 1)
            return count(client)

        monkeypatch.setattr(ephemeral, "count_workers", count_admitted)
        with ephemeral_cluster(queued, Workload(tell=said.append), {}) as connection:
            facts = connection.facts
    assert said == [f"waiting for the queue batch to admit the Dask {each}'s pod" for each in ("scheduler", "worker")]
    assert facts.queue_seconds is not None
    assert facts.start_seconds is not None
    assert facts.queue_seconds > 2 * 18 * 0.2
    assert facts.start_seconds < 2 * 2


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("queue", ["batch", ""])
def test_pod_that_no_queue_admits_is_given_up_with_what_holds_it(
    kube: KubeApi, queued: KubernetesSettings, queue: str
) -> None:
    """Without a queue in the settings it is one more pod that doesn't start."""
    hold(kube, "scheduler", looks=10**6)
    said = f"the queue batch did not admit the Dask scheduler's pod, which the scheduling gate {GATE} holds, within 1 s"
    if not queue:
        said = f"the Dask scheduler did not answer within 1 s: dv-w-scheduler: the scheduling gate {GATE} holds it"
    settings = replace(queued, queue=queue, queue_timeout=1, start_timeout=1 if not queue else 30)
    with pytest.raises(ClusterError, match=said), ephemeral_cluster(settings, Workload(), {}):
        pass
    assert kube.names("DaskCluster") == []


@pytest.mark.usefixtures("silent")
def test_cluster_that_an_earlier_attempt_has_put_into_the_queue_is_reused(
    kube: KubeApi, api: kr8s.Api, queued: KubernetesSettings, settings: KubernetesSettings
) -> None:
    known = render(queued, own_pod(api, settings), Workload())
    old = existing(kube, queued, known["metadata"]["annotations"][HASH], age=50)
    assert ensure(api, queued, known, {}) == Ensured("reused", old["metadata"]["uid"], PAIR, [])


@pytest.mark.usefixtures("silent")
def test_cluster_that_is_started_ahead_is_reused_later(kube: KubeApi, settings: KubernetesSettings) -> None:
    backend = Kubernetes()
    how, objects = backend.start_ahead(settings, Workload(preload=("json",)))
    assert (how, [each.kind for each in objects]) == ("created", ["Secret", "DaskCluster", "NetworkPolicy"])
    assert backend.start_ahead(settings, Workload(preload=("json",))) == ("reused", objects[1:])
    how, others = backend.start_ahead(settings, Workload())  # of another spec
    assert (how, others != objects) == ("created", True)
    assert Kubernetes().start_ahead(settings, Workload())[0] == "created"  # a process that has not its key pair


def test_group_of_workers_is_made_where_the_operator_has_made_none(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, resource: dict[str, Any]
) -> None:
    for _ in range(2):
        make_group(api, settings, resource)
    assert kube.calls == ["create daskworkergroups"]
    group = kube.get("DaskWorkerGroup", "dv-w-default")
    assert (group["spec"]["cluster"], group["spec"]["worker"]["replicas"]) == ("dv-w", 2)
    assert selector(settings).items() <= group["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("pod", "said"), [("", "works in a pod that knows its own name"), ("gone", "there is no pod gone in test-")]
)
def test_nothing_is_created_outside_of_a_pod(kube: KubeApi, settings: KubernetesSettings, pod: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        start_ahead(replace(settings, pod=pod), Workload(), {})
    assert kube.calls == []


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(("refused", "missing"), [("create daskclusters", ""), ("", "DaskCluster")])
def test_rights_and_operator_are_named_when_they_are_missing(
    kube: KubeApi, settings: KubernetesSettings, refused: str, missing: str
) -> None:
    kube.refused.add(refused)
    kube.missing.add(missing)
    said = "apply k8s/, which grants the rights" if refused else "is the Dask operator installed"
    with pytest.raises(ConfigError, match=said):
        start_ahead(settings, Workload(), {})


def test_client_is_distributeds_own(settings: KubernetesSettings, answers: None) -> None:
    with ephemeral_cluster(settings, Workload(), {}) as connection:
        assert type(connection.client) is Client
