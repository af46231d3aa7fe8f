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
COMMANDS = {name: template["container"]["args"] for name, template in TEMPLATES.items() if "container" in template}
TASKS = TEMPLATES["pipeline"]["dag"]["tasks"]
FLOWS = {name: documents(f"flows/{name}.yaml")[0] for name in ("run", "smoke", "nightly")}
WORKFLOWS = {name: flow["spec"].get("workflowSpec", flow["spec"]) for name, flow in FLOWS.items()}
RETRIED = (errors.StorageError, errors.ClusterError, errors.LostWorkError)
LOST = {-1, 137, 143, 0}  # no exit code, SIGKILL, SIGTERM, and work that is done where Argo failed after it


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
    assert [task.get("depends") for task in TASKS] == [None, TASKS[0]["name"]]
    done = [stage for task in TASKS for stage in COMMANDS[task["template"]]]
    assert done == ["stages", "cluster", "generate", "split", "validate", "stages", "merge", "clean", "report"]
    assert {*done, "cleanup"} == {*STAGES, "stages", "cluster"}
    assert COMMANDS[SPEC["onExit"]] == ["cleanup"]


def test_task_names_its_stages_and_a_pod_the_last_of_them() -> None:
    for task in TASKS:
        stages = [stage for stage in COMMANDS[task["template"]] if stage in STAGES]
        assert task["name"] == "-".join(stages)
        assert task["template"] == stages[-1]


def test_every_command_exists_when_a_template_calls_it() -> None:
    assert DEFAULTS["container"]["command"] == ["daskjobs"]
    assert {arguments[0] for arguments in COMMANDS.values()} <= set(cli.main.commands)


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


def test_retry_names_the_exit_codes_of_what_may_pass_on_a_second_try() -> None:
    late = re.escape('and not (lastRetry.message contains "specified deadline")')
    codes = re.fullmatch(
        rf"lastRetry\.exitCode in (\[.*\]) {late}", TEMPLATES["validate"]["retryStrategy"]["expression"]
    )
    assert codes
    retried = {int(code) for code in json.loads(codes[1])}
    assert retried == {error.exit_code for error in RETRIED} | LOST
    assert retried.isdisjoint({1, 2, errors.InputError.exit_code, errors.ConfigError.exit_code})
    assert TEMPLATES["validate"]["retryStrategy"]["backoff"]["factor"] > 1


def test_every_pod_is_retried_alike_and_the_dag_is_not() -> None:
    assert "retryStrategy" not in DEFAULTS
    again = {name: template.get("retryStrategy") for name, template in TEMPLATES.items()}
    assert again.pop("pipeline") is None
    assert all(strategy == again["validate"] for strategy in again.values())


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
        name: sorted(f"{outputs}/{Path(file).name}" for stage in stages for file in SHOWN.get(stage, ()))
        for name, stages in COMMANDS.items()
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
    for container in (DEFAULTS["container"], *patch["initContainers"], *patch["containers"]):
        assert_restricted(SPEC, container)
    for template in TEMPLATES.values():
        assert set(template.get("container", {})) <= {"args"}


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
