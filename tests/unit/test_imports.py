"""What each command imports: time and memory of each pod, and most of a small run's time."""

import subprocess
import sys
from pathlib import Path

import pytest

from daskjobs.stages import STAGES

# Prints what is imported when the command ends, which it does without Python's own end.
COMMAND = """
import os, sys
end = os._exit
def tell(code):
    sys.stdout.flush()
    os.write(1, ("\\n" + " ".join(sys.modules)).encode())
    end(code)
os._exit = tell
sys.argv[0] = "daskjobs"
from daskjobs.__main__ import entry
entry()
"""
NEVER = {"pandas", "bokeh", "matplotlib", "cryptography", "s3fs", "aiohttp", "kr8s", "distributed.dashboard"}
DASK, DATA = {"dask", "distributed", "tornado"}, {"pyarrow", "numpy"}
MAY_NOT_IMPORT = {  # by the commands that pods run; each but generate goes on from what the one before it wrote
    "generate": NEVER | DASK,
    "split": NEVER | DASK,
    "validate": NEVER,
    "merge": NEVER | DASK,
    "clean": NEVER | DASK,
    "report": NEVER | DASK | {"jinja2"},
    "cleanup": NEVER | DASK | DATA,
    "cluster": NEVER | DASK | DATA,
}


def imported(*arguments: str, code: str = COMMAND) -> set[str]:
    """The modules that a command imports."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rstrip().rpartition("\n")[2].split())


def among(modules: set[str], names: set[str]) -> set[str]:
    return {each for each in modules if any(f"{each}.".startswith(f"{name}.") for name in names)}


def test_stages_import_only_what_they_use(tmp_path: Path) -> None:
    assert set(STAGES) < set(MAY_NOT_IMPORT)
    for command, names in MAY_NOT_IMPORT.items():
        here = ["--dashboard", "127.0.0.1:0", "--rows", "100"]
        modules = imported(command, "--run", str(tmp_path / "run"), *(here if command != "cleanup" else []))
        assert among(modules, names) == set(), command
        assert f"daskjobs.stages.{command}" in modules or command == "cluster"


def test_run_without_rules_imports_neither_pandas_nor_pages(tmp_path: Path) -> None:
    modules = imported("run", "--rows", "100", "--run", str(tmp_path / "run"), "--dashboard", "127.0.0.1:0")
    assert among(modules, NEVER) == set()
    assert {"distributed", "pyarrow"} <= modules


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_no_library_for_work(arguments: list[str]) -> None:
    modules = imported(*arguments)
    assert among(modules, NEVER | DASK | DATA | {"fsspec", "asyncio", "psutil"}) == set()
    assert among(modules, {"daskjobs.stages", "daskjobs.orders", "daskjobs.cluster", "daskjobs.files"}) == set()


def test_package_itself_imports_next_to_nothing() -> None:
    before = imported(code="import sys; print(*sys.modules)")
    more = imported(code="import sys, daskjobs; print(*sys.modules)") - before
    assert among(more, {"daskjobs"}) == {"daskjobs", "daskjobs.errors", "daskjobs.display", "daskjobs.version"}
    assert {each for each in more if each.partition(".")[0] not in sys.stdlib_module_names} <= among(more, {"daskjobs"})
