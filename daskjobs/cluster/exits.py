"""Makes a task that raises SystemExit or KeyboardInterrupt fail like any other: Dask would end its worker too."""

import asyncio
import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from distributed import Client, Worker, WorkerPlugin, worker
from distributed.protocol.pickle import dumps

from daskjobs.cluster.clients import ask
from daskjobs.errors import text_of


class TaskExitError(Exception):
    """A task raised a BaseException that is no Exception, such as SystemExit; the text names it."""


def keep_workers(client: Client) -> None:
    """Keep exceptions of tasks from ending the cluster's workers; without the plugin, tasks run all the same."""
    with suppress(OSError):
        ask(client, "register_worker_plugin", plugin=dumps(Exits()), name=Exits.name, idempotent=True)


class Exits(WorkerPlugin):
    """Turns each BaseException of a worker's tasks that is no Exception into TaskExitError."""

    name = "daskjobs-exits"

    def setup(self, worker: Worker) -> None:  # noqa: ARG002  # Dask gives it
        """Wrap Dask's functions once in each process."""
        _once("_run_task_simple", _caught)
        _once("_run_task_async", _caught_async)


def _once(name: str, catching: Callable[[Any], Any]) -> None:
    run = getattr(worker, name, None)  # private to Dask: another version may not have it
    if run is None or hasattr(run, "__wrapped__"):
        return

    @functools.wraps(run)
    def caught(task: Any, *arguments: Any) -> Any:
        return run(catching(task), *arguments)

    setattr(worker, name, caught)


def _caught(task: Any) -> Callable[[Any], Any]:
    def call(data: Any) -> Any:
        try:
            return task(data)
        except Exception:
            raise
        except BaseException as error:  # for some of these, the client would wait for ever
            raise _named(error) from error

    return call


def _caught_async(task: Any) -> Callable[[Any], Any]:
    async def call(data: Any) -> Any:
        try:
            return await task(data)
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as error:
            raise _named(error) from error

    return call


def _named(error: BaseException) -> TaskExitError:
    raised = TaskExitError(f"{type(error).__name__}: {text_of(error)}".removesuffix(": "))
    return raised.with_traceback(error.__traceback__)
