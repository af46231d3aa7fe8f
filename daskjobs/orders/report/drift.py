"""drift.json: how much a run differs from an earlier one, measure by measure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from daskjobs.display import counted

VERSION = 1

# Measures, each with how its values are shown.
RELATIVE, POINTS, STABILITY = "relative change", "difference of shares", "population stability index"
NAMES, MISSING, TIME = "names that came or went", "days missing between", "difference in hours"
FORMS: dict[str, Callable[[float], str]] = {
    RELATIVE: lambda value: f"{100 * value:+,.1f} %",
    POINTS: lambda value: f"{100 * value:+.2f} pts",
    STABILITY: lambda value: f"{value:.3f}",
    NAMES: lambda value: f"{value:,.0f}",
    MISSING: lambda value: f"{value:,.0f}",
    TIME: lambda value: f"{value:+,.1f} h",
}


def share(value: float) -> str:
    """Return a share in percent, with one digit behind the point, or two that are not 0.

    >>> [share(value) for value in (0, 0.248, 0.00042, 0.00000001)]
    ['0.0 %', '24.8 %', '0.042 %', 'under 0.001 %']
    """
    percent = 100 * value
    if 0 < percent < 1:
        return f"{percent:.2g} %" if percent >= 0.001 else "under 0.001 %"
    return f"{percent:.1f} %"


@dataclass(frozen=True)
class Shares:
    """How many rows or orders have each of some values, and how many have any of the ``others``.

    ``distinct`` is the number of all values. ``large`` are those that have at least a hundredth of the rows of one of
    the two runs that are compared, with their rows in this one, which may be 0.
    """

    counts: dict[str, int]
    others: int
    distinct: int
    large: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """The rows or orders with any value."""
        return sum(self.counts.values()) + self.others


@dataclass(frozen=True)
class Numbers:
    """What is compared of a run; what it doesn't tell is left out.

    ``judged`` are its rows without furniture, of which ``rejected`` are rejected, and so many by each of the
    ``reasons``. ``orders`` are the paid ones, whose sum is ``revenue``, in ``currency`` if that is known. ``first`` and
    ``last`` are the first and last of the days that have at least a twentieth of the paid orders of the day with the
    most. ``shares`` are by dimension, ``quantiles`` those of the rows' total_amount. ``newest`` is the newest
    timestamp, and ``spans`` how many days the timestamps are spread over. ``columns`` are the names in the files, and
    ``corrections`` counts the rows of earlier runs that newer ones replace. ``warned`` counts the valid rows that each
    rule warns of.
    """

    rows: int
    judged: int
    rejected: int
    reasons: dict[str, int]
    orders: int
    revenue: str = ""
    currency: str = ""
    first: str = ""
    last: str = ""
    shares: dict[str, Shares] = field(default_factory=dict)
    quantiles: dict[str, str] = field(default_factory=dict)
    newest: str = ""
    spans: int = 1
    columns: list[str] = field(default_factory=list)
    corrections: int = 0
    warned: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Measure:
    """One measure: what it is, before and now, how much it has changed, and whether that is too much.

    ``value`` is signed and in the unit that ``measure`` says; it is null where there was nothing before to divide by.
    ``threshold`` is the one on the side to which the value lies, null if any is allowed there. ``over`` says that the
    value is beyond it, and ``fails`` that it is beyond what --max-drift allows. ``back`` says that it would be, but has
    only come back to what it was before the night that is compared with.
    """

    name: str
    measure: str
    before: Any
    now: Any
    value: float | None
    threshold: float | None
    over: bool
    fails: bool
    sentence: str
    back: bool = False

    def shown(self, value: Any) -> str:
        """Return what was ``before``, or is ``now``, as people read it."""
        if isinstance(value, float):
            return share(value)
        if isinstance(value, int):
            return f"{value:,}"
        return f"{Decimal(value):,.2f}" if self.measure == RELATIVE else str(value).replace("T", " ")

    def form(self, value: float | None) -> str:
        """Return the value or its threshold as people read it; there may be none."""
        return "" if value is None else FORMS[self.measure](value)


@dataclass(frozen=True)
class Compared:
    """The run that is compared with: its URI, the SHA-256 of its report's manifest, and its day."""

    run: str
    sha256: str
    day: str

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.run.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True)
class Drift:
    """The content of drift.json: the run that is ``compared`` with, or ``why`` there is none, and each measure.

    ``left_out`` says of measures why they can't be taken. ``before`` are the numbers of the earlier run, with which the
    next night is compared, too, where this one has drifted.
    """

    version: int
    compared: Compared | None
    why: str
    measures: list[Measure]
    left_out: dict[str, str] = field(default_factory=dict)
    before: Numbers | None = None

    @property
    def over(self) -> list[Measure]:
        """The measures that are beyond their thresholds."""
        return [each for each in self.measures if each.over]

    @property
    def failing(self) -> str:
        """Say what differs more than --max-drift allows, or return an empty text if nothing does."""
        said = "; ".join(each.sentence for each in self.measures if each.fails)
        names = ", ".join(each.name for each in self.measures if each.fails)
        where = self.compared.name if self.compared else ""
        return f"compared with {where}, {said}: more than --max-drift allows ({names})" if said else ""

    @property
    def said(self) -> str:
        """Say in one sentence whether the run differs from the one that it is compared with."""
        if not self.compared:
            return f"with none, since {self.why}"
        over = len(self.over)
        found = f"{counted(over, 'measure')} over" if over else "nothing over"
        return f"with {self.compared.name}, {found} {'its threshold' if over < 2 else 'their thresholds'}"

    @property
    def not_compared(self) -> list[str]:
        """Say which measures can't be taken, and why: a sentence for each reason."""
        named = dict[str, list[str]]()
        for name, why in self.left_out.items():
            named.setdefault(why, []).append(name)
        return [f"{', '.join(names)}: not compared, since {why}" for why, names in named.items()]
