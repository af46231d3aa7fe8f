"""The history of a series: what each good run has counted, what all of them come to, and which runs are not good."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from itertools import takewhile
from typing import Any

from daskjobs.cores import in_turn
from daskjobs.errors import DaskjobsError, InputError
from daskjobs.files.documents import from_json, parse
from daskjobs.files.storage import Storage, UnavailableError, damaged, explained, filesystem
from daskjobs.orders.report.drift import Drift
from daskjobs.orders.report.quality import Quality
from daskjobs.pipeline.lease import MARKER
from daskjobs.pipeline.manifest import Manifest
from daskjobs.pipeline.stage import Stage
from daskjobs.series.days import MissingDay, gaps, is_day, uncovered
from daskjobs.series.earlier import looked_at
from daskjobs.series.layout import DRIFT, LOCK_FOLDER, PAGE, QUALITY
from daskjobs.series.prices import Prices, WorkerUse
from daskjobs.series.runs import LAST, TRIES, GoodRun, folders, good_run, made, name_of

VERSION = 1
NAMED = 5  # runs that a sentence names
ZERO = Decimal("0.00")


@dataclass(frozen=True)
class RunRow:
    """A good run: what it counted, how it differed from an earlier one, and how it ran.

    Amounts are texts with two decimals. ``orders`` and ``revenue`` are the run's own, and the ``corrected`` ones what
    it changes of earlier runs' sums. ``reasons`` are rejected rows, the most frequent first, and ``warned`` valid ones
    of which a rule warns. ``sent`` is what the sender says of rows, ids, or a column of money, with what is
    ``missing``. ``drift`` is the number of measures beyond their threshold, of a run that was compared with another
    one, and ``drifted`` are their sentences. ``page`` is where its report is. The rest comes from facts.json, and is
    None where that doesn't say it; ``cost`` is None without prices as well.
    """

    run: str
    day: str
    made: str
    version: str
    rows: int
    furniture: int
    rejected: int
    reasons: dict[str, int]
    warned: dict[str, int]
    sent: dict[str, str]
    missing: dict[str, str]
    orders: int
    revenue: str
    currency: str
    corrections: int
    corrected_orders: int
    corrected_revenue: str
    compared: str
    drift: int | None
    drifted: list[str]
    page: str
    seconds: float | None
    workers: int | None
    cost: str | None

    @property
    def judged(self) -> int:
        """The rows that may be rejected."""
        return self.rows - self.furniture


@dataclass(frozen=True)
class OtherRun:
    """A run without a committed report, and the last stage that it has committed, or an empty text."""

    run: str
    day: str
    made: str
    stage: str


@dataclass(frozen=True)
class BadRun:
    """A run that can't be read, with the sentence and the exit code of the error: nobody can tell what it counted."""

    run: str
    why: str
    exit_code: int


@dataclass(frozen=True)
class Sums:
    """A number of orders, and their revenue."""

    orders: int
    revenue: str


@dataclass(frozen=True)
class Total:
    """What the good runs of one currency come to: the sum of their own sums, and of what they correct."""

    currency: str
    runs: int
    orders: int
    revenue: str
    of_runs: Sums
    corrections: Sums


@dataclass(frozen=True)
class History:
    """A series: what all of its good runs come to, and its runs in the order of their days.

    ``exact`` says that no order counts twice, and ``doubts`` say why that isn't certain. ``first`` and ``last`` are the
    days of all good ``count`` runs, of which ``runs`` are the last ones; ``gaps`` are days between them for which no
    good run stands. ``missing`` are the asked days that none covers, or None if none was asked for. ``cost`` is that of
    the runs shown for which it is known.
    """

    version: int
    series: str
    totals: list[Total]
    exact: bool
    doubts: list[str]
    count: int
    first: str
    last: str
    bad: list[BadRun]
    not_good: list[OtherRun]
    gaps: list[str]
    missing: list[MissingDay] | None
    cost: str | None
    runs: list[RunRow]


@dataclass(frozen=True)
class _Reported:
    """What report's manifest says of the sums of a run; what it takes back of earlier ones are texts with a sign."""

    revenue: str
    corrections: int = 0
    corrected_orders: str = ""
    corrected_revenue: str = ""


@dataclass(frozen=True)
class _Used:
    workers: int
    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class _Resources:
    used: _Used


@dataclass(frozen=True)
class _Validated:
    seconds: float
    resources: _Resources
    workers_are: str | None = None
    start_seconds: float | None = None
    queue_seconds: float | None = None


@dataclass(frozen=True)
class _Facts:
    seconds: float | None = None
    stages: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Good:
    """A good run, whether it was made with --known, and the runs that it has looked at: by name, `GoodRun.counts`.

    By these a run is recognized in a series that was copied as well.
    """

    run: GoodRun
    row: RunRow
    known: bool
    looked: dict[str, str]


def history(
    series: str,
    stages: Mapping[str, Stage],
    last: int = 0,
    days: Sequence[str] | None = None,
    prices: Prices | None = None,
) -> History:
    """Look at all runs of a series; ``runs`` then has the ``last`` ones, or all for 0.

    A run that can't be read is among the ``bad`` ones, and not in the totals. Raises UsageError when the series is
    itself a run, InputError when there is nothing, and UnavailableError when the storage doesn't answer.
    """
    fs, path = filesystem(series)
    with explained(f"list {series}"):
        if not fs.isdir(path):
            raise InputError(f"there is no folder {series}: name the one that holds runs, like runs/")
    uris = [uri for uri in folders(series) if name_of(uri) != LOCK_FOLDER]
    look = partial(_looked_at, stages=stages, prices=prices)
    with closing(in_turn(look, uris, Storage(series).requests(series))) as every:
        found = [each for each in every if each is not None]
    good = sorted((each for each in found if isinstance(each, _Good)), key=lambda each: each.run.order)
    bad = [each for each in found if isinstance(each, BadRun)]
    others = [each for each in found if isinstance(each, OtherRun)]
    runs, doubts = [each.run for each in good], [*_doubts(good, {each.run for each in bad})]
    rows = [each.row for each in (good[-last:] if last else good)]
    costs = [Decimal(row.cost) for row in rows if row.cost is not None]
    return History(
        version=VERSION,
        series=series,
        totals=_totals([each.row for each in good]),
        exact=not doubts and not bad,
        doubts=doubts,
        count=len(good),
        first=runs[0].day if runs else "",
        last=runs[-1].day if runs else "",
        bad=bad,
        not_good=sorted(others, key=lambda each: (each.day, each.made, each.run)),
        gaps=gaps(runs),
        missing=None if days is None else uncovered(runs, days),
        cost=str(sum(costs, Decimal())) if costs else None,
        runs=rows,
    )


def _looked_at(uri: str, stages: Mapping[str, Stage], prices: Prices | None) -> _Good | OtherRun | BadRun | None:
    """Return what a folder of a series is, or None if it is no run; a run may be made again while it is read."""
    for tries in range(TRIES):
        try:
            run = good_run(uri, stages)
            return _not_good(uri, stages) if run is None else _good(run, stages, prices)
        except UnavailableError:
            raise
        except DaskjobsError as error:
            if tries == TRIES - 1:
                return BadRun(name_of(uri), str(error), error.exit_code)
    raise AssertionError("the last try returns")


def _not_good(uri: str, stages: Mapping[str, Stage]) -> OtherRun | None:
    begun = made(uri)
    if not begun:
        return None
    reached, day = "", begun[:10]
    for stage in takewhile(lambda stage: stage.name != LAST, stages.values()):
        data = Storage(uri).find(stage.manifest)
        try:
            manifest = Manifest.from_json(data or b"", stage.name, stage.rows)
        except ValueError:
            continue
        reached, day = stage.name, manifest.settings.get("as_of") or day
    return OtherRun(name_of(uri), day, begun, reached)


def _good(run: GoodRun, stages: Mapping[str, Stage], prices: Prices | None) -> _Good:
    if not is_day(run.day):
        raise damaged(run.storage.uri(MARKER), "it doesn't say when the run's folder was made")
    reported = run.counted(LAST, _Reported)
    quality = run.parsed(LAST, QUALITY, Quality)
    sent = {each.what: each for each in reversed(quality.sent)}  # the first one is that of all files
    drift = run.parsed(LAST, DRIFT, Drift) if run.has(LAST, DRIFT) else None
    over = [each.sentence for each in drift.over] if drift else []
    known = run.manifests["split"].settings.get("known")
    facts = _facts(run, stages)
    use = _use(facts)
    row = RunRow(
        run=run.name,
        day=run.day,
        made=run.made,
        version=run.manifests[LAST].daskjobs,
        rows=quality.rows.rows_in,
        furniture=quality.rows.furniture,
        rejected=quality.rows.rejected,
        reasons={each.reason: each.rows for each in quality.reasons},
        warned={each.reason: each.rows for each in quality.warned},
        sent={what: each.sent for what, each in reversed(sent.items())},
        missing={what: each.missing for what, each in reversed(sent.items())},
        orders=quality.paid_orders,
        revenue=reported.revenue,
        currency=quality.currency,
        corrections=reported.corrections,
        corrected_orders=int(reported.corrected_orders or 0),
        corrected_revenue=reported.corrected_revenue or str(ZERO),
        compared=drift.compared.name if drift and drift.compared else "",
        drift=len(over) if drift and drift.compared else None,
        drifted=over,
        page=run.storage.uri(PAGE),
        seconds=_seconds(facts),
        workers=use[0] if use else None,
        cost=str(prices.cost(use[1])) if use and prices else None,
    )
    return _Good(run, row, bool(known), looked_at(run))


def _facts(run: GoodRun, stages: Mapping[str, Stage]) -> _Facts:
    """Return how a run went; no manifest lists facts, and those that can't be read say nothing."""
    try:
        return parse(run.storage.find(stages[LAST].facts) or b"", _Facts)
    except ValueError:
        return _Facts()


def _seconds(facts: _Facts) -> float | None:
    """Return for how long the stages worked in all."""
    found = [facts.seconds, *(each.get("seconds") for each in facts.stages.values() if isinstance(each, dict))]
    some = [Decimal(repr(each)) for each in found if isinstance(each, int | float)]
    return float(sum(some)) if some else None


def _use(facts: _Facts) -> tuple[int, WorkerUse] | None:
    """Return the number of workers, and what they used; threads of one process share its time and its memory."""
    try:
        ran = from_json(facts.stages.get("validate"), _Validated)
    except ValueError:
        return None
    used = ran.resources.used
    waited = _exact(ran.start_seconds or 0) + _exact(ran.queue_seconds or 0)
    processes = 1 if ran.workers_are == "threads" else used.workers
    there = max(Decimal(), _exact(ran.seconds) - waited)
    return used.workers, WorkerUse(_exact(used.cpu_seconds), used.memory_bytes * processes, there)


def _exact(number: float) -> Decimal:
    return Decimal(repr(number))


def _totals(rows: Sequence[RunRow]) -> list[Total]:
    """Return the sums of each currency, the one of most runs first: amounts of two are never added up."""
    by_currency = dict[str, list[RunRow]]()
    for row in rows:
        by_currency.setdefault(row.currency, []).append(row)
    found = []
    for currency, some in sorted(by_currency.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        own, corrections = (
            (sum(getattr(row, orders) for row in some), sum((Decimal(getattr(row, name)) for row in some), ZERO))
            for orders, name in (("orders", "revenue"), ("corrected_orders", "corrected_revenue"))
        )
        sums, corrected = (Sums(orders, str(revenue)) for orders, revenue in (own, corrections))
        orders, revenue = own[0] + corrections[0], own[1] + corrections[1]
        found.append(Total(currency, len(some), orders, str(revenue), sums, corrected))
    return found


def _doubts(good: Sequence[_Good], bad: set[str]) -> Iterator[str]:
    """Say why an order may count twice, or not at all.

    Of each two good runs, one must have looked at the other, and as it is now; if none has, the later one is named.
    """
    in_time = sorted(good, key=lambda each: (each.run.made, each.run.uri))
    unknown, partly, stale = list[str](), list[str](), list[str]()
    before = dict[str, _Good]()
    for each in in_time:
        unseen = before.keys() - each.looked.keys()
        if any(each.run.name not in before[name].looked for name in unseen):
            (partly if each.known else unknown).append(each.run.name)
        before[each.run.name] = each
    for each in good:
        gone = [
            name
            for name, counts in each.looked.items()
            if name not in bad and (name not in before or before[name].run.counts != counts)
        ]
        if gone:
            stale.append(f"{each.run.name} ({few_of(gone)})")
    for names, what in (
        (unknown, "were made without --known, so an order may count twice"),
        (
            partly,
            "have not looked at all runs before them (--known-days, another series, or a run made meanwhile), so an "
            "order may count twice",
        ),
        (
            stale,
            "have looked at runs that are no longer in this series, or were made again since, so an order of these may "
            "not be counted",
        ),
    ):
        if names:
            yield f"{len(names):,} of {len(good):,} runs {what}: {few_of(names)}"


def few_of(names: Sequence[str]) -> str:
    """Name a few of several, and say how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
