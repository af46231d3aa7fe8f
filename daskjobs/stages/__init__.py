"""The stages, in the order of the DAG: one module each, named as its task, subcommand and folder are."""

from importlib import import_module

from daskjobs.manifest import Manifest
from daskjobs.run import Run

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
    module = import_module(f"daskjobs.stages.{name}")
    if name == "cleanup":  # which removes the run's Dask cluster even where the run's files can't be reached
        manifest: Manifest = module.run(run)
        return manifest
    with run.held() as held:
        manifest = module.run(held)
    return manifest
