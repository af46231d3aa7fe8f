"""Ends the command line within seconds after a signal or a timeout, whatever hangs.

A signal or a timeout first raises an exception, so that everything that was started is closed and removed. If
something hangs then (a thread in a task, a socket), a thread of this module ends the process after a grace period, with
the same sentence and exit code. Only the command line turns this on (`watch`); a program that uses this package as a
library is never ended.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from select import select
from typing import Any

from daskjobs.display import escaped
from daskjobs.errors import ConfigError, Stop

GRACE_SECONDS = 8  # to close everything
SAID = {
    signal.SIGINT: "stopped by Ctrl-C",
    signal.SIGTERM: "stopped by SIGTERM",
    signal.SIGHUP: "stopped by SIGHUP, as when a terminal is closed",
}
REMEDY = "start it again with the same --run to continue where it stopped"
TERMINATION_LOG = Path("/dev/termination-log")


class Stopped(Stop):
    """A signal asked this process to end; ``number`` is the exit code: 128 plus the signal's number."""

    def __init__(self, sent: int) -> None:
        self.number = 128 + sent
        said = SAID[signal.Signals(sent)]
        self.sentence = f"{said}; {REMEDY}" if _watch and _watch.has_run else said
        super().__init__(self.number)


@dataclass
class _Watch:
    wake: int  # the end of a pipe whose other end is read by the watching thread
    stopped: Stopped | None = None
    has_run: bool = False  # whether there is a run that can be continued


_watch: _Watch | None = None


def watch() -> None:
    """Make Ctrl-C, SIGTERM and SIGHUP raise `Stopped` in the main thread, and end the process after a grace period.

    A second Ctrl-C ends the process at once. A signal that is already ignored stays ignored, as background jobs of a
    shell expect.
    """
    global _watch
    if _watch:
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    _watch = _Watch(write)
    for number in SAID:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)  # works even while the main thread runs C code
    try:
        threading.Thread(target=_wait, args=(read,), daemon=True).start()
    except RuntimeError as error:
        leave(ConfigError.exit_code, f"{error}: allow this process more threads (ulimit -u, ulimit -v)")


def has_run() -> None:
    """From now on, say how to continue the run when a signal ends this process."""
    if _watch:
        _watch.has_run = True


def _stop(number: int, _: Any) -> None:
    if _watch and not _watch.stopped:
        _watch.stopped = Stopped(number)
        raise _watch.stopped


def _wait(wakes: int) -> None:
    """Read the numbers of signals as they arrive, and end the process one grace period after the first."""
    deadline, first = math.inf, 0
    while True:
        left = max(0.0, deadline - time.monotonic()) if first else None
        came = os.read(wakes, 1)[0] if select([wakes], [], [], left)[0] else 0
        again = bool(first) and came == signal.SIGINT
        if again or time.monotonic() >= deadline:
            stopped = Stopped(first)
            leave(stopped.number, f"{stopped.sentence}{'' if again else '; not everything was closed in time'}")
        if came in SAID and not first and signal.getsignal(came) is _stop:
            first, deadline = came, time.monotonic() + GRACE_SECONDS


Bound = Callable[[float, int, str], None]


@contextmanager
def bounded() -> Iterator[Bound]:
    """Give a function that sets a deadline, after which this process is ended if it is still in the block.

    The function takes the seconds, the exit code and the sentence. `GRACE_SECONDS` are added, so that timeouts of the
    work itself come first. Calling it again replaces the deadline. It does nothing unless `watch` was called.
    """
    timers: list[threading.Timer] = []

    def cancel() -> None:
        while timers:
            timers.pop().cancel()

    def bound(seconds: float, code: int, sentence: str) -> None:
        cancel()
        if _watch:
            timer = threading.Timer(min(seconds + GRACE_SECONDS, threading.TIMEOUT_MAX), leave, (code, sentence))
            timer.daemon = True
            timers.append(timer)
            timer.start()

    try:
        yield bound
    finally:
        cancel()


def leave(code: int, sentence: str) -> None:
    """End the process now, whatever its threads do, and report the reason on standard error and to Kubernetes."""
    tell_kubernetes(sentence)
    with suppress(OSError):
        if select([], [2], [], 1)[1]:  # never wait for a reader that has stopped reading
            os.write(2, f"daskjobs: {sentence}\n".encode(errors="replace"))
    os._exit(code)


def tell_kubernetes(message: str) -> None:
    """Write a failure to the pod's termination log, which Argo shows with the step; do nothing outside a pod."""
    with suppress(OSError):
        if TERMINATION_LOG.exists():
            TERMINATION_LOG.write_text(escaped(message)[:4000])
