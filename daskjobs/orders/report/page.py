"""report.html: what it is about, the numbers, what needs attention, the plots, and the rest."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.display import counted
from daskjobs.orders.columns.account import ColumnAccount
from daskjobs.orders.report.attention import attention
from daskjobs.orders.report.columns import columns_table
from daskjobs.orders.report.drift import Drift
from daskjobs.orders.report.html import Html, amount, breakable, document, repeated, share
from daskjobs.orders.report.other_runs import compared, seen_before
from daskjobs.orders.report.plots import Line, bars, columns, lines
from daskjobs.orders.report.quality import Quality
from daskjobs.orders.report.resources import ResourcesSection, resources_section
from daskjobs.orders.summary import by_period, most, of
from daskjobs.orders.validation.result import Sample

BARS = 20  # at most in one plot
MOST_DAYS = 1100  # columns of the plot by day: three years
FILES = 3  # named at most


@dataclass(frozen=True)
class About:
    """What a page is about: its run, the names of the files, when they were read, and what made it.

    ``seed`` is that of generated orders.
    """

    run: str
    files: Sequence[str]
    begun: str
    version: str
    seed: int | None = None


def page(
    revenue: int | None,
    quality: Quality,
    summary: pa.Table,
    about: About,
    resources: ResourcesSection | None,
    broken: str = "",
    notes: Sequence[str] = (),
    seen: Sequence[ColumnAccount] = (),
    drift: Drift | None = None,
    samples: Mapping[str, Sequence[Sample]] | None = None,
) -> bytes:
    """Render the page: ``revenue`` in cents, ``quality`` as in quality.json, ``summary`` as clean writes it.

    ``broken`` says why the run has failed, if it has; ``revenue`` is None if it is in no one currency, and then nothing
    is plotted. ``notes`` are sentences about the plots, ``seen`` is what the columns hold, ``drift`` what has
    changed since an earlier run, and ``samples`` are rejected rows by reason. Two runs of the same data differ in what
    shows ``about`` and ``resources``, and nowhere else.
    """
    total = "" if revenue is None else amount(Decimal(revenue).scaleb(-2))
    orders = counted(quality.paid_orders, "order")
    title = f"{'Failed. ' if broken else ''}Orders: {orders}, {total or 'no'} revenue"
    failed = Html(
        '<p class="warning"><b>This run has failed, and there is no analytics_report.json:</b> {}.</p>'
    ).format(broken)
    return document(
        title,
        [
            Html("<h1>Orders report</h1>"),
            _about(about, quality, of(summary, "day")),
            failed if broken else Html(""),
            _profile(quality),
            _numbers(total, quality),
            attention(quality, samples or {}, drift.over if drift else (), len(about.files) > 1),
            seen_before(quality.seen_before) if quality.seen_before else Html(""),
            *(_plots(quality, summary, notes) if summary.num_rows and revenue is not None else ()),
            compared(drift) if drift else Html(""),
            _account(quality),
            _scores(quality),
            columns_table(seen),
            resources_section(resources) if resources else Html(""),
        ],
    )


def _about(about: About, quality: Quality, days: pa.Table) -> Html:
    """Say what data the page is about."""
    files = ", ".join(about.files[:FILES])
    more = f" and {len(about.files) - FILES:,} more" if len(about.files) > FILES else ""
    said = [
        ("Orders", f"generated, with the seed {about.seed}")
        if about.seed is not None
        else ("File" if len(about.files) == 1 else f"{len(about.files):,} files", f"{files}{more}"),
        ("Rows", f"{quality.rows.rows_in:,}"),
        ("Days", _days(days)),
        ("Run", about.run),
        ("Date", f"{about.begun} UTC" if about.begun else ""),
        ("Made by", f"daskjobs {about.version}"),
    ]
    shown = repeated("<div><dt>{}</dt><dd>{}</dd></div>\n", [(name, text) for name, text in said if text])
    return Html('<dl id="about">\n{}</dl>').format(shown)


def _days(days: pa.Table) -> str:
    """Say which days the paid orders cover, and on how many of them there is none."""
    if not len(days):
        return "none, since there are no paid orders"
    first, last = (text.as_py() for text in pc.min_max(days["value"]).values())
    if first == last:
        return str(first)
    covered = date.fromisoformat(last).toordinal() - date.fromisoformat(first).toordinal() + 1
    without = f" ({covered - len(days):,} of these days without paid orders)" if covered > len(days) else ""
    return f"{first} to {last}{without}"


def _profile(quality: Quality) -> Html:
    if not quality.profile:
        return Html("")
    left_out = "; ".join(f"{rule}, since {why}" for rule, why in quality.without_rules.items())
    return Html('<p class="note">Read as the profile {} says.{}</p>').format(
        quality.profile, Html(" <b>Not checked:</b> {}.").format(left_out) if left_out else ""
    )


def _numbers(revenue: str, quality: Quality) -> Html:
    rows, currency = quality.rows, f", {quality.currency}" if quality.currency else ""
    amounts = (
        [("Gross", amount(quality.gross)), ("Refunds", amount(quality.refunds)), ("Net revenue", revenue)]
        if quality.net
        else [("Revenue", revenue or "none")]
    )
    unpaid = "orders" if quality.orders is None else "rows"
    judged = rows.rows_in - rows.furniture
    said = [
        ("Paid orders", f"{quality.paid_orders:,}", ""),
        *((f"{name}{currency}", text, "") for name, text in amounts),
        ("Rows rejected", f"{rows.rejected:,}", f"{share(rows.rejected, judged)} of {judged:,}"),
        (f"Unpaid {unpaid}", f"{rows.unpaid:,}", ""),
    ]
    part = Html('<dd class="note">{}</dd>')
    return Html('<dl class="numbers">\n{}</dl>').format(
        repeated(
            "<div><dt>{}</dt><dd>{}</dd>{}</div>\n",
            ((name, text, part.format(more) if more else "") for name, text, more in said),
        )
    )


def _plots(quality: Quality, summary: pa.Table, notes: Sequence[str]) -> Iterator[Html]:
    note = Html('<p class="note">{}</p>')
    unit = f"Revenue, {quality.currency or 'in the currency of the orders'}"
    period, days = by_period(of(summary, "day"), MOST_DAYS)
    if len(days):
        yield columns(period, lines(days), unit)
    if period != "day":
        yield note.format(f"There are more than {MOST_DAYS:,} days, so the plot shows their sums by {period}.")
    for name in ("region", "product"):
        all_lines = of(summary, name)
        if not len(all_lines):
            continue
        shown, others = lines(most(all_lines, BARS)), None
        if len(all_lines) > BARS:
            orders, revenue = (pc.sum(all_lines[each]).as_py() for each in ("orders", "revenue"))
            others = Line(
                f"the other {len(all_lines) - BARS:,}",
                orders - sum(line.orders for line in shown),
                revenue - sum(line.revenue for line in shown),
            )
        yield bars(name, shown, others, unit)
        if others:
            yield note.format(
                f"The plot by {name} shows the {BARS} with the most revenue; {others.value} come to "
                f"{amount(others.revenue)}."
            )
    yield from map(note.format, notes)


def _account(quality: Quality) -> Html:
    """Show the account of every row and line."""
    rows, counts = quality.rows, quality.lines
    furniture = f" + {rows.furniture:,} furniture, which the profile names" if rows.furniture else ""
    unpaid = ", ".join(f"{count:,} {status or '(empty)'}" for status, count in quality.unpaid_by_status.items())
    orders = (
        f"; the paid rows are {counted(quality.orders, 'order')}" if quality.orders not in (None, rows.paid) else ""
    )
    said = [
        f"{rows.rows_in:,} rows came in = {rows.valid:,} valid + {rows.rejected:,} rejected{furniture}; "
        f"valid = {rows.paid:,} paid + {rows.unpaid:,} unpaid{f': {unpaid}' if unpaid else ''}{orders}."
    ]
    if counts.in_files:
        outside = f" + {counts.outside:,} before and after the rows, which are left out" if counts.outside else ""
        said.append(
            f"{counts.in_files:,} lines in the CSV files = {counted(counts.headers, 'header line')} + "
            f"{counted(counts.rows, 'row')} + {counts.inside_quotes:,} line ends inside quoted fields{outside}."
        )
    said += [f"{line.sentence()[0].upper()}{line.sentence()[1:]}." for line in quality.sent]
    return Html("<h2>The account of every row</h2>\n{}").format(
        repeated("<p>{}</p>\n", ([sentence] for sentence in said))
    )


def _scores(quality: Quality) -> Html:
    if not quality.scores:
        return Html("")
    rows = (
        (
            breakable(anomaly),
            f"{score.true_positives:,} found, {score.false_negatives:,} missed, {score.false_positives:,} false",
            *("none" if each is None else f"{each:.4f}" for each in (score.precision, score.recall)),
        )
        for anomaly, score in quality.scores.items()
    )
    return Html(
        "<h2>How well the rules found the known anomalies</h2>\n<table>\n<thead><tr><th>Anomaly</th>"
        '<th class="n">Precision</th><th class="n">Recall</th></tr></thead>\n<tbody>\n{}</tbody>\n</table>'
    ).format(
        repeated(
            '<tr><td>{}<br/><span class="note">{}</span></td><td class="n">{}</td><td class="n">{}</td></tr>\n',
            rows,
        )
    )
