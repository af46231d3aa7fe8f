"""Modules that are in no image: fetched from a URI, and sent to all processes of a Dask cluster."""

import shutil
import sys
import zipfile
from pathlib import Path
from tempfile import mkdtemp

from distributed import Client, Scheduler, Worker, WorkerPlugin
from distributed.protocol.pickle import dumps

from daskjobs.cluster.clients import answering, ask
from daskjobs.errors import ConfigError

SHIP_SECONDS = 60.0


def fetch(uri: str, folder: Path) -> tuple[Path, Path]:
    """Copy the zip file or folder to a local ``folder``, as a folder of modules and as a zip file; return both paths.

    The URI may be a path, too. Raises ConfigError when nothing is there or the zip file is damaged, and StorageError
    when it can't be read.
    """
    from daskjobs.files.storage import explained, filesystem  # imported late: it loads fsspec, which few steps need

    fs, path = filesystem(uri)
    modules, archive = folder / "modules", folder / "modules.zip"
    with explained(f"read {uri}"):
        if not fs.exists(path):
            raise ConfigError(f"there is no {uri}: give --code a folder, or a zip file, that has the module")
        if fs.isdir(path):
            fs.get(f"{path.rstrip('/')}/", f"{modules}/", recursive=True)
            shutil.make_archive(str(archive.with_suffix("")), "zip", modules)
            return modules, archive
        fs.get_file(path, str(archive))
    try:
        _unpack(archive, modules)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise ConfigError(f"{uri} is neither a folder nor a zip file that can be unpacked: {error}") from error
    return modules, archive


def _unpack(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)


def ship(client: Client, archive: Path) -> None:
    """Put the zip file's modules first on the path of the scheduler and of all workers, including later ones.

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
    """Unpack a zip file below Dask's own folder, which Dask removes at its end, and put it first on the path."""
    made = Path(mkdtemp(prefix="modules-", dir=folder))
    (made / "modules.zip").write_bytes(data)
    _unpack(made / "modules.zip", made / "modules")
    (made / "modules.zip").unlink()
    sys.path.insert(0, str(made / "modules"))
