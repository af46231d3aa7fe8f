"""The DaskCluster that validate creates, held against the operator's own schema; no cluster needed."""

from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import pytest
import yaml
from dask_kubernetes.operator.validation import validate_cluster_name
from jsonschema import Draft7Validator

from daskjobs.errors import ConfigError
from daskjobs.resource import DEADLINE, HASH, cluster_name, render
from daskjobs.settings import Settings
from manifests import documents, named

ARGOS = ("ARGO_NODE_ID", "TRACEPARENT")
UID = "4ae4fdaa-725b-43b9-93f5-a673f7408407"
SETTINGS = Settings(
    run="s3://daskjobs/runs/x", workflow="daskjobs-abc", workflow_uid=UID, worker_memory="1Gi", workers=3
)


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
    assert [error.message for error in Draft7Validator(schema).iter_errors(render(SETTINGS, own))] == []
    validate_cluster_name(cluster_name(SETTINGS))


def test_dask_pods_are_as_the_validate_pod_but_for_their_command(own: dict[str, Any]) -> None:
    spec = render(SETTINGS, own)["spec"]
    for pod in (spec["scheduler"]["spec"], spec["worker"]["spec"]):
        (container,) = pod["containers"]
        main = own["containers"][1]
        assert container["image"] == main["image"]
        assert container["envFrom"] == main["envFrom"]
        assert container["securityContext"] == main["securityContext"]
        assert pod["securityContext"] == own["securityContext"]
        assert pod["nodeSelector"] == {"pool": "batch"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["volumes"] == [{"name": "tmp", "emptyDir": {}}]
        assert container["command"] == ["dask"]
        assert "limits" in container["resources"]
    assert spec["worker"]["replicas"] == 3


def test_tasks_do_not_wait_for_workers_for_ever(own: dict[str, Any]) -> None:
    (container,) = render(SETTINGS, own)["spec"]["scheduler"]["spec"]["containers"]
    assert {"name": "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT", "value": "210s"} in container["env"]


def test_task_is_given_up_when_its_worker_dies_three_times(own: dict[str, Any]) -> None:
    (container,) = render(SETTINGS, own)["spec"]["scheduler"]["spec"]["containers"]
    assert {"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "2"} in container["env"]


def test_workers_are_tuned_unless_the_pods_own_environment_says_otherwise(own: dict[str, Any]) -> None:
    own["containers"][1]["env"].append({"name": "MALLOC_TRIM_THRESHOLD_", "value": "1"})
    own["containers"][1]["env"].append({"name": "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE", "value": "0.8"})
    (container,) = render(SETTINGS, own)["spec"]["worker"]["spec"]["containers"]
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names))
    said = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert said["ARROW_DEFAULT_MEMORY_POOL"] == "jemalloc"
    assert said["DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL"] == "500ms"
    assert said["MALLOC_TRIM_THRESHOLD_"] == "1"
    assert said["DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE"] == "False"  # which a run can't do without


def test_deadline_is_after_all_work_and_all_idleness_and_no_part_of_the_shape(own: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    first, later = (render(replace(SETTINGS, timeout=seconds), own)["metadata"]["annotations"] for seconds in (60, 600))
    left = (datetime.fromisoformat(first[DEADLINE]) - now).total_seconds()
    assert (
        left > SETTINGS.start_timeout + SETTINGS.worker_timeout + 60 + render(SETTINGS, own)["spec"]["idleTimeout"] - 2
    )
    assert left < 3600
    assert datetime.fromisoformat(later[DEADLINE]) > datetime.fromisoformat(first[DEADLINE])
    assert first[HASH] == later[HASH]


def test_worker_memory_for_dask_stays_below_the_containers_limit(own: dict[str, Any]) -> None:
    (container,) = render(SETTINGS, own)["spec"]["worker"]["spec"]["containers"]
    limit = int(container["args"][container["args"].index("--memory-limit") + 1])
    assert 0.85 * 2**30 < limit < 0.95 * 2**30
    assert container["resources"]["limits"]["memory"] == "1Gi"


def test_hash_is_the_same_for_a_retry_and_another_for_another_shape(own: dict[str, Any]) -> None:
    def hash_of(settings: Settings) -> str:
        return str(render(settings, own)["metadata"]["annotations"][HASH])

    first = hash_of(SETTINGS)
    for variable in own["containers"][1]["env"][-len(ARGOS) :]:
        variable["value"] = "another attempt"
    assert hash_of(SETTINGS) == first
    assert hash_of(Settings(run=SETTINGS.run, workers=4, workflow_uid=UID, worker_memory="1Gi")) != first


def test_workflow_owns_the_cluster_and_idle_timeout_outlasts_the_wait_for_workers(own: dict[str, Any]) -> None:
    resource = render(SETTINGS, own)
    (owner,) = resource["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Workflow", "daskjobs-abc", UID)
    assert resource["spec"]["idleTimeout"] > SETTINGS.worker_timeout + SETTINGS.start_timeout
    assert "ownerReferences" not in render(Settings(run="x"), own)["metadata"]


def test_memory_that_is_no_quantity_is_refused_with_a_sentence(own: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--worker-memory is 'lots'; give a Kubernetes quantity like 2Gi"):
        render(Settings(run="x", worker_memory="lots"), own)
