"""The shapes of "rows" in the manifests of the stages; Argo shows the numbers and texts in them."""

from dataclasses import dataclass, field
from typing import TypeVar

from daskjobs.files.documents import from_json, written_as
from daskjobs.orders.report.quality import Account
from daskjobs.orders.validation.result import Ledger, Lines, Score
from daskjobs.pipeline.manifest import Manifest

T = TypeVar("T")


@dataclass(frozen=True)
class GenerateRows:
    """The number of generated orders."""

    out: int


@dataclass(frozen=True)
class SplitRows:
    """The number of rows in the input, and of partitions."""

    out: int
    partitions: int


@dataclass(frozen=True)
class PartitionLedger:
    """The ledger of one partition."""

    partition: int
    rows_in: int = field(metadata=written_as("in"))
    valid: int
    rejected: int


@dataclass(frozen=True)
class MergeRows(Ledger):
    """The ledger in total and by partition, and rows by status, by reason and by known anomaly."""

    statuses: dict[str, int]
    reasons: dict[str, int]
    scores: dict[str, Score]
    lines: Lines
    partitions: list[PartitionLedger]


@dataclass(frozen=True)
class CleanRows:
    """The valid rows: how many are paid, and how many are not, in all and by status."""

    rows_in: int = field(metadata=written_as("in"))
    paid: int
    unpaid: int
    unpaid_by_status: dict[str, int]


@dataclass(frozen=True)
class ReportRows(Account):
    """The account of all rows, and the revenue as text with two decimals."""

    revenue: str


@dataclass(frozen=True)
class CleanupRows:
    """How many objects there were, files were removed, and objects were kept on purpose or could not be removed."""

    objects: int
    files: int
    kept: int
    remaining: int


def counted(manifest: Manifest, shape: type[T]) -> T:
    """Return the row counts of a manifest as the dataclass that the table of stages names for its stage."""
    return from_json(manifest.rows, shape, f"the rows of {manifest.stage}")
