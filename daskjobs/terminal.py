"""What a person sees while `daskjobs run` works, and at its end."""

import json
import os
import sys
import time
from dataclasses import replace

import click

from daskjobs.manifest import Manifest
from daskjobs.run import Run
from daskjobs.stages import run_stage


def with_bar(name: str, run: Run) -> Manifest:
    """Run a stage beside a progress bar, or between two lines where nobody watches a terminal."""
    started = time.monotonic()
    with click.progressbar(
        length=1000, label=f"{name:9}", show_eta=False, width=24, file=sys.stderr, item_show_func=lambda item: item
    ) as bar:

        def progress(share: float) -> None:
            bar.update(max(0, round(share * 998) - bar.pos), bar.current_item)

        def tell(text: str) -> None:
            bar.update(1, text) if sys.stderr.isatty() else click.echo(f"{'':10} {text}", err=True)

        manifest = run_stage(name, replace(run, progress=progress, tell=tell))
        took = "skipped: nothing has changed" if manifest.get("skipped") else f"{time.monotonic() - started:.1f} s"
        bar.update(1000 - bar.pos, f"{bar.current_item}, {took}" if bar.current_item else took)
    return manifest


def short(path: str) -> str:
    """Return a path as it is from here, where it lies below."""
    return os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path


def print_report(run: Run, manifest: Manifest) -> None:
    """Print the numbers of a report's manifest, and where its page is."""
    rows, storage = manifest["rows"], run.storage
    quality = json.loads(run.vouched("report", "report/quality.json"))
    reasons = ", ".join(f"{line['reason']} {line['rows']:,}" for line in quality["reasons"])
    click.echo(f"orders     {rows['clean']:,}")
    click.echo(f"revenue    {rows['revenue']}")
    click.echo(f"rejected   {rows['quarantined']:,} of {rows['in']:,}{f' ({reasons})' if reasons else ''}")
    click.echo(f"unpaid     {rows['unpaid']:,}")
    for warning in quality["warnings"]:
        click.echo(f"warning    {warning}")
    click.echo(f"report     {short(storage.uri('report/report.html'))}")
