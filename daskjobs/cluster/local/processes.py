"""Worker processes that are forked from a fork server of their own.

Dask's nannies start processes as Dask's configuration says, and add to the environment; that is the whole process's,
and the program may have clusters of its own. So some functions of Dask are called here with other globals, as in
`forks`. Nannies in a helper process, whose globals could simply be set, were tried instead: the helper imports Dask
once more before the first fork, so the start took nearly twice as long, and 160 MB more.
"""

import logging
from contextvars import ContextVar
from typing import Any

import distributed
from distributed import Status, nanny
from distributed.process import AsyncProcess

from daskjobs.cluster.local.forks import Forks, with_globals
from daskjobs.cluster.local.servers import calm

_context: ContextVar[Forks] = ContextVar("context")


class _AsyncProcess(AsyncProcess):
    __init__ = with_globals(AsyncProcess.__init__, get_mp_context=_context.get)


class _WorkerProcess(nanny.WorkerProcess):
    start = with_globals(
        nanny.WorkerProcess.start,
        get_mp_context=_context.get,
        AsyncProcess=_AsyncProcess,
        enable_proctitle_on_children=lambda: None,  # it adds to the environment
    )


class Nanny(distributed.Nanny):
    """A nanny whose worker is forked in the ``context`` and logs nothing; it doesn't change this process's environment.

    The variables that Dask would set here before it starts a worker are set in the worker, with those of ``env``.
    """

    _instantiate = with_globals(distributed.Nanny.instantiate, WorkerProcess=_WorkerProcess)

    def __init__(self, *arguments: Any, context: Forks, **options: Any) -> None:
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
