"""k8s/ and image/: what is installed, with which rights, and that it builds."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from daskjobs.cli import main as cli
from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.examination import RIGHTS
from daskjobs.cluster.kubernetes.spec import CONTAINER_FIELDS, POD_FIELDS, render
from daskjobs.version import __version__
from manifests import ROOT, USER, assert_restricted, build, documents, locked_in, named, rights

OVERLAYS = ("dev", "production")
BASE = documents("k8s/base")
DOCKERFILE = (ROOT / "image/Dockerfile").read_text()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_holds_the_base_and_the_template_when_it_is_built(overlay: str) -> None:
    built = {(item["kind"], item["metadata"]["name"]) for item in build(overlay)}
    base = {(item["kind"], item["metadata"]["name"]) for item in BASE if item["kind"] != "Kustomization"}
    assert base | {("WorkflowTemplate", "daskjobs"), ("WorkflowTemplate", "dask-step")} <= built


@pytest.mark.parametrize("overlay", [*OVERLAYS, "step"])
def test_any_namespace_will_do_when_an_overlay_is_applied(overlay: str) -> None:
    for item in build(overlay):
        assert "namespace" not in item["metadata"]
        assert all("namespace" not in subject for subject in item.get("subjects", []))


@pytest.mark.parametrize("overlay", [*OVERLAYS, "step"])
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


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_workflow_that_names_no_artifact_repository_has_that_of_the_runs(overlay: str) -> None:
    maps = named(build(overlay), "ConfigMap")
    default = maps["artifact-repositories"]  # the name is Argo's
    key = default["metadata"]["annotations"]["workflows.argoproj.io/default-artifact-repository"]
    assert default["data"][key] == maps["daskjobs-artifacts"]["data"]["s3"]


def test_overlay_step_has_the_template_and_nothing_of_orders() -> None:
    built = build("step")
    kinds = {(item["kind"], item["metadata"]["name"]) for item in built}
    base = {(item["kind"], item["metadata"]["name"]) for item in BASE if item["kind"] != "Kustomization"}
    artifacts = {("ConfigMap", "daskjobs-artifacts"), ("ConfigMap", "artifact-repositories")}
    assert kinds == base - artifacts | {("WorkflowTemplate", "dask-step")}
    data = named(built, "ConfigMap")["daskjobs"]["data"]
    assert set(data) == {"DASKJOBS_IMAGE", "DASKJOBS_ARTIFACTS", "DASKJOBS_WORKER_CPU", "DASKJOBS_WORKER_MEMORY"}
    templates = named(built, "WorkflowTemplate")["dask-step"]["spec"]["templates"]
    accounts = {template["serviceAccountName"] for template in templates}
    assert accounts - {"{{inputs.parameters.service-account}}"} <= set(named(built, "ServiceAccount"))
    image = named(built, "CronJob")["daskjobs-janitor"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert image["containers"][0]["image"] == data["DASKJOBS_IMAGE"]


def test_janitor_is_bounded_and_restricted_and_runs_the_image_of_the_runs() -> None:
    spec = named(BASE, "CronJob")["daskjobs-janitor"]["spec"]
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert {"startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"} <= set(spec)
    assert job["backoffLimit"] == 0
    assert KubernetesSettings.delete_timeout * 2 < job["activeDeadlineSeconds"] < 300  # every five minutes
    assert pod["serviceAccountName"] == "daskjobs-janitor"
    assert pod["automountServiceAccountToken"] is True
    assert container["args"][0] in cli.main.commands
    assert_restricted(pod, container)
    for overlay in OVERLAYS:
        built = build(overlay)
        image = named(built, "CronJob")["daskjobs-janitor"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        configured = named(built, "ConfigMap")["daskjobs"]["data"]["DASKJOBS_IMAGE"]
        assert image["containers"][0]["image"] == configured


def test_no_pod_has_a_token_by_its_account_alone() -> None:
    for name, account in named(BASE, "ServiceAccount").items():
        assert account["automountServiceAccountToken"] is False, name


def test_doctor_asks_for_the_rights_that_a_run_has() -> None:
    asked = {f"{verb} {resource}" for (_, resource), verbs in RIGHTS.items() for verb in verbs}
    of_argo = rights("daskjobs-stage")
    assert rights("daskjobs-cluster") - of_argo - asked == {"get pods/log"}
    assert asked <= rights("daskjobs-cluster")


def test_each_binding_joins_a_role_of_its_name_to_accounts_that_exist() -> None:
    accounts = set(named(BASE, "ServiceAccount"))
    for name, binding in named(BASE, "RoleBinding").items():
        assert binding["roleRef"]["name"] == name in named(BASE, "Role")
        assert {subject["name"] for subject in binding["subjects"]} <= accounts
    assert all(rights(account) for account in accounts)


def test_admission_lets_through_the_fields_that_a_run_sets_and_no_others() -> None:
    policies = named(documents("k8s/admission"), "ValidatingAdmissionPolicy")
    variables = {each["name"]: each["expression"] for each in policies["daskjobs-dask-clusters"]["spec"]["variables"]}
    own = {"containers": [{"name": "main", "image": "daskjobs:dev", "envFrom": []}]}
    spec = render(KubernetesSettings(), own)["spec"]
    pods = [spec[part]["spec"] for part in ("scheduler", "worker")]
    let_through = {name: set(re.findall(r"'(\w+)'", text)) for name, text in variables.items()}
    assert let_through["strayPodFields"] == {*POD_FIELDS, *(field for pod in pods for field in pod)}
    containers = [container for pod in pods for container in pod["containers"]]
    assert let_through["strayContainerFields"] == {*CONTAINER_FIELDS, *(field for each in containers for field in each)}


def test_each_admission_policy_is_bound_for_namespaces_that_say_so_alone() -> None:
    found = documents("k8s/admission")
    policies = named(found, "ValidatingAdmissionPolicy")
    bindings = named(found, "ValidatingAdmissionPolicyBinding")
    assert set(policies) == {binding["spec"]["policyName"] for binding in bindings.values()} == set(bindings)
    for name, binding in bindings.items():
        assert policies[name]["spec"]["failurePolicy"] == "Fail"
        assert binding["spec"]["validationActions"] == ["Deny"]
        chosen = binding["spec"]["matchResources"]["namespaceSelector"]
        assert chosen == {"matchLabels": {"daskjobs/admission": "enforced"}}
        assert "paramKind" not in policies[name]["spec"]  # which API servers lose track of: kubernetes#130887


def test_a_file_holds_one_kind_when_it_is_in_base() -> None:
    for path in (ROOT / "k8s/base").glob("*.yaml"):
        assert len({item["kind"] for item in documents(f"k8s/base/{path.name}")}) == 1, path.name


def test_production_names_its_image_by_digest() -> None:
    image = named(documents("k8s/overlays/production"), "ConfigMap")["daskjobs"]["data"]["DASKJOBS_IMAGE"]
    assert re.fullmatch(r"[\w.]+/daskjobs:[\d.]+@sha256:[0-9a-f]{64}", image)


def test_tags_of_images_and_names_of_wheels_have_the_version_of_the_package() -> None:
    files = [file for folder in ("k8s", "flows", "docs", "examples") for file in (ROOT / folder).rglob("*.[my]*")]
    said = {file: set(re.findall(r"\bdaskjobs[:-](\d[\w.]*\d)", file.read_text())) for file in files}
    assert {str(file): versions - {__version__} for file, versions in said.items() if versions - {__version__}} == {}
    assert {file.parent.name for file, versions in said.items() if versions} >= {"production", "step", "docs"}


def test_image_is_pinned_and_runs_as_the_user_of_every_pod() -> None:
    assert re.search(r"^ARG BASE=python:3\.13-slim@sha256:[0-9a-f]{64}$", DOCKERFILE, re.M)
    assert f"--uid {USER} " in DOCKERFILE
    assert re.search(rf"^USER {USER}:{USER}$", DOCKERFILE, re.M)


def test_locks_satisfy_the_project_when_the_image_is_built_from_them() -> None:
    said = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = said["project"]["optional-dependencies"]
    needs = {
        "requirements": said["project"]["dependencies"] + extras["s3"] + extras["pod"],
        "build": said["build-system"]["requires"] + said["dependency-groups"]["image"],
        "tools": said["dependency-groups"]["tools"],
    }
    for name, lines in needs.items():
        locked = locked_in(f"image/{name}.lock")
        for needed in map(Requirement, lines):
            assert needed.name in locked, f"{needed}: run `make lock`"
            assert needed.specifier.contains(locked[needed.name]), f"{needed}: run `make lock`"


def test_nothing_is_installed_into_the_image_without_its_hash() -> None:
    stage = DOCKERFILE[: DOCKERFILE.rindex("FROM ${BASE}")].replace("\\\n", "")
    assert 'locked="install --no-cache-dir --no-deps --only-binary :all: --require-hashes"' in stage
    calls = re.findall(r"-m pip --python \S+ (.*?)(?:&&|\n)", stage)
    assert len(calls) == 4
    for call in calls:
        assert call.startswith("$locked -r image/") or "--no-deps --no-index" in call, call
