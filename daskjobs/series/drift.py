"""How much a run differs from an earlier one: the measures, their thresholds, and the limits of --max-drift.

Each measure is one that the field knows. What differs by chance alone, since nights have other orders, must not be over
its threshold: so each default is at least `CHANCE` standard deviations of what chance does to so many rows.
"""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from daskjobs.display import counted, escaped
from daskjobs.errors import UsageError
from daskjobs.options import value_shown
from daskjobs.orders.report import drift
from daskjobs.orders.report.drift import Measure, Numbers, Shares
from daskjobs.orders.report.drift import share as percent

CHANCE = 4.0  # standard deviations: chance alone exceeds them once in 16,000 nights and measures
TIMES = 2.0  # a count or an amount is over when it is more than twice, or less than half, of what it was,
TIMES_OF_SUM = 3.0  # and the revenue, which goes with both, when it is more than three times or less than a third
SPREAD = 2.0  # of amounts, assumed: their standard deviation, in means
PSI = 0.25  # a major shift, as the field has it
SMOOTHING = 0.5  # added to each count of a share
LEAST_PART = 100  # a value that came or went has at least one in so many rows
LEAST_ROWS = 20  # of one, expected on the other side, or beyond a quantile: with fewer, it may be chance
LEAST_POINTS = 0.001  # of rejected rows, as a share
DAY, HOURS = 24, 12  # the newest timestamp may be as much newer as the days of this run are long, and so many hours,
GAPS = 10  # or so many mean times between two rows: chance makes a gap of ten of them once in 22,000 times
EXACT, PLACES = 12, 6  # digits behind the point: of a value and its limit, which one row of 10^9 may decide; of others
SHOWN, MOST_NAME = 3, 40  # names in a sentence, and characters of one

QUANTILES = {"p05": "0.05", "p50": "0.5", "p95": "0.95"}
BESIDE = {"0.05": ("0.01", "0.25"), "0.5": ("0.25", "0.75"), "0.95": ("0.75", "0.99")}  # quantiles beside each
OF = {"region": "orders", "product": "orders", "payment_mode": "rows", "status": "valid rows"}  # what shares are of
BY_REASON = ("rejected.", "warned.")  # before the name of a reason
CORRECTIONS = "corrections"
INFINITE = (-math.inf, math.inf)

Bounds = tuple[float, float]  # the least and the greatest value that is allowed


@dataclass(frozen=True)
class Kind:
    """A kind of measure: its name, how its limits are written, and an example.

    A limit is a number and a unit of ``units``, each of which stands for so many of the value's. One without a sign is
    for both directions, unless the value has none (``signed``). A value is never below ``least``, nor above ``most``.
    """

    name: str
    units: Mapping[str, float]
    example: str
    signed: bool = True
    least: float = -math.inf
    most: float = math.inf
    places: int = EXACT


RELATIVE = Kind(drift.RELATIVE, {"%": 0.01}, "20%, +20% or -20%", least=-1)
POINTS = Kind(drift.POINTS, {"%": 0.01, "": 1}, "2%, +2% or 0.02", least=-1, most=1)
STABILITY = Kind(drift.STABILITY, {"": 1}, "0.2", signed=False, places=PLACES)
COUNT = Kind(drift.NAMES, {"": 1}, "0", signed=False)
MISSING = Kind(drift.MISSING, {"": 1, "d": 1}, "0", signed=False)
TIME = Kind(drift.TIME, {"h": 1, "d": DAY}, "36h, +36h or 2d")
KINDS = {
    "rows": RELATIVE,
    "rejected": POINTS,
    CORRECTIONS: POINTS,
    **{each: kind for name in OF for each, kind in ((name, STABILITY), (f"{name}.values", COUNT))},
    "revenue": RELATIVE,
    **{f"value.{name}": RELATIVE for name in ("mean", *QUANTILES)},
    "days": MISSING,
    "newest": TIME,
    "columns": COUNT,
}


@dataclass(frozen=True)
class Limits:
    """What --max-drift allows, by measure; ``rejected.*`` and ``warned.*`` are for the reasons that are not named."""

    bounds: Mapping[str, Bounds] = field(default_factory=dict)

    def of(self, name: str) -> Bounds:
        """Return the bounds of a measure: infinite where none is given."""
        any_reason = f"{name.partition('.')[0]}.*" if name.startswith(BY_REASON) else name
        return self.bounds.get(name, self.bounds.get(any_reason, INFINITE))

    @property
    def reasons(self) -> set[str]:
        """The reasons that are named."""
        return {name.partition(".")[2] for name in self.bounds if name.startswith(BY_REASON)} - {"*"}

    def refuse_unknown(self, reasons: Iterable[str]) -> None:
        """Raise UsageError when a reason is named that none of the rules has."""
        known = [f"{kind}{reason}" for kind in BY_REASON for reason in (*reasons, "*")]
        for name in sorted({name for name in self.bounds if name.startswith(BY_REASON)} - {*known}):
            raise UsageError(f"--max-drift {name} names no rule: {_near(name, known) or ', '.join(known)}")


def read_limits(value: Any) -> str:
    """Return what --max-drift says as one text.

    ``value`` is a text, several, or a mapping from measures to limits, which may be numbers. Raises UsageError for
    another one.

    >>> read_limits({"rows": "-20%", "region": 0.2}), read_limits(["rows=5%", "region=0.2"])
    ('rows=-20%,region=0.2', 'rows=5%,region=0.2')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_limit(said)}" for name, said in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(read_limits, value))
    raise UsageError(f"--max-drift must be limits by measure, like rows=-20%,region=0.2, got {value_shown(value)}")


def _limit(said: Any) -> str:
    number = said.item() if getattr(said, "shape", None) == () else said  # numpy's
    plain = isinstance(number, int | float | Decimal) and not isinstance(number, bool) and math.isfinite(number)
    return f"{Decimal(str(number)):f}" if plain else str(said)


def limits(text: str) -> Limits:
    """Read --max-drift. Raises UsageError for names and units that there are not, and for two limits of one side.

    >>> limits("rows=-20%, region=0.2, newest=36h").bounds
    {'rows': (-0.2, inf), 'region': (-inf, 0.2), 'newest': (-36.0, 36.0)}
    """
    found = dict[str, Bounds]()
    for item in text.split(",") if text else ():
        name, _, limit = (each.strip() for each in item.partition("="))
        kind = KINDS.get(name) or (POINTS if name.startswith(BY_REASON) and name not in BY_REASON else None)
        if not kind:
            from daskjobs.orders.rules.profiled import BUILT_IN  # here, since it imports pyarrow

            known = [*KINDS, *(f"{kind}{reason}" for kind in BY_REASON for reason in BUILT_IN)]
            hint = _near(name, known) or f"there are {', '.join([*KINDS, *(f'{kind}REASON' for kind in BY_REASON)])}"
            raise UsageError(f"--max-drift has no measure {_cut(name)}: {hint}")
        low, high = _bounds(name, limit, kind)
        sides = list(zip((low, high), found.get(name, INFINITE), strict=True))
        if any(math.isfinite(one) and math.isfinite(other) and one != other for one, other in sides):
            raise UsageError(
                f"--max-drift gives {name} twice, with other values: give one, or one with + and one with -"
            )
        found[name] = max(sides[0]), min(sides[1])
    return Limits(found)


def _bounds(name: str, text: str, kind: Kind) -> Bounds:
    read = re.fullmatch(r"([+-]?)(\d+(?:\.\d+)?|\.\d+) ?(\D*)", text.replace("\u2212", "-"), re.ASCII)
    if not read or read[3] not in kind.units or (read[1] and not kind.signed):
        raise UsageError(
            f"--max-drift {name}={text[:MOST_NAME]} can't be read: it limits {'' if kind in (COUNT, MISSING) else 'a '}"
            f"{kind.name}, so give one like {name}={kind.example}"
        )
    value = float(Decimal(read[2]) * Decimal(str(kind.units[read[3]])))
    if (read[1] == "-" and -value <= kind.least) or value >= kind.most:
        raise UsageError(
            f"--max-drift {name}={text[:MOST_NAME]} allows everything: give one like {name}={kind.example}"
        )
    return (-math.inf if read[1] == "+" or not kind.signed else -value), (math.inf if read[1] == "-" else value)


def _near(name: str, known: list[str]) -> str:
    """Ask for the name that was meant, or return an empty text if none is near."""
    name = name.lower()
    near = [each for each in known if each.endswith(f".{name}")] or difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else ""


def measures(before: Numbers, now: Numbers, allowed: Limits) -> list[Measure]:
    """Return each measure that both runs tell, in the order of `KINDS`."""
    judge = _Judge(allowed)
    return [found for part in (_rows, _shares, _amounts, _times, _columns) for found in part(before, now, judge)]


@dataclass(frozen=True)
class _Judge:
    """Makes measures, each by the limit that is given for the side on which its value lies, or else the default one."""

    allowed: Limits

    def measure(self, name: str, shown: tuple[Any, Any], value: float, default: Bounds, sentence: str) -> Measure:
        """Return a measure; ``shown`` is what it was before and is now."""
        given = self.allowed.of(name)
        kind = KINDS.get(name, POINTS)
        low, high = (
            round(float(one), EXACT) if math.isfinite(one) else round(float(other), PLACES)
            for one, other in zip(given, default, strict=True)
        )
        value = round(value, kind.places) + 0.0  # and never -0.0
        threshold = high if value >= 0 else low
        return Measure(
            name=name,
            measure=kind.name,
            before=shown[0],
            now=shown[1],
            value=value if math.isfinite(value) else None,
            threshold=threshold if math.isfinite(threshold) else None,
            over=not low <= value <= high,
            fails=not round(given[0], EXACT) <= value <= round(given[1], EXACT),
            sentence=sentence,
        )

    def count(self, name: str, shown: tuple[Any, Any], moves: Sequence[str], none: str, chance: int = 0) -> Measure:
        """Return the measure of how many names came or went; ``moves`` says of each that it did.

        The last of them, ``chance``, may have done so by chance. None of the others may, unless a limit is given.
        """
        some = "so few rows" if chance == len(moves) else f"the rows of {chance:,} of these are so few that they"
        sentence = f"{_few(moves)}{f', and {some} may be chance' if chance else ''}" if moves else none
        return self.measure(name, shown, len(moves), (-math.inf, chance), sentence)

    def relative(self, name: str, old: Decimal | int, new: Decimal | int, default: Bounds, said: str) -> Measure:
        """Return the measure of a relative change; ``said`` has a place for the new number."""
        value = relative_change(old, new)
        change = f" ({round(100 * value, 1) + 0.0:+,.1f} %)" if math.isfinite(value) else ""
        shown = (old, new) if isinstance(old, int) else (f"{old:.2f}", f"{new:.2f}")
        form = "{:,}" if isinstance(old, int) else "{:,.2f}"
        sentence = f"{said.format(form.format(new))}, after {form.format(old)}{change}"
        return self.measure(name, shown, value, default, sentence)


def _rows(before: Numbers, now: Numbers, judge: _Judge) -> Iterator[Measure]:
    yield judge.relative("rows", before.rows, now.rows, ratio(before.rows, now.rows), "{} rows")
    if not (before.judged and now.judged):
        return
    rejected = {"rejected": (before.rejected, now.rejected, "{} of the rows are rejected")}
    sides = (
        (before.reasons, now.reasons, "{} rejects {{}} of the rows"),
        (before.warned, now.warned, "{} warns of {{}} of the rows"),
    )
    for kind, (old_counts, new_counts, said) in zip(BY_REASON, sides, strict=True):
        for reason in sorted({*old_counts, *new_counts}):
            counts = old_counts.get(reason, 0), new_counts.get(reason, 0)
            rejected[f"{kind}{reason}"] = *counts, said.format(_cut(reason))
    if before.corrections or now.corrections:
        rejected[CORRECTIONS] = before.corrections, now.corrections, "{} of the rows correct orders of earlier runs"
    for name, (old, new, said) in rejected.items():
        shares = old / before.judged, new / now.judged
        most = points((old, new), (before.judged, now.judged))
        sentence = f"{said.format(percent(shares[1]))}, after {percent(shares[0])}"
        yield judge.measure(name, _rounded(*shares), shares[1] - shares[0], (-most, most), sentence)


def _shares(before: Numbers, now: Numbers, judge: _Judge) -> Iterator[Measure]:
    for name, of in OF.items():
        if name not in before.shares or name not in now.shares:
            continue
        old, new = before.shares[name], now.shares[name]
        moved, was, is_now = _moved(name, old, new)
        sentence = f"{moved} {percent(is_now)} of the {of}, after {percent(was)}"
        most = max(PSI, chance_of_stability(old, new))
        yield judge.measure(name, _rounded(was, is_now), stability(old, new), (-math.inf, most), sentence)
        moves = dict[bool, list[str]]({False: [], True: []})  # by whether they may be chance
        for without, having, said in ((new, old, "gone, after"), (old, new, "new, with")):
            for each, share in came_or_went(without, having):
                moves[share * without.total < LEAST_ROWS].append(
                    f"{name} {_cut(each)} is {said} {percent(share)} of the {of}"
                )
        none = f"no {name} with {1 / LEAST_PART:.0%} of the {of} or more came or went"
        shown = old.distinct, new.distinct
        yield judge.count(f"{name}.values", shown, [*moves[False], *moves[True]], none, len(moves[True]))


def _amounts(before: Numbers, now: Numbers, judge: _Judge) -> Iterator[Measure]:
    if before.currency != now.currency or not (before.revenue and now.revenue):
        return
    old, new, orders = Decimal(before.revenue), Decimal(now.revenue), (before.orders, now.orders)
    yield judge.relative("revenue", old, new, ratio(*orders, TIMES_OF_SUM, SPREAD), "a revenue of {}")
    if all(orders):
        means = old / before.orders, new / now.orders
        yield judge.relative("value.mean", *means, ratio(*orders, TIMES, SPREAD), "a mean of {} an order")
    for name, at in QUANTILES.items():
        if at in before.quantiles and at in now.quantiles and min(before.judged, now.judged) >= least_rows(at):
            quantiles = Decimal(before.quantiles[at]), Decimal(now.quantiles[at])
            said = f"{{}} as the {100 * float(at):g} % quantile of total_amount"
            yield judge.relative(f"value.{name}", *quantiles, beside(before.quantiles, at), said)


def _times(before: Numbers, now: Numbers, judge: _Judge) -> Iterator[Measure]:
    if before.last and now.first:
        missing = date.fromisoformat(now.first).toordinal() - date.fromisoformat(before.last).toordinal() - 1
        told = f"{counted(missing, 'day')} {'is' if missing == 1 else 'are'}" if missing > 0 else "no day is"
        sentence = f"{told} missing between {before.last} and {now.first}"
        yield judge.measure("days", (before.last, now.first), max(0, missing), (-math.inf, 0), sentence)
    if before.newest and now.newest:
        newer = datetime.fromisoformat(now.newest) - datetime.fromisoformat(before.newest)
        hours = newer.total_seconds() / 3600
        slack = max(HOURS, GAPS * DAY * now.spans / max(1, min(before.judged, now.judged)))
        sentence = f"the newest timestamp is {now.newest}, {hours:+,.1f} h from {before.newest}"
        bounds = -slack, DAY * now.spans + slack
        yield judge.measure("newest", (before.newest, now.newest), hours, bounds, sentence)


def _columns(before: Numbers, now: Numbers, judge: _Judge) -> Iterator[Measure]:
    old, new = set(before.columns), set(now.columns)
    if old and new:
        moves = [
            *(f"the column {_cut(each)} is gone" for each in before.columns if each not in new),
            *(f"the column {_cut(each)} is new" for each in now.columns if each not in old),
        ]
        yield judge.count("columns", (len(old), len(new)), moves, f"the same {len(new):,} columns")


def _rounded(was: float, is_now: float) -> tuple[float, float]:
    return round(was, PLACES), round(is_now, PLACES)


def relative_change(old: Decimal | int, new: Decimal | int) -> float:
    """Return by which share of ``old`` the new number is larger; infinite where that is 0 and the new one isn't.

    >>> relative_change(100, 150), relative_change(100, 0), relative_change(0, 0), relative_change(0, 7)
    (0.5, -1.0, 0.0, inf)
    """
    if old == new:
        return 0.0
    return float((new - old) / abs(Decimal(old))) if old else math.copysign(math.inf, new)


def ratio(old: int, new: int, times: float = TIMES, spread: float = 1) -> Bounds:
    """Return the bounds of the relative change of a number that comes from so many rows: so many times, or chance.

    The standard error of the logarithm of the ratio of two counts is sqrt(1/n + 1/m) (Katz and others, Obtaining
    confidence intervals for the risk ratio in cohort studies, Biometrics 34, 1978); that of sums and means of amounts
    is about the ``spread`` of the amounts, the standard deviation in means, times it.

    >>> ratio(5000, 5000), [round(bound, 2) for bound in ratio(20, 20)]
    ((-0.5, 1.0), [-0.72, 2.54])
    """
    times = max(times, math.exp(min(700, CHANCE * spread * math.sqrt(1 / max(old, 0.5) + 1 / max(new, 0.5)))))
    return 1 / times - 1, times - 1


def least_rows(at: str) -> int:
    """Return how many rows a quantile needs: `LEAST_ROWS` beyond it.

    >>> least_rows("0.05"), least_rows("0.5")
    (400, 40)
    """
    return round(LEAST_ROWS / min(float(at), 1 - float(at)))


def beside(quantiles: Mapping[str, str], at: str) -> Bounds:
    """Return the bounds of the relative change of a quantile: twice, half, or as far as the quantiles beside it.

    Chance moves a quantile over values that few orders lie between, such as from a free order's 0 to the first price;
    but not to the next quantile, which a fifth of the rows, or a twenty-fifth, lie beside.
    """
    old = Decimal(quantiles[at])
    low, high = (relative_change(old, Decimal(quantiles.get(each, quantiles[at]))) for each in BESIDE[at])
    return min(1 / TIMES - 1, low), max(TIMES - 1, high)


def points(counts: tuple[int, int], rows: tuple[int, int]) -> float:
    """Return how far a share of rows may move: half of what it was, or as far as chance moves it.

    The standard error is that of the difference of two proportions with the share of both together.

    >>> round(points((200, 200), (5000, 5000)), 4), round(points((0, 3), (5000, 5000)), 4)
    (0.02, 0.0014)
    """
    both = sum(counts) / sum(rows)
    error = math.sqrt(both * (1 - both) * (1 / rows[0] + 1 / rows[1]))
    return max(LEAST_POINTS, counts[0] / rows[0] / 2, CHANCE * error)


def stability(old: Shares, new: Shares) -> float:
    """Return the population stability index of shares: the sum of (q - p) ln(q / p).

    It is 0 for the same shares, below 0.1 for small shifts and above 0.25 for major ones (Siddiqi, Credit Risk
    Scorecards, 2006), the same in both directions, and, unlike the divergence of Jensen and Shannon, has a known
    distribution under chance (see `chance_of_stability`). `SMOOTHING` is added to each count, so that a value that
    appears or vanishes has a finite part: half a row, as Jeffreys' prior has it (Krichevsky and Trofimov, The
    performance of universal encoding, IEEE Transactions on Information Theory 27, 1981).

    >>> half, tenth = Shares({"a": 50, "b": 50}, 0, 2), Shares({"a": 10, "b": 90}, 0, 2)
    >>> stability(half, half), round(stability(half, tenth), 3)
    (0.0, 0.853)
    """
    counts = _pairs(old, new)
    totals = [sum(pair[side] for pair in counts) + SMOOTHING * len(counts) for side in (0, 1)]
    shares = [((a + SMOOTHING) / totals[0], (b + SMOOTHING) / totals[1]) for a, b in counts]
    return math.fsum((q - p) * math.log(q / p) for p, q in shares)


def chance_of_stability(old: Shares, new: Shares) -> float:
    """Return the population stability index that chance alone hardly ever exceeds.

    For n and m rows with the same shares of k values, it is distributed as (1/n + 1/m) times chi-square with k - 1
    degrees of freedom (Yurdakul, Statistical Properties of Population Stability Index, Western Michigan University,
    2018). Its quantile is that of Wilson and Hilferty (The distribution of chi-square, PNAS 17, 1931).

    >>> some = Shares({"a": 250, "b": 250}, 0, 2)
    >>> round(chance_of_stability(some, some), 3)
    0.076
    """
    free = max(1, len(_pairs(old, new)) - 1)
    quantile = free * (1 - 2 / (9 * free) + CHANCE * math.sqrt(2 / (9 * free))) ** 3
    return (1 / max(old.total, 0.5) + 1 / max(new.total, 0.5)) * quantile


def came_or_went(without: Shares, having: Shares) -> list[tuple[str, float]]:
    """Return the values, with their shares, that are a hundredth of one side and not at all on the other, most first.

    Where `LEAST_ROWS` of one would be expected on the other side, that there are none by chance happens once in 10^8.
    """
    found = [
        (name, count / having.total)
        for name, count in having.large.items()
        if count * LEAST_PART >= having.total and not without.large.get(name)
    ]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def _pairs(old: Shares, new: Shares) -> list[tuple[int, int]]:
    """Return the counts of each value on both sides, and of all others."""
    pairs = [(old.counts.get(name, 0), new.counts.get(name, 0)) for name in sorted({*old.counts, *new.counts})]
    return [pair for pair in (*pairs, (old.others, new.others)) if any(pair)]


def _moved(dimension: str, old: Shares, new: Shares) -> tuple[str, float, float]:
    """Return the value whose share moved most, as a sentence begins with it, and its shares."""
    names = sorted({*old.counts, *new.counts})
    found = [(f"{dimension} {_cut(name)} has", old.counts.get(name, 0), new.counts.get(name, 0)) for name in names]
    if old.others or new.others:
        found.append((f"any other {dimension} has", old.others, new.others))
    shares = [(said, a / old.total, b / new.total) for said, a, b in found]
    return max(shares, key=lambda each: round(abs(each[2] - each[1]), 12))


def came_back(found: list[Measure], then: Iterable[Measure], since: list[Measure]) -> list[Measure]:
    """Return measures as they are judged after a night that may have drifted itself.

    ``then`` are that night's measures, and ``since`` compare this one with the night before it. What has come back to
    what it was there is not over: an event is told on its night. It fails all the same, unless it was told. Reasons and
    corrections that neither of the two has are no measure, and the same.
    """
    told, other = {each.name for each in then if each.over}, {each.name for each in since if each.over}
    same = {each.name for each in found if each.name == CORRECTIONS or each.name.startswith(BY_REASON)}
    same = (same | {each.name for each in since}) - other
    return [
        replace(each, over=False, fails=False, back=True, sentence=f"{each.sentence}, as it was before that")
        if each.over and each.name in same and (each.name in told or not each.fails)
        else each
        for each in found
    ]


def _few(said: Sequence[str]) -> str:
    more = f" and {len(said) - SHOWN:,} more" if len(said) > SHOWN else ""
    return ", ".join(said[:SHOWN]) + more


def _cut(text: str) -> str:
    shown = escaped(text[: MOST_NAME + 1])
    return (shown if len(shown) <= MOST_NAME else f"{shown[: MOST_NAME - 1]}…") or "(empty)"
