"""The command line: `daskjobs run`, each stage by its name, and `daskjobs doctor`."""

import contextlib
import json
import os
import signal
import sys
from typing import Any

import click

from daskjobs import __version__, log
from daskjobs import doctor as doctors
from daskjobs.errors import ConfigError, DaskjobsError, UsageError
from daskjobs.extras import kubernetes_module
from daskjobs.options import DEFAULTS, options, settings
from daskjobs.run import Run
from daskjobs.settings import KUBERNETES, LOCAL, Settings
from daskjobs.show import show, tell_kubernetes
from daskjobs.stages import STAGES, run_stage
from daskjobs.terminal import print_report, short, with_bar


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
    click.echo(f"run        {short(chosen.run)}")
    try:
        manifests = [with_bar(name, chosen) for name in STAGES if name != "cleanup"]
    except BaseException:
        with contextlib.suppress(DaskjobsError):  # the first failure is the one to tell
            run_stage("cleanup", Run(chosen))
        raise
    run_stage("cleanup", Run(chosen))
    print_report(Run(chosen), manifests[-1])


def _stage_command(name: str, text: str) -> None:
    @main.command(
        name,
        help=f"{text} Reads what the stages before it wrote under --run, and does nothing when that has not changed.",
    )
    @options
    @click.option(
        "--outputs",
        default="",
        envvar="DASKJOBS_OUTPUTS",
        show_envvar=True,
        help="A local directory for copies of what people look at, and of the row counts as rows/<name>.",
    )
    def command(log_level: str | None, outputs: str, **values: Any) -> None:
        log.configure(log_level or "info")
        if not values["run"] and name != "generate":
            raise UsageError(f"daskjobs {name} needs --run: where the stages before it wrote their files")
        chosen = settings(values)
        manifest = run_stage(name, Run(chosen))
        if outputs:
            show(Run(chosen), manifest, outputs)
        click.echo(
            json.dumps(
                {"stage": name, "run": chosen.run, "skipped": manifest.get("skipped", False), "rows": manifest["rows"]}
            )
        )


for _name, _text in STAGES.items():
    _stage_command(_name, _text)


@main.command()
@click.option(
    "--run", default="runs", envvar="DASKJOBS_RUN", show_envvar=True, help="Where the run's files would live."
)
@click.option(
    "--cluster", type=click.Choice([LOCAL, KUBERNETES]), default=LOCAL, show_default=True, help="Where Dask would run."
)
@click.option("--namespace", default="", envvar="DASKJOBS_NAMESPACE", show_envvar=True, help="On Kubernetes: where.")
@click.option("--image", default="", help="On Kubernetes: an image to start a pod of, and remove again.")
def doctor(run: str, cluster: str, namespace: str, image: str) -> None:
    """Say what is missing on this machine, or in a Kubernetes cluster, before a run would find out."""
    findings = doctors.examine(run)
    if cluster == KUBERNETES:
        findings = kubernetes_module("doctor_kubernetes").examine(Settings(run=run, namespace=namespace), image)
    bad = 0
    for finding in findings:
        click.echo(f"{'ok  ' if finding.good else 'FAIL'}  {finding.what}")
        bad += not finding.good
    sys.exit(ConfigError.exit_code if bad else 0)


@main.command()
@click.option("--namespace", default="", envvar="DASKJOBS_NAMESPACE", show_envvar=True, help="Where to look.")
@click.option(
    "--delete-timeout",
    default=DEFAULTS["delete_timeout"],
    envvar="DASKJOBS_DELETE_TIMEOUT",
    show_envvar=True,
    show_default=True,
    help="Seconds until what was deleted must be gone.",
)
def janitor(namespace: str, delete_timeout: float) -> None:
    """Remove Dask clusters on Kubernetes whose run is over or gone, or which are past their deadline."""
    chosen = Settings(run="", cluster=KUBERNETES, namespace=namespace, delete_timeout=delete_timeout)
    for line in kubernetes_module("janitor").sweep(chosen):
        click.echo(line)


def entry() -> None:
    """Run the command line: a failure that has a sentence prints it; a bug prints its stack trace.

    SIGTERM, which ends a pod, unwinds like Ctrl-C does: what was started is closed.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        main()
    except DaskjobsError as error:
        click.echo(f"daskjobs: {error}", err=True)
        tell_kubernetes(str(error))
        _leave(error.exit_code)
    except SystemExit as end:  # click ends every command so
        _leave(end.code if isinstance(end.code, int) else 0)


def _leave(code: int) -> None:
    """End without taking the interpreter apart: what was opened is closed, and that takes a pod up to three seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
