"""What people do after a run that failed: `argo retry` and `argo resubmit`."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import RESULTS, Pipeline
from e2e.conftest import Namespace, Wire, by_name, pods_of
from e2e.faults import DURING, argo

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo")]


def how_it_ran(namespace: Namespace, uid: str) -> list[bytes]:
    """Return when and how the two stages before validate did their work: a pod that finds it done writes nothing."""
    return [namespace.read(uid, f"{stage}/facts.json") for stage in ("generate", "split")]


def receipt(namespace: Namespace, uid: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(namespace.read(uid, "cleanup/receipt.json"))
    return found


def cluster_of(found: dict[str, Any]) -> list[str]:
    return [each["uid"] for each in found["objects"] if each["kind"] == "DaskCluster"]


def test_retry_redoes_what_is_not_finished_and_resubmit_all_of_it(
    namespace: Namespace, wire: Wire, pipeline: Pipeline, tmp_path: Path
) -> None:
    first = namespace.submit(rows=2000, seed=11, workers=1, worker_cpu="20m")
    uid = namespace.uid(first)
    request = DURING.format(uid=uid)
    wire.does(f"hold {request}")
    wire.await_held(request)
    argo("stop", first, "-n", namespace.name)
    stopped = namespace.finished(first)
    assert stopped["status"]["phase"] == "Failed"
    wire.does()
    before = receipt(namespace, uid)
    assert before["remaining"] == []
    assert not namespace.has(uid, "report/analytics_report.json")
    assert namespace.dask_objects() == []

    before_retry = how_it_ran(namespace, uid)
    generated = by_name(stopped)["generate"]["finishedAt"]
    argo("retry", first, "-n", namespace.name)
    done = namespace.until(
        lambda: namespace.get("workflow", first),
        lambda found: found["status"].get("finishedAt") not in {None, stopped["status"]["finishedAt"]},
        300,
    )
    assert done["status"]["phase"] == "Succeeded", json.dumps(done["status"])[:3000]
    pipeline(rows=2000, seed=11)
    for name in RESULTS:
        assert namespace.read(uid, name) == (tmp_path / "run" / name).read_bytes()
    assert how_it_ran(namespace, uid) == before_retry
    assert by_name(done)["generate"]["finishedAt"] == generated
    after = receipt(namespace, uid)
    assert after["at"] > before["at"]
    assert after["remaining"] == []
    assert len(cluster_of(before)) == 1
    assert set(cluster_of(before)) < set(cluster_of(after))

    second = argo("resubmit", first, "-n", namespace.name, "-o", "name").split()[-1].rpartition("/")[2]
    again = namespace.finished(second)
    assert again["status"]["phase"] == "Succeeded", json.dumps(again["status"])[:3000]
    pods = [pod["templateName"] for pod in pods_of(again)]
    assert sorted(pods) == ["clean", "cleanup", "cluster", "generate", "merge", "report", "validate"]
    fresh = again["metadata"]["uid"]
    assert fresh != uid
    for name in RESULTS:
        assert namespace.read(fresh, name) == (tmp_path / "run" / name).read_bytes()
    assert receipt(namespace, fresh)["remaining"] == []
    assert namespace.dask_objects() == []
