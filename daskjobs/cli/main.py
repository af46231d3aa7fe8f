"""The command line: `daskjobs run`, a command for each stage, and a few more."""

import io
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import click

from daskjobs.cli import streams
from daskjobs.cli.terminal import say
from daskjobs.display import shown
from daskjobs.errors import ConfigError, DaskjobsError
from daskjobs.pipeline import ending
from daskjobs.version import __version__


def _running(name: str) -> click.Command:
    from daskjobs.cli import running

    return running.command(name)


def _profile(_: str) -> click.Command:
    from daskjobs.cli.profile import profile

    return profile


def _explain(_: str) -> click.Command:
    from daskjobs.cli.explain import explain

    return explain


def _pending(_: str) -> click.Command:
    from daskjobs.cli.pending import pending

    return pending


def _step(name: str) -> click.Command:
    from daskjobs.cli import step

    return step.COMMANDS[name]


def _history(_: str) -> click.Command:
    from daskjobs.cli.history import history

    return history


def _other(name: str) -> click.Command:
    from daskjobs.cli import commands

    return commands.COMMANDS[name]


# The help's groups of commands in their order, each command with its first sentence, so that the help need not import
# them; a test compares the sentences with the commands' own.
COMMANDS = {
    "Commands": {
        "run": "Run all stages on this machine, or on the Dask cluster that --cluster names, and print the report.",
        "profile": "List the presets for --profile, print one, or propose a profile for your files.",
        "pending": "List the files that no good run of a series has read yet, one a line, as --input takes them.",
        "explain": "Show what became of a row of the input, of the rows with a reason, or of an order in many runs.",
        "history": "Show what the runs of a series come to, and its last nights; SERIES is the folder that holds runs.",
        "step": "Call a function with a Dask client, on a cluster of its own, and print its result as JSON.",
        "dashboard": "Forward the Dask dashboard of a running workflow to this machine, and follow its progress until "
        "its work ends.",
        "doctor": "Check this machine, or a Kubernetes cluster, for what a run needs, and say what is missing.",
    },
    "For a Dask cluster on Kubernetes": {
        "cluster": "Ask for a run's Dask cluster on Kubernetes before validate needs it, and don't wait for it.",
        "janitor": "Remove Dask clusters on Kubernetes whose run has ended or is gone, or which are past their "
        "deadline.",
        "step-cleanup": "Remove what a step left of its Dask cluster, wait until each object is gone, and write a "
        "receipt.",
    },
    "What pods run": {
        # made by `make generate`: stages and their sentences
        "generate": "Write synthetic orders with known anomalies.",
        "split": "Find partitions of whole rows, without copying the data.",
        "validate": "Check every partition in parallel on a Dask cluster.",
        "merge": "Prove that every row is there exactly once, and commit them as one dataset.",
        "clean": "Keep the paid orders.",
        "report": "Write analytics_report.json, quality.json, facts.json and report.html.",
        "cleanup": "Remove what the run left running, write the receipt, and tell how the run ended.",
        # made until here
        "stages": "Run several stages in one process, as a pod does.",
    },
}
NAMES = [name for listed in COMMANDS.values() for name in listed]
# What imports a command, where that is not `_running`.
IMPORTED_BY = {
    "profile": _profile,
    "history": _history,
    "pending": _pending,
    **dict.fromkeys(("step", "step-cleanup"), _step),
    "explain": _explain,
    **dict.fromkeys(("dashboard", "doctor", "cluster", "janitor"), _other),
}


class Imported(Mapping[str, click.Command]):
    """The commands by their names; each is imported when it is looked up, since it needs only some libraries."""

    def __getitem__(self, name: str) -> click.Command:
        return IMPORTED_BY.get(name, _running)(name)

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


class Grouped(click.Group):
    """A group whose help lists the commands as the table `COMMANDS` does."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's
        """Write the groups."""
        for title, listed in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([*listed.items()])


_commands: Any = Imported()  # which click only reads


@click.group(
    cls=Grouped,
    commands=_commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
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
    except BaseException as error:
        if isinstance(cause := error.__cause__, ending.Stopped):  # while Python made a class, up to 3.11
            _leave(cause.number, cause.sentence)
        click.echo(shown(traceback.format_exc()), err=True)  # a bug
        _leave(1)


def _leave(code: int, sentence: str = "") -> None:
    """Exit without the interpreter's shutdown, which takes up to three seconds in a pod; everything is closed now."""
    if sentence:
        say(f"daskjobs: {sentence}", err=True)
        ending.tell_kubernetes(sentence)
    streams.flush()
    os._exit(code)
