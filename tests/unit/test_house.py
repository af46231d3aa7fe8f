"""What must agree across files, and isn't code."""

import re
import tomllib

import yaml
from packaging.requirements import Requirement

import opinions
from conftest import TESTS
from daskjobs import __version__
from daskjobs.options import options
from daskjobs.orders.rules.builtin import RULES, SENTENCES
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources import FORMATS
from daskjobs.stages.run_settings import Settings

ROOT = TESTS.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
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


def test_data_contract_names_every_column_and_reason_in_its_table_of_columns() -> None:
    contract = (ROOT / "docs/orders.md").read_text()
    table = contract.partition("\n## Columns\n")[2].partition("\n## ")[0]
    cells = [line.split("|") for line in table.splitlines() if line.startswith("| ")][2:]
    columns, reasons = (re.findall(r"`(\w+)`", " ".join(line[place] for line in cells)) for place in (1, 4))
    assert sorted(columns) == sorted(COLUMNS)
    assert sorted(reasons) == sorted(SENTENCES), "the table of columns in docs/orders.md must name each reason"
    ours = [name for name in reasons if name in RULES]
    assert ours == list(RULES), "a row has its reasons in the order of the rules: so must the table in docs/orders.md"


def test_data_contract_and_the_help_of_input_name_every_format() -> None:
    table = (ROOT / "docs/orders.md").read_text().partition("## Files")[2].partition("\n## ")[0]
    described = {name.lower() for name in re.findall(r"^\| ([^|]+) \|", table, re.M)}
    help = next(option.help for field, option in options(Settings) if field.name == "input").lower()
    for each in FORMATS:
        assert each.name in described, f"docs/orders.md must have a row for {each.name} in its table of files"
        assert each.name in help, f"daskjobs/stages/run_settings.py must name {each.name} in the help of --input"


def test_data_contract_names_every_difference_from_other_readers() -> None:
    contract = (ROOT / "docs/orders.md").read_text()
    for name in opinions.DIFFERENCES:
        assert f"| {name} |" in contract


def test_changelog_has_the_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
