"""What must agree across files, and isn't code."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

import opinions
from daskjobs import __version__, options
from daskjobs.orders import COLUMNS
from daskjobs.rules import SENTENCES
from daskjobs.stages import STAGES

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text()
EXTRAS = ("s3", "kubernetes", "dev")
NOT_IN_CONDA = {"types-pyyaml"}
OTHERWISE_IN_CONDA = {"duckdb>=1.4": "python-duckdb>=1.4"}


def requirements() -> set[str]:
    lines = PROJECT["dependencies"] + [line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra]]
    return {str(Requirement(line)).lower() for line in lines}


def test_environment_yml_names_the_same_packages_and_versions_as_pyproject() -> None:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(item["pip"] for item in listed if isinstance(item, dict))
    conda = {str(Requirement(item)).lower() for item in listed if isinstance(item, str) and item != "pip"}
    needed = {OTHERWISE_IN_CONDA.get(line, line) for line in requirements()}
    assert conda == (needed | {f"python{PROJECT['requires-python']}"}) - NOT_IN_CONDA
    assert pip == ["-e ."]


def test_readme_names_every_option_stage_and_exit_code() -> None:
    for name in options.HELP:
        assert f"`--{name.replace('_', '-')}`" in README
    for name in STAGES:
        assert f"`{name}`" in README
    for code in re.findall(r"^    exit_code = (\d+)$", (ROOT / "daskjobs/errors.py").read_text(), re.M):
        if code != "1":
            assert re.search(rf"^\| {code} \|", README, re.M)


def test_data_contract_names_every_column_and_reason_for_rejection() -> None:
    contract = (ROOT / "docs/orders.md").read_text()
    for name in (*COLUMNS, *SENTENCES):
        assert f"`{name}`" in contract


def test_data_contract_names_every_difference_from_other_readers() -> None:
    contract = (ROOT / "docs/orders.md").read_text()
    for name in opinions.DIFFERENCES:
        assert f"| {name} |" in contract


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"^    make ([a-z-]+)|`make ([a-z-]+)", README, re.M)):
        assert re.search(rf"^{''.join(target)}:", makefile, re.M), target


def test_changelog_has_the_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
