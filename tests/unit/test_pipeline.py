"""The promises that no stage can keep alone: the same results, however the run went."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import RESULTS, Pipeline
from daskjobs.stages import STAGES


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


@pytest.mark.slow
def test_results_are_the_same_bytes_with_any_workers_and_partitions(pipeline: Pipeline, tmp_path: Path) -> None:
    found = []
    for workers, partitions in [(1, 5), (2, 5), (5, 5), (2, 1), (2, 17)]:
        where = f"{workers}-{partitions}"
        pipeline(where=where, rows=20_000, workers=workers, partitions=partitions)
        found.append(results(tmp_path / where))
    assert all(other == found[0] for other in found)
    assert json.loads(found[0]["report/analytics_report.json"])["orders"] > 15_000


# Kills its own process with SIGKILL at the moment that a given file is about to appear under its name.
KILLED = """
import os, signal, sys
from daskjobs.cli import main as cli
from daskjobs.files import storage

real = os.replace
def replace(part, path):
    if path.endswith(os.environ["KILL_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(part, path)

storage.os.replace = replace
cli.entry()
"""
MOMENTS = [
    *(stage.files[0] for stage in STAGES.values()),
    *("generate/manifest.json", "validate/part-00002/paid.parquet", "validate/manifest.json", "report/manifest.json"),
]


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_results_are_the_same_bytes_when_a_killed_run_is_started_again(
    pipeline: Pipeline, tmp_path: Path, moment: str
) -> None:
    arguments = ["run", "--run", str(tmp_path / "run"), "--rows", "2000", "--dashboard", "127.0.0.1:0"]
    command, environment = [sys.executable, "-c", KILLED, *arguments], os.environ | {"KILL_AT": moment}
    killed = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / moment).exists()
    pipeline(rows=2000)
    pipeline(rows=2000, where="undisturbed")
    assert results(tmp_path / "run") == results(tmp_path / "undisturbed")
    assert not list(tmp_path.glob("run/**/*.daskjobs-part-*"))
