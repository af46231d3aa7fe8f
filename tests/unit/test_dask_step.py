"""flows/dask-step.yaml and examples/own_step against the Python that they start; no cluster needed."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
import yaml

from daskjobs import errors
from daskjobs.cli import main as cli
from daskjobs.cluster.call import Call, run_step
from daskjobs.cluster.kubernetes.naming import cluster_name, node_key, secret_name
from daskjobs.cluster.kubernetes.secret import mount
from daskjobs.cluster.local import LocalSettings
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import FunctionError, LostWorkError
from manifests import BRACE, ROOT, assert_restricted, documents, escaped, lint, named

FLOW: dict[str, Any] = documents("flows/dask-step.yaml")[0]
TEMPLATES = {each["name"]: each for each in FLOW["spec"]["templates"]}
RUN, CLEANUP = TEMPLATES["run"], TEMPLATES["cleanup"]
INPUTS = {each["name"]: each for each in RUN["inputs"]["parameters"]}
PIPELINE: dict[str, Any] = named(documents("flows/pipeline.yaml"), "WorkflowTemplate")["daskjobs"]["spec"]
EXAMPLE = ROOT / "examples/own_step"
PAGE = (ROOT / "docs/step.md").read_text()
HERE = LocalSettings(workers=1, dashboard="127.0.0.1:0")


def variables(template: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in template["container"]["env"]}


def test_argo_finds_nothing_to_say_of_the_example() -> None:
    done = lint(ROOT / "flows/dask-step.yaml", EXAMPLE / "workflow.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflow_of_the_page_is_good_when_argo_lints_it(tmp_path: Path) -> None:
    (text,) = [each for each in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S) if "kind: Workflow" in each]
    (tmp_path / "theirs.yaml").write_text(text)
    done = lint(ROOT / "flows/dask-step.yaml", tmp_path / "theirs.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_parameter_is_used_and_described_and_has_its_default_once() -> None:
    used = set(re.findall(r"inputs\.parameters(?:\.|\[[\\\\'\"]+)([\w-]+)", json.dumps(RUN)))
    assert used == set(INPUTS)
    assert all(each["description"] for each in INPUTS.values())
    assert [name for name, each in INPUTS.items() if not {"value", "valueFrom"} & each.keys()] == ["call"]


@pytest.mark.parametrize(("template", "command"), [(RUN, "step"), (CLEANUP, "step-cleanup")])
def test_every_variable_is_one_of_the_command(template: dict[str, Any], command: str) -> None:
    assert template["container"]["args"] == [command]
    read = {str(parameter.envvar) for parameter in cli.main.commands[command].params}
    ours = {name for name in variables(template) if name.startswith("DASKJOBS_")}
    assert ours - {BRACE} <= read
    assert {"DASKJOBS_WORKFLOW", "DASKJOBS_WORKFLOW_UID", "DASKJOBS_NODE", "DASKJOBS_POD", "DASKJOBS_OUTPUTS"} <= ours
    assert variables(template)["DASKJOBS_NODE"] == escaped("node.name")
    required = [p.envvar for p in cli.main.commands[command].params if isinstance(p, click.Argument)]
    assert set(required) <= ours


def test_what_may_pass_on_a_second_try_is_what_the_pipeline_tries_again() -> None:
    again = {each["retryStrategy"]["expression"] for each in PIPELINE["templates"] if "retryStrategy" in each}
    assert {RUN["retryStrategy"]["expression"]} == again
    assert f'"{errors.FunctionError.exit_code}"' not in RUN["retryStrategy"]["expression"]


def test_exit_hook_takes_no_parameter_that_a_callers_workflow_has_for_other_things() -> None:
    """Argo gives all parameters of the workflow to an exit hook that has none of its own."""
    (parameter,) = CLEANUP["inputs"]["parameters"]
    assert parameter["name"].startswith("dask-step-")
    assert parameter["valueFrom"] == INPUTS["image"]["valueFrom"]


def test_exit_hook_has_no_attempts_with_which_argo_would_never_end_the_callers_dag() -> None:
    assert "retryStrategy" not in CLEANUP


def test_pods_are_restricted_without_anything_of_the_callers_workflow() -> None:
    """Through templateRef nothing of the WorkflowTemplate but the template itself counts."""
    assert set(FLOW["spec"]) == {"templates"}
    for template in (RUN, CLEANUP):
        patch = yaml.safe_load(template["podSpecPatch"])
        argos = [each for each in patch["containers"] if each["name"] != "main"]
        for container in (template["container"], *patch["initContainers"], *argos):
            assert_restricted(template, container)
        assert patch["automountServiceAccountToken"] is True
        assert template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "daskjobs"
        assert template["volumes"][:1] == [{"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}}]
        assert template["pendingTimeout"] == "5m"
        assert template["activeDeadlineSeconds"]
    assert RUN["serviceAccountName"] == "{{inputs.parameters.service-account}}"
    assert (INPUTS["service-account"]["value"], CLEANUP["serviceAccountName"]) == (
        "daskjobs-cluster",
        "daskjobs-cleanup",
    )


def test_second_attempt_has_the_key_pair_of_the_first_ones_cluster() -> None:
    (volume,) = RUN["volumes"][1:]
    key = "{{= sprig.trunc(12, sprig.sha256sum(node.name)) }}"
    assert node_key("flow.theirs") == hashlib.sha256(b"flow.theirs").hexdigest()[:12]  # as sprig has it
    cluster = cluster_name(ClusterSettings(workflow_uid="{{workflow.uid}}", key=key))
    assert volume["secret"] == {"secretName": secret_name(cluster), "optional": True}
    assert {**mount(), "name": volume["name"]} in RUN["container"]["volumeMounts"]
    assert CLEANUP["volumes"] == RUN["volumes"][:1]


def test_everything_that_a_step_leaves_is_shown() -> None:
    folder = variables(RUN)["DASKJOBS_OUTPUTS"]
    (result,) = RUN["outputs"]["parameters"]
    assert result["valueFrom"]["path"] == f"{folder}/result"
    paths = {each["path"].removeprefix(f"{folder}/") for each in RUN["outputs"]["artifacts"]}
    assert paths == {"files", "performance.html", "logs", "cluster.json"}
    assert all(each["optional"] for each in RUN["outputs"]["artifacts"] + CLEANUP["outputs"]["artifacts"])


def test_functions_of_the_page_give_the_result_that_it_shows_one_as_a_coroutine(tmp_path: Path) -> None:
    first, second = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    (shown,) = re.findall(r'^    (\{"day": .*\})$', PAGE, re.M)
    (tmp_path / "mycompany").mkdir()
    for number, code in enumerate((first, first + second)):
        (tmp_path / f"mycompany/features{number}.py").write_text(code)
        call = Call(f"mycompany.features{number}:build", {"day": "2026-11-25"}, str(tmp_path))
        assert json.loads(run_step(call, HERE)) == json.loads(shown)


def test_sales_are_added_up_by_region(tmp_path: Path) -> None:
    for number, regions in enumerate((["north", "south"], ["north", "west"])):
        frame = pd.DataFrame({"region": regions, "quantity": [1, 2], "price": [1.5, 2.25], "status": "paid"})
        frame.to_parquet(tmp_path / f"{number}.parquet")
    call = Call("sales:by_region", {"orders": f"{tmp_path}/*.parquet"}, str(EXAMPLE))
    assert json.loads(run_step(call, HERE, tmp_path / "out")) == {"north": 3.0, "south": 4.5, "west": 4.5}
    assert "north,2,3.0" in (tmp_path / "out/files/regions.csv").read_text()


def test_simulation_gives_the_same_numbers_again() -> None:
    arguments = {"sales": {"north": 100.0, "south": 50.0}, "swing": 0.2, "paths": 20_000}
    first = run_step(Call("risk:simulate", arguments, str(EXAMPLE)), HERE)
    result = json.loads(first)
    assert 150 < result["mean"] < 156
    assert 100 < result["exceeded"] < 140
    assert run_step(Call("risk:simulate", arguments, str(EXAMPLE)), replace(HERE, workers=2)) == first


@pytest.mark.parametrize(
    ("name", "arguments", "kind"),
    [("error", {"message": "none"}, FunctionError), ("poison", {}, LostWorkError), ("wait", {"seconds": 0.1}, None)],
)
def test_trouble_is_what_it_says(name: str, arguments: dict[str, Any], kind: type[Exception] | None) -> None:
    call = Call(f"trouble:{name}", arguments, str(EXAMPLE))
    if kind is None:
        assert float(run_step(call, HERE)) > 0
        return
    with pytest.raises(kind):
        run_step(call, HERE)


def test_tests_of_the_nets_that_the_page_names_exist() -> None:
    defined = set(
        re.findall(
            r"^def (test_\w+)", "".join(each.read_text() for each in (ROOT / "tests/e2e").glob("test_step*.py")), re.M
        )
    )
    named_there = re.findall(r"`(test_\w+)`", PAGE)
    assert len(named_there) == 5
    assert set(named_there) <= defined


def test_dockerfile_of_the_page_is_that_of_the_example() -> None:
    (dockerfile,) = re.findall(r"^```dockerfile\n(FROM daskjobs.*?)^```$", PAGE, re.M | re.S)
    assert dockerfile == (EXAMPLE / "Dockerfile").read_text()
    assert len(dockerfile.splitlines()) == 4
