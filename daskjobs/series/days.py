"""Which days of a range the good runs of a series cover."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from fnmatch import fnmatchcase

from daskjobs.cores import in_turn
from daskjobs.errors import UsageError
from daskjobs.options import quoted
from daskjobs.series.layout import PARTITION_FILES, SUMMARY
from daskjobs.series.runs import GoodRun

RANGE = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.\.((?:(?:\d{4}-)?\d\d-)?\d\d))?", re.ASCII)
MOST_DAYS = 36_500


@dataclass(frozen=True)
class MissingDay:
    """A day that no good run covers, and how many paid orders of it stand in runs of other days."""

    day: str
    orders: int


def days_of(text: str) -> list[str]:
    """Return the days of a range, or of a single day. Raises UsageError when it is none.

    >>> days_of("2026-11-29..30"), days_of("2026-11-30..12-01"), days_of("2026-11-29")
    (['2026-11-29', '2026-11-30'], ['2026-11-30', '2026-12-01'], ['2026-11-29'])
    """
    found = RANGE.fullmatch(text)
    try:
        assert found is not None
        end = found[2] or ""
        first, last = date.fromisoformat(found[1]), date.fromisoformat(found[1][: 10 - len(end)] + end)
    except (AssertionError, ValueError):
        raise UsageError(
            f"--missing must be a day, or a range of days that exist, like 2026-11-01..30 or 2026-11-01..2026-11-30, "
            f"got {quoted(text)}"
        ) from None
    count = (last - first).days + 1
    if not 0 < count <= MOST_DAYS:
        raise UsageError(
            f"--missing must be a range of 1 to {MOST_DAYS:,} days, the first one first, got {quoted(text)}"
        )
    return [(first + timedelta(number)).isoformat() for number in range(count)]


def is_day(text: str) -> bool:
    """Tell whether a text is a day that exists, as ISO 8601 writes it."""
    try:
        return date.fromisoformat(text).isoformat() == text  # it also takes 20261129 and 2026-W48-7
    except ValueError:
        return False


def gaps(runs: Sequence[GoodRun]) -> list[str]:
    """Return the days between the first and the last of the runs for which no run stands."""
    some = {date.fromisoformat(run.day).toordinal() for run in runs}
    between = range(min(some), max(some)) if some else ()
    return [date.fromordinal(day).isoformat() for day in between if day not in some]


def uncovered(runs: Sequence[GoodRun], days: Sequence[str]) -> list[MissingDay]:
    """Return those of the ``days`` that none of the good ``runs`` covers.

    A run with a date of its own (--as-of) covers that day and no other one: a late order of yesterday's does not make
    up for yesterday's file. A run without one covers each day of which it has a valid order, paid or unpaid. Files of
    orders are only read while a day is missing. Raises StorageError when one is not what its manifest says.
    """
    dated = {day for run in runs if (day := _as_of(run))}
    missing = [day for day in days if day not in dated]
    if not missing:
        return []
    orders = Counter[str]()
    with closing(in_turn(_paid, runs, _threads(runs))) as found:
        for run, counts in zip(runs, found, strict=True):
            if _as_of(run):
                orders.update(counts)
            else:
                missing = [day for day in missing if day not in counts]
    for run in runs:
        if missing and not _as_of(run):
            unpaid = set(_unpaid(run))
            missing = [day for day in missing if day not in unpaid]
    return [MissingDay(day, orders[day]) for day in missing]


def _as_of(run: GoodRun) -> str:
    given: str = run.manifests["split"].settings.get("as_of", "")
    return given


def _threads(runs: Sequence[GoodRun]) -> int:
    return runs[0].storage.requests(runs[0].uri) if runs else 1


def _paid(run: GoodRun) -> Counter[str]:
    """Return how many paid orders a run has of each day."""
    from daskjobs.orders import summary

    days = summary.of(summary.read(run.storage, {SUMMARY: run.manifests["clean"].outputs[SUMMARY]}), "day")
    return Counter(dict(zip(days["value"].to_pylist(), days["orders"].to_pylist(), strict=True)))


def _unpaid(run: GoodRun) -> Iterator[str]:
    """Yield the days of a run's unpaid orders."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from daskjobs.files.tables import row_groups

    for name, output in run.manifests["merge"].outputs.items():
        if fnmatchcase(name, PARTITION_FILES["unpaid"]):
            for rows in row_groups(run.storage, name, output, ["timestamp"]):
                yield from pc.unique(rows["timestamp"].cast(pa.date32()).cast(pa.string())).to_pylist()
