"""The task that Dask runs: check one partition, straight from storage to storage."""

import hashlib
import json
from collections import Counter
from contextlib import ExitStack
from typing import Any

import numpy as np

from daskjobs.check import Place, check
from daskjobs.errors import InputError, LostWorkError
from daskjobs.log import event
from daskjobs.outputs import Output
from daskjobs.rows import blocks
from daskjobs.rules import ANOMALIES
from daskjobs.run import dump
from daskjobs.storage import Storage
from daskjobs.tables import QUARANTINE, column, orders_schema, rows_between, writing

Result = dict[str, Any]


def names(partition: int) -> dict[str, str]:
    """Return the names of a partition's files."""
    folder = f"validate/part-{partition:05d}"
    return {
        "valid": f"{folder}/valid.parquet",
        "quarantine": f"{folder}/quarantine.parquet",
        "result": f"{folder}/result.json",
    }


def check_partition(root: str, plan: dict[str, Any], partition: dict[str, Any], key: str) -> Result:
    """Check a partition's rows, and write the valid ones, the quarantined ones, and the result.

    ``plan`` is split/partitions.json without its partitions, ``partition`` one of these; ``key`` stands for
    everything that the result depends on. A result with the same key, with its files in place, is kept.
    Raises InputError when the orders changed since split, LostWorkError when rows are missing.
    """
    storage, files = Storage(root), names(partition["partition"])
    kept = _kept(storage, files["result"], key)
    if kept is not None:
        return kept
    rows, reasons = Counter[str](), Counter[str]()
    scores = {anomaly: Counter[str]() for anomaly in ANOMALIES} if plan["truth"] else {}
    with ExitStack() as stack:
        valid, valid_file = stack.enter_context(writing(storage, files["valid"], orders_schema(plan["extra"])))
        quarantine, quarantine_file = stack.enter_context(writing(storage, files["quarantine"], QUARANTINE))
        for part in partition["ranges"]:
            source, row = plan["files"][part["file"]], part["first_row"]
            truth = _truth(storage, plan["truth"], row, part["rows"])
            digest = hashlib.sha256()
            with storage.open(source["name"]) as file:
                for _, block, ends in blocks(file, part["start"], part["end"], storage.uri(source["name"])):
                    digest.update(block)
                    place = Place(partition["partition"], source["name"], row)
                    checked = check(block, ends, source["columns"], plan["extra"], place)
                    valid.write_table(checked.valid)
                    quarantine.write_table(checked.quarantined)
                    rows.update({"in": len(ends), "valid": len(checked.valid), "quarantined": len(checked.quarantined)})
                    reasons.update(checked.reasons)
                    for anomaly, score in scores.items():
                        score.update(_score(checked.found[anomaly], truth[anomaly], row, row + len(ends)))
                    row += len(ends)
            if digest.hexdigest() != part["sha256"]:
                raise InputError(f"{storage.uri(source['name'])} has changed since it was split: run again")
    if rows["in"] != partition["rows"] or rows["valid"] + rows["quarantined"] != rows["in"]:
        raise LostWorkError(f"partition {partition['partition']} had {partition['rows']} rows and came to {dict(rows)}")
    outputs = {files["valid"]: valid_file.output.json(), files["quarantine"]: quarantine_file.output.json()}
    result = {
        "partition": partition["partition"],
        "key": key,
        "rows": {name: rows[name] for name in ("in", "valid", "quarantined")},
        "reasons": {reason: count for reason, count in reasons.items() if count},
        "scores": {anomaly: dict(score) for anomaly, score in scores.items()},
        "outputs": outputs,
    }
    return {**result, "result": storage.put(files["result"], dump(result)).json()}


def _kept(storage: Storage, name: str, key: str) -> Result | None:
    if storage.size(name) is None:
        return None
    data = storage.read(name)
    result: Result = json.loads(data)
    if result["key"] != key or any(storage.size(file) != output["bytes"] for file, output in result["outputs"].items()):
        return None
    event("partition.kept", partition=result["partition"])
    return {**result, "result": Output.of(data).json()}


def _truth(storage: Storage, name: str, first: int, count: int) -> dict[str, Any]:
    """Return the sorted row numbers of each anomaly among ``count`` rows from ``first``."""
    if not name:
        return {}
    rows = rows_between(storage, name, first, first + count)
    return {anomaly: column(rows.filter(rows[anomaly]), "row").to_numpy() for anomaly in ANOMALIES}


def _score(found: Any, truth: Any, first: int, end: int) -> dict[str, int]:
    low, high = np.searchsorted(truth, [first, end])
    right = len(np.intersect1d(found, truth[low:high], assume_unique=True))
    return {"true_positives": right, "false_positives": len(found) - right, "false_negatives": int(high - low) - right}
