"""The sections of the page about earlier runs: which of their orders came again, and how much this run differs."""

from daskjobs.display import counted
from daskjobs.orders.report.drift import Drift
from daskjobs.orders.report.html import Html, amount, breakable, repeated, scrolled
from daskjobs.orders.validation.result import SeenBefore

MOST_MEASURES = 50  # of a comparison; drift.json has all
SAID = {  # of a row whose order an earlier run has counted, by its kind; the columns that differ stand in it
    "same": "the same again",
    "other": "another {}",
    "older": "an older one, with another {}",
    "tied": "as old, with another {}",
    "line": "a line of an order that was counted",
}


def seen_before(seen: SeenBefore) -> Html:
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


def compared(drift: Drift) -> Html:
    """Show how much the run differs from an earlier one."""
    if not drift.compared:
        return Html("<h2>Compared with no earlier run</h2>\n<p>Since {}.</p>").format(drift.why)
    rows = (
        (
            Html(' class="over"') if each.over else "",
            breakable(each.name),
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
    table = Html(
        '<table>\n<thead><tr><th>Measure</th><th class="n wide">Before</th><th class="n wide">Now</th>'
        '<th class="n">Change</th><th class="n">Threshold</th></tr></thead>\n<tbody>\n{}</tbody>\n</table>'
    ).format(
        repeated(
            '<tr{}><td>{}<br/><span class="note">{}</span></td><td class="n wide">{}</td>'
            '<td class="n wide">{}</td><td class="n">{}</td><td class="n">{}{}</td></tr>\n',
            rows,
        )
    )
    return Html("<h2>Compared with {}</h2>\n<p>Compared {}.</p>\n{}\n{}").format(
        drift.compared.name,
        drift.said,
        scrolled(table, f"Compared with {drift.compared.name}"),
        repeated('<p class="note">{}.</p>\n', ([note] for note in notes)),
    )


def _percents(text: str) -> Html:
    """Return a sentence in which no percent sign begins a line."""
    return Html.escape(text).replace(" %", Html("&#160;%"))
