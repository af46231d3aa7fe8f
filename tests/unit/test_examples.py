"""What the pages and the notebook say to do, done: commands and Python, as they stand there."""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import csv_text, row
from daskjobs.orders.schema import COLUMNS
from manifests import ROOT

README, TUTORIAL = ((ROOT / name).read_text() for name in ("README.md", "docs/tutorial.md"))
NEEDS_A_CLUSTER = ("make cluster", "make image", "kubectl", "argo")
RENAMED = ",".join(COLUMNS).replace("price", "unit_price")
CELL = "--- cell ---"
NUMBERS = r"^ *((?:orders|revenue|rejected|unpaid)  .*)$"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


def commands() -> list[str]:
    """The README's commands, but those that need a cluster, and `make test`, which runs this."""
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    return [line for line in lines if not line.startswith((*NEEDS_A_CLUSTER, "make test"))]


def call(command: list[str], folder: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DASKJOBS_")}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the Makefile, a virtual environment that is there already, and the orders that pages speak of."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name, command in {"python": sys.executable, "daskjobs": f"{sys.executable} -m daskjobs"}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / name).chmod(0o755)
    (tmp_path / ".venv/run").touch()
    (tmp_path / "orders").mkdir()
    text = csv_text(row(), row(total_amount="22.00"), header=RENAMED)
    (tmp_path / "orders/2025.csv.gz").write_bytes(gzip.compress(text))
    gift = csv_text(f"{row()},gift,", f"{row()},gift,for you", header=f"{','.join(COLUMNS)},channel,note")
    (tmp_path / "orders.csv").write_bytes(gift)
    (rules,) = blocks((ROOT / "docs/orders.md").read_text(), "python")
    (tmp_path / "mine.py").write_text(rules)
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="the README's commands need make")
def test_commands_of_the_readme_do_what_they_say(folder: Path) -> None:
    said = {line: call(shlex.split(line, comments=True), folder) for line in commands()}
    assert [line.split()[0] for line in said] == ["make", "make", ".venv/bin/daskjobs", "make", "make", "make"]
    first, mine, explained, again, ruled, strict = said.values()
    shown = re.findall(NUMBERS, README, re.M)
    assert len(shown) == 4
    assert re.findall(NUMBERS, first, re.M) == shown
    run = re.findall(r"^run +(\S+)$", first, re.M)[0]
    told = call([".venv/bin/daskjobs", "explain", "--run", run, "--row", "133"], folder).splitlines()
    for line in [*shown, *told]:
        assert f"\n    {line}\n" in TUTORIAL
    assert len(told) == 4
    assert "rejected   1 of 2 (wrong_total 1)" in mine
    assert "wrong_total" in explained
    assert "rejected   1 of 1 (wrong_total 1)" in again
    assert "rejected   1 of 2 (gift_without_note 1)" in ruled
    assert "rejected   0 of 2" in strict


def test_python_of_the_readme_prints_what_it_says(folder: Path) -> None:
    (code,) = blocks(README, "python")
    (folder / "readme.py").write_text(code)
    first, second = call([sys.executable, "readme.py"], folder).splitlines()
    assert f"# {first.replace(str(folder), '…')}" in code
    assert second == "6"


def test_python_of_its_page_runs_from_top_to_bottom(folder: Path) -> None:
    code = "\n".join(blocks((ROOT / "docs/python.md").read_text(), "python"))
    (folder / "page.py").write_text(code)
    said = call([sys.executable, "page.py"], folder)
    assert said.startswith("1 21.00 ")
    assert "wrong_total" in said
    assert said.endswith("\n6\n")


def test_notebook_prints_what_it_shows(tmp_path: Path) -> None:
    notebook: dict[str, Any] = json.loads((ROOT / "examples/orders.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code = f"\nprint({CELL!r}, flush=True)\n".join("".join(cell["source"]) for cell in cells)
    (tmp_path / "notebook.py").write_text(code)
    said = call([sys.executable, "notebook.py"], tmp_path).split(f"{CELL}\n")
    assert said == ["".join(text for output in cell["outputs"] for text in output["text"]) for cell in cells]
    assert sum(map(bool, said)) >= 5
