"""Keep the orders that are valid and paid."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from daskjobs import summary
from daskjobs.manifest import Manifest
from daskjobs.orders import PAID
from daskjobs.partition import names
from daskjobs.run import Done, Run
from daskjobs.stages import merge
from daskjobs.tables import row_groups, writing

NAME = "clean"
SUMMARY = "clean/summary.parquet"


def run(run: Run) -> Manifest:
    """Vouch for every paid.parquet; write in clean/summary.parquet the orders and revenue by day, region and product.

    The files stay where the workers wrote them; each is read to its end, and held against its hash.
    """
    return run.stage(NAME, NAME, run.digest(merge.NAME), {}, lambda: _clean(run))


def _clean(run: Run) -> Done:
    merged = run.manifest(merge.NAME)
    statuses = Counter[str](merged["rows"]["statuses"])
    files = [names(part["partition"]) for part in merged["rows"]["partitions"]]
    outputs = {each["paid"]: run.output(merge.NAME, each["paid"]) for each in files}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, _ in enumerate(pool.map(run.storage.verify, outputs, outputs.values()), 1):
            run.progress(number / len(outputs))
    total = summary.Total()
    for name in (each["summary"] for each in files):
        for lines in row_groups(run.storage, name, run.output(merge.NAME, name)):
            total.add(lines)
    with writing(run.storage, SUMMARY, summary.SCHEMA) as (writer, file):
        writer.write_table(total.sums())
    outputs[SUMMARY] = file.output
    clean = statuses.pop(PAID, 0)
    rows = {
        "in": clean + statuses.total(),
        "clean": clean,
        "unpaid": statuses.total(),
        "unpaid_by_status": dict(sorted(statuses.items())),
    }
    return Done(outputs, rows)
