"""All access to files: a run's directory and the user's orders, on any storage that fsspec reaches."""

import errno
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import IO, Any, cast
from urllib.parse import unquote

from fsspec.asyn import AsyncFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from daskjobs.cores import cores
from daskjobs.errors import ConfigError, DaskjobsError, InputError, StorageError
from daskjobs.files import web
from daskjobs.files.digest import HashingFile, Output
from daskjobs.files.remote import PART_BYTES, AheadFile, BehindFile, is_beyond_end

REQUESTS = 32  # to an object store at a time, of small files
# Bounds on each request, for clients that would otherwise retry for minutes.
S3_OPTIONS = {
    "config_kwargs": {
        "connect_timeout": 5,
        "read_timeout": 30,
        "retries": {"mode": "standard", "max_attempts": 4},
        "max_pool_connections": REQUESTS,
    }
}
PARTIAL = ".daskjobs-part-"  # in the name of a file that is being written, before eight random characters
RESERVE_BYTES = 512 << 20  # of a disk that stay free when something huge is written
AHEAD_BYTES = 16 << 20  # of a remote file that are read ahead: s3fs' default, 50 MiB, is more than a partition
S3_RETRIES = 2  # by s3fs, each of which includes the client's retries above
WEB_REQUESTS = 4  # to a web server, which may refuse to serve more
STREAMS = 4  # read from an object store at a time, of large files
UNKNOWN_BYTES = 1 << 20  # of a file whose size nobody knows, which are asked for first: most are shorter
SYNC_THREADS = 8  # so that the disk writes files together: 54 files take 0.02 s, and 0.1 s one by one
NOT_OURS = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)
CLIENT_LIBRARIES = ("botocore", "aiobotocore", "aiohttp")  # their errors are not all OSErrors
BUSY = (408, 425, 429)  # temporary HTTP errors, besides those from 500 on
BUSY_ERRORS = (errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT)
CUT_OFF = ("ClientPayloadError", "ServerDisconnectedError", "ClientOSError")  # aiohttp's, for lost connections


class UnavailableError(StorageError):
    """The storage says that it can't serve now, or doesn't answer in time; a retry may well help."""


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn exceptions of storage clients into one sentence; ``doing`` is, for example, 'read s3://…'."""
    try:
        yield
    except DaskjobsError:
        raise
    except FileNotFoundError as error:
        raise StorageError(f"could not {doing}: it is not there") from error
    except Exception as error:
        if isinstance(error, NOT_OURS) or getattr(error, "errno", None) in (errno.EROFS, errno.ELOOP):
            reason = getattr(error, "strerror", None) or _line(error) or "permission denied"
            raise ConfigError(
                f"could not {doing}: {reason}; choose a place that you may use, or ask for the right to it"
            ) from error
        if why := _senseless(error):
            raise StorageError(f"could not {doing}: {why}") from error
        if why := _temporary(error):
            raise UnavailableError(f"could not {doing}: {why}; try again later") from error
        ours = type(error).__module__.startswith(CLIENT_LIBRARIES)
        if ours and isinstance(getattr(error, "status", None), int):
            raise StorageError(f"could not {doing}: {_answer(error)}") from error
        if isinstance(error, OSError) or ours:
            raise StorageError(f"could not {doing}: {_line(error)}") from error
        raise


def _senseless(error: BaseException) -> str:
    """Say how a web server breaks HTTP, which a retry doesn't change, or return an empty text."""
    if type(error).__name__ == "TooManyRedirects":
        return "its server redirects without end: give the address of the file itself"
    cause = error.__cause__
    if type(cause).__name__ == "ContentEncodingError":
        return "its server says that it compresses the file (Content-Encoding), and sends what can't be decompressed"
    # aiohttp turns an answer that is no HTTP into a status of its own.
    no_http = type(cause).__module__ == "aiohttp.http_exceptions" and hasattr(error, "status")
    return f"its server's answer is no HTTP ({_line(getattr(cause, 'message', ''))})" if no_http else ""


def _line(said: object) -> str:
    return " ".join(str(said).split())


def _temporary(error: BaseException) -> str:
    """Say why a storage can't answer now, or return an empty text unless the failure is known to be temporary."""
    client = type(error).__module__.startswith(CLIENT_LIBRARIES)
    status = getattr(error, "status", None)
    if client and isinstance(status, int) and (status in BUSY or status >= 500):
        return _answer(error)
    if isinstance(error, TimeoutError):
        return "no answer came in time"
    cut_off = client and type(error).__name__ in CUT_OFF
    return _line(error) if cut_off or getattr(error, "errno", None) in BUSY_ERRORS else ""


def _answer(error: Any) -> str:
    return f"its server answers {error.status} {getattr(error, 'message', '').partition(chr(10))[0]}".strip()


def filesystem(uri: str) -> tuple[Any, str]:
    """Return fsspec's file system for ``uri`` and the path in it; a local path may have any characters."""
    if "://" not in uri or uri.startswith("file://"):
        return LocalFileSystem(), local_path(uri)
    uri = "::".join(f"file://{local_path(each)}" if each.startswith("file://") else each for each in uri.split("::"))
    try:
        fs, path = url_to_fs(uri, **_client_options(uri))
        fs.retries = S3_RETRIES
        return fs, str(path)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"can't reach {uri}: {error}; for S3, install daskjobs[s3]") from error
    except Exception as error:  # some file systems connect at once, and raise their client's exceptions
        if why := _temporary(error) or (error.__cause__ and _temporary(error.__cause__)):
            raise UnavailableError(f"can't reach {uri}: {why}; try again later") from error
        raise ConfigError(f"can't reach {uri}: {type(error).__name__}: {error}") from error


def _client_options(uri: str) -> dict[str, Any]:
    if uri.startswith("s3://"):
        return S3_OPTIONS
    if uri.startswith(("http://", "https://")):
        return web.options()
    return {"http": web.options(), "https": web.options()} if "::http" in uri else {}


def local_path(uri: str) -> str:
    """Return the decoded path of a file:// URI (file:///my%20orders.csv); a plain path stays as it is.

    If only the name with the percent signs exists, the path is not decoded.
    """
    path = str(LocalFileSystem._strip_protocol(uri.replace("file://localhost/", "file:///", 1)))
    if not uri.startswith("file://") or "%" not in path:
        return path
    literal = path.split("/")
    decoded = [
        each if set(unquote(each)) & {"/", "\0"} else unquote(each, errors="surrogateescape") for each in literal
    ]
    upto = next((at for at, each in enumerate(literal, 1) if each != decoded[at - 1]), 0)
    only_literal = os.path.lexists("/".join(literal[:upto])) and not os.path.lexists("/".join(decoded[:upto]))
    return path if only_literal else "/".join(decoded)


def file_uri(path: str) -> str:
    """Return a URI from which `local_path` returns ``path``, with as little encoding as possible."""
    return f"file://{path.replace('%', '%25') if unquote(path) != path else path}"


def damaged(uri: str, why: object = "it is not what its manifest says") -> StorageError:
    """Return the sentence for a file of a run that has changed since it was written."""
    return StorageError(f"{uri} is damaged ({why}): run all stages again, which writes it again")


def real_path(uri: str) -> str:
    """Return the path of a file or folder in its file system, with local links resolved."""
    fs, path = filesystem(uri)
    return os.path.realpath(path) if isinstance(fs, LocalFileSystem) else path


def make_folders(path: str) -> list[str]:
    """Make a local folder and its missing parents, for their owner alone; return those that were made."""
    if os.path.isdir(path):
        return []
    made = make_folders(os.path.dirname(path))
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    return [*made, path]


def sync(path: str) -> None:
    """Flush a local file or folder to disk (fsync), so that its content survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (error.errno == errno.EINVAL and os.path.isdir(path)):  # some file systems can't sync folders
            raise
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Storage:
    """The files of one run, by names relative to ``root``; a URI or an absolute path is used as it is.

    ``secrets`` maps names that are shown without their password or token to their URIs; see `display.shown`.
    ``check`` is called before each change: it raises when another process has taken over the run. ``closing`` is that
    of `closed_together`.
    """

    root: str
    check: Callable[[], None] = field(default=lambda: None, compare=False)
    secrets: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    closing: Callable[[Callable[[], None]], None] | None = field(default=None, repr=False, compare=False)

    def uri(self, name: str) -> str:
        """Return the whole URI or path of a name."""
        return name if "://" in name or name.startswith("/") else f"{self.root.rstrip('/')}/{name}"

    def open(self, name: str, cache: str = "readahead", part: tuple[int, int] | None = None) -> IO[bytes]:
        """Open a file for reading at any offset, a remote one with one of fsspec's caches. Raises StorageError.

        If only a ``part`` of its bytes is read, and in order, an object store is asked for the next ones ahead, and not
        for the size of the file.
        """
        fs, path = self._input(name)
        if part and _has_ranges(fs, self.uri(name)):
            return cast(IO[bytes], AheadFile(fs, path, *part, lambda: explained(f"read {self.uri(name)}")))
        with explained(f"read {self.uri(name)}"):
            if isinstance(fs, LocalFileSystem):
                local: IO[bytes] = fs.open(path, "rb")
                return local
            options = {"cache_type": cache, "block_size": AHEAD_BYTES}
            if web.is_web(fs):
                file: Any = web.open_file(fs, path, self.uri(name), **options)
            elif "::" in self.uri(name):
                return cast(IO[bytes], ChainedFile(fs, path, self.uri(name), options))
            else:
                try:
                    file = fs.open(path, "rb", **options)
                except ValueError as error:  # for example, for a bucket alone
                    raise InputError(f"{self.uri(name)} names no file: {error}") from error
            if not file.seekable():
                file.close()
                raise web.no_parts(self.uri(name), "it has no size")
            if hasattr(file, "cache"):
                file.cache.fetcher = _explained_fetcher(file.cache.fetcher, self.uri(name), exact=web.is_web(fs))
            opened: IO[bytes] = file
            return opened

    def free(self) -> int | None:
        """Return the free bytes where the run's files go, or None if that can't be known."""
        fs, path = filesystem(self.root)
        if not isinstance(fs, LocalFileSystem):
            return None
        while not os.path.exists(path):
            path = os.path.dirname(path)
        with explained(f"look at {self.root}"):
            return shutil.disk_usage(path).free

    def read(self, name: str, expected: Output | None = None) -> bytes:
        """Return a file's bytes. Raises StorageError when they are not as ``expected``."""
        part = (0, expected.size + 1) if expected else None
        with explained(f"read {self.uri(name)}"), self.open(name, part=part) as file:
            data = file.read(-1 if expected is None else expected.size + 1)  # no more of one that has grown
        if expected is not None and Output.of(data) != expected:
            raise damaged(self.uri(name))
        return data

    def find(self, name: str) -> bytes | None:
        """Return a file's bytes, or None if there is no such file, or a directory of that name."""
        fs, path = self._input(name)
        if _has_ranges(fs, self.uri(name)):
            with explained(f"read {self.uri(name)}"):
                try:
                    data: bytes = fs.cat_file(path, start=0, end=UNKNOWN_BYTES)
                    if 0 < len(data) < UNKNOWN_BYTES:
                        return data
                except FileNotFoundError:
                    return None
                except OSError as error:
                    if not is_beyond_end(error):
                        raise
        elif self.size(name) is None:
            return None
        with explained(f"read {self.uri(name)}"), self.open(name) as file:
            return file.read()

    def parts(self, wanted: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Return parts of files, each by its name and the bytes where it starts and ends, or less where a file ends.

        From an object store, they are requested together. Raises StorageError.
        """
        return [
            self._part(*each) if found is None else found
            for each, found in zip(wanted, self.parts_at_hand(wanted), strict=True)
        ]

    def parts_at_hand(self, wanted: Sequence[tuple[str, int, int]]) -> list[bytes | None]:
        """Return what `parts` does, and None for what can't be had by one request each, whatever the reason."""
        places = [self._input(name) for name, _, _ in wanted]
        systems = {id(fs): fs for fs, _ in places}
        fs = next(iter(systems.values()), None)
        if len(systems) != 1 or not isinstance(fs, AsyncFileSystem) or web.is_web(fs):
            return [None] * len(wanted)
        starts, ends = [start for _, start, _ in wanted], [end for _, _, end in wanted]
        paths = [path for _, path in places]
        found = fs.cat_ranges(paths, starts, ends, on_error="return", batch_size=REQUESTS)
        return [each if isinstance(each, bytes) else None for each in found]

    def pieces(self, name: str, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield parts of a file; an object store is asked for `AHEAD_BYTES` of them, or one, together."""
        fs, _ = self._input(name)
        if not places:
            return
        if not _has_ranges(fs, self.uri(name)):
            with explained(f"read {self.uri(name)}"), self.open(name, cache="none") as file:
                for start, end in places:
                    file.seek(start)
                    yield file.read(end - start)
            return
        held, size = list[tuple[str, int, int]](), 0
        for start, end in places:
            if held and size + end - start > AHEAD_BYTES:
                yield from self.parts(held)
                held, size = [], 0
            held.append((name, start, end))
            size += end - start
        yield from self.parts(held)

    def last_bytes(self, name: str, count: int) -> bytes:
        """Return the last ``count`` bytes of a file, or all where it has fewer. Raises StorageError."""
        fs, path = self._input(name)
        with explained(f"read {self.uri(name)}"):
            if _has_ranges(fs, self.uri(name)):
                data: bytes = fs.cat_file(path, start=-count)
                return data
            with self.open(name) as file:
                file.seek(max(0, file.seek(0, io.SEEK_END) - count))
                return file.read()

    def _part(self, name: str, start: int, end: int) -> bytes:
        with explained(f"read {self.uri(name)}"), self.open(name, cache="none") as file:
            file.seek(start)
            return file.read(end - start)

    def requests(self, name: str) -> int:
        """Return how many small files like this one to ask for at a time: more doesn't help, or is a burden."""
        fs, _ = self._input(name)
        return 1 if isinstance(fs, LocalFileSystem) else WEB_REQUESTS if web.is_web(fs) else REQUESTS

    def streams(self, name: str) -> int:
        """Return how many parts of large files like this one to read at a time: each may have tens of MiB in memory."""
        return cores() if isinstance(self._input(name)[0], LocalFileSystem) else max(cores(), STREAMS)

    def holds(self, name: str, expected: Output) -> bool:
        """Read a file to its end, and tell whether its bytes are as ``expected``."""
        with explained(f"read {self.uri(name)}"), self.open(name, part=(0, expected.size + 1)) as file:
            return _sha256(file) == expected.sha256

    @contextmanager
    def opened(self, name: str, expected: Output) -> Iterator[IO[bytes]]:
        """Read a file to its end, compare it with its ``expected`` hash, and give it open at its start."""
        with self.open(name) as file:
            with explained(f"read {self.uri(name)}"):
                sha256 = _sha256(file)
            if sha256 != expected.sha256:
                raise damaged(self.uri(name))
            file.seek(0)
            yield file

    def verify(self, name: str, expected: Output) -> None:
        """Read a file to its end. Raises StorageError when its bytes are not as ``expected``."""
        if not self.holds(name, expected):
            raise damaged(self.uri(name))

    @contextmanager
    def write(self, name: str, durable: bool = False) -> Iterator[HashingFile]:
        """Write a file whole or not at all: it appears under its name when the block ends without an error.

        Only their owner can read local files. A ``durable`` file then survives a power cut; see `sync` for others.
        """
        fs, path = filesystem(self.uri(name))
        with explained(f"write {self.uri(name)}"):
            if isinstance(fs, LocalFileSystem):
                folder = self._folder(path)
                make_folders(folder)
                # Made exclusively, with mode 0600 and a random name: nobody can have put a link there before.
                descriptor, part = tempfile.mkstemp(prefix=f"{os.path.basename(path)}{PARTIAL}", dir=folder)
                try:
                    with open(descriptor, "wb") as file:
                        yield HashingFile(file)
                        if durable:
                            file.flush()
                            os.fsync(descriptor)
                    self.check()
                    os.replace(part, path)  # replaces a link of that name, without following it
                except BaseException:
                    with suppress(FileNotFoundError):
                        os.remove(part)
                    raise
                if durable:
                    sync(folder)
                return
            remote = BehindFile(fs.open(path, "wb", block_size=PART_BYTES))
            try:
                yield HashingFile(cast(IO[bytes], remote))
                remote.upload()
                self.check()
                self._finish(name, remote.close)
            except BaseException:
                remote.discard()
                raise

    @contextmanager
    def closed_together(self) -> Iterator["Storage"]:
        """Give a storage whose files, if they are in an object store, are finished together at the end of the block.

        In the block, they may not be there yet. Raises the error of the first of them that can't be written.
        """
        closings = list[Future[None]]()
        with ThreadPoolExecutor(SYNC_THREADS) as pool:
            yield replace(self, closing=lambda close: closings.append(pool.submit(close)))
        for each in closings:
            each.result()

    def _finish(self, name: str, close: Callable[[], Any]) -> None:
        """Let a file of an object store appear, at once or at the end of `closed_together`."""

        def finish() -> None:
            with explained(f"write {self.uri(name)}"):
                close()

        if self.closing:
            self.closing(finish)
        else:
            finish()

    def put(self, name: str, data: bytes, durable: bool = False) -> Output:
        """Write ``data`` as a whole file, to S3 in one request, which is as atomic as `write`."""
        fs, path = filesystem(self.uri(name))
        if not isinstance(fs, LocalFileSystem):
            self.check()
            self._finish(name, lambda: fs.pipe_file(path, data))
            return Output.of(data)
        with self.write(name, durable) as file:
            file.write(data)
        return file.output

    def sync(self, names: Iterable[str]) -> None:
        """Flush files and their folders to disk. In an object store, files are durable once it has answered."""
        fs, root = filesystem(self.root)
        if not isinstance(fs, LocalFileSystem):
            return
        paths = [filesystem(self.uri(name))[1] for name in names]
        folders = {root}
        for folder in map(os.path.dirname, paths):
            while folder not in folders and folder.startswith(f"{root}{os.sep}"):
                folders.add(folder)
                folder = os.path.dirname(folder)
        with explained(f"sync {self.root}"), ThreadPoolExecutor(SYNC_THREADS) as pool:
            list(pool.map(sync, [*paths, *folders]))

    def _input(self, name: str) -> tuple[Any, str]:
        """Return the file system and path of a file to read, by its whole URI."""
        uri = self.uri(name)
        return filesystem(self.secrets.get(uri, uri))

    def _folder(self, path: str) -> str:
        """Return the folder of a local file that is to be changed. Raises ConfigError if the folder is a link.

        The path of the run may have links, but a link inside its folders could lead to somebody else's files.
        """
        folder = inner = os.path.dirname(path)
        root = filesystem(self.root)[1]
        while inner.startswith(f"{root}{os.sep}"):
            if os.path.islink(inner):
                raise ConfigError(
                    f"{inner} is a link to {os.path.realpath(inner)}, and a run writes only into folders of its own: "
                    "remove the link, or choose another folder"
                )
            inner = os.path.dirname(inner)
        return folder

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, or None if there is no such file, or a directory of that name."""
        fs, path = self._input(name)
        with explained(f"look at {self.uri(name)}"):
            try:
                if web.is_web(fs):
                    return web.size(fs, path, self.uri(name))
                if "s3" in fs.protocol and (split := fs.split_path(path))[1]:  # `info` would also look for a folder
                    return int(fs.call_s3("head_object", Bucket=split[0], Key=split[1])["ContentLength"])
                fs.invalidate_cache()
                about = fs.info(path)
                if about["type"] == "directory":
                    return None
                if about["size"] is None:
                    raise web.no_parts(self.uri(name), "it has no size")
                return int(about["size"])
            except (FileNotFoundError, NotADirectoryError):
                return None

    def identity(self, name: str) -> tuple[int, ...] | None:
        """Return a local file's device, inode, size and times, by which a change shows; None without such a file."""
        fs, path = filesystem(self.uri(name))
        try:
            about = os.stat(path) if isinstance(fs, LocalFileSystem) else None
        except OSError:
            return None
        return about and (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)

    def names(self, folder: str) -> list[str]:
        """Return the names of all files below ``folder``, sorted; links to folders are not followed."""
        fs, path = filesystem(self.uri(folder))
        with explained(f"list {self.uri(folder)}"):
            if isinstance(fs, LocalFileSystem):
                paths = [os.path.join(where, name) for where, _, names in os.walk(path) for name in names]
            else:
                fs.invalidate_cache()
                above, _, last = path.rpartition("/")
                # By a prefix, s3fs doesn't ask for what there is instead where nothing is found.
                paths = fs.find(above, prefix=f"{last}/") if above and "s3" in fs.protocol else fs.find(path)
            return sorted(f"{folder}/{each.removeprefix(path).strip('/')}".lstrip("/") for each in paths)

    def folders(self) -> set[str]:
        """Return the names of the entries of the run's folder, in one request to an object store."""
        fs, root = filesystem(self.root)
        with explained(f"list {self.root}"):
            fs.invalidate_cache()
            try:
                return {each.removeprefix(root).strip("/") for each in fs.ls(root, detail=False)}
            except FileNotFoundError:
                return set()

    def remove(self, name: str) -> None:
        """Remove a file, if it exists; the removal of a local file survives a power cut."""
        fs, path = filesystem(self.uri(name))
        with explained(f"remove {self.uri(name)}"):
            if not isinstance(fs, LocalFileSystem):
                self.check()
                with suppress(FileNotFoundError):  # S3 doesn't say whether the file was there
                    fs.rm_file(path)
            elif os.path.lexists(path):
                folder = self._folder(path)
                self.check()
                os.remove(path)
                sync(folder)

    def remove_all(self, names: Iterable[str]) -> None:
        """Remove files as `remove` does, in parallel."""
        with ThreadPoolExecutor(SYNC_THREADS) as pool:
            list(pool.map(self.remove, names))

    def abort_uploads(self, ours: Callable[[str], bool]) -> list[str]:
        """Abort unfinished uploads whose file names are ``ours``, and return these names.

        A process that is killed while it writes a large object leaves such an upload in S3: its parts take up space,
        and no listing of files shows them. Raises StorageError, or ConfigError if it is forbidden.
        """
        fs, root = filesystem(self.root)
        aborted = dict[str, str]()
        if isinstance(fs, LocalFileSystem):
            return []
        with explained(f"abort the unfinished uploads below {self.root}"):
            bucket, key, _ = fs.split_path(root)
            prefix = f"{key}/".lstrip("/")
            while True:
                listed = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix)
                found = {each["UploadId"]: each["Key"].removeprefix(prefix) for each in listed.get("Uploads", [])}
                left = {upload: name for upload, name in found.items() if upload not in aborted and ours(name)}
                for upload, name in left.items():
                    self.check()
                    with suppress(FileNotFoundError):  # the upload has ended meanwhile
                        fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=prefix + name, UploadId=upload)
                aborted |= left
                if not (left and listed.get("IsTruncated")):  # list again: the aborted ones are gone
                    return sorted(aborted.values())


def _has_ranges(fs: Any, uri: str) -> bool:
    """Tell whether parts of a file can be had from an object store without knowing its size."""
    return isinstance(fs, AsyncFileSystem) and not web.is_web(fs) and "::" not in uri


def _sha256(file: IO[bytes]) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # IO lacks readinto


def _explained_fetcher(fetch: Callable[..., bytes], uri: str, exact: bool) -> Callable[..., bytes]:
    """Wrap a function that fetches parts of a remote file, so that its failures, long after the opening, are explained.

    An ``exact`` one must return as many bytes as were requested.
    """

    def fetcher(start: int, end: int, **options: Any) -> bytes:
        with explained(f"read {uri}"):
            try:
                data = web.patiently(fetch, start, end, **options)
            except ValueError as error:
                raise web.no_parts(uri, error) from error
        if exact and len(data) != end - start:
            raise web.no_parts(uri, f"its server gave {len(data)} bytes where {end - start} were asked for")
        return data

    return fetcher


class ChainedFile(io.RawIOBase):
    """A file in an archive, or another chain of fsspec, whose failures of all kinds are explained.

    It keeps a reference to its file system, which would close the archive otherwise.
    """

    def __init__(self, fs: Any, path: str, uri: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.fs, self._uri = fs, uri
        with self._explained():
            while fs.protocol == "tar" and fs.fo.read(AHEAD_BYTES):
                pass  # the checksum of a tar.gz comes after everything that its index needs
            self._file = fs.open(path, "rb", **options)
            if not self._file.seekable():
                raise web.no_parts(uri, "it has no size")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with explained(f"read {self._uri}"):
            try:
                yield
            except (DaskjobsError, FileNotFoundError):
                raise
            except Exception as error:
                if getattr(error, "errno", None) or type(error).__module__.startswith(CLIENT_LIBRARIES):
                    raise
                raise InputError(f"{self._uri} {_unreadable(error)}") from error

    def read(self, count: int | None = -1) -> bytes:
        """Read as any file does. Raises InputError for what can't be unpacked."""
        with self._explained():
            data: bytes = self._file.read(-1 if count is None else count)
            return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset, as any file does; in an archive, everything before it is read."""
        with self._explained():
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the offset of the next read."""
        return int(self._file.tell())

    def seekable(self) -> bool:
        """Tell that `seek` works."""
        return True

    def readable(self) -> bool:
        """Tell that `read` works."""
        return True

    def close(self) -> None:
        """Close the file."""
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()


def _unreadable(error: Exception) -> str:
    """Say why a file in an archive can't be read."""
    reason = str(error) or type(error).__name__
    if isinstance(error, NotImplementedError):
        return f"is compressed by an unknown method ({reason}): unpack it, and give the file"
    if isinstance(error, RuntimeError) and ("encrypted" in reason or "password" in reason):
        return "is encrypted: unpack it with its password, and give the file"
    return f"is damaged: {reason}; check that its archive is complete, and upload it again"
