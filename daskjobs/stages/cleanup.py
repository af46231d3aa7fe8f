"""Remove what the run left running or half written, and write the receipt; safe to run at any time, and again."""

import json

from daskjobs.log import event
from daskjobs.run import Manifest, Run, dump

NAME = "cleanup"
RECEIPT = "cleanup/receipt.json"


def run(run: Run) -> Manifest:
    """Write cleanup/receipt.json: what was removed, and what could not be.

    A LocalCluster ends with the process that started it, and a scheduler that ran already isn't ours to stop:
    what remains to remove is files that a killed process had begun.
    """
    removed = [name for name in run.storage.names("") if ".part-" in name.rsplit("/", 1)[-1]]
    for name in removed:
        run.storage.remove(name)
    receipt = {"run": run.settings.run, "cluster": run.settings.cluster, "removed": removed, "remaining": []}
    run.storage.put(RECEIPT, dump(receipt))
    event("cleanup.done", run=run.settings.run, removed=json.dumps(removed), remaining=0)
    return {"stage": NAME, "rows": {}, **receipt}
