"""The flows of a series, all at once: nightly, backfill, on file; and orders that are dropped into Argo's UI."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from conftest import csv_text, row
from e2e.conftest import IMAGE, ROOT, Namespace, by_name, pods_of
from e2e.faults import argo

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo")]

SMALL = {"cluster": "local", "workers": "1", "partitions": "1", "image": IMAGE}
MISSING, DAY = "2026-11-01", "2026-11-02"
NIGHTS = ("2026-11-28", "2026-11-29")
ODD = "{{=1+1}} $(HOME) $$.csv"  # what Argo and Kubernetes would replace
DROPPED = b"\xef\xbb\xbf" + csv_text(row(), row(), row(status="?")).replace(b"\n", b"\r\n")

# A run that looks at no other one may be committed while a night works, which would then have to run again.
ASIDE = {"storage": "s3://daskjobs/dropped"}

Flows = dict[str, list[dict[str, Any]]]


def names(place: Namespace) -> list[str]:
    """Return the names of all files of the series."""
    return [name.partition("/runs/")[2] for name in place.files().find("daskjobs/runs")]


def from_cron(place: Namespace, name: str, *more: str, **parameters: str) -> str:
    given = [each for pair in (SMALL | parameters).items() for each in ("-p", "=".join(pair))]
    return argo("submit", "--from", f"cronwf/{name}", "-n", place.name, "-o", "name", *given, *more).strip()


def drop(place: Namespace, orders: bytes) -> str:
    """Do what the server of Argo's UI does with a file that is dropped into its form, and submit."""
    template = yaml.safe_load((ROOT / "flows/pipeline.yaml").read_text())["spec"]
    (artifact,) = template["arguments"]["artifacts"]
    repository = yaml.safe_load(place.get("configmap", "daskjobs-artifacts")["data"]["s3"])["s3"]
    key = f"uploads/{place.name}/0b9f/orders.csv"
    place.files().pipe_file(f"daskjobs/{key}", orders)
    location = {name: value for name, value in repository.items() if name != "keyFormat"} | {"key": key}
    workflow = yaml.safe_load((ROOT / "flows/run.yaml").read_text())
    workflow["spec"] |= {
        "entrypoint": "compact",
        "arguments": {
            "parameters": [{"name": name, "value": value} for name, value in (SMALL | ASIDE).items()],
            "artifacts": [artifact | {"s3": location}],
        },
    }
    return place.kubectl("create", "-f", "-", "-o", "jsonpath={.metadata.name}", text=json.dumps(workflow))


@pytest.fixture(scope="module")
def flows(place: Namespace, image: None) -> Iterator[Flows]:
    """All flows, submitted at once: two nights, a backfill and an on-file twice each, and dropped orders."""
    place.configure(DASKJOBS_SETTLE="0")
    store = place.files()
    store.pipe_file(f"daskjobs/days/orders-{DAY}.csv", csv_text(row(), row()))
    store.pipe_file("daskjobs/new/orders.csv", csv_text(row()))
    store.pipe_file(f"daskjobs/new/{ODD}", csv_text(row(), row()))
    for name in ("nightly", "on-file"):
        cron = yaml.safe_load((ROOT / f"flows/{name}.yaml").read_text())
        cron["spec"]["suspend"] = True
        place.kubectl("create", "-f", "-", text=json.dumps(cron))
    pattern = "s3://daskjobs/days/orders-%Y-%m-%d.csv"
    started = {
        "nightly": [
            from_cron(
                place, "daskjobs-nightly", "--entrypoint=compact", f"--scheduled-time={night}T03:00:00Z", rows="300"
            )
            for night in NIGHTS
        ],
        "backfill": [place.submit("backfill.yaml", days=f"{MISSING}..{DAY}", input=pattern, **SMALL) for _ in range(2)],
        "on-file": [from_cron(place, "daskjobs-on-file", input="s3://daskjobs/new/*.csv") for _ in range(2)],
        "dropped": [drop(place, DROPPED)],
    }
    yield {kind: [place.finished(name) for name in names] for kind, names in started.items()}
    place.calm()


def test_nights_stand_for_the_days_for_which_they_were_scheduled(place: Namespace, flows: Flows) -> None:
    for night, workflow in zip(NIGHTS, flows["nightly"], strict=True):
        assert workflow["status"]["phase"] == "Succeeded", json.dumps(workflow["status"])[:3000]
        manifest = json.loads(place.read(workflow["metadata"]["uid"], "split/manifest.json"))
        assert manifest["settings"]["as_of"] == night


def test_night_that_comes_later_counts_no_order_of_the_other_one_again(place: Namespace, flows: Flows) -> None:
    """Either may: they wait for one lock, and Argo says of none that it gets it first."""
    later, first = sorted(
        json.loads(place.read(workflow["metadata"]["uid"], "report/analytics_report.json"))["orders"]
        for workflow in flows["nightly"]
    )
    assert (later, first > 0) == (0, True)


def test_backfill_does_each_day_once_and_says_which_day_failed(place: Namespace, flows: Flows) -> None:
    """Though it was started twice at once; a day without a file stops no other one."""
    done = names(place)
    for day in (MISSING, DAY):
        runs = {name.partition("/")[0] for name in done if name.startswith(f"{day}-")}
        assert len(runs) == 1
        (run,) = runs
        assert (f"{run}/report/manifest.json" in done) == (day == DAY)
    for workflow in flows["backfill"]:
        assert workflow["status"]["phase"] == "Failed"
        failed = [pod for pod in pods_of(workflow, "whole") if pod["phase"] != "Succeeded"]
        assert all(f"day:{MISSING}" in pod["displayName"] for pod in failed)
        assert all(f"orders-{MISSING}.csv names no file" in pod["message"] for pod in failed)
        assert len(failed) == 1
        assert by_name(workflow)[f"{workflow['metadata']['name']}.onExit"]["phase"] == "Succeeded"
    begun = [pod["startedAt"] for workflow in flows["backfill"] for pod in pods_of(workflow, "whole")]
    assert len(set(begun)) == len(begun)  # one at a time


def test_new_files_are_run_once_each_by_their_whole_names(place: Namespace, flows: Flows) -> None:
    assert [workflow["status"]["phase"] for workflow in flows["on-file"]] == ["Succeeded"] * 2
    assert sorted(len(pods_of(workflow, "whole")) for workflow in flows["on-file"]) == [0, 2]
    done = names(place)
    runs = [name.partition("/")[0] for name in done if name.endswith("/split/manifest.json")]
    inputs = {run: json.loads(place.read(run, "split/manifest.json"))["inputs"] for run in runs}
    for file, orders in (("orders.csv", 1), (ODD, 2)):
        (run,) = (name for name, read in inputs.items() if f"s3://daskjobs/new/{file}" in read)
        assert json.loads(place.read(run, "report/analytics_report.json"))["orders"] == orders
        assert json.loads(place.read(run, "cleanup/receipt.json"))["remaining"] == []


def test_series_has_no_folder_but_those_of_runs(place: Namespace, flows: Flows) -> None:
    for kind in ("backfill", "on-file"):
        for workflow in flows[kind]:
            assert not place.files().exists(f"daskjobs/runs/{workflow['metadata']['uid']}")


def test_dropped_orders_are_the_input_byte_for_byte(place: Namespace, flows: Flows) -> None:
    (workflow,) = flows["dropped"]
    assert workflow["status"]["phase"] == "Succeeded", json.dumps(workflow["status"])[:3000]
    uid = workflow["metadata"]["uid"]
    files, folder = place.files(), f"daskjobs/dropped/{uid}"
    assert files.cat(f"{folder}/input/orders") == DROPPED
    assert json.loads(files.cat(f"{folder}/report/analytics_report.json"))["orders"] == 2
