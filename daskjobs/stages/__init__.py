"""The stages, in the order of the DAG: one module each, named as its task, subcommand and folder are."""

import resource
from importlib import import_module

from daskjobs.errors import ConfigError
from daskjobs.extras import dask_configured
from daskjobs.manifest import Manifest
from daskjobs.run import Run

LEAST_MEMORY = 1 << 30  # bytes of address space: with less, libraries end in all kinds of errors when they are loaded
STAGES = {
    "generate": "Write synthetic orders with known anomalies.",
    "split": "Find partitions of whole rows, without copying the data.",
    "validate": "Check every partition in parallel on a Dask cluster.",
    "merge": "Prove that every row is there exactly once, and commit them as one dataset.",
    "clean": "Keep the orders that are valid and paid.",
    "report": "Write analytics_report.json, quality.json, run.json and report.html.",
    "cleanup": "Remove what the run left running, and write the receipt.",
}


def run_stage(name: str, run: Run) -> Manifest:
    """Run one stage, while no other process works on the run; see its module for what it reads and writes."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < LEAST_MEMORY:
        raise ConfigError(f"this process may have {limit >> 20} MiB of memory: allow it 1 GiB or more (ulimit -v)")
    with dask_configured():
        module = import_module(f"daskjobs.stages.{name}")
    if name == "cleanup":  # which removes the run's Dask cluster even where the run's files can't be reached
        manifest: Manifest = module.run(run)
        return manifest
    with run.held() as held:
        manifest = module.run(held)
    return manifest
