"""Remove what the run left running or half written, and prove it; safe to run at any time, and again."""

from typing import Any

from daskjobs.errors import ClusterError
from daskjobs.extras import kubernetes_module
from daskjobs.log import event
from daskjobs.run import Manifest, Run, dump
from daskjobs.settings import KUBERNETES

NAME = "cleanup"
RECEIPT = "cleanup/receipt.json"


def run(run: Run) -> Manifest:
    """Write cleanup/receipt.json: the objects of the run's Dask cluster, and which of them could not be removed.

    A local cluster ends with the process that started it, and a scheduler that ran already isn't ours to stop.
    Raises ClusterError, once the receipt is written, when something could not be removed.
    """
    # The cluster first: it must go even where the storage does not answer.
    objects, remaining = _remove_cluster(run) if run.settings.cluster == KUBERNETES else ([], [])
    files = [name for name in run.storage.names("") if ".part-" in name.rsplit("/", 1)[-1]]
    for name in files:
        run.storage.remove(name)
    receipt: dict[str, Any] = {"run": run.settings.run, "cluster": run.settings.cluster, "removed_files": files}
    known = run.facts("validate").get("objects", [])  # what validate has removed itself
    objects = known + [each for each in objects if each not in known]
    receipt |= {"objects": objects, "remaining": remaining}
    run.storage.put(RECEIPT, dump(receipt))
    event("cleanup.done", run=run.settings.run, files=len(files), objects=len(objects), remaining=len(remaining))
    if remaining:
        names = ", ".join(f"{found['kind'].lower()}/{found['name']}" for found in remaining)
        raise ClusterError(
            f"still there {run.settings.delete_timeout:.0f} s after it was deleted: {names}; is the Dask operator "
            f"running? Remove it with: kubectl delete {names.replace(', ', ' ')}"
        )
    return {"stage": NAME, "rows": {"objects": len(objects), "files": len(files)}}


def _remove_cluster(run: Run) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Delete the run's Dask cluster; return every object that it had, and those that outlived the time limit."""
    kubernetes = kubernetes_module("kubernetes")
    api = kubernetes.connect(run.settings)
    found = kubernetes.find(api, run.settings)
    for made in kubernetes.find(api, run.settings, (kubernetes.DaskCluster,)):
        kubernetes.delete(made)
    remaining = [kubernetes.describe(each) for each in kubernetes.await_gone(api, run.settings)]
    return [kubernetes.describe(each) for each in found], remaining
