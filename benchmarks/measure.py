"""One command, measured whole: from its start to its end, with all processes that it starts."""

import os
import subprocess
import sys
import threading
import time

import psutil

SAMPLE_SECONDS = 0.1

Figures = dict[str, float]


def measured(command: list[str]) -> tuple[Figures, str]:
    """Run a command; return its wall and CPU seconds, and its peak of memory in MB, and what it printed.

    The peak is the kernel's of the process itself, or that of the sum over its tree, sampled, where that is higher.
    """
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        peaks, done = [0], threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, peaks, done))
        watcher.start()
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        done.set()
        watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    peak = max(usage.ru_maxrss * 1024, *peaks)
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "MB": peak / 1e6}, printed


def _watch(pid: int, peaks: list[int], done: threading.Event) -> None:
    try:
        process = psutil.Process(pid)
        while not done.wait(SAMPLE_SECONDS):
            peaks.append(sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]))
    except psutil.Error:  # it has ended
        return
