"""OpenLineage events of a run, as plain JSON: what it reads and writes, and how good that is.

The schemas of https://openlineage.io/spec that they follow are in tests/openlineage. A job is the series, the folder
that holds the run; an attempt at the run is a run of it.
"""

import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from os.path import commonpath
from typing import Any
from urllib.parse import urlsplit

from daskjobs.display import listed
from daskjobs.pipeline.manifest import Manifest
from daskjobs.series.layout import PARTITION_FILES, QUARANTINE_PARQUET, REPORT
from daskjobs.series.runs import series_of
from daskjobs.stages import generate, merge, report, split, validate
from daskjobs.stages.outcome import Outcome
from daskjobs.version import __version__

PRODUCER = f"urn:daskjobs:{__version__}"
SPEC = "https://openlineage.io/spec"
FACETS = {  # the version and the name of each schema
    "jobType": "2-0-4/JobTypeJobFacet",
    "processing_engine": "1-1-1/ProcessingEngineRunFacet",
    "errorMessage": "1-0-1/ErrorMessageRunFacet",
    "dataQualityMetrics": "1-0-3/DataQualityMetricsInputDatasetFacet",
    "dataQualityAssertions": "1-1-0/DataQualityAssertionsDatasetFacet",
    "outputStatistics": "1-0-2/OutputStatisticsOutputDatasetFacet",
}
NAMESPACE = "daskjobs"  # of jobs that run in no namespace of Kubernetes
ENDPOINT = "/api/v1/lineage"  # of an address that has none, as OpenLineage's own clients take it
NUMBERS = ("number", "amount")

Dataset = dict[str, Any]


@dataclass(frozen=True)
class Checked:
    """What a run has found out about its input, from manifests and what these vouch for.

    ``assertions`` are the rules' sentences, by their names, and ``reasons`` counts the rows that broke each.
    """

    rows: int
    assertions: Mapping[str, str]
    reasons: Mapping[str, int]
    columns: list[dict[str, Any]] = field(default_factory=list)
    warn: frozenset[str] = frozenset()


def address(given: str) -> str:
    """Return where events are posted: `ENDPOINT` of an address that is only a server's."""
    parts = urlsplit(given.strip())
    return parts._replace(path=ENDPOINT).geturl() if parts.path in ("", "/") and not parts.query else given.strip()


def run_id(run_uri: str, made: str, attempt: int) -> str:
    """Return the id of an attempt at a run, whose folder was made at this time: always the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{run_uri}#{made}#{attempt}"))


def started(run_uri: str, namespace: str, run: str, at: str) -> dict[str, Any]:
    """Return the event that a run begins."""
    return _event("START", run_uri, namespace, run, at, {})


def ended(
    run_uri: str,
    namespace: str,
    run: str,
    at: str,
    outcome: Outcome,
    manifests: Mapping[str, Manifest],
    checked: Checked | None,
) -> dict[str, Any]:
    """Return the event that a run has ended, with what is known of its input and of its files."""
    facets = {}
    if outcome.failed:
        message = ": ".join(filter(None, (outcome.stage, outcome.sentence))) or "the run has failed"
        facets["errorMessage"] = _facet("errorMessage", message=message, programmingLanguage="PYTHON")
    event = _event("FAIL" if outcome.failed else "COMPLETE", run_uri, namespace, run, at, facets)
    return event | {"inputs": _inputs(run_uri, manifests, checked), "outputs": _outputs(run_uri, manifests)}


def _event(kind: str, run_uri: str, namespace: str, run: str, at: str, facets: dict[str, Any]) -> dict[str, Any]:
    engine = _facet("processing_engine", name="daskjobs", version=__version__)
    job = _facet("jobType", processingType="BATCH", integration="DASKJOBS", jobType="JOB")
    return {
        "eventType": kind,
        "eventTime": at,
        "run": {"runId": run, "facets": {"processing_engine": engine, **facets}},
        "job": {"namespace": namespace or NAMESPACE, "name": series_of(run_uri), "facets": {"jobType": job}},
        "inputs": [],
        "outputs": [],
        "producer": PRODUCER,
        "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
    }


def _facet(name: str, /, **values: Any) -> dict[str, Any]:
    version, _, schema = FACETS[name].partition("/")
    return {
        "_producer": PRODUCER,
        "_schemaURL": f"{SPEC}/facets/{version}/{schema}.json#/$defs/{schema}",
        **values,
    }


def dataset(uri: str) -> tuple[str, str]:
    """Return the namespace and the name that OpenLineage gives a file.

    >>> dataset("s3://bucket/in/orders.csv"), dataset("/data/orders.csv")
    (('s3://bucket', 'in/orders.csv'), ('file', '/data/orders.csv'))
    """
    uri = listed(uri)
    scheme, mark, rest = uri.partition("://")
    if not mark or "::" in uri:
        return "file", uri
    if scheme == "file":
        return "file", f"/{rest.partition('/')[2]}"
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}", f"/{path}" if scheme in ("http", "https") else path


def _inputs(run_uri: str, manifests: Mapping[str, Manifest], checked: Checked | None) -> list[Dataset]:
    """Return the input, one dataset for each store: a file, or the folder of several.

    Rows and rules are counted over all files, so an input of several stores has no facets that say so.
    """
    if split.NAME not in manifests:
        return []
    files = [name for name in manifests[split.NAME].inputs if "://" in name or name.startswith("/")]
    if not files and generate.NAME in manifests:
        files = [f"{run_uri.rstrip('/')}/{name}" for name in manifests[generate.NAME].outputs if name.endswith(".csv")]
    stores = defaultdict[str, list[str]](list)
    for namespace, name in map(dataset, files):
        stores[namespace].append(name)
    facets = {"inputFacets": _quality(checked, len(files))} if checked and len(stores) == 1 else {}
    return [{"namespace": namespace, "name": _common(names), **facets} for namespace, names in stores.items()]


def _common(names: list[str]) -> str:
    """Return a file's name, or the folder that several have in common."""
    if len(names) == 1:
        return names[0]
    return commonpath([name.rpartition("/")[0] for name in names]) or "/"


def _quality(checked: Checked, files: int) -> dict[str, Any]:
    metrics = _facet(
        "dataQualityMetrics",
        rowCount=checked.rows,
        fileCount=files,
        columnMetrics={column["name"]: _column(column, checked.rows) for column in checked.columns},
    )
    assertions = [
        {
            "assertion": rule,
            "success": not checked.reasons.get(rule),
            "severity": "warn" if rule in checked.warn else "error",
            "description": sentence,
            "actual": f"{checked.reasons.get(rule, 0)} rows",
        }
        for rule, sentence in sorted(checked.assertions.items())
    ]
    return {
        "dataQualityMetrics": metrics,
        "dataQualityAssertions": _facet("dataQualityAssertions", assertions=assertions),
    }


def _column(column: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Return a column of report/columns.json as OpenLineage has it, which knows numbers and counts alone."""
    found: dict[str, Any] = {"nullCount": column["empty"], "count": rows - column["empty"]}
    if "distinct" in column:
        found["distinctCount"] = column["distinct"]
    if column.get("kind") in NUMBERS:
        found |= _numbers({"min": column.get("least"), "max": column.get("most")})
        found["quantiles"] = _numbers(column.get("quantiles", {}))
    return found


def _numbers(texts: Mapping[str, str | None]) -> dict[str, float]:
    """Return texts as numbers; those that JSON has no number for are left out."""
    numbers = {name: float(text) for name, text in texts.items() if text is not None}
    return {name: number for name, number in numbers.items() if isfinite(number)}


def _outputs(run_uri: str, manifests: Mapping[str, Manifest]) -> list[Dataset]:
    """Return what later stages and people read: the paid orders, the rejected rows, and the report."""
    found = list[Dataset]()
    if report.NAME in manifests and validate.NAME in manifests:
        rows, files = manifests[report.NAME].rows, manifests[validate.NAME].outputs
        paid = [each.size for name, each in files.items() if name.endswith("/paid.parquet")]
        found.append(_output(run_uri, PARTITION_FILES["paid"], rows["paid"], paid))
    for stage, name, of in ((merge.NAME, QUARANTINE_PARQUET, "rejected"), (report.NAME, REPORT, "")):
        if stage in manifests and name in manifests[stage].outputs:
            made = manifests[stage]
            found.append(_output(run_uri, name, made.rows[of] if of else 1, [made.outputs[name].size]))
    return found


def _output(run_uri: str, name: str, rows: int, sizes: list[int]) -> Dataset:
    namespace, path = dataset(f"{run_uri.rstrip('/')}/{name}")
    said = _facet("outputStatistics", rowCount=rows, size=sum(sizes), fileCount=len(sizes))
    return {"namespace": namespace, "name": path, "outputFacets": {"outputStatistics": said}}
