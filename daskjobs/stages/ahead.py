"""Ask for the run's Dask cluster while the stages before validate run, so that it is ready when validate needs it."""

from dataclasses import asdict

from daskjobs.cluster.backends import backend_of
from daskjobs.pipeline import lease
from daskjobs.stages import validate
from daskjobs.stages.run_settings import Context
from daskjobs.stages.workers import workload


def ahead(context: Context) -> str:
    """Start the cluster ahead if its backend can, note its objects for the receipt, and say how it was started.

    If validate has finished before, it most likely needs no cluster, so validate itself may start one.
    """
    settings = context.settings
    start_ahead = backend_of(settings.cluster).start_ahead
    if start_ahead is None or context.storage.size(validate.STAGE.manifest) is not None:
        return "left to validate"
    lease.mark(settings.run_uri)  # these facts may be the run's first file, since generate begins at the same time
    how, objects = start_ahead(settings.cluster, workload(settings))
    context.note(validate.NAME, {**context.facts(validate.NAME), "objects": [asdict(each) for each in objects]})
    return how
