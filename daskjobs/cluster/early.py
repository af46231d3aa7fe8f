"""Starts the workers of a `with` in a thread, while the caller does something else."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from contextvars import copy_context
from threading import Event, Thread

from daskjobs.cluster.connection import Connection, Workload
from daskjobs.errors import DaskjobsError

END_SECONDS = 60  # until workers that just start have ended


class Early:
    """Workers of this machine that start before they are needed, in two steps; its end ends them.

    What fails before `connection` is left to the caller, who then starts them as usual, and gets the same error.
    """

    def __init__(
        self,
        fork: Callable[[Workload], AbstractContextManager[Workload]],
        connect: Callable[[Workload], AbstractContextManager[Connection]],
    ) -> None:
        self._fork, self._connect, self._stack = fork, connect, ExitStack()
        self._reset()

    def _reset(self) -> None:
        self._workload: Workload | None = None
        self._thread: Thread | None = None
        self._ready, self._over = Future[Connection](), Event()

    def fork(self, workload: Workload) -> None:
        """Start the process that the workers are forked from; this process does nothing for it meanwhile."""
        if self._workload is None:
            with suppress(DaskjobsError):
                self._workload = self._stack.enter_context(self._fork(workload))

    def begin(self) -> None:
        """Start the workers in a thread, which imports Dask."""
        if self._workload and not self._thread:
            thread = Thread(
                target=copy_context().run, args=(self._hold, self._workload, self._ready, self._over), daemon=True
            )
            with suppress(RuntimeError):  # this process may start no more threads
                thread.start()
                self._thread = thread

    @property
    def begun(self) -> bool:
        """Whether `connection` gives one."""
        return self._thread is not None

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Wait until the workers are ready, and end them with the block."""
        try:
            yield self._ready.result()
        finally:
            self.end()

    def end(self) -> None:
        """End what was started."""
        self._over.set()
        if self._thread:
            self._thread.join(END_SECONDS)
        self._stack.close()
        self._reset()

    def _hold(self, workload: Workload, ready: Future[Connection], over: Event) -> None:
        try:
            with self._connect(workload) as connection:
                ready.set_result(connection)
                over.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)  # for the thread that waits
