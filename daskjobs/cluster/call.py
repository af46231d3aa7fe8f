"""Call a user's function with a client of a Dask cluster that lives as long as the call."""

import errno
import inspect
import json
import logging
import os
import pkgutil
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from daskjobs.cluster.backends import backend_of, connect
from daskjobs.cluster.connection import Connection, Workload
from daskjobs.cluster.removed import Removed
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.configured import dask_configured
from daskjobs.errors import (
    ClusterError,
    ConfigError,
    DaskjobsError,
    FunctionError,
    LostWorkError,
    Stop,
    StorageError,
    UsageError,
)
from daskjobs.events import event
from daskjobs.options import quoted

NAMED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
OUTPUTS = "DASKJOBS_OUTPUTS"  # the variable that names the folder for the function's files
FILES, FACTS, PERFORMANCE, LOGS = "files", "cluster.json", "performance.html", "logs"
NO_PLACE = (errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG)  # errors that have no class of their own in Python
LOG_LINES, SHOWN_LINES = 200, 100
LOG_SECONDS = 20
# What Dask itself writes between the lines that tasks print: log records, and the stack traces that follow them.
DASKS_OWN = re.compile(r" - (distributed|tornado|bokeh)[\w.]* - ")
DASKS_TRACE = re.compile(r"Traceback|(Key|State|Task|Exception|Traceback): |The above exception|During handling")
RAISED = re.compile(r" |[\w.]+(: |$)")
PAGE_SECONDS = 20
AGAIN_SECONDS = (5.0, 15.0, 30.0)  # between two attempts to remove a cluster


@dataclass(frozen=True)
class Call:
    """A function as ``module:function``, its arguments by name, and the folder or zip file that has its module.

    ``code`` is a path that exists for all processes, or a URI, whose contents are sent to them. ``node`` is the name of
    the Argo node that calls the function, if any.
    """

    function: str
    arguments: Mapping[str, object]
    code: str
    node: str = ""


def run_step(
    call: Call,
    settings: ClusterSettings,
    outputs: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
    ended: Callable[[str | DaskjobsError], None] = lambda _: None,
) -> str:
    """Call the function with a client of a Dask cluster and with its arguments, and return its result as JSON.

    The settings say where the cluster comes from; it is removed afterwards. ``outputs``, a new or empty folder, gets
    cluster.json, how the cluster started; performance.html, the pages of its dashboard; and logs/, the last lines of
    each process's log. The variable DASKJOBS_OUTPUTS tells the function where to leave files: in ``outputs``/files, or
    in the working directory without ``outputs``. ``tell`` takes sentences for people. ``ended`` takes the result, or
    the error that will be raised, before the cluster is closed; no later failure changes it.

    Raises FunctionError when the function raises an exception or returns a value that JSON can't express, which is then
    kept as a file; ClusterError when the cluster doesn't start or goes away; LostWorkError when tasks are lost or the
    timeout is over; UsageError when the function doesn't take these arguments; and ConfigError when there is no such
    function or the cluster needs more memory.
    """
    with _local(call) as (call, archive):
        return _run(call, archive, settings, outputs, tell, ended)


@contextmanager
def _local(call: Call) -> Iterator[tuple[Call, Path | None]]:
    """Give the call with its code as a local folder, and the zip file to send to the Dask cluster, if it needs one."""
    if "://" not in call.code and not call.code.endswith(".zip"):
        yield call, None
        return
    with dask_configured():
        from daskjobs.cluster.modules import fetch
    with TemporaryDirectory(prefix="daskjobs-code-") as folder:
        modules, archive = fetch(call.code, Path(folder))
        yield replace(call, code=str(modules)), archive


def _run(
    call: Call,
    archive: Path | None,
    settings: ClusterSettings,
    outputs: Path | None,
    tell: Callable[[str], None],
    ended: Callable[[str | DaskjobsError], None],
) -> str:
    with _theirs(call):
        function = _find(call)
        _check_arguments(call, function)
    files = outputs / FILES if outputs else Path.cwd()
    with _written(files):
        files.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    workload = Workload(processes=True, code="" if archive else call.code, tell=tell, node=call.node)
    outcome: str | DaskjobsError = ""  # the function's, even if the cluster's end fails
    try:
        with _outputs(None), connect(settings, workload) as connection:
            from daskjobs.cluster.performance import performance_page

            _prepare(connection, archive, outputs, tell)
            page = partial(performance_page, connection.client, seconds=PAGE_SECONDS, on_failure=True)
            with page(outputs / PERFORMANCE) if outputs else nullcontext():
                try:
                    outcome = _result(call, _called(call, function, connection, files), files, tell)
                    ended(outcome)
                except DaskjobsError as error:
                    outcome = error
                    ended(outcome)
                _logs(connection, outputs, tell)
                if isinstance(outcome, DaskjobsError):
                    raise outcome
    except Exception as error:
        if not outcome:
            raise
        if error is not outcome:
            event("step.end_failed", level=logging.WARNING, error=f"{type(error).__name__}: {error}")
    finally:
        if outputs and files.is_dir() and not any(files.iterdir()):
            files.rmdir()
    if isinstance(outcome, DaskjobsError):
        raise outcome
    event("step.done", function=call.function, seconds=round(time.monotonic() - started, 3))
    return outcome


def _prepare(connection: Connection, archive: Path | None, outputs: Path | None, tell: Callable[[str], None]) -> None:
    from daskjobs.cluster.exits import keep_workers

    if archive:
        from daskjobs.cluster.modules import ship

        ship(connection.client, archive)
    keep_workers(connection.client)
    tell(f"dashboard {connection.facts.dashboard}")
    if outputs:
        write(outputs / FACTS, json.dumps(connection.facts.to_json()))


@contextmanager
def _outputs(folder: Path | None) -> Iterator[None]:
    """Set the variable that names the folder for the function's files in this block, or unset it for None.

    Workers start without it, so tasks find no such folder on any backend: on Kubernetes they have another disk.
    """
    before = os.environ.pop(OUTPUTS, None)
    if folder:
        os.environ[OUTPUTS] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(OUTPUTS, None)
        if before is not None:
            os.environ[OUTPUTS] = before


def remove_step(settings: ClusterSettings) -> Removed:
    """Remove the Dask cluster of a step, in whatever state it is, and return what there was and what remains.

    Tries again when Kubernetes doesn't answer, because Argo doesn't retry the exit hook of a task. Raises ClusterError
    when it never answers.
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
    """Import the function. Raises ConfigError when there is none, and whatever its module raises."""
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
        if not f"{module}.".startswith(f"{error.name}."):
            raise
        there = f"in {call.code}" if os.path.isdir(call.code) else f"in {call.code}, which is no folder,"
        raise ConfigError(
            f"there is no module {error.name}: it is neither {there} nor installed; give --code the folder "
            "or zip file that has it, or install it, on Kubernetes in the image"
        ) from error
    at = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"the module {module} has no function {name}: {at} has {_functions(found)}")
        found, at = getattr(found, part), part
    if not callable(found):
        raise ConfigError(f"{call.function} is no function: it is {quoted(repr(found))}")
    function: Callable[..., object] = found
    return function


@contextmanager
def _theirs(call: Call) -> Iterator[None]:
    """Raise FunctionError for whatever the function's module raises in this block, even SystemExit."""
    try:
        yield
    except (DaskjobsError, Stop):
        raise
    except BaseException as error:
        with dask_configured():
            from daskjobs.cluster.verdict import function_failed
        raise function_failed(call.function, call.code, error) from error


def _functions(found: object) -> str:
    known = getattr(found, "__dict__", {})
    names = [name for name, each in known.items() if inspect.isfunction(each) and not name.startswith("_")]
    return ", ".join(names) or "none"


def _check_arguments(call: Call, function: Callable[..., object]) -> None:
    """Raise UsageError when the function can't be called with a client and these arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions in C have no signature
        return
    try:
        signature.bind(None, **call.arguments)
    except TypeError as error:
        raise UsageError(
            f"{call.function} can't be called with a client and the arguments "
            f"{', '.join(call.arguments) or 'none'}: {error}; it is {call.function}{signature}"
        ) from error


def _called(call: Call, function: Callable[..., object], connection: Connection, files: Path) -> object:
    """Call the function in a thread of its own, so that a timeout or a signal can end this process at any time."""
    from daskjobs.cluster.clients import within
    from daskjobs.cluster.inside import call as call_inside
    from daskjobs.cluster.verdict import judged

    failure: list[BaseException] = []

    def work() -> object:
        try:
            return call_inside(connection.client, function, call.arguments)
        except BaseException as error:
            failure.append(error)
            return None

    event("step.called", function=call.function)
    seconds = connection.settings.timeout
    try:
        with _outputs(files):
            value = within(seconds, work)
    except TimeoutError as error:
        raise LostWorkError(
            f"{call.function} was still at work after {seconds:,.0f} s: allow more with --timeout, or use more workers"
        ) from error
    if failure:
        raise judged(call.function, call.code, failure[0], connection) from failure[0]
    return value


def _result(call: Call, value: object, files: Path, tell: Callable[[str], None]) -> str:
    """Return the value as JSON.

    Raises FunctionError for a value that JSON can't express or that is too long, which is kept as a file.
    """
    from daskjobs.cluster.results import MOST_RESULT, LazyError, NotSaidError, as_json, keep

    text = None
    try:
        said = as_json(value)
        if said.nulls:
            many = "number of the result is" if said.nulls == 1 else "numbers of the result are"
            tell(f"warning: {said.nulls:,} {many} null, since JSON has no nan and no infinity")
        if len(said.text) <= MOST_RESULT:
            return said.text
        text = said.text
        why = f"{len(text):,} bytes of JSON, and a result has at most {MOST_RESULT:,}"
    except LazyError as error:
        raise FunctionError(f"{call.function} returned no result: {error}") from None
    except NotSaidError as error:
        why = f"a {type(value).__name__} that can't be written as JSON: {error}"
    try:
        with _written(files):
            files.mkdir(parents=True, exist_ok=True)
            kept = f"it is kept as {keep(value, text, files)}"
    except (NotSaidError, ConfigError, StorageError) as error:
        kept = f"it is lost, since {error}"
    raise FunctionError(
        f"{call.function} returned {why}; {kept}; "
        f"return a few numbers and texts, in lists and dictionaries, and write the rest to files or storage"
    )


def _logs(connection: Connection, outputs: Path | None, tell: Callable[[str], None]) -> None:
    """Write the last log lines of each of the cluster's processes to ``outputs``, and show what tasks printed there.

    Logs that can't be read in time are left out.
    """
    from daskjobs.cluster.clients import within

    try:
        logs = within(LOG_SECONDS, lambda: connection.last_logs(LOG_LINES))
        if outputs:
            for name, text in logs.items():
                write(outputs / LOGS / f"{name}.log", f"{text}\n")
    except (DaskjobsError, OSError) as error:
        event("logs.lost", level=logging.WARNING, error=error)
        return
    printed = [(name, line) for name, text in logs.items() for line in _printed(text.splitlines())]
    for name, line in printed[-SHOWN_LINES:]:
        tell(f"{name}: {line}")


def _printed(lines: list[str]) -> Iterator[str]:
    """Yield the lines of a log that aren't Dask's own: neither its log records nor the stack traces after them."""
    record = trace = False
    for line in lines:
        if DASKS_OWN.search(line):
            record, trace = True, False
        elif record and (DASKS_TRACE.match(line) or (trace and RAISED.match(line))):
            trace = True
        else:
            record = trace = False
            yield line


def write(path: Path, text: str) -> None:
    """Write a file, and make its folder.

    Raises ConfigError where writing is not allowed, and StorageError when it fails for another reason.
    """
    with _written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        from daskjobs.files.storage import NOT_OURS  # late: it loads fsspec, which few steps need

        refused = isinstance(error, (*NOT_OURS, FileNotFoundError)) or error.errno in NO_PLACE
        kind = ConfigError if refused else StorageError
        raise kind(f"{path} can't be written: {error.strerror or error}; choose another --outputs") from error
