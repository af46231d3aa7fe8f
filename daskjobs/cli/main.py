"""The command line: `daskjobs run`, a command for each stage, and a few more."""

import io
import json
import os
import sys
import traceback
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import click

from daskjobs import events
from daskjobs.cli import streams
from daskjobs.cli.artifacts import show, showing
from daskjobs.cli.commands import START, cluster, dashboard, doctor, explain, janitor, start_ahead
from daskjobs.cli.parameters import Sectioned, settings, stage_options, text_option
from daskjobs.cli.profile import profile
from daskjobs.cli.step import step, step_cleanup
from daskjobs.cli.terminal import print_report, say, short, with_bar
from daskjobs.display import shown
from daskjobs.errors import ClusterError, ConfigError, DaskjobsError, UsageError
from daskjobs.files.storage import explained
from daskjobs.pipeline import ending
from daskjobs.pipeline.context import AccountedError
from daskjobs.pipeline.stage import Stage
from daskjobs.stages import STAGES, cleanup, generate, new_context, run_all, run_stage
from daskjobs.stages.run_settings import Context
from daskjobs.stages.workers import workers_ahead
from daskjobs.version import __version__

REPEATS = "Reads what earlier stages wrote under --run, and does nothing when that has not changed."
SHORT_HELP = 200  # characters, in which the first sentence of each command has room


class Grouped(click.Group):
    """A group whose help lists the commands in the order and the groups of the table `COMMANDS`."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's
        """Write the groups."""
        for title, commands in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(str(each.name), each.get_short_help_str(SHORT_HELP)) for each in commands])


@click.group(cls=Grouped, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """Check orders in parallel, and report them to the cent.

    \b
    Begin with:    daskjobs run                      50,000 generated orders
    Then try:      daskjobs run --input orders.csv   your own
    What's wrong?  daskjobs doctor

    \b
    Exit codes: 0 done; 2 usage; 10 the input is missing, unreadable or not orders;
    11 bad configuration or version mismatch; 12 the function of a step failed;
    20 storage, 21 cluster, 22 lost work (these three may pass on a second try).
    """


@click.command(cls=Sectioned)
@stage_options
def run(log_level: str | None, **values: Any) -> None:
    """Run all stages on this machine, or on the Dask cluster that --cluster names, and print the report."""
    events.configure(log_level or "warning")
    chosen = settings(values, whole=True)
    say(f"run        {short(chosen.run_uri)}")
    context = new_context(chosen)
    print_report(context, run_all(context, with_bar))


_outputs = text_option(
    "--outputs", "A local directory for copies of the results, and for counts as <stage>/rows/<name>."
)
_given = text_option(
    "--given", "A local directory of manifests, <stage>.json: fail unless the run's manifests equal these."
)


def _stage_command(stage: Stage) -> click.Command:
    @click.command(stage.name, cls=Sectioned, help=f"{stage.summary} {REPEATS}")
    @partial(stage_options, cleanup=stage is cleanup.STAGE)
    @_outputs
    @_given
    def command(log_level: str | None, outputs: str, given: str, **values: Any) -> None:
        events.configure(log_level or "info")
        if not values["run_uri"] and stage is not generate.STAGE:
            raise UsageError(f"daskjobs {stage.name} needs --run: where the stages before it wrote their files")
        context = new_context(settings(values))
        _accept(context, given)
        _do(stage.name, context, outputs)

    return command


def _accept(context: Context, given: str) -> None:
    """Raise RefusedError unless the run's manifests equal those in a folder."""
    for path in sorted(Path(given).glob("*.json")) if given else ():
        with explained(f"read {path}"):
            data = path.read_bytes()
        context.accept(path.stem, data)


def _do(name: str, context: Context, outputs: str) -> None:
    """Run one stage, copy its artifacts, and print what it did."""
    if outputs:
        context = showing(context, outputs)
    try:
        manifest = run_stage(name, context)
    except (AccountedError, ClusterError):  # report has written its account, or cleanup its receipt
        if outputs:
            show(context, name, {}, outputs)
        raise
    if outputs:
        show(context, name, manifest.rows, outputs)
    said = {"stage": name, "run": context.settings.run_uri, "skipped": manifest.skipped}
    say(json.dumps({**said, "rows": manifest.rows}))


@click.command(cls=Sectioned)
@click.argument("names", nargs=-1, required=True, type=click.Choice([START, *STAGES]), metavar="STAGE…")
@stage_options
@_outputs
@_given
def stages(names: tuple[str, ...], log_level: str | None, outputs: str, given: str, **values: Any) -> None:
    """Run several stages in one process, as a pod does. The name `cluster` means `daskjobs cluster`."""
    events.configure(log_level or "info")
    if not values["run_uri"]:
        raise UsageError("daskjobs stages needs --run: where they write their files")
    with new_context(settings(values)).held() as held, workers_ahead(held) as context:
        _accept(context, given)
        for name in names:
            try:
                start_ahead(context) if name == START else _do(name, context, outputs)
            except DaskjobsError as error:
                raise type(error)(f"{name}: {error}") from error


COMMANDS = {
    "Commands": (run, profile, explain, step, dashboard, doctor),
    "For a Dask cluster on Kubernetes": (cluster, janitor, step_cleanup),
    "What pods run": (*map(_stage_command, STAGES.values()), stages),
}
for _command in chain(*COMMANDS.values()):
    main.add_command(_command)


def entry() -> None:
    """Run the command line: a failure prints its sentence, and a bug prints its stack trace.

    SIGTERM, which ends a pod, Ctrl-C and SIGHUP raise an exception, so that everything is closed. Only a command that
    reaches its end succeeds; a `sys.exit(0)` within it counts as a bug.
    """
    streams.lenient()
    try:
        ending.watch()
        try:
            os.getcwd()
        except OSError as error:
            raise ConfigError(
                "the working directory was removed: change to one that exists, and start again"
            ) from error
        # Not main(), which exits silently on any BrokenPipeError, even that of a socket to Dask.
        with main.make_context("daskjobs", sys.argv[1:]) as context:
            main.invoke(context)
        _leave(0)
    except DaskjobsError as error:
        _leave(error.exit_code, str(error))
    except ending.Stopped as stopped:
        _leave(stopped.number, stopped.sentence)
    except MemoryError:
        _leave(
            ConfigError.exit_code, "this process has run out of memory: allow it more (ulimit -v), or use --workers 1"
        )
    except click.ClickException as error:
        error.show(text := io.StringIO())
        for line in text.getvalue().rstrip().split("\n"):
            say(line, err=True)
        ending.tell_kubernetes(error.format_message())
        _leave(error.exit_code)
    except click.exceptions.Exit as end:  # --help
        _leave(end.exit_code)
    except BaseException:  # a bug
        click.echo(shown(traceback.format_exc()), err=True)
        _leave(1)


def _leave(code: int, sentence: str = "") -> None:
    """Exit without the interpreter's shutdown, which takes up to three seconds in a pod; everything is closed now."""
    if sentence:
        say(f"daskjobs: {sentence}", err=True)
        ending.tell_kubernetes(sentence)
    streams.flush()
    os._exit(code)
