"""Prove that every row is there exactly once, and commit the partitions as one dataset."""

import logging
from collections import Counter
from itertools import groupby
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from daskjobs.errors import LostWorkError
from daskjobs.events import event
from daskjobs.files.digest import Output
from daskjobs.files.documents import to_json, unsealed
from daskjobs.files.storage import damaged
from daskjobs.files.tables import footer_rows, reading, rebatched, row_groups, writing
from daskjobs.orders.plan import Partition
from daskjobs.orders.schema import PAID, QUARANTINE, WRITING
from daskjobs.orders.sources.fields import standalone_row, standalone_rows
from daskjobs.orders.sources.format import SourceFile
from daskjobs.orders.validation.result import NAMED, STAGE, Lines, LongRows, PartitionResult, Score, partition_files
from daskjobs.pipeline.context import Done
from daskjobs.pipeline.manifest import Manifest
from daskjobs.stages import split
from daskjobs.stages.counts import MergeRows, PartitionLedger
from daskjobs.stages.run_settings import Context

NAME = "merge"
QUARANTINE_PARQUET, QUARANTINE_CSV = "merge/quarantine.parquet", "merge/quarantine.csv"
VALID = ("paid", "unpaid", "summary")
FORMULA = r"[-=+@\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]"  # which a formula begins with; four are full-width
STARTS = pa.array(list("-=+@\t\r\n \uff1d\uff0b\uff0d\uff20"))  # what a text begins with that `AT_START` may match
AT_START = rf"^([\t\r\n]| *{FORMULA})"
SEPARATORS = (
    b";\t\r\n"  # of cells, in a spreadsheet that doesn't separate at commas, and so sees no quotes around a text
)
AFTER_SEPARATOR = rf'([;\t\r\n][ "]*)({FORMULA})'
# Without the number of the partition, so that the bytes don't depend on how the rows were partitioned.
MERGED = pa.schema([field for field in QUARANTINE if field.name != "partition"])


def execute(context: Context) -> Manifest:
    """Write merge/quarantine.parquet and .csv, sorted as the source is, and vouch for the files of valid rows.

    For each file of the input that has rejected rows, a file merge/rejected-* has its header, if there is one, and
    these rows as they stood there: once mended, they can be the input of another run. The manifest's rows hold the
    ledger, in all and by partition. Raises LostWorkError when it doesn't balance.
    """
    inputs = context.digest(split.NAME) | context.digest(STAGE)
    return context.commit(NAME, inputs, {}, lambda: _merge(context))


def _merge(context: Context) -> Done:
    plan = split.read_plan(context)
    results = [_result(context, partition.number) for partition in plan.partitions]
    for partition, result in zip(plan.partitions, results, strict=True):
        _prove(context, partition, result)
    rows_in = sum(result.rows.rows_in for result in results)
    if rows_in != plan.rows:
        raise LostWorkError(f"split found {plan.rows} rows, but validate saw {rows_in}: run again from split")
    lines = _lines(plan.files, results)
    outputs = dict[str, Output]()
    for result in results:
        files = partition_files(result.partition)
        outputs |= {files[content]: context.output(STAGE, files[content]) for content in VALID}
    outputs |= _quarantine(context, len(results))
    outputs |= _rejected(context, plan.files, outputs[QUARANTINE_PARQUET])
    reasons, statuses, scores = Counter[str](), Counter[str](), dict[str, Score]()
    for result in results:
        reasons.update(result.reasons)
        statuses.update(result.statuses)
        for anomaly, score in result.scores.items():
            scores.setdefault(anomaly, Score(0, 0, 0)).add(score)
    rows = MergeRows(
        rows_in=rows_in,
        valid=sum(result.rows.valid for result in results),
        quarantined=sum(result.rows.quarantined for result in results),
        statuses=dict(sorted(statuses.items())),
        reasons=dict(sorted(reasons.items())),
        scores=scores,
        lines=lines,
        partitions=[PartitionLedger(result.partition, **vars(result.rows)) for result in results],
    )
    return Done(outputs, rows)


def _lines(files: list[SourceFile], results: list[PartitionResult]) -> Lines:
    """Return what the lines of the CSV files are: header rows, rows, and line ends inside of their fields.

    Split has counted those in the files, from their bytes, and validate those inside of fields, from the fields that
    it read. The rows that look like several rows are counted, and the first of them named. Raises LostWorkError when
    lines are lost.
    """
    headers = [file.header_lines for file in files if file.header_lines]
    counts = [result.lines for result in results]
    several = LongRows(
        rows=sum(count.several for count in counts),
        line_ends=sum(count.in_several for count in counts),
        first=[row for result in results for row in result.several][:NAMED],
    )
    lines = Lines(
        in_files=sum(header.lines for header in headers) + sum(count.in_files for count in counts),
        headers=len(headers),
        rows=sum(count.rows for count in counts),
        inside_quotes=sum(header.inside for header in headers) + sum(count.inside_quotes for count in counts),
        rows_like_several=several,
    )
    if lines.in_files != lines.headers + lines.rows + lines.inside_quotes:
        raise LostWorkError(
            f"lines are missing: {to_json(lines)}; in_files must be the sum of the others: run again from split"
        )
    if several.rows:
        event("rows.look_like_several", level=logging.WARNING, **to_json(several))
    return lines


def _result(context: Context, number: int) -> PartitionResult:
    name = partition_files(number)["result"]
    try:
        return unsealed(context.vouched(STAGE, name), PartitionResult)
    except ValueError as error:
        raise damaged(context.storage.uri(name), error) from error


def _prove(context: Context, partition: Partition, result: PartitionResult) -> None:
    """Hold a partition's result against split's count of its rows, and against what its files really hold.

    Of paid and quarantined rows only the counts are looked at here: who reads these files whole, clean and below, holds
    them against their hashes.
    """
    ledger, files = result.rows, partition_files(partition.number)
    held = {content: footer_rows(context.storage, files[content]) for content in ("paid", "quarantine")}
    with reading(context.storage, files["unpaid"], context.output(STAGE, files["unpaid"])) as file:
        held["unpaid"] = file.metadata.num_rows
    claimed = {"paid": result.statuses.get(PAID, 0), "quarantine": ledger.quarantined}
    claimed["unpaid"] = sum(result.statuses.values()) - claimed["paid"]
    if (
        held != claimed
        or not partition.rows == ledger.rows_in == sum(held.values()) == ledger.valid + held["quarantine"]
    ):
        raise LostWorkError(
            f"partition {partition.number} has {partition.rows} rows, its result says {to_json(ledger)}, its files "
            f"hold {held}: run again from validate"
        )


def _quarantine(context: Context, partitions: int) -> dict[str, Output]:
    groups = (
        group.select(MERGED.names)
        for number in range(partitions)
        for name in [partition_files(number)["quarantine"]]
        for group in row_groups(context.storage, name, context.output(STAGE, name))
    )
    with (
        writing(context.storage, QUARANTINE_PARQUET, MERGED, WRITING) as (parquet, file),
        context.storage.write(QUARANTINE_CSV) as text,
    ):
        text.write((",".join(MERGED.names) + "\n").encode())
        for batch in rebatched(groups, "raw"):
            parquet.write_table(batch)
            reasons = pc.binary_join(batch["reasons"], ";")
            source, raw = map(_no_formula, (batch["source"], batch["raw"]))
            cells = pa.table([batch["row"], source, reasons, raw], MERGED.names)
            pa.csv.write_csv(cells, text, pa.csv.WriteOptions(include_header=False))
    return {QUARANTINE_PARQUET: file.output, QUARANTINE_CSV: text.output}


def _no_formula(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Put a single quote before text that a spreadsheet would take for a formula, as OWASP advises on CSV injection.

    Where it separates cells at semicolons, as in half of the world, or at tabs, one text becomes several cells: each of
    them gets a quote that needs one. The other columns are a number and names of Python functions.
    """
    starts = pc.is_in(pc.utf8_slice_codeunits(cells, 0, 1), value_set=STARTS)
    if pc.any(starts).as_py():
        cells = pc.replace_substring_regex(cells, AT_START, r"'\1")
    # Most texts have no separator, which is sooner known from their bytes than by the expression.
    texts = [chunk.buffers()[2].to_pybytes() for chunk in cells.chunks if chunk.buffers()[2]]
    if any(bytes([separator]) in text for separator in SEPARATORS for text in texts) and (
        pc.any(pc.match_substring_regex(cells, AFTER_SEPARATOR)).as_py()
    ):
        cells = pc.replace_substring_regex(cells, AFTER_SEPARATOR, r"\1'\2")
    return cells


def _rejected(context: Context, files: list[SourceFile], quarantine: Output) -> dict[str, Output]:
    sources = {file.name: (f"merge/rejected-{number:05d}.{file.ending}", file) for number, file in enumerate(files)}
    pieces = (
        (source, rows["raw"].filter(pc.equal(rows["source"], source)))
        for rows in row_groups(context.storage, QUARANTINE_PARQUET, quarantine, ["source", "raw"])
        for source in rows["source"].unique().to_pylist()
    )
    outputs = dict[str, Output]()
    for source, rejected in groupby(pieces, itemgetter(0)):
        name, file = sources[source]
        with context.storage.write(name) as text:
            if file.header:
                text.write(standalone_row(file.header, file.dialect).encode())
            for _, raw in rejected:
                text.write(standalone_rows(raw.to_pylist(), file.dialect).encode())
        outputs[name] = text.output
    return outputs
