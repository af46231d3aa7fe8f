"""What the pages and the notebook say to do, done: every snippet, as it stands there.

A snippet is run, unless `NOT_RUN` says why not; then its commands must at least be ones that exist. Python runs from
the top of its page to the bottom; what begins with the comment `# folder/name.py` is that file, for its commands.
"""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import inline
import nights
from conftest import csv_text, row
from daskjobs.cli.main import main
from daskjobs.orders.profiles.reading import parse_profile
from daskjobs.orders.schema import COLUMNS
from daskjobs.version import __version__
from manifests import ROOT, documents

PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")))
}
README, TUTORIAL, STEP = (PAGES[name] for name in ("README.md", "docs/tutorial.md", "docs/step.md"))
ACTIVATE = ". .venv/bin/activate"
# Pages whose Python is a file of rules, and the lines that stand above it in such a file.
RULES = {
    "docs/orders.md": "",
    "CONTRIBUTING.md": "from daskjobs import rule\nfrom daskjobs.orders.rules.builtin import Mask, Orders\n",
}
FILE = re.compile(r"# (\S+\.(?:py|toml))\n")
CELL = "--- cell ---"
NUMBERS = (
    r"^ *((?:orders|revenue|gross|refunds|net|unchecked|furniture|rejected|unpaid|compared|over|warned|sent)  .*)$"
)

# Commands, by how they begin, that no test of this module runs.
NOT_RUN = {
    "kubectl": "needs a Kubernetes cluster; tests/e2e and tests/unit/test_k8s.py apply the same files",
    "argo": "needs a Kubernetes cluster; tests/e2e submits the same files",
    "docker": "needs Docker",
    "kind": "needs Docker",
    "make cluster": "needs Docker",
    "make image": "needs Docker",
    "make test": "is what runs this test; the other targets for tests likewise",
    "make lint": "is another job of .github/workflows/ci.yml",
    "make generate": "would write the project's own files: test_generated.py makes them in memory",
    "make help": "prints the Makefile's own sentences",
    "pip install": "would install packages while other tests run",
    "python3 -m venv": "would make an environment, for the pip install behind it",
    "daskjobs doctor --cluster kubernetes": "needs a Kubernetes cluster",
    "daskjobs dashboard": "needs a Kubernetes cluster",
    "daskjobs pending --input 's3://your-bucket": "needs that bucket; docs/nights.md has a folder",
    ".venv/bin/dask": "listens on ports of its own: tests/unit/cluster/backends/test_remote.py runs it",
    'make run ARGS="--cluster tcp://': "needs the scheduler of the line above",
}
FAILS = {  # the exit code of a command that ends with an error, as its page says
    "daskjobs run --input orders.csv --max-rejected 0.05": 10,
    "daskjobs run --run runs/… --max-rejected 0.01": 10,
    "daskjobs run --rows 2000 --seed 3 --run runs/wednesday --as-of 2026-11-04 --compare last "
    "--max-drift rows=-20%,region=0.2,newest=36h": 10,
}


def snippets(page: str) -> list[tuple[str, str]]:
    """The language and the text of each block of code."""
    return re.findall(r"^```(.*)\n((?s:.*?))^```$", page, re.M)


def blocks(page: str, language: str) -> list[str]:
    return [text for found, text in snippets(page) if found == language]


def lines(page: str) -> list[str]:
    """The commands of a page, without comments."""
    said = [re.sub(r"\s+#.*", "", line) for block in blocks(page, "sh") for line in block.splitlines()]
    return [line for line in said if line]


def parts(line: str) -> list[str]:
    return line.removesuffix(" &").split(" && ")


def is_run(line: str) -> bool:
    return not any(part.startswith(tuple(NOT_RUN)) for part in parts(line))


def programs(page: str) -> str:
    return "\n".join(block for block in blocks(page, "python") if not FILE.match(block))


def environment() -> dict[str, str]:
    """Ours, without options, and without the command daskjobs in PATH: a page has to say where it is."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DASKJOBS_", "VIRTUAL_ENV"))}
    folders = [folder for folder in clean["PATH"].split(":") if not (Path(folder) / "daskjobs").exists()]
    return clean | {"PATH": ":".join(folders)}


def call(command: list[str], folder: Path, code: int = 0) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == code, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the Makefile, a virtual environment that is there already, and the files that pages speak of."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name, command in {"python": sys.executable, "daskjobs": f"{sys.executable} -m daskjobs"}.items():
        program = tmp_path / ".venv/bin" / name
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)
    (tmp_path / ".venv/bin/activate").write_text(f'PATH="{tmp_path}/.venv/bin:$PATH"\n')
    (tmp_path / ".venv/run").touch()
    (tmp_path / "orders").mkdir()
    text = csv_text(row(), row(total_amount="22.00"), header=",".join(COLUMNS).replace("price", "unit_price"))
    (tmp_path / "orders/2025.csv.gz").write_bytes(gzip.compress(text))
    (sample,) = blocks(README, "csv")
    (tmp_path / "orders.csv").write_text(sample)
    rules, *_ = blocks(PAGES["docs/orders.md"], "python")
    (tmp_path / "mine.py").write_text(rules)
    shutil.copytree(ROOT / "examples/exports", tmp_path / "examples/exports")
    for name, data in nights.of_the_page().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def follow(page: str, folder: Path) -> dict[str, str]:
    """Do what a page says, line by line, in one folder; return what each command printed."""
    for block in blocks(page, "python") + blocks(page, "toml"):
        if file := FILE.match(block):
            (folder / file[1]).parent.mkdir(exist_ok=True)
            (folder / file[1]).write_text(block)
    said, activated = {}, ""
    for line in filter(is_run, lines(page)):
        if line == ACTIVATE:
            activated = f"{ACTIVATE}\n"
            continue
        if "rejected-00000.csv" in line:  # once mended
            rejected = folder / "runs/mine/merge/rejected-00000.csv"
            rejected.write_text(rejected.read_text().replace("10.50,21.00", "10.50,31.50"))
        command = line.replace("runs/…", f"runs/{max((path.name for path in folder.glob('runs/2*')), default='')}")
        said[line] = call(["bash", "-ec", f"{activated}{command}"], folder, FAILS.get(line, 0))
    return said


def pages(language: str) -> list[str]:
    return [name for name, page in PAGES.items() if blocks(page, language)]


@pytest.mark.parametrize("name", PAGES)
def test_every_snippet_is_of_a_language_that_a_test_of_this_module_tries(name: str) -> None:
    assert {language for language, _ in snippets(PAGES[name])} <= {
        *("sh", "python", "csv", "yaml", "json", "toml", "dockerfile")
    }
    assert PAGES[name].count("\n```") == 2 * len(snippets(PAGES[name]))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="the pages' commands need make")
@pytest.mark.parametrize("name", [name for name in pages("sh") if {*filter(is_run, lines(PAGES[name]))} - {ACTIVATE}])
def test_commands_of_a_page_do_what_they_say(folder: Path, name: str) -> None:
    said = follow(PAGES[name], folder)
    printed = "\n".join(said.values())
    for line in re.findall(NUMBERS, PAGES[name], re.M):
        assert "…" in line or f"{line}\n" in printed
    if name == "README.md":
        first, mine, explained, again, renamed, ruled, strict, night, books = said.values()
        assert re.findall(NUMBERS, first, re.M) == re.findall(NUMBERS, README, re.M) != []
        assert "revenue    748.00\nrejected   1 of 5 (wrong_total 1)\nunpaid     1\n" in mine
        assert "wrong_total" in explained
        assert "revenue    31.50\nrejected   0 of 1\n" in again
        assert "rejected   1 of 2 (wrong_total 1)" in renamed
        assert "rejected   2 of 5 " in ruled
        assert "revenue" not in strict
        assert "orders     0\nrevenue    0.00\n" in night  # runs/mine has counted them
        assert "4 rows seen before" in night
        assert books.startswith("total ")
    if name == "docs/tutorial.md":
        told = [text.splitlines() for line, text in said.items() if "explain" in line]
        assert [len(each) for each in told] == [4, 6]
        for line in (line for each in told for line in each):
            assert f"\n    {line}\n" in TUTORIAL
    if name == "docs/nights.md":
        shown = re.findall(r"^    ((?:total|of runs|corrections|known|corrected|order|text|paid|mended|counted) .*)$",
                           PAGES[name], re.M)  # fmt: skip
        assert len(shown) > 9
        for line in shown:
            assert f"{line}\n" in printed
        assert "right: orders 609, revenue 284536.09" in printed
    if name == "docs/step.md":
        assert f"\n    {printed.splitlines()[-1]}\n" in STEP


def given(words: list[str]) -> Iterator[str]:
    """The files of ours that the words of a command name."""
    return (word for word in words if re.match(r"(k8s|flows|examples|image|tests)/", word))


@pytest.mark.parametrize("name", pages("sh"))
def test_every_command_of_a_page_exists_with_its_options_and_its_files(name: str) -> None:
    parameters = {
        each["name"]
        for flow in ("pipeline", "backfill")
        for each in documents(f"flows/{flow}.yaml")[0]["spec"]["arguments"]["parameters"]
    }
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M)
    activated = False
    for line in lines(PAGES[name]):
        assert subprocess.run(["bash", "-nc", line], check=False).returncode == 0, line
        for part in parts(line):
            program, *words = shlex.split(part)
            assert all((ROOT / word).exists() for word in given(words)), part
            arguments = dict(word.partition("=")[::2] for word in words)
            activated |= part == ACTIVATE
            if program == "make":
                assert words[0] in targets, part
                words = shlex.split(arguments.get("ARGS", "")) if words[0] == "run" else []
                program, words = "run", ["run", *words]
            elif program == "daskjobs":
                assert activated, f"{name} calls daskjobs before it says where that is: {line}"
                program = "run"
            elif program == "argo":
                chosen = {value.partition("=")[0] for before, value in pairwise(words) if before == "-p"}
                assert chosen <= parameters, part
            elif program == "pip":
                named = {extra for found in re.findall(r"\[(.*?)\]", part) for extra in found.split(",")}
                assert named <= set(extras), part
            elif program == "python" and is_run(part):
                assert words[0] == "-m"
                assert (ROOT / words[1].replace(".", "/")).with_suffix(".py").exists(), part
            else:
                assert is_run(part) is (part == ACTIVATE), f"{part}: run it, or say in NOT_RUN why not"
            if program == "run":
                command = main.commands[words[0]]
                with click.Context(main) as parent:
                    command.make_context(words[0], words[1:], parent)  # a usage error, if there is none such


def test_every_reason_not_to_run_a_command_is_needed() -> None:
    every = [part for page in PAGES.values() for line in lines(page) for part in parts(line)]
    for begin in NOT_RUN:
        assert any(part.startswith(begin) for part in every), begin
    assert set(FAILS) <= set(every)


@pytest.mark.parametrize("name", [name for name in pages("python") if name not in RULES and programs(PAGES[name])])
def test_python_of_a_page_runs_from_top_to_bottom(folder: Path, name: str) -> None:
    code = programs(PAGES[name])
    (folder / "page.py").write_text(code)
    said = call([sys.executable, "page.py"], folder)
    if name == "README.md":
        first, second = said.splitlines()
        assert f"# {first.replace(str(folder), '…')}" in code
        assert second == "6"
    if name == "docs/python.md":
        assert said.startswith("1 21.00 ")
        assert "wrong_total" in said
        assert "\n6\n" in said


@pytest.mark.parametrize("name", RULES)
def test_rules_of_a_page_judge_the_orders_of_the_readme(folder: Path, name: str) -> None:
    for text in blocks(PAGES[name], "python"):
        block = re.sub(r"^def (?=[a-z])", "def my_", text, flags=re.M)  # since an example may become a built-in rule
        (folder / "mine.py").write_text(RULES[name] + block)
        inline.run(folder / "run", str(folder / "orders.csv"), rules=str(folder / "mine.py"))
        named = json.loads((folder / "run/validate/rules.json").read_bytes())
        assert re.findall(r"^(?:def |(?=\w+ = ))([a-z]\w*)", block, re.M)[0] in json.dumps(named)


def test_files_of_a_page_are_what_its_commands_name() -> None:
    for name, page in PAGES.items():
        for file in (found[1] for found in map(FILE.match, blocks(page, "python")) if found):
            module = file.removesuffix(".py").replace("/", ".")
            assert any(is_run(line) and module in line for line in lines(page)), f"{name}: {file}"


def test_orders_of_the_tutorial_are_those_of_the_readme() -> None:
    assert pages("csv") == ["README.md", "docs/tutorial.md"]
    assert blocks(README, "csv") == blocks(TUTORIAL, "csv")
    assert blocks(README, "csv")[0].startswith(",".join(COLUMNS))


def keys(value: Any, above: str = "") -> set[str]:
    if isinstance(value, list):
        return {key for each in value for key in keys(each, above)}
    if not isinstance(value, dict):
        return set()
    return {f"{above}.{key}" for key in value} | {key for name in value for key in keys(value[name], f"{above}.{name}")}


@pytest.mark.parametrize("name", pages("yaml"))
def test_yaml_of_a_page_has_the_fields_of_ours(name: str) -> None:
    """That of a Workflow is linted by Argo, in test_dask_step.py."""
    ours = [document for path in (ROOT / "k8s").rglob("*.yaml") for document in documents(str(path.relative_to(ROOT)))]
    for text in blocks(PAGES[name], "yaml"):
        document = yaml.safe_load(text)
        if document["kind"] == "Workflow":
            continue
        kind = document["apiVersion"], document["kind"]
        known = [keys(each) for each in ours if (each.get("apiVersion"), each.get("kind")) == kind]
        assert known, document["kind"]
        assert keys(document) <= set().union(*known)


@pytest.mark.parametrize("name", pages("json"))
def test_json_of_a_page_can_be_read(name: str) -> None:
    """That of docs/storage.md is tried on a real server, in test_s3_policy.py."""
    assert all(map(json.loads, blocks(PAGES[name], "json")))


@pytest.mark.parametrize("name", pages("toml"))
def test_toml_of_a_page_is_a_profile(name: str) -> None:
    for text in blocks(PAGES[name], "toml"):
        assert parse_profile(text, name).sha256


@pytest.mark.parametrize("name", pages("dockerfile"))
def test_dockerfile_of_a_page_copies_a_wheel_of_this_version(name: str) -> None:
    """The one that begins with the image of daskjobs is that of examples/own_step: test_dask_step.py."""
    for text in blocks(PAGES[name], "dockerfile"):
        assert {line.split()[0] for line in text.splitlines()} <= {"FROM", "COPY", "ENV", "RUN"}
        assert set(re.findall(r"daskjobs-([\d.]+)-py3", text)) <= {__version__}


def test_notebook_prints_what_it_shows(tmp_path: Path) -> None:
    notebook: dict[str, Any] = json.loads((ROOT / "examples/orders.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code = f"\nprint({CELL!r}, flush=True)\n".join("".join(cell["source"]) for cell in cells)
    (tmp_path / "notebook.py").write_text(code)
    said = call([sys.executable, "notebook.py"], tmp_path).split(f"{CELL}\n")
    assert said == ["".join(text for output in cell["outputs"] for text in output["text"]) for cell in cells]
    assert sum(map(bool, said)) >= 5
