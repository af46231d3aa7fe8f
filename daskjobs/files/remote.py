"""Files of an object store: read ahead and written behind, since an answer takes long, and many come at once."""

import io
from asyncio import run_coroutine_threadsafe
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from typing import Any

PIECE_BYTES, FIRST_BYTES = 4 << 20, 1 << 20  # of a request, and of those for the first piece, which is waited for
PIECES = 4  # requested ahead of the one that is read
PART_BYTES = 8 << 20  # of an upload; a smaller file is written in one request


class AheadFile(io.RawIOBase):
    """The bytes from ``start`` to ``end`` of a file, or to its own end, for one who reads them in order.

    So many of the next pieces are requested meanwhile, each by a request of its own, with no other request before it:
    whether the file is the expected one shows in its hash. Going back within the last read costs nothing. ``explained``
    wraps the waiting for an answer, to explain its failures.
    """

    def __init__(
        self, fs: Any, path: str, start: int, end: int, explained: Callable[[], AbstractContextManager[None]]
    ) -> None:
        super().__init__()
        self._fs, self._path, self._explained = fs, path, explained
        self._at = self._next = start
        self._end = end
        self._small = start + PIECE_BYTES if end - start > PIECE_BYTES else start
        self._pieces = deque[tuple[int, int, Future[bytes]]]()

    def read(self, count: int | None = -1) -> bytes:
        """Return the next ``count`` bytes, or fewer where the file ends."""
        end = self._end if count is None or count < 0 else min(self._end, self._at + count)
        if (self._pieces and self._at < self._pieces[0][0]) or self._at > self._next:
            self._forget()
        if not self._pieces:
            self._next = self._at
        while self._pieces and self._pieces[0][1] <= self._at:
            self._pieces.popleft()
        found, index = list[memoryview](), 0
        while self._at < end:
            while len(self._pieces) <= index + PIECES and self._next < self._end:
                self._request()
            if index == len(self._pieces):
                break
            start, upto, future = self._pieces[index]
            with self._explained():
                data = _answered(future)
            part = memoryview(data)[self._at - start : end - start]
            found.append(part)
            self._at += len(part)
            if len(data) < upto - start:
                break  # the file has ended
            index += 1
        return found[0].tobytes() if len(found) == 1 else b"".join(found)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset in the file."""
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("nobody knows where the file ends")
        self._at = offset if whence == io.SEEK_SET else self._at + offset
        return self._at

    def tell(self) -> int:
        """Return the offset of the next read."""
        return self._at

    def seekable(self) -> bool:
        """Tell that `seek` works."""
        return True

    def readable(self) -> bool:
        """Tell that `read` works."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, as `hashlib.file_digest` does."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Forget what was requested."""
        self._forget()
        super().close()

    def _request(self) -> None:
        start, size = self._next, FIRST_BYTES if self._next < self._small else PIECE_BYTES
        self._next = start + size if start + size + FIRST_BYTES <= self._end else self._end  # no request for a rest
        asked = self._fs._cat_file(self._path, start=start, end=self._next)
        self._pieces.append((start, self._next, run_coroutine_threadsafe(asked, self._fs.loop)))

    def _forget(self) -> None:
        while self._pieces:
            self._pieces.popleft()[2].cancel()


def _answered(request: Future[bytes]) -> bytes:
    """Return what a store has answered: nothing where a file ends before the bytes that were asked for."""
    try:
        return request.result()
    except OSError as error:
        if not is_beyond_end(error):
            raise
        return b""


def is_beyond_end(error: OSError) -> bool:
    """Tell whether a store refuses to give bytes because a file has none there."""
    answer = getattr(error.__cause__, "response", {})
    return bool(answer.get("ResponseMetadata", {}).get("HTTPStatusCode") == 416)


class BehindFile:
    """A file of an object store that is being written by a thread, which uploads its parts while the caller goes on.

    Up to `PART_BYTES` are collected, which then are the whole file, or written to ``file`` in the thread; the caller
    waits for the part before. `close` makes the file appear, and `discard` leaves nothing of it.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._held = file, bytearray()
        self._pool: ThreadPoolExecutor | None = None
        self._writing: Future[Any] | None = None

    def write(self, data: Any) -> int:
        """Take bytes; the caller may change them afterwards."""
        self._held += data
        if len(self._held) >= PART_BYTES:
            self._pool = self._pool or ThreadPoolExecutor(1)
            self._wait()
            self._writing, self._held = self._pool.submit(self._file.write, self._held), bytearray()
        return len(data)

    def upload(self) -> None:
        """Wait until all whole parts are uploaded."""
        self._wait()

    def close(self) -> None:
        """Write what is left, and let the file appear; if that fails, leave nothing of it."""
        try:
            self._wait()
            self._file.write(self._held)
            self._file.close()
            self._end()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Leave nothing of the file."""
        with suppress(Exception):  # the first failure is the one to report
            self._wait()
        self._end()
        try:
            self._file.discard()
        finally:
            self._file.closed = True  # else it would be uploaded once nobody uses it

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def _end(self) -> None:
        if self._pool:
            self._pool.shutdown()
