"""The commands beside `run` and the stages: they look, and tidy up."""

import json
from importlib import import_module
from typing import Any

import click

from daskjobs import doctor as doctors
from daskjobs import log
from daskjobs.errors import ConfigError, UsageError
from daskjobs.extras import kubernetes_module
from daskjobs.options import DEFAULTS, options, settings
from daskjobs.run import Run
from daskjobs.settings import KUBERNETES, LOCAL, Settings
from daskjobs.terminal import say

START = "cluster"


@click.command()
@click.option("--run", required=True, envvar="DASKJOBS_RUN", show_envvar=True, help="Where the run's files are.")
@click.option("--row", required=True, type=click.IntRange(1), help="The row's number in its file, from 1.")
@click.option(
    "--source", default="", help="The file that the row is of, or the end of its name, where there are several."
)
@click.option(
    "--input",
    "pattern",
    default="",
    help="The run's --input again, where its URI has a password or token: these are stored nowhere.",
)
def explain(run: str, row: int, source: str, pattern: str) -> None:
    """Show a row of the input, its partition, and why it was rejected."""
    found = import_module("daskjobs.explain").explain(Run(settings({"run": run, "input": pattern})), row, source)
    say(f"row        {found.row} of {found.source}")
    say(f"partition  {found.partition}")
    for line in found.verdict:
        say(line)
    say(f"text       {found.raw}")


@click.command(START)
@options
def cluster(log_level: str | None, **values: Any) -> None:
    """Start a run's Dask cluster on Kubernetes ahead of validate, and don't wait for it; no other needs that."""
    log.configure(log_level or "info")
    if not values["run"]:
        raise UsageError("daskjobs cluster needs --run: where the stages write their files")
    start_ahead(settings(values))


def start_ahead(chosen: Settings) -> None:
    """Start the run's Dask cluster where it is to be one on Kubernetes, and print how."""
    how = kubernetes_module("start").ahead(Run(chosen)) if chosen.cluster == KUBERNETES else "left to validate"
    say(json.dumps({"stage": START, "run": chosen.run, "cluster": chosen.cluster, "how": how}))


@click.command()
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
        say(f"{'ok  ' if finding.good else 'FAIL'}  {finding.what}")
        bad += not finding.good
    if bad:
        click.get_current_context().exit(ConfigError.exit_code)


@click.command()
@click.option("--workflow", required=True, help="The name of the workflow that runs.")
@click.option("--namespace", default="", envvar="DASKJOBS_NAMESPACE", show_envvar=True, help="Where it runs.")
@click.option(
    "--start-timeout",
    default=DEFAULTS["start_timeout"],
    show_default=True,
    help="Seconds to wait for its Dask cluster.",
)
def dashboard(workflow: str, namespace: str, start_timeout: float) -> None:
    """Show the Dask dashboard of a workflow that runs on Kubernetes here, and how far it is, until validate ends.

    To leave, or to be killed, does no harm to the run.
    """
    chosen = Settings(run="", cluster=KUBERNETES, namespace=namespace, workflow=workflow, start_timeout=start_timeout)
    for line in kubernetes_module("dashboard").watch(chosen):
        click.echo(line)


@click.command()
@click.option("--namespace", default="", envvar="DASKJOBS_NAMESPACE", show_envvar=True, help="Where to look.")
@click.option(
    "--delete-timeout",
    default=DEFAULTS["delete_timeout"],
    envvar="DASKJOBS_DELETE_TIMEOUT",
    show_envvar=True,
    show_default=True,
    help="Seconds until what was deleted must be gone.",
)
@click.option(
    "--pending-timeout",
    default=DEFAULTS["pending_timeout"],
    envvar="DASKJOBS_PENDING_TIMEOUT",
    show_envvar=True,
    show_default=True,
    help="Seconds within which a pod of a workflow must have started.",
)
def janitor(namespace: str, delete_timeout: float, pending_timeout: float) -> None:
    """Remove Dask clusters on Kubernetes whose run is over or gone, or which are past their deadline.

    A workflow's pod that does not start (an image that can't be pulled, no room) is given up, and its task fails.
    """
    chosen = Settings(
        run="", cluster=KUBERNETES, namespace=namespace, delete_timeout=delete_timeout, pending_timeout=pending_timeout
    )
    for line in kubernetes_module("janitor").sweep(chosen):
        say(line)
