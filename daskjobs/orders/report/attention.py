"""The section of the page that says what needs attention: warnings, why rows were rejected, and what has changed."""

from collections.abc import Mapping, Sequence

from daskjobs.orders.report.drift import Measure
from daskjobs.orders.report.html import Html, breakable, cut, repeated, share
from daskjobs.orders.report.quality import Quality, Reason
from daskjobs.orders.validation.result import Sample

LARGEST = 5  # reasons that are shown with a row each
SAMPLED = 10  # reasons of which all samples are shown
SETS, TOGETHER = 8, 5  # of reasons that come together, and reasons that are named in each
TEXT, NAME = 100, 40  # characters of a row, and of a file's name


def attention(
    quality: Quality, samples: Mapping[str, Sequence[Sample]], changed: Sequence[Measure], several: bool
) -> Html:
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
        _changed(changed),
    ]
    return Html("<h2>What needs attention</h2>\n{}").format(Html("").join(parts))


def _reasons(quality: Quality, samples: Mapping[str, Sequence[Sample]], several: bool) -> Html:
    judged = quality.rows.rows_in - quality.rows.furniture
    shown = {line.reason: samples.get(line.reason, ())[:1] for line in quality.reasons[:LARGEST]}
    rows = (
        (
            breakable(line.reason),
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


def _sample(samples: Sequence[Sample], several: bool) -> Html:
    form = '<br/><span class="note">{}:</span> <code class="sample">{}</code>'
    return repeated(form, (_place_and_text(each, several) for each in samples))


def _place_and_text(sample: Sample, several: bool = True) -> tuple[str, str]:
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
            ((breakable(reason), repeated(row, map(_place_and_text, samples[reason]))) for reason in shown),
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
    named = [breakable(each) for each in reasons[:TOGETHER]]
    if more := len(reasons) - len(named):
        named.append(Html("{} more").format(more))
    return named[0] + " alone" if len(named) == 1 else Html(" and ").join(named)


def _warned(quality: Quality, judged: int) -> Html:
    """Show which rules warn of valid rows, and the first of these."""
    if not quality.warned:
        return Html("")
    rows = (
        (
            breakable(each.reason),
            each.rule,
            ", ".join(f"row {row.row:,} of {row.source.rsplit('/', 1)[-1]}" for row in each.first),
            each.rows,
            share(each.rows, judged),
        )
        for each in quality.warned
    )
    return Html(
        '<table id="warned">\n<thead><tr><th scope="col">What rules warn of, in valid rows</th>'
        '<th scope="col" class="n">Rows</th><th scope="col" class="n">Share</th></tr></thead>\n'
        "<tbody>\n{}</tbody>\n</table>\n"
        '<p class="note">These rows count. Each of them, with its warnings, is in merge/warned.csv.</p>'
    ).format(
        repeated(
            '<tr><td>{}<br/><span class="note">{} The first: {}.</span></td><td class="n">{:,}</td>'
            '<td class="n">{}</td></tr>\n',
            rows,
        )
    )


def _changed(measures: Sequence[Measure]) -> Html:
    if not measures:
        return Html("")
    return Html("<h3>What has changed</h3>\n<ul>\n{}</ul>\n").format(
        repeated("<li>{}</li>\n", ([each.sentence] for each in measures))
    )
