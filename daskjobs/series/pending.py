"""Which files, or which days of files, no good run of a series has read yet.

A file counts as read when a good run has read a file of its name that was the same: by the mark that the run keeps of
each file of its input (size, times and the like), or else by the size and the hashes of its rows. So the same rows
under another name are pending: whether an order counts again is for --known to say, not for a file's name.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fsspec.core import has_magic
from fsspec.utils import get_protocol

from daskjobs.display import escaped, listed
from daskjobs.errors import InputError, UsageError
from daskjobs.files.storage import explained, filesystem, real_path
from daskjobs.pipeline.stage import Stage
from daskjobs.series.layout import PARTITIONS
from daskjobs.series.runs import GoodRun, good_runs, made

OF_DAY = re.compile("%([%Ymd])")  # in a name: the year, the month and the day, as strftime knows them
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")  # in the name of a run's folder
MOST_NAME = 60  # characters of a file's name in that of its run


@dataclass(frozen=True)
class Pending:
    """What a run is to read: the value of its --input, and its --as-of if the input is that of a day.

    ``run`` is the name of the run's folder in the series. It is the same whenever the same file, or the same day, is
    asked for: a run that is started twice goes on in the same folder, where it finds its work done. ``why`` says that
    the file is new, since when it has changed, or that there is none.
    """

    input: str
    run: str
    why: str
    day: str = ""


@dataclass(frozen=True)
class Query:
    """What is asked for: the files that ``patterns`` name, or those of each of ``days``, which stands in the patterns.

    Files that are younger than ``settle`` seconds may still be written, and are left for the next time. So are those
    beyond the first ``most``. A file whose run began ``give_up`` seconds ago is not named any more.
    """

    patterns: Sequence[str]
    days: Sequence[str] = ()
    settle: float = 60
    give_up: float = 3600
    most: int = 100


@dataclass(frozen=True)
class Answer:
    """What is pending, in order, and a sentence about each file that is left out."""

    pending: list[Pending]
    left: list[str]


def pending(query: Query, series: str, stages: Mapping[str, Stage]) -> Answer:
    """Return what no good run of the series has read yet. ``stages`` are those of the pipeline.

    Raises InputError when a pattern that is no glob names no file, and as `good_runs` does.
    """
    runs = _Runs(good_runs(series, stages))
    found, left = list[Pending](), list[str]()
    if query.days:
        for day in query.days:
            found += _of_day(query.patterns, day, series, runs)
    else:
        now = datetime.now(UTC)
        for uri, mark in _files(query.patterns, series, left).items():
            if why := runs.why(uri, mark):
                each = Pending(uri, _run_name(uri, mark), why)
                if sentence := _not_now(each, query, series, now):
                    left.append(f"{listed(uri)} {sentence}")
                else:
                    found.append(each)
    if len(found) > query.most:
        left.append(f"{len(found) - query.most} more are left for the next time: --most is {query.most}")
    return Answer(found[: query.most], left)


def of_day(pattern: str, day: str) -> str:
    """Return the name of a day's file: %Y, %m and %d stand for the year, the month and the day, %% for a percent sign.

    >>> of_day("s3://bucket/%Y/orders-%m%d.csv", "2026-11-05")
    's3://bucket/2026/orders-1105.csv'
    """
    year, month, number = day.split("-")
    values = {"Y": year, "m": month, "d": number, "%": "%"}
    if missing := [f"%{each}" for each in "Ymd" if each not in OF_DAY.findall(pattern)]:
        raise UsageError(
            f"--input {listed(pattern)} must have the day in it with --days, like orders-%Y-%m-%d.csv: "
            f"it has no {' and no '.join(missing)}"
        )
    return OF_DAY.sub(lambda each: values[each[1]], pattern)


class _Runs:
    """What the good runs of a series have read."""

    def __init__(self, runs: Sequence[GoodRun]) -> None:
        self._read = dict[str, list[tuple[str, GoodRun]]]()
        for run in sorted(runs, key=lambda run: (run.made, run.uri)):
            for name, mark in run.manifests["split"].inputs.items():
                self._read.setdefault(name, []).append((mark, run))

    def why(self, uri: str, mark: str) -> str:
        """Say why a file is pending, or return an empty text where a good run has read it as it is now."""
        read = self._read.get(listed(uri))
        if not read:
            return "no good run has read it"
        run = read[-1][1]
        if any(each == mark for each, _ in read) or _reads_the_same(uri, run):
            return ""
        return f"it has changed since {run.name} has read it"


def _reads_the_same(uri: str, run: GoodRun) -> bool:
    """Tell whether a file has the rows that a run has read under its name, by the hashes that the run keeps."""
    from daskjobs.orders.dialect import RFC4180, InputFormat
    from daskjobs.orders.plan import Plan
    from daskjobs.orders.sources.unchanged import reads_the_same

    plan = run.parsed("split", PARTITIONS, Plan)
    said = run.manifests["split"].settings
    written = InputFormat(*(said.get(name, "") for name in ("delimiter", "quoting", "encoding", "columns")))
    written = replace(written, quoting=written.quoting or RFC4180)
    number = next((at for at, file in enumerate(plan.files) if file.name == listed(uri)), None)
    if number is None:
        return False
    ranges = [part for each in plan.partitions for part in each.ranges if part.file == number]
    return reads_the_same(uri, plan.files[number], ranges, written, plan.profile)


def _files(patterns: Sequence[str], series: str, left: list[str]) -> dict[str, str]:
    """Return the files of all patterns with their marks, but those that are no orders."""
    from daskjobs.orders.sources.inputs import CONTROL_ENDING, NoFilesError, find_inputs

    found = dict[str, str]()
    for pattern in patterns:
        try:
            marks = find_inputs(pattern)
        except NoFilesError:
            if not has_magic(pattern):
                raise
            continue
        for uri, mark in marks.items():
            if has_magic(pattern) and (uri.endswith(CONTROL_ENDING) or _is_below(uri, series)):
                continue
            if _can_be_named(uri, left):
                found.setdefault(uri, mark)
    return found


def _can_be_named(uri: str, left: list[str]) -> bool:
    """Tell whether a file can be named on a line of its own, to anybody; say why not."""
    if listed(uri) == uri == escaped(uri):
        return True
    left.append(
        f"{listed(uri)} can't be named here, because of a password, a token or an odd character in its name: rename "
        "it, or run it by hand"
    )
    return False


def _is_below(uri: str, series: str) -> bool:
    return get_protocol(uri) == get_protocol(series) and real_path(uri).startswith(f"{real_path(series).rstrip('/')}/")


def _not_now(each: Pending, query: Query, series: str, now: datetime) -> str:
    """Say why a pending file is left out, or return an empty text."""
    age = _age(each.input, now)
    if age is not None and abs(age) < query.settle:
        return f"is younger than {query.settle:g} s (--settle), and may still be written: it is left for the next time"
    uri = f"{series.rstrip('/')}/{each.run}"
    begun = made(uri)
    if begun and (now - datetime.fromisoformat(begun)).total_seconds() > query.give_up:
        return (
            f"is not tried again: its run {uri} began at {begun} and has not succeeded within {query.give_up:g} s "
            "(--give-up). See why, put the file right, or run it by hand"
        )
    return ""


def _age(uri: str, now: datetime) -> float | None:
    """Return how many seconds ago a file was changed, or None where its storage doesn't say."""
    fs, path = filesystem(uri)
    with explained(f"look at {listed(uri)}"):
        try:
            changed: Any = fs.modified(path)
        except (NotImplementedError, AttributeError, KeyError):
            return None
    return (now - changed).total_seconds() if isinstance(changed, datetime) and changed.tzinfo else None


def _of_day(patterns: Sequence[str], day: str, series: str, runs: _Runs) -> Iterator[Pending]:
    """Yield what is pending of a day: all of its files together, if one of them is, or if there is none."""
    from daskjobs.orders.sources.inputs import NoFilesError

    names, odd = [of_day(pattern, day) for pattern in patterns], list[str]()
    try:
        files = _files(names, series, odd)
    except NoFilesError:
        files = {}
    if odd:
        raise InputError(odd[0])
    whys = (runs.why(uri, mark) for uri, mark in files.items())
    why = next(filter(None, whys), "") if files else "there is no file of it"
    if why:
        key = hashlib.sha256("\n".join(patterns).encode(errors="surrogateescape")).hexdigest()[:8]
        yield Pending("\n".join(names), f"{day}-{key}", why, day)


def _run_name(uri: str, mark: str) -> str:
    """Return the name of the run of a file as it is now: its own name, and a hash of its URI and mark."""
    name = UNSAFE.sub("-", uri.partition("::")[0].rpartition("/")[2])[-MOST_NAME:].strip("-.") or "orders"
    return f"{name}-{hashlib.sha256(f'{uri} {mark}'.encode()).hexdigest()[:12]}"
