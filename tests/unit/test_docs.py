"""The pages against the code, the flows, the tests and each other."""

import inspect
import re
from functools import cache
from html import unescape
from pathlib import Path
from typing import get_type_hints

import click
import pytest

import daskjobs
from conftest import Pipeline
from daskjobs import errors
from daskjobs.cli.main import main
from daskjobs.orders.explanation import Explained
from daskjobs.stages import STAGES
from daskjobs.stages.report import ReportRows
from daskjobs.stages.run_orders import OrdersResult
from e2e.faults import FAULTS
from manifests import ROOT, documents

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"])
README, CONTRIBUTING, FAULTS_PAGE, SECURITY = (
    (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md", "docs/faults.md", "SECURITY.md")
)
OPTIONS, ARCHITECTURE, KUBERNETES, PYTHON = (
    (ROOT / f"docs/{name}.md").read_text() for name in ("options", "architecture", "kubernetes", "python")
)
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


def prose(page: Path) -> str:
    """A page without its code: in blocks, indented, and in lines."""
    text = re.sub(r"^(?:    ).*$", "", FENCE.sub("", page.read_text()), flags=re.M)
    return re.sub(r"`[^`\n]*`", "", text)


@cache
def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(page: str, columns: int) -> list[list[str]]:
    """The rows of all tables of so many columns; a bar that is escaped, or in code, separates nothing."""
    lines = re.findall(r"^\| (.*) \|$", page, re.M)
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]
    return [row for row in cells if len(row) == columns]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", prose(page))
    for link in map("".join, links):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_of_the_docs_is_in_their_index() -> None:
    index = (ROOT / "docs/index.md").read_text()
    for page in ROOT.glob("docs/*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name
    assert "(docs/index.md)" in README


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_file_of_the_project_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:daskjobs|tests|docs|flows|k8s|image|benchmarks|examples|\.github)/[\w./-]*\.\w+)`", page.read_text()
    )
    for name in named:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", [FAULTS_PAGE, SECURITY], ids=["faults", "security"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    defined = set(re.findall(r"^def (test_\w+)", "".join(p.read_text() for p in (ROOT / "tests").rglob("*.py")), re.M))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 20
    assert named <= defined


def test_every_fault_that_strikes_a_workflow_is_on_the_page() -> None:
    for name in FAULTS:
        assert name in FAULTS_PAGE


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 115


def test_options_page_has_every_command_and_every_option_of_each() -> None:
    commands, _, rest = OPTIONS.partition("## Commands")[2].partition("Options that only some commands have:")
    for name, command in main.commands.items():
        assert re.search(rf"`(?:daskjobs )?{name}`", commands), name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                flag = parameter.opts[0]
                assert f"`{flag}`" in OPTIONS, f"{name} {flag}"
                variable = parameter.envvar
                assert not variable or f"`{variable}`" in OPTIONS, f"{name} {variable}"
    assert "`--given`" in rest


def test_options_page_has_every_exit_code_and_which_are_worth_a_second_try() -> None:
    codes = {row[0]: row[2] for row in rows(OPTIONS.partition("## Exit codes")[2], 3) if row[0].isdigit()}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__base__ is errors.DaskjobsError]
    assert set(codes) == {"0", *(str(kind.exit_code) for kind in kinds)}
    assert {code for code, again in codes.items() if again == "yes"} == {"20", "21", "22"}


def test_architecture_has_every_package() -> None:
    described = {row[0].strip("`") for row in rows(ARCHITECTURE.partition("## Stages")[0], 2)} - {"package", "---"}
    assert described == {path.parent.name for path in ROOT.glob("daskjobs/*/__init__.py")}


def test_architecture_has_every_file_of_a_run(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline()
    section = ARCHITECTURE.partition("## The files of a run")[2].partition("What comes out")[0]
    names = re.findall(r"`([\w./*-]+\.(?:\w+|\?))`", section)
    one = "|".join(re.escape(name).replace(r"\*", r"\d+").replace(r"\?", "[a-z]+") for name in names)
    made = [path.relative_to(tmp_path / "run") for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(made) > 40
    for path in made:
        of_every_stage = path.name in ("manifest.json", "facts.json") and path.parts[0] in STAGES
        assert of_every_stage or re.fullmatch(one, str(path)), path


def test_picture_of_the_workflow_is_the_text_beside_it() -> None:
    drawn = re.findall(r"<text[^>]*>(.*)</text>", (ROOT / "docs/argo.svg").read_text())
    lines = [unescape(re.sub(r"<[^>]*>", "", line)) for line in drawn]
    assert lines[0] == "$ argo get -n orders @latest"
    assert len(lines) > 20
    for line in lines[1:]:
        assert f"\n    {line}\n" in KUBERNETES
    for task in documents("flows/pipeline.yaml")[0]["spec"]["templates"][0]["dag"]["tasks"]:
        drawn_task = any(f"─✔ {task['name']}(0)" in line for line in lines)
        assert drawn_task, f"docs/argo.svg, and the text beside it in docs/kubernetes.md, must show {task['name']}"


def test_architecture_says_below_its_table_what_each_stage_does() -> None:
    below = ARCHITECTURE.partition("## Stages")[2].partition("\n## ")[0]
    for name in STAGES:
        assert f"\n- **{name}** " in below, f"docs/architecture.md must have a line on {name} below the table of stages"


@pytest.mark.parametrize("name", re.findall(r'<img src="(.*?)"', README))
def test_pictures_of_the_readme_are_small(name: str) -> None:
    assert 0 < (ROOT / name).stat().st_size < 150_000


def test_make_targets_of_the_pages_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    text = "".join(page.read_text() for page in PAGES if page.name != "CHANGELOG.md")
    targets = set(re.findall(r"(?:^|`|&& )make ([a-z-]+)", text, re.M))
    assert {"run", "test", "test-cluster", "cluster", "image", "lint", "doctor", "soak"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:.* ## ", makefile, re.M), target


def test_contributing_names_the_registry_of_each_kind() -> None:
    for path, name in re.findall(r"`([A-Z]+)` in `([\w/.]+)`", CONTRIBUTING):
        assert re.search(rf"^{path}\b", (ROOT / name).read_text(), re.M), name
    assert {row[0] for row in rows(CONTRIBUTING, 3)} >= {"a rule", "a format of files", "a stage", "a backend"}


def test_python_page_has_what_run_orders_takes_and_returns() -> None:
    parameters = {*inspect.signature(daskjobs.run_orders).parameters} - {"options"}
    described = {row[0].strip("`") for row in rows(PYTHON, 2)}
    assert parameters <= described
    results = {name.strip("`").removeprefix("result.").partition("(")[0] for name, *_ in rows(PYTHON, 3)}
    public = {name for name in [*vars(OrdersResult), *OrdersResult.__annotations__] if not name.startswith("_")}
    assert public <= results
    for name in re.findall(r"`(\w+)`", next(says for name, _, says in rows(PYTHON, 3) if "explain" in name)):
        assert name in {*Explained.__annotations__, *vars(Explained)}
    for name in re.findall(r"`(\w+)`", next(says for name, _, says in rows(PYTHON, 3) if "result.rows" in name)):
        assert name in get_type_hints(ReportRows)


def test_python_page_has_every_error_with_its_exit_code() -> None:
    described = {name.strip("`"): code for name, _, code in rows(PYTHON.partition("## Errors")[2], 3)}
    kinds = [kind for kind in map(vars(daskjobs).get, daskjobs.__all__) if isinstance(kind, type)]
    codes = {kind.__name__: str(kind.exit_code) for kind in kinds if issubclass(kind, daskjobs.DaskjobsError)}
    assert {name: code for name, code in described.items() if code.isdigit()} == {
        name: code for name, code in codes.items() if name != "DaskjobsError"
    }


def test_every_public_name_is_on_the_python_page() -> None:
    for name in daskjobs.__all__:
        assert re.search(rf"\b{name}\b", PYTHON) or name == "__version__", name
