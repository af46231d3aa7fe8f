"""The page of a series: what its runs come to, what needs attention, plots by night, and a table of the runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import groupby

from daskjobs.display import counted
from daskjobs.orders.report.html import Html, amount, document, repeated, scrolled, share
from daskjobs.orders.report.plots import ABOVE, HEIGHT, MONTHS, UNITS, percent, short, ticks_of, upright
from daskjobs.series.history import History, RunRow, Total, few_of
from daskjobs.series.said import (
    TITLE,
    bad_texts,
    days_text,
    missing_text,
    missing_texts,
    named,
    not_good_texts,
    sent_text,
    total_lines,
)

REASONS = 6  # that have a plot
SMALL = 90  # pixels of a plot of a reason
SPARSE = 2  # times as many days as runs have no place of their own
LABELS, VALUES, FEW_VALUES = 8, 11, 6  # at most, below and at the columns; and on a phone
OVER = Html(' class="over"')  # of a row whose run differs from the one it was compared with
SLOT = 60  # units across of a day, which 2, 3, 4 and 5 runs share evenly

Link = Callable[[RunRow], str]  # the address of a run's report, or an empty text


def plain(value: Decimal) -> str:
    """Return a small amount with all of its digits.

    >>> plain(Decimal("0.010")), plain(Decimal("0"))
    ('0.01', '0')
    """
    return f"{value.normalize():f}"


@dataclass(frozen=True)
class Column:
    """A column of a plot: its run, its value, and how this is written."""

    row: RunRow
    value: Decimal
    text: str


def page(history: History, link: Link, priced: bool = False) -> bytes:
    """Render the page of a series."""
    return document(
        f"{TITLE}{total_lines(history)[0]}",
        [
            Html("<h1>Orders history</h1>"),
            *(Html('<p class="total"><b>{}</b></p>').format(line) for line in total_lines(history)),
            _about(history),
            _numbers(history.totals),
            _attention(history, link),
            *(_plots(history, link) if history.runs else ()),
            _table(history, link) if history.runs else Html(""),
            _resources(history, link, priced) if history.runs else Html(""),
        ],
    )


def _about(history: History) -> Html:
    shown = len(history.runs)
    said = [
        ("Series", history.series),
        ("Runs", f"{history.count:,} good, {len(history.not_good):,} without a report, {len(history.bad):,} damaged"),
        ("Days", days_text(history)),
        ("Shown", f"the last {shown:,} of {history.count:,} runs" if shown < history.count else ""),
    ]
    rows = repeated("<div><dt>{}</dt><dd>{}</dd></div>\n", [(name, text) for name, text in said if text])
    return Html('<dl id="about">\n{}</dl>').format(rows)


def _numbers(totals: Sequence[Total]) -> Html:
    said = list[tuple[str, str, str]]()
    for total in totals:
        unit = f", {total.currency}" if total.currency else ""
        orders = f"{total.of_runs.orders:,} of runs, {total.corrections.orders:+,} by corrections"
        revenue = f"{amount(total.of_runs.revenue)} of runs"
        said += [
            (f"Orders{unit}", f"{total.orders:,}", orders),
            (f"Revenue{unit}", amount(total.revenue), revenue),
            (f"Corrections{unit}", amount(total.corrections.revenue), "of earlier runs' revenue"),
        ]
    part = Html('<dd class="note">{}</dd>')
    return Html('<dl class="numbers">\n{}</dl>').format(
        repeated(
            "<div><dt>{}</dt><dd>{}</dd>{}</div>\n", ((name, text, part.format(more)) for name, text, more in said)
        )
    )


def _attention(history: History, link: Link) -> Html:
    """Say which days are missing, which runs are damaged or not good, and which nights differ."""
    warning = Html('<p class="warning"><b>{}</b> {}</p>')
    parts = [warning.format("Damaged:", f"{text}.") for text in bad_texts(history)]
    parts += [warning.format("The total is not certain:", f"{doubt}.") for doubt in history.doubts]
    if history.missing:
        parts.append(warning.format("Days that no good run covers:", f"{', '.join(missing_texts(history))}."))
    elif history.missing is None and history.gaps:
        gaps = f"{few_of(history.gaps)} ({counted(len(history.gaps), 'day')} from the first to the last run)"
        parts.append(warning.format("Days without a good run:", f"{gaps}."))
    parts += [warning.format("Not good:", f"{text}.") for text in not_good_texts(history)]
    for row in history.runs:
        if row.drifted:
            parts.append(
                warning.format(
                    Html("{}, unlike {}:").format(_linked(row, named(row.day, row.run), link), row.compared),
                    f"{'; '.join(row.drifted)}.",
                )
            )
    return Html("<h2>What needs attention</h2>\n{}").format(
        Html("\n").join(parts) if parts else Html("<p>Nothing: no day is missing, and every run is good.</p>")
    )


def _plots(history: History, link: Link) -> Iterator[Html]:
    rows = history.runs
    marks = {row.run for row in rows if row.drift}
    for currency, some in groupby(sorted(rows, key=lambda row: row.currency), key=lambda row: row.currency):
        columns = [Column(row, Decimal(row.revenue), amount(row.revenue)) for row in some]
        title = f"Revenue in {currency} by night" if currency else "Revenue by night"
        yield _figure(title, f"Revenue, {currency or 'in the currency of the orders'}", rows,
                      columns, marks, link)  # fmt: skip
    yield _figure(
        "Rows by night", "Rows that came in", rows, [Column(row, Decimal(row.rows), f"{row.rows:,}") for row in rows],
        marks, link, least="1",
    )  # fmt: skip
    yield _figure(
        "Rejected share by night", "Rejected rows, %", rows,
        [_shared(row, row.rejected) for row in rows], marks, link,
    )  # fmt: skip
    for said, counts in (("Rejected as", [row.reasons for row in rows]), ("Warned of", [row.warned for row in rows])):
        yield from _by_reason(said, rows, counts, link)


def _by_reason(said: str, rows: Sequence[RunRow], counts: Sequence[dict[str, int]], link: Link) -> Iterator[Html]:
    """Plot the share of the rows of each run by reason, on one scale, those first which have the largest in a run."""
    shares = dict[str, list[Column]]()
    for reason in dict.fromkeys(reason for each in counts for reason in each):
        shares[reason] = [_shared(row, each.get(reason, 0)) for row, each in zip(rows, counts, strict=True)]
    most = {reason: max(each.value for each in columns) for reason, columns in shares.items()}
    ranked = sorted(most, key=lambda reason: (-most[reason], reason))
    for reason in ranked[:REASONS]:
        title = f"{said} {reason} by night"
        yield _figure(title, "Of the rows, %", rows, shares[reason], set(), link, SMALL, most[ranked[0]])
    if len(ranked) > REASONS:
        yield Html('<p class="note">{}</p>').format(
            f"Of {len(ranked):,} reasons, the {REASONS} with the largest share of a night's rows have a plot."
        )


def _shared(row: RunRow, part: int) -> Column:
    value = Decimal(100 * part) / row.judged if row.judged else Decimal()
    return Column(row, value, share(part, row.judged))


def _slots(rows: Sequence[RunRow]) -> tuple[int, dict[str, tuple[int, int]], list[str]]:
    """Return the number of places, that of each run with its left end and width in `SLOT`, and the day of each place.

    Each day from the first to the last has a place, unless most would be empty; runs of one day share it.
    """
    first, last = date.fromisoformat(rows[0].day), date.fromisoformat(rows[-1].day)
    count = (last - first).days + 1
    if count > SPARSE * len(rows):
        return len(rows), {row.run: (SLOT * at, SLOT) for at, row in enumerate(rows)}, [row.day for row in rows]
    places = dict[str, tuple[int, int]]()
    for day, some in groupby(rows, key=lambda row: row.day):
        same, at = [*some], (date.fromisoformat(day) - first).days
        for number, row in enumerate(same):
            left, right = (SLOT * each // len(same) for each in (number, number + 1))
            places[row.run] = SLOT * at + left, right - left
    return count, places, [(first + timedelta(number)).isoformat() for number in range(count)]


def _figure(
    title: str,
    unit: str,
    rows: Sequence[RunRow],
    columns: Sequence[Column],
    marks: set[str],
    link: Link,
    height: int = HEIGHT,
    top: Decimal | None = None,
    least: str = "0.01",
    brief: Callable[[Decimal], str] = short,
) -> Html:
    """Draw a column for each run, and the table behind it; a run of ``marks`` has an exclamation mark above it."""
    count, places, days = _slots(rows)
    low = min(Decimal(), *(each.value for each in columns))
    high = max(Decimal(), *(each.value for each in columns), top or Decimal())
    ticks = ticks_of(low, high, least)

    def up(value: Decimal, size: int) -> int:
        return round((ticks[-1] - value) * size / (ticks[-1] - ticks[0]))

    zero, path, values = up(Decimal(), UNITS), [], []
    written = len(columns) <= VALUES
    for each in columns:
        left, width = places[each.row.run]
        path.append(f"M{left + width // 10} {zero}V{up(each.value, UNITS)}h{width * 8 // 10}V{zero}z")
        above = ABOVE + min(up(each.value, height), up(Decimal(), height)) - 5
        mark = "! " if each.row.run in marks else ""
        text = f"{mark}{brief(each.value) if written else ''}".strip()
        if text:
            wide = "value wide" if written and len(columns) > FEW_VALUES and not mark else "value"
            values.append((wide, percent(Decimal(100 * (2 * left + width)) / (2 * SLOT * count)), above, text))
    every = -(-count // LABELS)
    below = [
        ("wide" if number % 2 and count > FEW_VALUES else "", percent(Decimal(100 * (2 * at + 1)) / (2 * count)),
         ABOVE + height + 20, _day(days[at]))
        for number, at in enumerate(range(0, count, every))
    ]  # fmt: skip
    drawn = upright(
        title,
        _extremes(columns),
        (
            f"{unit}{'; ! marks a night that differs from the one it was compared with' if marks else ''}",
            f"Night, from {rows[0].day} to {rows[-1].day}" if len(rows) > 1 else "Night",
        ),
        "".join(path),
        (SLOT * count, height),
        [("" if tick else "zero", ABOVE + up(tick, height), brief(tick)) for tick in ticks],
        [*below, *values],
    )
    lines = repeated("<tr><td>{}</td><td>{}</td></tr>\n", ((_named(each.row, link), each.text) for each in columns))
    return Html(
        '<section class="figure">\n<h2>{}</h2>\n{}<details>\n<summary>Table of {}</summary>\n<table class="data">\n'
        '<thead><tr><th scope="col">Night</th><th scope="col">{}</th></tr></thead>\n<tbody>\n{}</tbody>\n</table>\n'
        "</details>\n</section>"
    ).format(title, drawn, f"{title[0].lower()}{title[1:]}", unit, lines)


def _extremes(columns: Sequence[Column]) -> str:
    most, least = (chosen(columns, key=lambda each: each.value) for chosen in (max, min))
    if most.value == least.value:
        return f"{most.text} on {'each night' if len(columns) > 1 else most.row.day}."
    return f"Most: {most.text} on {most.row.day}; least: {least.text} on {least.row.day}."


def _day(day: str) -> str:
    return f"{int(day[8:])} {MONTHS[int(day[5:7]) - 1]}"


def _linked(row: RunRow, text: str, link: Link) -> Html:
    address = link(row)
    return Html('<a href="{}">{}</a>').format(address, text) if address else Html("{}").format(text)


def _named(row: RunRow, link: Link) -> Html:
    """Return the day of a run, and its name unless this says no more."""
    name = "" if row.run == row.day else Html('<br/><span class="note">{}</span>').format(row.run)
    return Html('<span class="day">{}</span>{}').format(_linked(row, row.day, link), name)


def _table(history: History, link: Link) -> Html:
    corrected = any(row.corrections for row in history.runs)
    compared = any(row.drift is not None for row in history.runs)
    sent = any(row.sent for row in history.runs)
    more = {"Sent": sent, "Missing": sent, "Corrections": corrected, "Drift": compared}
    heads = ["Revenue", "Orders", "Rejected", "Rows", *(head for head, shown in more.items() if shown)]

    def cells(row: RunRow) -> Iterator[str]:
        yield f"{amount(row.revenue)} {row.currency}".rstrip()
        yield f"{row.orders:,}"
        yield share(row.rejected, row.judged)
        yield f"{row.rows:,}"
        if sent:
            yield sent_text(row)
            yield missing_text(row)
        if corrected:
            yield amount(row.corrected_revenue)
        if compared:
            yield "" if row.drift is None else f"{row.drift:,} over"

    return Html("<h2>The nights</h2>\n{}").format(
        scrolled(_rows(history.runs, link, heads, cells, marked=True), "The nights")
    )


def _rows(
    rows: Sequence[RunRow],
    link: Link,
    heads: Sequence[str],
    cells: Callable[[RunRow], Iterator[str]],
    marked: bool = False,
) -> Html:
    one = Html("<tr{}><td>{}</td>{}</tr>\n")
    return Html(
        '<table class="data">\n<thead><tr><th scope="col">Night</th>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table>'
    ).format(
        repeated('<th scope="col">{}</th>', ([head] for head in heads)),
        Html("").join(
            one.format(
                OVER if marked and row.drift else "",
                _named(row, link),
                repeated("<td>{}</td>", ([cell] for cell in cells(row))),
            )
            for row in reversed(rows)
        ),
    )


def _resources(history: History, link: Link, priced: bool) -> Html:
    """Show how the runs went, which may differ between two runs of the same data."""

    def cells(row: RunRow) -> Iterator[str]:
        yield "" if row.seconds is None else f"{row.seconds:,.1f}"
        yield "" if row.workers is None else f"{row.workers:,}"
        if priced:
            yield row.cost or "unknown"

    rows = history.runs
    seconds = [
        Column(row, Decimal(repr(row.seconds)), f"{row.seconds:,.1f} s") for row in rows if row.seconds is not None
    ]
    costs = [Column(row, Decimal(row.cost), row.cost) for row in rows if row.cost is not None]
    parts = [Html('<p class="note">{}</p>').format(f"The workers of these runs cost {history.cost}.")] if costs else []
    parts += [_figure("Seconds by night", "Seconds of all stages", rows, seconds, set(), link)] if seconds else []
    parts += (
        [_figure("Cost by night", "Cost, as --price says", rows, costs, set(), link, least="0.000001", brief=plain)]
        if costs
        else []
    )
    parts.append(_rows(rows, link, ["Seconds", "Workers", *["Cost"] * priced], cells))
    return Html('<section id="ran">\n<h2>How the runs went</h2>\n{}\n</section>').format(Html("\n").join(parts))
