"""The whole DAG by the real workflow controller."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Pipeline
from daskjobs.files.documents import sealed, unsealed
from e2e.conftest import Namespace, Wire, by_name, pods_of
from e2e.faults import DELETING

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo")]

RESULTS = ("report/analytics_report.json", "report/quality.json", "merge/quarantine.csv")


def test_run_by_argo_gives_the_laptops_results_and_leaves_nothing(
    namespace: Namespace, pipeline: Pipeline, tmp_path: Path
) -> None:
    names = {
        entrypoint: namespace.submit(spec={"entrypoint": entrypoint}, rows=50_000, seed=7)
        for entrypoint in ("pipeline", "compact")
    }
    pipeline(rows=50_000, seed=7)
    for entrypoint, name in names.items():
        workflow = namespace.finished(name)
        status, uid = workflow["status"], workflow["metadata"]["uid"]
        assert status["phase"] == "Succeeded", json.dumps(status)[:3000]
        for result in RESULTS:
            assert namespace.read(uid, result) == (tmp_path / "run" / result).read_bytes()
        report = json.loads(namespace.read(uid, RESULTS[0]))
        shown = {parameter["name"]: parameter["value"] for parameter in status["outputs"]["parameters"]}
        assert (int(shown["orders"]), float(shown["revenue"])) == (report["orders"], report["revenue"])
        assert (shown["validate-rows-in"], shown["validate-rows-out"]) == ("50000", "48076")
        assert float(shown["validate-seconds"]) > 0
        assert_ran_on_five(namespace, uid, shown)
        assert json.loads(namespace.read(uid, "cleanup/receipt.json"))["remaining"] == []
        outputs = [node.get("outputs", {}) for node in pods_of(workflow)]
        artifacts = {artifact["name"] for each in outputs for artifact in each.get("artifacts", [])}
        assert {"report", "analytics", "quality", "quarantine", "performance", "receipt"} <= artifacts
        if entrypoint == "pipeline":
            assert_dag_is_the_one_that_was_promised(namespace, workflow, shown)
    assert namespace.dask_objects() == []


def assert_ran_on_five(namespace: Namespace, uid: str, shown: dict[str, str]) -> None:
    facts = json.loads(namespace.read(uid, "validate/facts.json"))
    assert (facts["cluster"], facts["workers_wanted"]) == ("kubernetes", 5)
    # Work begins with the first worker: on a busy node it may be done before the second one has come.
    assert 1 <= facts["workers"] == int(shown["validate-workers"]) <= 5
    assert facts["how"] == "reused"  # by validate, in another pod than the one that asked for it
    assert ("why" in facts) == (facts["workers"] < 5)
    resources = json.loads(namespace.read(uid, "report/facts.json"))["stages"]["validate"]["resources"]
    asked, used = resources["asked"], resources["used"]
    assert (asked["workers"], asked["worker_cpu"], asked["worker_memory"]) == (5, "100m", "1Gi")
    assert 1 <= used["workers"] == len(used["each"]) <= 5
    assert used["cpu_seconds"] > 0
    assert 64 << 20 < used["memory_bytes"] <= used["peak_bytes"] < 1 << 30
    assert resources["advice"]
    assert resources["advice"][0] in namespace.read(uid, "report/report.html").decode()


def assert_dag_is_the_one_that_was_promised(
    namespace: Namespace, workflow: dict[str, Any], shown: dict[str, str]
) -> None:
    """A pod for each task, and along the edges the manifests, which are those in storage."""
    uid, pods = workflow["metadata"]["uid"], pods_of(workflow)
    assert sorted(pod["templateName"] for pod in pods) == [
        "clean", "cleanup", "cluster", "generate", "merge", "report", "validate",
    ]  # fmt: skip
    assert "validate-on-5-workers" in by_name(workflow)
    rows = [shown[name] for name in ("generate-rows-out", "merge-rows-in", "merge-rows-out", "clean-rows-in")]
    assert rows == ["50000", "50000", "48076", "48076"]
    assert (shown["clean-rows-out"], shown["rejected"]) == (shown["orders"], "1924")
    handed = {a["name"]: a["s3"]["key"] for pod in pods for a in pod.get("outputs", {}).get("artifacts", [])}
    for stage in ("generate", "split", "validate", "merge", "clean", "report"):
        artifact = namespace.files().cat(f"daskjobs/{handed[f'{stage}-manifest']}")
        assert artifact == namespace.read(uid, f"{stage}/manifest.json"), stage
    given = {pod["templateName"]: [a["name"] for a in pod.get("inputs", {}).get("artifacts", [])] for pod in pods}
    assert given["report"] == ["validate-manifest", "merge-manifest", "clean-manifest"]


def test_run_that_another_process_has_changed_is_refused_once(namespace: Namespace, wire: Wire) -> None:
    """A sound manifest, but another one than split handed on, while validate was at work."""
    workflow = namespace.submit(rows=2000, seed=11, workers=1, worker_cpu="20m")
    uid = namespace.uid(workflow)
    request = DELETING.format(uid=uid)
    wire.does(f"hold {request}")
    wire.await_held(request)
    manifest = unsealed(namespace.read(uid, "split/manifest.json"), dict[str, Any])
    manifest["rows"]["out"] = 2001
    namespace.files().pipe(f"daskjobs/runs/{uid}/split/manifest.json", sealed(manifest))
    wire.does()
    found = namespace.finished(workflow)
    assert found["status"]["phase"] == "Failed"
    (merge,) = pods_of(found, "merge")
    assert (merge["phase"], merge["outputs"]["exitCode"]) == ("Failed", "11")
    assert "split/manifest.json is not the manifest that this stage was given" in merge["message"]
    assert pods_of(found, "report") == []


def test_bad_input_fails_once_and_is_cleaned_up(namespace: Namespace) -> None:
    workflow = namespace.finished(namespace.submit(input="s3://daskjobs/nothing.csv"))
    assert workflow["status"]["phase"] == "Failed"
    tried = pods_of(workflow, "validate")
    assert [(node["phase"], node["outputs"]["exitCode"]) for node in tried] == [("Failed", "10")]
    assert by_name(workflow)["generate"]["phase"] == "Skipped"
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
