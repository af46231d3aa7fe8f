import json
import subprocess
import sys

import pytest

from conftest import Command


def test_cluster_of_this_machine_is_left_to_validate(daskjobs: Command) -> None:
    done = daskjobs("cluster", "--run", "run")
    assert json.loads(done.stdout)["how"] == "left to validate"


@pytest.mark.slow
def test_stages_run_one_after_another_and_the_one_that_fails_is_named(daskjobs: Command) -> None:
    done = daskjobs("stages", "cluster", "generate", "split", "--run", "run", "--rows", "10")
    assert [json.loads(line)["stage"] for line in done.stdout.splitlines()] == ["cluster", "generate", "split"]
    done = daskjobs("stages", "merge", "clean", "--run", "run")
    assert (done.returncode, done.stdout) == (11, "")
    assert "daskjobs: merge: " in done.stderr


def test_cluster_says_what_it_needs_when_it_has_no_run(daskjobs: Command) -> None:
    done = daskjobs("cluster")
    assert (done.returncode, done.stderr) == (
        2,
        "daskjobs: daskjobs cluster needs --run: where the stages write their files\n",
    )


def test_pod_that_asks_for_the_cluster_loads_neither_dask_nor_arrow() -> None:
    """It starts beside generate, whose time it would take."""
    code = "import sys, daskjobs.cluster.kubernetes.lifecycle as _; from daskjobs.stages.workers import workload"
    code += "; from daskjobs.stages.run_settings import Settings; preload = workload(Settings(rules='mine.py')).preload"
    code += "; print(*preload, {'dask', 'distributed', 'numpy', 'pyarrow', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "daskjobs.orders.validation.partition set()\n"
