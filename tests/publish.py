"""A stage of one's own, as a module of daskjobs/stages would be: it goes after report, and says what a run came to."""

from dataclasses import dataclass

from daskjobs.files.documents import dump
from daskjobs.pipeline.context import Done
from daskjobs.pipeline.manifest import Manifest
from daskjobs.pipeline.stage import Stage, numbered
from daskjobs.stages import STAGES, cleanup, merge, report
from daskjobs.stages.run_settings import Context

NAME = "publish"
LATEST, REASONS = "publish/latest.json", "publish/reason-*.txt"


@dataclass(frozen=True)
class PublishRows:
    """The orders that were published."""

    published: int


def execute(context: Context) -> Manifest:
    """Write publish/latest.json, the report's numbers, and a file for each reason for a rejection."""
    return context.commit(NAME, context.digest(merge.NAME) | context.digest(report.NAME), {}, lambda: _write(context))


def _write(context: Context) -> Done:
    numbers = context.manifest(report.NAME).counted(report.ReportRows)
    reasons = context.manifest(merge.NAME).counted(merge.MergeRows).reasons
    files = {LATEST: dump(numbers)} | {numbered(REASONS, at): name.encode() for at, name in enumerate(reasons)}
    return Done({name: context.storage.put(name, data) for name, data in files.items()}, PublishRows(numbers.paid))


STAGE = Stage(
    NAME,
    "Put the numbers where others look for them.",
    needs=(merge.NAME, report.NAME),
    files=(LATEST, REASONS),
    rows=PublishRows,
    execute=execute,
    artifacts=(LATEST,),
)


def register() -> None:
    """Do what a line after report.STAGE in `STAGES` does."""
    last = STAGES.pop(cleanup.NAME)
    STAGES.update({NAME: STAGE, cleanup.NAME: last})
