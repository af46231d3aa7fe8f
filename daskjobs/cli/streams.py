"""Standard streams that never raise: a closed pipe or a full disk must not end a good run."""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from daskjobs.errors import StorageError


class _Lenient(io.FileIO):
    """An output that drops what it can't write, and keeps the first error and the last byte it was given."""

    lost: OSError | None = None
    last = b"\n"

    def write(self, data: Any) -> int:
        """Write ``data``, or drop it."""
        self.last = bytes(memoryview(data).cast("B")[-1:]) or self.last
        try:
            return super().write(data)
        except OSError as error:
            self.lost = self.lost or error
            return len(memoryview(data).cast("B"))


def lenient() -> None:
    """Replace standard output and error by streams that never raise, and open closed ones on /dev/null.

    Otherwise the next file to be opened would get a closed stream's descriptor, and messages would go into that file.
    Characters that a stream's encoding lacks are escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor, which is this one
    for number, name in ((1, "stdout"), (2, "stderr")):
        before = getattr(sys, name)
        setattr(sys, name, _stream(number, before.encoding if before else "utf-8"))
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # as long as the process lives


def _stream(number: int, encoding: str) -> io.TextIOWrapper:
    raw = _Lenient(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=True)


def open_again() -> None:
    """Open standard output and error again if a user's function has closed them."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(getattr(sys, name), "closed", True):
            setattr(sys, name, _stream(number, "utf-8"))


@contextmanager
def last_line() -> Iterator[Callable[[str], None]]:
    """Give a function that writes the last line of standard output, whatever this block does to the stream.

    The text gets a line of its own, even after an unfinished line or when standard output was closed. Later output,
    such as that of threads that still work, goes to standard error.
    """
    before = sys.stdout
    raw = getattr(getattr(before, "buffer", None), "raw", None)
    number = os.dup(1)
    try:
        own = _stream(number, before.encoding)

        def write(text: str) -> None:
            for stream in (before, sys.stdout):
                with suppress(ValueError, OSError):
                    stream.flush()
            open_again()
            sys.stdout = sys.stderr
            with suppress(OSError):
                os.dup2(2, 1)
            begun = isinstance(raw, _Lenient) and raw.last != b"\n"
            own.write(f"{chr(10) * begun}{text}\n")
            own.flush()
            _tell_lost(own)

        yield write
    finally:
        os.close(number)


def _tell_lost(stream: Any) -> None:
    """Say why a stream lost output, unless its reader has gone away."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(raw, _Lenient) and raw.lost and raw.lost.errno != errno.EPIPE:
        print(f"daskjobs: standard output could not be written: {raw.lost.strerror}", file=sys.stderr)


def check_written() -> None:
    """Raise StorageError if standard output lost anything, unless its reader has gone away.

    A command calls it whose output is all of its result: no one would miss the rest of a profile that was cut.
    """
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Lenient) and raw.lost and raw.lost.errno != errno.EPIPE:
        lost, raw.lost = raw.lost, None
        raise StorageError(f"standard output could not be written: {lost.strerror}")


def flush() -> None:
    """Flush both streams; say why, if standard output lost anything."""
    open_again()
    sys.stdout.flush()
    _tell_lost(sys.stdout)
    sys.stderr.flush()
