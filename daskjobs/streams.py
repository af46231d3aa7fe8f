"""Standard streams that can't fail: a closed pipe or a full disk behind them must not end a run that goes well."""

import errno
import io
import os
import sys
from typing import Any


class _Lenient(io.FileIO):
    """An output whose writes never fail: what can't be written is dropped, and the first reason is kept."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        """Write ``data``, or drop it."""
        try:
            return super().write(data)
        except OSError as error:
            self.lost = self.lost or error
            return len(memoryview(data).cast("B"))


def lenient() -> None:
    """Replace standard output and error by streams whose writes never fail, and open what is closed on /dev/null.

    A descriptor that stays closed would be the next file's that is opened, and texts would be written into it. A
    character that the stream's encoding lacks is escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
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
    """Write what is left, and say on standard error why standard output lost something: not that its reader went."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Lenient) and raw.lost and raw.lost.errno != errno.EPIPE:
        print(f"daskjobs: standard output could not be written: {raw.lost.strerror}", file=sys.stderr)
    sys.stderr.flush()
