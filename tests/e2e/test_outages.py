"""What a whole namespace suffers at once: no operator, no storage, no memory, no image."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import RESULTS, Pipeline, csv_text, row
from e2e.conftest import GONE_SECONDS, ROOT, Namespace, Wire, no_operator, pods_of
from e2e.faults import DURING

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

VALIDATE = "daskjobs generate && daskjobs split && daskjobs validate"
MISTYPED = "docker.io/library/daskjobs:mistyped"


def gone(namespace: Namespace) -> None:
    namespace.until(namespace.dask_objects, lambda left: left == [], GONE_SECONDS)


@pytest.mark.alone
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


@pytest.mark.alone
def test_run_goes_on_when_the_operator_was_down_at_its_start_and_comes_back(namespace: Namespace) -> None:
    with no_operator():
        pod = namespace.pod(VALIDATE)
        namespace.until(lambda: namespace.get("daskclusters")["items"], bool, 120)
        time.sleep(3)
        kinds = [re.split("[./]", name)[0] for name in namespace.dask_objects()]
        assert sorted(kinds) == ["daskcluster", "networkpolicy", "secret"]  # what the run itself makes
    code, log = namespace.ended(pod)
    assert code == 0, log
    gone(namespace)


@pytest.mark.alone
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
    tried = pods_of(found, "validate")
    codes = [node["outputs"]["exitCode"] for node in tried if node["phase"] == "Failed"]
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


FILLS_THE_DISK = """
import os, time

def full(orders):
    with open("/tmp/full", "wb") as file:
        for _ in range(100):
            file.write(os.urandom(1 << 20))
    time.sleep(300)
    return orders["quantity"] > 0
"""


def test_worker_that_fills_its_disk_is_evicted_and_the_sentence_says_so(namespace: Namespace) -> None:
    """The uid is as long as a workflow's, and so the names of the pods are cut."""
    uid = "4f002343-c29a-4fdd-ac11-b9dabe4d4980"
    namespace.files().pipe("daskjobs/fills.py", FILLS_THE_DISK.encode())
    settings = {
        "DASKJOBS_RULES": "s3://daskjobs/fills.py",
        "DASKJOBS_RUN": "s3://daskjobs/runs/full",
        "DASKJOBS_WORKFLOW_UID": uid,
        "DASKJOBS_PARTITIONS": "1",
        "DASKJOBS_WORKERS": "1",
        "DASKJOBS_WORKER_DISK": "64Mi",
    }
    script = "daskjobs generate && daskjobs split && daskjobs validate"
    code, log = namespace.ended(namespace.pod(script, **settings), 500)
    assert code == 11, log
    said = log.strip().splitlines()[-1]
    evicted = r'Evicted: Usage of EmptyDir volume "tmp" exceeds the limit "64Mi"\. \(--worker-disk is 64Mi\)'
    assert re.search(
        rf"its worker died each of the 3 times that it was tried; the last one: dv-{uid}-\S+: {evicted}", said
    )
    gone(namespace)


def installed_as(namespace: Namespace, name: str, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Install a changed copy of the flow's templates under another name; return what makes a workflow use it."""
    flow = yaml.safe_load((ROOT / "flows/pipeline.yaml").read_text())
    flow["metadata"]["name"] = name
    for each in flow["spec"]["templates"]:
        if "container" in each:
            change(each)
    namespace.kubectl("apply", "-f", "-", text=json.dumps(flow))
    return {"workflowTemplateRef": {"name": name}}


def given_up(namespace: Namespace, workflow: str, *first: str) -> list[str]:
    """Wait until a workflow's first tasks have failed, and its exit handler has come; return their messages."""
    found = namespace.until(
        lambda: namespace.get("workflow", workflow), lambda w: w.get("status") and pods_of(w, "cleanup"), 100
    )
    tried = [pod for pod in pods_of(found) if pod["templateName"] != "cleanup"]
    assert sorted(pod["templateName"] for pod in tried) == sorted(first)  # once each
    assert all(pod["phase"] in {"Failed", "Error"} for pod in tried)
    return [pod["message"] for pod in tried]


@pytest.mark.usefixtures("argo")
def test_run_ends_at_its_first_pods_deadline_when_the_image_can_not_be_pulled(namespace: Namespace) -> None:
    """The deadlines are the template's own, ten minutes, made short; the second attempt is what must not happen."""
    first = ("cluster", "generate")

    def short(template: dict[str, Any]) -> None:
        assert template["name"] not in first or template["activeDeadlineSeconds"] == 600
        template["activeDeadlineSeconds"] = 40

    spec = installed_as(namespace, "short", short)
    workflow = namespace.submit(spec=spec, image=MISTYPED)
    pending = namespace.until(
        lambda: namespace.get("workflow", workflow),
        lambda w: w.get("status") and any("image" in pod.get("message", "") for pod in pods_of(w)),
        120,
    )
    assert any(MISTYPED in pod.get("message", "") for pod in pods_of(pending))
    assert all("specified deadline" in message for message in given_up(namespace, workflow, *first))


@pytest.mark.usefixtures("argo")
def test_pods_that_do_not_start_are_given_up_by_the_janitor_and_not_tried_again(namespace: Namespace) -> None:
    """Whether the image can't be pulled or no node has room; another's pod, and one that is young, are left alone."""

    def impatient(template: dict[str, Any]) -> None:
        assert template["pendingTimeout"] == "5m"
        template["pendingTimeout"] = "5s"

    def large(template: dict[str, Any]) -> None:
        resources = {"requests": {"cpu": "100", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}
        template["container"]["resources"] = resources

    pulled = namespace.submit(
        spec={**installed_as(namespace, "impatient", impatient), "entrypoint": "compact"}, image=MISTYPED
    )
    placed = namespace.submit(spec=installed_as(namespace, "large", large))
    namespace.pod("true", DASKJOBS_POD="theirs")
    namespace.configure(DASKJOBS_PENDING_TIMEOUT="5")
    time.sleep(12)
    namespace.kubectl("create", "job", "sweep", "--from=cronjob/daskjobs-janitor")
    try:
        (message,) = given_up(namespace, pulled, "generate-split-validate")
        assert message == "timeout"
        for message in given_up(namespace, placed, "cluster", "generate"):
            assert message.startswith("did not start within 5 s: 0/1 nodes are available: 1 Insufficient cpu")
        namespace.kubectl("wait", "--for=condition=complete", "job/sweep", "--timeout=60s")
        log = namespace.kubectl("logs", "job/sweep")
    finally:
        namespace.kubectl("delete", "job", "sweep")
        namespace.configure(DASKJOBS_PENDING_TIMEOUT=None)
    (said,) = [line for line in log.splitlines() if line.startswith(f"gave up Pod {pulled}-")]
    assert "did not start within 5 s" in said
    assert re.search(rf"ErrImagePull|ImagePullBackOff|{MISTYPED}|PodInitializing", said), said
    assert "theirs" not in log
