"""The command line: `daskjobs run`, each stage by its name, and what stands beside them."""

import contextlib
import io
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from daskjobs import __version__, ending, log, streams
from daskjobs.commands import START, cluster, dashboard, doctor, explain, janitor, start_ahead
from daskjobs.errors import ConfigError, DaskjobsError, InputError, UsageError
from daskjobs.names import shown
from daskjobs.options import options, settings
from daskjobs.run import Run
from daskjobs.show import show
from daskjobs.stages import STAGES, run_stage
from daskjobs.storage import explained
from daskjobs.terminal import print_report, say, short, with_bar


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """Check orders in parallel, and report them to the cent.

    \b
    Begin with:    daskjobs run                      50,000 generated orders
    Then try:      daskjobs run --input orders.csv   your own
    What's wrong?  daskjobs doctor

    \b
    Exit codes: 0 done; 2 usage; 10 the input is missing, unreadable or not orders;
    11 bad configuration or version mismatch; 20 storage, 21 cluster, 22 lost work
    (these three may pass on a second try).
    """


@main.command("run")
@options
def run_all(log_level: str | None, **values: Any) -> None:
    """Run all stages on this machine, or with --cluster on a Dask that runs, and print the report."""
    log.configure(log_level or "warning")
    chosen = settings(values)
    say(f"run        {short(chosen.run)}")
    with Run(chosen).held() as run:
        try:
            manifests = [with_bar(name, run) for name in STAGES if name != "cleanup"]
        except BaseException:
            with contextlib.suppress(DaskjobsError):  # the first failure is the one to tell
                run_stage("cleanup", run)
            raise
        run_stage("cleanup", run)
        print_report(run, manifests[-1])


_outputs = click.option(
    "--outputs",
    default="",
    envvar="DASKJOBS_OUTPUTS",
    show_envvar=True,
    help="A local directory for copies of what people look at, and of counts as <stage>/rows/<name>.",
)
_given = click.option(
    "--given",
    default="",
    envvar="DASKJOBS_GIVEN",
    show_envvar=True,
    help="A local directory of manifests, <stage>.json, which those of the run must still be the same as.",
)


def _stage_command(name: str, text: str) -> None:
    @main.command(
        name,
        help=f"{text} Reads what the stages before it wrote under --run, and does nothing when that has not changed.",
    )
    @options
    @_outputs
    @_given
    def command(log_level: str | None, outputs: str, given: str, **values: Any) -> None:
        log.configure(log_level or "info")
        if not values["run"] and name != "generate":
            raise UsageError(f"daskjobs {name} needs --run: where the stages before it wrote their files")
        run = Run(settings(values))
        _hold(run, given)
        _do(name, run, outputs)


def _hold(run: Run, given: str) -> None:
    """Hold the manifests in a folder against those of the run."""
    for path in sorted(Path(given).glob("*.json")) if given else ():
        with explained(f"read {path}"):
            data = path.read_bytes()
        run.hold(path.stem, data)


def _do(name: str, run: Run, outputs: str) -> None:
    """Run one stage, show what it has, and print what it did."""
    try:
        manifest = run_stage(name, run)
    except InputError:
        if outputs:  # the account of bad orders, as far as it is written
            show(run, name, {}, outputs)
        raise
    if outputs:
        show(run, name, manifest["rows"], outputs)
    said = {"stage": name, "run": run.settings.run, "skipped": manifest.get("skipped", False), "rows": manifest["rows"]}
    say(json.dumps(said))


@main.command()
@click.argument("names", nargs=-1, required=True, type=click.Choice([START, *STAGES]), metavar="STAGE…")
@options
@_outputs
@_given
def stages(names: tuple[str, ...], log_level: str | None, outputs: str, given: str, **values: Any) -> None:
    """Run several stages in one process, as a pod does. Among them, `cluster` stands for `daskjobs cluster`."""
    log.configure(log_level or "info")
    if not values["run"]:
        raise UsageError("daskjobs stages needs --run: where they write their files")
    with Run(settings(values)).held() as run:
        _hold(run, given)
        for name in names:
            try:
                start_ahead(run.settings) if name == START else _do(name, run, outputs)
            except DaskjobsError as error:
                raise type(error)(f"{name}: {error}") from error


for _name, _text in STAGES.items():
    _stage_command(_name, _text)


for _command in (cluster, dashboard, explain, doctor, janitor):
    main.add_command(_command)


def entry() -> None:
    """Run the command line: a failure that has a sentence prints it; a bug prints its stack trace.

    SIGTERM, which ends a pod, and Ctrl-C unwind: what was started is closed. Success is to come to the end of a
    command: whatever else says that it ends well (`sys.exit(0)`) is a bug.
    """
    streams.lenient()
    try:
        ending.watch()
        _check_working_directory()
        # Not main(), which ends in silence whenever a pipe breaks, that of a socket to Dask too.
        with main.make_context("daskjobs", sys.argv[1:]) as context:
            main.invoke(context)
        _leave(0)
    except DaskjobsError as error:
        _leave(error.exit_code, str(error))
    except ending.Stopped as stopped:
        _leave(stopped.number, stopped.sentence)
    except MemoryError:
        _leave(ConfigError.exit_code, "this process may have no more memory: allow it more (ulimit -v), or --workers 1")
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


def _check_working_directory() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise ConfigError("the working directory was removed: change to one that is there, and start again") from error


def _leave(code: int, sentence: str = "") -> None:
    """End without taking the interpreter apart: what was opened is closed, and that takes a pod up to three seconds."""
    if sentence:
        say(f"daskjobs: {sentence}", err=True)
        ending.tell_kubernetes(sentence)
    streams.flush()
    os._exit(code)
