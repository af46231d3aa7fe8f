"""Time `daskjobs run` from nothing to report.html: python benchmarks/laptop.py [rows …]

Each figure is of a whole process with everything in it: imports, the LocalCluster, all stages. Memory is the peak of
the largest process. Runs of different sizes take turns, so that a machine that slows down does so for all.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 3
STAGES = ("generate", "split", "validate", "merge", "clean", "report")


def once(rows: int, *options: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "daskjobs", "run", "--run", folder, "--rows", str(rows), *options]
        started = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command)} ended with {process.returncode}")
        run = json.loads((Path(folder) / "report/run.json").read_text())
        stages = {**run["stages"], "report": run}
        seconds = {stage: stages[stage]["seconds"] for stage in STAGES}
        return {
            "wall": time.monotonic() - started,
            "cpu": usage.ru_utime + usage.ru_stime,
            "MB": usage.ru_maxrss / 1e3,
            **seconds,
        }


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or [50_000, 1_000_000, 10_000_000]
    found: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for _ in range(ROUNDS):
        for size in sizes:
            found[size].append(once(size))
    names = list(found[sizes[0]][0])
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, median of {ROUNDS}; seconds, but for MB\n")
    print(f"| rows | {' | '.join(names)} |\n| ---: |{' ---: |' * len(names)}")
    for size, runs in found.items():
        medians = [statistics.median(run[name] for run in runs) for name in names]
        shown = [f"{value:.0f}" if name == "MB" else f"{value:.2f}" for name, value in zip(names, medians, strict=True)]
        print(f"| {size:,} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
