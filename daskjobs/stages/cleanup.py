"""Remove what the run left running or half written, and prove it; safe to run at any time, and again."""

from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from daskjobs import layout
from daskjobs.errors import DaskjobsError, LostWorkError
from daskjobs.extras import kubernetes_module
from daskjobs.lease import InUseError
from daskjobs.log import event
from daskjobs.manifest import Manifest, dump
from daskjobs.run import Run
from daskjobs.settings import KUBERNETES

NAME = "cleanup"
RECEIPT = "cleanup/receipt.json"


def run(run: Run) -> Manifest:
    """Write cleanup/receipt.json: every object of the run's Dask cluster, and those that could not be removed.

    A local cluster ends with the process that started it, and a scheduler that ran already isn't ours to stop.
    Raises ClusterError, once the receipt is written, when something could not be removed, and InUseError, having
    removed nothing, while another process works on the run.
    """
    if run.settings.cluster != KUBERNETES:
        with run.held() as held:
            return _receipt(held, [], [])
    # The cluster first, and what stayed of it is told last: it matters most, even where the storage does not answer.
    removal = kubernetes_module("removal")
    with ExitStack() as stack:
        unheld = None
        try:
            run = stack.enter_context(run.held())
        except (InUseError, LostWorkError):
            raise
        except DaskjobsError as error:
            unheld = error
        removed = removal.remove_run(run.settings)
        try:
            if unheld:
                raise unheld
            return _receipt(run, removed.objects, removed.remaining)
        finally:
            removal.check(removed.remaining, run.settings.delete_timeout)


def _receipt(run: Run, objects: list[dict[str, str]], remaining: list[dict[str, str]]) -> Manifest:
    files = layout.partial(run.storage.names(""))
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
    run.storage.put(RECEIPT, dump(receipt), durable=True)
    event("cleanup.done", run=run.settings.run, files=len(files), objects=len(objects), remaining=len(remaining))
    return run.unfiled(NAME, {"objects": len(objects), "files": len(files), "remaining": len(remaining)})
