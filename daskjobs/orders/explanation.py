"""Explains what became of one row: its text, its partition, and each reason for its rejection."""

from dataclasses import dataclass, field, replace

import numpy as np

from daskjobs.errors import UsageError
from daskjobs.files.storage import Storage
from daskjobs.files.tables import column
from daskjobs.orders import sources
from daskjobs.orders.parse import mapped, trimmed
from daskjobs.orders.plan import Partition, Plan
from daskjobs.orders.profiles import Profile, worth
from daskjobs.orders.profiles.columns import arranged
from daskjobs.orders.profiles.furniture import causes
from daskjobs.orders.profiles.runs import prepared
from daskjobs.orders.schema import PAID
from daskjobs.orders.sources.format import Block, RowRange, SourceFile

SHOWN = 5  # file names that an error message lists


@dataclass(frozen=True)
class Explained:
    """A row of the input: the reasons for its rejection, with their sentences, or the status of a valid row.

    ``furniture`` says why a profile takes it for no order, if it does. ``warnings`` are the rules that warn of a valid
    row, with their sentences.
    """

    row: int
    source: str
    partition: int
    reasons: dict[str, str]
    status: str
    raw: str
    furniture: str = ""
    warnings: dict[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> list[str]:
        """Return lines that say what became of the row, one for each reason."""
        if self.furniture:
            return [f"furniture  it is no order, since {self.furniture}: neither valid nor rejected"]
        if self.reasons:
            return [f"rejected   {reason}: {sentence}" for reason, sentence in self.reasons.items()]
        paid = "and paid" if self.status == PAID else f"and unpaid: its status is {self.status or 'empty'}"
        passes = "no rule rejects it" if self.warnings else "it passes every rule"
        warned = [f"warned     {reason}: {sentence}" for reason, sentence in self.warnings.items()]
        return [f"valid      {passes}, {paid}", *warned]


def locate(plan: Plan, row: int, source: str) -> tuple[Partition, RowRange]:
    """Return the partition and the range that have a ``row``, counted from 1, of a file.

    ``source`` is the end of the file's name. Raises UsageError when there is no such row, or unless exactly one file
    name ends with ``source``.
    """
    number = _file(plan.files, source)
    last = 0
    for partition in plan.partitions:
        for part in partition.ranges:
            if part.file == number:
                last = part.first_row + part.rows - 1
                if part.first_row <= row <= last:
                    return partition, part
    raise UsageError(f"--row must be one of the rows 1 to {last} of {plan.files[number].name}, got {row}")


def _file(files: list[SourceFile], source: str) -> int:
    named = [number for number, file in enumerate(files) if file.name.endswith(source)]
    if len(named) != 1:
        names = ", ".join(file.name for file in files[:SHOWN]) + (", …" if len(files) > SHOWN else "")
        raise UsageError(
            f"--source must be the end of the name of one of the input's files ({names}), "
            f"got {repr(source) if source else 'nothing'}, which fits {len(named)} of them"
        )
    return named[0]


@dataclass(frozen=True)
class NotRejected:
    """A row that isn't rejected: its status, under our name, or why it is furniture; and its text."""

    status: str = ""
    raw: str = ""
    furniture: str = ""


def not_rejected(
    storage: Storage,
    source: SourceFile,
    part: RowRange,
    row: int,
    statuses: dict[str, str],
    profile: Profile | None = None,
) -> NotRejected:
    """Return what became of a row that isn't rejected.

    Reads the whole range, because that compares it with its hash; where rows are lines of orders once more, because a
    line's status may stand in one above it.
    """
    at, answer = row - part.first_row, NotRejected()
    for block in sources.format_of(source).blocks(storage, source, part):
        if 0 <= at < block.rows:
            raw = block.raw(np.array([at]))[0].as_py()
            answer = _profiled(block, at, raw, source, profile) if profile else _plain(block, at, raw, statuses)
        at -= block.rows
    if profile and profile.by_line and not answer.furniture:
        at = row - part.first_row
        for block in prepared(sources.format_of(source).blocks(storage, source, part), profile, source, part.first_row):
            if 0 <= at < block.rows:
                answer = replace(answer, status=_status(block, at, profile))
            at -= block.rows
    return answer


def _plain(block: Block, at: int, raw: str, statuses: dict[str, str]) -> NotRejected:
    fields = block.texts.slice(int(np.searchsorted(block.kept, at)), 1)
    return NotRejected(mapped(trimmed(column(fields, "status")), statuses)[0].as_py(), raw)


def _profiled(block: Block, at: int, raw: str, source: SourceFile, profile: Profile) -> NotRejected:
    furniture = next((why for why, rows in causes(block, profile, source.heading) if rows[at]), "")
    if furniture:
        return NotRejected("", raw, furniture)
    return NotRejected(_status(block, at, profile), raw)


def _status(block: Block, at: int, profile: Profile) -> str:
    found = arranged(block.texts.slice(int(np.searchsorted(block.kept, at)), 1), profile, [])
    status: str = worth.statuses(found, worth.foreign(found, profile))[0].as_py()
    return status
