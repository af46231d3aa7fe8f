"""Polluted files, read for the same job by daskjobs, pandas, Polars, DuckDB and csv: python benchmarks/trust.py

Each pollution of pollutions.py is read by each reader, and what comes of it is one of three: the number is right; the
reader tells, by an error or by rejecting the row; or the number is wrong in silence. daskjobs runs its stages here, one
after another and without Dask (tests/inline.py); --whole runs some of the files by the whole command, too, and ends
with an error if that comes to anything else.
"""

import argparse
import csv
import json
import logging
import platform
import re
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "contenders"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import pyarrow.parquet as pq

import inline
from daskjobs.errors import DaskjobsError
from pollutions import COLUMNS, ORDERS, Pollution, pollutions

RIGHT, REPORTED, WRONG = OUTCOMES = ("right", "reported", "wrong in silence")
QUOTES = '"“”'
TEXTS = ("order_id", "user_id", "region", "product", "payment_mode")

Order = tuple[object, ...]  # texts, quantity, cents, time


@dataclass(frozen=True)
class Found:
    """What a reader came to: the paid orders, and how many rows it rejected or warned of."""

    orders: list[Order]
    rejected: int


def order(
    row: dict[str, Any], quantity: str = "quantity", total: str = "total_amount", when: str = "timestamp"
) -> Order:
    """Return a paid order, in whatever types a reader gives it."""
    cents = row[total] if isinstance(row[total], int) else int(Decimal(row[total]) * 100)
    moment = row[when] if isinstance(row[when], datetime) else datetime.fromisoformat(row[when])
    return (*(row[name] or "" for name in TEXTS), int(row[quantity]), cents, moment)


def written(paths: Iterable[Path], *names: str) -> list[Order]:
    """Return the orders of Parquet files. Their columns may be called as in the input: DuckDB takes capitals, too."""
    rows = (row for path in paths for row in pq.read_table(path).to_pylist())
    return [order({name.lower(): value for name, value in row.items()}, *names) for row in rows]


def by_daskjobs(source: Path, folder: Path) -> Found:
    inline.run(folder / "run", str(source))
    return of_a_run(folder / "run")


def by_the_command(source: Path, folder: Path) -> Found:
    """Read a file by `daskjobs run`, as a process with a Dask cluster of its own."""
    command = [sys.executable, "-m", "daskjobs", "run", "--input", str(source), "--run", str(folder / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == DaskjobsError.exit_code or "Traceback" in done.stderr:
        sys.exit(f"{source}: {done.stderr}")
    if done.returncode:
        raise DaskjobsError(done.stderr)
    return of_a_run(folder / "run")


def of_a_run(run: Path) -> Found:
    quality = json.loads((run / "report/quality.json").read_bytes())
    return Found(written(sorted(run.glob("validate/part-*/paid.parquet"))), quality["rows"]["rejected"])


def by_pandas(**options: Any) -> Callable[[Path, Path], Found]:
    def read(source: Path, folder: Path) -> Found:
        import pandas as pd
        import with_pandas

        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            frame = pd.read_csv(source, dtype=str, keep_default_na=False, **options)
        skipped = sum(
            len(re.findall(r"Skipping line|Expected \d+ columns, but found", str(each.message))) for each in said
        )
        rejected = with_pandas.job(frame, str(folder))["rejected"]
        return Found(written([folder / "clean.parquet"], "quantity", "total_cents"), rejected + skipped)

    return read


def by_polars(**options: bool) -> Callable[[Path, Path], Found]:
    def read(source: Path, folder: Path) -> Found:
        import with_polars

        rejected = with_polars.job(with_polars.read(str(source), **options), str(folder))["rejected"]
        return Found(written([folder / "clean.parquet"], "amount", "total_cents", "when"), rejected)

    return read


def by_duckdb(options: str = "") -> Callable[[Path, Path], Found]:
    def read(source: Path, folder: Path) -> Found:
        import duckdb
        import with_duckdb

        with duckdb.connect() as db:
            rejected = with_duckdb.job(db, str(source), str(folder), options)["rejected"]
            if "store_rejects" in options:
                rejected += db.execute("SELECT count(DISTINCT line) FROM reject_errors").fetchall()[0][0]
        return Found(written([folder / "clean.parquet"], "amount", "total_read", "moment"), rejected)

    return read


def by_csv(source: Path, folder: Path) -> Found:
    import with_csv

    with source.open(newline="", encoding="utf-8") as file:
        rejected = with_csv.job(csv.DictReader(file), str(folder))["rejected"]
    with (folder / "clean.csv").open(newline="", encoding="utf-8") as file:
        return Found([order(row) for row in csv.DictReader(file)], rejected)


# As people call them for this job, and with the options that skip what can't be read.
PACKAGES = ("daskjobs", "pandas", "pyarrow", "polars", "duckdb")
COMMAND = "daskjobs run"
READERS: dict[str, Callable[[Path, Path], Found]] = {
    "daskjobs": by_daskjobs,
    "pandas": by_pandas(),
    'pandas, engine="pyarrow"': by_pandas(engine="pyarrow"),
    "Polars": by_polars(),
    "DuckDB": by_duckdb(),
    "csv.DictReader": by_csv,
    'pandas, on_bad_lines="warn"': by_pandas(on_bad_lines="warn"),
    'pandas, on_bad_lines="skip"': by_pandas(on_bad_lines="skip"),
    "Polars, truncate_ragged_lines and ignore_errors": by_polars(truncate_ragged_lines=True, ignore_errors=True),
    "DuckDB, store_rejects": by_duckdb(", store_rejects = true"),
    "DuckDB, ignore_errors": by_duckdb(", ignore_errors = true"),
    COMMAND: by_the_command,
}
OURS = (by_daskjobs, by_the_command)


def judged(pollution: Pollution, found: Found) -> str:
    """Return what a reader's result is: right, reported, or wrong in silence.

    Every order must be there as it was; a polluted one with its numbers, whatever became of its texts. One that is
    missing must be reported: of polluted ones, at least one row is rejected; if others are missing too, as many rows as
    orders are, so that a row that has swallowed others doesn't hide them.
    """
    if pollution.right is None:
        return REPORTED if found.rejected and not found.orders else WRONG

    def compared(each: Order) -> Order:
        name = str(each[0]).strip(QUOTES)
        return (name, *each[len(TEXTS) :]) if name in pollution.touched else each

    expected = [order(dict(zip(COLUMNS, each, strict=True))) for each in ORDERS if each[0] in pollution.right]
    want, have = Counter(map(compared, expected)), Counter(map(compared, found.orders))
    missing = {each[0] for each in want - have}
    if have - want:
        return WRONG
    if not missing:
        return RIGHT
    least = 1 if missing <= pollution.touched else len(missing)
    return REPORTED if found.rejected >= least else WRONG


def outcome(name: str, pollution: Pollution) -> str:
    """Return what becomes of a polluted file with a reader; a bug of ours is none of the three."""
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "orders.csv"
        source.write_bytes(pollution.data)
        try:
            found = READERS[name](source, Path(work))
        except DaskjobsError:
            return REPORTED
        except Exception as error:
            if READERS[name] in OURS or isinstance(error, ImportError):
                raise
            return REPORTED
        return judged(pollution, found)


def table(found: dict[str, list[str]], polluted: list[Pollution]) -> str:
    """Return the counts of each reader: in all, and in each group."""
    groups = list(dict.fromkeys(each.group for each in polluted))
    counts = [sum(each.group == group for each in polluted) for group in groups]
    lines = [
        f"| | {' | '.join(OUTCOMES)} | {' | '.join(map('{} ({})'.format, groups, counts))} |",
        f"| --- | {'---: | ' * (len(OUTCOMES) + len(groups))}".rstrip(),
    ]
    for name, outcomes in found.items():
        total = Counter(outcomes)
        cells = [f"{total[each]}" for each in OUTCOMES]
        for group in groups:
            of_group = Counter(each for each, of in zip(outcomes, polluted, strict=True) if of.group == group)
            cells.append(" / ".join(f"{of_group[each]}" for each in OUTCOMES))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", nargs="+", choices=[*READERS], default=[*READERS][:-1])
    parser.add_argument("--whole", type=int, default=10, help="files that the whole command reads, too; 0: none")
    parser.add_argument("--show", action="store_true", help="print each file that a reader reads wrongly in silence")
    options = parser.parse_args()
    logging.getLogger("daskjobs").setLevel(logging.ERROR)  # warnings of rows that look like several
    polluted = pollutions()
    try:
        versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    except PackageNotFoundError as missing:
        sys.exit(f"{missing.name} is not installed: pip install -e '.[bench,dev]'")
    print(f"{len(polluted)} files; {versions}, Python {platform.python_version()}\n", flush=True)
    found = {name: [outcome(name, each) for each in polluted] for name in options.readers}
    print(table(found, polluted), flush=True)
    if options.show:
        for name, outcomes in found.items():
            for each, of in zip(outcomes, polluted, strict=True):
                if each == WRONG:
                    print(f"{name}: {of.group}: {of.name}")
    if options.whole and "daskjobs" in found:
        chosen = [place * len(polluted) // options.whole for place in range(options.whole)]
        for place in chosen:
            whole, stages = outcome(COMMAND, polluted[place]), found["daskjobs"][place]
            if whole != stages:
                sys.exit(f"daskjobs run came to {whole!r}, its stages to {stages!r}: {polluted[place].name}")
        print(f"\n{options.whole} of the files by the whole command: the same")


if __name__ == "__main__":
    main()
