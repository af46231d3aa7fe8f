"""OpenLineage events of whole runs, held by the official schemas, which are in tests/openlineage."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from conftest import TESTS, row
from daskjobs.errors import ClusterError
from daskjobs.pipeline.manifest import Manifest
from daskjobs.stages import STAGES, lineage, new_context, run_all, run_stage
from daskjobs.stages.outcome import Outcome
from daskjobs.stages.run_settings import Context, Settings
from receiver import Receiver

SCHEMAS = [json.loads(path.read_text()) for path in sorted((TESTS / "openlineage").rglob("*.json"))]
REGISTRY: Registry[Any] = Registry().with_resources((each["$id"], Resource.from_contents(each)) for each in SCHEMAS)
BY_ID = {each["$id"]: each for each in SCHEMAS}


def context_of(server: Receiver, run: Path | str, **given: Any) -> Context:
    values = {
        "rows": 200,
        "dashboard": "127.0.0.1:0",
        "openlineage": server.url,
        "openlineage_key": "k-s3cr3t",
        **given,
    }
    return new_context(Settings.of(run_uri=str(run), **values, given=frozenset(given)))


def validate(value: Any, schema: dict[str, Any]) -> None:
    checker = jsonschema.FormatChecker()
    jsonschema.Draft202012Validator(schema, registry=REGISTRY, format_checker=checker).validate(value)


def facets(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        for name, each in value.items():
            if isinstance(each, dict) and "_schemaURL" in each:
                yield name, each
            yield from facets(each)
    elif isinstance(value, list):
        for each in value:
            yield from facets(each)


def assert_official(event: dict[str, Any]) -> None:
    """Hold an event, and each of its facets, against the schema that it names."""
    validate(event, {"$ref": event["schemaURL"]})
    assert datetime.fromisoformat(event["eventTime"]).tzinfo
    found = [*facets(event)]
    assert found
    for name, facet in found:
        whole = BY_ID[facet["_schemaURL"].partition("#")[0]]
        assert name in whole["properties"], name
        validate(facet, {"$ref": facet["_schemaURL"]})


def test_schemas_refuse_what_is_none() -> None:
    event = lineage.started("/runs/1", "", lineage.run_id("/runs/1", "", 1), "2026-11-30T03:00:00+00:00")
    assert_official(event)
    for broken in (event | {"eventType": "BEGIN"}, event | {"run": {}}, event | {"job": {"name": "x"}}):
        with pytest.raises(jsonschema.ValidationError):
            assert_official(broken)


def test_run_begins_and_is_complete_with_its_data_quality(
    server: Receiver, tmp_path: Path, orders_file: Callable[..., Path]
) -> None:
    file = orders_file(row(), row(total_amount="20.00"), row(status="failed"), row(price="-1.00", total_amount="-2.00"))
    run = tmp_path / "runs/1"
    run_all(context_of(server, run, rows=50_000, input=str(file)))
    start, end = (each.body for each in server.came)
    assert [each.path for each in server.came] == ["/api/v1/lineage"] * 2
    assert {each.headers["Authorization"] for each in server.came} == {"Bearer k-s3cr3t"}
    for event in (start, end):
        assert_official(event)
        assert event["job"] | {"facets": {}} == {"namespace": "daskjobs", "name": str(tmp_path / "runs"), "facets": {}}
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"]
    assert start["eventTime"] <= end["eventTime"]
    (given,) = end["inputs"]
    assert (given["namespace"], given["name"]) == ("file", str(file))
    quality = given["inputFacets"]
    assert quality["dataQualityMetrics"]["rowCount"] == 4
    assertions = quality["dataQualityAssertions"]["assertions"]
    broken = {each["assertion"]: each["actual"] for each in assertions if not each["success"]}
    assert broken == {"negative_price": "1 rows", "wrong_total": "1 rows"}
    assert len(assertions) > 5
    outputs = {each["name"]: each["outputFacets"]["outputStatistics"] for each in end["outputs"]}
    assert {name.removeprefix(f"{run}/"): each["rowCount"] for name, each in outputs.items()} == {
        "validate/part-*/paid.parquet": 1, "merge/quarantine.parquet": 2, "report/analytics_report.json": 1,
    }  # fmt: skip
    assert outputs[f"{run}/merge/quarantine.parquet"]["size"] == (run / "merge/quarantine.parquet").stat().st_size
    assert not any(b"s3cr3t" in path.read_bytes() for path in run.rglob("*") if path.is_file())


@pytest.mark.parametrize("stage", ["", *(name for name in STAGES if name != "cleanup")])
def test_failure_is_an_event_with_its_sentence_and_the_next_attempt_another_run(
    server: Receiver, tmp_path: Path, stage: str
) -> None:
    context = context_of(server, tmp_path / "run")

    def run(name: str, context: Context) -> Manifest:
        if name == stage:
            raise ClusterError("no worker came")
        return run_stage(name, context)

    if stage:
        with pytest.raises(ClusterError):
            run_all(context, run)
        _, end = (each.body for each in server.came)
        assert_official(end)
        assert end["eventType"] == "FAIL"
        assert end["run"]["facets"]["errorMessage"]["message"] == f"{stage}: no worker came"
        quality = end["inputs"] and end["inputs"][0].get("inputFacets")
        assert bool(quality) == (stage in ("clean", "report"))
    else:
        run_all(context)
    run_all(context)
    ids = [each.body["run"]["runId"] for each in server.came]
    kinds = ["START", "FAIL" if stage else "COMPLETE", "START", "COMPLETE"]
    assert [each.body["eventType"] for each in server.came] == kinds
    assert ids[0] == ids[1] != ids[2] == ids[3]


def test_stages_one_by_one_begin_once_and_end_with_cleanup(server: Receiver, tmp_path: Path) -> None:
    context = context_of(server, tmp_path / "run")
    for name in ("generate", "split", "split", "validate", "merge", "clean", "report", "cleanup", "cleanup"):
        run_stage(name, context)
    assert [each.body["eventType"] for each in server.came] == ["START", "COMPLETE"]


def test_cleanup_of_what_never_began_says_both(server: Receiver, tmp_path: Path) -> None:
    run_stage("cleanup", context_of(server, tmp_path / "run"))
    run_stage("cleanup", context_of(server, tmp_path / "run"))
    assert [each.body["eventType"] for each in server.came] == ["START", "FAIL"]


def test_run_goes_on_when_nobody_takes_events(
    server: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [404, 404]
    run_all(context_of(server, tmp_path / "run"))
    assert (tmp_path / "run/report/analytics_report.json").exists()
    assert caplog.text.count("openlineage.failed") == 2
    assert "s3cr3t" not in caplog.text


def test_files_of_one_store_are_their_folder_and_those_of_several_have_no_facets() -> None:
    outcome = Outcome()
    rows = {"in": 2, "valid": 2, "rejected": 0}
    checked = lineage.Checked(2, {"wrong_total": "…"}, {})

    def inputs(*names: str) -> list[dict[str, Any]]:
        split = Manifest("split", "0.9.0", dict.fromkeys(names, "x"), {}, {}, rows)
        id = lineage.run_id("s3://b/runs/1", "", 1)
        event = lineage.ended("s3://b/runs/1", "", id, "2026-11-30T03:00:00Z", outcome, {"split": split}, checked)
        assert_official(event)
        return list(event["inputs"])

    (folder,) = inputs("s3://b/in/1.csv", "s3://b/in/more/2.csv")
    assert (folder["namespace"], folder["name"]) == ("s3://b", "in")
    assert folder["inputFacets"]["dataQualityMetrics"]["fileCount"] == 2
    several = inputs("s3://b/in/1.csv", "/data/2.csv", "https://host/3.csv")
    assert [(each["namespace"], each["name"]) for each in several] == [
        ("s3://b", "in/1.csv"), ("file", "/data/2.csv"), ("https://host", "/3.csv"),
    ]  # fmt: skip
    assert not any("inputFacets" in each for each in several)


def test_columns_are_metrics() -> None:
    columns = [
        {"name": "price", "kind": "amount", "empty": 1, "distinct": 2, "least": "-1.50", "most": "10.00",
         "quantiles": {"0.5": "9.25"}},
        {"name": "region", "kind": "text", "empty": 0, "least": "east", "most": "west", "longest": 7},
        {"name": "odd", "kind": "number", "empty": 0, "least": "1E+999", "most": "7", "quantiles": {}},
    ]  # fmt: skip
    split = Manifest("split", "0.9.0", {"/data/1.csv": "x"}, {}, {}, {})
    checked = lineage.Checked(4, {}, {}, columns)
    id = lineage.run_id("/runs/1", "", 1)
    event = lineage.ended("/runs/1", "orders", id, "2026-11-30T03:00:00Z", Outcome(), {"split": split}, checked)
    assert_official(event)
    assert event["inputs"][0]["inputFacets"]["dataQualityMetrics"]["columnMetrics"] == {
        "price": {"nullCount": 1, "count": 3, "distinctCount": 2, "min": -1.5, "max": 10.0, "quantiles": {"0.5": 9.25}},
        "region": {"nullCount": 0, "count": 4},
        "odd": {"nullCount": 0, "count": 4, "max": 7.0, "quantiles": {}},
    }


def test_address_of_a_server_alone_gets_the_path_of_the_specification() -> None:
    assert lineage.address("http://marquez:5000/") == "http://marquez:5000/api/v1/lineage"
    assert lineage.address("https://host/lineage?x=1\n") == "https://host/lineage?x=1"


def test_id_of_a_run_is_always_the_same() -> None:
    ids = {
        lineage.run_id(*each) for each in [("/a", "2026", 1), ("/a", "2026", 2), ("/b", "2026", 1), ("/a", "2025", 1)]
    }
    assert len(ids) == 4
    assert lineage.run_id("/runs/1", "2026-11-30", 1) == "cf9d386d-11ab-5836-bb01-d9d039a9ad03"
