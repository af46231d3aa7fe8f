"""The search for repeated ids, alone: python benchmarks/ids.py [rows …] [--order shuffled …] [--partitions 200]

Ids are made, and given to the functions that validate's tasks call, on two worker processes: those of a partition are
taken, block by block, and then each bucket is searched. What is found is held against what was planted. Times are CPU
seconds of all processes, without those of making the ids, so that other work on the machine hardly matters.
"""

import argparse
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measure import MACHINE, _watch

from daskjobs.files.documents import sealed
from daskjobs.files.storage import Storage
from daskjobs.files.tables import writing_rows
from daskjobs.memory import KEEP_MEMORY
from daskjobs.orders.schema import WRITING
from daskjobs.orders.validation import ids
from daskjobs.orders.validation.duplicates import Part, buckets, divide, find_repeats, positions, suspected
from daskjobs.orders.validation.ids import PartitionIds, read_again

ORDERS = {
    "ascending": "each id is above the one before",
    "shuffled": "in no order, each once",
    "repeats": "in no order, and one in a hundred is that of an earlier row",
    "overlapping": "they ascend, and each partition begins with the id that the one before it ends with",
}
BLOCK_ROWS, FIRST, BITS, EACH, UNPAID = 40_000, 1_000_000_000, 30, 100, 20
WORKERS = 2
NEEDED = 22  # bytes of disk a row, with what must stay free


def mixed(numbers: Any) -> Any:
    """Return other numbers below 2^30 for such numbers, each once, in no order that one sees."""
    low = np.int64((1 << BITS) - 1)
    numbers = numbers * np.int64(0x2545F491) & low
    numbers ^= numbers >> 15
    numbers = numbers * np.int64(0x1B873593) & low
    return numbers ^ numbers >> 13


def made(order: str, start: int, end: int, partition: int) -> pa.Array:
    """Return the ids of rows, counted from 0."""
    rows = np.arange(start, end)
    if order in ("ascending", "overlapping"):
        numbers = rows - partition * (order == "overlapping")
    elif order == "shuffled":
        numbers = mixed(rows)
    else:
        again = rows % EACH == EACH - 1
        earlier = mixed(rows % (1 << BITS)) % np.maximum(rows, 1)
        numbers = mixed(np.where(again, earlier - (earlier % EACH == EACH - 1), rows))
    return pa.array(numbers + FIRST).cast(pa.string())


def take(root: str, order: str, bounds: tuple[int, int], number: int, count: int) -> tuple[Any, ...]:
    """Take the ids of a partition, as its task does; return what it says, its files, and the seconds of making them."""
    storage, making = Storage(root), 0.0
    kept = order == "overlapping"  # then the ids are read again from the orders
    with (
        storage.write(f"{number}.ids") as file,
        writing_rows(storage, f"{number}.paid", pa.schema([ids.IDS.field("order_id")]), WRITING) as (paid, paid_file),
        writing_rows(storage, f"{number}.unpaid", pa.schema([ids.IDS.field("order_id")]), WRITING) as (unpaid, other),
    ):
        taken = PartitionIds(file, count, found_again=True)
        for start in range(*bounds, BLOCK_ROWS):
            before = time.process_time()
            end = min(bounds[1], start + BLOCK_ROWS)
            block, which = made(order, start, end, number), np.arange(start, end) % UNPAID == 0
            if kept:
                paid(pa.table([block.filter(pa.array(~which))], ["order_id"]))
                unpaid(pa.table([block.filter(pa.array(which))], ["order_id"]))
            making += time.process_time() - before
            taken.take(block, np.flatnonzero(which))
        said = taken.end()
    files = [(f"{number}.paid", paid_file.output), (f"{number}.unpaid", other.output)]
    return said, files, making


def timed(work: Callable[..., Any], root: str, job: tuple[Any, ...]) -> tuple[Any, float]:
    before = time.process_time()
    return work(root, *job), time.process_time() - before


def planted(order: str, bounds: tuple[int, int], number: int) -> Any:
    """Return the positions of the rows of a partition that repeat an id."""
    if order == "repeats":
        return np.flatnonzero(np.arange(*bounds) % EACH == EACH - 1)
    return np.arange(int(order == "overlapping" and number > 0))


def once(rows: int, order: str, partitions: int, root: str, pool: Executor) -> dict[str, float]:
    """Take all ids and search them; return the figures."""

    def done_by_workers(work: Callable[..., Any], jobs: list[tuple[Any, ...]]) -> tuple[list[Any], float]:
        """Return the results of jobs, and their CPU seconds."""
        found = [each.result() for each in [pool.submit(timed, work, root, job) for job in jobs]]
        return [result for result, _ in found], sum(seconds for _, seconds in found)

    bounds = list(pairwise(np.linspace(0, rows, partitions + 1).astype(int).tolist()))
    count, smaller = buckets(rows, partitions)
    peaks, done = [0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(os.getpid(), peaks, done))
    watcher.start()
    started = time.monotonic()
    taken, taking = done_by_workers(take, [(order, each, number, count) for number, each in enumerate(bounds)])
    said = [each[0] for each in taken]
    pieces = {number: (f"{number}.ids", said[number].buckets) for number in suspected(said)}
    jobs = []
    for number, (name, written) in pieces.items():
        if not written:
            jobs.append((*taken[number][1], (name, said[number]), f"{number}.again", count))
    found, reading = done_by_workers(read_again, jobs)
    again = dict(zip([each[-2] for each in jobs], found, strict=True))
    pieces = {
        number: (f"{number}.again", again[f"{number}.again"]) if f"{number}.again" in again else each
        for number, each in pieces.items()
    }
    parts = [
        [Part(name, each[at], number) for number, (name, each) in pieces.items() if each[at]] for at in range(count)
    ]
    parts = [each for each in parts if each]
    dividing = 0.0
    if smaller > 1 and parts:
        names = [f"{at}.bucket" for at in range(len(parts))]
        divided, dividing = done_by_workers(
            divide, [(each, name, smaller) for each, name in zip(parts, names, strict=True)]
        )
        parts = [[Part(name, each)] for name, found in zip(names, divided, strict=True) for each in found if each]
    repeats, searching = done_by_workers(find_repeats, [(each, f"{at}.found") for at, each in enumerate(parts)])
    wall = time.monotonic() - started
    done.set()
    watcher.join()
    for number, each in enumerate(bounds):
        where = {f"{at}.found": found[number] for at, found in enumerate(repeats) if number in found}
        assert (positions(Storage(root), where) == planted(order, each, number)).all(), f"partition {number}"
    everywhere = [piece for each in parts for part in each for piece in part.pieces]
    making = sum(each[2] for each in taken)
    cost = {"take": taking - making, "read again": reading, "divide": dividing, "search": searching}
    return {f"{name} ns": seconds / rows * 1e9 for name, seconds in cost.items()} | {
        "all ns": sum(cost.values()) / rows * 1e9,
        "wall s": wall,
        "MB": max(peaks) / 1e6,
        "disk GB": sum(each.stat().st_size for each in Path(root).glob("*.*")) / 1e9,
        "pieces": len(everywhere),
        "results MB": sum(len(sealed(each)) for each in said) / 1e6,
        "found": sum(len(planted(order, each, number)) for number, each in enumerate(bounds)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="; ".join(f"{name}: {said}" for name, said in ORDERS.items())
    )
    parser.add_argument("rows", type=int, nargs="*", default=[100_000_000, 1_000_000_000])
    parser.add_argument("--order", choices=ORDERS, nargs="*", default=list(ORDERS))
    parser.add_argument("--partitions", type=int, default=200)
    parser.add_argument("--work", default=tempfile.gettempdir(), help="where the files go: 14 bytes a row")
    options = parser.parse_args()
    os.environ |= KEEP_MEMORY
    header = False
    for order in options.order:
        for rows in options.rows:
            with (
                tempfile.TemporaryDirectory(dir=options.work) as folder,
                ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool,
            ):
                if shutil.disk_usage(folder).free < NEEDED * rows:
                    parser.error(f"{rows:,} rows need {NEEDED * rows / 1e9:.0f} GB of free disk")
                figures = once(rows, order, options.partitions, folder, pool)
            if not header:
                print(f"{MACHINE}, {WORKERS} workers, {options.partitions} partitions\n")
                print(f"| order | rows | {' | '.join(figures)} |\n| --- | ---: |{' ---: |' * len(figures)}")
                header = True
            shown = [f"{each:,.1f}" if isinstance(each, float) else f"{each:,}" for each in figures.values()]
            print(f"| {order} | {rows:,} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
