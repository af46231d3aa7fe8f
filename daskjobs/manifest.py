"""The JSON files of a run: what each may say, and reading them so that a file that says anything else is refused."""

import hashlib
import json
import math
import re
from typing import Any, NotRequired, TypedDict, TypeVar, get_args, get_origin, get_type_hints, is_typeddict

MOST_INT = 1 << 63
NAME = re.compile(r"[a-z]+(/\w[\w-]*(\.\w+)*)+", re.ASCII)  # of a file of a run: never absolute, never with ".."

T = TypeVar("T")


class FileSaid(TypedDict):
    """What a manifest says of a file: its size and its SHA-256."""

    bytes: int
    sha256: str


class Piece(FileSaid):
    """A part of a file, from byte ``start``, that is read alone."""

    start: int


class Manifest(TypedDict):
    """The commit of a stage: what it was made from, with which settings, what it wrote, and its row counts."""

    stage: str
    daskjobs: str
    inputs: dict[str, str]
    settings: dict[str, Any]
    outputs: dict[str, FileSaid]
    rows: dict[str, Any]
    skipped: NotRequired[bool]  # in memory only: the stage found its work done


Ledger = TypedDict("Ledger", {"in": int, "valid": int, "quarantined": int})


class LongRow(TypedDict):
    """A row that looks like several ones, and how many line ends it holds."""

    source: str
    row: int
    line_ends: int


class LongRows(TypedDict):
    """The rows that look like several ones, the line ends in all of them, and the first few."""

    rows: int
    line_ends: int
    first: list[LongRow]


class Lines(TypedDict):
    """What the lines of the CSV files are: those in the files are the sum of the next three."""

    in_files: int
    headers: int
    rows: int
    inside_quotes: int
    rows_like_several: LongRows


class PartitionResult(TypedDict):
    """What came of a partition.

    ``key`` stands for everything that it depends on, but for ``repeats``, the pieces which say which of its rows repeat
    an id. ``ids`` are the pieces of its ids, by bucket.
    """

    partition: int
    key: str
    repeats: dict[str, Piece]
    rows: Ledger
    statuses: dict[str, int]
    reasons: dict[str, int]
    lines: dict[str, int]
    several: list[LongRow]
    scores: dict[str, dict[str, int]]
    outputs: dict[str, FileSaid]
    ids: list[list[Piece]]
    result: NotRequired[FileSaid]  # in memory only: of the file that says the rest


class Facts(TypedDict, total=False):
    """How a stage ran, which no result depends on."""

    seconds: float
    objects: list[dict[str, str]]
    resources: dict[str, Any]


class PartitionLedger(Ledger):
    """The ledger of one partition."""

    partition: int


class GenerateRows(TypedDict):
    """The orders that were made."""

    out: int


class SplitRows(TypedDict):
    """The rows that were found, and the partitions that they are in."""

    out: int
    partitions: int


class MergeRows(Ledger):
    """The ledger, in all and by partition, and rows by status, by reason and by known anomaly."""

    statuses: dict[str, int]
    reasons: dict[str, int]
    scores: dict[str, dict[str, int]]
    lines: Lines
    partitions: list[PartitionLedger]


CleanRows = TypedDict("CleanRows", {"in": int, "clean": int, "unpaid": int, "unpaid_by_status": dict[str, int]})


class ReportRows(Ledger):
    """The ledger and the revenue, as text with two decimals."""

    clean: int
    unpaid: int
    revenue: str


class CleanupRows(TypedDict):
    """What cleanup removed, and what it could not."""

    objects: int
    files: int
    remaining: int


# Of each stage, what its manifest says under "rows"; the numbers and texts among them are what is shown to Argo.
ROWS: dict[str, Any] = {
    "generate": GenerateRows,
    "split": SplitRows,
    "validate": Ledger,
    "merge": MergeRows,
    "clean": CleanRows,
    "report": ReportRows,
    "cleanup": CleanupRows,
}


def dump(value: Any) -> bytes:
    """Return JSON for people and machines: indented, keys in the order given, a newline at the end."""
    return (json.dumps(value, indent=2) + "\n").encode()


def sealed(value: Any) -> bytes:
    """Return JSON with a checksum of its own, so that a file in which anything has changed is known to be none."""
    return dump({**value, "checksum": hashlib.sha256(dump(value)).hexdigest()})


def unsealed(data: bytes, shape: type[T]) -> T:
    """Return what `sealed` wrote, without the checksum. Raises ValueError for anything else."""
    value: Any = parse(data, dict[str, Any])
    checksum = value.pop("checksum", None)
    if checksum != hashlib.sha256(dump(value)).hexdigest():
        raise ValueError("the checksum is not that of the rest")
    return _fitting(value, shape)


def parse(data: bytes, shape: type[T]) -> T:
    """Return what JSON says. Raises ValueError when it isn't JSON, or not of the ``shape``: a type made of
    TypedDict, list, dict, str, int (from 0 to below 2^63), float (finite) and Any.
    """
    try:
        return _fitting(json.loads(data.decode(), parse_constant=_refuse), shape)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _fitting(value: Any, shape: type[T]) -> T:
    if not fits(value, shape):
        raise ValueError("it has not the shape that this version writes")
    found: T = value
    return found


def fits(value: Any, shape: Any) -> bool:
    """Tell whether a value that was JSON has a shape; keys that a TypedDict doesn't name are let pass.

    >>> fits({"bytes": 3, "sha256": "ab", "more": None}, FileSaid), fits({"bytes": True, "sha256": "ab"}, FileSaid)
    (True, False)
    """
    if is_typeddict(shape):
        hints = get_type_hints(shape)
        return (
            isinstance(value, dict)
            and shape.__required_keys__ <= value.keys()
            and all(fits(value[key], hint) for key, hint in hints.items() if key in value)
        )
    kind, parts = get_origin(shape) or shape, get_args(shape)
    if kind is int:
        return type(value) is int and 0 <= value < MOST_INT
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind is list:
        return isinstance(value, list) and all(fits(each, parts[0]) for each in value)
    if kind is dict:
        return isinstance(value, dict) and all(fits(each, parts[1]) for each in value.values())
    return kind is Any or isinstance(value, kind)
