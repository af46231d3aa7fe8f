"""Each fault strikes a workflow of its own while it validates, four at a time; docs/faults.md has the list."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conftest import RESULTS, Pipeline
from e2e.conftest import GONE_SECONDS, Namespace, Wire, pods_of
from e2e.faults import FAULTS, Rules, strike

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500), pytest.mark.usefixtures("argo")]

AT_ONCE = 4
RUN = {"rows": 2000, "seed": 11, "partitions": 4, "workers": 2, "worker_cpu": "20m"}


@pytest.fixture(scope="module")
def struck(place: Namespace, wire: Wire, argo: None) -> Iterator[dict[str, Any]]:
    """All faults, a few at a time: each run's name and uid."""
    place.configure(DASKJOBS_IDLE_TIMEOUT="3600", DASKJOBS_DELETE_TIMEOUT="60")
    rules = Rules(wire)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {name: pool.submit(strike_and_finish, place, rules, name) for name in FAULTS}
    yield runs
    place.calm()


def strike_and_finish(place: Namespace, rules: Rules, name: str) -> tuple[str, str]:
    workflow, uid = strike(place, rules, FAULTS[name], **RUN)
    if FAULTS[name].ends:
        place.finished(workflow, 400)
    return workflow, uid


@pytest.mark.parametrize("name", FAULTS)
def test_run_is_right_or_says_why_not_and_leaves_nothing_when_struck_by(
    name: str, struck: dict[str, Any], place: Namespace, pipeline: Pipeline, tmp_path: Path
) -> None:
    fault, (workflow, uid) = FAULTS[name], struck[name].result()
    place.until(lambda: place.dask_objects(uid), lambda left: left == [], GONE_SECONDS)
    if fault.ends:
        found = place.get("workflow", workflow)
        said = json.dumps([(n["displayName"], n["phase"], n.get("message")) for n in pods_of(found)])
        assert found["status"]["phase"] == fault.ends, said
        tried = pods_of(found, fault.stage)
        assert fault.tried <= len(tried) <= (1 if fault.tried == 1 else 4), said
    if fault.ends == "Succeeded":
        pipeline(rows=RUN["rows"], seed=RUN["seed"], partitions=RUN["partitions"])
        for file in RESULTS:
            assert place.read(uid, file) == (tmp_path / "run" / file).read_bytes(), file
    else:
        assert not place.has(uid, "report/analytics_report.json")
    if name not in {"argo terminate", "kubectl delete workflow"}:  # after which Argo runs no cleanup
        assert json.loads(place.read(uid, "cleanup/receipt.json"))["remaining"] == []
