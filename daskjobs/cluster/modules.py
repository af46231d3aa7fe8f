"""Modules that are in nobody's image: fetched from a URI, and given to all processes of a Dask cluster."""

import os
import shutil
import sys
from pathlib import Path
from tempfile import mkdtemp

from distributed import Client, Scheduler, Worker, WorkerPlugin
from distributed.protocol.pickle import dumps

from daskjobs.cluster.clients import answering, ask

SHIP_SECONDS = 60.0


def fetch(uri: str, folder: Path) -> Path:
    """Copy the zip file, or the folder as a zip file, to a local ``folder``, and return its path.

    Raises ConfigError or StorageError when that can't be done.
    """
    from daskjobs.files.storage import explained, filesystem  # imported late: it loads fsspec, which few steps need

    fs, path = filesystem(uri)
    archive = folder / "modules.zip"
    with explained(f"read {uri}"):
        if path.endswith(".zip"):
            fs.get_file(path, str(archive))
        else:
            if not fs.isdir(path):
                raise FileNotFoundError(path)
            fs.get(f"{path.rstrip('/')}/", f"{folder / 'modules'}/", recursive=True)
            shutil.make_archive(str(archive.with_suffix("")), "zip", folder / "modules")
    return archive


def ship(client: Client, archive: Path) -> None:
    """Let the scheduler and all workers, those that join later too, look for modules in the zip file first.

    Raises ClusterError when the scheduler doesn't answer.
    """
    data = archive.read_bytes()
    with answering():
        client.run_on_scheduler(_receive_there, data, callback_timeout=SHIP_SECONDS)
        plugin = dumps(Modules(data))
        ask(client, "register_worker_plugin", SHIP_SECONDS, plugin=plugin, name=Modules.name, idempotent=False)


class Modules(WorkerPlugin):
    """Puts a zip file of modules on a worker's path before its first task."""

    name = "daskjobs-modules"

    def __init__(self, data: bytes) -> None:
        self._data = data

    def setup(self, worker: Worker) -> None:
        """Receive the zip file."""
        _receive(self._data, worker.local_directory)


def _receive_there(data: bytes, dask_scheduler: Scheduler) -> None:
    _receive(data, dask_scheduler.local_directory)


def _receive(data: bytes, folder: str) -> None:
    """Write a zip file below Dask's own folder, which is removed in the end, and put it first on the path."""
    archive = os.path.join(mkdtemp(prefix="modules-", dir=folder), "modules.zip")
    Path(archive).write_bytes(data)
    sys.path.insert(0, archive)
