"""`daskjobs run`, and the commands of stages, which pods run."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from daskjobs import events
from daskjobs.cli.commands import START, start_ahead
from daskjobs.cli.parameters import Sectioned, settings, stage_options, text_option
from daskjobs.cli.progress import print_report, with_bar
from daskjobs.cli.terminal import say, short
from daskjobs.errors import ClusterError, DaskjobsError, UsageError
from daskjobs.files.arrow import spare_pandas
from daskjobs.files.storage import explained
from daskjobs.memory import keep_memory
from daskjobs.pipeline.context import AccountedError
from daskjobs.pipeline.manifest import Manifest
from daskjobs.pipeline.stage import Stage
from daskjobs.stages import STAGES, cleanup, generate, new_context, refuse, run_all, run_stage
from daskjobs.stages.dropped import with_dropped
from daskjobs.stages.outcome import of_argo
from daskjobs.stages.run_settings import Context, Settings
from daskjobs.stages.workers import workers_ahead

REPEATS = "Reads what earlier stages wrote under --run, and does nothing when that has not changed."


_outputs = text_option(
    "--outputs", "A local directory for copies of the results, and for counts as <stage>/rows/<name>."
)


@click.command(cls=Sectioned)
@stage_options
@_outputs
def run(log_level: str | None, outputs: str, **values: Any) -> None:
    """Run all stages on this machine, or on the Dask cluster that --cluster names, and print the report."""
    events.configure(log_level or "warning")
    chosen = settings(values, whole=True)
    say(f"run        {short(chosen.run_uri)}")
    context = _context(chosen)
    print_report(context, run_all(*_showing(context, outputs)))


_given = text_option(
    "--given",
    "A local directory of manifests, <stage>.json: fail unless the run's manifests equal these. A file named orders in "
    "it is the input, and is copied into the run.",
)


def _ended(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options by which Argo tells an exit handler how the workflow ended."""
    for flag, help in (
        ("--workflow-failures", "The value of workflow.failures: the failed tasks, and their messages."),
        ("--workflow-status", "The value of workflow.status: how the workflow ended, as Argo tells its exit handler."),
    ):
        command = text_option(flag, help)(command)
    return command


def _as_it_is(command: Callable[..., Any]) -> Callable[..., Any]:
    return command


def _context(chosen: Settings, only: str = "") -> Context:
    """Return the context of a process that does nothing but this run, or this stage of it.

    So libraries need not start what that won't use: numpy would start threads for linear algebra (0.04 s), and pyarrow
    would import pandas (0.15 s). And what they have freed is theirs. cleanup reads no data, and needs none of them.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # which Dask's workers have in any case
    if only != cleanup.NAME:
        if not chosen.rules:  # which get frames of pandas
            spare_pandas()
        keep_memory()
    return new_context(chosen)


def _stage_command(stage: Stage) -> click.Command:
    @click.command(stage.name, cls=Sectioned, help=f"{stage.summary} {REPEATS}")
    @partial(stage_options, cleanup=stage is cleanup.STAGE)
    @_outputs
    @_given
    @(_ended if stage is cleanup.STAGE else _as_it_is)
    def command(
        log_level: str | None,
        outputs: str,
        given: str,
        workflow_status: str = "",
        workflow_failures: str = "",
        **values: Any,
    ) -> None:
        events.configure(log_level or "info")
        if not values["run_uri"] and stage is not generate.STAGE:
            raise UsageError(f"daskjobs {stage.name} needs --run: where the stages before it wrote their files")
        context = replace(_context(settings(values), stage.name), outcome=of_argo(workflow_status, workflow_failures))
        _accept(context, given)
        _do(stage.name, context if stage is cleanup.STAGE else with_dropped(context, given), outputs)

    return command


def _accept(context: Context, given: str) -> None:
    """Raise RefusedError unless the run's manifests equal those in a folder."""
    for path in sorted(Path(given).glob("*.json")) if given else ():
        with explained(f"read {path}"):
            data = path.read_bytes()
        context.accept(path.stem, data)


def _showing(context: Context, outputs: str) -> tuple[Context, Callable[[str, Context], Manifest]]:
    """Return what `run_all` takes to show a bar for each stage, and to copy its artifacts."""
    if not outputs:
        return context, with_bar
    from daskjobs.cli.artifacts import show, showing

    def run(name: str, context: Context) -> Manifest:
        try:
            manifest = with_bar(name, context)
        except (AccountedError, ClusterError):
            show(context, name, {}, outputs)
            raise
        show(context, name, manifest.rows, outputs)
        return manifest

    return showing(context, outputs), run


def _do(name: str, context: Context, outputs: str) -> None:
    """Run one stage, copy its artifacts, and print what it did."""
    if outputs:
        from daskjobs.cli.artifacts import show, showing  # imported late: a run on a laptop has none

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
    alone = _context(settings(values))
    refuse(alone, names)
    with alone.held() as held, workers_ahead(held) as context:
        _accept(context, given)
        context = with_dropped(context, given)
        for name in names:
            try:
                start_ahead(context) if name == START else _do(name, context, outputs)
            except DaskjobsError as error:
                raise type(error)(f"{name}: {error}") from error


def command(name: str) -> click.Command:
    """Return the command `run`, `stages` or a stage's, and make no other."""
    return {"run": run, "stages": stages}.get(name) or _stage_command(STAGES[name])
