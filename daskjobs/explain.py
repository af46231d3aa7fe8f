"""What became of one row: its text, its partition, and each reason for its rejection with the rule's sentence."""

import json
from dataclasses import dataclass

import numpy as np

from daskjobs import sources
from daskjobs.errors import UsageError
from daskjobs.orders import PAID
from daskjobs.partition import RULES, STAGE, names
from daskjobs.run import Run
from daskjobs.sources.block import Range, Source
from daskjobs.stages import split
from daskjobs.tables import column, rows_between
from daskjobs.texts import mapped, trimmed


@dataclass(frozen=True)
class Explained:
    """A row of the input: its reasons for rejection with their sentences, or the status of a valid one."""

    row: int
    source: str
    partition: int
    reasons: dict[str, str]
    status: str
    raw: str

    @property
    def verdict(self) -> list[str]:
        """Return what became of the row, in a line for each reason."""
        if self.reasons:
            return [f"rejected   {reason}: {sentence}" for reason, sentence in self.reasons.items()]
        paid = "and paid" if self.status == PAID else f"and not paid: its status is {self.status}"
        return [f"valid      it passes every rule, {paid}"]


def explain(run: Run, row: int, source: str) -> Explained:
    """Look up the ``row``, counted from 1, of a file of the input; ``source`` is its name, or the end of its name.

    Raises UsageError when there is no such row, or when several files could be meant.
    """
    plan = json.loads(run.vouched(split.NAME, split.PARTITIONS))
    file = _file(plan["files"], source)
    where = [
        (partition["partition"], part)
        for partition in plan["partitions"]
        for part in partition["ranges"]
        if part["file"] == file and part["first_row"] <= row < part["first_row"] + part["rows"]
    ]
    name = plan["files"][file]["name"]
    if not where:
        count = sum(
            part["rows"] for partition in plan["partitions"] for part in partition["ranges"] if part["file"] == file
        )
        raise UsageError(f"--row is {row}; {name} has rows 1 to {count}")
    partition, part = where[0]
    sentences = json.loads(run.vouched(STAGE, RULES))
    quarantine = names(partition)["quarantine"]
    vouched = run.output(STAGE, quarantine)
    found = rows_between(run.storage, quarantine, vouched, "row", row, row + 1).to_pylist()
    line = next((line for line in found if line["source"] == name), None)
    if line is None:
        return Explained(row, name, partition, {}, *_valid(run, plan["files"][file], part, row))
    reasons = {reason: sentences.get(reason, "") for reason in line["reasons"]}
    return Explained(row, name, partition, reasons, "", line["raw"])


def _file(files: list[Source], source: str) -> int:
    named = [number for number, file in enumerate(files) if file["name"].endswith(source)]
    if len(named) != 1:
        given = ", ".join(file["name"] for file in files[:5]) + (", …" if len(files) > 5 else "")
        raise UsageError(
            f"--source {source or '(not given)'} names {len(named)} of the input's files; give one of {given}"
        )
    return named[0]


def _valid(run: Run, source: Source, part: Range, row: int) -> tuple[str, str]:
    """Return a row's status and text, from its source: all of its range is read, which is held against its hash so."""
    at, found, statuses = row - part["first_row"], ("", ""), run.manifest(STAGE)["settings"]["statuses"]
    for block in sources.blocks(split.opening(run), source, part):
        if 0 <= at < block.rows:
            fields = block.texts.slice(int(np.searchsorted(block.kept, at)), 1)
            status = mapped(trimmed(column(fields, "status")), statuses)
            found = status[0].as_py(), block.raw(np.array([at]))[0].as_py()
        at -= block.rows
    return found
