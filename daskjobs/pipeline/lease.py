"""A marker shows that a folder belongs to a run, and a lock lets one process at a time work on the run.

On a local file system the operating system releases the lock when its process ends. In an object store the lock is an
object with a token, which its holder renews. Before each change, a holder checks that it still has the lock.
"""

import fcntl
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import fsspec.asyn
from fsspec.implementations.local import LocalFileSystem

from daskjobs.errors import ConfigError, DaskjobsError, LostWorkError
from daskjobs.events import event
from daskjobs.files.documents import dump, parse
from daskjobs.files.storage import PARTIAL, Storage, explained, filesystem, make_folders, sync
from daskjobs.pipeline.manifest import version_of
from daskjobs.version import __version__

MARKER, LOCK = "daskjobs-run.json", "daskjobs-run.lock"
RENEW_SECONDS = 15
STALE_SECONDS = 60  # after which another process may take a lock that was not renewed
SHOWN = 5  # names of other files that a message lists
MOST_FOLDERS = 12  # that are searched for a manifest; a run of 0.3.0 had at most nine
TRIES = 5

Check = Callable[[], None]


class InUseError(ConfigError):
    """Another process works on this run; a retry fails the same way until that process has ended."""


@dataclass(frozen=True)
class Holder:
    """A process that works on a run, and since when.

    ``token`` is different for each holder; ``workflow`` is the uid of the Argo workflow, if any.
    """

    host: str
    processes: str  # the namespace of pid: two pods on one node may have the same host name
    pid: int
    since: str
    workflow: str
    token: str

    def is_dead(self, other: "Holder") -> bool:
        """Tell whether this process has ended, as far as ``other`` can see that, on the same machine."""
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
def lease(run_uri: str, workflow_uid: str = "") -> Iterator[Check]:
    """Lock a run during the block, and give a function that raises LostWorkError once another process has the lock.

    A new or empty folder gets a marker. Raises ConfigError for a folder of other files, and InUseError, which names the
    other process, while the run is locked.
    """
    fs, path = filesystem(run_uri)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    me = Holder(socket.gethostname(), _processes(), os.getpid(), now, workflow_uid, secrets.token_hex(8))
    local = isinstance(fs, LocalFileSystem)
    with _local(run_uri, path, me) if local else _remote(run_uri, fs, path, me) as check:
        yield check


def mark(run_uri: str) -> None:
    """Put the marker of a run into a new or empty folder, without locking the run.

    `daskjobs cluster` needs this, because it writes one file of the run while generate has the lock. Raises ConfigError
    for a folder of other files.
    """
    fs, path = filesystem(run_uri)
    with explained(f"use {run_uri}"):
        marked = _marked(run_uri, fs, path)
    if not marked:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        Storage(run_uri).put(MARKER, _marker(now), durable=True)


def _processes() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        return ""


def _marker(made: str) -> bytes:
    return dump({"daskjobs": __version__, "made": made})


def _holder(data: bytes) -> Holder | None:
    try:
        return parse(data, Holder)
    except ValueError:  # the lock is free, or not written yet
        return None


def _refuse_others(run: str, names: list[str]) -> None:
    """Raise ConfigError when a folder without a marker has files other than a lock and a half-written marker."""
    others = sorted(name for name in names if name != LOCK and not name.startswith(f"{MARKER}{PARTIAL}"))
    if version := _made_by(run, others[:MOST_FOLDERS]):
        raise ConfigError(
            f"{run} was made by daskjobs {version}, and this version can't continue its runs: "
            "choose another --run, which is new or empty"
        )
    if others:
        shown = ", ".join(others[:SHOWN]) + (f" and {len(others) - SHOWN} more" if len(others) > SHOWN else "")
        raise ConfigError(
            f"{run} is not the folder of a run (it has no {MARKER}), and holds {shown}: "
            "choose another --run, which is new or empty"
        )


def _made_by(run: str, folders: list[str]) -> str:
    """Return the version that made a run without a marker, as 0.3.0 and older ones did, or an empty text."""
    storage = Storage(run)
    for name in (f"{folder}/manifest.json" for folder in folders):
        with suppress(DaskjobsError):
            if storage.size(name) is not None and (version := version_of(storage.read(name))):
                return version
    return ""


def _in_use(run: str, holder: Holder | None, until: str = "") -> InUseError:
    who = f"process {holder.pid} on {holder.host} since {holder.since}" if holder else "another process"
    return InUseError(
        f"{run} is being worked on by {who}, and only one process at a time can work on a run: "
        f"wait until it has ended, or choose another --run{until}"
    )


def _lost(run: str) -> LostWorkError:
    return LostWorkError(
        f"{run} was taken over by another process, or removed, while this process worked on it: "
        "this process has stopped without changing it; look at the other one"
    )


@contextmanager
def _local(run: str, root: str, me: Holder) -> Iterator[Check]:
    lock, marker = os.path.join(root, LOCK), os.path.join(root, MARKER)
    with explained(f"use {run}"):
        made = make_folders(root)
        # A single listing, since another process may write the marker meanwhile.
        if MARKER not in (names := os.listdir(root)):
            _refuse_others(run, names)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        with explained(f"lock {lock}"):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _in_use(run, _written(descriptor)) from None
            data = dump(me)
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
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough: a forked child may have the descriptor, too
        os.close(descriptor)


def _written(descriptor: int) -> Holder | None:
    """Return the holder of a lock, which writes its name a moment after locking."""
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
        with suppress(DaskjobsError):  # the lock is then stale in a minute
            token.release()


def _marked(run: str, fs: Any, root: str) -> bool:
    """Tell whether a folder has a marker, by a single listing, since another process may write the marker meanwhile."""
    fs.invalidate_cache()
    try:
        names = [each.removeprefix(root).strip("/") for each in fs.ls(root, detail=False)]
    except FileNotFoundError:
        return False
    if MARKER not in names:
        _refuse_others(run, names)
    return MARKER in names


async def _get(fs: Any, path: str) -> tuple[str, datetime, bytes]:
    bucket, key, _ = fs.split_path(path)
    answer = await fs._call_s3("get_object", Bucket=bucket, Key=key)
    async with answer["Body"] as body:
        return answer["ETag"], answer["LastModified"], await body.read()


class _Token:
    """The lock of a run in an object store; S3 replaces the object only if its ETag still matches (If-Match).

    In a store without such conditions, if two processes take the lock at once, the last one gets it, and `check` fails
    in the other.
    """

    def __init__(self, run: str, fs: Any, path: str, me: Holder) -> None:
        self.run, self.fs, self.path, self.me, self.tag = run, fs, path, me, ""

    def take(self) -> None:
        """Take the lock when it is free, stale, or held by an earlier attempt of this workflow. Raises InUseError."""
        holder = None
        for _ in range(TRIES):  # another process may be faster
            tag, modified, holder = None, datetime.now(UTC), None
            with suppress(FileNotFoundError):
                tag, modified, data = self._look()
                holder = _holder(data)
            if holder and not self._may_take_from(holder, modified):
                until = modified + timedelta(seconds=STALE_SECONDS)
                raise _in_use(self.run, holder, f"; if that process has died, the run is free at {until:%H:%M:%S} UTC")
            if self._put(dump(self.me), tag):
                if holder:
                    event("run.taken_over", run=self.run, host=holder.host, pid=holder.pid, since=holder.since)
                return
        raise _in_use(self.run, holder)

    def _may_take_from(self, holder: Holder, modified: datetime) -> bool:
        if holder.token == self.me.token or (self.me.workflow and holder.workflow == self.me.workflow):
            return True
        age = datetime.now(UTC) - modified
        return holder.is_dead(self.me) or age > timedelta(seconds=STALE_SECONDS)

    def check(self) -> None:
        """Raise LostWorkError unless this process still has the lock."""
        with explained(f"read {self.run}/{LOCK}"):
            try:
                holder = _holder(self._look()[2])
            except FileNotFoundError:
                holder = None
        if holder is None or holder.token != self.me.token:
            raise _lost(self.run)

    def renew(self, ended: threading.Event) -> None:
        """Renew the lock regularly until ``ended`` is set."""
        while not ended.wait(RENEW_SECONDS):
            with suppress(DaskjobsError), explained(f"renew {self.run}/{LOCK}"):
                self.check()
                if not self._put(dump(self.me), self.tag):
                    self.tag = self._look()[0]  # an answer was lost; else the next check fails

    def release(self) -> None:
        """Free the lock, if this process still has it."""
        with explained(f"release {self.run}/{LOCK}"):
            if not (self.tag and self._conditional):  # else S3 itself refuses to free another's lock
                self.check()
            self._put(b"{}\n", self.tag)

    @property
    def _conditional(self) -> bool:
        return "s3" in self.fs.protocol

    def _look(self) -> tuple[str, datetime, bytes]:
        """Return the lock's ETag, when it was written, and its bytes: one request to S3. Raises FileNotFoundError."""
        if self._conditional:
            found: tuple[str, datetime, bytes] = fsspec.asyn.sync(self.fs.loop, _get, self.fs, self.path)
            return found
        self.fs.invalidate_cache()
        tag = self.fs.info(self.path).get("ETag", "")  # before the bytes: if they change between, writing is refused
        return tag, self.fs.modified(self.path), self.fs.cat_file(self.path)

    def _put(self, data: bytes, tag: str | None) -> bool:
        """Write the lock if its ETag is still ``tag`` (None: if there is no lock), and tell whether it was written."""
        condition = {"mode": "create"} if tag is None else {"IfMatch": tag} if self._conditional else {}
        try:
            answer = self.fs.pipe_file(self.path, data, **condition)
        except FileExistsError:
            return False
        except OSError as error:
            answer = getattr(error.__cause__, "response", {}).get("ResponseMetadata", {})
            if answer.get("HTTPStatusCode") not in (404, 409, 412):  # it is gone, or another process has it
                raise
            return False
        self.tag = answer["ETag"] if isinstance(answer, dict) else ""
        return True
