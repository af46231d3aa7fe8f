"""The public face: a handful of names, typed, each imported when it is first used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import daskjobs
from conftest import TESTS
from manifests import ROOT


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_import_is_quick_and_takes_no_large_library_along() -> None:
    """The least of several: the machine may have other things to do."""
    code = (
        "import sys, time; before = set(sys.modules); started = time.perf_counter(); import daskjobs;"
        "print(time.perf_counter() - started);"
        "print(*({name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    runs = [python(code).split("\n") for _ in range(3)]
    assert {others for _, others in runs} == {"daskjobs"}
    assert min(float(seconds) for seconds, _ in runs) < 0.05


def test_importing_the_stages_takes_no_large_library_along() -> None:
    """Each command imports all of their modules, and each pod needs the libraries of its own stage alone."""
    code = "import sys, daskjobs.stages; print(*sorted(name for name in sys.modules if '.' not in name))"
    loaded = set(python(code).split())
    assert not {"numpy", "pandas", "pyarrow", "dask", "distributed", "bokeh", "jinja2"} & loaded


@pytest.mark.parametrize("name", daskjobs.__all__)
def test_every_public_name_can_be_had_and_is_the_same_each_time(name: str) -> None:
    assert getattr(daskjobs, name) is getattr(daskjobs, name)
    assert name in dir(daskjobs)


def test_type_checkers_import_every_name_from_the_module_that_it_comes_from() -> None:
    tree = ast.parse(Path(daskjobs.__file__).read_text())
    block = next(node.body for node in tree.body if isinstance(node, ast.If))
    imported = [(each.name, node.module) for node in block if isinstance(node, ast.ImportFrom) for each in node.names]
    assert len(imported) == 7
    for name, module in imported:
        assert getattr(daskjobs, name).__module__ == module


def test_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'daskjobs' has no attribute 'run_order'"):
        daskjobs.run_order  # noqa: B018  # type: ignore[attr-defined]


def test_rule_can_be_marked_without_loading_pandas() -> None:
    code = (
        "import sys, daskjobs; daskjobs.rule('x')(lambda orders: orders);"
        "print({'pandas', 'pyarrow'} & set(sys.modules))"
    )
    assert python(code) == "set()"


@pytest.mark.slow
def test_types_are_what_users_see() -> None:
    """With mypy's strict settings, under which an expected error that doesn't come is one, too."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml", "tests/typing/api.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout
    assert (TESTS / "typing/api.py").exists()
    assert (ROOT / "daskjobs/py.typed").exists()
