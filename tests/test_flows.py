"""flows/ against the Python that it starts: names, environment, exit codes, what is shown."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Pipeline
from daskjobs import cli, errors
from daskjobs.show import SHOWN
from daskjobs.stages import STAGES
from manifests import ROOT, assert_restricted, documents, named

TEXT = (ROOT / "flows/pipeline.yaml").read_text()
SPEC: dict[str, Any] = yaml.safe_load(TEXT)["spec"]
PARAMETERS = {parameter["name"]: parameter for parameter in SPEC["arguments"]["parameters"]}
DEFAULTS = SPEC["templateDefaults"]
TEMPLATES = {template["name"]: template for template in SPEC["templates"]}
TASKS = {task["name"]: task for task in TEMPLATES["pipeline"]["dag"]["tasks"]}
FLOWS = {name: documents(f"flows/{name}.yaml")[0] for name in ("run", "smoke", "nightly")}
WORKFLOWS = {name: flow["spec"].get("workflowSpec", flow["spec"]) for name, flow in FLOWS.items()}
RETRIED = (errors.StorageError, errors.ClusterError, errors.LostWorkError)
LOST = {-1, 137, 143, 0}  # no exit code, SIGKILL, SIGTERM, and work that is done where Argo failed after it


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    """A template's containers, each as it is when Argo has put the defaults into it."""
    own = [{**DEFAULTS["container"], "name": "main", **template["container"]}] if "container" in template else []
    return own + template.get("containerSet", {}).get("containers", [])


PODS = {name: containers(template) for name, template in TEMPLATES.items() if name != "pipeline"}


def argo() -> str:
    home = os.environ.get("ARGO_HOME", "/opt/argo")
    found = shutil.which("argo") or shutil.which("argo", path=home)
    if not found:
        pytest.skip("argo is neither in PATH nor in $ARGO_HOME")
    return found


def lint(*files: Path) -> "subprocess.CompletedProcess[str]":
    command = [argo(), "lint", "--offline", "--strict", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_argo_finds_nothing_to_say_when_it_lints_the_flows() -> None:
    done = lint(*sorted(path for path in (ROOT / "flows").glob("*.yaml") if path.name != "kustomization.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint_fails_when_a_field_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(TEXT.replace("  podGC:", "  podGarbage:"))
    done = lint(tmp_path / "flow.yaml")
    assert done.returncode != 0
    assert "podGarbage" in done.stdout + done.stderr


def test_dag_is_the_stages_in_their_order_when_cleanup_is_left_to_the_exit() -> None:
    assert {name: (task["template"], task.get("depends")) for name, task in TASKS.items()} == {
        "validate": ("validate", None),
        "report": ("report", "validate"),
    }
    assert SPEC["onExit"] == "cleanup"
    order = [container["args"] for name in ("validate", "report", "cleanup") for container in PODS[name]]
    assert order == [["cluster"], *([stage] for stage in STAGES)]


def test_stages_of_a_pod_wait_for_the_one_before_when_the_last_of_them_is_main() -> None:
    """One after another and no two at once: when one fails, those after it end by themselves, before Argo ends them.

    The message of the first that failed, by name, is what Argo shows: that of the one which failed by itself.
    """
    for name, pod in PODS.items():
        names = [container["name"] for container in pod]
        assert names == [*(f"{number}-{each['args'][0]}" for number, each in enumerate(pod[:-1], 1)), "main"]
        assert [container.get("dependencies") for container in pod] == [None, *([before] for before in names[:-1])]
        assert pod[-1]["args"] == [name if name != "smoke" else "run"]


def test_containers_of_a_pod_are_as_every_other_but_for_what_they_run() -> None:
    differ = {"name", "args", "dependencies"}
    for pod in PODS.values():
        for container in pod:
            assert {key: value for key, value in container.items() if key not in differ} == DEFAULTS["container"]


def test_every_command_exists_when_a_template_calls_it() -> None:
    for pod in PODS.values():
        for container in pod:
            assert container["command"] == ["daskjobs"]
            assert container["args"][0] in cli.main.commands


def test_picture_names_every_stage_when_one_reads_the_file() -> None:
    picture = TEXT[: TEXT.index("apiVersion")]
    for name in (*STAGES, "cluster"):
        assert name in picture


def test_every_parameter_is_declared_when_it_is_used_and_used_when_it_is_declared() -> None:
    used = set(re.findall(r"\{\{workflow\.parameters\.([\w-]+)\}\}", TEXT))
    assert used == set(PARAMETERS)
    for name, workflow in WORKFLOWS.items():
        given = {parameter["name"] for parameter in workflow.get("arguments", {}).get("parameters", [])}
        assert given <= set(PARAMETERS), name


def test_every_parameter_has_a_description_and_one_default() -> None:
    for name, parameter in PARAMETERS.items():
        assert parameter["description"], name
        assert ("value" in parameter) != ("valueFrom" in parameter), name


def test_defaults_are_the_command_lines_when_it_has_the_option() -> None:
    options = {option.name: option.default for option in cli.main.commands["validate"].params}
    for name in ("rows", "seed", "input", "partitions"):
        assert PARAMETERS[name]["value"] == str(options[name])


def test_every_variable_is_read_when_a_pod_is_given_it() -> None:
    read = {str(option.envvar) for command in cli.main.commands.values() for option in command.params}
    read |= set(re.findall(r"DASKJOBS_\w+", "".join(path.read_text() for path in (ROOT / "daskjobs").rglob("*.py"))))
    assert {variable["name"] for variable in DEFAULTS["container"]["env"]} <= read


def retried(code: str, message: str) -> bool:
    """Decide as the expression of pipeline.yaml does: its parts, with Python's regular expressions."""
    form = (
        r"\(lastRetry\.exitCode in (?P<codes>\[.*?\]) or lastRetry\.exitCode == \"64\" and "
        r"lastRetry\.message matches (?P<sentence>\".*?[^\\]\")\) "
        r"and not \(lastRetry\.message contains (?P<late>\".*?\")\)"
    )
    found = re.fullmatch(form, DEFAULTS["retryStrategy"]["expression"])
    assert found
    codes, sentence, late = (json.loads(found[name]) for name in ("codes", "sentence", "late"))
    return (code in codes or (code == "64" and bool(re.search(sentence, message)))) and late not in message


NEVER = {1, 2, 64, 126, 127, errors.InputError.exit_code, errors.ConfigError.exit_code}
AGAIN = {error.exit_code for error in RETRIED} | LOST


@pytest.mark.parametrize(("codes", "again"), [(AGAIN, True), (NEVER, False)])
def test_retry_is_for_exit_codes_of_what_may_pass_on_a_second_try(codes: set[int], again: bool) -> None:
    for code in codes:
        assert retried(str(code), f"main: Error (exit code {code}): a sentence (exit code 20)") == again, code
    assert not retried("-1", "Pod was active on the node longer than the specified deadline")
    assert DEFAULTS["retryStrategy"]["backoff"]["factor"] > 1


@pytest.mark.parametrize(("codes", "again"), [(AGAIN - {-1, 0}, True), (NEVER, False)])
def test_retry_looks_at_the_stage_that_failed_when_it_was_not_the_last_of_its_pod(codes: set[int], again: bool) -> None:
    for code in codes:
        own = f"2-generate: {'OOMKilled' if code == 137 else 'Error'} (exit code {code}): a sentence (exit code 20)"
        assert retried("64", own) == again, code
        of_another = f'2-clean: Error (exit code 64): dependency "1-merge" exited with non-zero code: {code}'
        assert retried("64", of_another) == again, code


def test_no_template_has_a_retry_of_its_own_when_it_is_a_stage() -> None:
    own = [name for name, template in TEMPLATES.items() if "retryStrategy" in template]
    assert own == ["pipeline"]
    assert TEMPLATES["pipeline"]["retryStrategy"]["limit"] == 0


def test_every_wait_has_an_end() -> None:
    assert SPEC["activeDeadlineSeconds"] > TEMPLATES["validate"]["activeDeadlineSeconds"]
    assert DEFAULTS["activeDeadlineSeconds"] > TEMPLATES["cleanup"]["activeDeadlineSeconds"] > 0
    assert set(SPEC["ttlStrategy"]) == {"secondsAfterSuccess", "secondsAfterFailure"}
    assert SPEC["podGC"]


def test_what_stages_show_is_an_artifact_when_people_look_at_the_run() -> None:
    shown = {}
    for name, template in TEMPLATES.items():
        paths = [artifact["path"] for artifact in template.get("outputs", {}).get("artifacts", [])]
        if paths:
            shown[name] = sorted(paths)
    outputs = next(v["value"] for v in DEFAULTS["container"]["env"] if v["name"] == "DASKJOBS_OUTPUTS")
    copied = {
        name: sorted(f"{outputs}/{Path(file).name}" for stage in pod for file in SHOWN.get(stage["args"][0], ()))
        for name, pod in PODS.items()
    }
    assert shown == {name: files for name, files in copied.items() if files}


def test_output_parameters_are_row_counts_of_the_report_when_it_is_written(pipeline: Pipeline) -> None:
    rows = pipeline()["report"]["rows"]
    parameters = TEMPLATES["report"]["outputs"]["parameters"]
    assert [parameter["name"] for parameter in parameters] == ["orders", "revenue", "rejected"]
    assert all(Path(parameter["valueFrom"]["path"]).name in rows for parameter in parameters)


def test_every_pod_carries_the_labels_of_its_run() -> None:
    assert SPEC["podMetadata"]["labels"] == {
        "app.kubernetes.io/part-of": "daskjobs",
        "daskjobs/run": "{{workflow.uid}}",
    }


def test_every_container_is_restricted_when_a_namespace_asks_for_it() -> None:
    patch = yaml.safe_load(SPEC["podSpecPatch"])
    assert [container["name"] for container in patch["initContainers"] + patch["containers"]] == ["init", "wait"]
    stages = [container for pod in PODS.values() for container in pod]
    for container in (*stages, *patch["initContainers"], *patch["containers"]):
        assert_restricted(SPEC, container)


def test_accounts_maps_and_keys_exist_when_the_flow_refers_to_them() -> None:
    base = documents("k8s/base")
    maps = named(base, "ConfigMap")
    accounts = {SPEC["serviceAccountName"]} | {
        t["serviceAccountName"] for t in TEMPLATES.values() if "serviceAccountName" in t
    }
    assert accounts | {"daskjobs-janitor"} == set(named(base, "ServiceAccount"))
    assert SPEC["artifactRepositoryRef"]["key"] in maps[SPEC["artifactRepositoryRef"]["configMap"]]["data"]
    for parameter in PARAMETERS.values():
        if "valueFrom" in parameter:
            reference = parameter["valueFrom"]["configMapKeyRef"]
            assert reference["key"] in maps[reference["name"]]["data"]
            assert maps[reference["name"]]["metadata"]["labels"]["workflows.argoproj.io/configmap-type"] == "Parameter"


def test_only_those_who_own_the_dask_cluster_may_touch_it() -> None:
    owners = [name for name, t in TEMPLATES.items() if t.get("serviceAccountName") == "daskjobs-cluster"]
    assert owners == ["validate", "cleanup", "smoke"]


def test_every_flow_starts_the_template_when_it_is_submitted() -> None:
    for name, workflow in WORKFLOWS.items():
        assert workflow["workflowTemplateRef"] == {"name": "daskjobs"}, name
    assert WORKFLOWS["smoke"]["entrypoint"] in TEMPLATES


def test_nightly_uses_the_fields_of_version_4_when_two_runs_could_collide() -> None:
    assert isinstance(FLOWS["nightly"]["spec"]["schedules"], list)
    assert WORKFLOWS["nightly"]["synchronization"]["mutexes"]
    assert FLOWS["nightly"]["spec"]["concurrencyPolicy"] == "Forbid"
