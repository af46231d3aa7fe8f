"""One command, measured whole: from its start to its end, with all processes that it starts."""

import contextlib
import ctypes
import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TypeVar

import psutil

SAMPLE_SECONDS = 0.1
PR_SET_CHILD_SUBREAPER = 36  # prctl(2), Linux
MACHINE = f"{os.cpu_count()} cores, Python {platform.python_version()}"

Figures = dict[str, float]
Kind = TypeVar("Kind")


def generated(rows: int, folder: Path) -> Path:
    """Have daskjobs generate so many orders in a folder; return their file."""
    command = [sys.executable, "-m", "daskjobs", "generate", "--run", str(folder), "--rows", str(rows)]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "orders/orders.csv"


def medians(found: dict[Kind, list[Figures]]) -> dict[Kind, Figures]:
    """Return the median of each figure over the runs of each kind."""
    return {
        kind: {name: statistics.median(run[name] for run in runs) for name in runs[0]} for kind, runs in found.items()
    }


def measured(command: list[str], checkout: Path | None = None) -> tuple[Figures, str]:
    """Run a command; return its wall and CPU seconds, and its peak of memory in MB, and what it printed.

    With ``checkout``, it imports daskjobs from there.

    Time and CPU are those until the last of its processes has ended. The peak is the kernel's of the largest one, or
    that of the sum over its tree, sampled, where that is higher; pages that processes share count once.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # what outlives its parent is ours to wait for
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(checkout)} if checkout else None
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=checkout, env=environment
    ) as process:
        assert process.stdout is not None
        peaks, done = [0], threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, peaks, done))
        watcher.start()
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        done.set()
        watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "MB": max(usage.ru_maxrss * 1024, *peaks) / 1e6}, printed


def _watch(pid: int, peaks: list[int], done: threading.Event) -> None:
    while not done.wait(SAMPLE_SECONDS):
        with contextlib.suppress(psutil.Error):  # one of them has ended meanwhile
            process = psutil.Process(pid)
            tree = [process, *process.children(recursive=True)]
            peaks.append(sum(each.memory_full_info().pss for each in tree))
