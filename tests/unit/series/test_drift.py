"""What a run is compared in: measures, thresholds and limits, against numbers that are counted another way."""

import csv
import json
import math
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskjobs
from conftest import Command, Pipeline
from daskjobs.errors import ConfigError, InputError, StorageError, UsageError
from daskjobs.files.storage import Storage
from daskjobs.orders.report.drift import Measure, Numbers, Shares
from daskjobs.series.drift import KINDS, OF, Limits, came_back, limits, measures, stability
from daskjobs.series.numbers import Tallied, _table, again, left_out, paired
from daskjobs.stages.run_settings import Settings

ROWS = 2500
PRODUCTS = {"lamp": "39.90", "desk": "249.00", "chair": "159.00", "cable": "8.90"}
Row = dict[str, str]


def orders(night: int, rows: int = ROWS) -> list[Row]:
    """The orders of one night, all of its day: about 4 % of them have a wrong total."""
    chance = random.Random(night)
    start = datetime(2026, 11, 1) + timedelta(night)
    found = []
    for number in range(rows):
        product, quantity = chance.choice(list(PRODUCTS)), chance.randint(1, 5)
        total = quantity * Decimal(PRODUCTS[product]) + (1 if chance.random() < 0.04 else 0)
        time = start + timedelta(seconds=86_400 * (number + chance.random()) / rows)
        found.append(
            {
                "order_id": f"N{night}-{number}",
                "user_id": str(chance.randrange(1000)),
                "region": chance.choices(["north", "south", "east", "isles"], [40, 30, 27, 3])[0],
                "product": product,
                "quantity": str(quantity),
                "price": PRODUCTS[product],
                "total_amount": str(total),
                "payment_mode": chance.choice(["card", "paypal", "cash"]),
                "status": chance.choices(["success", "failed"], [94, 6])[0],
                "timestamp": time.isoformat(" ", "seconds"),
                "coupon": "",
            }
        )
    return found


def written(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def changed(rows: list[Row], change: Callable[[Row], Row | None]) -> list[Row]:
    return [new for new in map(change, rows) if new]


def drift_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "report/drift.json").read_text()))


def over(run: Path) -> set[str]:
    return {each["name"] for each in drift_of(run)["measures"] if each["over"]}


def wrong_twice(each: Row) -> Row:
    """As many wrong totals again as there are, of the right ones."""
    right = Decimal(each["total_amount"]) == int(each["quantity"]) * Decimal(each["price"])
    if right and int(each["order_id"].partition("-")[2]) % 24 == 0:
        return {**each, "total_amount": "0.01"}
    return each


def tenfold(each: Row) -> Row:
    amounts = {name: str(10 * Decimal(each[name])) for name in ("price", "total_amount")}
    return {**each, **amounts}


EVENTS: dict[int, Callable[[list[Row]], list[Row]]] = {
    3: lambda rows: changed(rows, lambda each: None if each["region"] == "isles" else each),
    5: lambda rows: changed(rows, tenfold),
    7: lambda rows: changed(rows, wrong_twice),
    9: lambda rows: changed(rows, lambda each: {("voucher" if k == "coupon" else k): v for k, v in each.items()}),
    13: lambda rows: rows[::4],
    15: lambda rows: changed(rows, lambda each: {**each, "payment_mode": each["payment_mode"].replace("paypal", "")}),
}
MISSING = 11  # of this day there is no run
TOLD = {
    3: {"region.values"},
    5: {"value.mean", "value.p05", "value.p50", "value.p95", "revenue"},
    7: {"rejected", "rejected.wrong_total"},
    9: {"columns"},
    12: {"days", "newest"},
    13: {"rows", "revenue"},
    15: {"payment_mode", "payment_mode.values"},
}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen nights with planted events, each compared with the last one."""
    folder = tmp_path_factory.mktemp("series")
    for night in range(1, 17):
        if night != MISSING:
            rows = EVENTS.get(night, lambda rows: rows)(orders(night))
            path = written(folder / f"{night:02d}.csv", rows)
            day = f"2026-11-{night + 1:02d}"
            daskjobs.run_orders(path, run=folder / f"runs/{night:02d}", as_of=day, compare="last")
    return folder


def test_each_planted_event_is_over_on_its_night_and_nowhere_else(series: Path) -> None:
    """Nor on the next one, which comes back to what it was before."""
    found = {int(run.name): over(run) for run in sorted((series / "runs").iterdir())}
    assert {night: names for night, names in found.items() if names} == TOLD
    said = {each["name"]: each for night in TOLD for each in drift_of(series / f"runs/{night:02d}")["measures"]}
    assert said["columns"]["sentence"] == "the same 11 columns"
    told = {
        (night, each["name"]): each["sentence"]
        for night in TOLD
        for each in drift_of(series / f"runs/{night:02d}")["measures"]
        if each["over"]
    }
    assert re.fullmatch(r"region isles is gone, after [23]\.\d % of the orders", told[3, "region.values"])
    assert told[9, "columns"] == "the column coupon is gone, the column voucher is new"
    assert told[12, "days"] == "1 day is missing between 2026-11-11 and 2026-11-13"
    assert told[13, "rows"] == "625 rows, after 2,500 (-75.0 %)"
    assert told[15, "payment_mode.values"].startswith("payment_mode paypal is gone, after 3")
    back = {
        (int(run.name), each["name"])
        for run in (series / "runs").iterdir()
        for each in drift_of(run)["measures"]
        if each.get("back")
    }
    assert back >= {(4, "region.values"), (6, "revenue"), (10, "columns"), (14, "rows"), (16, "payment_mode")}


def test_measures_are_those_that_plain_python_counts(series: Path) -> None:
    before, now = (Counted(series / f"{night:02d}.csv") for night in (1, 2))
    found = {each["name"]: each for each in drift_of(series / "runs/02")["measures"]}
    for name, both in {
        "rows": (len(before.rows), len(now.rows)),
        "revenue": (sum(before.paid), sum(now.paid)),
        "value.mean": (sum(before.paid) / len(before.paid), sum(now.paid) / len(now.paid)),
        **{f"value.p{percent:02d}": (before.quantile(percent), now.quantile(percent)) for percent in (5, 50, 95)},
    }.items():
        assert found[name]["value"] == pytest.approx(float(both[1] / both[0] - 1), abs=1e-6), name
        assert [found[name]["before"], found[name]["now"]] == [
            each if name == "rows" else f"{each:.2f}" for each in both
        ]
    shares = before.wrong / len(before.rows), now.wrong / len(now.rows)
    assert found["rejected"]["value"] == pytest.approx(shares[1] - shares[0], abs=1e-6)
    assert found["rejected.wrong_total"] == {**found["rejected"], "name": "rejected.wrong_total"} | {
        "sentence": found["rejected.wrong_total"]["sentence"]
    }
    for name, (old, new) in {
        "region": (before.by["region"], now.by["region"]),
        "product": (before.by["product"], now.by["product"]),
        "payment_mode": (Counter(x["payment_mode"] for x in before.rows), Counter(x["payment_mode"] for x in now.rows)),
        "status": (before.statuses, now.statuses),
    }.items():
        total, halves = (sum(old.values()), sum(new.values())), 0.5 * len({*old, *new})
        index = sum(
            ((new[each] + 0.5) / (total[1] + halves) - (old[each] + 0.5) / (total[0] + halves))
            * math.log((new[each] + 0.5) / (total[1] + halves) / ((old[each] + 0.5) / (total[0] + halves)))
            for each in {*old, *new}
        )
        assert found[name]["value"] == pytest.approx(index, abs=1e-6), name
        moved = max(sorted({*old, *new}), key=lambda x: round(abs(new[x] / total[1] - old[x] / total[0]), 12))
        assert found[name]["now"] == pytest.approx(new[moved] / total[1], abs=1e-6)
        assert f"{name} {moved} has {100 * new[moved] / total[1]:.1f} % of the {OF[name]}" in found[name]["sentence"]
    assert found["newest"]["value"] == pytest.approx((now.newest - before.newest).total_seconds() / 3600, abs=1e-6)
    assert [each["name"] for each in drift_of(series / "runs/02")["measures"]] == [
        name
        for each in KINDS
        if each != "corrections"
        for name in ([each, "rejected.wrong_total"] if each == "rejected" else [each])
    ]


class Counted:
    """What there is in a file of one night."""

    def __init__(self, path: Path) -> None:
        with path.open(newline="") as file:
            self.rows = list(csv.DictReader(file))
        right = [x for x in self.rows if int(x["quantity"]) * Decimal(x["price"]) == Decimal(x["total_amount"])]
        self.wrong = len(self.rows) - len(right)
        paid = [each for each in right if each["status"] == "success"]
        self.paid = [Decimal(each["total_amount"]) for each in paid]
        self.by = {name: Counter(each[name] for each in paid) for name in ("region", "product")}
        self.statuses = Counter(each["status"] for each in right)
        self.newest = max(datetime.fromisoformat(each["timestamp"]) for each in self.rows)

    def quantile(self, percent: int) -> Decimal:
        """The least amount that so many percent of the rows don't exceed."""
        amounts = sorted(Decimal(each["total_amount"]) for each in self.rows)
        return amounts[-(-percent * len(amounts) // 100) - 1]


def test_order_of_rows_and_partitions_do_not_matter(series: Path, tmp_path: Path) -> None:
    with (series / "02.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    random.Random(1).shuffle(rows)
    path = written(tmp_path / "shuffled.csv", rows)
    daskjobs.run_orders(path, run=tmp_path / "run", partitions=3, compare=series / "runs/01")
    assert (tmp_path / "run/report/drift.json").read_bytes() == (series / "runs/02/report/drift.json").read_bytes()


NUMBERS = Numbers(rows=5000, judged=5000, rejected=200, reasons={"wrong_total": 200}, orders=4500)
shares = st.builds(
    Shares, st.dictionaries(st.text(max_size=5), st.integers(1, 10**6), max_size=20), st.integers(1, 10**6), st.just(21)
)
numbers = st.builds(
    Numbers,
    rows=st.integers(0, 10**9),
    judged=st.integers(0, 10**9),
    rejected=st.integers(0, 10**9),
    reasons=st.dictionaries(st.text("ab_", min_size=1), st.integers(1, 10**9), max_size=5),
    orders=st.integers(0, 10**9),
    revenue=st.decimals(-(10**12), 10**12, places=2).map(str),
    currency=st.just("EUR"),
    first=st.dates().map(str),
    last=st.dates().map(str),
    shares=st.dictionaries(st.sampled_from([*OF]), shares),
    quantiles=st.dictionaries(
        st.sampled_from(["0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99"]),
        st.decimals(-(10**6), 10**6, places=2).map(str),
    ),
    newest=st.datetimes(timezones=st.none()).map(lambda time: time.isoformat()),
    spans=st.integers(1, 10**4),
    columns=st.lists(st.text(), max_size=5, unique=True),
).map(lambda each: replace(each, judged=max(each.judged, each.rejected, *each.reasons.values(), 0)))


@settings(max_examples=40)
@given(numbers, st.sampled_from(["", "rows=0%,rejected=0,region=0,newest=0h", "rejected.*=0%"]))
def test_run_compared_with_itself_has_nothing_but_zeros(each: Numbers, max_drift: str) -> None:
    each = replace(each, first=max(each.first, each.last), last=max(each.first, each.last))
    found = measures(each, each, limits(max_drift))
    assert [one.value for one in found] == [0.0] * len(found)
    assert not [one for one in found if one.over or one.fails]


@settings(max_examples=40)
@given(numbers, numbers)
def test_any_two_runs_are_compared_in_numbers_that_json_can_hold(before: Numbers, now: Numbers) -> None:
    for each in measures(before, now, Limits()):
        json.dumps([each.value, each.threshold, each.before, each.now], allow_nan=False)
        assert not each.fails
        assert each.sentence.isprintable()
        if each.value is not None and each.threshold is not None:
            assert each.over == (abs(each.value) > abs(each.threshold) and (each.value >= 0) == (each.threshold >= 0))
        assert each.shown(each.before)
        assert each.form(each.value) or each.value is None


@given(shares, shares)
def test_stability_is_the_same_in_both_directions_and_never_negative(old: Shares, new: Shares) -> None:
    assert stability(old, new) == pytest.approx(stability(new, old), abs=1e-12)
    assert stability(old, new) >= 0
    assert stability(old, old) == 0


def found_in(before: Numbers, now: Numbers, max_drift: str = "") -> dict[str, Measure]:
    return {each.name: each for each in measures(before, now, limits(max_drift))}


def test_change_from_nothing_has_no_number_and_is_over() -> None:
    found = found_in(replace(NUMBERS, rows=0, orders=0, revenue="0.00"), replace(NUMBERS, revenue="7.00"))
    for name, sentence in (("rows", "5,000 rows, after 0"), ("revenue", "a revenue of 7.00, after 0.00")):
        assert (found[name].value, found[name].over, found[name].sentence) == (None, True, sentence)
    assert "value.mean" not in found
    assert found_in(replace(NUMBERS, rows=0), replace(NUMBERS, rows=0))["rows"].value == 0
    assert found_in(replace(NUMBERS, rows=0), NUMBERS, "rows=+20%")["rows"].fails


@pytest.mark.parametrize(
    ("max_drift", "change", "fails"),
    [
        ("rows=-20%", {"rows": 3999}, True),
        ("rows=-20%", {"rows": 4000}, False),
        ("rows=-20%", {"rows": 60_000}, False),
        ("rows=+20%", {"rows": 3999}, False),
        ("rows=20%", {"rows": 6001}, True),
        ("rows=20%", {"rows": 3999}, True),
        ("rows=-20%,rows=+50%", {"rows": 7500}, False),
        ("rows=-20%,rows=+50%", {"rows": 7501}, True),
        ("rejected=1%", {"rejected": 250}, False),
        ("rejected=1%", {"rejected": 251}, True),
        ("rejected=0.01", {"rejected": 149}, True),
        ("rejected=+1%", {"rejected": 0}, False),
        ("rejected.wrong_total=1%", {"reasons": {"wrong_total": 251}}, True),
        ("rejected.*=1%", {"reasons": {"wrong_total": 200, "unknown_status": 51}}, True),
        ("rejected.*=1%,rejected.unknown_status=2%", {"reasons": {"wrong_total": 200, "unknown_status": 51}}, False),
        ("newest=36h", {"newest": "2026-11-03T12:00:01"}, True),
        ("newest=1.5d", {"newest": "2026-11-03T12:00:00"}, False),
        ("newest=+36h", {"newest": "2026-10-01T12:00:00"}, False),
        ("newest=\u221236h", {"newest": "2026-10-01T12:00:00"}, True),
        ("days=1", {"first": "2026-11-04"}, True),
        ("days=2d", {"first": "2026-11-04"}, False),
        ("columns=1", {"columns": ["a", "b", "c"]}, False),
        ("columns=0", {"columns": ["a", "b", "c"]}, True),
    ],
)
def test_limit_is_what_is_still_allowed_in_its_direction(max_drift: str, change: dict[str, Any], fails: bool) -> None:
    before = replace(NUMBERS, newest="2026-11-02T00:00:00", last="2026-11-01", first="2026-11-01", columns=["a", "b"])
    found = measures(before, replace(before, **change), limits(max_drift))
    assert any(each.fails for each in found) == fails
    assert all(each.over for each in found if each.fails)


@pytest.mark.parametrize(
    ("max_drift", "why"),
    [
        ("row=20%", "has no measure row: did you mean rows?"),
        ("wrong_total=1%", "has no measure wrong_total: did you mean rejected.wrong_total?"),
        ("mean=10%", "has no measure mean: did you mean value.mean?"),
        ("rejected.wrong_totl=1%", "rejected.wrong_totl names no rule: did you mean rejected.wrong_total?"),
        ("rejected.=1%", "has no measure rejected."),
        ("rows=0.2", r"rows=0.2 can't be read: it limits a relative change, so give one like rows=20%, \+20% or -20%"),
        ("rows=-", "rows=- can't be read"),
        ("rows", "rows= can't be read"),
        (",", r"has no measure \(empty\): there are rows, rejected, corrections, region"),
        ("rows=20%,", r"has no measure \(empty\)"),
        ("REGION=0.2", "has no measure REGION: did you mean region?"),
        (f"rows={'9' * 400}%", "rows=9+ allows everything"),
        ("rows=1e3%", "rows=1e3% can't be read"),
        ("rows=nan%", "rows=nan% can't be read"),
        ("rows=-100%", "rows=-100% allows everything"),
        ("rejected=2", "rejected=2 allows everything"),
        ("region=20%", "region=20% can't be read: it limits a population stability index, so give one like region=0.2"),
        ("region=-0.2", "region=-0.2 can't be read"),
        ("newest=36", "newest=36 can't be read: it limits a difference in hours, so give one like newest=36h"),
        ("days=1h", "days=1h can't be read: it limits days missing between, so give one like days=0"),
        ("columns=x", "columns=x can't be read: it limits names that came or went, so give one like columns=0"),
        ("newest=36m", "newest=36m can't be read"),
        ("rows=20%,rows=30%", "gives rows twice"),
        ("rows=20%,rows=-30%", "gives rows twice"),
    ],
)
def test_limit_that_makes_no_sense_is_refused_before_the_run_begins(max_drift: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"^--max-drift {why}"):
        Settings("run", compare="last", max_drift=max_drift)


def test_limits_need_a_run_to_compare_with_and_may_be_said_twice() -> None:
    with pytest.raises(UsageError, match="^--max-drift limits how far a run differs from another one: give --compare"):
        Settings("run", max_drift="rows=20%")
    assert limits("rows=20%, rows=20 %").bounds == {"rows": (-0.2, 0.2)}
    Settings("run", compare="last", max_drift="rejected.mine=1%", rules="rules.py")  # which has it, or validate says so


@pytest.mark.parametrize(
    "given",
    [
        "rows=-20%,region=0.00001,newest=36h",
        ["rows=-20%", "region=0.00001,newest=36h"],
        {"rows": "-20%", "region": 0.00001, "newest": "36h"},
        {"rows": "-20%", "region": np.float64(0.00001), "newest": "36 h"},
        [{"rows": "-20%"}, {"region": Decimal("0.00001"), "newest": "36h"}],
    ],
)
def test_limits_may_be_given_as_a_text_a_list_or_a_mapping(given: Any) -> None:
    read = limits(Settings("run", compare="last", max_drift=given).max_drift)
    assert read.bounds == {"rows": (-0.2, math.inf), "region": (-math.inf, 0.00001), "newest": (-36, 36)}


@pytest.mark.parametrize(
    ("nights", "max_drift", "over", "fails", "back"),
    [
        ((5000, 500, 4900), "", False, False, True),  # an event, told on its night, and back
        ((5000, 500, 520), "", False, False, False),  # it stays so
        ((5000, 500, 50), "", True, True, False),  # it goes on
        ((5000, 12_000, 1000), "", True, True, False),  # back, and beyond
        ((5000, 6500, 5000), "rows=-20%", True, True, False),  # not told, so the limit is taken as it stands
        ((5000, 500, 4900), "rows=20%", False, False, True),
    ],
)
def test_what_comes_back_is_no_second_event(
    nights: tuple[int, int, int], max_drift: str, over: bool, fails: bool, back: bool
) -> None:
    first, second, third = (replace(NUMBERS, rows=rows) for rows in nights)
    allowed = limits(max_drift)
    then, since = measures(first, second, Limits()), measures(first, third, allowed)
    (found,) = (each for each in came_back(measures(second, third, allowed), then, since) if each.name == "rows")
    assert (found.over, found.fails, found.back) == (over, fails and bool(max_drift), back)
    assert found.sentence.endswith(", as it was before that") == back


def tallied(values: dict[str, dict[str, int]], **given: Any) -> Tallied:
    return Tallied(replace(NUMBERS, **given), {name: _table(counts) for name, counts in values.items()}, {})


def test_values_with_few_rows_are_counted_together() -> None:
    before = tallied({"product": {**{f"p{number}": 1 for number in range(2000)}, "lamp": 400}})
    now = tallied({"product": {**{f"p{number}": 1 for number in range(1500, 3500)}, "lamp": 380}})
    old, new = (each.shares["product"] for each in paired(before, now))
    assert old == Shares({"lamp": 400}, 2000, 2001, {"lamp": 400})
    assert new == Shares({"lamp": 380}, 2000, 2001, {"lamp": 380})
    assert not any(each.over for each in measures(*paired(before, now), Limits()))


def test_values_that_are_named_are_bounded_in_number_and_length() -> None:
    many = {"product": {f"p{number:03d}": 1000 + number for number in range(200)} | {"x" * 300: 5000}}
    old, _ = paired(tallied(many), tallied(many))
    assert len(old.shares["product"].counts) == 50
    assert max(map(len, old.shares["product"].counts)) == 4
    assert old.shares["product"].total == sum(many["product"].values())


some_values = st.dictionaries(
    st.sampled_from([*(f"r{number}" for number in range(60)), "", "x" * 300]), st.integers(1, 300), min_size=1
)


@settings(max_examples=200)
@given(some_values, some_values, st.integers(0, 3))
def test_values_that_came_or_went_are_all_that_are_a_hundredth_of_one_side_and_not_on_the_other(
    old: dict[str, int], new: dict[str, int], most: int
) -> None:
    before, now = tallied({"region": old}), tallied({"region": new})
    moved = {name for name in old if name not in new and Decimal(old[name]) / sum(old.values()) >= Decimal("0.01")}
    moved |= {name for name in new if name not in old and Decimal(new[name]) / sum(new.values()) >= Decimal("0.01")}
    certain = {
        name
        for name in moved
        if (old.get(name, 0) / sum(old.values()) * sum(new.values()) >= 20)
        or (new.get(name, 0) / sum(new.values()) * sum(old.values()) >= 20)
    }
    for max_drift in ("", f"region.values={most}"):
        found = found_in(*paired(before, now), max_drift)["region.values"]
        assert found.value == len(moved)
        assert found.over == (len(moved) > most if max_drift else bool(certain))
        assert found.fails == (found.over and bool(max_drift))
        assert ("may be chance" in found.sentence) == (certain < moved)
        assert found.sentence.startswith("no region with 1%") == (not moved)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            {"north": 300, "south": 200},
            {"north": 250, "south": 238, "west": 12},
            "region west is new, with 2.4 % of the orders, and so few rows may be chance",
        ),
        (
            {"north": 12, "south": 8},
            {"north": 12, "west": 8},
            "region south is gone, after 40.0 % of the orders, region west is new, with 40.0 % of the orders, and so "
            "few rows may be chance",
        ),
        (
            {"north": 300, "south": 200},
            {"north": 380, "isles": 20, "west": 100},
            "region south is gone, after 40.0 % of the orders, region west is new, with 20.0 % of the orders, region "
            "isles is new, with 4.0 % of the orders",
        ),
        (
            {"north": 400},
            {"north": 290, "isles": 10, "west": 100},
            "region west is new, with 25.0 % of the orders, region isles is new, with 2.5 % of the orders, and the "
            "rows of 1 of these are so few that they may be chance",
        ),
    ],
)
def test_few_rows_of_a_value_may_be_chance_and_a_limit_is_taken_as_it_stands(
    old: dict[str, int], new: dict[str, int], sentence: str
) -> None:
    pair = paired(tallied({"region": old}), tallied({"region": new}))
    assert found_in(*pair)["region.values"].sentence == sentence
    limited = found_in(*pair, "region.values=0")["region.values"]
    assert (limited.fails, limited.threshold) == (True, 0)


def test_a_value_that_is_new_after_an_event_is_not_said_to_be_back() -> None:
    regions = {"north": 3000, "west": 2000}, {"north": 5000}, {"north": 3000, "west": 1000, "mars": 1000}
    first, second, third = (tallied({"region": each}) for each in regions)
    earlier, night = paired(first, second)
    then = measures(earlier, night, Limits())
    since = measures(earlier, again(earlier, third), Limits())
    found = {each.name: each for each in came_back(measures(*paired(second, third), Limits()), then, since)}
    assert (found["region.values"].over, found["region.values"].back) == (True, False)
    back = measures(earlier, again(earlier, first), Limits())
    found = {each.name: each for each in came_back(measures(*paired(second, first), Limits()), then, back)}
    assert (found["region.values"].over, found["region.values"].back) == (False, True)


def test_limit_of_nothing_is_over_with_one_row_of_a_billion() -> None:
    before = Numbers(rows=10**9, judged=10**9, rejected=0, reasons={}, orders=10**9)
    now = replace(before, rejected=1, reasons={"wrong_total": 1}, rows=10**9 + 1)
    found = found_in(before, now, "rejected=0,rejected.wrong_total=0%,rows=0%")
    assert all(found[name].fails for name in ("rejected", "rejected.wrong_total", "rows"))


def test_sentence_shows_what_users_wrote_cut_and_escaped() -> None:
    before, now = (tallied({"region": {name: 300, "south": 300}}) for name in ("\u202enorth\n" + "z" * 60, "west"))
    found = {each.name: each for each in measures(*paired(before, now), Limits())}
    said = found["region.values"].sentence
    assert said.startswith(r"region \u202enorth\nzzz")
    assert said.endswith("… is gone, after 50.0 % of the orders, region west is new, with 50.0 % of the orders")


def test_amounts_of_two_currencies_are_not_compared() -> None:
    before, now = (tallied({}, revenue="7.00", currency=each, quantiles={"0.5": "1"}) for each in ("EUR", "USD"))
    assert not {name for name in found_in(before.numbers, now.numbers) if name.startswith(("revenue", "value"))}
    assert left_out(before, now)["value.p50"] == "amounts were in EUR, and are in USD"
    assert left_out(before, before) == {}


def test_mean_of_an_order_is_left_out_with_the_reason_where_no_order_was_paid() -> None:
    before, now = tallied({}, orders=0, revenue="0.00"), tallied({}, revenue="7.00")
    assert "value.mean" not in found_in(before.numbers, now.numbers)
    assert left_out(before, now)["value.mean"] == "that takes a paid order in both"


def test_what_one_run_does_not_tell_is_left_out_with_the_reason() -> None:
    before = Tallied(NUMBERS, {}, {"region": "the profile of 01 has none"})
    now = tallied({"region": {"north": 7}})
    assert left_out(before, now)["region"] == "the profile of 01 has none"
    assert "region" not in found_in(*paired(before, now))
    assert again(NUMBERS, now).shares == {}


def run(path: Iterable[Row], to: Path, **given: Any) -> Path:
    daskjobs.run_orders(written(to.with_suffix(".csv"), list(path)), run=to, **given)
    return to


def test_run_that_drifts_too_far_fails_with_its_whole_account_and_is_no_good_run(series: Path, tmp_path: Path) -> None:
    few = orders(2, 100)
    with pytest.raises(InputError) as raised:
        run(few, tmp_path / "a", compare=series / "runs/01", max_drift="rows=-20%,region=0.2")
    assert str(raised.value).startswith(
        "compared with 01, 100 rows, after 2,500 (-96.0 %): more than --max-drift allows (rows); report/drift.json has"
    )
    assert raised.value.exit_code == 10
    made = {each.name for each in (tmp_path / "a/report").iterdir()}
    assert made == {"quality.json", "columns.json", "drift.json", "report.html"}
    assert [each["name"] for each in drift_of(tmp_path / "a")["measures"] if each["fails"]] == ["rows"]
    page = (tmp_path / "a/report/report.html").read_text()
    assert "<b>This run has failed" in page
    assert "<br/><b>fails</b>" in page
    run(orders(3, 100), tmp_path / "b", compare="last", max_drift="rows=-20%")
    assert drift_of(tmp_path / "b")["compared"] is None
    run(few, tmp_path / "a", compare=series / "runs/01", max_drift="region=0.5")
    assert not [each for each in drift_of(tmp_path / "a")["measures"] if each["fails"]]


def test_first_night_says_that_there_is_none_before(tmp_path: Path) -> None:
    first = run(orders(1, 50), tmp_path / "runs/a", compare="last", max_drift="rows=0%,newest=0h")
    why = f"there is no good run before this one in {tmp_path}/runs to compare it with"
    assert drift_of(first) == {"version": 1, "compared": None, "why": why, "measures": []}
    assert f"<h2>Compared with no earlier run</h2>\n<p>Since {why}.</p>" in (first / "report/report.html").read_text()


def test_run_without_compare_writes_no_drift(tmp_path: Path) -> None:
    assert not (run(orders(1, 50), tmp_path / "a") / "report/drift.json").exists()
    assert "Compared" not in (tmp_path / "a/report/report.html").read_text()


def test_files_of_the_earlier_run_are_held_against_their_hashes(series: Path, tmp_path: Path) -> None:
    earlier = Path(shutil.copytree(series / "runs/01", tmp_path / "earlier"))
    path = earlier / "report/quality.json"
    path.write_text(path.read_text().replace("2500", "2501"))
    with pytest.raises(StorageError, match=r"/earlier, with which this run is compared, .*; do that for \S+/earlier"):
        run(orders(2, 50), tmp_path / "a", compare=earlier)


def test_earlier_run_that_is_gone_before_the_report_is_named(series: Path, tmp_path: Path, pipeline: Pipeline) -> None:
    earlier = Path(shutil.copytree(series / "runs/01", tmp_path / "earlier"))
    given = {"input": str(series / "02.csv"), "compare": str(earlier)}
    pipeline("split", "validate", "merge", "clean", **given)
    shutil.rmtree(earlier)
    with pytest.raises(ConfigError, match=r"earlier is gone since this run looked at it: run all stages again"):
        pipeline("report", **given)


def test_names_of_columns_are_those_in_the_files_whatever_their_format(series: Path, tmp_path: Path) -> None:
    rows = [{("unit_price" if name == "price" else name): value for name, value in each.items()} for each in orders(2)]
    renamed = run(rows, tmp_path / "a", compare=series / "runs/01", columns="price=unit_price")
    found = {each["name"]: each for each in drift_of(renamed)["measures"]}
    assert found["columns"]["sentence"] == "the column price is gone, the column unit_price is new"
    (tmp_path / "b.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    daskjobs.run_orders(tmp_path / "b.jsonl", run=tmp_path / "b", compare=renamed, columns="price=unit_price")
    assert not over(tmp_path / "b")
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    daskjobs.run_orders(tmp_path / "c.parquet", run=tmp_path / "c", compare=renamed, columns="price=unit_price")
    assert not over(tmp_path / "c")


@pytest.mark.slow
def test_rule_that_no_reason_is_named_after_is_refused(tmp_path: Path) -> None:
    def bulk(orders: Any) -> Any:
        """The order has more than four items."""
        return orders["quantity"] > 4

    given = {"compare": "last", "rules": bulk, "as_of": "2026-11-02"}
    run(orders(1, 50), tmp_path / "runs/a", max_drift="rejected.bulk=50%", **given)
    with pytest.raises(UsageError, match=r"rejected.bulkk names no rule: did you mean rejected.bulk\?"):
        run(orders(1, 50), tmp_path / "runs/b", max_drift="rejected.bulkk=50%", **given)


@pytest.mark.slow
def test_runs_on_s3_are_compared_as_local_ones_are(s3: str, series: Path) -> None:
    for night in (1, 2):
        daskjobs.run_orders(series / f"{night:02d}.csv", run=f"{s3}/drift/{night}", compare="last")
    data = Storage(f"{s3}/drift/2").read("report/drift.json")
    assert json.loads(data)["measures"] == drift_of(series / "runs/02")["measures"]


def test_command_tells_what_is_over_in_a_line_each(daskjobs: Command, series: Path, tmp_path: Path) -> None:
    done = daskjobs("run", "--input", f"{series}/03.csv", "--run", "a", "--compare", f"{series}/runs/02")
    lines = [each for each in done.stdout.splitlines() if each.startswith(("compared", "over", "warning"))]
    assert lines[0] == "compared   with 02, 1 measure over its threshold"
    assert re.fullmatch(r"over       region.values: region isles is gone, after \d.\d % of the orders", lines[1])
    assert len(lines) == 2
    few = written(tmp_path / "few.csv", orders(4, 300))
    limited = ("--max-drift", "value.p05=10%", "--compare", f"{series}/runs/03")
    done = daskjobs("run", "--input", str(few), "--run", "b", *limited)
    said = "warning    --max-drift value.p05 limits nothing, since it is not compared: that takes 400 rows in both\n"
    assert said in done.stdout


def made(rows: int, day: int) -> Tallied:
    """A night of a shop with a long tail of products, cheap and dear ones, and six reasons, of which some are rare."""
    chance = np.random.default_rng([rows, day])
    tail = {"region": 1 / np.arange(1, 17) ** 0.8, "product": 1 / np.arange(1, 3001)}
    picked = {name: chance.choice(len(odds), rows, p=odds / odds.sum()) for name, odds in tail.items()}
    picked |= {
        "payment_mode": chance.choice(6, rows, p=[0.5, 0.25, 0.15, 0.07, 0.02, 0.01]),
        "status": chance.choice(3, rows, p=[0.92, 0.06, 0.02]),
    }
    prices = np.random.default_rng(1).lognormal(8, 1.3, 3000).round()
    amounts = prices[picked["product"]] * chance.geometric(0.6, rows) * (chance.random(rows) > 0.05)
    rates = {"a": 0.01, "b": 0.005, "c": 0.003, "d": 0.001, "e": 0.0002, "f": 0.00005}
    reasons = {name: int(chance.binomial(rows, rate)) for name, rate in rates.items()}
    seconds = np.datetime64(f"2026-01-01T{chance.integers(20, 24)}:59:59") + np.timedelta64(day, "D")
    at = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    quantiles = {str(each): f"{np.quantile(amounts, each, method='lower') / 100:.2f}" for each in at}
    return tallied(
        {
            name: {str(value): int(count) for value, count in zip(*np.unique(each, return_counts=True), strict=True)}
            for name, each in picked.items()
        },
        rows=rows,
        judged=rows,
        rejected=sum(reasons.values()),
        reasons={name: count for name, count in reasons.items() if count},
        orders=rows,
        revenue=f"{amounts.sum() / 100:.2f}",
        first=str(seconds)[:10],
        last=str(seconds)[:10],
        quantiles=quantiles,
        newest=str(seconds),
        columns=["a"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("rows", [500, 5000])
def test_two_hundred_ordinary_nights_have_nothing_over(rows: int) -> None:
    nights = [made(rows, day) for day in range(201)]
    found = [
        (day, each.name, each.sentence)
        for day, (before, now) in enumerate(pairwise(nights))
        for each in measures(*paired(before, now), Limits())
        if each.over
    ]
    assert found == []


def test_rules_that_begin_to_warn_are_measured_as_those_that_reject() -> None:
    now = replace(NUMBERS, warned={"dear": 300}, corrections=200)
    found = {each.name: each for each in measures(NUMBERS, now, limits("warned.dear=+5%,corrections=10%"))}
    assert found["warned.dear"].over
    assert found["warned.dear"].fails
    assert found["warned.dear"].sentence == "dear warns of 6.0 % of the rows, after 0.0 %"
    assert found["corrections"].sentence == "4.0 % of the rows correct orders of earlier runs, after 0.0 %"
    assert not found["corrections"].fails
    back = came_back(list(found.values()), list(found.values()), measures(NUMBERS, NUMBERS, Limits()))
    assert not {each.name for each in back if each.over} & {"warned.dear", "corrections"}
    with pytest.raises(UsageError, match=r"warned.drear names no rule: did you mean warned.dear\?"):
        limits("warned.drear=1%").refuse_unknown(["dear"])
