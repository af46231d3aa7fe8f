"""report.html: what it is about, the numbers, what needs attention, the plots, and the rest."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.orders.columns.account import ColumnAccount
from daskjobs.orders.report.columns import columns_table
from daskjobs.orders.report.drift import Drift
from daskjobs.orders.report.html import Html, amount, counted, cut, document, repeated, scrolled, share
from daskjobs.orders.report.plots import Line, bars, columns, lines
from daskjobs.orders.report.quality import Quality, Reason
from daskjobs.orders.summary import by_period, most, of
from daskjobs.orders.validation.result import Sample, SeenBefore

BARS = 20  # at most in one plot
MOST_DAYS = 1100  # columns of the plot by day: three years
FILES = 3  # named at most
MOST_MEASURES = 50  # of a comparison; drift.json has all
LARGEST = 5  # reasons that are shown with a row each
SAMPLED = 10  # reasons of which all samples are shown
SETS, TOGETHER = 8, 5  # of reasons that come together, and reasons that are named in each
TEXT, NAME = 100, 40  # characters of a row, and of a file's name
SAID = {  # of a row whose order an earlier run has counted, by its kind; the columns that differ stand in it
    "same": "the same again",
    "other": "another {}",
    "older": "an older one, with another {}",
    "tied": "as old, with another {}",
    "line": "a line of an order that was counted",
}


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


@dataclass(frozen=True)
class Request:
    """The number of workers, and what each requests; empty if unknown."""

    workers: int = 0
    worker_cpu: str = ""
    worker_memory: str = ""


@dataclass(frozen=True)
class Use:
    """What the workers used: seconds of all workers together, and bytes of the largest process."""

    workers: int
    lost: int
    busy_seconds: float
    cores: float
    cpu_seconds: float
    queued_seconds: float
    memory_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class ResourcesSection:
    """What validate's workers requested, used, and should request next time, for the page."""

    asked: Request
    used: Use
    next: Request
    advice: list[str]


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
    since: Sequence[str] = (),
) -> bytes:
    """Render the page: ``revenue`` in cents, ``quality`` as in quality.json, ``summary`` as clean writes it.

    ``broken`` says why the run has failed, if it has; ``revenue`` is None if it is in no one currency, and then nothing
    is plotted. ``notes`` are sentences about the plots, ``seen`` is what the columns hold, ``samples`` are rejected
    rows by reason, and ``since`` sentences about what has changed since the earlier run of ``drift``. Two runs of the
    same data differ in what shows ``about`` and ``resources``, and nowhere else.
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
            _attention(quality, samples or {}, since, len(about.files) > 1),
            _seen(quality.seen_before) if quality.seen_before else Html(""),
            *(_plots(quality, summary, notes) if summary.num_rows and revenue is not None else ()),
            _compared(drift) if drift else Html(""),
            _account(quality),
            _scores(quality),
            columns_table(seen),
            _resources(resources) if resources else Html(""),
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


def _attention(quality: Quality, samples: Mapping[str, Sequence[Sample]], since: Sequence[str], several: bool) -> Html:
    """Show warnings, why rows were rejected, which valid ones were warned of, and what has changed."""
    elsewhere = ", ".join(f"{rows:,} in {name}" for name, rows in quality.elsewhere.items())
    parts = [
        repeated('<p class="warning"><b>Warning:</b> {}.</p>\n', ([warning] for warning in quality.warnings)),
        Html('<p class="note">The report is of {}. Paid in other currencies, and counted as unpaid: {}.</p>\n').format(
            quality.currency, elsewhere
        )
        if elsewhere
        else "",
        *(
            (_reasons(quality, samples, several), _samples(quality.reasons, samples), _together(quality))
            if quality.reasons
            else ()
        ),
        "" if quality.reasons else Html("<p>No row was rejected.</p>\n"),
        _warned(quality, quality.rows.rows_in - quality.rows.furniture),
        _since(since),
    ]
    return Html("<h2>What needs attention</h2>\n{}").format(Html("").join(parts))


def _since(since: Sequence[str]) -> Html:
    if not since:
        return Html("")
    return Html("<h3>What has changed</h3>\n<ul>\n{}</ul>\n").format(
        repeated("<li>{}</li>\n", ([text] for text in since))
    )


def _reasons(quality: Quality, samples: Mapping[str, Sequence[Sample]], several: bool) -> Html:
    judged = quality.rows.rows_in - quality.rows.furniture
    shown = {line.reason: samples.get(line.reason, ())[:1] for line in quality.reasons[:LARGEST]}
    rows = (
        (
            _broken(line.reason),
            line.rule,
            _sample(shown.get(line.reason, ()), several),
            line.rows,
            share(line.rows, judged),
        )
        for line in quality.reasons
    )
    return Html(
        '<table>\n<thead><tr><th scope="col">Why rows were rejected</th><th scope="col" class="n">Rows</th>'
        '<th scope="col" class="n">Share</th></tr></thead>\n<tbody>\n{}</tbody>\n</table>\n'
        '<p class="note">A row with several reasons is counted under each. Each rejected row, with its reasons, is '
        "in merge/quarantine.csv; daskjobs explain --reason lists those of one reason.</p>\n"
    ).format(
        repeated(
            '<tr><td>{}<br/><span class="note">{}</span>{}</td><td class="n">{:,}</td><td class="n">{}</td></tr>\n',
            rows,
        )
    )


def _warned(quality: Quality, judged: int) -> Html:
    """Show which rules warn of valid rows, and the first of these."""
    if not quality.warned:
        return Html("")
    rows = (
        (
            _broken(each.reason),
            each.rule,
            ", ".join(f"row {row.row:,} of {row.source.rsplit('/', 1)[-1]}" for row in each.first),
            each.rows,
            share(each.rows, judged),
        )
        for each in quality.warned
    )
    return Html(
        '<table id="warned">\n<thead><tr><th>What rules warn of, in valid rows</th>'
        '<th class="n">Rows</th><th class="n">Share</th></tr></thead>\n<tbody>\n{}</tbody>\n</table>\n'
        '<p class="note">These rows count. Each of them, with its warnings, is in merge/warned.csv.</p>'
    ).format(
        repeated(
            '<tr><td>{}<br/><span class="note">{} The first: {}.</span></td><td class="n">{:,}</td>'
            '<td class="n">{}</td></tr>\n',
            rows,
        )
    )


def _sample(samples: Sequence[Sample], several: bool) -> Html:
    form = '<br/><span class="note">{}:</span> <code class="sample">{}</code>'
    return repeated(form, (_told(each, several) for each in samples))


def _told(sample: Sample, several: bool = True) -> tuple[str, str]:
    """Return where a sample stands, in which of ``several`` files (without its folders), and its text."""
    of = f" of {cut(sample.source.rstrip('/').rpartition('/')[2], NAME)}" if several else ""
    return f"Row {sample.row:,}{of}", cut(sample.text, TEXT) or "(empty)"


def _samples(reasons: Sequence[Reason], samples: Mapping[str, Sequence[Sample]]) -> Html:
    """Show all samples of the most frequent reasons, folded."""
    shown = [line.reason for line in reasons[:SAMPLED] if samples.get(line.reason)]
    if not shown:
        return Html("")
    row = '<dd><span class="note">{}:</span> <code class="sample">{}</code></dd>\n'
    return Html(
        '<details>\n<summary>The first rows of {}</summary>\n<dl class="samples">\n{}</dl>\n</details>\n'
    ).format(
        "each reason" if len(shown) == len(reasons) else f"the {len(shown)} most frequent reasons",
        repeated(
            "<dt>{}</dt>\n{}",
            ((_broken(reason), repeated(row, map(_told, samples[reason]))) for reason in shown),
        ),
    )


def _together(quality: Quality) -> Html:
    """Show which reasons come together, where any do."""
    if not any(len(each.reasons) > 1 for each in quality.together):
        return Html("")
    rejected, most = quality.rows.rejected, quality.together[:SETS]
    rows = [(_all(each.reasons), each.rows) for each in most]
    if others := rejected - sum(each.rows for each in most):
        rows.append((Html("other reasons"), others))
    return Html(
        '<table>\n<thead><tr><th scope="col">Which reasons come together</th><th scope="col" class="n">Rows</th>'
        '<th scope="col" class="n">Share of rejected</th></tr></thead>\n<tbody>\n{}</tbody>\n</table>\n'
    ).format(
        repeated(
            '<tr><td>{}</td><td class="n">{:,}</td><td class="n">{}</td></tr>\n',
            ((name, count, share(count, rejected)) for name, count in rows),
        )
    )


def _all(reasons: Sequence[str]) -> Html:
    named = [_broken(each) for each in reasons[:TOGETHER]]
    if more := len(reasons) - len(named):
        named.append(Html("{} more").format(more))
    return named[0] + " alone" if len(named) == 1 else Html(" and ").join(named)


def _seen(seen: SeenBefore) -> Html:
    """Show what became of orders that earlier runs of the series have counted."""
    said = [f"{counted(seen.runs, 'earlier run')} looked at: {counted(seen.rows, 'row')} seen before"]
    if seen.same + seen.other:
        said[0] += f", {seen.same:,} the same again and {seen.other:,} with other values"
    if seen.tied:
        said.append(f"{seen.tied:,} of these as old as what they differ from, and so not counted")
    if seen.columns:
        said.append("other values in " + ", ".join(f"{name} {rows:,}" for name, rows in seen.columns.items()))
    if seen.corrections:
        said.append(
            f"taken back of earlier runs, since {counted(seen.corrections, 'row')} here are newer: "
            f"{seen.corrected_orders} orders and {amount(seen.corrected_revenue)}; merge/corrections.csv has each"
        )
    rows = (
        (
            f"row {each.row:,} of {each.source.rpartition('/')[2]}",
            each.order_id,
            SAID[each.kind].format(", ".join(each.columns)),
            f"{f'row {each.earlier_row:,} of ' if each.earlier_row else ''}"
            f"{(each.earlier_source or '').rpartition('/')[2]}{' in ' if each.earlier_source else ''}{each.run}",
        )
        for each in seen.first
    )
    table = Html(
        '<table>\n<thead><tr><th scope="col">Row</th><th scope="col">Order</th><th scope="col">Is</th>'
        '<th scope="col">Stands in</th></tr></thead>\n<tbody>\n{}</tbody>\n</table>'
    ).format(repeated("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n", rows))
    table = scrolled(table, "Rows whose order an earlier run has counted")
    table += Html('\n<p class="note">The first few of each kind; merge/seen_before.csv has each.</p>')
    return Html("<h2>Orders of earlier runs</h2>\n{}{}").format(
        repeated("<p>{}.</p>\n", ([sentence[0].upper() + sentence[1:]] for sentence in said)),
        table if seen.first else "",
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


def _compared(drift: Drift) -> Html:
    """Show how much the run differs from an earlier one."""
    if not drift.compared:
        return Html("<h2>Compared with no earlier run</h2>\n<p>Since {}.</p>").format(drift.why)
    rows = (
        (
            Html(' class="over"') if each.over else "",
            _broken(each.name),
            _percents(each.sentence),
            each.shown(each.before),
            each.shown(each.now),
            each.form(each.value) or "from nothing",
            each.form(each.threshold) or "any",
            Html("<br/><b>{}</b>").format("fails" if each.fails else "over") if each.over else "",
        )
        for each in drift.measures[:MOST_MEASURES]
    )
    more = len(drift.measures) - MOST_MEASURES
    notes = [*drift.not_compared, *([f"drift.json has {more:,} more measures"] if more > 0 else [])]
    return Html(
        '<h2>Compared with {}</h2>\n<p>Compared {}.</p>\n<div class="scroll" role="region" tabindex="0" '
        'aria-label="Compared with {}">\n<table>\n<thead><tr><th>Measure</th><th class="n wide">Before</th>'
        '<th class="n wide">Now</th><th class="n">Change</th><th class="n">Threshold</th></tr></thead>\n'
        "<tbody>\n{}</tbody>\n</table>\n</div>\n{}"
    ).format(
        drift.compared.name,
        drift.said,
        drift.compared.name,
        repeated(
            '<tr{}><td>{}<br/><span class="note">{}</span></td><td class="n wide">{}</td>'
            '<td class="n wide">{}</td><td class="n">{}</td><td class="n">{}{}</td></tr>\n',
            rows,
        ),
        repeated('<p class="note">{}.</p>\n', ([note] for note in notes)),
    )


def _percents(text: str) -> Html:
    """Return a sentence in which no percent sign begins a line."""
    return Html.escape(text).replace(" %", Html("&#160;%"))


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
        outside = (
            f" + {counts.outside:,} before and after the rows, which the profile leaves out" if counts.outside else ""
        )
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
            _broken(anomaly),
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


def _resources(resources: ResourcesSection) -> Html:
    asked, used, wanted = resources.asked, resources.used, resources.next
    lost = f" at the end, {used.lost:,} lost" if used.lost else ""
    rows = [
        (
            "Dask workers",
            f"{asked.workers:,}",
            f"{used.workers:,}{lost}, busy for {used.busy_seconds:,.1f} s in all",
            f"{wanted.workers:,}" if wanted.workers else "",
        ),
        (
            "CPU of a worker",
            asked.worker_cpu or "nothing",
            f"{used.cores:.2f} cores while busy, {used.cpu_seconds:,.1f} s in all; {used.queued_seconds:,.1f} s "
            "waiting for a core",
            wanted.worker_cpu,
        ),
        (
            "Memory of a worker's process",
            asked.worker_memory or "nothing",
            f"{_size(used.memory_bytes)} on average, {_size(used.peak_bytes)} at its peak",
            wanted.worker_memory,
        ),
    ]
    return Html(
        '<section id="resources">\n<h2>Resources</h2>\n<table>\n<thead><tr><td></td><th>Requested</th><th>Used</th>'
        "<th>Next time</th></tr></thead>\n<tbody>\n{}</tbody>\n</table>\n<ul>{}</ul>\n"
        '<p class="note">The advice is for the same orders in the same partitions. Memory is the resident memory of '
        "the largest worker process, with its peak since it started; facts.json has each worker's.</p>\n</section>"
    ).format(
        repeated('<tr><th scope="row">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>\n', rows),
        repeated("<li>{}</li>\n", ([sentence] for sentence in resources.advice)),
    )


def _broken(name: str) -> Html:
    """Return a name that may be broken after its underscores, so that it fits beside numbers on a phone."""
    return Html("_<wbr/>").join(name.split("_"))


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 1 << 30 else f"{count / 2**20:,.1f} MiB"
