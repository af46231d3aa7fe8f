"""Check every partition in parallel, one Dask task each."""

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed, performance_report
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from daskjobs import duplicates
from daskjobs import ruleset as rulesets
from daskjobs.cluster import connect
from daskjobs.errors import DaskjobsError, LostWorkError
from daskjobs.outputs import Output
from daskjobs.partition import Result, Task, check_partition, names
from daskjobs.ruleset import Ruleset
from daskjobs.run import Done, Manifest, Run, dump
from daskjobs.settings import LOCAL
from daskjobs.stages import split

NAME = "validate"
PERFORMANCE, RULES = "validate/performance.html", "validate/rules.json"


def run(run: Run) -> Manifest:
    """Write valid.parquet, quarantine.parquet, ids.parquet and result.json for each partition, under validate/.

    validate/rules.json has every rule's sentence. A partition that a run before has finished, with the same inputs,
    rules and version, is kept. Raises LostWorkError when tasks are lost or don't end within the timeout.
    """
    ruleset = rulesets.read(run.storage, run.settings.rules)
    inputs = {split.PARTITIONS: run.manifest(split.NAME)["outputs"][split.PARTITIONS]["sha256"]}
    if ruleset.source:
        inputs["rules"] = hashlib.sha256(ruleset.source.encode()).hexdigest()
    return run.stage(NAME, NAME, inputs, {}, lambda: _check(run, inputs, ruleset))


def _check(run: Run, inputs: dict[str, str], ruleset: Ruleset) -> Done:
    plan = json.loads(run.vouched(split.NAME, split.PARTITIONS))
    partitions = plan.pop("partitions")
    task = Task(run.settings.run, plan, ruleset, hashlib.sha256(dump([inputs, run.version])).hexdigest())
    with connect(run.settings) as connected:
        run.tell(f"dashboard {connected.facts['dashboard']}")
        with _performance(run):
            results = _validated(run, connected.client, task, partitions)
    outputs = {name: Output.vouched(output) for result in results for name, output in result["outputs"].items()}
    outputs |= {names(result["partition"])["result"]: Output.vouched(result["result"]) for result in results}
    outputs[RULES] = run.storage.put(RULES, dump(ruleset.sentences))
    rows = {name: sum(result["rows"][name] for result in results) for name in ("in", "valid", "quarantined")}
    return Done(outputs, rows, connected.facts, (PERFORMANCE,))


def _validated(run: Run, client: Client, task: Task, partitions: list[dict[str, Any]]) -> list[Result]:
    """Check all partitions, look for ids that occur twice, and check again the partitions whose rows repeat one."""
    gather = partial(_gather, run, client, task.key, time.monotonic() + run.settings.timeout)
    jobs: list[tuple[Any, ...]] = [(task, partition, {}) for partition in partitions]
    results: list[Result] = gather("partition", check_partition, jobs)
    count, parts = duplicates.buckets(task.plan["rows"]), [names(part["partition"])["ids"] for part in partitions]
    targets = [f"validate/repeats-{bucket:05d}.parquet" for bucket in range(count)]
    searches = [(task.root, parts, bucket, count, target) for bucket, target in enumerate(targets)]
    found: list[dict[int, str]] = gather("bucket", duplicates.find, searches)
    for number, partition in enumerate(partitions):
        repeats = {target: each[number] for target, each in zip(targets, found, strict=True) if number in each}
        jobs[number] = (task, partition, repeats)
    again = [number for number, (*_, repeats) in enumerate(jobs) if repeats]
    checked: list[Result] = gather("partition", check_partition, [jobs[n] for n in again])
    for number, result in zip(again, checked, strict=True):
        results[number] = result
    return results


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


def _gather(
    run: Run,
    client: Client,
    key: str,
    deadline: float,
    what: str,
    work: Callable[..., Any],
    jobs: list[tuple[Any, ...]],
) -> list[Any]:
    """Do ``work`` for all jobs, a task each, and return what came of each in their order."""
    mark = f"{key[:16]}-{secrets.token_hex(4)}"
    futures = {
        client.submit(work, *job, key=f"{what}-{number}-{mark}", pure=False): number for number, job in enumerate(jobs)
    }
    results: dict[int, Any] = {}
    try:
        for future in as_completed(futures, timeout=max(0.0, deadline - time.monotonic()), raise_errors=False):
            results[futures[future]] = _result(future)
            run.progress(len(results) / len(futures))
    except TimeoutError as error:
        raise LostWorkError(
            f"{len(results)} of {len(futures)} {what}s were checked within {run.settings.timeout:.0f} s: "
            "allow more with --timeout, or use more workers"
        ) from error
    finally:
        client.cancel(list(futures))
    return [results[number] for number in range(len(jobs))]


def _result(future: Future[Any]) -> Any:
    if future.status == "finished":
        return future.result(timeout=30)
    what = " ".join(str(future.key).split("-")[:2])
    error = future.exception(timeout=30) if future.status == "error" else None
    if isinstance(error, KilledWorker | NoValidWorkerError | NoWorkerError):
        raise LostWorkError(f"{what} was given up: {error}") from error
    if error is None:
        raise LostWorkError(f"{what} was lost ({future.status}): the scheduler or its workers went away")
    if isinstance(error, DaskjobsError):
        raise error
    raise RuntimeError(f"{what} failed") from error
