"""What a whole namespace suffers at once: no operator, no storage, no memory, no image."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import RESULTS, Pipeline, csv_text, row
from e2e.conftest import ROOT, Namespace, Wire, no_operator
from e2e.faults import DURING

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

VALIDATE = "daskjobs generate && daskjobs split && daskjobs validate"
GONE_SECONDS = 120


def gone(namespace: Namespace) -> None:
    namespace.until(namespace.dask_objects, lambda left: left == [], GONE_SECONDS)


def test_run_fails_with_a_sentence_and_leaves_nothing_when_the_operator_is_down(namespace: Namespace) -> None:
    with no_operator():
        code, log = namespace.ended(namespace.pod(VALIDATE, DASKJOBS_START_TIMEOUT="5"))
        assert code == 21, log
        said = log.strip().splitlines()[-1]
        assert (
            "the Dask scheduler did not answer within 5 s: the Dask operator has made no pod for it: is it running?"
            in said
        )
        assert "Traceback" not in log
        gone(namespace)


def test_run_goes_on_when_the_operator_was_down_at_its_start_and_comes_back(namespace: Namespace) -> None:
    with no_operator():
        pod = namespace.pod(VALIDATE)
        namespace.until(lambda: namespace.get("daskclusters")["items"], bool, 60)
        time.sleep(3)
        assert len(namespace.dask_objects()) == 1
    code, log = namespace.ended(pod)
    assert code == 0, log
    gone(namespace)


def test_run_ends_well_and_its_cluster_goes_later_when_the_operator_is_down_in_the_middle(
    namespace: Namespace, wire: Wire
) -> None:
    request = DURING.format(uid="middle")
    wire.does(f"hold {request}")
    pod = namespace.pod(VALIDATE, DASKJOBS_POD="middle")
    wire.await_held(request)
    with no_operator():
        wire.does()
        code, log = namespace.ended(pod)
        assert code == 0, log
        assert "deletionTimestamp" in namespace.get("daskclusters")["items"][0]["metadata"]
        assert len(namespace.dask_objects()) > 8
    gone(namespace)


@pytest.mark.usefixtures("argo")
def test_report_is_right_when_the_storage_is_gone_for_a_minute(
    namespace: Namespace, wire: Wire, pipeline: Pipeline, tmp_path: Path
) -> None:
    workflow = namespace.submit(rows=2000, seed=11, workers=2, worker_cpu="20m")
    uid = namespace.uid(workflow)
    request = DURING.format(uid=uid)
    wire.does(f"hold {request}")
    wire.await_held(request)
    wire.does("refuse")
    time.sleep(60)
    wire.does()
    found = namespace.finished(workflow, 400)
    tried = [node for node in found["status"]["nodes"].values() if node.get("templateName") == "validate"]
    codes = [node["outputs"]["exitCode"] for node in tried if node["type"] == "Pod" and node["phase"] == "Failed"]
    assert found["status"]["phase"] == "Succeeded", json.dumps(tried)[:3000]
    assert set(codes) == {"20"}
    pipeline(rows=2000, seed=11)
    for name in RESULTS:
        assert namespace.read(uid, name) == (tmp_path / "run" / name).read_bytes()
    assert json.loads(namespace.read(uid, "cleanup/receipt.json"))["remaining"] == []
    assert namespace.dask_objects() == []


def test_partition_that_wants_too_much_memory_is_given_up_with_the_workers_last_words(namespace: Namespace) -> None:
    """A row of 40 MB in a quoted field, and workers of 400 MiB; then the same run with larger ones."""
    rows = [row(order_id=f"A{number}") for number in range(200_000)]
    rows[120_000] = row(product='"' + "é" * 20_000_000 + '"')
    namespace.files().pipe("daskjobs/poison.csv", csv_text(*rows))
    settings = {
        "DASKJOBS_INPUT": "s3://daskjobs/poison.csv",
        "DASKJOBS_RUN": "s3://daskjobs/runs/poison",
        "DASKJOBS_PARTITIONS": "4",
        "DASKJOBS_WORKERS": "2",
    }
    code, log = namespace.ended(
        namespace.pod("daskjobs split && daskjobs validate", **settings, DASKJOBS_WORKER_MEMORY="400Mi")
    )
    assert code == 11, log
    said = log.strip().splitlines()[-1]
    plan = json.loads(namespace.read("poison", "split/partitions.json"))["partitions"]
    (poison,) = [p for p in plan if p["rows"] and p["ranges"][0]["end"] - p["ranges"][0]["start"] > 40e6]
    part = poison["ranges"][0]
    assert f"partition {poison['partition']} " in said
    assert f"poison.csv bytes {part['start']} to {part['end']}, {part['rows']} rows" in said
    assert "its worker died each of the 3 times" in said
    starved = r"(exceeded \d+% memory budget|OOMKilled|killed by signal 9).*\(it ran out of memory\)"
    assert re.search(rf"the last one: dv-\S+: .*{starved}; give", said)
    assert "--worker-memory (now 400Mi)" in said
    assert "; so were" not in said
    assert "Traceback" not in log
    kept = [name for name in namespace.files().find("daskjobs/runs/poison/validate") if name.endswith("result.json")]
    assert len(kept) == 3
    gone(namespace)
    code, log = namespace.ended(namespace.pod("daskjobs validate", **settings, DASKJOBS_WORKER_MEMORY="2Gi"))
    assert code == 0, log
    assert json.loads(namespace.read("poison", "validate/manifest.json"))["rows"]["in"] == 200_000
    gone(namespace)


@pytest.mark.usefixtures("argo")
def test_run_ends_at_its_first_pods_deadline_when_the_image_can_not_be_pulled(own_namespace: Namespace) -> None:
    """The deadlines are the template's own, made short; the second attempt is what must not happen."""
    template = yaml.safe_load((ROOT / "flows/pipeline.yaml").read_text())
    stages = {each["name"]: each for each in template["spec"]["templates"]}
    for stage, seconds in (("validate", 30), ("cleanup", 20)):
        assert stages[stage]["activeDeadlineSeconds"] <= 5400
        stages[stage]["activeDeadlineSeconds"] = seconds
    own_namespace.kubectl("apply", "-f", "-", text=json.dumps(template))
    workflow = own_namespace.submit(image="docker.io/library/daskjobs:mistyped")

    def nodes() -> Any:
        found = own_namespace.get("workflow", workflow).get("status", {}).get("nodes", {})
        return [node for node in found.values() if node["type"] == "Pod"]

    pending = own_namespace.until(nodes, lambda pods: any("image" in pod.get("message", "") for pod in pods), 60)
    assert "daskjobs:mistyped" in pending[0]["message"]
    found = own_namespace.finished(workflow, 150)
    assert found["status"]["phase"] in {"Failed", "Error"}
    tried = [pod for pod in nodes() if pod["templateName"] == "validate"]
    assert len(tried) == 1
    assert "deadline" in tried[0]["message"]
