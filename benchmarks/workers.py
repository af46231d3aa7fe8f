"""What a second worker gives, and where the rest goes: python benchmarks/workers.py [--rows N] [--json figures.json]

split and validate of the same orders, with one worker of this machine and with two, in turns, each first in every
other round. Work lasts from the log's line that the cluster is ready until the one that validate is done; the workers'
own figures are those of facts.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import MACHINE, Figures, generated, medians

COUNTS = (1, 2)
HEAD = "| workers | work s | least to most | in tasks s | on a core s | waiting for a core s | all of validate s |"


def once(orders: Path, workers: int, folder: str) -> Figures:
    options = ["--input", str(orders), "--run", folder, "--workers", str(workers)]
    command = [sys.executable, "-m", "daskjobs", "stages", "split", "validate", *options]
    seen: dict[str, float] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            seen[line.split()[2]] = time.monotonic()  # the name of an event, and when it came last
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    run = json.loads((Path(folder) / "validate/facts.json").read_text())
    used = {name: run["resources"]["used"][f"{name}_seconds"] for name in ("busy", "cpu", "queued")}
    return {"work": seen["stage.done"] - seen["cluster.ready"], **used, "validate": run["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="where all figures go")
    options = parser.parse_args()
    machine = f"{MACHINE}, {options.rounds} rounds"
    found: dict[int, list[Figures]] = {workers: [] for workers in COUNTS}
    with tempfile.TemporaryDirectory() as work:
        orders = generated(options.rows, Path(work))
        for each in range(options.rounds):
            for workers in COUNTS[:: (-1) ** each]:  # or a machine that gets slower favours the first
                with tempfile.TemporaryDirectory(dir=work) as folder:
                    found[workers].append(once(orders, workers, folder))
    print(f"{machine}, {options.rows:,} rows; medians, of all workers together\n\n{HEAD}\n{'| ---: ' * 7}|")
    figures = medians(found)
    for workers, middle in figures.items():
        walls = [run["work"] for run in found[workers]]
        print(
            f"| {workers} | {middle['work']:.2f} | {min(walls):.2f} to {max(walls):.2f} | {middle['busy']:.2f} "
            f"| {middle['cpu']:.2f} | {middle['queued']:.2f} | {middle['validate']:.2f} |"
        )
    one, two = ([run["work"] for run in found[workers]] for workers in COUNTS)
    ratios = sorted(first / second for first, second in zip(one, two, strict=True))
    print(
        f"\nTwo are {figures[1]['work'] / figures[2]['work']:.2f} times one, by the medians; "
        f"{ratios[0]:.2f} to {ratios[-1]:.2f} within a round, {statistics.median(ratios):.2f} in the middle."
    )
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": options.rows, "runs": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
