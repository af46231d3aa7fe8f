"""quality.json: the account of every row, why rows were rejected, and how well the rules found known anomalies."""

from collections.abc import Sequence
from dataclasses import dataclass

from daskjobs.errors import LostWorkError
from daskjobs.files.documents import to_json
from daskjobs.orders.validation.result import NAMED, Ledger, Lines, LongRows, Score

VERSION = 2  # since 0.6.0; before, "rejected" was "quarantined", "paid" was "clean", and there was no "version"


@dataclass(frozen=True)
class Account(Ledger):
    """The ledger, and how many of the valid rows are paid and unpaid."""

    paid: int
    unpaid: int


@dataclass(frozen=True)
class Reason:
    """Why rows were rejected: the reason's name, how many rows have it, and its sentence."""

    reason: str
    rows: int
    rule: str


@dataclass(frozen=True)
class Scored:
    """How well a rule found a known anomaly; precision and recall are null if there was nothing to find."""

    precision: float | None
    recall: float | None
    true_positives: int
    false_positives: int
    false_negatives: int


@dataclass(frozen=True)
class Quality:
    """The content of quality.json; ``scores`` are by anomaly, and empty for the user's own orders.

    ``version`` changes when the keys do.
    """

    version: int
    rows: Account
    lines: Lines
    warnings: list[str]
    reasons: list[Reason]
    unpaid_by_status: dict[str, int]
    scores: dict[str, Scored]


def balance(account: Account) -> None:
    """Raise LostWorkError unless every row is accounted for."""
    if account.rows_in != account.valid + account.rejected or account.valid != account.paid + account.unpaid:
        raise LostWorkError(
            f"the ledger doesn't balance: {to_json(account)}; in must be valid + rejected, and valid must be paid + "
            "unpaid; no report was written: run again from validate"
        )


def warnings(several: LongRows, utf8: Sequence[str] = ()) -> list[str]:
    """Return warnings about what may have been read wrongly: rows that look like several, and files that are ``utf8``.

    A stray quote may have joined the rows, and --encoding may be that of the other files.
    """
    return [*filter(None, (_several(several), _utf8(utf8)))]


def _several(several: LongRows) -> str:
    if not several.rows:
        return ""
    count, first = several.rows, several.first
    hold, look = ("row holds", "looks") if count == 1 else ("rows hold", "each look")
    shown = ", ".join(f"row {row.row} of {row.source.rsplit('/', 1)[-1]}" for row in first)
    more = f" and {count - len(first):,} more" if count > len(first) else ""
    return (
        f"{count:,} {hold} {several.line_ends:,} line ends inside quotes and {look} like several rows: {shown}{more}"
        "; if quotes are plain characters in this file, use --quoting none"
    )


def _utf8(files: Sequence[str]) -> str:
    if not files:
        return ""
    shown = ", ".join(file.rsplit("/", 1)[-1] for file in files[:NAMED])
    more = f" and {len(files) - NAMED:,} more" if len(files) > NAMED else ""
    look, were = ("looks", "was") if len(files) == 1 else ("look", "were")
    return (
        f"{shown}{more} {look} like UTF-8, and {were} read as --encoding says: if texts are wrong, leave that out, or "
        'give a profile in which [file] has encoding = ["utf-8", "…"], the first of these that fits each file'
    )


def most_frequent(counts: dict[str, int], sentences: dict[str, str]) -> list[Reason]:
    """Return the reasons with their sentences, the most frequent first."""
    return [
        Reason(reason, count, sentences.get(reason, ""))
        for reason, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def scored(scores: dict[str, Score]) -> dict[str, Scored]:
    """Return the scores with their precision and recall."""
    return {
        anomaly: Scored(
            precision=_share(score.true_positives, score.true_positives + score.false_positives),
            recall=_share(score.true_positives, score.true_positives + score.false_negatives),
            **vars(score),
        )
        for anomaly, score in scores.items()
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
