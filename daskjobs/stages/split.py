"""Find partitions of whole rows in the orders, without copying them."""

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from daskjobs.errors import ConfigError, InputError, StorageError
from daskjobs.orders import COLUMNS
from daskjobs.rows import Header, blocks, read_header
from daskjobs.run import Done, Manifest, Run, dump
from daskjobs.stages import generate
from daskjobs.storage import Storage, explained, find

NAME = "split"
PARTITIONS = "split/partitions.json"


def run(run: Run) -> Manifest:
    """Write split/partitions.json: the files with their columns, and the byte ranges of each partition.

    A range never cuts a row, quoted newlines included; it carries its first row's number in its file (from 1),
    its rows and its SHA-256. There are always as many partitions as asked for; some may be empty.
    Raises InputError when the orders are missing or aren't orders.
    """
    inputs = _found(run.settings.input) if run.settings.input else _generated(run)
    return run.stage(NAME, NAME, inputs, {"partitions": run.settings.partitions}, lambda: _write(run, inputs))


def _generated(run: Run) -> dict[str, str]:
    return {name: output["sha256"] for name, output in run.manifest(generate.NAME)["outputs"].items()}


def _found(pattern: str) -> dict[str, str]:
    try:
        found = find(pattern)
    except (ConfigError, StorageError) as error:
        raise InputError(f"--input {pattern} can't be reached: {error}") from error
    if not found:
        raise InputError(f"--input {pattern} names no file; give the path, URI or glob of CSV files of orders")
    return found


def _write(run: Run, inputs: dict[str, str]) -> Done:
    storage = run.storage
    generated = not run.settings.input
    files = [_describe(storage, name) for name in ([generate.ORDERS] if generated else inputs)]
    ranges = _ranges(run, files)
    partitions = []
    for number in range(run.settings.partitions):
        own = [
            {key: part[key] for key in ("file", "start", "end", "first_row", "rows", "sha256")}
            for part in ranges
            if part["partition"] == number
        ]
        partitions.append({"partition": number, "rows": sum(part["rows"] for part in own), "ranges": own})
    extra = dict.fromkeys(name for file in files for name in file["columns"] if name not in COLUMNS)
    rows = sum(partition["rows"] for partition in partitions)
    plan = {
        "rows": rows,
        "extra": list(extra),
        "truth": generate.TRUTH if generated else "",
        "files": files,
        "partitions": partitions,
    }
    return Done({PARTITIONS: storage.put(PARTITIONS, dump(plan))}, {"out": rows, "partitions": len(partitions)})


def _describe(storage: Storage, name: str) -> dict[str, Any]:
    """Read a file's header. Raises InputError when the file can't be read, or lacks a column."""
    try:
        with explained(f"read {name}"), storage.open(name) as file:
            header: Header = read_header(file, name)
    except (ConfigError, StorageError) as error:
        raise InputError(f"the input can't be read: {error}") from error
    missing = [column for column in COLUMNS if column not in header.columns]
    if missing:
        raise InputError(
            f"{name} has no column {', '.join(missing)}: its first row is {', '.join(header.columns)[:300]!r}; "
            f"it must name {', '.join(COLUMNS)}"
        )
    twice = [column for column, times in Counter(header.columns).items() if times > 1]
    if twice:
        raise InputError(f"{name} has the column {', '.join(twice)} more than once; give each column a name of its own")
    return {"name": name, "bytes": storage.size(name), "columns": header.columns, "start": header.end}


def _ranges(run: Run, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cut the files' rows, taken one after another, into partitions of about as many bytes each."""
    total = sum(file["bytes"] - file["start"] for file in files)
    ranges: list[dict[str, Any]] = []
    seen, count = 0, run.settings.partitions
    for index, file in enumerate(files):
        row, current = 1, None
        with run.storage.open(file["name"]) as source:
            for offset, block, ends in blocks(source, file["start"], file["bytes"], run.storage.uri(file["name"])):
                starts, at = np.concatenate([[0], ends[:-1]]), 0  # at: rows of this block that are in a range already
                while at < len(ends):
                    begin = int(starts[at])
                    partition = (seen + begin) * count // total  # a row belongs where it begins
                    limit = -(-(partition + 1) * total // count) - seen
                    upto = int(np.searchsorted(starts, limit))
                    if current is None or current["partition"] != partition:
                        current = {
                            "partition": partition,
                            "file": index,
                            "start": offset + begin,
                            "first_row": row,
                            "rows": 0,
                            "hash": hashlib.sha256(),
                        }
                        ranges.append(current)
                    current["hash"].update(memoryview(block)[begin : int(ends[upto - 1])])
                    current["end"] = offset + int(ends[upto - 1])
                    current["rows"] += upto - at
                    row, at = row + upto - at, upto
                seen += len(block)
                run.progress(seen / total)
    for part in ranges:
        part["sha256"] = part.pop("hash").hexdigest()
    return ranges
