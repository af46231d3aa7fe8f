"""Prove that every row is there exactly once, and commit the partitions as one dataset."""

import json
import logging
from collections import Counter
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from daskjobs.errors import LostWorkError
from daskjobs.log import event
from daskjobs.manifest import Lines, Manifest, PartitionResult, unsealed
from daskjobs.orders import PAID
from daskjobs.outputs import Output
from daskjobs.partition import NAMED, STAGE, names
from daskjobs.run import Done, Run
from daskjobs.settings import RFC4180
from daskjobs.sources.fields import line, lines
from daskjobs.sources.rows import Dialect
from daskjobs.stages import split
from daskjobs.storage import damaged
from daskjobs.tables import QUARANTINE, footer_rows, reading, rebatched, row_groups, writing

NAME = "merge"
QUARANTINE_PARQUET, QUARANTINE_CSV = "merge/quarantine.parquet", "merge/quarantine.csv"
# The partition stands in validate/'s files; without it, these are the same bytes however the rows were partitioned.
VALID = ("paid", "unpaid", "summary")
FORMULA = pa.array(list("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"))  # what one begins with; the last four are full-width
MERGED = pa.schema([field for field in QUARANTINE if field.name != "partition"])


def run(run: Run) -> Manifest:
    """Write merge/quarantine.parquet and .csv, sorted as the source is, and vouch for the files of valid rows.

    merge/rejected-*.csv, one for each file of the input that has any, are its header and its rejected rows as they
    stood there: once mended, they can be the input of another run.
    The manifest's rows hold the ledger, in all and by partition. Raises LostWorkError when it doesn't balance.
    """
    inputs = run.digest(split.NAME) | run.digest(STAGE)
    return run.stage(NAME, NAME, inputs, {}, lambda: _merge(run))


def _merge(run: Run) -> Done:
    plan = json.loads(run.vouched(split.NAME, split.PARTITIONS))
    results = [_result(run, partition["partition"]) for partition in plan["partitions"]]
    for partition, result in zip(plan["partitions"], results, strict=True):
        _prove(run, partition, result)
    ledger: list[dict[str, Any]] = [{"partition": result["partition"], **result["rows"]} for result in results]
    rows = {name: sum(line[name] for line in ledger) for name in ("in", "valid", "quarantined")}
    if rows["in"] != plan["rows"]:
        raise LostWorkError(f"split found {plan['rows']} rows, validate saw {rows['in']}: run again from split")
    lines = _lines(plan["files"], results)
    outputs = dict[str, Output]()
    for result in results:
        files = names(result["partition"])
        outputs |= {files[kind]: run.output(STAGE, files[kind]) for kind in VALID}
    outputs |= _quarantine(run, len(results))
    outputs |= _rejected(run, plan["files"], outputs[QUARANTINE_PARQUET])
    reasons, statuses, scores = Counter[str](), Counter[str](), dict[str, Counter[str]]()
    for result in results:
        reasons.update(result["reasons"])
        statuses.update(result["statuses"])
        for anomaly, score in result["scores"].items():
            scores.setdefault(anomaly, Counter()).update(score)
    counts = {"statuses": dict(sorted(statuses.items())), "reasons": dict(sorted(reasons.items())), "scores": scores}
    return Done(outputs, {**rows, **counts, "lines": lines, "partitions": ledger})


def _lines(files: list[dict[str, Any]], results: list[PartitionResult]) -> Lines:
    """Return what the lines of the CSV files are: header rows, rows, and line ends inside of their fields.

    Those in the files were counted by split, from their bytes, those inside by validate, from the fields that it read.
    The rows that look like several are counted, and the first of them named. Raises LostWorkError when lines are lost.
    """
    counted = Counter[str]()
    for file in (file for file in files if "lines" in file):
        counted.update({"in_files": file["lines"], "headers": 1, "inside_quotes": file["inside"]})
    for result in results:
        counted.update(result["lines"])
    lines: Lines = {
        "in_files": counted["in_files"],
        "headers": counted["headers"],
        "rows": counted["rows"],
        "inside_quotes": counted["inside_quotes"],
        "rows_like_several": {
            "rows": counted["several"],
            "line_ends": counted["in_several"],
            "first": [row for result in results for row in result["several"]][:NAMED],
        },
    }
    if lines["in_files"] != lines["headers"] + lines["rows"] + lines["inside_quotes"]:
        raise LostWorkError(f"lines are missing: {lines}; in_files must be the sum of the others: run again from split")
    if counted["several"]:
        event("rows.look_like_several", level=logging.WARNING, **lines["rows_like_several"])
    return lines


def _result(run: Run, number: int) -> PartitionResult:
    name = names(number)["result"]
    try:
        return unsealed(run.vouched(STAGE, name), PartitionResult)
    except ValueError as error:
        raise damaged(run.storage.uri(name), error) from error


def _prove(run: Run, partition: dict[str, Any], result: PartitionResult) -> None:
    """Hold a partition's result against split's count of its rows, and against what its files really hold.

    Of paid and quarantined ones only the counts are looked at here: who reads these files whole, clean and below, holds
    them against their hashes.
    """
    number, rows, files = partition["partition"], result["rows"], names(partition["partition"])
    held = {kind: footer_rows(run.storage, files[kind]) for kind in ("paid", "quarantine")}
    with reading(run.storage, files["unpaid"], run.output(STAGE, files["unpaid"])) as file:
        held["unpaid"] = file.metadata.num_rows
    claimed = {"paid": result["statuses"].get(PAID, 0), "quarantine": rows["quarantined"]}
    claimed["unpaid"] = sum(result["statuses"].values()) - claimed["paid"]
    if (
        held != claimed
        or not partition["rows"] == rows["in"] == sum(held.values()) == rows["valid"] + held["quarantine"]
    ):
        raise LostWorkError(
            f"partition {number} has {partition['rows']} rows, its result says {rows}, its files hold {held}: "
            "run again from validate"
        )


def _quarantine(run: Run, partitions: int) -> dict[str, Output]:
    groups = (
        group.select(MERGED.names)
        for number in range(partitions)
        for name in [names(number)["quarantine"]]
        for group in row_groups(run.storage, name, run.output(STAGE, name))
    )
    with writing(run.storage, QUARANTINE_PARQUET, MERGED) as (parquet, file), run.storage.write(QUARANTINE_CSV) as text:
        text.write((",".join(MERGED.names) + "\n").encode())
        for batch in rebatched(groups, "raw"):
            parquet.write_table(batch)
            reasons = pc.binary_join(batch["reasons"], ";")
            cells = pa.table([batch["row"], batch["source"], reasons, _no_formula(batch["raw"])], MERGED.names)
            pa.csv.write_csv(cells, text, pa.csv.WriteOptions(include_header=False))
    return {QUARANTINE_PARQUET: file.output, QUARANTINE_CSV: text.output}


def _no_formula(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Put a single quote before what a spreadsheet would take for a formula: as OWASP says about CSV injection.

    The other columns are ours: a number, a URI, and names of Python functions.
    """
    formula = pc.is_in(pc.utf8_slice_codeunits(cells, 0, 1), value_set=FORMULA)
    return pc.if_else(formula, pc.binary_join_element_wise("'", cells, ""), cells) if pc.any(formula).as_py() else cells


def _rejected(run: Run, files: list[dict[str, Any]], quarantine: Output) -> dict[str, Output]:
    sources = {
        file["name"]: (
            f"merge/rejected-{number:05d}.csv",
            file["header"],
            Dialect(file.get("delimiter", ","), file.get("quoting", RFC4180)),
        )
        for number, file in enumerate(files)
    }
    pieces = (
        (source, rows["raw"].filter(pc.equal(rows["source"], source)))
        for rows in row_groups(run.storage, QUARANTINE_PARQUET, quarantine, ["source", "raw"])
        for source in rows["source"].unique().to_pylist()
    )
    outputs = dict[str, Output]()
    for source, found in groupby(pieces, itemgetter(0)):
        name, header, dialect = sources[source]
        with run.storage.write(name) as text:
            text.write(line(header, dialect).encode())
            for _, raw in found:
                text.write(lines(raw.to_pylist(), dialect).encode())
        outputs[name] = text.output
    return outputs
