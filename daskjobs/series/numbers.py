"""The numbers of a run that are compared with another one's, from the files that its manifests vouch for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from daskjobs.orders.columns.account import MOST_VALUES, ColumnAccount, ColumnsAccount
from daskjobs.orders.profiles import Profile
from daskjobs.orders.report.drift import Drift, Numbers, Shares
from daskjobs.orders.report.quality import Quality
from daskjobs.series.drift import LEAST_PART, QUANTILES, least_rows
from daskjobs.series.layout import COLUMNS, DRIFT, PARTITIONS, QUALITY, SUMMARY
from daskjobs.series.runs import GoodRun

if TYPE_CHECKING:
    import pyarrow as pa

    from daskjobs.orders.plan import Plan

OF_AMOUNTS = tuple(f"value.{name}" for name in QUANTILES)
MOST, LONGEST = 50, 200  # values of a dimension that are named, and characters of one
LEAST_ROWS = 5  # expected of a value that is named, on either side: the rule of Cochran for chi-square
BUSY = 20  # a day counts if it has one in so many of the paid orders of the busiest one: others have latecomers


@dataclass(frozen=True)
class Merged:
    """What merge says of the rows that is compared."""

    statuses: dict[str, int]
    profile: Profile | None = None


@dataclass(frozen=True)
class Tallied:
    """The numbers of a run, and how many orders or rows there are of each value, by dimension.

    ``absent`` says of other measures why this run doesn't tell them.
    """

    numbers: Numbers
    values: Mapping[str, "pa.Table"]
    absent: Mapping[str, str]


def of_run(run: GoodRun) -> Tallied:
    """Return the numbers of a good run. Raises StorageError when its files are not what its manifests say."""
    from daskjobs.orders import summary
    from daskjobs.orders.plan import Plan

    sums = summary.read(run.storage, {SUMMARY: run.manifests["clean"].outputs[SUMMARY]})
    columns = run.parsed("report", COLUMNS, ColumnsAccount) if run.has("report", COLUMNS) else None
    return tallied(
        run.name,
        run.parsed("report", QUALITY, Quality),
        run.counted("merge", Merged),
        sums,
        columns,
        run.parsed("split", PARTITIONS, Plan),
    )


def drift_of(run: GoodRun) -> Drift | None:
    """Return how much a run differed from an earlier one itself; None if it was compared with none."""
    return run.parsed("report", DRIFT, Drift) if run.has("report", DRIFT) else None


def tallied(
    name: str, quality: Quality, merged: Merged, sums: "pa.Table", columns: ColumnsAccount | None, plan: "Plan"
) -> Tallied:
    """Return the numbers of a run of this name, from its quality.json, merge's rows, summary, columns.json and plan."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from daskjobs.orders import summary

    orders, cents = summary.orders_and_cents(sums)
    absent, values = dict[str, str](), dict[str, pa.Table]()
    profile = merged.profile
    there = summary.dimensions(profile)
    for dimension in ("region", "product"):
        lines = summary.of(sums, dimension).select(["value", "orders"])
        if dimension == "product" and profile and profile.by_line:
            absent[dimension] = f"a row of {name} is a line of an order, and its orders are not counted by product"
        elif dimension not in there:
            absent[dimension] = f"the profile of {name} has none"
        else:
            values[dimension] = lines.filter(pc.greater(lines["orders"], 0))
    values["status"] = _table(merged.statuses)
    told = {each.name: each for each in columns.columns} if columns else {}
    paying, amounts, times = (told.get(each) for each in ("payment_mode", "total_amount", "timestamp"))
    if profile and profile.column("payment_mode").absent:
        absent["payment_mode"] = f"the profile of {name} has none"
    elif paying and (paying.values or not paying.distinct):
        values["payment_mode"] = _table({**paying.values, "": paying.empty})
    else:
        absent["payment_mode"] = _unsaid(name, columns, f"its values, since there are more than {MOST_VALUES}")
    if not (amounts and amounts.quantiles):
        absent |= dict.fromkeys(OF_AMOUNTS, _unsaid(name, columns, "quantiles of total_amount"))
    if not (times and times.most):
        absent["newest"] = _unsaid(name, columns, "times")
    first, last = _days(summary.of(sums, "day"))
    if not first:
        absent["days"] = f"{name} has no paid orders"
    if len(quality.currencies) > 1 and not quality.currency:
        absent |= dict.fromkeys(("revenue", "value.mean", *OF_AMOUNTS), f"{name} has paid rows of several currencies")
    return Tallied(
        Numbers(
            rows=quality.rows.rows_in,
            judged=quality.rows.rows_in - quality.rows.furniture,
            rejected=quality.rows.rejected,
            reasons={each.reason: each.rows for each in quality.reasons},
            orders=orders,
            revenue="" if "revenue" in absent else f"{Decimal(cents).scaleb(-2):.2f}",
            currency=quality.currency,
            first=first,
            last=last,
            quantiles=amounts.quantiles if amounts else {},
            newest=(times and times.most) or "",
            spans=_spans(times, first, last),
            columns=_names(plan),
            corrections=quality.seen_before.corrections if quality.seen_before else 0,
            warned={each.reason: each.rows for each in quality.warned},
        ),
        {dimension: table for dimension, table in values.items() if _total(table)},
        {**{dimension: f"{name} has none" for dimension, table in values.items() if not _total(table)}, **absent},
    )


def _unsaid(name: str, columns: ColumnsAccount | None, what: str) -> str:
    if columns is None:
        return f"{name} has no {COLUMNS}, which an earlier version of daskjobs didn't write"
    return f"{COLUMNS} of {name} doesn't tell {what}"


def _table(counts: Mapping[str, int]) -> "pa.Table":
    import pyarrow as pa

    some = {name: count for name, count in sorted(counts.items()) if count}
    return pa.table([pa.array(list(some), pa.string()), pa.array(list(some.values()), pa.int64())], ["value", "orders"])


def _total(table: "pa.Table") -> int:
    import pyarrow.compute as pc

    return pc.sum(table["orders"]).as_py() or 0


def _days(lines: "pa.Table") -> tuple[str, str]:
    """Return the first and the last day that has enough paid orders; empty without any."""
    import pyarrow.compute as pc

    if not len(lines):
        return "", ""
    most = pc.max(lines["orders"]).as_py()
    busy = lines.filter(pc.greater_equal(pc.multiply(lines["orders"], BUSY), max(most, 1)))
    if not len(busy):
        return "", ""
    ends = pc.min_max(busy["value"]).as_py()
    return ends["min"], ends["max"]


def _spans(times: ColumnAccount | None, first: str, last: str) -> int:
    """Return over how many days the timestamps are spread, by their quantiles: at least one."""
    if times and {"0.05", "0.95"} <= times.quantiles.keys():
        low, high = (datetime.fromisoformat(times.quantiles[each]) for each in ("0.05", "0.95"))
        return max(1, round((high - low).total_seconds() / 86_400 / 0.9))
    return date.fromisoformat(last).toordinal() - date.fromisoformat(first).toordinal() + 1 if first else 1


def _names(plan: "Plan") -> list[str]:
    """Return the names of all columns in the files of a run, as they stand there."""
    pairs = (pair for file in plan.files for pair in zip(file.heading, file.columns, strict=True))
    return list(dict.fromkeys(own or ours for own, ours in pairs))


def paired(before: Tallied, now: Tallied) -> tuple[Numbers, Numbers]:
    """Return the numbers of two runs, with the shares of those values that have enough rows in both together."""
    both = [name for name in before.values if name in now.values]
    names = {each: _few(before.values[each], now.values[each]) for each in both}
    large = {each: {*_large(before.values[each]), *_large(now.values[each])} for each in both}
    old, new = ({each: _shares(side.values[each], names[each], large[each]) for each in both} for side in (before, now))
    return replace(before.numbers, shares=old), replace(now.numbers, shares=new)


def again(before: Numbers, now: Tallied) -> Numbers:
    """Return the numbers of a run, with the shares of those values that an earlier one's numbers name."""
    shares = {
        each: _shares(table, [*before.shares[each].counts], {*before.shares[each].large, *_large(table)})
        for each, table in now.values.items()
        if each in before.shares
    }
    return replace(now.numbers, shares=shares)


def _few(before: "pa.Table", now: "pa.Table") -> list[str]:
    """Return the values with the largest shares, of both sides together, that are expected to have enough rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    totals = _total(before), _total(now)
    parts = [
        pa.table([side["value"], pc.divide(pc.cast(side["orders"], pa.float64()), 2.0 * total)], ["value", "share"])
        for side, total in zip((before, now), totals, strict=True)
    ]
    both = pa.concat_tables(parts).group_by("value", use_threads=False).aggregate([("share", "sum")])
    enough = pc.greater_equal(both["share_sum"], LEAST_ROWS / min(totals))
    both = both.filter(pc.and_(enough, pc.less_equal(pc.utf8_length(both["value"]), LONGEST)))
    order = [("share_sum", "descending"), ("value", "ascending")]
    return sorted(both.take(pc.select_k_unstable(both, MOST, order))["value"].to_pylist())


def _large(table: "pa.Table") -> list[str]:
    """Return the values that have at least a hundredth of all rows."""
    import pyarrow.compute as pc

    enough = pc.greater_equal(pc.multiply(table["orders"], LEAST_PART), _total(table))
    return [*table.filter(enough)["value"].to_pylist()]


def _shares(table: "pa.Table", names: list[str], large: Iterable[str]) -> Shares:
    counts = _counts(table, names)
    return Shares(counts, _total(table) - sum(counts.values()), len(table), _counts(table, sorted(large)))


def _counts(table: "pa.Table", names: list[str]) -> dict[str, int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    some = table.filter(pc.is_in(table["value"], pa.array(names, pa.string())))
    found = dict(zip(some["value"].to_pylist(), some["orders"].to_pylist(), strict=True))
    return {name: found.get(name, 0) for name in names}


def left_out(before: Tallied, now: Tallied) -> dict[str, str]:
    """Return the measures that can't be taken of two runs, each with the reason."""
    said = {**now.absent, **before.absent}
    fewer = min(before.numbers.judged, now.numbers.judged)
    for name, at in QUANTILES.items():
        if fewer < least_rows(at):
            said.setdefault(f"value.{name}", f"that takes {least_rows(at)} rows in both")
    if not (before.numbers.orders and now.numbers.orders):
        said.setdefault("value.mean", "that takes a paid order in both")
    currencies = before.numbers.currency, now.numbers.currency
    if "revenue" not in said and currencies[0] != currencies[1]:
        known = [f"in {each}" if each else "in no currency that is known" for each in currencies]
        said |= dict.fromkeys(("revenue", "value.mean", *OF_AMOUNTS), f"amounts were {known[0]}, and are {known[1]}")
    return said
