"""k8s/ and image/: what is installed, with which rights, and that it builds."""

import re
import shutil
import subprocess
import tomllib
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from daskjobs import cli
from daskjobs.doctor_kubernetes import RIGHTS
from daskjobs.options import DEFAULTS
from manifests import ROOT, USER, assert_restricted, documents, named

OVERLAYS = ("dev", "production")
BASE = documents("k8s/base")
DOCKERFILE = (ROOT / "image/Dockerfile").read_text()


def build(overlay: str) -> list[dict[str, Any]]:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not in PATH")
    command = ["kubectl", "kustomize", str(ROOT / "k8s/overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_holds_the_base_and_the_template_when_it_is_built(overlay: str) -> None:
    built = {(item["kind"], item["metadata"]["name"]) for item in build(overlay)}
    base = {(item["kind"], item["metadata"]["name"]) for item in BASE if item["kind"] != "Kustomization"}
    assert base | {("WorkflowTemplate", "daskjobs")} <= built


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_any_namespace_will_do_when_an_overlay_is_applied(overlay: str) -> None:
    for item in build(overlay):
        assert "namespace" not in item["metadata"]
        assert all("namespace" not in subject for subject in item.get("subjects", []))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_labelled_when_one_wants_to_remove_it(overlay: str) -> None:
    for item in build(overlay):
        assert item["metadata"]["labels"]["app.kubernetes.io/part-of"] == "daskjobs", item["metadata"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_differs_from_the_base_in_its_place_only_when_it_changes_a_map(overlay: str) -> None:
    for name, changed in named(documents(f"k8s/overlays/{overlay}"), "ConfigMap").items():
        assert set(changed["data"]) <= set(named(BASE, "ConfigMap")[name]["data"]) | {"AWS_ENDPOINT_URL"}


def test_every_pod_is_restricted_when_dev_starts_one() -> None:
    pods = [item["spec"]["template"]["spec"] for item in build("dev") if item["kind"] == "Deployment"]
    assert pods
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"] + pod.get("initContainers", []):
            assert_restricted(pod, container)


def test_storage_secret_has_the_keys_that_everyone_asks_for_when_dev_makes_it() -> None:
    secret = named(documents("k8s/overlays/dev"), "Secret")["daskjobs-storage"]
    assert set(secret["stringData"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    for where in ("base", "overlays/dev", "overlays/production"):
        s3 = yaml.safe_load(named(documents(f"k8s/{where}"), "ConfigMap")["daskjobs-artifacts"]["data"]["s3"])["s3"]
        assert s3["accessKeySecret"] == {"name": "daskjobs-storage", "key": "AWS_ACCESS_KEY_ID"}
        assert s3["secretKeySecret"] == {"name": "daskjobs-storage", "key": "AWS_SECRET_ACCESS_KEY"}


@pytest.mark.parametrize("where", ["base", "overlays/dev", "overlays/production"])
def test_artifacts_go_to_the_bucket_of_the_runs(where: str) -> None:
    maps = named(BASE, "ConfigMap") | named(documents(f"k8s/{where}"), "ConfigMap")
    storage = (
        maps["daskjobs"]["data"].get("DASKJOBS_STORAGE")
        or named(BASE, "ConfigMap")["daskjobs"]["data"]["DASKJOBS_STORAGE"]
    )
    bucket = yaml.safe_load(maps["daskjobs-artifacts"]["data"]["s3"])["s3"]["bucket"]
    assert storage.startswith(f"s3://{bucket}/")


def rights(role: str) -> dict[str, list[str]]:
    rules = named(BASE, "Role")[role]["rules"]
    return {resource: rule["verbs"] for rule in rules for resource in rule["resources"]}


def test_roles_have_exact_verbs() -> None:
    life = ["get", "list", "create", "patch", "delete"]
    assert rights("daskjobs-stage") == {"workflowtaskresults": ["create", "patch"]}
    assert rights("daskjobs-cluster") == {
        "daskclusters": life,
        "daskworkergroups": life,
        "pods": ["get", "list"],
        "services": ["get", "list"],
        "deployments": ["get", "list"],
        "replicasets": ["get", "list"],
        "pods/log": ["get"],
        "events": ["list"],
    }
    gone = ["list", "delete"]
    looked_at = {key: ["list"] for key in ("workflows", "services", "deployments", "replicasets")}
    looked_at |= {"events": ["list"], "pods": gone, "pods/status": ["patch"]}
    assert rights("daskjobs-janitor") == {"daskclusters": gone, "daskworkergroups": gone, **looked_at}


def test_janitor_is_bounded_and_restricted_and_runs_the_image_of_the_runs() -> None:
    spec = named(BASE, "CronJob")["daskjobs-janitor"]["spec"]
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert {"startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"} <= set(spec)
    assert job["backoffLimit"] == 0
    assert DEFAULTS["delete_timeout"] * 2 < job["activeDeadlineSeconds"] < 300  # every five minutes
    assert pod["serviceAccountName"] == "daskjobs-janitor"
    assert container["args"][0] in cli.main.commands
    assert_restricted(pod, container)
    for overlay in OVERLAYS:
        built = build(overlay)
        image = named(built, "CronJob")["daskjobs-janitor"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        configured = named(built, "ConfigMap")["daskjobs"]["data"]["DASKJOBS_IMAGE"]
        assert image["containers"][0]["image"] == configured


def test_doctor_asks_for_the_rights_that_the_role_grants() -> None:
    granted = rights("daskjobs-cluster")
    for (_, resource), verbs in RIGHTS.items():
        assert list(verbs) == granted[resource]
    assert granted.keys() - {resource for _, resource in RIGHTS} == {"pods/log"}


def test_each_binding_joins_a_role_to_accounts_that_exist() -> None:
    accounts = set(named(BASE, "ServiceAccount"))
    bound = {
        name: {subject["name"] for subject in binding["subjects"]}
        for name, binding in named(BASE, "RoleBinding").items()
    }
    assert bound == {
        "daskjobs-stage": accounts - {"daskjobs-janitor"},
        "daskjobs-cluster": {"daskjobs-cluster"},
        "daskjobs-janitor": {"daskjobs-janitor"},
    }
    for name, binding in named(BASE, "RoleBinding").items():
        assert binding["roleRef"]["name"] == name in named(BASE, "Role")


def test_a_file_holds_one_kind_when_it_is_in_base() -> None:
    for path in (ROOT / "k8s/base").glob("*.yaml"):
        assert len({item["kind"] for item in documents(f"k8s/base/{path.name}")}) == 1, path.name


def test_dask_is_reached_by_this_installation_and_its_operator_only() -> None:
    policy = named(BASE, "NetworkPolicy")["daskjobs-dask"]["spec"]
    chosen = policy["podSelector"]["matchExpressions"][0]
    assert (chosen["key"], chosen["values"]) == ("dask.org/component", ["scheduler", "worker"])
    own, operator = policy["ingress"]
    assert own["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "daskjobs"}}}]
    assert [port["port"] for port in operator["ports"]] == [8786, 8787]


def test_image_is_pinned_and_runs_as_the_user_of_every_pod() -> None:
    assert re.search(r"^ARG BASE=python:3\.13-slim@sha256:[0-9a-f]{64}$", DOCKERFILE, re.M)
    assert f"--uid {USER} " in DOCKERFILE
    assert re.search(rf"^USER {USER}:{USER}$", DOCKERFILE, re.M)


def test_lock_satisfies_the_project_when_the_image_installs_from_it() -> None:
    text = (ROOT / "image/requirements.lock").read_text()
    locked = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", text, re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for line in project["dependencies"] + extras["s3"] + extras["pod"]:
        needed = Requirement(line)
        assert needed.name in locked, f"{line}: run `make lock`"
        assert needed.specifier.contains(locked[needed.name]), f"{line}: run `make lock`"
