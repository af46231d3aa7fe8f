"""The stages in the order of the DAG: each is a module of that name, and a row in the table `STAGES`.

The table imports a stage's module only when the stage runs, since the libraries behind them are slow to import.
"""

import hashlib
import resource
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fsspec.core import has_magic

from daskjobs import events
from daskjobs.configured import dask_configured
from daskjobs.display import listed
from daskjobs.errors import ConfigError, DaskjobsError, StorageError
from daskjobs.files.storage import Storage
from daskjobs.orders.validation.result import PARTITION_FILES, Ledger
from daskjobs.pipeline.manifest import Manifest
from daskjobs.pipeline.stage import Execute, Stage
from daskjobs.stages import counts
from daskjobs.stages.run_settings import Context, Settings

LEAST_MEMORY = 1 << 30  # bytes of address space; with less, libraries fail in many ways when they are imported


def _generate() -> Execute:
    from daskjobs.stages.generate import execute

    return execute


def _split() -> Execute:
    from daskjobs.stages.split import execute

    return execute


def _validate() -> Execute:
    from daskjobs.stages.validate import execute

    return execute


def _merge() -> Execute:
    from daskjobs.stages.merge import execute

    return execute


def _clean() -> Execute:
    from daskjobs.stages.clean import execute

    return execute


def _report() -> Execute:
    from daskjobs.stages.report import execute

    return execute


def _cleanup() -> Execute:
    from daskjobs.stages.cleanup import execute

    return execute


def _split_compared(settings: Settings, manifest: Manifest) -> tuple[dict[str, Any], dict[str, Any]]:
    mine = {name: getattr(settings, name) for name in settings.given}
    theirs = {"as_of": "none", **manifest.settings}
    if "input" in mine:
        mine["input"] = _input([listed(pattern) for pattern in settings.input])
        if "generate/manifest.json" in manifest.inputs:
            theirs["input"] = "none"
        elif len(settings.input) == 1 and "://" not in settings.input[0] and not has_magic(settings.input[0]):
            theirs["input"] = _input([name.removeprefix("file://") for name in manifest.inputs])
    return mine, theirs


def _input(names: list[str]) -> str | list[str]:
    return names[0] if len(names) == 1 else names


def _validate_compared(settings: Settings, manifest: Manifest) -> tuple[dict[str, Any], dict[str, Any]]:
    mine, theirs = {name: getattr(settings, name) for name in settings.given}, dict(manifest.settings)
    if "statuses" in mine:
        from daskjobs.orders.sources.names import status_names  # imports pyarrow, which few commands need

        mine["statuses"] = status_names(mine["statuses"])
    if "rules" in mine or "rule_functions" in mine:
        with suppress(StorageError):  # if the file is gone by now, validate has read it
            functions = settings.rule_functions
            mine["rules"] = (
                functions.sha256
                if functions
                else hashlib.sha256(Storage(settings.run_uri).read(settings.rules)).hexdigest()
            )
            theirs["rules"] = manifest.inputs.get("rules", "none")
    return mine, theirs


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "generate",
            "Write synthetic orders with known anomalies.",
            needs=(),
            files=("orders/orders.csv", "orders/truth.parquet"),
            rows=counts.GenerateRows,
            load=_generate,
        ),
        Stage(
            "split",
            "Find partitions of whole rows, without copying the data.",
            needs=("generate",),
            files=("split/partitions.json", "split/input-*.csv"),
            rows=counts.SplitRows,
            load=_split,
            compared=_split_compared,
        ),
        Stage(
            "validate",
            "Check every partition in parallel on a Dask cluster.",
            needs=("split",),
            files=(
                "validate/rules.json",
                "validate/performance.html",
                "validate/repeats-*.pieces",
                *(f"validate/part-*/{name}" for name in PARTITION_FILES.values()),
            ),
            rows=Ledger,
            load=_validate,
            artifacts=("validate/performance.html",),
            lasting=("validate/facts.json", *(f"validate/part-*/{name}" for name in PARTITION_FILES.values())),
            compared=_validate_compared,
        ),
        Stage(
            "merge",
            "Prove that every row is there exactly once, and commit them as one dataset.",
            needs=("split", "validate"),
            files=("merge/quarantine.parquet", "merge/quarantine.csv", "merge/rejected-*.csv"),
            rows=counts.MergeRows,
            load=_merge,
            artifacts=("merge/quarantine.csv",),
        ),
        Stage(
            "clean",
            "Keep the orders that are valid and paid.",
            needs=("merge",),
            files=("clean/summary.parquet",),
            rows=counts.CleanRows,
            load=_clean,
        ),
        Stage(
            "report",
            "Write analytics_report.json, quality.json, facts.json and report.html.",
            needs=("validate", "merge", "clean"),
            files=("report/analytics_report.json", "report/quality.json", "report/report.html"),
            rows=counts.ReportRows,
            load=_report,
            artifacts=("report/report.html", "report/analytics_report.json", "report/quality.json"),
        ),
        Stage(
            "cleanup",
            "Remove what the run left running, and write the receipt.",
            needs=(),
            files=("cleanup/receipt.json",),
            rows=counts.CleanupRows,
            load=_cleanup,
            artifacts=("cleanup/receipt.json",),
            lasting=("cleanup/receipt.json",),
        ),
    )
}


def new_context(settings: Settings) -> Context:
    """Return the context that the stages of a run are given."""
    return Context(settings, STAGES)


def run_stage(name: str, context: Context) -> Manifest:
    """Run one stage while holding the run; see the stage's module for what it reads and writes."""
    with events.bound(run=context.settings.run_uri):
        if name == "cleanup":  # it holds the run itself, and removes the Dask cluster even when that fails
            return _loaded(name)(context)
        with context.held() as held, held.making(name):
            return _loaded(name)(held)


def _loaded(name: str) -> Execute:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < LEAST_MEMORY:
        raise ConfigError(f"this process is limited to {limit >> 20} MiB of memory: allow it 1 GiB or more (ulimit -v)")
    with dask_configured():
        return STAGES[name].load()


def run_all(context: Context, run: Callable[[str, Context], Manifest] = run_stage) -> Manifest:
    """Run all stages with ``run``, and return the report's manifest; cleanup runs last, even after a failure."""
    with context.held() as held:
        try:
            manifests = [run(name, held) for name in STAGES if name != "cleanup"]
        except BaseException:
            with suppress(DaskjobsError):  # the first failure is the one to report
                run_stage("cleanup", held)
            raise
        run_stage("cleanup", held)
    return manifests[-1]
