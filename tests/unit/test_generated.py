"""What `make generate` makes: that it was run, and that a default or a sentence in the code reaches every place."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from conftest import Pipeline
from daskjobs.cli.main import main
from daskjobs.cluster.public import ClusterKeywords
from daskjobs.cluster.settings import WORKERS_ON_KUBERNETES
from daskjobs.stages.run_orders import Options
from generated import BLOCK, BLOCKS, KNOWN, OF_PIPELINE, OF_STEP, PIPELINE, PLACES, ROOT, STEP, made

ARCHITECTURE = "docs/architecture.md"
OPEN = re.compile(r" of (texts|whole numbers|anything)")  # types of fields in which no further fields are listed


@pytest.mark.parametrize("place", PLACES)
def test_file_is_what_the_generator_makes_of_the_code(place: str) -> None:
    old = [found["name"] for found in BLOCK.finditer((ROOT / place).read_text()) if found[0] not in made(place)]
    assert not old, f"{place} is old, in {', '.join(old)}: run `make generate`"


def test_every_block_stands_somewhere_and_every_mark_is_that_of_a_block() -> None:
    texts = {place: (ROOT / place).read_text() for place in PLACES}
    named = [found["name"] for text in texts.values() for found in BLOCK.finditer(text)]
    lacking = sorted(set(BLOCKS) - set(named))
    assert not lacking, (
        f"no page has a block {lacking}: options of a backend have a section in docs/options.md, with its two comments"
    )
    assert sorted(named) == sorted(BLOCKS)
    for place, text in texts.items():
        assert text.count("made by `make generate`: ") == text.count("made until here"), place


@pytest.mark.parametrize(
    ("name", "default", "lines"),
    [
        (
            "worker_memory",
            "777Mi",
            {"k8s/base/configmaps.yaml": "  DASKJOBS_WORKER_MEMORY: 777Mi", "docs/options.md": "| `777Mi` |"},
        ),
        (
            "threads",
            77,
            {STEP: '  value: "77"', "docs/options.md": "| `77` | 1 to 256 |", "docs/step.md": "| `threads` | `77` |"},
        ),
        (
            "max_rejected",
            0.77,
            {PIPELINE: '  value: "0.77"', "docs/options.md": "| `0.77` |", "docs/kubernetes.md": "| `0.77` |"},
        ),
    ],
)
def test_another_default_reaches_every_place_that_has_one(
    name: str, default: Any, lines: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {place: (ROOT / place).read_text() for place in PLACES}  # see the first test
    monkeypatch.setitem(KNOWN, name, dataclasses.replace(KNOWN[name], default=default))
    after = {place: made(place) for place in PLACES}
    for place, line in lines.items():
        assert line in after[place]
        assert line not in before[place]


@pytest.mark.parametrize(("flow", "names"), [(PIPELINE, OF_PIPELINE), (STEP, OF_STEP)])
def test_parameter_of_a_flow_says_what_its_option_says_and_reaches_its_variable(flow: str, names: list[str]) -> None:
    spec = yaml.safe_load((ROOT / flow).read_text())["spec"]
    if flow == PIPELINE:
        given, env = spec["arguments"]["parameters"], spec["templateDefaults"]["container"]["env"]
    else:
        given, env = spec["templates"][0]["inputs"]["parameters"], spec["templates"][0]["container"]["env"]
    parameters = {each["name"]: each for each in given}
    values = {each["name"]: each.get("value", "") for each in env}
    options = {
        option.opts[0]: option for option in main.commands["validate"].params if isinstance(option, click.Option)
    }
    for known in map(KNOWN.__getitem__, names):
        parameter, option = parameters[known.parameter], options[f"--{known.parameter}"]
        said = known.option.help.replace("`", "")
        assert said in parameter["description"]
        assert said in str(option.help)
        assert re.search(rf"parameters(\.|\['){known.parameter}\b", values[str(option.envvar)])
        if "value" in parameter and known.name != "workers":
            default = "".join(option.default) if isinstance(option.default, tuple) else str(option.default)
            assert parameter["value"] == default.removesuffix(".0").replace("False", "false")
    assert parameters["workers"]["value"] == str(WORKERS_ON_KUBERNETES)


def test_keywords_of_python_are_the_options_of_the_command_line() -> None:
    names = {option.name for option in main.commands["validate"].params}
    of_commands = {"run_uri", "input", "rules", "as_of", "log_level", "outputs", "given"}
    assert {*Options.__annotations__} - {"key"} == names - of_commands, (
        "the keywords in daskjobs/stages/run_orders.py and daskjobs/cluster/public.py are old: run `make generate`"
    )
    assert {*ClusterKeywords.__annotations__} < {*Options.__annotations__}


def test_default_that_differs_on_kubernetes_says_so_in_the_help() -> None:
    (workers,) = (option for option in main.commands["run"].params if option.name == "workers")
    assert isinstance(workers, click.Option)
    assert f"{WORKERS_ON_KUBERNETES} on Kubernetes" in str(workers.show_default)


def paths(value: Any, above: str) -> set[str]:
    """The paths of all values in JSON: .rows.in, .outputs.merge/a.csv.bytes, .reasons[].rule."""
    if isinstance(value, list):
        return set().union(*(paths(each, f"{above}[]") for each in value))
    if isinstance(value, dict):
        return set().union(*(paths(each, f"{above}.{name}") for name, each in value.items()))
    return {above}


def test_fields_of_a_runs_json_files_are_on_the_page(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline()
    blocks = {found["name"]: found[0] for found in BLOCK.finditer((ROOT / ARCHITECTURE).read_text())}
    for file in ("report/quality.json", "merge/manifest.json", "merge/facts.json", "cleanup/receipt.json"):
        listed = re.findall(r"^\| `(\S+)` \| (.*?) \|", blocks[f"fields of {Path(file).name}"], re.M)
        one = "|".join(
            re.escape(f".{path}").replace(r"\*", ".+") + (r"[.\[].+" if OPEN.search(kind) else "")
            for path, kind in listed
        )
        found = paths(json.loads((tmp_path / "run" / file).read_text()), "") - {".checksum"}
        assert len(found) >= 3
        assert [path for path in sorted(found) if not re.fullmatch(one, path)] == [], file
