"""How the command line ends when it is told to, or when a bound is over: within seconds, whatever hangs.

A signal and a bound first unwind, so that what was started is closed and removed. What hangs meanwhile (a thread in a
task, a socket) must not keep the command from its end: a thread of this module ends the process, with the same sentence
and exit code, once the grace is over. Only the command line asks for that (`watch`); nobody's own program is ended.
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

from daskjobs.names import escaped

GRACE_SECONDS = 8  # to unwind in
SAID = {signal.SIGINT: "stopped by Ctrl-C", signal.SIGTERM: "stopped by SIGTERM"}
REMEDY = "started again with the same --run, it goes on where it ended"
TERMINATION_LOG = Path("/dev/termination-log")
NO_THREADS = 11  # errors.ConfigError, which takes no import here


class Stopped(SystemExit):
    """A signal asked for the end; ``number`` is the exit code: 128 and the signal's."""

    def __init__(self, sent: int) -> None:
        self.number = 128 + sent
        self.sentence = f"{SAID[signal.Signals(sent)]}; {REMEDY}"
        super().__init__(self.number)


@dataclass
class _Watch:
    wake: int  # the end of a pipe whose other end is read by the watching thread
    stopped: Stopped | None = None


_watch: _Watch | None = None


def watch() -> None:
    """Let SIGTERM and Ctrl-C raise `Stopped` in the main thread, and end the process when that is not done in time.

    A second Ctrl-C ends it at once. What is ignored already stays so, as a shell's background jobs expect.
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
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)  # written to even while the main thread is deep in C
    try:
        threading.Thread(target=_wait, args=(read,), daemon=True).start()
    except RuntimeError as error:
        leave(NO_THREADS, f"{error}: allow this process more of them (ulimit -u, ulimit -v)")


def _stop(number: int, _: Any) -> None:
    if _watch and not _watch.stopped:
        _watch.stopped = Stopped(number)
        raise _watch.stopped


def _wait(wakes: int) -> None:
    """Read the numbers of signals as they come, and end the process when the first of them has had its grace."""
    deadline, first = math.inf, 0
    while True:
        left = max(0.0, deadline - time.monotonic()) if first else None
        came = os.read(wakes, 1)[0] if select([wakes], [], [], left)[0] else 0
        again = bool(first) and came == signal.SIGINT
        if again or time.monotonic() >= deadline:
            stopped = Stopped(first)
            leave(stopped.number, f"{stopped.sentence}{'' if again else '; not all was closed in time'}")
        if came in SAID and not first and signal.getsignal(came) is _stop:
            first, deadline = came, time.monotonic() + GRACE_SECONDS


Bound = Callable[[float, int, str], None]


@contextmanager
def bounded() -> Iterator[Bound]:
    """Give a function that ends this process, where it is watched and still in the block so many seconds from now.

    It takes the seconds, the exit code and the sentence; `GRACE_SECONDS` come on top, for what ends the work in order.
    To call it again sets the bound anew.
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
    """End the process now, whatever its threads are at, and say why to who reads standard error, and to Kubernetes."""
    tell_kubernetes(sentence)
    with suppress(OSError):
        if select([], [2], [], 1)[1]:  # a reader that has stopped reading must not keep us
            os.write(2, f"daskjobs: {sentence}\n".encode(errors="replace"))
    os._exit(code)


def tell_kubernetes(message: str) -> None:
    """Leave a failure where Kubernetes looks for it, which Argo then shows beside the step; elsewhere, do nothing."""
    with suppress(OSError):
        if TERMINATION_LOG.exists():
            TERMINATION_LOG.write_text(escaped(message)[:4000])
