"""`daskjobs step` and `daskjobs step-cleanup`, as a person and as a pod call them."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from conftest import Command, until
from daskjobs.cluster.kubernetes.naming import NODE, PART_OF, cluster_name, node_key, selector
from daskjobs.cluster.settings import ClusterSettings
from kubeapi import KubeApi, Object, kube_api

MODULE = """
def build(client, day, n=1):
    print("building", day)
    return {"day": day, "n": client.submit(lambda x: x + 1, n).result()}

def wait(client):
    print("waiting", flush=True)
    client.submit(__import__("time").sleep, 60).result()

def prints(client, how):
    import os, sys, threading, time
    client.submit(print, "said by a task").result()
    if how == "no line end":
        sys.stdout.write("no newline at end")
    if how == "closed":
        sys.stdout.close()
        sys.stderr.close()
    if how == "descriptor":
        os.close(1)
    if how == "thread":
        def go_on():
            while True:
                print("still at work")
                time.sleep(0.001)
        threading.Thread(target=go_on, daemon=True).start()
    return 5

def fail(client):
    raise ValueError("nothing was delivered")
"""
pytestmark = pytest.mark.slow
HERE = ("--workers", "1", "--dashboard", "127.0.0.1:0")


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(MODULE)


def test_function_of_the_working_directory_is_called_and_its_result_is_the_last_line(
    daskjobs: Command, tmp_path: Path
) -> None:
    done = daskjobs("step", "theirs:build", "--arg", "day=2026-11-25", "--arg", "n=3", *HERE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'building 2026-11-25\n{"day": "2026-11-25", "n": 4}\n'
    assert "dashboard http://127.0.0.1:" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"theirs.py", "__pycache__"}


def test_step_is_set_by_the_environment_in_a_pod(daskjobs: Command, tmp_path: Path) -> None:
    done = daskjobs(
        "step",
        DASKJOBS_CALL="theirs:build",
        DASKJOBS_ARGS='{"day": "monday", "n": 4}',
        DASKJOBS_CODE=str(tmp_path),
        DASKJOBS_WORKERS="1",
        DASKJOBS_DASHBOARD="127.0.0.1:0",
        DASKJOBS_OUTPUTS="outputs",
        DASKJOBS_ARTIFACTS="false",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "outputs/result").read_text()) == {"day": "monday", "n": 5}
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["result"]


def test_exception_is_12_with_its_trace_and_a_sentence_in_the_end(daskjobs: Command, tmp_path: Path) -> None:
    done = daskjobs("step", "theirs:fail", "--outputs", "outputs", *HERE)
    assert done.returncode == 12
    assert "Traceback" in done.stderr
    assert "daskjobs/cluster" not in done.stderr
    sentence = f"theirs:fail failed in {tmp_path}/theirs.py, line 29: ValueError: nothing was delivered"
    assert done.stderr.splitlines()[-1] == f"daskjobs: {sentence}"
    assert not (tmp_path / "outputs/result").exists()


def test_workers_are_gone_and_no_run_is_spoken_of_when_a_step_is_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "daskjobs", "step", "theirs:wait", *HERE]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DASKJOBS_")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=clean, text=True, **pipes) as running:
        assert running.stdout
        assert running.stderr
        assert running.stdout.readline() == "waiting\n"
        started = psutil.Process(running.pid).children(recursive=True)
        assert started
        running.terminate()
        _, alive = psutil.wait_procs(started, timeout=20)
        assert alive == []
        assert running.wait(20) == 143
        assert running.stderr.read().splitlines()[-1] == "daskjobs: stopped by SIGTERM"


@pytest.mark.parametrize("how", ["no line end", "closed", "descriptor", "thread"])
def test_last_line_is_the_result_whatever_the_function_does_to_standard_output(daskjobs: Command, how: str) -> None:
    done = daskjobs("step", "theirs:prints", "--arg", f"how={how}", "--outputs", "outputs", *HERE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n5\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--args", "day"], "--args must be a JSON object, got 'day'"),
        (["--args", "[1]"], "--args must be a JSON object, like"),
        (["--args", "@no/such.json"], "--args names a file that can't be read, '@no/such.json': "),
        (["--args", f"@{os.devnull}", "--arg", "day"], "--arg must be name=value"),  # which is empty: no arguments
        (["--args", f"@{__file__}"], "--args must be a JSON object, got "),
        (["--args", "[" * 50_000], "--args is nested too deeply: give fewer levels"),
        (["--arg", f"day={'[' * 50_000}"], "--arg is nested too deeply: give fewer levels"),
        (["--arg", "day"], "--arg must be name=value, like day=2026-11-25, got 'day'"),
        (["--arg", "a b=1"], "--arg must be name=value"),
        (["--workers", "-1"], "--workers must be between 0 and 1,000, got -1"),
        (["--workers", "0", "--cluster", "kubernetes"], "--workers must be at least 1 on Kubernetes, got 0"),
        (["--timeout", "1h"], "--timeout must be a number of seconds, like 3600, got '1h'"),
    ],
)
def test_usage_is_a_sentence(daskjobs: Command, arguments: list[str], words: str) -> None:
    done = daskjobs("step", "theirs:build", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_outputs_where_one_may_not_write_are_not_tried_again(daskjobs: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for outputs in ("/proc/nope", "file", "o" * 300):
        done = daskjobs("step", "theirs:build", "--arg", "day=1", "--outputs", outputs, *HERE)
        assert (done.returncode, done.stderr.endswith("; choose another --outputs\n")) == (11, True), done.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_before_the_function_is_called_is_no_failure_of_its_module(tmp_path: Path, sent: signal.Signals) -> None:
    """A step has no --run with which it could be started again."""
    (tmp_path / "slow.py").write_text("import time\nopen('asleep', 'w').close()\ntime.sleep(60)\n")
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{hears}; from daskjobs.__main__ import entry; entry()", "step", "slow:build"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        until((tmp_path / "asleep").exists, "an import", 60)
        running.send_signal(sent)
        _, said = running.communicate(timeout=20)
    assert running.returncode == 128 + sent
    assert re.fullmatch(r"daskjobs: stopped by [^;]*\n", said)


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[KubeApi]:
    with kube_api() as api:
        api.kubeconfig(tmp_path)
        yield api


def in_pod(kube: KubeApi, tmp_path: Path, node: str) -> dict[str, str]:
    """Return the variables that flows/dask-step.yaml gives the pod of an Argo node."""
    return dict(
        KUBECONFIG=str(kube.kubeconfig(tmp_path)),
        DASKJOBS_NAMESPACE=kube.namespace,
        DASKJOBS_POD="me",
        DASKJOBS_WORKFLOW="flow",
        DASKJOBS_WORKFLOW_UID="u-1",
        DASKJOBS_NODE=node,
    )


def test_cleanup_removes_the_cluster_of_its_node_alone_and_writes_a_receipt(
    daskjobs: Command, kube: KubeApi, tmp_path: Path
) -> None:
    for node in ("flow.features", "flow.other"):
        settings = ClusterSettings(workflow_uid="u-1", key=node_key(node))
        kube.add("DaskCluster", cluster_name(settings), {**PART_OF, **selector(settings)})
    done = daskjobs(
        "step-cleanup",
        **in_pod(kube, tmp_path, "flow.features.onExit"),
        DASKJOBS_OUTPUTS="outputs",
    )
    assert done.returncode == 0, done.stderr
    receipt = json.loads((tmp_path / "outputs/receipt.json").read_text())
    assert receipt == json.loads(done.stdout)
    assert receipt["cluster"] == f"dv-u-1-{node_key('flow.features')}"
    assert [each["kind"] for each in receipt["objects"]] == ["DaskCluster"]
    assert (receipt["kept"], receipt["remaining"]) == ([], [])
    assert kube.names("DaskCluster") == [f"dv-u-1-{node_key('flow.other')}"]


def test_cluster_of_a_step_says_which_node_it_is_of(daskjobs: Command, kube: KubeApi, tmp_path: Path) -> None:
    """No operator is here, so the step fails; its cluster is seen as it was made."""
    kube.add("Pod", "me", spec={"containers": [{"name": "main", "image": "mine"}]})
    made: list[Object] = []
    kube.on_create = made.append
    done = daskjobs(
        "step",
        "theirs:build",
        "--start-timeout=1",
        **in_pod(kube, tmp_path, "flow.features(0:a)"),
        DASKJOBS_ARGS='{"day": "monday"}',
    )
    assert done.returncode == 21, done.stderr
    (cluster,) = [each["metadata"] for each in made if each["kind"] == "DaskCluster"]
    assert cluster["name"] == f"dv-u-1-{node_key('flow.features(0:a)')}"
    assert cluster["annotations"][NODE] == "flow.features(0:a)"
