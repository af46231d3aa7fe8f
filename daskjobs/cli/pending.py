"""`daskjobs pending`: which files no good run of a series has read yet."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from daskjobs.cli.parameters import Lines, Seconds, option, text_option
from daskjobs.cli.streams import check_written
from daskjobs.cli.terminal import say
from daskjobs.display import listed
from daskjobs.errors import UsageError
from daskjobs.files.storage import explained, make_folders
from daskjobs.series.pending import Asked, Pending, days_of
from daskjobs.series.pending import pending as look
from daskjobs.stages import STAGES

BRACE = "$(DASKJOBS_BRACE)"  # a variable whose value is a brace, in the pods of flows/


@click.command()
@option(
    "--input",
    "patterns",
    multiple=True,
    required=True,
    type=Lines(),
    envvar="DASKJOBS_INPUT",
    show_envvar=True,
    help="The files: a path, a URI or a glob in quotes; or several, one a line or with an --input for each.",
)
@option(
    "--series",
    required=True,
    envvar="DASKJOBS_SERIES",
    show_envvar=True,
    help="The series, which is the folder of earlier runs; it may not exist yet.",
)
@text_option("--days", "A day, or days like 2026-11-01..2026-11-30, that stand in --input as %Y-%m-%d.")
@option(
    "--settle",
    default=Asked.settle,
    type=Seconds(),
    envvar="DASKJOBS_SETTLE",
    show_envvar=True,
    show_default=True,
    help="Leave files out that were changed within so many seconds: they may still be written.",
)
@option(
    "--give-up",
    default=Asked.give_up,
    type=Seconds(),
    envvar="DASKJOBS_GIVE_UP",
    show_envvar=True,
    show_default=True,
    help="Leave files out whose first run began so many seconds ago, and none has succeeded.",
)
@option(
    "--most",
    default=Asked.most,
    type=click.IntRange(1, 10_000),
    envvar="DASKJOBS_MOST",
    show_envvar=True,
    show_default=True,
    help="Name so many at most, and the others the next time.",
)
@option("--json", "as_json", is_flag=True, help="Print a JSON list, with the folder of the run of each.")
@text_option("--outputs", "A local directory for pending.json, as flows/ take it.")
def pending(
    patterns: tuple[str, ...],
    series: str,
    days: str,
    settle: float,
    give_up: float,
    most: int,
    as_json: bool,
    outputs: str,
) -> None:
    """List the files that no good run of a series has read yet, one a line, as --input takes them."""
    for flag, seconds in (("--settle", settle), ("--give-up", give_up)):
        if not seconds >= 0:
            raise UsageError(f"{flag} must be at least 0 seconds, got {seconds:g}")
    named = [each if "://" in each else os.path.abspath(os.path.expanduser(each)) for each in patterns]
    asked = Asked(named, days_of(days) if days else (), settle, give_up, most)
    answer = look(asked, series, STAGES)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in answer.pending], indent=2))
    for each in answer.pending:
        if not as_json:
            click.echo(each.input)
        say(f"{each.day or listed(each.input)}: {each.why}", err=True)
    for sentence in answer.left:
        say(sentence, err=True)
    if outputs:
        _write(Path(outputs).absolute(), answer.pending)
    check_written()


def _write(folder: Path, found: list[Pending]) -> None:
    """Write pending.json, whose texts have no sign that Argo, or Kubernetes in a variable, would replace."""
    items = [
        {"day": each.day, "input": each.input.replace("$", "$$").replace("{", BRACE), "run": each.run} for each in found
    ]
    path = folder / "pending.json"
    with explained(f"write {path}"):
        make_folders(str(folder))
        path.write_text(json.dumps(items))
        path.chmod(0o644)  # Argo's containers may run as another user
