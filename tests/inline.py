"""A run without Dask, for thousands of small ones in a row: the same stages and tasks, one after another."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

import oracle
from conftest import RESULTS
from daskjobs import stages
from daskjobs.cluster import tasks, usage
from daskjobs.cluster.connection import ClusterFacts
from daskjobs.display import escaped
from daskjobs.orders.sources import lines
from daskjobs.pipeline.context import AccountedError
from daskjobs.stages import new_context, run_stage, validate
from daskjobs.stages.run_settings import Settings

NAMES = list(stages.STAGES)
STAGES = tuple(NAMES[NAMES.index("split") : NAMES.index("report") + 1])


@contextmanager
def _connected(*_: Any, **__: Any) -> Iterator[Any]:
    yield SimpleNamespace(facts=ClusterFacts("inline", 1, ""), watched=False)


def _gather(*arguments: Any, done: Callable[[Any], None] = lambda _: None, **_: Any) -> list[Any]:
    work: Callable[..., Any] = arguments[-2]
    results = []
    for job in arguments[-1]:
        results.append(work(*job.arguments))
        done(results[-1])
    return results


@contextmanager
def stages_inline(block_bytes: int = lines.BLOCK_BYTES, real: bool = False) -> Iterator[None]:
    """Let stages that run in the block do without Dask, unless they are ``real``."""
    with pytest.MonkeyPatch.context() as patch:
        if not real:
            patch.setattr(validate, "connect", _connected)
            patch.setattr(tasks, "gather", _gather)
            patch.setattr(usage, "measured", lambda *_: nullcontext(usage.Measurement()))
        patch.setattr(lines, "BLOCK_BYTES", block_bytes)
        yield


def run(
    folder: Path, pattern: str, block_bytes: int = lines.BLOCK_BYTES, real: bool = False, **settings: Any
) -> dict[str, bytes]:
    """Run the stages from split on; return the results' bytes, which are none where every row is rejected."""
    with stages_inline(block_bytes, real):
        given = {"run_uri": str(folder), "input": pattern, "dashboard": "127.0.0.1:0"}
        given |= {"max_rejected": 1.0, **settings}
        for name in STAGES:
            with suppress(AccountedError) if name == "report" else nullcontext():
                run_stage(name, new_context(Settings.of(**given)))
    return {name: (folder / name).read_bytes() if (folder / name).exists() else b"" for name in RESULTS}


def assert_as_expected(results: dict[str, bytes], expected: oracle.Expected) -> None:
    """Hold a run's results against the oracle's."""
    quality = json.loads(results["report/quality.json"])
    assert quality["rows"] == {
        "in": expected.rows,
        "valid": expected.rows - len(expected.rejected),
        "rejected": len(expected.rejected),
        "paid": expected.orders,
        "unpaid": expected.unpaid.total(),
    }
    lines = quality["lines"]
    several = lines.pop("rows_like_several")
    assert lines == {"in_files": 0, "headers": 0, "rows": 0, "inside_quotes": 0} | expected.lines
    assert lines["in_files"] == lines["headers"] + lines["rows"] + lines["inside_quotes"]
    found = [(row["source"].rsplit("/", 1)[-1], row["row"], row["line_ends"]) for row in several["first"]]
    assert (several["rows"], found) == (len(expected.several), expected.several[:3])
    assert several["line_ends"] == sum(line_ends for _, _, line_ends in expected.several)
    lost, nothing_valid = expected.not_understood, 0 < expected.rows == len(expected.rejected)
    assert bool(quality["warnings"]) == bool(expected.several or (1 in lost.values() and not nothing_valid))
    assert quality["unpaid_by_status"] == dict(expected.unpaid)
    counted = Counter(reason for _, _, reasons, _ in expected.rejected for reason in reasons)
    assert {line["reason"]: line["rows"] for line in quality["reasons"]} == counted
    sign, cents = "-" if expected.cents < 0 else "", abs(expected.cents)
    revenue = f"{sign}{cents // 100}.{cents % 100:02d}"
    report = f'{{"orders": {expected.orders}, "revenue": {revenue}}}\n'
    failed = nothing_valid or any(rows > 1 for rows in lost.values())
    assert results["report/analytics_report.json"].decode() == ("" if failed else report)
    csv.field_size_limit(1 << 27)
    lines = list(csv.reader(io.StringIO(results["merge/quarantine.csv"].decode(), newline="")))[1:]
    rejected = [(source.rsplit("/", 1)[-1], int(row), reasons.split(";"), raw) for row, source, reasons, raw in lines]
    assert rejected == [(*where, as_cell(raw)) for *where, raw in expected.rejected]
    exact = pq.ParquetFile(io.BytesIO(results["merge/quarantine.parquet"])).read().to_pylist()
    assert [line["raw"] for line in exact] == [raw for *_, raw in expected.rejected]


def as_cell(text: str) -> str:
    """What quarantine.csv makes of a text, so that all of it is seen, and a spreadsheet takes it for no formula."""
    text = escaped(text, but="\t\r\n")
    formula = "[-=+@\uff1d\uff0b\uff0d\uff20]"
    at_start = re.sub(rf"^(?:[\t\r\n]| *{formula})", r"'\g<0>", text)
    return re.sub(rf'([;\t\r\n][ "]*)({formula})', r"\1'\2", at_start)
