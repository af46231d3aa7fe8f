"""Remove what the run left running or half written, and prove it; safe to run at any time, and again."""

from datetime import UTC, datetime
from typing import Any

from daskjobs.extras import kubernetes_module
from daskjobs.log import event
from daskjobs.manifest import Manifest, dump
from daskjobs.run import Run
from daskjobs.settings import KUBERNETES

NAME = "cleanup"
RECEIPT = "cleanup/receipt.json"


def run(run: Run) -> Manifest:
    """Write cleanup/receipt.json: every object of the run's Dask cluster, and those that could not be removed.

    A local cluster ends with the process that started it, and a scheduler that ran already isn't ours to stop.
    Raises ClusterError, once the receipt is written, when something could not be removed.
    """
    if run.settings.cluster != KUBERNETES:
        return _receipt(run, [], [])
    # The cluster first, and what stayed of it is told last: it matters most, even where the storage does not answer.
    removal = kubernetes_module("removal")
    removed = removal.remove_run(run.settings)
    try:
        return _receipt(run, removed.objects, removed.remaining)
    finally:
        removal.check(removed.remaining, run.settings.delete_timeout)


def _receipt(run: Run, objects: list[dict[str, str]], remaining: list[dict[str, str]]) -> Manifest:
    files = [name for name in run.storage.names("") if ".part-" in name.rsplit("/", 1)[-1]]
    for name in files:
        run.storage.remove(name)
    known = run.facts("validate").get("objects", [])  # of each of its attempts, which may have removed them
    objects = known + [each for each in objects if each not in known]
    receipt: dict[str, Any] = {
        "run": run.settings.run,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cluster": run.settings.cluster,
        "removed_files": files,
        "objects": objects,
        "remaining": remaining,
    }
    run.storage.put(RECEIPT, dump(receipt))
    event("cleanup.done", run=run.settings.run, files=len(files), objects=len(objects), remaining=len(remaining))
    return run.unfiled(NAME, {"objects": len(objects), "files": len(files), "remaining": len(remaining)})
