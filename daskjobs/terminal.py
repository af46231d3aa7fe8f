"""What a person sees while `daskjobs run` works, and at its end."""

import json
import os
import sys
import time
from dataclasses import replace

import click

from daskjobs.manifest import Manifest
from daskjobs.names import escaped
from daskjobs.run import Run
from daskjobs.stages import run_stage


def say(text: str, err: bool = False) -> None:
    """Print a line, in which no text that comes from data or a file's name can move the cursor or end the line."""
    click.echo(escaped(text), err=err)


def with_bar(name: str, run: Run) -> Manifest:
    """Run a stage beside a progress bar, or between two lines where nobody watches a terminal."""
    started = time.monotonic()
    with click.progressbar(
        length=1000, label=f"{name:9}", show_eta=False, width=24, file=sys.stderr, item_show_func=lambda item: item
    ) as bar:

        def progress(share: float) -> None:
            bar.update(max(0, round(share * 998) - bar.pos), bar.current_item)

        def tell(text: str) -> None:
            bar.update(1, escaped(text)) if sys.stderr.isatty() else say(f"{'':10} {text}", err=True)

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
    say(f"orders     {rows['clean']:,}")
    say(f"revenue    {rows['revenue']}")
    say(f"rejected   {rows['quarantined']:,} of {rows['in']:,}{f' ({reasons})' if reasons else ''}")
    say(f"unpaid     {rows['unpaid']:,}")
    for warning in quality["warnings"]:
        say(f"warning    {warning}")
    say(f"report     {short(storage.uri('report/report.html'))}")
