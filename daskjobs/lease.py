"""A run's folder belongs to the run alone, and one process works in it at a time: the marker, and the lock.

On a local file system the lock is the system's, and ends with the process. In an object store it is an object with a
token, which its holder renews. Each holder can be told, before it changes anything, that the run is no longer its own.
"""

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from daskjobs import __version__
from daskjobs.errors import ConfigError, DaskjobsError, LostWorkError
from daskjobs.layout import LOCK, MARKER, PARTIAL
from daskjobs.log import event
from daskjobs.settings import Settings
from daskjobs.storage import Storage, explained, filesystem, make_folders, sync

RENEW_SECONDS = 15
STALE_SECONDS = 60  # without renewal, after which another process may take over
SHOWN = 5  # names of what lies in a folder that isn't a run's
TRIES = 5

Check = Callable[[], None]


class InUseError(ConfigError):
    """Another process works on this run: to try it again would end the same way for as long as that one works."""


@dataclass(frozen=True)
class Holder:
    """Who works on a run, since when; a ``token`` tells two of them apart, and ``workflow`` is the uid of Argo's."""

    host: str
    processes: str  # the namespace that pid is of: two pods of a node may have the host's name
    pid: int
    since: str
    workflow: str
    token: str

    def is_dead(self, other: "Holder") -> bool:
        """Tell whether this process is known to have ended, by one on the same machine."""
        if (self.host, self.processes) != (other.host, other.processes):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


@contextmanager
def lease(settings: Settings) -> Iterator[Check]:
    """Hold a run while the block works on it; the function given raises LostWorkError once another has taken it over.

    A folder that is new or empty becomes the run's, by a marker. Raises ConfigError for one that holds anything else,
    and InUseError, which says who it is, while another process works on the run.
    """
    fs, path = filesystem(settings.run)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    me = Holder(socket.gethostname(), _processes(), os.getpid(), now, settings.workflow_uid, secrets.token_hex(8))
    local = isinstance(fs, LocalFileSystem)
    with _local(settings.run, path, me) if local else _remote(settings.run, fs, path, me) as check:
        yield check


def mark(settings: Settings) -> None:
    """Make a folder that is new or empty the run's, for one who notes something beside a process that works on it.

    Raises ConfigError for a folder that holds anything else.
    """
    fs, path = filesystem(settings.run)
    with explained(f"use {settings.run}"):
        marked = _marked(settings.run, fs, path)
    if not marked:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        Storage(settings.run).put(MARKER, _marker(now), durable=True)


def _processes() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        return ""


def _marker(made: str) -> bytes:
    return _dump({"daskjobs": __version__, "made": made})


def _dump(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _holder(data: bytes) -> Holder | None:
    try:
        return Holder(**json.loads(data))
    except (ValueError, TypeError):  # free, or not yet written
        return None


def _refuse_others(run: str, names: list[str]) -> None:
    """Raise ConfigError when there are files in a folder that has no marker, other than those by which it begins."""
    others = sorted(name for name in names if name != LOCK and not name.startswith(f"{MARKER}{PARTIAL}"))
    if others:
        shown = ", ".join(others[:SHOWN]) + (f" and {len(others) - SHOWN} more" if len(others) > SHOWN else "")
        raise ConfigError(
            f"{run} is not a run's folder (it has no {MARKER}), and holds {shown}: "
            "choose another --run, which is new or empty"
        )


def _in_use(run: str, holder: Holder | None, until: str = "") -> InUseError:
    who = f"process {holder.pid} on {holder.host} since {holder.since}" if holder else "another process"
    return InUseError(
        f"{run} is being worked on by {who}, and one process works on a run at a time: "
        f"wait for its end, or choose another --run{until}"
    )


def _lost(run: str) -> LostWorkError:
    return LostWorkError(
        f"{run} has been taken over by another process, or was removed, while this one worked on it: "
        "this one has left it as it is; look at how the other one ends"
    )


@contextmanager
def _local(run: str, root: str, me: Holder) -> Iterator[Check]:
    lock, marker = os.path.join(root, LOCK), os.path.join(root, MARKER)
    with explained(f"use {run}"):
        made = make_folders(root)
        if not os.path.isfile(marker):
            _refuse_others(run, os.listdir(root))
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        with explained(f"lock {lock}"):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _in_use(run, _written(descriptor)) from None
            data = _dump(asdict(me))
            os.pwrite(descriptor, data, 0)
            os.ftruncate(descriptor, len(data))
        if not os.path.isfile(marker):
            Storage(root).put(MARKER, _marker(me.since), durable=True)
            with explained(f"use {run}"):
                for folder in made:
                    sync(os.path.dirname(folder))

        def check() -> None:
            try:
                if os.path.samestat(os.fstat(descriptor), os.lstat(lock)):
                    return
            except FileNotFoundError:
                pass
            raise _lost(run)

        yield check
    finally:
        os.close(descriptor)  # and unlocks


def _written(descriptor: int) -> Holder | None:
    """Return who has the lock; the holder writes that a moment after it has locked."""
    for _ in range(TRIES):
        if holder := _holder(os.pread(descriptor, 4096, 0)):
            return holder
        time.sleep(0.02)
    return None


@contextmanager
def _remote(run: str, fs: Any, root: str, me: Holder) -> Iterator[Check]:
    token = _Token(run, fs, f"{root}/{LOCK}", me)
    with explained(f"use {run}"):
        marked = _marked(run, fs, root)
        token.take()
        if not marked:
            fs.pipe_file(f"{root}/{MARKER}", _marker(me.since))
    ended = threading.Event()
    renewing = threading.Thread(target=token.renew, args=(ended,), daemon=True)
    renewing.start()
    try:
        yield token.check
    finally:
        ended.set()
        renewing.join()
        with suppress(DaskjobsError):  # then it is stale in a minute
            token.release()


def _marked(run: str, fs: Any, root: str) -> bool:
    """Tell whether a folder is a run's already; in one listing, since another process may be about to mark it."""
    fs.invalidate_cache()
    try:
        names = [each.removeprefix(root).strip("/") for each in fs.ls(root, detail=False)]
    except FileNotFoundError:
        return False
    if MARKER not in names:
        _refuse_others(run, names)
    return MARKER in names


class _Token:
    """The lock of a run in an object store, which S3 changes only as long as it is what it was (If-Match).

    Where a store knows no such condition, the last of two that take it at once has it, and the other's `check` fails.
    """

    def __init__(self, run: str, fs: Any, path: str, me: Holder) -> None:
        self.run, self.fs, self.path, self.me, self.tag = run, fs, path, me, ""

    def take(self) -> None:
        """Take the lock when it is free, stale, or held by an earlier attempt of this workflow. Raises InUseError."""
        holder = None
        for _ in range(TRIES):  # others may be quicker
            self.fs.invalidate_cache()
            try:
                tag = self.fs.info(self.path).get("ETag", "")
                holder = _holder(self.fs.cat_file(self.path))
            except FileNotFoundError:
                tag = None
            if holder and not self._may_take_from(holder):
                until = self.fs.modified(self.path) + timedelta(seconds=STALE_SECONDS)
                raise _in_use(self.run, holder, f"; should it have died, the run is free at {until:%H:%M:%S} UTC")
            if self._put(_dump(asdict(self.me)), tag):
                if holder:
                    event("run.taken_over", run=self.run, host=holder.host, pid=holder.pid, since=holder.since)
                return
        raise _in_use(self.run, holder)

    def _may_take_from(self, holder: Holder) -> bool:
        if holder.token == self.me.token or (self.me.workflow and holder.workflow == self.me.workflow):
            return True
        age = datetime.now(UTC) - self.fs.modified(self.path)
        return holder.is_dead(self.me) or age > timedelta(seconds=STALE_SECONDS)

    def check(self) -> None:
        """Raise LostWorkError unless the lock is this process's still."""
        with explained(f"read {self.run}/{LOCK}"):
            try:
                holder = _holder(self.fs.cat_file(self.path))
            except FileNotFoundError:
                holder = None
        if holder is None or holder.token != self.me.token:
            raise _lost(self.run)

    def renew(self, ended: threading.Event) -> None:
        """Write the lock again and again, until that has ``ended``."""
        while not ended.wait(RENEW_SECONDS):
            with suppress(DaskjobsError), explained(f"renew {self.run}/{LOCK}"):
                self.check()
                if not self._put(_dump(asdict(self.me)), self.tag):
                    self.fs.invalidate_cache()
                    self.tag = self.fs.info(self.path).get("ETag", "")  # an answer was lost, or the next check fails

    def release(self) -> None:
        """Leave the lock free, if it is this process's still."""
        with explained(f"release {self.run}/{LOCK}"):
            self.check()
            self._put(b"{}\n", self.tag)

    def _put(self, data: bytes, tag: str | None) -> bool:
        """Write the lock as long as it is what ``tag`` says, or isn't there at None; tell whether it was written."""
        condition = {"mode": "create"} if tag is None else {"IfMatch": tag} if "s3" in self.fs.protocol else {}
        try:
            answer = self.fs.pipe_file(self.path, data, **condition)
        except FileExistsError:
            return False
        except OSError as error:
            answer = getattr(error.__cause__, "response", {}).get("ResponseMetadata", {})
            if answer.get("HTTPStatusCode") not in (404, 409, 412):  # gone, or another's by now
                raise
            return False
        self.tag = answer["ETag"] if isinstance(answer, dict) else ""
        return True
