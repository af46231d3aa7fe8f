"""The same job by daskjobs, pandas, Polars and DuckDB, side by side: python benchmarks/compare.py [--rows N …]

Read the orders, check every rule, find repeated ids, write the rejected rows with all their reasons, write the paid and
valid ones as Parquet, and total them. Each is a process of its own, imports and LocalCluster included; they take turns,
round after round, on the same file. One whose numbers aren't ours doesn't count: this ends with an error.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OTHERS = ("pandas", "polars", "duckdb")


def measured(command: list[str]) -> tuple[dict[str, float], str]:
    """Run a command; return its wall and CPU seconds and its peak of memory in MB, and what it printed."""
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    # Each works in threads of one process, so that its peak is that of the whole tree.
    figures = {
        "wall": time.monotonic() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        "MB": usage.ru_maxrss / 1e3,
    }
    return figures, printed


def ours(orders: Path, folder: Path) -> tuple[dict[str, float], dict[str, int]]:
    figures, _ = measured([sys.executable, "-m", "daskjobs", "run", "--input", str(orders), "--run", str(folder)])
    rows = json.loads((folder / "report/manifest.json").read_text())["rows"]
    cents = int(rows["revenue"].replace(".", ""))
    return figures, {"orders": rows["clean"], "cents": cents, "rejected": rows["quarantined"]}


def theirs(name: str, orders: Path, folder: Path) -> tuple[dict[str, float], dict[str, int]]:
    figures, printed = measured([sys.executable, str(HERE / f"contenders/with_{name}.py"), str(orders), str(folder)])
    return figures, json.loads(printed)


def compare(rows: int, rounds: int, work: Path) -> dict[str, list[dict[str, float]]]:
    source = work / f"{rows}"
    command = [sys.executable, "-m", "daskjobs", "generate", "--run", str(source), "--rows", str(rows)]
    subprocess.run(command, check=True, capture_output=True)
    orders = source / "orders/orders.csv"
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ("daskjobs", *OTHERS)}
    for _ in range(rounds):
        truth: dict[str, int] = {}
        for name in found:
            with tempfile.TemporaryDirectory(dir=work) as folder:
                figures, result = (
                    ours(orders, Path(folder)) if name == "daskjobs" else theirs(name, orders, Path(folder))
                )
            truth = truth or result
            if result != truth:
                sys.exit(f"{name} came to {result}, daskjobs to {truth}")
            found[name].append(figures)
    return found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    lines = ["| | wall s | least to most | ratio | cpu s | MB |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, runs in found.items():
        walls = [run["wall"] for run in runs]
        # Ratios within a round, of which a machine that slows down says nothing.
        ratio = statistics.median(our["wall"] / run["wall"] for our, run in zip(found["daskjobs"], runs, strict=True))
        cpu, peak = (statistics.median(run[key] for run in runs) for key in ("cpu", "MB"))
        lines.append(
            f"| {name} {version(name)} | {statistics.median(walls):.2f} | {min(walls):.2f} to {max(walls):.2f} "
            f"| {'' if name == 'daskjobs' else f'{ratio:.2f}'} | {cpu:.2f} | {peak:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 1_000_000, 10_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where all figures go")
    options = parser.parse_args()
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {options.rounds} rounds"
    everything: dict[str, Any] = {"machine": machine, "rows": {}}
    print(f"{machine}; medians; ratio: daskjobs' wall time over the other's")
    with tempfile.TemporaryDirectory() as work:
        for rows in options.rows:
            found = compare(rows, options.rounds, Path(work))
            everything["rows"][rows] = found
            print(f"\n{rows:,} rows:\n\n{table(found)}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(everything, indent=2) + "\n")


if __name__ == "__main__":
    main()
