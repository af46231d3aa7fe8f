"""The whole DAG by the real workflow controller."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Pipeline
from e2e.conftest import Namespace

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo")]

RESULTS = ("report/analytics_report.json", "report/quality.json", "merge/quarantine.csv")


def pods_of(workflow: dict[str, Any], template: str) -> list[dict[str, Any]]:
    nodes = workflow["status"]["nodes"].values()
    return [node for node in nodes if node["type"] == "Pod" and node["templateName"] == template]


def test_run_by_argo_gives_the_laptops_results_and_leaves_nothing(
    namespace: Namespace, pipeline: Pipeline, tmp_path: Path
) -> None:
    workflow = namespace.finished(namespace.submit(rows=50_000, seed=7))
    status, uid = workflow["status"], workflow["metadata"]["uid"]
    assert status["phase"] == "Succeeded", json.dumps(status)[:3000]
    pipeline(rows=50_000, seed=7)
    for name in RESULTS:
        assert namespace.read(uid, name) == (tmp_path / "run" / name).read_bytes()
    report = json.loads(namespace.read(uid, RESULTS[0]))
    shown = {parameter["name"]: parameter["value"] for parameter in status["outputs"]["parameters"]}
    assert (int(shown["orders"]), float(shown["revenue"])) == (report["orders"], report["revenue"])
    facts = json.loads(namespace.read(uid, "validate/run.json"))
    assert (facts["cluster"], facts["workers_wanted"]) == ("kubernetes", 5)
    assert 2 <= facts["workers"] <= 5  # on a slow node, work doesn't wait for the last ones
    assert ("why" in facts) == (facts["workers"] < 5)
    resources = json.loads(namespace.read(uid, "report/run.json"))["stages"]["validate"]["resources"]
    asked, used = resources["asked"], resources["used"]
    assert (asked["workers"], asked["worker_cpu"], asked["worker_memory"]) == (5, "100m", "1Gi")
    assert 1 <= used["workers"] == len(used["each"]) <= 5
    assert used["cpu_seconds"] > 0
    assert 64 << 20 < used["memory_bytes"] <= used["peak_bytes"] < 1 << 30
    assert resources["advice"]
    assert resources["advice"][0] in namespace.read(uid, "report/report.html").decode()
    assert json.loads(namespace.read(uid, "cleanup/receipt.json"))["remaining"] == []
    assert namespace.dask_objects() == []
    artifacts = {a["name"] for node in status["nodes"].values() for a in node.get("outputs", {}).get("artifacts", [])}
    assert {"report", "analytics", "quality", "quarantine", "performance", "receipt"} <= artifacts


def test_bad_input_fails_once_and_is_cleaned_up(namespace: Namespace) -> None:
    workflow = namespace.finished(namespace.submit(input="s3://daskjobs/nothing.csv"))
    assert workflow["status"]["phase"] == "Failed"
    tried = pods_of(workflow, "validate")
    assert [(node["phase"], node["outputs"]["exitCode"]) for node in tried] == [("Failed", "10")]
    sentence = "main: Error (exit code 10): split: --input s3://daskjobs/nothing.csv names no file"
    assert tried[0]["message"].startswith(sentence)
    assert [node["phase"] for node in pods_of(workflow, "cleanup")] == ["Succeeded"]


def test_two_runs_side_by_side_do_not_touch_each_other(
    namespace: Namespace, pipeline: Pipeline, tmp_path: Path
) -> None:
    seeds = (1, 2)
    names = [namespace.submit(rows=5000, seed=seed, workers=2) for seed in seeds]
    for seed, name in zip(seeds, names, strict=True):
        workflow = namespace.finished(name)
        assert workflow["status"]["phase"] == "Succeeded", json.dumps(workflow["status"])[:3000]
        pipeline(where=str(seed), rows=5000, seed=seed)
        uid = workflow["metadata"]["uid"]
        assert namespace.read(uid, RESULTS[0]) == (tmp_path / str(seed) / RESULTS[0]).read_bytes()
    assert namespace.dask_objects() == []


def test_smoke_flow_proves_an_installation(namespace: Namespace) -> None:
    workflow = namespace.finished(namespace.submit("smoke.yaml"))
    assert workflow["status"]["phase"] == "Succeeded", json.dumps(workflow["status"])[:3000]
