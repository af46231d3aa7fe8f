"""The commands that keep an installation well: `daskjobs doctor` and `daskjobs janitor`."""

import sys

import click

from daskjobs import doctor as doctors
from daskjobs.errors import ConfigError
from daskjobs.extras import kubernetes_module
from daskjobs.options import DEFAULTS
from daskjobs.settings import KUBERNETES, LOCAL, Settings


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
        click.echo(f"{'ok  ' if finding.good else 'FAIL'}  {finding.what}")
        bad += not finding.good
    sys.exit(ConfigError.exit_code if bad else 0)


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
def janitor(namespace: str, delete_timeout: float) -> None:
    """Remove Dask clusters on Kubernetes whose run is over or gone, or which are past their deadline."""
    chosen = Settings(run="", cluster=KUBERNETES, namespace=namespace, delete_timeout=delete_timeout)
    for line in kubernetes_module("janitor").sweep(chosen):
        click.echo(line)
