"""`daskjobs history`: what the runs of a series come to, on the terminal, as JSON and as a page."""

import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote

import click
from fsspec.utils import get_protocol

from daskjobs.cli.parameters import option
from daskjobs.cli.streams import check_written
from daskjobs.cli.terminal import say, short
from daskjobs.display import counted, escaped, shown
from daskjobs.errors import ConfigError, InputError, StorageError, UsageError
from daskjobs.files.documents import dump
from daskjobs.files.storage import Storage, real_path
from daskjobs.options import quoted, refuse_empty, refuse_nul
from daskjobs.orders.report.html import amount, share
from daskjobs.pipeline.lease import MARKER
from daskjobs.series import history as books
from daskjobs.series.days import days_of
from daskjobs.series.history import History, RunRow, few_of
from daskjobs.series.prices import prices_of
from daskjobs.series.said import (
    TITLE,
    bad_texts,
    missing_text,
    missing_texts,
    named,
    not_good_texts,
    sent_text,
    total_lines,
)
from daskjobs.stages import STAGES
from daskjobs.stages.run_settings import STORES

LAST = 30
MOST_REASONS = 3  # that the table names of a run
TEXTS = ("day", "run", "reasons")  # columns of the table that are aligned to the left
HEAD_BYTES = 1024  # of a page, which have its title


@click.command()
@click.argument("series")
@option("--last", default=LAST, show_default=True, type=click.IntRange(0), help="How many runs to show; 0 is all.")
@option("--html", default="", help="Where to draw the history as well: the path or URI of a page, one file.")
@option("--missing", default="", help="Days that must be covered, like 2026-11-01..30; exit code 10 when one isn't.")
@option("--price", default="", help="What workers cost, to show it: cpu-hour=0.04,gib-hour=0.005, or one of these.")
@option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def history(series: str, last: int, html: str, missing: str, price: str, as_json: bool) -> None:
    """Show what the runs of a series come to, and its last nights; SERIES is the folder that holds runs."""
    refuse_empty("SERIES", series)
    refuse_nul("SERIES", series)
    series = series if "://" in series else os.path.abspath(os.path.expanduser(series))
    if shown(series) != series:
        raise UsageError(f"SERIES {shown(series)} must have no user, password or query: give these by the environment")
    if "://" in series and not series.startswith(STORES):
        raise UsageError(f"SERIES must be a path, or a URI of {' or '.join(STORES)}, got {quoted(series)}")
    days, prices = days_of("--missing", missing) if missing else None, prices_of(price)
    if html:
        _refuse_other(html)
    found = books.history(series, STAGES, last, days, prices)
    if html:
        from daskjobs.series.history_page import page  # imported late: it loads pyarrow

        folder, name = _split(html)
        Storage(folder).put(name, page(found, lambda row: _link(row.page, folder), prices is not None))
    if as_json:
        click.echo(dump(found), nl=False)
    else:
        for line in lines(found, prices is not None):
            say(line)
        if html:
            say(f"page        {short(html)}")
    check_written()
    _fail(found)


def lines(found: books.History, priced: bool) -> Iterator[str]:
    """Yield the lines of a history: the total first, then what needs attention, then a table of the runs."""
    for text in total_lines(found):
        yield f"total       {text}"
    for total in found.totals:
        unit = f" {total.currency}" if total.currency else ""
        own, corrections = total.of_runs, total.corrections
        yield f"of runs     {counted(own.orders, 'order')}, revenue {amount(own.revenue)}{unit}"
        yield f"corrections {counted(corrections.orders, 'order')}, revenue {amount(corrections.revenue)}{unit}"
    for text in bad_texts(found):
        yield f"damaged     {text}"
    for doubt in found.doubts:
        yield f"not certain {doubt}"
    for text in missing_texts(found):
        yield f"missing     {text}"
    if found.missing is None and found.gaps:
        yield f"no run of   {few_of(found.gaps)}"
    for text in not_good_texts(found):
        yield f"not good    {text}"
    yield from _table(found.runs, priced)
    for row in found.runs:
        for sentence in row.drifted:
            yield f"drift       {named(row.day, row.run)}, compared with {row.compared}: {sentence}"
    if found.cost is not None:
        yield f"cost        {found.cost}, of the workers of the runs above"


def _amount(value: str, row: RunRow) -> str:
    return f"{amount(value)} {row.currency}".rstrip()


def _reasons(row: RunRow) -> str:
    most = [f"{name} {count:,}" for name, count in row.reasons.items()]
    most += [f"{name} {count:,} (warned)" for name, count in row.warned.items()]
    return ", ".join(most[:MOST_REASONS]) + (f" and {len(most) - MOST_REASONS} more" if most[MOST_REASONS:] else "")


# The columns of the table; one that is empty in each run isn't shown.
COLUMNS: dict[str, Callable[[RunRow], str]] = {
    "day": lambda row: row.day,
    "run": lambda row: row.run,
    "rows": lambda row: f"{row.rows:,}",
    "rejected": lambda row: share(row.rejected, row.judged),
    "sent": sent_text,
    "missing": missing_text,
    "orders": lambda row: f"{row.orders:,}",
    "revenue": lambda row: _amount(row.revenue, row),
    "corrections": lambda row: _amount(row.corrected_revenue, row) if row.corrections else "",
    "drift": lambda row: "" if row.drift is None else f"{row.drift:,}",
    "seconds": lambda row: "" if row.seconds is None else f"{row.seconds:,.1f}",
    "workers": lambda row: "" if row.workers is None else f"{row.workers:,}",
    "cost": lambda row: row.cost or "unknown",
    "reasons": _reasons,
}


def _table(rows: Sequence[RunRow], priced: bool) -> Iterator[str]:
    if not rows:
        return
    columns = list[list[str]]()
    for head, written in COLUMNS.items():
        cells = [escaped(written(row)) for row in rows]
        if any(cells) and (priced or head != "cost"):
            width = max(map(len, [head, *cells]))
            columns.append([f"{cell:<{width}}" if head in TEXTS else f"{cell:>{width}}" for cell in (head, *cells)])
    yield ""
    yield from ("  ".join(line).rstrip() for line in zip(*columns, strict=True))
    yield ""


def _refuse_other(html: str) -> None:
    """Raise UsageError unless a page may be written there: not into a run, and not over what is no such page."""
    refuse_empty("--html", html)
    if "://" in html and not html.startswith(STORES):
        raise UsageError(f"--html must be a path, or a URI of {' or '.join(STORES)}, got {quoted(shown(html))}")
    folder, name = _split(html)
    if not name or shown(html) != html:
        raise UsageError(f"--html must name a file, without user, password or query, got {quoted(shown(html))}")
    if "://" not in html and os.path.isdir(html):
        raise UsageError(f"--html {html} is a folder: name a file in it, like {html.rstrip('/')}/history.html")
    above = folder
    while posixpath.basename(above) and not above.endswith(":"):
        if Storage(above).size(MARKER) is not None:
            raise UsageError(
                f"--html {html} is in the folder of the run {above}, which only the run writes: choose another place"
            )
        above = posixpath.dirname(above)
    there = Storage(folder).find(name)
    if there is not None and TITLE.encode() not in there[:HEAD_BYTES]:
        raise UsageError(f"--html {html} is there already, and no page of a history: remove it, or choose another name")


def _split(html: str) -> tuple[str, str]:
    """Return the folder and the name of a page."""
    whole = html if "://" in html else os.path.abspath(os.path.expanduser(html))
    return posixpath.dirname(whole), "" if html.endswith("/") else posixpath.basename(whole)


def _link(report: str, folder: str) -> str:
    """Return the address of a run's report on a page in a ``folder``, where both are on this machine."""
    if {get_protocol(report), get_protocol(folder)} != {"file"}:
        return ""
    return quote(os.path.relpath(real_path(report), real_path(folder)))


def _fail(found: History) -> None:
    """Raise an error, after all is printed, when a run can't be read, or when a day is missing."""
    if found.bad:
        names = few_of([each.run for each in found.bad])
        kind = StorageError if any(each.exit_code == StorageError.exit_code for each in found.bad) else ConfigError
        raise kind(
            f"{counted(len(found.bad), 'run')} of {found.series} can't be read, so the total is without what they "
            f"counted: {names}; run them again, or move their folders out of the series"
        )
    if found.missing:
        raise InputError(
            f"no good run covers {counted(len(found.missing), 'day')}: {few_of([each.day for each in found.missing])}; "
            "run these days, with --as-of"
        )
