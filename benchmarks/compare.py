"""The same job by daskjobs, pandas, Polars and DuckDB, side by side: python benchmarks/compare.py [--rows N …]

Read the orders, check every rule, find repeated ids, write the rejected rows with all their reasons, write the paid and
valid ones as Parquet, and total them. Each is a process of its own, imports and LocalCluster included; they take turns,
round after round, on the same file. One whose numbers aren't ours doesn't count: this ends with an error.

`--against REV` compares this checkout with another revision of daskjobs, and leaves the others out; both run with the
packages of this environment.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measure import MACHINE, Figures, generated, measured, medians

HERE = Path(__file__).parent
OTHERS = ("pandas", "polars", "duckdb")

Result = dict[str, int]
Contender = Callable[[Path, Path], tuple[Figures, Result]]  # takes the file of orders and a folder for what it writes


def daskjobs(checkout: Path, orders: Path, folder: Path) -> tuple[Figures, Result]:
    command = [sys.executable, "-m", "daskjobs", "run", "--input", str(orders), "--run", str(folder)]
    figures, _ = measured(command, checkout)
    report = json.loads((folder / "report/analytics_report.json").read_text(), parse_float=Decimal)
    rows = json.loads((folder / "report/quality.json").read_text())["rows"]
    result = {"orders": report["orders"], "cents": int(report["revenue"] * 100), "rejected": rows["in"] - rows["valid"]}
    return figures, result


def other(name: str, orders: Path, folder: Path) -> tuple[Figures, Result]:
    figures, printed = measured([sys.executable, str(HERE / f"contenders/with_{name}.py"), str(orders), str(folder)])
    return figures, json.loads(printed)


def contenders(revisions: list[str], work: Path) -> dict[str, Contender]:
    """Return this checkout, and the other revisions, or else the other libraries, by their names and versions."""
    here = HERE.parent
    found: dict[str, Contender] = {f"daskjobs {_version(here)}": partial(daskjobs, here)}
    for revision in revisions:
        done = subprocess.run(["git", "-C", here, "archive", revision], capture_output=True)
        if done.returncode:
            sys.exit(f"--against must be a revision of this repository, got {revision}: {done.stderr.decode().strip()}")
        folder = work / f"checkout-{len(found)}"
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
            files.extractall(folder, filter="data")
        found[f"daskjobs {_version(folder)} at {revision}"] = partial(daskjobs, folder)
    for name in () if revisions else OTHERS:
        found[f"{name} {version(name)}"] = partial(other, name)
    return found


def _version(checkout: Path) -> str:
    """Return the version of a checkout, and prove that it is what runs."""
    ask = "import daskjobs; print(daskjobs.__version__, daskjobs.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", ask]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=checkout, env=environment).stdout
    found, _, file = printed.strip().partition(" ")
    if Path(file).parent.parent.resolve() != checkout.resolve():
        sys.exit(f"{checkout} would not run: Python finds daskjobs in {file}")
    return found


def compare(rows: int, rounds: int, kinds: dict[str, Contender], work: Path) -> dict[str, list[Figures]]:
    orders = generated(rows, work / f"{rows}")
    found: dict[str, list[Figures]] = {name: [] for name in kinds}
    first, truth = next(iter(kinds)), dict[str, int]()
    for number in range(rounds):
        for name in list(kinds)[:: (-1) ** number]:  # or a machine that gets slower favours the first
            with tempfile.TemporaryDirectory(dir=work) as folder:
                figures, result = kinds[name](orders, Path(folder))
            truth = truth or result
            if result != truth:
                sys.exit(f"{name} came to {result}, {first} to {truth}")
            found[name].append(figures)
    return found


def table(found: dict[str, list[Figures]]) -> str:
    lines = ["| | wall s | least to most | ratio | cpu s | ratio | MB |", f"| --- |{' ---: |' * 6}"]
    first = next(iter(found))
    for name, middle in medians(found).items():
        walls = [run["wall"] for run in found[name]]
        ratio = {
            figure: "" if name == first else f"{_ratio(found[first], found[name], figure):.2f}" for figure in middle
        }
        lines.append(
            f"| {name} | {middle['wall']:.2f} | {min(walls):.2f} to {max(walls):.2f} | {ratio['wall']} "
            f"| {middle['cpu']:.2f} | {ratio['cpu']} | {middle['MB']:.0f} |"
        )
    return "\n".join(lines)


def _ratio(ours: list[Figures], theirs: list[Figures], figure: str) -> float:
    """Return the median of the ratios within a round, which a machine that slows down changes little."""
    return statistics.median(our[figure] / their[figure] for our, their in zip(ours, theirs, strict=True))


def plot(everything: dict[str, Any], target: Path) -> None:
    """Draw the wall time of each, with the least and the most, one panel a size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.4), layout="constrained")
    panels = figure.subplots(1, len(everything["rows"]), squeeze=False)[0]
    for panel, (rows, found) in zip(panels, everything["rows"].items(), strict=True):
        for place, (name, each) in enumerate(medians(found).items()):
            walls, middle = [run["wall"] for run in found[name]], each["wall"]
            spread = [[middle - min(walls)], [max(walls) - middle]]
            mine = name.startswith("daskjobs")
            color, ink = ("#2b6cb0", "white") if mine else ("#a0aec0", "black")
            panel.barh(place, middle, xerr=spread, color=color, capsize=2)
            panel.text(0, place, f" {middle:.2f} s", va="center", fontsize=8, color=ink)
        panel.set_yticks(range(len(found)), found, fontsize=8)
        panel.invert_yaxis()
        panel.set_title(f"{rows:,} rows", fontsize=9)
        panel.tick_params(axis="x", labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(f"wall seconds, {everything['machine']}", fontsize=8)
    figure.savefig(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 1_000_000, 10_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", action="append", default=[], metavar="REV", help="a revision; may be repeated")
    parser.add_argument("--json", type=Path, help="where all figures go")
    parser.add_argument("--plot", type=Path, help="where a picture goes: compare.svg")
    options = parser.parse_args()
    machine = f"{MACHINE}, {options.rounds} rounds"
    everything: dict[str, Any] = {"machine": machine, "rows": {}}
    with tempfile.TemporaryDirectory() as work:
        kinds = contenders(options.against, Path(work))
        print(f"{machine}; medians; ratio: this checkout's seconds over the other's, in the same round")
        for rows in options.rows:
            found = compare(rows, options.rounds, kinds, Path(work))
            everything["rows"][rows] = found
            print(f"\n{rows:,} rows:\n\n{table(found)}", flush=True)
    if options.plot:
        plot(everything, options.plot)
    if options.json:
        options.json.write_text(json.dumps(everything, indent=2) + "\n")


if __name__ == "__main__":
    main()
