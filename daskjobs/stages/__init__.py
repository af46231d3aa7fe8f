"""The stages in the order of the DAG: each is a module of that name, which declares its own row, `STAGE`.

These modules are imported together, so each imports the libraries of its work late, when the stage runs.
"""

import resource
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import replace

from daskjobs import events
from daskjobs.errors import ConfigError, DaskjobsError, UsageError
from daskjobs.pipeline.manifest import Manifest
from daskjobs.stages import clean, cleanup, generate, merge, report, split, told, validate
from daskjobs.stages.outcome import Outcome, of_error
from daskjobs.stages.run_settings import Context, Settings
from daskjobs.stages.workers import workers_ahead

STAGES = {
    stage.name: stage
    for stage in (generate.STAGE, split.STAGE, validate.STAGE, merge.STAGE, clean.STAGE, report.STAGE, cleanup.STAGE)
}
FIRST = (generate.NAME, split.NAME)  # with which a run begins
LEAST_MEMORY = 1 << 30  # bytes of address space; with less, the import of libraries fails in many ways


def new_context(settings: Settings) -> Context:
    """Return the context for the stages of a run."""
    return Context(settings, STAGES)


def run_stage(name: str, context: Context) -> Manifest:
    """Lock the run and run one stage; see the stage's module for what it reads and writes."""
    with events.bound(run=context.settings.run_uri):
        if name == cleanup.NAME:  # it locks the run itself, and removes the Dask cluster even when that fails
            return _execute(name, context)
        if not context.check:
            refuse(context, [name])
        with context.held() as held, held.making(name):
            if name in FIRST:
                told.begin(held)
            return _execute(name, held)


def refuse(context: Context, names: Container[str]) -> None:
    """Raise UsageError for options that make no sense, before the folder of a run is made, if split is to run.

    Other errors wait until the stage itself runs into them: then the run has begun, and has failed.
    """
    for stage in (split, validate) if split.NAME in names else ():
        try:
            stage.refuse(context)
        except UsageError:
            raise
        except DaskjobsError:
            continue


def _execute(name: str, context: Context) -> Manifest:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < LEAST_MEMORY:
        raise ConfigError(f"this process is limited to {limit >> 20} MiB of memory: allow it 1 GiB or more (ulimit -v)")
    return STAGES[name].execute(context)


def run_all(context: Context, run: Callable[[str, Context], Manifest] = run_stage) -> dict[str, Manifest]:
    """Run all stages with ``run``, and return their manifests by name; cleanup runs last, even after a failure."""
    told.refuse(context.settings)
    refuse(context, STAGES)
    with context.held() as held:
        at, manifests = "", dict[str, Manifest]()
        try:
            with workers_ahead(held) as early:
                for at in STAGES:
                    if at != cleanup.NAME:
                        manifests[at] = run(at, early)
        except BaseException as error:
            with suppress(DaskjobsError):  # the first failure is the one to report
                run_stage(cleanup.NAME, replace(held, outcome=of_error(at, error)))
            raise
        return {**manifests, cleanup.NAME: run_stage(cleanup.NAME, replace(held, outcome=Outcome()))}
