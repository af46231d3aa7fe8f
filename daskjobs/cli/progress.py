"""Prints the progress and the results of `daskjobs run`."""

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import click

from daskjobs.cli.terminal import say, short
from daskjobs.display import counted, escaped
from daskjobs.files.documents import parse
from daskjobs.orders.report.drift import Drift
from daskjobs.orders.report.quality import Quality
from daskjobs.orders.validation.result import SeenBefore
from daskjobs.pipeline.manifest import Manifest
from daskjobs.series import layout
from daskjobs.series.drift import limits
from daskjobs.stages import report, run_stage
from daskjobs.stages.run_settings import Context


def with_bar(name: str, context: Context) -> Manifest:
    """Run a stage with a progress bar or, if standard error is no terminal, a line of text."""
    started = time.monotonic()
    with click.progressbar(
        length=1000, label=f"{name:9}", show_eta=False, width=24, file=sys.stderr, item_show_func=lambda item: item
    ) as bar:

        def progress(share: float) -> None:
            bar.update(max(0, round(share * 998) - bar.pos), bar.current_item)

        def tell(text: str) -> None:
            bar.update(1, escaped(text)) if sys.stderr.isatty() else say(f"{'':10} {text}", err=True)

        manifest = run_stage(name, replace(context, progress=progress, tell=tell))
        took = "skipped: nothing has changed" if manifest.skipped else f"{time.monotonic() - started:.1f} s"
        bar.update(1000 - bar.pos, f"{bar.current_item}, {took}" if bar.current_item else took)
    return manifest


def known_lines(seen: SeenBefore) -> Iterator[str]:
    """Yield lines about the orders that earlier runs have counted."""
    tied = f", {seen.tied:,} of these as old" if seen.tied else ""
    kinds = f" ({seen.same:,} the same again, {seen.other:,} with other values{tied})" if seen.same + seen.other else ""
    yield f"known      {counted(seen.runs, 'earlier run')}, {counted(seen.rows, 'row')} seen before{kinds}"
    if seen.corrections:
        rows = counted(seen.corrections, "row")
        yield f"corrected  {seen.corrected_orders} orders and {seen.corrected_revenue}, of {rows} of earlier runs"


def print_report(context: Context, manifests: Mapping[str, Manifest]) -> None:
    """Print the numbers of a run's report, and the path of its page."""
    rows = manifests[report.NAME].counted(report.ReportRows)
    quality = parse(context.vouched(report.NAME, layout.QUALITY), Quality)
    reasons = ", ".join(f"{reason.reason} {reason.rows:,}" for reason in quality.reasons)
    say(f"orders     {rows.paid_orders:,}")
    say(f"revenue    {rows.revenue}{f' {quality.currency}' if quality.currency else ''}")
    if quality.net:
        say(f"gross      {quality.gross}")
        say(f"refunds    {quality.refunds}")
        say(f"net        {quality.net}")
    for rule, why in quality.without_rules.items():
        say(f"unchecked  {rule}, since {why}")
    if quality.elsewhere:
        say(
            f"others     {', '.join(f'{name} {rows:,}' for name, rows in quality.elsewhere.items())}, counted as unpaid"
        )
    if rows.furniture:
        say(f"furniture  {rows.furniture:,} of {rows.rows_in:,}")
    say(f"rejected   {rows.rejected:,} of {rows.rows_in:,}{f' ({reasons})' if reasons else ''}")
    say(f"unpaid     {rows.unpaid:,}")
    for line in known_lines(quality.seen_before) if quality.seen_before else ():
        say(line)
    if quality.warned:
        say(f"warned     {', '.join(f'{each.reason} {each.rows:,}' for each in quality.warned)}")
    for sent in quality.sent:
        say(f"sent       {sent.sentence()}")
    for warning in quality.warnings:
        say(f"warning    {warning}")
    if layout.DRIFT in manifests[report.NAME].outputs:
        drift = parse(context.vouched(report.NAME, layout.DRIFT), Drift)
        say(f"compared   {drift.said}")
        for name in limits(context.settings.max_drift).bounds:
            if reason := drift.left_out.get(name.removesuffix(".values")):
                say(f"warning    --max-drift {name} limits nothing, since it is not compared: {reason}")
        for measure in drift.over:
            say(f"over       {measure.name}: {measure.sentence}")
    say(f"report     {short(context.storage.uri(layout.PAGE))}")
