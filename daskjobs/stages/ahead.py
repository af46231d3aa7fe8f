"""Ask for the run's Dask cluster while the stages before validate run, so that it is ready when validate needs it."""

from daskjobs.cluster.backends import backend_of
from daskjobs.cluster.connection import Workload
from daskjobs.orders.validation.result import TASK_MODULES
from daskjobs.pipeline import lease
from daskjobs.stages.run_settings import Context

LATER = "left to validate"


def ahead(context: Context) -> str:
    """Start the cluster where its backend can, note its objects for the receipt, and say how it was started.

    Where validate has been done, it most likely needs no cluster, so that is left to it.
    """
    settings, validate = context.settings, context.stages["validate"]
    start_ahead = backend_of(settings.cluster).start_ahead
    if start_ahead is None or context.storage.size(validate.manifest) is not None:
        return LATER
    lease.mark(settings.run_uri)  # what is noted here may be the run's first file: generate begins at the same time
    how, objects = start_ahead(settings.cluster, Workload(preload=TASK_MODULES, results=False))
    context.note(validate.name, {**context.facts(validate.name), "objects": [each.to_json() for each in objects]})
    return how
