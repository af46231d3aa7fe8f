"""The task that Dask runs: check one partition, straight from storage to storage."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from daskjobs import sources, summary
from daskjobs.check import Place, check
from daskjobs.duplicates import buckets, positions, writing_ids
from daskjobs.errors import LostWorkError
from daskjobs.layout import PARTITION
from daskjobs.log import event
from daskjobs.manifest import LongRow, PartitionResult, Piece, sealed, unsealed
from daskjobs.orders import PAID, TRUTH
from daskjobs.outputs import Output
from daskjobs.rules import ANOMALIES
from daskjobs.ruleset import Ruleset
from daskjobs.storage import Storage
from daskjobs.tables import QUARANTINE, column, orders_schema, rows_between, writing_rows

STAGE, RULES = "validate", "validate/rules.json"  # here, since who only reads them needs no Dask
NAMED = 3  # rows that look like several, of which the report names the first
Result = PartitionResult


def names(partition: int) -> dict[str, str]:
    """Return the names of a partition's files."""
    return {kind: f"{STAGE}/part-{partition:05d}/{file}" for kind, file in PARTITION.items()}


@dataclass(frozen=True)
class Task:
    """What all partitions of a run have in common.

    ``plan`` is split/partitions.json without its partitions; ``key`` stands for everything that a result depends
    on, but for the rows that repeat an id; ``truth`` is what `TRUTH` must hold, where the orders were generated;
    ``statuses`` maps the file's statuses to ours; ``secrets`` are those of `Storage`.
    """

    root: str
    plan: dict[str, Any]
    ruleset: Ruleset
    key: str
    truth: Output | None
    statuses: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


def check_partition(task: Task, partition: dict[str, Any], repeats: dict[str, Piece]) -> Result:
    """Check a partition's rows, and write the paid, the unpaid and the quarantined ones, their sums, and the result.

    ``partition`` is one of split/partitions.json; ``repeats`` has the pieces of files that say which of its rows
    repeat an id: empty at first, when nobody knows yet. A result with the same key and repeats, whose files hold
    against their hashes, is kept; at first, with any repeats. Raises InputError when the orders changed since split,
    LostWorkError when rows or lines are missing.
    """
    storage = Storage(task.root, secrets=task.secrets)
    files, number = names(partition["partition"]), partition["partition"]
    kept = _kept(storage, number, task, repeats)
    if kept is not None:
        return kept
    repeated = positions(storage, repeats)
    rows, reasons, statuses, passed = Counter[str](), Counter[str](), Counter[str](), 0
    lines, several = Counter[str](), list[LongRow]()
    plan, sums = task.plan, summary.Total()
    orders = orders_schema(plan["extra"])
    schemas = {"paid": orders, "unpaid": orders, "quarantine": QUARANTINE, "summary": summary.SCHEMA}
    scores = {anomaly: Counter[str]() for anomaly in ANOMALIES} if task.truth else {}
    with ExitStack() as stack:
        opened = {kind: stack.enter_context(writing_rows(storage, files[kind], schemas[kind])) for kind in schemas}
        take, file, pieces = stack.enter_context(writing_ids(storage, files["ids"], buckets(plan["rows"])))
        opened["ids"] = take, file
        write = {kind: take for kind, (take, _) in opened.items()}
        for part in partition["ranges"]:
            source, row = plan["files"][part["file"]], part["first_row"]
            truth = _truth(storage, task.truth, row, part["rows"])
            lines["in_files"] += part.get("lines", 0)
            for block in sources.blocks(storage, source, part):
                place = Place(number, source["name"], row)
                rest = repeated[np.searchsorted(repeated, passed) :] - passed
                checked = check(block, plan["extra"], place, task.ruleset, rest, task.statuses)
                for kind in ("paid", "unpaid", "quarantine", "ids"):
                    write[kind](getattr(checked, kind))
                sums.add(summary.summarize(checked.paid))
                passed += len(checked.ids)
                rows.update({"in": block.rows, "quarantined": len(checked.quarantine)})
                statuses.update({PAID: len(checked.paid)} | summary.by_status(checked.unpaid))
                reasons.update(checked.reasons)
                if "lines" in part:
                    lines.update({"rows": block.rows, "inside_quotes": block.inside})
                    lines.update({"several": len(block.several), "in_several": sum(block.several.values())})
                    several += [
                        {"source": source["name"], "row": row + index, "line_ends": line_ends}
                        for index, line_ends in list(block.several.items())[: NAMED - len(several)]
                    ]
                for anomaly, score in scores.items():
                    score.update(_score(checked.found[anomaly], truth[anomaly], row, row + block.rows))
                row += block.rows
        write["summary"](sums.sums())
    rows["valid"] = statuses.total()
    if rows["in"] != partition["rows"] or rows["valid"] + rows["quarantined"] != rows["in"]:
        raise LostWorkError(f"partition {number} had {partition['rows']} rows and came to {dict(rows)}")
    if lines["in_files"] != lines["rows"] + lines["inside_quotes"]:
        raise LostWorkError(
            f"partition {number} has {lines['in_files']} line ends in its files, but {lines['rows']} rows with "
            f"{lines['inside_quotes']} line ends in their fields were read: run again from split"
        )
    result: Result = {
        "partition": number,
        "key": task.key,
        "repeats": repeats,
        "rows": {"in": rows["in"], "valid": rows["valid"], "quarantined": rows["quarantined"]},
        "statuses": _counted(statuses),
        "reasons": _counted(reasons),
        "lines": _counted(lines),
        "several": several,
        "scores": {anomaly: dict(score) for anomaly, score in scores.items()},
        "outputs": {files[kind]: file.output.json() for kind, (_, file) in opened.items()},
        "ids": pieces,
    }
    pa.default_memory_pool().release_unused()  # or a worker that rests would look as large as one that works
    return {**result, "result": storage.put(files["result"], sealed(result)).json()}


def _kept(storage: Storage, number: int, task: Task, repeats: dict[str, Piece]) -> Result | None:
    files = names(number)
    result_name = files.pop("result")
    if storage.size(result_name) is None:
        return None
    data = storage.read(result_name)
    try:
        result = unsealed(data, PartitionResult)
    except ValueError:
        return None  # cut off, or another version's
    if (result["partition"], result["key"]) != (number, task.key) or (repeats and repeats != result["repeats"]):
        return None
    outputs = {name: Output.vouched(said) for name, said in result["outputs"].items()}
    if outputs.keys() != set(files.values()) or len(result["ids"]) != buckets(task.plan["rows"]):
        return None
    if not all(storage.size(name) == output.size and storage.holds(name, output) for name, output in outputs.items()):
        return None
    event("partition.kept", partition=number)
    return {**result, "result": Output.of(data).json()}


def _counted(counter: Counter[str]) -> dict[str, int]:
    return {key: count for key, count in counter.items() if count}


def _truth(storage: Storage, vouched: Output | None, first: int, count: int) -> dict[str, Any]:
    """Return the sorted row numbers of each anomaly among ``count`` rows from ``first``."""
    if vouched is None:
        return {}
    rows = rows_between(storage, TRUTH, vouched, "row", first, first + count)
    return {anomaly: column(rows.filter(rows[anomaly]), "row").to_numpy() for anomaly in ANOMALIES}


def _score(found: Any, truth: Any, first: int, end: int) -> dict[str, int]:
    low, high = np.searchsorted(truth, [first, end])
    right = len(np.intersect1d(found, truth[low:high], assume_unique=True))
    return {"true_positives": right, "false_positives": len(found) - right, "false_negatives": int(high - low) - right}
