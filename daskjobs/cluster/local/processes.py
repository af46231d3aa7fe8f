"""Worker processes that are forked from a fork server of their own.

Dask's nannies start processes as Dask's configuration says, and add to the environment; multiprocessing has one fork
server, with one list of modules. All of that is the whole process's, and the program may have clusters and processes of
its own. So some functions of Dask and multiprocessing are called here with other globals (`_with`): nothing that others
could see is replaced. Neither library has a hook for that. Nannies in a helper process, whose globals could simply be
set, were tried instead: the helper imports Dask once more before the first fork, so the start took nearly twice as
long, and 160 MB more.
"""

import logging
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from multiprocessing import connection, forkserver, popen_forkserver, process, resource_tracker, spawn, util
from multiprocessing.context import ForkServerContext, ForkServerProcess
from types import FunctionType, SimpleNamespace
from typing import Any

import distributed
from distributed import Status, nanny
from distributed.process import AsyncProcess

from daskjobs.cluster.local.environment import briefly
from daskjobs.cluster.local.servers import calm
from daskjobs.errors import ConfigError

# Helper processes that Python starts must not import modules from the working directory, which may be anybody's, and
# the resource tracker must not print what it tidied up after a run that was stopped.
SAFE = {"PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "ignore:resource_tracker"}
MAIN = ("init_main_from_name", "init_main_from_path")

_context: ContextVar["_Context"] = ContextVar("context")


def _with(function: Any, **others: Any) -> Any:
    """Return the same function with other globals."""
    names = {**function.__globals__, **others}
    return FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)


def _but(module: Any, **others: Any) -> SimpleNamespace:
    """Return a copy of a module's names, with ``others`` in place of some."""
    return SimpleNamespace(**{**vars(module), **others})


@contextmanager
def fork_server(folder: str, preload: Sequence[str], environment: Mapping[str, str]) -> Iterator["_Context"]:
    """Start a fork server that imports the modules in ``preload`` once, and give the context that a `Nanny` needs.

    Its socket lies in ``folder``. It and its forks start with ``environment``, and the server with `SAFE` as well.
    Raises ConfigError when it can't start.
    """
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
        yield _Context(server)
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
        _with(forkserver.ForkServer.ensure_running, **ours)(self)

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


class _Context(ForkServerContext):
    """A start method of multiprocessing whose processes come from one fork server."""

    def __init__(self, server: _Server) -> None:
        super().__init__()
        self._server = server

    def Process(self, **options: Any) -> "_Process":  # type: ignore[override]  # as it is called there
        made = _Process(**options)
        made.server = self._server
        return made


class _Process(ForkServerProcess):
    """A process that is forked from a server of ours.

    Daemonic processes may start it, too. multiprocessing forbids that, because their children could outlive them, but
    Dask's workers end by themselves when the process that started them is gone.
    """

    server: _Server | None = None
    start = _with(process.BaseProcess.start, _current_process=SimpleNamespace(_config={}))

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
        _with(popen_forkserver.Popen._launch, **ours)(self, process_obj)  # type: ignore[attr-defined]


def _without_main(name: str) -> dict[str, Any]:
    """Return multiprocessing's preparation data without the main module, the user's script, which would run again.

    multiprocessing imports the main module in each new process, because objects may be pickled by its names. Dask
    pickles these objects by value, so its workers don't need it, and scripts need no `if __name__ == "__main__"`.
    """
    return {key: value for key, value in spawn.get_preparation_data(name).items() if key not in MAIN}


class _AsyncProcess(AsyncProcess):
    __init__ = _with(AsyncProcess.__init__, get_mp_context=_context.get)


class _WorkerProcess(nanny.WorkerProcess):
    start = _with(
        nanny.WorkerProcess.start,
        get_mp_context=_context.get,
        AsyncProcess=_AsyncProcess,
        enable_proctitle_on_children=lambda: None,  # it adds to the environment
    )


class Nanny(distributed.Nanny):
    """A nanny whose worker is forked in the ``context`` and logs nothing; it doesn't change this process's environment.

    The variables that Dask would set here before it starts a worker are set in the worker, with those of ``env``.
    """

    _instantiate = _with(distributed.Nanny.instantiate, WorkerProcess=_WorkerProcess)

    def __init__(self, *arguments: Any, context: _Context, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._context = context
        self.pre_spawn_env: dict[str, str] = {}
        self.silence_logs = logging.CRITICAL
        calm(self)

    async def instantiate(self) -> Status:
        """Start the worker."""
        token = _context.set(self._context)
        try:
            started: Status = await self._instantiate()
            return started
        finally:
            _context.reset(token)
