"""Cost against rows, stage by stage: python benchmarks/growth.py [rows …] [--json figures.json] [--plot growth.svg]

Each run is a whole `daskjobs run` in a process of its own, generate to report, LocalCluster included; sizes take turns.
Per stage, one line is fitted: seconds = fixed + slope x rows, by least squares of what each point is off in proportion.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from measure import MACHINE, Figures, measured, medians

SIZES = [50_000, 500_000, 1_000_000, 10_000_000, 100_000_000]
STAGES = ("generate", "split", "validate", "merge", "clean", "report")


def once(rows: int, work: str, options: list[str]) -> Figures:
    with tempfile.TemporaryDirectory(dir=work) as folder:
        command = [sys.executable, "-m", "daskjobs", "run", "--run", folder, "--rows", str(rows), *options]
        figures, _ = measured(command)
        run = json.loads((Path(folder) / "report/facts.json").read_text())
        stages = {**run["stages"], "report": run}
        return figures | {stage: stages[stage]["seconds"] for stage in STAGES}


def line(sizes: list[int], seconds: list[float]) -> tuple[float, float]:
    """Return the seconds that no row takes, and those that a million rows take."""
    slope, fixed = np.polyfit(np.array(sizes) / 1e6, seconds, 1, w=1 / np.maximum(seconds, 0.01))
    return float(fixed), float(slope)


def plot(figures: dict[int, Figures], lines: dict[str, tuple[float, float]], target: Path) -> None:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    rows = np.geomspace(min(figures), max(figures), 50)
    for name, (fixed, slope) in lines.items():
        (drawn,) = axes.loglog(rows, fixed + slope * rows / 1e6, linewidth=1)
        points = [figures[size][name] for size in figures]
        axes.plot(list(figures), points, "o", color=drawn.get_color(), markersize=4, label=name)
    axes.set(xlabel="rows", ylabel="seconds", title=f"points: median; lines: fixed + slope x rows ({MACHINE})")
    axes.title.set_fontsize(9)
    axes.set_ylim(bottom=0.005)
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside right center")
    figure.savefig(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="*", default=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", default=tempfile.gettempdir(), help="where the files go: 110 bytes a row")
    parser.add_argument("--json", type=Path, help="where all figures go")
    parser.add_argument("--plot", type=Path, help="where a picture goes: growth.svg")
    parser.add_argument("--option", action="append", default=[], help="of `daskjobs run`: --option=--workers=1")
    options = parser.parse_args()
    found: dict[int, list[Figures]] = {size: [] for size in options.rows}
    for _ in range(options.rounds):
        for size in found:
            found[size].append(once(size, options.work, options.option))
    figures = medians(found)
    names = ["wall", "cpu", "MB", *STAGES]
    print(f"{MACHINE}, medians of {options.rounds}; seconds, but for MB\n")
    print(f"| rows | {' | '.join(names)} |\n| ---: |{' ---: |' * len(names)}")
    for size, each in figures.items():
        shown = [f"{each[name]:.0f}" if name == "MB" else f"{each[name]:.2f}" for name in names]
        print(f"| {size:,} | {' | '.join(shown)} |")
    lines = {name: line(list(figures), [each[name] for each in figures.values()]) for name in ["wall", *STAGES]}
    print("\n| stage | fixed s | s for a million rows |\n| --- | ---: | ---: |")
    for name, (fixed, slope) in lines.items():
        print(f"| {name} | {fixed:.3f} | {slope:.3f} |")
    if options.plot:
        plot(figures, lines, options.plot)
    if options.json:
        everything: dict[str, Any] = {"machine": MACHINE, "rows": found, "lines": lines}
        options.json.write_text(json.dumps(everything, indent=2) + "\n")


if __name__ == "__main__":
    main()
