"""Plots of revenue as inline SVG, without a script: values at their bars, a unit at each axis, a table behind each.

Lengths across are in percent: a plot is as wide as its page, and its text has the same size on each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import islice, pairwise
from math import ceil

import pyarrow as pa

from daskjobs.display import escaped
from daskjobs.orders.report.html import Html, amount, repeated

MOST_NAME, MOST_LABEL = 200, 40  # characters of a name in the table, and at its bar
ABOVE, HEIGHT, BELOW = 24, 200, 26  # pixels for the values above the columns, the columns, and the days below
UNITS = 1000  # of the height, in the path of the columns
APART = 100  # so many columns at most have gaps between them
MOST_TICKS = 8
WIDE, NARROW = 9, 18  # percent between two values that don't collide on a wide page, and on a phone
CHARACTER = 3.1  # percent of a character of a date on a phone
LARGE = (("tn", 12), ("bn", 9), ("M", 6), ("k", 3), ("", 0))  # a suffix, and the zeros that it stands for
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LENGTHS = {"day": 0, "month": 1, "year": 12, "decade": 120}  # of a period, in months
NAMES = {"day": "{}", "month": "{:.7}", "year": "{:.4}", "decade": "{:.4}s"}  # of a period, from its first day
STEPS = (  # of an axis of time: its period, and how many of them
    *(("day", step) for step in (1, 2, 7, 14)),
    *(("month", step) for step in (1, 2, 3, 6)),
    *(("year", step) for step in (1, 2, 5)),
    *(("decade", step) for step in (1, 2, 5, 10, 20, 50, 100, 200)),
)


@dataclass(frozen=True)
class Line:
    """The orders and the revenue of one period, region or product, whose name is ``value``."""

    value: str
    orders: int
    revenue: Decimal


def lines(sums: pa.Table) -> list[Line]:
    """Return the lines of a summary."""
    columns = (sums[name].to_pylist() for name in ("value", "orders", "revenue"))
    return [Line(*line) for line in zip(*columns, strict=True)]


def bars(name: str, most: Sequence[Line], others: Line | None, unit: str) -> Html:
    """Draw a bar for each line, the first on top, from zero to the right, or to the left where more was given back.

    ``others`` are the sum of all that have no bar; it stands in the table.
    """
    low, high = _bounds(most)
    span = high - low or 1

    def across(value: Decimal) -> str:
        return percent(100 * value / span)

    rows = (
        (_cut(_label(line.value), MOST_LABEL), across(min(Decimal(), line.revenue) - low), across(abs(line.revenue)),
         across(-low), across(-low), amount(line.revenue))
        for line in most
    )  # fmt: skip
    drawn = repeated(
        '<tr><th scope="row">{}</th><td class="drawn"><svg width="100%" height="16" aria-hidden="true">'
        '<rect class="bar" x="{}" y="1" width="{}" height="14"/><line class="zero" x1="{}" x2="{}" y1="0" y2="16"/>'
        '</svg></td><td class="n">{}</td></tr>\n',
        rows,
    )
    plot = Html(
        '<table class="bars">\n<thead><tr><th scope="col">{}</th><th scope="col" colspan="2" class="n">{}</th></tr>'
        "</thead>\n<tbody>\n{}</tbody>\n</table>\n"
    ).format(name.capitalize(), unit, drawn)
    named = [(_label(line.value), line) for line in most] + ([(others.value, others)] if others else [])
    return _figure(name, plot, named, unit)


def columns(period: str, sums: Sequence[Line], unit: str) -> Html:
    """Draw a column for each period of `LENGTHS`, as wide as it is long, on one axis of time."""
    begins = [date.fromisoformat(line.value).toordinal() for line in sums]
    ends = [_end(begin, period) for begin in begins]
    first, days = begins[0], ends[-1] - begins[0]
    ticks = ticks_of(*_bounds(sums))

    def up(value: Decimal, size: int) -> int:
        return round((ticks[-1] - value) * size / (ticks[-1] - ticks[0]))

    def across(begin: int, end: int) -> float:
        return 50 * (begin + end - 2 * first) / days

    zero, path = up(Decimal(0), UNITS), []
    for line, begin, end in zip(sums, begins, ends, strict=True):  # in tenths of days
        left, width = 10 * (begin - first), 10 * (end - begin)
        if len(sums) <= APART:
            left, width = left + width // 10, width * 8 // 10
        path.append(f"M{left} {zero}V{up(line.revenue, UNITS)}h{width}V{zero}z")
    middles = list(map(across, begins, ends))
    gap = min((after - before for before, after in pairwise(middles)), default=100.0)
    tops = [min(up(line.revenue, HEIGHT), up(Decimal(0), HEIGHT)) for line in sums]
    values = [
        ("value" if gap >= NARROW else "value wide", percent(middle), ABOVE + top - 5, short(line.revenue))
        for middle, top, line in zip(middles, tops, sums, strict=True)
        if gap >= WIDE
    ]
    dates = [(across(begin, _end(begin, period)), text) for begin, text in _dates(first, ends[-1], period)]
    close = min((after - before for (before, _), (after, _) in pairwise(dates)), default=100.0)
    step = ceil(CHARACTER * max(len(text) for _, text in dates) / close)  # from one that a phone shows to the next
    below = [
        ("wide" if place % step else "", percent(at), ABOVE + HEIGHT + 20, text)
        for place, (at, text) in enumerate(dates)
    ]
    named = [(NAMES[period].format(line.value), line) for line in sums]
    plot = upright(
        f"Revenue by {period}",
        f"{_extremes(period, named)}.",
        (unit, f"{period.capitalize()}{f', from {named[0][0]} to {named[-1][0]}' if len(named) > 1 else ''}"),
        "".join(path),
        (10 * days, HEIGHT),
        [("" if tick else "zero", ABOVE + up(tick, HEIGHT), short(tick)) for tick in ticks],
        [*below, *values],
    )
    return _figure(period, plot, named, unit)


def upright(
    title: str,
    said: str,
    axes: tuple[str, str],
    path: str,
    size: tuple[int, int],
    heights: Sequence[tuple[str, int, str]],
    labels: Sequence[tuple[str, str, int, str]],
) -> Html:
    """Draw columns above an axis, with what is ``said`` of them.

    ``axes`` name what stands upwards and across. ``path`` draws the columns, `UNITS` high and ``size[0]`` wide, in
    ``size[1]`` pixels. ``heights`` are lines across: their class, pixels from the top, and text; ``labels`` are texts
    at columns: their class, percent across, pixels from the top, and text.
    """
    wide, high = size
    return Html(
        '<p>{}</p>\n<p class="axis">{}</p>\n<svg class="plot" width="100%" height="{}" role="img" '
        'aria-label="{}. {}">\n{}<svg y="{}" width="100%" height="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">'
        '<path class="bar" d="{}"/></svg>\n{}\n</svg>\n<p class="axis below">{}</p>\n'
    ).format(
        said,
        axes[0],
        ABOVE + high + BELOW,
        title,
        said,
        repeated('<line class="{}" x1="0" x2="100%" y1="{}" y2="{}"/>', ((kind, y, y) for kind, y, _ in heights))
        + repeated('<text x="-8" y="{}" text-anchor="end">{}</text>\n', ((y + 4, text) for _, y, text in heights)),
        ABOVE,
        high,
        wide,
        UNITS,
        path,
        repeated('<text class="{}" x="{}" y="{}" text-anchor="middle">{}</text>', labels),
        axes[1],
    )


def short(value: Decimal) -> str:
    """Return an amount with three digits.

    >>> [short(Decimal(text)) for text in ("0", "29.95", "-1500", "20000.00", "1756320.12", "12345678901234567")]
    ['0', '29.95', '-1.5k', '20k', '1.76M', '12,346tn']
    """
    suffix, zeros = next((suffix, zeros) for suffix, zeros in LARGE if abs(value) >= 10**zeros or not zeros)
    scaled = value.scaleb(-zeros)
    places = 2 if not zeros or abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0
    text = f"{scaled:,.{places}f}"
    return f"{text.rstrip('0').rstrip('.') if places else text}{suffix}"


def _figure(by: str, plot: Html, named: Sequence[tuple[str, Line]], unit: str) -> Html:
    rows = repeated(
        "<tr><td>{}</td><td>{:,}</td><td>{}</td></tr>\n",
        ((name, line.orders, amount(line.revenue)) for name, line in named),
    )
    return Html(
        '<section class="figure">\n<h2>Revenue by {}</h2>\n{}<details>\n<summary>Table of revenue by {}</summary>\n'
        '<table class="data">\n<thead><tr><th scope="col">{}</th><th scope="col">Orders</th>'
        '<th scope="col">{}</th></tr></thead>\n<tbody>\n{}</tbody>\n</table>\n</details>\n</section>'
    ).format(by, plot, by, by.capitalize(), unit, rows)


def _extremes(period: str, named: Sequence[tuple[str, Line]]) -> str:
    at = "on" if period == "day" else "in"
    most, least = (chosen(named, key=lambda line: line[1].revenue) for chosen in (max, min))
    if len(named) == 1:
        return f"{amount(most[1].revenue)} {at} {most[0]}"
    return f"Most: {amount(most[1].revenue)} {at} {most[0]}; least: {amount(least[1].revenue)} {at} {least[0]}"


def _bounds(sums: Sequence[Line]) -> tuple[Decimal, Decimal]:
    """Return the least and the most revenue, or zero if it is beyond them: every bar begins there."""
    amounts = [Decimal(), *(line.revenue for line in sums)]
    return min(amounts), max(amounts)


def ticks_of(low: Decimal, high: Decimal, least: str = "0.01") -> list[Decimal]:
    """Return the ticks of an axis of amounts, at most seven: it begins and ends with one, and has zero.

    They are at least ``least`` apart.
    """
    apart = max((high - low) / 5, Decimal(least))
    power = Decimal(1).scaleb(apart.adjusted())
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= apart)
    first = int((low / step).to_integral_value(ROUND_FLOOR))
    last = int((high / step).to_integral_value(ROUND_CEILING))
    return [step * tick for tick in range(first, max(last, first + 1) + 1)]


def _dates(first: int, end: int, period: str) -> list[tuple[int, str]]:
    """Return the ticks of an axis of time, from the day ``first`` to before ``end``: the day of each, and its text."""
    if _end(first, period) == end:
        return [(first, NAMES[period].format(date.fromordinal(first)))]
    units = list(LENGTHS)
    for unit, step in STEPS:
        if units.index(unit) >= units.index(period):
            found = list(islice(_every(unit, step, first, end), MOST_TICKS + 1))
            if len(found) <= MOST_TICKS:
                return [(day.toordinal(), _tick(unit, day)) for day in found]
    raise AssertionError("no two dates are 16,000 years apart")


def _every(unit: str, step: int, first: int, end: int) -> Iterator[date]:
    if unit == "day":
        yield from map(date.fromordinal, range(first, end, step))
        return
    start, length = date.fromordinal(first), LENGTHS[unit] * step
    months = 12 * start.year + start.month - (start.day == 1)  # the first of the month, or of the next one
    for month in range(-(-months // length) * length, 12 * date.max.year + 12, length):
        day = date(month // 12, month % 12 + 1, 1)
        if day.toordinal() >= end:
            return
        yield day


def _tick(unit: str, day: date) -> str:
    if unit == "day":
        return f"{day.day} {MONTHS[day.month - 1]}"
    return f"{MONTHS[day.month - 1]} {day.year}" if unit == "month" else f"{day.year}"


def _end(begin: int, period: str) -> int:
    """Return the day after a period."""
    if period == "day":
        return begin + 1
    first = date.fromordinal(begin)
    month = 12 * first.year + first.month - 1 + LENGTHS[period]
    return date(month // 12, month % 12 + 1, 1).toordinal() if month < 120_000 else date.max.toordinal() + 1


def percent(value: Decimal | float) -> str:
    """Return a length or place, in percent, as SVG writes it."""
    return f"{value:.2f}".rstrip("0").rstrip(".") + "%"


def _label(name: str) -> str:
    """Return a name as the plots show it: on one line, and visible even if it is empty."""
    return _cut(escaped(name[: MOST_NAME + 1]), MOST_NAME) or "(empty)"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
