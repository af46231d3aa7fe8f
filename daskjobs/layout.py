"""The names of all files that a run makes. What has another name is somebody else's, and is never removed."""

import re
from collections.abc import Iterable

MARKER, LOCK = "daskjobs-run.json", "daskjobs-run.lock"
PARTIAL = ".daskjobs-part-"  # in the name of a file that is being written, before eight random characters

PARTITION = {
    "paid": "paid.parquet",
    "unpaid": "unpaid.parquet",
    "quarantine": "quarantine.parquet",
    "ids": "ids.pieces",
    "summary": "summary.parquet",
    "result": "result.json",
}

# By stage, which has a manifest and facts in a folder of its name as well; a star is a number of five digits or more.
FILES = {
    "generate": ("orders/orders.csv", "orders/truth.parquet"),
    "split": ("split/partitions.json", "split/input-*.csv"),
    "validate": (
        "validate/rules.json",
        "validate/performance.html",
        "validate/repeats-*.pieces",
        *(f"validate/part-*/{name}" for name in PARTITION.values()),
    ),
    "merge": ("merge/quarantine.parquet", "merge/quarantine.csv", "merge/rejected-*.csv"),
    "clean": ("clean/summary.parquet",),
    "report": ("report/analytics_report.json", "report/quality.json", "report/report.html"),
    "cleanup": ("cleanup/receipt.json",),
}
FOLDERS = {name.partition("/")[0] for names in FILES.values() for name in names} | FILES.keys()


def _pattern(stage: str) -> re.Pattern[str]:
    names = (f"{stage}/manifest.json", f"{stage}/run.json", *FILES[stage])
    one = "|".join(re.escape(name).replace(r"\*", r"\d{5,}") for name in names)
    return re.compile(rf"(?:{one})(?P<partial>{re.escape(PARTIAL)}[a-z0-9_]{{8}})?")


PATTERNS = {stage: _pattern(stage) for stage in FILES}


def made(stage: str, names: Iterable[str]) -> set[str]:
    """Return which of the ``names`` a stage gives to its files, whole or half written."""
    return {name for name in names if PATTERNS[stage].fullmatch(name)}


def partial(names: Iterable[str]) -> list[str]:
    """Return which of the ``names`` are those of files that a stage has half written."""
    found = ((name, pattern.fullmatch(name)) for name in names for pattern in PATTERNS.values())
    return [name for name, match in found if match and match["partial"]]


def is_inside(path: str, root: str) -> bool:
    """Tell whether a path lies in one of the folders that a run at ``root`` keeps its own files in.

    >>> [is_inside(path, "/r") for path in ("/r/merge/rejected-00000.csv", "/r/mine.csv", "/r-2/merge/x")]
    [True, False, False]
    """
    root = root.rstrip("/") + "/"
    return path.startswith(root) and path.removeprefix(root).lstrip("/").partition("/")[0] in FOLDERS
