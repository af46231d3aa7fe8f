"""Call a function of anybody's with a client of a Dask cluster that is there for this call alone."""

import inspect
import json
import logging
import os
import pkgutil
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from daskjobs.cluster.backends import backend_of, connect
from daskjobs.cluster.configured import dask_configured
from daskjobs.cluster.connection import Connection, Workload
from daskjobs.cluster.removed import Removed
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import (
    ClusterError,
    ConfigError,
    DaskjobsError,
    FunctionError,
    LostWorkError,
    StorageError,
    UsageError,
)
from daskjobs.events import event
from daskjobs.options import quoted

if TYPE_CHECKING:  # to import it takes a third of a second, and a call that makes no sense needs no client
    from distributed import Client

NAMED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
OUTPUTS = "DASKJOBS_OUTPUTS"  # tells the function where it may leave files
FILES, FACTS, PERFORMANCE, LOGS = "files", "cluster.json", "performance.html", "logs"
MOST_RESULT = 1 << 17  # bytes; Argo keeps results in the workflow, and takes twice as many
LOG_LINES = 200
PAGE_SECONDS = 20
AGAIN_SECONDS = (5.0, 15.0, 30.0)  # between two attempts of a removal


@dataclass(frozen=True)
class Call:
    """A function as ``module:function``, its arguments by name, and the folder or zip file that has its module.

    ``code`` is the path of something that all processes have, or the URI of something that is given to them.
    """

    function: str
    arguments: Mapping[str, object]
    code: str


def run_step(
    call: Call, settings: ClusterSettings, outputs: Path | None = None, tell: Callable[[str], None] = lambda _: None
) -> str:
    """Call the function with a client of a Dask cluster and with its arguments, and return its result as JSON.

    The cluster comes from the settings, and is gone afterwards. In ``outputs``, a new or empty folder, are written:
    cluster.json, how the cluster came to be; performance.html, the pages of its dashboard; and if the call fails,
    logs/, the last lines of each process's log. The function finds in the variable DASKJOBS_OUTPUTS where to leave
    files: in files/ there, or in the working directory where there are no ``outputs``. ``tell`` takes sentences for
    people.

    Raises FunctionError when the function raises an exception or returns what JSON can't say, ClusterError when the
    cluster doesn't come or goes away, LostWorkError when tasks are lost or the timeout is over, UsageError when the
    function doesn't take these arguments, and ConfigError when there is no such function.
    """
    with _local(call) as (call, archive):
        return _run(call, archive, settings, outputs, tell)


@contextmanager
def _local(call: Call) -> Iterator[tuple[Call, Path | None]]:
    """Give the call with code on this machine, and the zip file to give to the Dask cluster, if code is a URI."""
    if "://" not in call.code:
        yield call, None
        return
    with dask_configured():
        from daskjobs.cluster.modules import fetch
    with TemporaryDirectory(prefix="daskjobs-code-") as folder:
        archive = fetch(call.code, Path(folder))
        yield replace(call, code=str(archive)), archive


def _run(
    call: Call, archive: Path | None, settings: ClusterSettings, outputs: Path | None, tell: Callable[[str], None]
) -> str:
    function = _find(call)
    _check_arguments(call, function)
    files = outputs / FILES if outputs else Path.cwd()
    with _written(files):
        files.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    workload = Workload(processes=True, code="" if archive else call.code, tell=tell)
    try:
        with _told(files), connect(settings, workload) as connection:
            if archive:
                from daskjobs.cluster.modules import ship

                ship(connection.client, archive)
            tell(f"dashboard {connection.facts.dashboard}")
            connection.facts.dashboard = connection.facts.dashboard.partition("?")[0]  # the token is for people
            if outputs:
                write(outputs / FACTS, json.dumps(connection.facts.to_json()))
            with _performance(connection.client, outputs) if outputs else nullcontext():
                try:
                    value = _called(call, function, connection)
                except DaskjobsError:
                    if outputs:
                        _write_logs(connection, outputs / LOGS)
                    raise
    finally:
        if outputs and files.is_dir() and not any(files.iterdir()):
            files.rmdir()
    result = _json(call, value)
    event("step.done", function=call.function, seconds=round(time.monotonic() - started, 3))
    return result


@contextmanager
def _told(files: Path) -> Iterator[None]:
    """Tell the function, and the workers on this machine, where to leave files, while the block lasts."""
    before = os.environ.get(OUTPUTS)
    os.environ[OUTPUTS] = str(files)
    try:
        yield
    finally:
        os.environ.pop(OUTPUTS, None)
        if before is not None:
            os.environ[OUTPUTS] = before


def remove_step(settings: ClusterSettings) -> Removed:
    """Remove the Dask cluster of a step, in whatever state it is, and return what there was and what remains.

    It is tried again when Kubernetes doesn't answer, because the exit hook of an Argo task can't have attempts.
    Raises ClusterError when it never answers.
    """
    backend = backend_of(settings)
    for seconds in AGAIN_SECONDS:
        try:
            return backend.remove(settings)
        except ClusterError as error:
            event("cleanup.again", level=logging.WARNING, error=error, seconds=seconds)
            time.sleep(seconds)
    return backend.remove(settings)


def _find(call: Call) -> Callable[..., object]:
    """Import the function. Raises ConfigError when it isn't there, and FunctionError when its module raises."""
    if not NAMED.fullmatch(call.function):
        raise UsageError(
            f"the function must be given as module:function, like mycompany.features:build, got {quoted(call.function)}"
        )
    if call.code not in sys.path:
        sys.path.insert(0, call.code)
    module, _, name = call.function.partition(":")
    try:
        found = pkgutil.resolve_name(f"{module}:")
    except ModuleNotFoundError as error:
        if f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"there is no module {error.name}: it is neither in {call.code} nor installed; give --code the folder "
                "or zip file that has it, or install it, on Kubernetes in the image"
            ) from error
        raise _function_failed(call, error) from error
    except Exception as error:
        raise _function_failed(call, error) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"the module {module} has no function {name}: {found.__name__} has {_functions(found)}")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"{call.function} is no function: it is {quoted(repr(found))}")
    function: Callable[..., object] = found
    return function


def _functions(module: object) -> str:
    names = [name for name, each in vars(module).items() if inspect.isfunction(each) and not name.startswith("_")]
    return ", ".join(names) or "none"


def _check_arguments(call: Call, function: Callable[..., object]) -> None:
    """Raise UsageError when the function can't be called with a client and these arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some functions that are written in C
        return
    try:
        signature.bind(None, **call.arguments)
    except TypeError as error:
        raise UsageError(
            f"{call.function} can't be called with a client and the arguments "
            f"{', '.join(call.arguments) or 'none'}: {error}; it is {call.function}{signature}"
        ) from error


def _called(call: Call, function: Callable[..., object], connection: Connection) -> object:
    """Call the function, in a thread of its own, so that the timeout and a signal end this process whatever it does."""
    with dask_configured():
        from daskjobs.cluster.clients import within
    failure: list[BaseException] = []

    def work() -> object:
        with connection.client.as_current():
            try:
                return function(connection.client, **call.arguments)
            except BaseException as error:
                failure.append(error)
                return None

    event("step.called", function=call.function)
    seconds = connection.settings.timeout
    try:
        value = within(seconds, work)
    except TimeoutError as error:
        raise LostWorkError(
            f"{call.function} was still at work after {seconds:,.0f} s: allow more with --timeout, or use more workers"
        ) from error
    if failure:
        raise _judged(call, failure[0], connection) from failure[0]
    return value


def _judged(call: Call, error: BaseException, connection: Connection) -> DaskjobsError:
    """Return the error that says what the function's exception means: a bug of its own, or a fault of the cluster."""
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError
    from distributed.scheduler import NoValidWorkerError, NoWorkerError

    from daskjobs.cluster.tasks import worker_deaths

    if isinstance(error, DaskjobsError):
        return error
    if isinstance(error, KilledWorker):
        deaths, _ = worker_deaths(connection, error)
        return LostWorkError(
            f"{call.function} lost the task {error.task}: {deaths}; look at what this task holds, or "
            f"{connection.memory_advice}"
        )
    if isinstance(error, FutureCancelledError | NoValidWorkerError | NoWorkerError):
        return LostWorkError(f"{call.function} lost a task: {error}")
    if isinstance(error, CommClosedError) or not _answers(connection.client):
        return ClusterError(f"the Dask cluster went away while {call.function} used it: {_said(error)}")
    return _function_failed(call, error)


def _answers(client: "Client") -> bool:
    from daskjobs.cluster.clients import count_workers

    try:
        count_workers(client)
    except ClusterError:
        return False
    return True


def _function_failed(call: Call, error: BaseException) -> FunctionError:
    """Return the error that names the line of the function's own package where the exception came from."""
    while error.__traceback__ and error.__traceback__.tb_frame.f_code.co_filename in (__file__, pkgutil.__file__):
        error.__traceback__ = error.__traceback__.tb_next  # of no interest to the author of the function
    frames = traceback.extract_tb(error.__traceback__)
    module = sys.modules.get(call.function.partition(":")[0].partition(".")[0])
    folder = os.path.dirname(getattr(module, "__file__", None) or "") or call.code
    own = [frame for frame in frames if frame.filename.removeprefix(folder).count("site-packages") == 0
           and frame.filename.startswith(folder)]  # fmt: skip
    at = (own or frames)[-1:]
    where = f" in {at[0].filename}, line {at[0].lineno}" if at else ""
    return FunctionError(f"{call.function} failed{where}: {_said(error)}")


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _json(call: Call, value: object) -> str:
    """Return the value as JSON. Raises FunctionError for what JSON can't say, and for what is too long for a result."""
    remedy = "return a few numbers and texts, in lists and dictionaries, and leave the rest in files or in storage"
    try:
        result = kept_by_argo(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise FunctionError(
            f"{call.function} returned a {type(value).__name__}, which can't be written as JSON: {error}; {remedy}"
        ) from None
    if len(result) > MOST_RESULT:
        raise FunctionError(
            f"{call.function} returned {len(result):,} bytes of JSON, and at most {MOST_RESULT:,} are kept; {remedy}"
        )
    return result


def kept_by_argo(document: str) -> str:
    """Return a JSON text that means the same, and that stays as it is when Argo hands it on to another task.

    Argo evaluates what stands in double braces, also in a value that it has put somewhere itself, and Kubernetes
    expands $(NAME) and $$. Both stand in a JSON text's strings alone, where JSON has an escape for every character.

    >>> kept_by_argo('{"price": "$5", "text": "{{=1+41}}"}')
    '{"price": "\\\\u00245", "text": "{\\\\u007b=1+41}}"}'
    """
    return document.replace("$", r"\u0024").replace("{{", r"{\u007b").replace("\x7f", r"\u007f")


def _performance(client: "Client", outputs: Path) -> AbstractContextManager[None]:
    from daskjobs.cluster.performance import performance_page

    return performance_page(client, outputs / PERFORMANCE, PAGE_SECONDS, on_failure=True)


def _write_logs(connection: Connection, folder: Path) -> None:
    """Write the last lines of the log of each of the cluster's processes; what can't be had fails nothing."""
    try:
        for name, text in connection.last_logs(LOG_LINES).items():
            write(folder / f"{name}.log", f"{text}\n")
    except DaskjobsError as error:
        event("logs.lost", level=logging.WARNING, error=error)


def write(path: Path, text: str) -> None:
    """Write a file, and the folder that it is in. Raises StorageError when that can't be done."""
    with _written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror or error}; choose another --outputs") from error
