"""The same job by daskjobs, pandas, Polars and DuckDB, side by side: python benchmarks/compare.py [--rows N …]

Read the orders, check every rule, find repeated ids, write the rejected rows with all their reasons, write the paid and
valid ones as Parquet, and total them. Each is a process of its own, imports and LocalCluster included; they take turns,
round after round, on the same file. One whose numbers aren't ours doesn't count: this ends with an error.
"""

import argparse
import json
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from measure import MACHINE, Figures, generated, measured, medians

HERE = Path(__file__).parent
OTHERS = ("pandas", "polars", "duckdb")


def ours(orders: Path, folder: Path) -> tuple[Figures, dict[str, int]]:
    figures, _ = measured([sys.executable, "-m", "daskjobs", "run", "--input", str(orders), "--run", str(folder)])
    rows = json.loads((folder / "report/manifest.json").read_text())["rows"]
    cents = int(rows["revenue"].replace(".", ""))
    return figures, {"orders": rows["paid"], "cents": cents, "rejected": rows["rejected"]}


def theirs(name: str, orders: Path, folder: Path) -> tuple[Figures, dict[str, int]]:
    figures, printed = measured([sys.executable, str(HERE / f"contenders/with_{name}.py"), str(orders), str(folder)])
    return figures, json.loads(printed)


def compare(rows: int, rounds: int, work: Path) -> dict[str, list[Figures]]:
    orders = generated(rows, work / f"{rows}")
    found: dict[str, list[Figures]] = {name: [] for name in ("daskjobs", *OTHERS)}
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


def table(found: dict[str, list[Figures]]) -> str:
    lines = ["| | wall s | least to most | ratio | cpu s | MB |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, middle in medians(found).items():
        runs = found[name]
        walls = [run["wall"] for run in runs]
        # Ratios within a round, of which a machine that slows down says nothing.
        ratio = statistics.median(our["wall"] / run["wall"] for our, run in zip(found["daskjobs"], runs, strict=True))
        lines.append(
            f"| {name} {version(name)} | {middle['wall']:.2f} | {min(walls):.2f} to {max(walls):.2f} "
            f"| {'' if name == 'daskjobs' else f'{ratio:.2f}'} | {middle['cpu']:.2f} | {middle['MB']:.0f} |"
        )
    return "\n".join(lines)


def plot(everything: dict[str, Any], target: Path) -> None:
    """Draw the wall time of each, with the least and the most, one panel a size."""
    figure = Figure(figsize=(9, 2.4), layout="constrained")
    panels = figure.subplots(1, len(everything["rows"]), squeeze=False)[0]
    for panel, (rows, found) in zip(panels, everything["rows"].items(), strict=True):
        for place, (name, each) in enumerate(medians(found).items()):
            walls, middle = [run["wall"] for run in found[name]], each["wall"]
            spread = [[middle - min(walls)], [max(walls) - middle]]
            panel.barh(place, middle, xerr=spread, color="#2b6cb0" if name == "daskjobs" else "#a0aec0", capsize=2)
            color = "white" if name == "daskjobs" else "black"
            panel.text(0, place, f" {middle:.2f} s", va="center", fontsize=8, color=color)
        panel.set_yticks(range(len(found)), found, fontsize=8)
        panel.invert_yaxis()
        panel.set_title(f"{rows:,} rows", fontsize=9)
        panel.tick_params(axis="x", labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(f"wall seconds, {everything['machine']}", fontsize=8)
    figure.savefig(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 1_000_000, 10_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where all figures go")
    parser.add_argument("--plot", type=Path, help="where a picture goes: compare.svg")
    options = parser.parse_args()
    machine = f"{MACHINE}, {options.rounds} rounds"
    everything: dict[str, Any] = {"machine": machine, "rows": {}}
    print(f"{machine}; medians; ratio: daskjobs' wall time over the other's")
    with tempfile.TemporaryDirectory() as work:
        for rows in options.rows:
            found = compare(rows, options.rounds, Path(work))
            everything["rows"][rows] = found
            print(f"\n{rows:,} rows:\n\n{table(found)}", flush=True)
    if options.plot:
        plot(everything, options.plot)
    if options.json:
        options.json.write_text(json.dumps(everything, indent=2) + "\n")


if __name__ == "__main__":
    main()
