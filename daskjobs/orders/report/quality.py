"""quality.json: the account of every row, why rows were rejected, and how well the rules found known anomalies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from daskjobs.errors import LostWorkError
from daskjobs.files.documents import to_json
from daskjobs.orders.profiles import Profile
from daskjobs.orders.sent import SentLine
from daskjobs.orders.validation.limit import not_understood, ranked
from daskjobs.orders.validation.result import (
    NAMED,
    Ledger,
    Lines,
    LongRows,
    Score,
    SeenBefore,
    SourceRow,
    UnreadFiles,
    Warned,
)
from daskjobs.orders.validation.together import AND, MOST

MOST_NAMED = 5  # currencies, in a sentence
MOST_TOGETHER = 50  # sets of reasons
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
class ReasonSet:
    """A set of reasons, and how many rows were rejected for all of these and for no other."""

    reasons: list[str]
    rows: int


@dataclass(frozen=True)
class WarnedOf:
    """What a rule warns of: its name, how many valid rows it is true of, its sentence, and the first few of them."""

    reason: str
    rows: int
    rule: str
    first: list[SourceRow] = field(default_factory=list)


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

    ``version`` changes when the keys do. Only a profile, named ``profile``, brings the others: ``without_rules`` are
    the built-in rules that it leaves out, each with the reason; ``orders`` are counted where a row may be no whole one;
    ``gross`` less ``refunds`` is ``net``, the revenue; ``currencies`` counts the valid rows that are paid in each, of
    which the report is of ``currency`` alone. ``seen_before`` is there with --known. ``together`` are the sets of
    reasons with the most rows, and ``together_others`` counts the rows of all other sets: together they are all
    rejected rows. ``warned`` are the rules that warn, with the rows that they are true of, and ``sent`` the lines of
    the ledger of what the sender says. What is empty, zero or null may be left out.
    """

    version: int
    rows: Account
    lines: Lines
    warnings: list[str]
    reasons: list[Reason]
    unpaid_by_status: dict[str, int]
    scores: dict[str, Scored]
    profile: str = ""
    without_rules: dict[str, str] = field(default_factory=dict)
    orders: int | None = None
    gross: str = ""
    refunds: str = ""
    net: str = ""
    currency: str = ""
    currencies: dict[str, int] = field(default_factory=dict)
    seen_before: SeenBefore | None = None
    together: list[ReasonSet] = field(default_factory=list)
    together_others: int = 0
    warned: list[WarnedOf] = field(default_factory=list)
    sent: list[SentLine] = field(default_factory=list)

    @property
    def paid_orders(self) -> int:
        """The number of paid orders: of their rows, unless a row may be no whole order."""
        return self.rows.paid if self.orders is None else self.orders

    @property
    def elsewhere(self) -> dict[str, int]:
        """The rows of other currencies than the report's."""
        return {name: rows for name, rows in self.currencies.items() if self.currency and name != self.currency}


def balance(account: Account) -> None:
    """Raise LostWorkError unless every row is accounted for."""
    if account.rows_in != account.told or account.valid != account.paid + account.unpaid:
        more = " + furniture" if account.furniture else ""
        raise LostWorkError(
            f"the ledger doesn't balance: {to_json(account)}; in must be valid + rejected{more}, and valid must be "
            "paid + unpaid; no report was written: run again from validate"
        )


def mixed(currencies: Mapping[str, int], chosen: str) -> str:
    """Say why there is no revenue in one currency, or return an empty text if there is.

    ``currencies`` counts the paid rows in each; ``chosen`` is the report's, if it was chosen.
    """
    found = ", ".join(f"{name or '(empty)'} {rows:,}" for name, rows in ranked(currencies)[:MOST_NAMED])
    found += f" and {len(currencies) - MOST_NAMED} more" if len(currencies) > MOST_NAMED else ""
    if chosen and currencies and chosen not in currencies:
        return f"no paid row is in {chosen}, of which the report was to be: their currencies are {found}"
    if not chosen and len(currencies) > 1:
        return f"the paid rows are of {len(currencies)} currencies ({found}), which can't be added up"
    return ""


def notes(profile: Profile | None) -> list[str]:
    """Return sentences about what a profile means for the plots."""
    if not profile:
        return []
    absent = [name for name in ("region", "product") if name in profile.columns and profile.columns[name].absent]
    said = [f"There is no plot by {name}: the profile says that the file has none." for name in absent]
    if profile.by_line and profile.order.total and "product" not in absent:
        said.append("There is no plot by product: the file has the orders' totals, and not those of their lines.")
    if profile.values.zone:
        said.append(f"Days are those of UTC: times without an offset were read as of {profile.values.zone}.")
    return said


def warnings(
    several: LongRows,
    account: Account | None = None,
    unread: UnreadFiles | None = None,
    utf8: Sequence[str] = (),
    signs: Mapping[str, int] | None = None,
) -> list[str]:
    """Return warnings about what may have been read wrongly.

    These are rows that look like several, since a stray quote may have joined them; no orders at all; files whose one
    row was not understood (``unread``); files that look like ``utf8``, where --encoding may be meant for others; and
    paid amounts that are written with several ``signs`` of currencies.
    """
    if account and 0 < account.rows_in == account.furniture:
        return ["the profile takes every row for furniture, so there are no orders: check its [furniture]"]
    single = not_understood(unread, single=True) if unread and account and account.valid else ""
    return [*filter(None, (_several(several), single, _utf8(utf8), _signs(signs or {})))]


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


def _signs(signs: Mapping[str, int]) -> str:
    named = {sign: rows for sign, rows in signs.items() if sign}
    if len(named) < 2:
        return ""
    shown = ", ".join(f"{sign} {rows:,}" for sign, rows in ranked(named)[:MOST_NAMED])
    return (
        f"paid amounts are written in {len(named)} currencies ({shown}), and were added up as if they were one: give "
        "the rows of each to a run of its own, or name a column of currencies in the profile ([order] currency)"
    )


def most_frequent(counts: dict[str, int], sentences: dict[str, str]) -> list[Reason]:
    """Return the reasons with their sentences, the most frequent first."""
    return [Reason(reason, count, sentences.get(reason, "")) for reason, count in ranked(counts)]


def together(counts: Mapping[str, int], rejected: int) -> tuple[list[ReasonSet], int]:
    """Return the sets of reasons with the most rows, the largest first, and the number of rows of all others.

    ``counts`` are by the text of a set; of more than `validation.together.MOST` sets, it lacks some. Raises
    LostWorkError when they count other rows than those that were rejected.
    """
    if sum(counts.values()) > rejected or (len(counts) < MOST and sum(counts.values()) < rejected):
        raise LostWorkError(
            f"the reasons that come together are those of {sum(counts.values())} rows, and {rejected} were rejected: "
            "run again from validate"
        )
    most = [ReasonSet(reasons.split(AND), rows) for reasons, rows in ranked(counts)[:MOST_TOGETHER]]
    return most, rejected - sum(each.rows for each in most)


def warned_of(warned: Warned | None, sentences: dict[str, str]) -> list[WarnedOf]:
    """Return what rules warn of, the most frequent first."""
    if not warned:
        return []
    first = warned.first
    return [WarnedOf(name, rows, sentences.get(name, ""), first.get(name, [])) for name, rows in ranked(warned.reasons)]


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
