"""What a parameter says reaches the process byte for byte, whatever Argo and Kubernetes would make of it on the way."""

import copy
import json
import re
from typing import Any

import pytest
import yaml

from daskjobs.cluster.results import kept_by_argo
from e2e.conftest import IMAGE, ROOT, Namespace, pods_of
from e2e.steps import attempts, create, log, submit, task

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo")]

TEXT = """$(AWS_SECRET_ACCESS_KEY) $$ $$$ ' " \\ \n ü {{=1+41}} {{workflow.uid}} {{{ $(DASKJOBS_BRACE)"""
OF_A_STEP = TEXT.replace("{{=1+41}} {{workflow.uid}} {{{", "{")  # what stands in braces in theirs is Argo's
PIPELINE, STEP = (
    yaml.safe_load((ROOT / f"flows/{name}.yaml").read_text())["spec"] for name in ("pipeline", "dask-step")
)
ANY = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"generateName": "echo-"}}
ECHO = """
import json, os, pathlib
args = pathlib.Path("/tmp/given/args.json")
print(json.dumps([dict(os.environ), args.read_text() if args.exists() else ""]))
"""
# Of the parameters, those by which pods are made: the others are variables.
MAKE_PODS = {"image": IMAGE, "secret": "daskjobs-storage", "cluster": "kubernetes"}
SECRET = "for-development-only"
OF_PODS = {
    "image", "secret", "config-map", "retries", "timeout", "start-timeout", "worker-timeout", "queue", "queue-timeout",
    "service-account", "step-cpu", "step-memory", "args",
}  # fmt: skip


@pytest.fixture(autouse=True)
def image(place: Namespace) -> None:
    """Have cleanups run the image that is tested."""
    place.configure(DASKJOBS_IMAGE=IMAGE)


def echoing(spec: dict[str, Any], name: str) -> dict[str, Any]:
    """A template whose container prints its environment instead of doing its work."""
    (found,) = [copy.deepcopy(each) for each in spec["templates"] if each["name"] == name]
    for key in ("outputs", "retryStrategy"):
        found.pop(key, None)
    found["container"] |= {"command": ["python", "-c"], "args": [ECHO]}
    return found | {"inputs": {key: value for key, value in found.get("inputs", {}).items() if name == "run"}}


def echoing_flow(spec: dict[str, Any], *names: str) -> dict[str, Any]:
    """The spec of a workflow of such templates of a flow, side by side."""
    templates = [echoing(spec, name) for name in names]
    tasks = [{"name": name, "template": name} for name in names]
    return spec | {"entrypoint": "all", "templates": [*templates, {"name": "all", "dag": {"tasks": tasks}}]}


def printed(namespace: Namespace, node: dict[str, Any]) -> tuple[dict[str, str], str]:
    (line,) = [line for line in log(namespace, node).splitlines() if line.startswith("[{")]
    environment, arguments = json.loads(line)
    return environment, arguments


def test_parameter_of_any_template_arrives_as_it_is_and_no_secret_is_put_into_it(namespace: Namespace) -> None:
    given = {each["name"]: MAKE_PODS.get(each["name"], TEXT) for each in PIPELINE["arguments"]["parameters"]}
    of_step = {each["name"]: OF_A_STEP for each in STEP["templates"][0]["inputs"]["parameters"]}
    of_step = {name: value for name, value in of_step.items() if name not in OF_PODS}
    made = {name: MAKE_PODS[name] for name in ("image", "secret")}
    arguments = kept_by_argo(json.dumps({"text": TEXT}))
    step = {**of_step, **made, "args": arguments, "step-cpu": "20m", "step-memory": "300Mi"}
    runs = echoing_flow(PIPELINE, "validate")
    runs["templates"].append(echoing(PIPELINE, runs["onExit"]))
    runs["arguments"] = {"parameters": [{"name": name, "value": value} for name, value in given.items()]}
    steps = echoing_flow(STEP, "run")
    (called,) = steps["templates"][-1]["dag"]["tasks"]
    called["arguments"] = {"parameters": [{"name": name, "value": value} for name, value in step.items()]}
    names = [create(namespace, {**ANY, "spec": spec}) for spec in (runs, steps)]
    done = [namespace.finished(name) for name in names]
    for workflow in done:
        assert workflow["status"]["phase"] == "Succeeded", [each.get("message") for each in pods_of(workflow)]
    said = {node["templateName"]: printed(namespace, node) for workflow in done for node in pods_of(workflow)}

    for template, chosen in (("validate", given), ("cleanup", given), ("run", of_step)):
        environment, file = said[template]
        assert str(environment).count(SECRET) == 1, template  # where it belongs
        for name in chosen.keys() - {"image", "storage"}:
            assert environment[f"DASKJOBS_{name.upper().replace('-', '_')}"] == chosen[name], (template, name)
        if template == "run":
            assert json.loads(file) == {"text": TEXT}
            assert environment["DASKJOBS_NODE"] == f"{names[1]}.run"
        else:
            assert environment["DASKJOBS_RUN"] == f"{TEXT}/{done[0]['metadata']['uid']}"


def test_result_that_is_handed_on_arrives_as_it_is_and_args_may_be_longer_than_a_variable(namespace: Namespace) -> None:
    """Two results of 70,000 bytes go into one step's args, with a text that Argo and Kubernetes would expand.

    So do a part of one of them, and a parameter of the workflow, by the expressions of the page.
    """
    length = 70_000
    args = kept_by_argo(json.dumps({"value": TEXT, "length": length}))
    page = (ROOT / "docs/step.md").read_text()
    part, parameter = re.findall(r"{{= toJson\(.*?}}(?=,\n|`)", page)
    part = part.replace("features", "first").replace("$.day", "$[0]")
    whole, second = (f"{{{{tasks.{name}.outputs.parameters.result}}}}" for name in ("first", "second"))
    both = f'{{"value": [{whole}, {part}, {parameter}], "taken": {second}}}'
    steps = [
        task("trouble:echo", given, secret="daskjobs-storage") | {"name": name}
        for name, given in (("first", args), ("second", args), ("third", both))
    ]
    steps[2]["depends"] = "first && second"
    done = namespace.finished(submit(namespace, *steps, day=OF_A_STEP))
    assert done["status"]["phase"] == "Succeeded", [step.get("message") for step in attempts(done)]
    result = attempts(done)[-1]["outputs"]["parameters"][0]["value"]
    first = [TEXT, len("null"), "x" * length]
    assert json.loads(result) == [[first, TEXT, OF_A_STEP], len(json.dumps(first)), ""]


def test_parameter_that_makes_no_sense_fails_its_run_once_and_cleanup_works(namespace: Namespace) -> None:
    for parameters, sentence in (
        ({"cluster": "tcp://elsewhere:8786"}, "--cluster must be .*, got 'neither kubernetes nor local'"),
        ({"workers": TEXT}, "--workers"),
    ):
        done = namespace.finished(namespace.submit(**parameters))
        assert done["status"]["phase"] == "Failed"
        failed = [pod for pod in pods_of(done) if pod["phase"] == "Failed"]
        assert failed
        assert {pod["outputs"]["exitCode"] for pod in failed} == {"2"}
        assert re.search(sentence, failed[0]["message"])
        assert SECRET not in str(done["status"])
        assert [pod["phase"] for pod in pods_of(done, "cleanup")] == ["Succeeded"]
