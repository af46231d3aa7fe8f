"""Judges whether an exception of a step's function is a bug of its own or a fault of the cluster."""

import importlib
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import dask
import distributed
from distributed import KilledWorker
from distributed.client import ClosedClientError, FutureCancelledError, FuturesCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from daskjobs.cluster.clients import count_workers
from daskjobs.cluster.connection import Connection
from daskjobs.cluster.exits import TaskExitError
from daskjobs.cluster.tasks import worker_deaths
from daskjobs.errors import ClusterError, ConfigError, DaskjobsError, FunctionError, LostWorkError, text_of

CONNECTION_LOST, DATA_LOST = "scheduler-connection-lost", "lost dependencies"  # reasons for which Dask cancels a future
OUTPUTS = "DASKJOBS_OUTPUTS"  # the variable that names the folder for the function's files
HERE = str(Path(__file__).parent)
DASK = tuple(str(Path(str(each.__file__)).parent) + os.sep for each in (dask, distributed))


def judged(function: str, code: str, error: BaseException, connection: Connection) -> DaskjobsError:
    """Return the error to raise for an exception of a ``function`` whose modules are in ``code``.

    It is a FunctionError unless the cluster is at fault: ClusterError if the cluster went away, LostWorkError if it
    lost a task, and ConfigError if it needs more memory.
    """
    if isinstance(error, DaskjobsError):
        return error
    if isinstance(error, KilledWorker) and hasattr(error.last_worker, "name"):  # else the function itself made it
        return _killed(function, error, connection)
    reasons = {each.reason for each in _cancelled(error)}
    if isinstance(error, NoWorkerError) or DATA_LOST in reasons:
        return LostWorkError(f"{function} lost a task: {said(error)}")
    if isinstance(error, NoValidWorkerError):
        kind = FunctionError if error.resource_restrictions else LostWorkError
        return kind(f"{function} lost a task: {said(error)}")
    if CONNECTION_LOST in reasons or _may_be_loss(error, connection):
        return _lost(function, error, connection)
    return function_failed(function, code, error)


def _killed(function: str, error: KilledWorker, connection: Connection) -> DaskjobsError:
    deaths, end = worker_deaths(connection, error)
    kind = ConfigError if end.out_of_memory else LostWorkError
    look = "" if end.out_of_memory else "look at what this task holds, or "
    return kind(f"{function} lost the task {error.task}: {deaths}; {look}{connection.memory_advice}")


def _lost(function: str, error: BaseException, connection: Connection) -> DaskjobsError:
    """Return the error that says what happened to a cluster that the function has lost."""
    end = connection.how_cluster_ended()
    kind = ConfigError if end.out_of_memory else ClusterError
    return kind(f"the Dask cluster went away while {function} used it: {end.text or said(error)}")


def _cancelled(error: BaseException) -> list[FutureCancelledError]:
    if isinstance(error, FuturesCancelledError):
        return [each for group in error.error_groups for each in group.errors]
    return [error] if isinstance(error, FutureCancelledError) else []


def _may_be_loss(error: BaseException, connection: Connection) -> bool:
    """Tell whether Dask itself raised this error or one of its causes, and the cluster doesn't answer any more."""
    if isinstance(error, CommClosedError) and _at(error).startswith(DASK):
        return True
    raised_by_dask = any(
        isinstance(each, CommClosedError | ClosedClientError | TimeoutError) or _at(each).startswith(DASK)
        for each in chain(error)
    )
    return raised_by_dask and not answers(connection)


def answers(connection: Connection) -> bool:
    """Tell whether the cluster's scheduler answers."""
    try:
        count_workers(connection.client)
    except ClusterError:
        return False
    return True


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, its cause, the cause of that, and so on."""
    seen = set[int]()
    each: BaseException | None = error
    while each and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _at(error: BaseException) -> str:
    """Return the file in which an exception was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename if frames else ""


def function_failed(function: str, code: str, error: BaseException) -> FunctionError:
    """Return the error that names the line in the function's own package where the exception was raised."""
    while error.__traceback__ and _is_ours(error.__traceback__.tb_frame.f_code.co_filename):
        error.__traceback__ = error.__traceback__.tb_next  # drops our own frame
    frames = traceback.extract_tb(error.__traceback__)
    module = sys.modules.get(function.partition(":")[0].partition(".")[0])
    folder = os.path.dirname(inspect.getattr_static(module, "__file__", None) or "") or code
    own = [frame for frame in frames if frame.filename.removeprefix(folder).count("site-packages") == 0
           and frame.filename.startswith(folder)]  # fmt: skip
    at = [(frame.filename, frame.lineno) for frame in own or frames if not frame.filename.startswith("<frozen ")][-1:]
    if isinstance(error, SyntaxError) and os.path.isfile(str(error.filename)):  # that file has no frame: it never ran
        at = [(str(error.filename), error.lineno)]
    where = f" in {at[0][0]}, line {at[0][1]}" if at else ""
    why = said(error)
    if why == f"KeyError: {OUTPUTS!r}":
        why += ": tasks have no such folder; let them return what they make, and the function write it"
    return FunctionError(f"{function} failed{where}: {why}")


def _is_ours(file: str) -> bool:
    return (
        file in (pkgutil.__file__, importlib.__file__)
        or os.path.dirname(file) == HERE
        or file.endswith(("asyncio/runners.py", "asyncio/base_events.py"))
    )


def said(error: BaseException) -> str:
    """Return an exception as one line: its class and text, or what Dask could not pickle."""
    lines = _lines(error)
    if lines and "Could not serialize object" in lines[0]:
        first = next(iter(str(error.args[0]).splitlines()), "").strip() if error.args else lines[0]
        *_, root = chain(error)
        if root is not error:
            return f"{first}: {_named(root, _lines(root))}"
        if len(lines) > 1:
            return f"{first}: {lines[-1]}"
    return _named(error, lines)


def _lines(error: BaseException) -> list[str]:
    return [line.strip() for line in text_of(error).splitlines() if line.strip()]


def _named(error: BaseException, lines: list[str]) -> str:
    text = " ".join(lines)
    if isinstance(error, TaskExitError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
