"""Remove what a run left running or half written, and write a receipt; safe to run at any time, and repeatedly."""

import logging
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from daskjobs.cluster.backends import backend_of
from daskjobs.cluster.removed import Removed
from daskjobs.errors import ConfigError, DaskjobsError, LostWorkError, StorageError
from daskjobs.events import event
from daskjobs.files.documents import dump
from daskjobs.pipeline.lease import InUseError
from daskjobs.pipeline.manifest import Manifest
from daskjobs.pipeline.stage import Stage
from daskjobs.series.layout import TOLD
from daskjobs.stages import told, validate
from daskjobs.stages.run_settings import Context

NAME = "cleanup"
RECEIPT = "cleanup/receipt.json"


@dataclass(frozen=True)
class CleanupRows:
    """The numbers of objects found, of files removed, and of objects that were kept or could not be removed."""

    objects: int
    files: int
    kept: int
    remaining: int


@dataclass(frozen=True)
class Receipt:
    """What cleanup removed of a run and its Dask cluster, and what is left.

    ``cluster`` is the backend. ``at`` is the time in UTC. ``removed_files`` were half written, and so were
    ``aborted_uploads``. ``objects`` are all that there were of the Dask cluster, each with its kind, name and uid;
    ``kept`` are those that were left on purpose, and ``remaining`` those that are still there, with why and a command.
    """

    run: str
    at: str
    cluster: str
    removed_files: list[str]
    aborted_uploads: list[str]
    objects: list[dict[str, str]]
    kept: list[dict[str, str]]
    remaining: list[dict[str, str]]


def execute(context: Context) -> Manifest:
    """Write cleanup/receipt.json: every object of the run's Dask cluster, and those that are kept or remain.

    The backend knows what to remove: local workers end with the process that started them, and a scheduler that ran
    before the run stays. Then people are told how the run ended, if --notify says so. Raises ClusterError, after all
    that, when something could not be removed, and InUseError, without removing anything, while another process works on
    the run.
    """
    cluster = context.settings.cluster
    backend = backend_of(cluster)
    # The cluster is removed first, even if storage fails later, and what remains of it is reported last.
    with ExitStack() as stack:
        unheld = None
        try:
            context = stack.enter_context(context.held())
        except (InUseError, LostWorkError):
            raise
        except DaskjobsError as error:
            unheld = error
        removed = backend.remove(cluster)
        try:
            if unheld:
                raise unheld
            return _receipt(context, removed)
        finally:
            told.end(context, unheld is None, removed.trouble)
            removed.check()


def _receipt(context: Context, removed: Removed) -> Manifest:
    names = context.storage.names("")
    files = [name for stage in context.stages.values() for name in stage.partial(names)]
    for name in files:
        context.storage.remove(name)
    uploads = _abort_uploads(context)
    known = context.facts(validate.NAME).get("objects", [])  # of all attempts, which may have removed them
    listed = removed.to_json()
    objects = known + [name for name in listed["objects"] if name not in known]
    at = datetime.now(UTC).isoformat(timespec="seconds")
    cluster = context.settings.cluster.backend
    receipt = Receipt(context.settings.run_uri, at, cluster, files, uploads, **{**listed, "objects": objects})
    context.storage.put(RECEIPT, dump(receipt), durable=True)
    counts = CleanupRows(len(objects), len(files), len(removed.kept), len(removed.remaining))
    event("cleanup.done", uploads=len(uploads), **asdict(counts))
    return context.unfiled(NAME, counts)


def _abort_uploads(context: Context) -> list[str]:
    """Abort the run's unfinished uploads; don't fail if the storage can't do that or forbids it."""
    try:
        return context.storage.abort_uploads(lambda name: any(each.made([name]) for each in context.stages.values()))
    except (StorageError, ConfigError) as error:
        event("uploads.left", level=logging.WARNING, error=error)
        return []


STAGE = Stage(
    NAME,
    "Remove what the run left running, write the receipt, and tell how the run ended.",
    needs=(),
    files=(RECEIPT, TOLD),
    rows=CleanupRows,
    execute=execute,
    artifacts=(RECEIPT,),
    lasting=(RECEIPT, TOLD),
)
