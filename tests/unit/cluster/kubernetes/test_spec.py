"""The DaskCluster that validate creates, held against the operator's own schema; no cluster needed."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import pytest
import yaml
from dask_kubernetes.operator.validation import validate_cluster_name
from jsonschema import Draft7Validator

from daskjobs.cluster.connection import Workload
from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.naming import DEADLINE, HASH, NODE, cluster_name
from daskjobs.cluster.kubernetes.spec import render
from daskjobs.cluster.tuning import DASK_SHARE
from daskjobs.errors import ConfigError
from manifests import assert_restricted, documents, named

ARGOS = ("ARGO_NODE_ID", "TRACEPARENT")
UID = "4ae4fdaa-725b-43b9-93f5-a673f7408407"
ANY = Workload()
SETTINGS = KubernetesSettings(workflow="daskjobs-abc", workflow_uid=UID, worker_memory="1Gi", workers=3)


@pytest.fixture
def own() -> dict[str, Any]:
    """The validate pod's spec, as flows/ makes it and Argo fills it in."""
    template = named(documents("flows/pipeline.yaml"), "WorkflowTemplate")["daskjobs"]["spec"]
    main = {"name": "main", **template["templateDefaults"]["container"]}
    main["env"] = [*main["env"], *({"name": name, "value": "changes with each pod"} for name in ARGOS)]
    return {
        "securityContext": template["securityContext"],
        "nodeSelector": {"pool": "batch"},
        "containers": [{"name": "wait", "image": "argoexec"}, main],
        "volumes": [{"name": "argo"}],
    }


def test_resource_is_valid_by_the_operators_own_schema(own: dict[str, Any]) -> None:
    path = files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator/crds/daskcluster.yaml"
    schema = yaml.safe_load(path.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert [error.message for error in Draft7Validator(schema).iter_errors(render(SETTINGS, own, ANY))] == []
    validate_cluster_name(cluster_name(SETTINGS))


def test_dask_pods_are_as_the_validate_pod_but_for_their_command(own: dict[str, Any]) -> None:
    spec = render(SETTINGS, own, ANY)["spec"]
    for pod in (spec["scheduler"]["spec"], spec["worker"]["spec"]):
        (container,) = pod["containers"]
        main = own["containers"][1]
        assert container["image"] == main["image"]
        assert container["securityContext"] == main["securityContext"]
        assert pod["securityContext"] == own["securityContext"]
        assert pod["nodeSelector"] == {"pool": "batch"}
        assert pod["automountServiceAccountToken"] is False
        assert_restricted(pod, container)
        tls = {"name": "tls", "secret": {"secretName": f"dv-{UID}-tls"}}
        assert pod["volumes"][1:] == [tls]
        assert container["volumeMounts"][-1] == {"name": "tls", "mountPath": "/etc/daskjobs/tls", "readOnly": True}
        assert container["command"] == ["dask"]
    assert spec["worker"]["replicas"] == 3


def test_keys_of_the_storage_are_given_to_workers_and_never_to_the_scheduler(own: dict[str, Any]) -> None:
    key = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "daskjobs-storage", "key": "KEY"}}}
    own["containers"][1]["env"].append(key)
    spec = render(SETTINGS, own, ANY)["spec"]
    (scheduler,), (worker,) = (spec[kind]["spec"]["containers"] for kind in ("scheduler", "worker"))
    assert worker["envFrom"] == own["containers"][1]["envFrom"]
    assert key in worker["env"]
    assert scheduler["envFrom"] == [{"configMapRef": {"name": "daskjobs"}}]
    assert key not in scheduler["env"]
    assert "secret" not in json.dumps(scheduler).lower()


def test_tasks_do_not_wait_for_workers_for_ever(own: dict[str, Any]) -> None:
    (container,) = render(SETTINGS, own, ANY)["spec"]["scheduler"]["spec"]["containers"]
    assert {"name": "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT", "value": "210s"} in container["env"]


@pytest.mark.parametrize("queue", ["", "batch"])
def test_all_that_waits_for_a_start_has_room_for_the_queue_if_there_is_one(own: dict[str, Any], queue: str) -> None:
    resource = render(replace(SETTINGS, queue=queue, queue_timeout=7000.0), own, ANY)
    (container,) = resource["spec"]["scheduler"]["spec"]["containers"]
    start = 210 + 7000 * bool(queue)
    assert {"name": "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT", "value": f"{start}s"} in container["env"]
    assert resource["spec"]["idleTimeout"] == start + 300
    left = datetime.fromisoformat(resource["metadata"]["annotations"][DEADLINE]) - datetime.now(UTC)
    assert left.total_seconds() == pytest.approx(2 * start + 3600 + 300, abs=5)


def test_task_is_given_up_when_its_worker_dies_three_times(own: dict[str, Any]) -> None:
    (container,) = render(SETTINGS, own, ANY)["spec"]["scheduler"]["spec"]["containers"]
    assert {"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "2"} in container["env"]


def test_workers_are_tuned_unless_the_pods_own_environment_says_otherwise(own: dict[str, Any]) -> None:
    own["containers"][1]["env"].append({"name": "MALLOC_TRIM_THRESHOLD_", "value": "1"})
    own["containers"][1]["env"].append({"name": "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE", "value": "0.8"})
    workload = Workload(results=False)
    (container,) = render(SETTINGS, own, workload)["spec"]["worker"]["spec"]["containers"]
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names))
    said = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert said["ARROW_DEFAULT_MEMORY_POOL"] == "jemalloc"
    assert said["DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL"] == "500ms"
    assert said["MALLOC_TRIM_THRESHOLD_"] == "1"
    assert said["DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE"] == "False"  # which a run can't do without


@pytest.mark.parametrize(("results", "pause", "grace"), [(True, None, 30), (False, "False", 5)])
def test_workers_wait_for_memory_and_end_slowly_only_if_they_hold_results(
    own: dict[str, Any], results: bool, pause: str | None, grace: int
) -> None:
    """Else nothing could be moved away: one that pauses would pause for ever, and one that ends has nothing to give."""
    worker = render(SETTINGS, own, Workload(results=results))["spec"]["worker"]["spec"]
    said = {entry["name"]: entry.get("value") for entry in worker["containers"][0]["env"]}
    assert said.get("DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE") == pause
    assert worker["terminationGracePeriodSeconds"] == grace
    assert not [name for name in said if "MEMORY__SPILL" in name or "MEMORY__TARGET" in name]  # Dask's own


def test_deadline_is_after_all_work_and_all_idleness_and_no_part_of_the_shape(own: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    first, later = (
        render(replace(SETTINGS, timeout=seconds), own, ANY)["metadata"]["annotations"] for seconds in (60, 600)
    )
    left = (datetime.fromisoformat(first[DEADLINE]) - now).total_seconds()
    assert (
        left
        > SETTINGS.start_timeout + SETTINGS.worker_timeout + 60 + render(SETTINGS, own, ANY)["spec"]["idleTimeout"] - 2
    )
    assert left < 3600
    assert datetime.fromisoformat(later[DEADLINE]) > datetime.fromisoformat(first[DEADLINE])
    assert first[HASH] == later[HASH]


def test_worker_memory_for_dask_stays_below_the_containers_limit(own: dict[str, Any]) -> None:
    (container,) = render(SETTINGS, own, ANY)["spec"]["worker"]["spec"]["containers"]
    limit = int(container["args"][container["args"].index("--memory-limit") + 1])
    assert 0.85 * 2**30 < limit < 0.95 * 2**30
    assert container["resources"]["limits"]["memory"] == "1Gi"


def test_worker_has_so_much_disk_for_what_it_spills_as_is_set(own: dict[str, Any]) -> None:
    pod = render(replace(SETTINGS, worker_disk="20Gi"), own, ANY)["spec"]["worker"]["spec"]
    (container,) = pod["containers"]
    assert {container["resources"][kind]["ephemeral-storage"] for kind in ("requests", "limits")} == {"20Gi"}
    spilled = container["args"][container["args"].index("--local-directory") + 1]
    assert {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}[spilled] == "tmp"
    assert {"name": "tmp", "emptyDir": {"sizeLimit": "20Gi"}} in pod["volumes"]


def test_hash_is_the_same_for_a_retry_and_another_for_another_shape(own: dict[str, Any]) -> None:
    def hash_of(settings: KubernetesSettings) -> str:
        return str(render(settings, own, ANY)["metadata"]["annotations"][HASH])

    first = hash_of(SETTINGS)
    for variable in own["containers"][1]["env"][-len(ARGOS) :]:
        variable["value"] = "another attempt"
    assert hash_of(SETTINGS) == first
    assert hash_of(KubernetesSettings(workers=4, workflow_uid=UID, worker_memory="1Gi")) != first


def test_identity_that_a_cloud_gave_to_the_pod_is_not_copied_without_its_token(own: dict[str, Any]) -> None:
    main = own["containers"][1]
    folder = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
    given = {
        "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/orders",
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{folder}/token",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": f"{folder}/eks-pod-identity-token",
        "AWS_REGION": "eu-central-1",
    }
    main["env"] += [{"name": name, "value": value} for name, value in given.items()]
    main["volumeMounts"].append({"name": "aws-iam-token", "mountPath": folder, "readOnly": True})
    for kind in ("scheduler", "worker"):
        (container,) = render(SETTINGS, own)["spec"][kind]["spec"]["containers"]
        assert given.keys() & {entry["name"] for entry in container["env"]} == {"AWS_REGION"}
        assert folder not in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_workflow_owns_the_cluster_and_idle_timeout_outlasts_the_wait_for_workers(own: dict[str, Any]) -> None:
    resource = render(SETTINGS, own, ANY)
    (owner,) = resource["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Workflow", "daskjobs-abc", UID)
    assert resource["spec"]["idleTimeout"] > SETTINGS.worker_timeout + SETTINGS.start_timeout
    assert "ownerReferences" not in render(KubernetesSettings(), own, ANY)["metadata"]


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("worker_cpu", "many", "a Kubernetes quantity like 1 or 500m, got 'many'"),
        ("worker_cpu", "1 core", "a Kubernetes quantity like 1 or 500m"),
        ("worker_cpu", "-1", "a Kubernetes quantity like 1 or 500m"),
        ("worker_cpu", "", "a Kubernetes quantity like 1 or 500m"),
        ("worker_memory", "2GB", "a Kubernetes quantity like 2Gi or 500M, got '2GB'"),
        ("worker_memory", "2", "at least 1Mi, like 2Gi or 500M, got '2'"),
        ("worker_memory", "512m", "at least 1Mi, like 2Gi or 500M, got '512m'"),
        ("scheduler_memory", "2 Gi", "a Kubernetes quantity"),
        ("worker_disk", "0", "at least 1Mi"),
    ],
)
def test_what_kubernetes_would_refuse_later_is_refused_at_once(
    own: dict[str, Any], name: str, given: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} must be {words}"):
        render(replace(SETTINGS, **{name: given}), own, ANY)


@pytest.mark.parametrize(("given", "limit"), [("2Gi", 2 << 30), ("1.5G", 1.5e9), ("5e8", 5e8), ("134217728", 1 << 27)])
def test_quantities_are_read_as_kubernetes_reads_them(own: dict[str, Any], given: str, limit: float) -> None:
    made = render(replace(SETTINGS, worker_memory=given, worker_cpu="0.5"), own, ANY)
    arguments = made["spec"]["worker"]["spec"]["containers"][0]["args"]
    assert int(arguments[arguments.index("--memory-limit") + 1]) == pytest.approx(limit * DASK_SHARE, rel=1e-6)


@pytest.mark.parametrize("name", ["worker_memory", "scheduler_memory", "worker_disk"])
def test_size_that_is_no_quantity_is_refused_with_a_sentence(own: dict[str, Any], name: str) -> None:
    sentence = f"--{name.replace('_', '-')} must be a Kubernetes quantity like 2Gi or 500M, got 'lots'"
    with pytest.raises(ConfigError, match=sentence):
        render(replace(SETTINGS, **{name: "lots"}), own, ANY)


def test_code_comes_before_what_the_image_has(own: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def paths(resource: dict[str, Any]) -> list[str]:
        (scheduler,), (worker,) = (resource["spec"][kind]["spec"]["containers"] for kind in ("scheduler", "worker"))
        entries = scheduler["env"] + worker["env"]
        return [entry["value"] for entry in entries if entry["name"] == "PYTHONPATH"]

    monkeypatch.setenv("PYTHONPATH", "/app")
    assert paths(render(SETTINGS, own, Workload(code="/code.zip"))) == ["/code.zip:/app"] * 2
    monkeypatch.delenv("PYTHONPATH")
    assert paths(render(SETTINGS, own, Workload(code="/code.zip"))) == ["/code.zip"] * 2
    assert paths(render(SETTINGS, own, ANY)) == []


def test_threads_and_the_schedulers_memory_are_as_they_are_set(own: dict[str, Any]) -> None:
    spec = render(replace(SETTINGS, threads=4, scheduler_memory="1Gi"), own, ANY)["spec"]
    (scheduler,), (worker,) = (spec[kind]["spec"]["containers"] for kind in ("scheduler", "worker"))
    assert scheduler["resources"]["limits"]["memory"] == "1Gi"
    assert worker["args"][worker["args"].index("--nthreads") + 1] == "4"


def test_workers_may_be_on_other_nodes_than_the_scheduler(own: dict[str, Any]) -> None:
    own["tolerations"] = [{"key": "batch", "operator": "Exists"}]
    spot = {"key": "spot", "operator": "Exists"}
    settings = replace(SETTINGS, worker_node_selector='{"pool": "spot"}', worker_tolerations=json.dumps([spot]))
    spec = render(settings, own, ANY)["spec"]
    scheduler, worker = spec["scheduler"]["spec"], spec["worker"]["spec"]
    assert (scheduler["nodeSelector"], worker["nodeSelector"]) == ({"pool": "batch"}, {"pool": "spot"})
    assert scheduler["tolerations"] == own["tolerations"]
    assert worker["tolerations"] == [*own["tolerations"], spot]


def test_workers_have_gpus_volumes_and_an_account_that_the_scheduler_has_not(own: dict[str, Any]) -> None:
    volume = {"persistentVolumeClaim": {"claimName": "data"}, "mountPath": "/data", "readOnly": True}
    more = replace(
        SETTINGS,
        worker_resources='{"nvidia.com/gpu": 2}',
        worker_volumes=json.dumps([volume]),
        worker_service_account="theirs",
    )
    spec = render(more, own, ANY)["spec"]
    scheduler, worker = (spec[each]["spec"] for each in ("scheduler", "worker"))
    (container,) = worker["containers"]
    for each in ("requests", "limits"):
        assert container["resources"][each]["nvidia.com/gpu"] == "2"
        assert container["resources"][each]["memory"] == SETTINGS.worker_memory
    assert container["args"][-2:] == ["--resources", "GPU=2"]
    assert container["volumeMounts"][-1] == {"name": "more-0", "mountPath": "/data", "readOnly": True}
    assert worker["volumes"][-1] == {"name": "more-0", "persistentVolumeClaim": {"claimName": "data"}}
    assert (worker["serviceAccountName"], worker["automountServiceAccountToken"]) == ("theirs", False)
    plain = render(SETTINGS, own, ANY)["spec"]
    assert scheduler == plain["scheduler"]["spec"]


def test_cluster_of_a_step_has_its_nodes_name_which_is_no_part_of_its_hash(own: dict[str, Any]) -> None:
    plain = render(SETTINGS, own, ANY)["metadata"]["annotations"]
    made = render(SETTINGS, own, Workload(node="flow.features(0:a)"))["metadata"]["annotations"]
    assert (made[NODE], made[HASH]) == ("flow.features(0:a)", plain[HASH])
    assert NODE not in plain
    long = render(SETTINGS, own, Workload(node=f"flow.features(0:{'é' * 100_000})"))["metadata"]["annotations"]
    assert long[NODE].startswith("flow.features(0:é")
    assert len(long[NODE].encode()) < 10_000  # the API server refuses 256 KiB, and kopf keeps a copy of it


def test_all_pods_have_the_labels_and_annotations_that_are_given(own: dict[str, Any]) -> None:
    """Those of a cluster: the operator gives them to its pods. Its own labels can't be replaced."""
    given = replace(
        SETTINGS, pod_labels='{"team": "a", "app.kubernetes.io/part-of": "x"}', pod_annotations='{"b": "c"}'
    )
    made, plain = render(given, own, ANY)["metadata"], render(SETTINGS, own, ANY)["metadata"]
    assert made["labels"] == {"team": "a", **plain["labels"]}
    assert made["annotations"]["b"] == "c"
    assert made["annotations"][HASH] != plain["annotations"][HASH]  # so that it isn't taken for the same cluster


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("worker_resources", "gpu", "must be JSON like {\"nvidia.com/gpu\": 1}, got 'gpu'"),
        ("worker_resources", '{"nvidia.com/gpu": "one"}', "nvidia.com/gpu must be a Kubernetes quantity"),
        ("worker_volumes", '[{"emptyDir": {}}]', "must be volumes with an absolute mountPath each"),
        ("worker_volumes", "{}", "must be JSON like"),
        ("pod_labels", '{"a": 1}', "must have texts alone"),
        ("pod_annotations", "[]", "must be JSON like"),
        ("pod_annotations", "[" * 4_000, "must be JSON like"),
    ],
)
def test_what_pods_are_to_have_besides_is_refused_with_a_sentence(
    own: dict[str, Any], name: str, text: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} {words}"):
        render(replace(SETTINGS, **{name: text}), own, ANY)


@pytest.mark.parametrize("name", ["worker_node_selector", "worker_tolerations"])
@pytest.mark.parametrize("text", ["pool=spot", "7"])
def test_placement_that_is_no_json_is_refused_with_a_sentence(own: dict[str, Any], name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} must be JSON like .*, got '{text}'"):
        render(replace(SETTINGS, **{name: text}), own, ANY)


def test_queue_is_a_label_of_the_cluster(own: dict[str, Any]) -> None:
    labels = render(replace(SETTINGS, queue="batch"), own, ANY)["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "batch"
    assert "kueue.x-k8s.io/queue-name" not in render(SETTINGS, own, ANY)["metadata"]["labels"]
