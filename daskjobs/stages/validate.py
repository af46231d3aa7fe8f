"""Check every partition in parallel, one Dask task each."""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distributed import performance_report

from daskjobs.cluster import connect
from daskjobs.gather import gather
from daskjobs.log import event
from daskjobs.outputs import Output
from daskjobs.partition import names
from daskjobs.run import Done, Manifest, Run, dump
from daskjobs.settings import LOCAL
from daskjobs.stages import split

NAME = "validate"
PERFORMANCE = "validate/performance.html"


def run(run: Run) -> Manifest:
    """Write valid.parquet, quarantine.parquet and result.json for each partition, under validate/.

    A partition that a run before has finished, with the same inputs and version, is kept.
    Raises LostWorkError when tasks are lost or don't end within the timeout.
    """
    inputs = {split.PARTITIONS: run.manifest(split.NAME)["outputs"][split.PARTITIONS]["sha256"]}
    return run.stage(NAME, NAME, inputs, {}, lambda: _check(run, inputs))


def _check(run: Run, inputs: dict[str, str]) -> Done:
    plan = json.loads(run.vouched(split.NAME, split.PARTITIONS))
    partitions = plan.pop("partitions")
    key = hashlib.sha256(dump([inputs, run.version])).hexdigest()
    with connect(run.settings) as connected:
        run.tell(f"dashboard {connected.facts['dashboard']}")
        _note(run, connected.facts)
        with _performance(run):
            results = gather(run, connected, plan, partitions, key)
    outputs = {name: Output.vouched(output) for result in results for name, output in result["outputs"].items()}
    outputs |= {names(result["partition"])["result"]: Output.vouched(result["result"]) for result in results}
    rows = {name: sum(result["rows"][name] for result in results) for name in ("in", "valid", "quarantined")}
    return Done(outputs, rows, connected.facts, (PERFORMANCE,))


def _note(run: Run, facts: dict[str, Any]) -> None:
    """Note the objects of the Dask cluster at once, beside those of attempts before: cleanup's receipt has them all."""
    if "objects" in facts:
        known = run.facts(NAME).get("objects", [])
        facts["objects"] = known + [each for each in facts["objects"] if each not in known]
        run.storage.put(f"{NAME}/run.json", dump(facts))


@contextmanager
def _performance(run: Run) -> Iterator[None]:
    """Save the dashboard's pages, as they are when the block ends, for a cluster that will be gone afterwards.

    The work is done by then: pages that can't be had are noted, and fail nothing.
    """
    if run.settings.cluster == LOCAL:
        yield
        return
    with TemporaryDirectory() as folder:
        page = Path(folder) / "performance.html"
        report = performance_report(filename=str(page), mode="inline")
        report.__enter__()
        yield
        try:
            report.__exit__(None, None, None)
        except OSError as error:
            event("performance.lost", level=logging.WARNING, run=run.settings.run, error=error)
            return
        run.storage.put(PERFORMANCE, page.read_bytes())
