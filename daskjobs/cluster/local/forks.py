"""A fork server of our own, from which worker processes are forked. It needs nothing of Dask in this process.

multiprocessing has one fork server, with one list of modules, which is the whole process's, and the program may have
processes of its own. So some functions of multiprocessing are called here with other globals (`with_globals`): nothing
that others could see is replaced. The library has no hook for that.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, forkserver, popen_forkserver, process, resource_tracker, spawn, util
from multiprocessing.context import ForkServerContext, ForkServerProcess
from tempfile import mkdtemp
from types import FunctionType, SimpleNamespace
from typing import Any

from daskjobs.cluster.local.environment import briefly, environment_now
from daskjobs.errors import ConfigError

# Helper processes that Python starts must not import modules from the working directory, which may be anybody's, and
# the resource tracker must not print what it tidied up after a run that was stopped.
SAFE = {"PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "ignore:resource_tracker"}
MAIN = ("init_main_from_name", "init_main_from_path")


def with_globals(function: Any, **others: Any) -> Any:
    """Return the same function with other globals."""
    names = {**function.__globals__, **others}
    return FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)


def _but(module: Any, **others: Any) -> SimpleNamespace:
    """Return a copy of a module's names, with ``others`` in place of some."""
    return SimpleNamespace(**{**vars(module), **others})


@contextmanager
def fork_server(preload: Sequence[str], environment: Mapping[str, str]) -> Iterator["Forks"]:
    """Start a fork server that imports the modules in ``preload`` once, and give the context that a `Nanny` needs.

    Its forks start with this process's environment, in which variables of ``environment`` are added that are missing
    there, and the server with `SAFE` as well. Raises ConfigError when it can't start.
    """
    with private_folder() as folder, _server(folder, preload, {**environment, **environment_now()}) as server:
        yield Forks(server)


@contextmanager
def private_folder() -> Iterator[str]:
    """Give a folder for temporary files that only its owner can use: in a shared one, anyone could put files there."""
    try:
        folder = mkdtemp(prefix="daskjobs-")
    except OSError as error:
        raise ConfigError(
            f"Dask needs a folder for temporary files: {error.strerror or error}; "
            "set TMPDIR to one that you may write to"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _server(folder: str, preload: Sequence[str], environment: Mapping[str, str]) -> Iterator["_Server"]:
    with briefly(SAFE):  # Python starts the tracker once for each process, with that process's environment
        resource_tracker.ensure_running()
    server = _Server(folder, {**environment, **SAFE})
    server.set_forkserver_preload([*preload])
    try:
        try:
            server.ensure_running()
        except OSError as error:
            raise ConfigError(
                f"no worker process can be started from here ({error}): the working directory must exist, and TMPDIR "
                "name a folder whose path has at most 80 characters"
            ) from error
        yield server
    finally:
        server.end()


class _Server(forkserver.ForkServer):
    """A fork server besides multiprocessing's own."""

    def __init__(self, folder: str, environment: Mapping[str, str]) -> None:
        super().__init__()
        self._folder, self._environment, self._starts = folder, environment, 0

    def ensure_running(self) -> None:
        """Start the process unless it runs already; one that was killed is started again."""
        ours = {
            "util": _but(util, spawnv_passfds=self._spawn),
            "connection": _but(connection, arbitrary_address=self._address),
        }
        with_globals(forkserver.ForkServer.ensure_running, **ours)(self)

    def _address(self, _: str) -> str:
        self._starts += 1
        return os.path.join(self._folder, f"fork{self._starts}")  # short: a socket's path has at most 107 characters

    def _spawn(self, _: str, command: Sequence[str], descriptors: Sequence[int]) -> int:
        started = subprocess.Popen(command, env=self._environment, pass_fds=descriptors)
        started.returncode = 0  # so that only multiprocessing waits for it
        return started.pid

    def end(self) -> None:
        """End the process; its forks should have ended before."""
        with suppress(OSError, TypeError):  # it has gone already, or never started
            os.kill(self._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]
        with suppress(OSError):
            self._stop()  # type: ignore[attr-defined]


class Forks(ForkServerContext):
    """A start method of multiprocessing whose processes come from one fork server."""

    def __init__(self, server: _Server) -> None:
        super().__init__()
        self._server = server

    def Process(self, **options: Any) -> "_Process":  # type: ignore[override]  # as it is called there
        """Return a process that is to be forked."""
        made = _Process(**options)
        made.server = self._server
        return made


class _Process(ForkServerProcess):
    """A process that is forked from a server of ours.

    Daemonic processes may start it, too. multiprocessing forbids that, because their children could outlive them, but
    Dask's workers end by themselves when the process that started them is gone.
    """

    server: _Server | None = None
    start = with_globals(process.BaseProcess.start, _current_process=SimpleNamespace(_config={}))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "server"}

    @staticmethod
    def _Popen(process_obj: Any) -> "_Popen":  # as it is called there
        return _Popen(process_obj)


class _Popen(popen_forkserver.Popen):
    def _launch(self, process_obj: Any) -> None:
        ours = {
            "spawn": _but(spawn, get_preparation_data=_without_main),
            "forkserver": _but(forkserver, connect_to_new_process=process_obj.server.connect_to_new_process),
        }
        with_globals(popen_forkserver.Popen._launch, **ours)(self, process_obj)  # type: ignore[attr-defined]


def _without_main(name: str) -> dict[str, Any]:
    """Return multiprocessing's preparation data without the main module, the user's script, which would run again.

    multiprocessing imports the main module in each new process, because objects may be pickled by its names. Dask
    pickles these objects by value, so its workers don't need it, and scripts need no `if __name__ == "__main__"`.
    """
    return {key: value for key, value in spawn.get_preparation_data(name).items() if key not in MAIN}
