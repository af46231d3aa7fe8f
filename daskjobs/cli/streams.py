"""Standard streams that never raise: a closed pipe or a full disk behind them must not end a good run."""

import errno
import io
import os
import sys
from typing import Any


class _Lenient(io.FileIO):
    """An output that drops what it can't write, and keeps the first error."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        """Write ``data``, or drop it."""
        try:
            return super().write(data)
        except OSError as error:
            self.lost = self.lost or error
            return len(memoryview(data).cast("B"))


def lenient() -> None:
    """Replace standard output and error by streams that never raise, and open closed ones on /dev/null.

    Otherwise the next file that is opened would get the descriptor of a closed stream, and messages would be written
    into that file. Characters that a stream's encoding lacks are escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    for number, name in ((1, "stdout"), (2, "stderr")):
        before = getattr(sys, name)
        raw = _Lenient(number, "w", closefd=False)
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=before.encoding if before else "utf-8",
            errors="backslashreplace",
            line_buffering=True,
        )
        setattr(sys, name, stream)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # as long as the process lives


def flush() -> None:
    """Flush both streams; if standard output lost anything, say why, unless its reader has just gone away."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Lenient) and raw.lost and raw.lost.errno != errno.EPIPE:
        print(f"daskjobs: standard output could not be written: {raw.lost.strerror}", file=sys.stderr)
    sys.stderr.flush()
