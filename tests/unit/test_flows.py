"""flows/ against the Python that it starts: names, environment, exit codes, what is shown."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from conftest import Pipeline
from daskjobs import errors
from daskjobs.cli import main as cli
from daskjobs.cli.artifacts import MANIFESTS, show
from daskjobs.cli.commands import PENDING_SECONDS
from daskjobs.cluster.kubernetes.naming import cluster_name, secret_name
from daskjobs.cluster.kubernetes.secret import mount
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.stages import STAGES, new_context
from daskjobs.stages.dropped import FILE
from daskjobs.stages.run_settings import Settings
from manifests import BRACE, ROOT, assert_restricted, documents, escaped, lint, named

TEXT = (ROOT / "flows/pipeline.yaml").read_text()
SPEC: dict[str, Any] = yaml.safe_load(TEXT)["spec"]
PARAMETERS = {parameter["name"]: parameter for parameter in SPEC["arguments"]["parameters"]}
DEFAULTS = SPEC["templateDefaults"]
TEMPLATES = {template["name"]: template for template in SPEC["templates"]}
COMMANDS = {name: template["container"]["args"] for name, template in TEMPLATES.items() if "container" in template}
VARIABLES = {entry["name"]: entry.get("value") for entry in DEFAULTS["container"]["env"]}
DAGS = {
    name: {task["name"]: task for task in template["dag"]["tasks"]}
    for name, template in TEMPLATES.items()
    if "dag" in template
}
PODS = {name: template for name, template in TEMPLATES.items() if "container" in template}
FLOWS = {name: documents(f"flows/{name}.yaml")[0] for name in ("run", "smoke", "nightly", "backfill", "on-file")}
WORKFLOWS = {name: flow["spec"].get("workflowSpec", flow["spec"]) for name, flow in FLOWS.items()}
RETRIED = (errors.StorageError, errors.ClusterError, errors.LostWorkError)
# In quotes, as Go writes them: what Kubernetes or Argo would expand is an escape there, which outcome.of_argo reads.
FAILURES = (
    "{{= len(workflow.failures) < 30000"
    ' ? replace(replace(workflow.failures, "$", "\\\\u0024"), "{", "\\\\u007b") : "" }}'
)
LOST = {-1, 137, 143, 0}  # no exit code, SIGKILL, SIGTERM, and work that is done where Argo failed after it


def test_argo_finds_nothing_to_say_when_it_lints_the_flows() -> None:
    done = lint(*sorted(path for path in (ROOT / "flows").glob("*.yaml") if path.name != "kustomization.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint_fails_when_a_field_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(TEXT.replace("  podGC:", "  podGarbage:"))
    done = lint(tmp_path / "flow.yaml")
    assert done.returncode != 0
    assert "podGarbage" in done.stdout + done.stderr


def edges(tasks: dict[str, Any]) -> set[tuple[str, str]]:
    return {(a, b) for b, task in tasks.items() for a in re.findall(r"[\w-]+", task.get("depends", ""))}


def drawn(picture: str) -> set[tuple[str, str]]:
    """Read the edges off a picture: a ─▶ b, and what comes together, ─┐ over ─┘, goes to what ├─▶ points to."""
    found = set(re.findall(r"([\w-]+) ─+▶ (?=([\w-]+))", picture))
    together, to = re.findall(r"([\w-]+) ─+[┐┘]", picture), re.findall(r"├─▶ ([\w-]+)", picture)
    return found | {(a, b) for a in together for b in to}


def test_pipeline_is_every_stage_as_a_task_and_split_the_first_half_of_validate() -> None:
    tasks = DAGS[SPEC["entrypoint"]]
    expected = ["cluster", *(stage for stage in STAGES if stage not in ("split", "cleanup"))]
    assert list(tasks) == expected, "the template pipeline in flows/pipeline.yaml must have a task for each stage"
    for name, task in tasks.items():
        has_template = task["template"] == name and name in COMMANDS
        assert has_template, f"the task {name} in flows/pipeline.yaml must have a template of its name"
        assert COMMANDS[name] == (["stages", "split", "validate"] if name == "validate" else [name])
    assert COMMANDS[SPEC["onExit"]] == ["cleanup"]


def test_pods_that_use_the_dask_cluster_have_its_key_pair_and_no_other_pod_has() -> None:
    name = secret_name(cluster_name(ClusterSettings(workflow_uid="{{workflow.uid}}")))
    for template, pod in PODS.items():
        uses = {"cluster", "validate", "run"} & {*COMMANDS[template]}
        volumes = [{"name": "tls", "secret": {"secretName": name, "optional": True}}]
        assert pod.get("volumes", []) == (volumes if uses else []), template
        assert pod["container"].get("volumeMounts", []) == ([mount()] if uses else []), template


def test_compact_does_what_pipeline_does_in_two_pods() -> None:
    tasks = DAGS["compact"]
    assert edges(tasks) == {tuple(tasks)}
    done = [stage for task in tasks.values() for stage in COMMANDS[task["template"]] if stage != "stages"]
    expected = ["cluster", *(stage for stage in STAGES if stage != "cleanup")]
    assert done == expected, "the pods of the template compact in flows/pipeline.yaml must run each stage"
    for name, task in tasks.items():
        joined = "-".join(stage for stage in COMMANDS[name] if stage in STAGES)
        assert task["template"] == name == joined, (
            f"in flows/pipeline.yaml, a pod of compact is named by its stages: {joined}"
        )


def test_pictures_are_the_dags_when_one_reads_the_file_or_the_docs() -> None:
    pictures = TEXT[: TEXT.index("apiVersion")]
    drawings = edges(DAGS["pipeline"]) | edges(DAGS["compact"]) | edges(DAGS["each"])
    assert drawn(pictures) == drawings, "the pictures at the top of flows/pipeline.yaml must be its DAGs"
    page = (ROOT / "docs/kubernetes.md").read_text()
    section = page[: page.index("## Install")]
    assert drawn(section) == edges(DAGS["pipeline"]), "the picture in docs/kubernetes.md must be the DAG"
    assert "cleanup" in pictures
    assert "cleanup" in section
    for name in ("backfill", "on-file"):
        picture = (ROOT / f"flows/{name}.yaml").read_text().partition("apiVersion")[0]
        assert drawn(picture) == edges(DAGS["each"]), name
        assert WORKFLOWS[name]["onExit"] in picture


def test_task_is_given_the_manifests_of_all_that_it_reads_by_those_who_made_them() -> None:
    """What a stage reads is what its own manifest names as inputs; those of one pod need no artifact between them."""
    given = {name: {path.stem for path in _paths(template, "inputs")} for name, template in PODS.items()}
    shown = {name: {path.stem for path in _paths(template, "outputs")} for name, template in PODS.items()}
    tasks = DAGS["pipeline"]
    needed = needs(tasks)
    for name in tasks:
        reads = {stage for made in needed[name].values() for stage in made}
        assert given.get(name) == reads, (
            f"the template {name} in flows/pipeline.yaml must have the manifests of {sorted(reads)} as inputs"
        )
    for name, task in tasks.items():
        artifacts = [each for each in task.get("arguments", {}).get("artifacts", []) if each["name"] != FILE]
        handed = {artifact["name"].removesuffix("-manifest") for artifact in artifacts}
        assert handed == given[name], (
            f"the task {name} in flows/pipeline.yaml must be given the manifests that its template has as inputs"
        )
        for artifact in artifacts:
            source, made = re.fullmatch(
                r"\{\{tasks\.([\w-]+)\.outputs\.artifacts\.([\w-]+)\}\}", artifact["from"]
            ).groups()
            assert artifact["name"] == made
            assert made.removesuffix("-manifest") in shown[source], (
                f"the template {source} in flows/pipeline.yaml must have {made} as an output"
            )
    assert not any(given[name] for name in DAGS["compact"])
    optional = [a["name"] for t in PODS.values() for a in t.get("inputs", {}).get("artifacts", []) if a.get("optional")]
    # That task is skipped where the input is named; and where orders are dropped, it writes no manifest.
    assert optional == [FILE, "generate-manifest", FILE]


def test_orders_that_are_dropped_reach_the_pods_that_generate_them_otherwise() -> None:
    """From the UI's form, which has the workflow's artifacts, through the entrypoint, as they are."""
    (offered,) = SPEC["arguments"]["artifacts"]
    assert offered == {
        "name": FILE,
        "from": f"{{{{inputs.artifacts.{FILE}}}}}",
        "archive": {"none": {}},  # or Argo would unpack it
        "optional": True,
    }
    for dag, name in (("pipeline", "generate"), ("compact", "generate-split-validate")):
        assert TEMPLATES[dag]["inputs"] == {"artifacts": [{"name": FILE, "optional": True}]}
        assert [each for each in DAGS[dag][name]["arguments"]["artifacts"] if each["name"] == FILE] == [offered]
        (given,) = TEMPLATES[name]["inputs"]["artifacts"]
        assert given == {"name": FILE, "path": f"{VARIABLES['DASKJOBS_GIVEN']}/{FILE}", "optional": True}
    made = {each["name"]: each for each in TEMPLATES["generate"]["outputs"]["artifacts"]}
    assert made["generate-manifest"]["optional"]


def needs(tasks: dict[str, Any]) -> dict[str, dict[str, set[str]]]:
    """For each task, the tasks that make what its stages need, and the stages that they need of each."""
    stages = {name: [stage for stage in COMMANDS.get(name, [name]) if stage in STAGES] for name in tasks}
    made_by = {stage: name for name, made in stages.items() for stage in made}
    found: dict[str, dict[str, set[str]]] = {name: {} for name in tasks}
    for name, own in stages.items():
        for stage in own:
            for need in set(STAGES[stage].needs) - set(own):
                found[name].setdefault(made_by[need], set()).add(need)
    return found


def test_dependencies_of_the_dag_are_what_stages_need_and_no_more() -> None:
    """Those that follow from others are left out: clean needs merge, so report needs to wait for clean alone."""
    tasks = DAGS["pipeline"]
    direct = {name: set(needed) for name, needed in needs(tasks).items()}
    before = dict[str, set[str]]()
    for name in tasks:  # in an order in which they can run
        before[name] = direct[name].union(*(before[other] for other in direct[name]))
    expected = {
        (other, name)
        for name in tasks
        for other in direct[name]
        if not any(other in before[third] for third in direct[name])
    }
    assert edges(tasks) == expected | {("cluster", "validate")}, (
        "in flows/pipeline.yaml, each task of the template pipeline must depend on the tasks that it needs, and no more"
    )


def _paths(template: dict[str, Any], side: str) -> list[Path]:
    folder = {"inputs": VARIABLES["DASKJOBS_GIVEN"], "outputs": f"{VARIABLES['DASKJOBS_OUTPUTS']}/{MANIFESTS}"}[side]
    paths = [Path(artifact["path"]) for artifact in template.get(side, {}).get("artifacts", [])]
    return [path for path in paths if str(path.parent) == folder and path.suffix == ".json"]


def test_task_is_skipped_when_the_run_has_no_use_for_it() -> None:
    when = {name: task["when"] for name, task in DAGS["pipeline"].items() if "when" in task}
    assert when == {
        "cluster": "{{= workflow.parameters.cluster == 'kubernetes' }}",
        "generate": "{{= workflow.parameters.input == '' }}",
    }


def test_every_command_exists_when_a_template_calls_it() -> None:
    assert DEFAULTS["container"]["command"] == ["daskjobs"]
    assert {arguments[0] for arguments in COMMANDS.values()} <= set(cli.main.commands)


def test_every_parameter_is_declared_when_it_is_used_and_used_when_it_is_declared() -> None:
    used = set(re.findall(r"\{\{=? ?\(?workflow\.parameters(?:\.|\[')([\w-]+)", TEXT))
    assert used == set(PARAMETERS)
    for name, workflow in WORKFLOWS.items():
        given = {parameter["name"] for parameter in workflow.get("arguments", {}).get("parameters", [])}
        entrypoint = TEMPLATES[workflow.get("entrypoint", SPEC["entrypoint"])]
        own = {parameter["name"] for parameter in entrypoint.get("inputs", {}).get("parameters", [])}
        assert given <= set(PARAMETERS) | own, name


def test_every_parameter_has_a_description_and_one_default() -> None:
    for name, parameter in PARAMETERS.items():
        assert parameter["description"], name
        assert ("value" in parameter) != ("valueFrom" in parameter), name


def test_every_variable_is_read_when_a_pod_is_given_it() -> None:
    read = {str(option.envvar) for command in cli.main.commands.values() for option in command.params}
    read |= set(re.findall(r"DASKJOBS_\w+", "".join(path.read_text() for path in (ROOT / "daskjobs").rglob("*.py"))))
    assert {variable["name"] for variable in DEFAULTS["container"]["env"]} - {BRACE} <= read


def test_alerts_and_docs_name_the_metrics_of_the_flow_and_their_labels() -> None:
    metrics = {each["name"]: {label["key"] for label in each["labels"]} for each in SPEC["metrics"]["prometheus"]}
    (rule,) = documents("examples/alerts.yaml")
    alerts = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    named = list[str]()
    for alert in alerts:
        for name, matchers in re.findall(r"argo_workflows_(\w+)(\{[^}]*\})?", alert["expr"]):
            assert set(re.findall(r"(\w+)!?=", matchers)) <= metrics[name], alert["alert"]
            named.append(name)
        for labels in re.findall(r"by \(([^)]*)\)", alert["expr"]):
            assert all(set(labels.split(", ")) <= metrics[name] for name in named)
        shown = set(re.findall(r"\$labels\.(\w+)", str(alert["annotations"])))
        assert all(shown <= labels for labels in metrics.values())
    page = (ROOT / "docs/kubernetes.md").read_text()
    assert set(re.findall(r"argo_workflows_(daskjobs_\w+)", page)) == set(metrics)
    assert all(len(each["help"]) > 10 for each in SPEC["metrics"]["prometheus"])  # Argo needs one
    for each in SPEC["metrics"]["prometheus"]:
        uses = set(re.findall(r"\['?([\w-]+)'\]|parameters\?\.(\w+)", str(each)))
        outputs = {o.get("globalName") for t in PODS.values() for o in t.get("outputs", {}).get("parameters", [])}
        assert {"".join(pair) for pair in uses} <= outputs, each["name"]


def test_variables_from_secrets_stand_where_argo_keeps_them() -> None:
    """Argo 4.1.2 merges two lists in place: of a template, what templateDefaults doesn't have must come first."""
    for name, template in PODS.items():
        own = [each["name"] for each in template["container"].get("env", [])]
        assert own == sorted(own, key=lambda variable: variable in VARIABLES), name


def test_only_pods_that_tell_something_have_the_addresses() -> None:
    of_lineage = {"generate", "validate", "generate-split-validate", "whole", "cleanup"}
    for name, template in PODS.items():
        secrets = {
            reference["key"]: (reference["name"], reference["optional"])
            for each in template["container"].get("env", [])
            if (reference := each.get("valueFrom", {}).get("secretKeyRef"))
        }
        lineage = {f"DASKJOBS_OPENLINEAGE{key}": ("daskjobs-openlineage", True) for key in ("", "_KEY")}
        told = {
            **dict.fromkeys(("whole", "cleanup"), "daskjobs-notify"),
            # Each run has told its own end; of the workflow, only a failure is news.
            "cleanup-each": "{{= workflow.status == 'Succeeded' ? 'daskjobs-nobody' : 'daskjobs-notify' }}",
        }
        notify = {"DASKJOBS_NOTIFY": (told[name], True)} if name in told else {}
        assert secrets == (lineage if name in of_lineage else {}) | notify, name


def test_no_parameter_is_in_what_kubernetes_expands_unless_it_is_escaped() -> None:
    """Which is the value of a variable, a command and its arguments. Names and uids of Kubernetes are harmless."""
    harmless = {"{{workflow.name}}", "{{workflow.uid}}", "{{workflow.namespace}}"}
    # The name of a folder, a day, and what pending has escaped (see test_pending.py).
    harmless |= {"{{workflow.status}}", FAILURES}
    harmless |= {f"{{{{inputs.parameters.{name}}}}}" for name in ("run", "day", "input")}
    words = {"known": "workflow.parameters.storage", "as-of": "workflow.scheduledTime[:10]"}
    for option, word in (("known", "storage"), ("as-of", "scheduled")):
        own = f"workflow.parameters['{option}']" if "-" in option else f"workflow.parameters.{option}"
        harmless.add(escaped(f"({own} == '{word}' ? {words[option]} : {own})"))
    seen = 0
    judged = r"\{\{= workflow\.parameters\.cluster [^{}]*\? (workflow\.parameters\.cluster|'\w+') : '[\w ]+' \}\}"
    for container in (DEFAULTS["container"], *(each["container"] for each in templates() if "container" in each)):
        env = [each for each in container.get("env", []) if not re.fullmatch(judged, each.get("value", ""))]
        if {"name": BRACE, "value": "{"} in env:
            assert env.pop(0)["name"] == BRACE  # before the variables that refer to it
        else:  # Argo puts variables that templateDefaults doesn't have before those that it has
            assert {each["name"] for each in env if BRACE in each.get("value", "")} <= set(VARIABLES)
        values = [each.get("value", "") for each in env] + container.get("args", []) + container.get("command", [])
        for value in values:
            rest = value
            for tag in re.findall(r"\{\{.*?\}\}", value):
                reference = re.fullmatch(r"\{\{=? ?([\w.]+(?:\['[\w-]+'\])?).*\}\}", tag)
                assert tag in {escaped(reference[1]) if reference else "", *harmless}
                rest = rest.replace(tag, "")
                seen += "parameters" in tag
            assert not set("${") & set(rest), value
    assert seen > 30


def templates() -> list[dict[str, Any]]:
    found = [item for path in sorted((ROOT / "flows").glob("*.yaml")) for item in documents(f"flows/{path.name}")]
    return [each for item in found for each in item.get("spec", {}).get("templates", [])]


KNOWN = {"$$": "$", f"$({BRACE})": "{", "$(KEY)": "secret"}


def test_text_of_any_signs_arrives_as_it_is_when_it_is_escaped_as_the_flows_do() -> None:
    """By the rules of Kubernetes: $(NAME) is a variable where there is one, and $$ is a dollar."""
    for text in ("$(KEY) $$ $ {{=1+41}} '\"\\ \n \u00fc", "{" * 5, "$" * 5, "$(DASKJOBS_BRACE)", "$$(KEY)", "}}"):
        value = text.replace("$", "$$").replace("{", f"$({BRACE})")
        assert "{" not in value
        assert re.sub(r"\$\$|\$\(\w+\)", lambda found: KNOWN[found[0]], value) == text


def test_retry_names_the_exit_codes_of_what_may_pass_on_a_second_try() -> None:
    never = "specified deadline|did not start within|before main container starts|^timeout$"
    never += "|OOMKilled|storage is not configured"
    expression = TEMPLATES["validate"]["retryStrategy"]["expression"]
    codes = re.fullmatch(
        rf'lastRetry\.exitCode in (\[.*\]) and not \(lastRetry\.message matches "{re.escape(never)}"\)', expression
    )
    assert codes
    retried = {int(code) for code in json.loads(codes[1])}
    assert retried == {error.exit_code for error in RETRIED} | LOST
    assert retried.isdisjoint({1, 2, errors.InputError.exit_code, errors.ConfigError.exit_code})
    assert TEMPLATES["validate"]["retryStrategy"]["backoff"]["factor"] > 1


def test_every_pod_is_retried_alike_and_no_dag_is() -> None:
    assert "retryStrategy" not in DEFAULTS
    assert all("retryStrategy" not in TEMPLATES[name] for name in DAGS)
    assert all(template["retryStrategy"] == PODS["validate"]["retryStrategy"] for template in PODS.values())


def test_every_wait_has_an_end() -> None:
    for name in ("validate", "generate-split-validate"):
        assert SPEC["activeDeadlineSeconds"] > TEMPLATES[name]["activeDeadlineSeconds"] > ClusterSettings.timeout
    assert DEFAULTS["activeDeadlineSeconds"] > TEMPLATES["cleanup"]["activeDeadlineSeconds"] > 0
    first = [name for name, task in DAGS["pipeline"].items() if "depends" not in task]
    assert {TEMPLATES[name]["activeDeadlineSeconds"] for name in first} == {600}  # of an image that can't be pulled
    assert {template["pendingTimeout"] for template in PODS.values()} == {f"{PENDING_SECONDS / 60:.0f}m"}
    assert set(SPEC["ttlStrategy"]) == {"secondsAfterSuccess", "secondsAfterFailure"}
    assert SPEC["podGC"]


def test_what_stages_show_is_an_artifact_when_people_look_at_the_run() -> None:
    outputs = VARIABLES["DASKJOBS_OUTPUTS"]
    for name, template in PODS.items():
        paths = [artifact["path"] for artifact in template.get("outputs", {}).get("artifacts", [])]
        stages = [*STAGES] if name == "whole" else [stage for stage in COMMANDS[name] if stage in STAGES]
        copied = [f"{outputs}/{file}" for stage in stages for file in STAGES[stage].artifacts]
        if name in DAGS["pipeline"]:
            copied += [f"{outputs}/{MANIFESTS}/{stage}.json" for stage in stages]
        assert sorted(paths) == sorted(copied), (
            f"the template {name} in flows/pipeline.yaml must have what its stages show, and its manifest, as outputs"
        )
        assert len({Path(path).name for path in paths}) == len(paths), name  # by which Argo keeps them


def test_output_parameters_are_what_stages_count_and_how_they_ran(pipeline: Pipeline, tmp_path: Path) -> None:
    """And have names of their own for the workflow, where `argo get` shows them."""
    for stage, manifest in pipeline().items():
        show(new_context(Settings.of(run_uri=str(tmp_path / "run"))), stage, manifest.rows, str(tmp_path / "shown"))
    names = list[str]()
    for name, template in PODS.items():
        for parameter in template.get("outputs", {}).get("parameters", []) if name != "pending" else ():
            path = Path(parameter["valueFrom"]["path"]).relative_to(VARIABLES["DASKJOBS_OUTPUTS"])
            assert (tmp_path / "shown" / path).read_text(), path
            if name in DAGS["pipeline"]:
                names.append(parameter["globalName"])
                task = parameter["name"] if name == "report" else f"{name}-{parameter['name']}"
                assert parameter["globalName"] == task
    assert len(names) == len(set(names))
    assert {"validate-workers", "validate-seconds", "merge-rows-out", "orders", "revenue", "rejected"} <= set(names)
    for name in ("merge", "clean", "validate"):
        assert {f"{name}-rows-in", f"{name}-rows-out"} <= set(names)


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
    assert all(set(template["container"]) <= {"args", "volumeMounts", "env"} for template in PODS.values())


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


def test_only_containers_that_need_a_token_have_one_and_cleanup_has_one_that_can_start_nothing() -> None:
    """The others run as daskjobs-stage, whose token Argo's two containers alone have."""
    assert SPEC["serviceAccountName"] == "daskjobs-stage"
    assert yaml.safe_load(SPEC["podSpecPatch"])["automountServiceAccountToken"] is False
    accounts = {name: t["serviceAccountName"] for name, t in TEMPLATES.items() if "serviceAccountName" in t}
    owners = ("cluster", "validate", "generate-split-validate", "whole", "smoke")
    assert accounts == dict.fromkeys(("cleanup", "cleanup-each"), "daskjobs-cleanup") | dict.fromkeys(
        owners, "daskjobs-cluster"
    )
    patches = {name: t["podSpecPatch"] for name, t in TEMPLATES.items() if "podSpecPatch" in t}
    on_kubernetes = "{{= workflow.parameters.cluster == 'kubernetes' }}"
    assert patches == dict.fromkeys(accounts, f"automountServiceAccountToken: {on_kubernetes}")


def test_token_of_argos_own_containers_is_the_pods_and_ends_with_it() -> None:
    patch = yaml.safe_load(SPEC["podSpecPatch"])
    (volume,) = patch["volumes"]
    assert [source for each in volume["projected"]["sources"] for source in each] == [
        "serviceAccountToken",
        "configMap",
        "downwardAPI",
    ]
    for container in patch["initContainers"] + patch["containers"]:
        (mount,) = container["volumeMounts"]
        assert mount["name"] == volume["name"]
        assert mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert volume["name"] not in {mount["name"] for mount in DEFAULTS["container"]["volumeMounts"]}
    assert "executor" not in SPEC


def test_every_flow_starts_the_template_when_it_is_submitted() -> None:
    for name, workflow in WORKFLOWS.items():
        assert workflow["workflowTemplateRef"] == {"name": "daskjobs"}, name
        assert workflow.get("entrypoint", SPEC["entrypoint"]) in TEMPLATES, name


def test_runs_of_a_series_wait_for_each_other_whoever_starts_them() -> None:
    """A nightly run is a workflow, and the others are pods of one: it must hold no mutex that its pods wait for."""
    series = [{"name": "daskjobs-series"}]
    assert WORKFLOWS["nightly"]["synchronization"]["mutexes"] == series
    assert TEMPLATES["whole"]["synchronization"]["mutexes"] == series
    assert TEMPLATES["each"]["parallelism"] == 1
    assert WORKFLOWS["on-file"]["synchronization"]["mutexes"] == [{"name": "daskjobs-on-file"}]
    assert "synchronization" not in WORKFLOWS["backfill"]
    for name in ("nightly", "on-file"):
        assert isinstance(FLOWS[name]["spec"]["schedules"], list)
        assert FLOWS[name]["spec"]["concurrencyPolicy"] == "Forbid"


def test_flows_of_a_series_count_each_order_once_and_compare_with_the_last_run() -> None:
    for name in ("nightly", "backfill", "on-file"):
        given = {each["name"]: each["value"] for each in WORKFLOWS[name]["arguments"]["parameters"]}
        assert (given["known"], given["compare"]) == ("storage", "last"), name
    assert given.get("as-of") is None
    assert {"name": "as-of", "value": "scheduled"} in WORKFLOWS["nightly"]["arguments"]["parameters"]


def test_a_day_that_fails_stops_no_other_one() -> None:
    assert TEMPLATES["each"]["dag"]["failFast"] is False


def test_workflow_of_many_runs_has_no_folder_in_the_series() -> None:
    for name in ("backfill", "on-file"):
        assert (WORKFLOWS[name]["entrypoint"], WORKFLOWS[name]["onExit"]) == ("each", "cleanup-each")
        assert WORKFLOWS[name]["activeDeadlineSeconds"] > TEMPLATES["whole"]["activeDeadlineSeconds"]
    env = {each["name"]: each.get("value") for each in TEMPLATES["cleanup-each"]["container"]["env"]}
    assert env["DASKJOBS_RUN"] == "/tmp/{{workflow.name}}"
    cleanup = {each["name"]: each.get("value") for each in TEMPLATES["cleanup"]["container"]["env"]}
    assert env["DASKJOBS_CLUSTER"] == cleanup["DASKJOBS_CLUSTER"]
