"""Check every partition in parallel, one Dask task each."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distributed import performance_report

from daskjobs import duplicates
from daskjobs import ruleset as rulesets
from daskjobs.cluster import connect
from daskjobs.ending import bounded
from daskjobs.errors import ClusterError, ConfigError, LostWorkError
from daskjobs.gather import Job, TooLateError, gather
from daskjobs.log import event
from daskjobs.manifest import Manifest, Piece, dump
from daskjobs.outputs import Output
from daskjobs.partition import RULES, STAGE, Result, Task, check_partition, names
from daskjobs.ruleset import Ruleset
from daskjobs.run import Done, Run
from daskjobs.settings import LOCAL
from daskjobs.sources.block import statuses
from daskjobs.stages import split
from daskjobs.usage import measured

NAME = STAGE
PERFORMANCE = "validate/performance.html"
Gathered = Callable[[Callable[..., Any], list[Job]], list[Any]]
UNITS = {"csv": "bytes", "parquet": "row groups"}  # of a range


def run(run: Run) -> Manifest:
    """Write for each partition, under validate/, the files that `partition.names` lists.

    validate/rules.json has every rule's sentence. A partition that a run before has finished, with the same inputs,
    rules and version, is kept. Raises LostWorkError when tasks are lost or don't end within the timeout.
    """
    run.refuse_own("--rules", filter(None, [run.settings.rules]))
    ruleset = rulesets.read(run.storage, run.settings.rules)
    rules = {"rules": hashlib.sha256(ruleset.source.encode()).hexdigest()} if ruleset.name else {}
    settings = {"statuses": statuses(run.settings.statuses)}
    return run.stage(
        NAME, NAME, run.digest(split.NAME) | rules, settings, lambda: _check(run, rules, ruleset, settings)
    )


def _check(run: Run, rules: dict[str, str], ruleset: Ruleset, settings: dict[str, Any]) -> Done:
    depends = [run.output(split.NAME, split.PARTITIONS).sha256, rules, settings, run.version]
    plan = json.loads(run.vouched(split.NAME, split.PARTITIONS))
    partitions = plan.pop("partitions")
    truth = Output.vouched(plan["truth"]) if plan["truth"] else None
    key, secrets = hashlib.sha256(dump(depends)).hexdigest(), split.opening(run).secrets
    task = Task(run.settings.run, plan, ruleset, key, truth, **settings, secrets=secrets)
    waits, timeout = run.settings.start_timeout + run.settings.worker_timeout, run.settings.timeout
    with bounded() as bound:
        bound(waits, ClusterError.exit_code, f"the Dask cluster didn't come up within {waits:g} s, and nothing answers")
        with connect(run.settings, plan["rows"], run.storage.check) as connected:
            bound(timeout, LostWorkError.exit_code, f"--timeout {timeout:g} is over, and nothing answers: allow more")
            run.tell(f"dashboard {connected.facts['dashboard']}")
            connected.facts["dashboard"] = connected.facts["dashboard"].partition("?")[0]  # the token is for people
            if "objects" in connected.facts:
                run.note(NAME, connected.facts)
            with _performance(run), measured(run, connected, len(partitions)):
                gathered = partial(gather, run, connected, time.monotonic() + timeout)
                sentences = _sentences(gathered, ruleset)
                results = _validated(gathered, task, partitions)
    outputs = {name: Output.vouched(output) for result in results for name, output in result["outputs"].items()}
    outputs |= {names(result["partition"])["result"]: Output.vouched(result["result"]) for result in results}
    outputs[RULES] = run.storage.put(RULES, dump(sentences))
    rows = {name: sum(result["rows"][name] for result in results) for name in ("in", "valid", "quarantined")}
    return Done(outputs, rows, connected.facts, (PERFORMANCE,))


def _sentences(gathered: Gathered, ruleset: Ruleset) -> dict[str, str]:
    """Return each rule's sentence; rules of the user's own are loaded for that by a worker, before rows are checked."""
    if not ruleset.name:
        return ruleset.sentences
    try:
        (sentences,) = gathered(rulesets.sentences, [Job("rule file", (ruleset,), ruleset.name)])
    except TooLateError as error:
        raise ConfigError(
            f"{ruleset.name} was still loading when --timeout was over: a file of rules defines functions, and does "
            "nothing else"
        ) from error
    return dict(sentences)


def _validated(gathered: Gathered, task: Task, partitions: list[dict[str, Any]]) -> list[Result]:
    """Check all partitions, look for ids that occur twice, and check again the partitions whose rows repeat one."""
    places = [_place(task.plan, partition) for partition in partitions]
    jobs: list[tuple[Any, ...]] = [(task, partition, {}) for partition in partitions]
    results: list[Result] = gathered(
        check_partition,
        [Job(f"partition {number}", job, place) for number, (job, place) in enumerate(zip(jobs, places, strict=True))],
    )
    targets = [f"validate/repeats-{bucket:05d}.pieces" for bucket in range(duplicates.buckets(task.plan["rows"]))]
    pieces = [
        [(names(part["partition"])["ids"], part["ids"][bucket]) for part in results] for bucket in range(len(targets))
    ]
    found: list[dict[int, Piece]] = gathered(
        duplicates.find,
        [Job(f"bucket {bucket}", (task.root, pieces[bucket], target)) for bucket, target in enumerate(targets)],
    )
    again = {}
    for number, partition in enumerate(partitions):
        repeats = {target: each[number] for target, each in zip(targets, found, strict=True) if number in each}
        if repeats:
            again[number] = Job(f"partition {number}", (task, partition, repeats), places[number])
    checked: list[Result] = gathered(check_partition, list(again.values()))
    for number, result in zip(again, checked, strict=True):
        results[number] = result
    return results


def _place(plan: dict[str, Any], partition: dict[str, Any]) -> str:
    """Say which rows a partition has: their file, and where in it."""
    return "; ".join(
        f"{plan['files'][part['file']]['name']} {UNITS[plan['files'][part['file']]['kind']]} "
        f"{part['start']} to {part['end']}, {part['rows']} rows"
        for part in partition["ranges"]
    )


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
