"""The commands besides `run` and the stages that start a run's cluster early, look at one, or clean up."""

import json
from typing import Any

import click

from daskjobs import events
from daskjobs.cli.parameters import Sectioned, option, settings, stage_options, text_option
from daskjobs.cli.terminal import say
from daskjobs.cluster.backends import settings_of
from daskjobs.cluster.kubernetes import KubernetesSettings, kubernetes_packages
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import ConfigError, UsageError
from daskjobs.stages import new_context
from daskjobs.stages.ahead import ahead
from daskjobs.stages.run_settings import Context

START = "cluster"
PENDING_SECONDS = 300.0


@click.command(START, cls=Sectioned)
@stage_options
def cluster(log_level: str | None, **values: Any) -> None:
    """Ask for a run's Dask cluster on Kubernetes before validate needs it, and don't wait for it."""
    events.configure(log_level or "info")
    if not values["run_uri"]:
        raise UsageError("daskjobs cluster needs --run: where the stages write their files")
    start_ahead(new_context(settings(values)))


def start_ahead(context: Context) -> None:
    """Ask for the run's Dask cluster, and print whether it was created, reused, or left to validate."""
    said = {"stage": START, "run": context.settings.run_uri, "cluster": context.settings.cluster.backend}
    say(json.dumps({**said, "how": ahead(context)}))


@click.command()
@option("--run", default="runs", envvar="DASKJOBS_RUN", show_envvar=True, help="Where the run's files would live.")
@option(
    "--cluster",
    default=ClusterSettings.backend,
    show_default=True,
    help="Where Dask would run: local, kubernetes, or the address of a scheduler.",
)
@text_option("--namespace", "On Kubernetes: the namespace to check.")
@option("--image", default="", help="On Kubernetes: an image; a pod of it is started and removed.")
@option("--network", is_flag=True, help="On Kubernetes: check with three pods of the image who reaches whom.")
@option(
    "--storage/--no-storage",
    default=True,
    help="Whether to check --run, which your own steps don't need.  [default: yes]",
)
def doctor(run: str, cluster: str, namespace: str, image: str, network: bool, storage: bool) -> None:
    """Check this machine, or a Kubernetes cluster, for what a run needs, and say what is missing."""
    from daskjobs.cli.doctor import examine  # imported late: no other command needs its packages

    if network and (cluster != "kubernetes" or not image):
        raise UsageError("--network needs --cluster kubernetes, and --image for the pods that it starts there")
    bad = 0
    for finding in examine(run if storage else "", settings_of(backend=cluster, namespace=namespace), image, network):
        say(f"{'ok  ' if finding.good else 'FAIL'}  {finding.what}")
        bad += not finding.good
    if bad:
        click.get_current_context().exit(ConfigError.exit_code)


@click.command()
@option("--workflow", required=True, help="The name of a running workflow.")
@option("--step", default="", help="Which of several steps: its task's or node's name, or the end of the node's.")
@text_option("--namespace", "The workflow's namespace.")
@option(
    "--start-timeout",
    default=KubernetesSettings.start_timeout,
    show_default=True,
    help="Seconds to wait for its Dask cluster.",
)
def dashboard(workflow: str, step: str, namespace: str, start_timeout: float) -> None:
    """Forward the Dask dashboard of a running workflow to this machine, and follow its progress until its work ends.

    Stopping this command does no harm to the run.
    """
    with kubernetes_packages():
        from daskjobs.cluster.kubernetes.dashboard import watch
    for line in watch(KubernetesSettings(namespace=namespace, workflow=workflow, start_timeout=start_timeout), step):
        click.echo(line)


@click.command()
@text_option("--namespace", "The namespace to look at.")
@option(
    "--delete-timeout",
    default=KubernetesSettings.delete_timeout,
    envvar="DASKJOBS_DELETE_TIMEOUT",
    show_envvar=True,
    show_default=True,
    help="Seconds until deleted objects must be gone.",
)
@option(
    "--pending-timeout",
    default=PENDING_SECONDS,
    envvar="DASKJOBS_PENDING_TIMEOUT",
    show_envvar=True,
    show_default=True,
    help="Seconds until a pod of a workflow must have started.",
)
def janitor(namespace: str, delete_timeout: float, pending_timeout: float) -> None:
    """Remove Dask clusters on Kubernetes whose run has ended or is gone, or which are past their deadline.

    A pod of a workflow that does not start (its image can't be pulled, or no node has room) is ended: its task fails.
    """
    with kubernetes_packages():
        from daskjobs.cluster.kubernetes.janitor import sweep
    for line in sweep(KubernetesSettings(namespace=namespace, delete_timeout=delete_timeout), pending_timeout):
        say(line)


COMMANDS = {str(each.name): each for each in (cluster, dashboard, doctor, janitor)}
