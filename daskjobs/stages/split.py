"""Find partitions of whole rows in the orders, without copying what can be read in ranges."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from fsspec.core import has_magic

from daskjobs import sources
from daskjobs.errors import DaskjobsError, InputError
from daskjobs.manifest import Manifest, dump
from daskjobs.names import listed
from daskjobs.orders import COLUMNS, TRUTH
from daskjobs.outputs import Output
from daskjobs.run import Done, Run
from daskjobs.settings import RFC4180
from daskjobs.sources.block import statuses
from daskjobs.sources.find import find
from daskjobs.stages import generate
from daskjobs.storage import Storage, damaged

NAME = "split"
PARTITIONS = "split/partitions.json"
LEAST, STEP, MOST = 5, 10, 200  # partitions, where their number isn't given
FEW_BYTES = 160 << 20  # of all orders, up to which the least are enough
PARTITION_BYTES = 80 << 20  # which take a core two thirds of a second, beside which 10 ms from task to task are little


def run(run: Run) -> Manifest:
    """Write split/partitions.json: the files with their columns, and the ranges of each partition.

    A range of CSV never cuts a row, quoted newlines included; one of Parquet is whole row groups. It carries its
    first row's number in its file (from 1), its rows and a SHA-256. There are always as many partitions as asked for,
    or else as `_count` says; some may be empty. What can't be read in ranges (compressed, not UTF-8) is unpacked into
    split/ first.
    Raises InputError when the orders are missing or aren't orders, ConfigError when they are this run's own files.
    """
    statuses(run.settings.statuses)  # for validate, but a mistake in it is told at once
    inputs = _listed(run.settings.input) if run.settings.input else run.digest(generate.NAME)
    if run.settings.input:
        run.refuse_own("--input", inputs)
    names = ("partitions", "delimiter", "quoting", "encoding", "columns")
    settings = {name: getattr(run.settings, name) for name in names}
    return run.stage(NAME, NAME, inputs, settings, lambda: _write(run, inputs))


def opening(run: Run) -> Storage:
    """Return the run's storage, which opens the input's files by their whole names, with what isn't listed of them.

    A password, a token, or bytes that are not UTF-8 stand in no file of the run; --input is asked for them again.
    """
    pattern = run.settings.input
    if listed(pattern) == pattern and not has_magic(pattern):
        return run.storage
    return replace(run.storage, secrets={listed(uri): uri for uri in find(pattern) if listed(uri) != uri})


def _listed(pattern: str) -> dict[str, str]:
    found = find(pattern)
    named = {listed(uri): mark for uri, mark in found.items()}
    if len(named) < len(found):
        raise InputError(
            f"--input {pattern} names files that differ in nothing but their query, which is neither shown nor stored: "
            "give each in a run of its own"
        )
    return named


def _count(size: int) -> int:
    """Return how many partitions so many bytes should have: a multiple of ten, which two, five and ten workers share.

    >>> [_count(size) for size in (0, 160 << 20, 161 << 20, 801 << 20, 1 << 40)]
    [5, 5, 10, 20, 200]
    """
    return LEAST if size <= FEW_BYTES else min(MOST, STEP * -(-size // (STEP * PARTITION_BYTES)))


def _write(run: Run, inputs: dict[str, str]) -> Done:
    try:
        return _planned(run, inputs)
    except BaseException:
        for number in range(len(inputs)):  # what was unpacked for nothing may be large
            with suppress(DaskjobsError):
                run.storage.remove(sources.unpacked(number))
        raise


def _planned(run: Run, inputs: dict[str, str]) -> Done:
    storage, generated = opening(run), not run.settings.input
    settings = (
        replace(run.settings, delimiter=",", quoting=RFC4180, encoding="", columns="") if generated else run.settings
    )
    files = [
        sources.describe(storage, name, number, settings)
        for number, name in enumerate([generate.ORDERS] if generated else inputs)
    ]
    # The process that wrote the orders knows whether they are untouched; to hash them again takes as long as to split.
    written = run.written.get(generate.ORDERS) if generated else None
    untouched = written is not None and written == storage.identity(generate.ORDERS)
    whole = {"sha256": run.output(generate.NAME, generate.ORDERS).sha256} if generated and not untouched else {}
    total, seen = sum(map(sources.weight, files)), 0
    count = run.settings.partitions or _count(total)
    partitions: list[dict[str, Any]] = [{"partition": number, "rows": 0, "ranges": []} for number in range(count)]
    for index, file in enumerate(files):
        for part in sources.ranges(storage, {**file, **whole}, seen, total, count):
            partition = partitions[part.pop("partition")]
            partition["ranges"].append({"file": index, **part})
            partition["rows"] += part["rows"]
            run.progress((partition["partition"] + 1) / count)
        seen += sources.weight(file)
    if untouched and written != storage.identity(generate.ORDERS):
        raise damaged(storage.uri(generate.ORDERS))
    unpacked = {file["read"]: Output.vouched(file["unpacked"]) for file in files if "unpacked" in file}
    extra = dict.fromkeys(name for file in files for name in file["columns"] if name not in COLUMNS)
    rows = sum(partition["rows"] for partition in partitions)
    plan = {
        "rows": rows,
        "extra": list(extra),
        "truth": run.output(generate.NAME, TRUTH).json() if generated else None,
        "files": files,
        "partitions": partitions,
    }
    outputs = {PARTITIONS: storage.put(PARTITIONS, dump(plan)), **unpacked}
    return Done(outputs, {"out": rows, "partitions": count})
