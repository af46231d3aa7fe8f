"""Check every partition in parallel, one Dask task each."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed, performance_report
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from daskjobs.cluster import connect
from daskjobs.errors import DaskjobsError, LostWorkError
from daskjobs.outputs import Output
from daskjobs.partition import Result, check_partition, names
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
        with _performance(run):
            results = _gather(run, connected.client, plan, partitions, key)
    outputs = {name: Output.vouched(output) for result in results for name, output in result["outputs"].items()}
    outputs |= {names(result["partition"])["result"]: Output.vouched(result["result"]) for result in results}
    rows = {name: sum(result["rows"][name] for result in results) for name in ("in", "valid", "quarantined")}
    return Done(outputs, rows, connected.facts, (PERFORMANCE,))


@contextmanager
def _performance(run: Run) -> Iterator[None]:
    """Save the dashboard's pages, as they are when the block ends, for a cluster that will be gone afterwards."""
    if run.settings.cluster == LOCAL:
        yield
        return
    with TemporaryDirectory() as folder:
        page = Path(folder) / "performance.html"
        with performance_report(filename=str(page), mode="inline"):
            yield
        run.storage.put(PERFORMANCE, page.read_bytes())


def _gather(run: Run, client: Client, plan: dict[str, Any], partitions: list[dict[str, Any]], key: str) -> list[Result]:
    futures = [
        client.submit(
            check_partition,
            run.settings.run,
            plan,
            partition,
            key,
            key=f"validate-{partition['partition']}-{key}",
            pure=False,
        )
        for partition in partitions
    ]
    results: list[Result] = []
    try:
        for future in as_completed(futures, timeout=run.settings.timeout, raise_errors=False):
            results.append(_result(future))
            run.progress(len(results) / len(futures))
    except TimeoutError as error:
        raise LostWorkError(
            f"{len(results)} of {len(futures)} partitions were checked within {run.settings.timeout:.0f} s: "
            "allow more with --timeout, or use more workers"
        ) from error
    finally:
        client.cancel(futures)
    return sorted(results, key=lambda result: int(result["partition"]))


def _result(future: Future[Result]) -> Result:
    if future.status == "finished":
        result: Result = future.result(timeout=30)
        return result
    partition = str(future.key).split("-")[1]
    error = future.exception(timeout=30) if future.status == "error" else None
    if isinstance(error, KilledWorker | NoValidWorkerError | NoWorkerError):
        raise LostWorkError(f"partition {partition} was given up: {error}") from error
    if error is None:
        raise LostWorkError(f"partition {partition} was lost ({future.status}): the scheduler or its workers went away")
    if isinstance(error, DaskjobsError):
        raise error
    raise RuntimeError(f"partition {partition} failed") from error
