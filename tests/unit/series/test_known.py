"""Orders of earlier runs are not counted again, held against an account that is kept with csv and Decimal alone."""

import csv
import json
import subprocess
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inline
from conftest import GOOD
from daskjobs.errors import ConfigError, StorageError
from daskjobs.orders.schema import COLUMNS
from daskjobs.series.layout import CORRECTIONS_CSV, SEEN_CSV

Row = dict[str, str]


def order(id: object, amount: object = "10.00", status: str = "success", timestamp: str = "2026-11-01") -> Row:
    price = f"{Decimal(str(amount)):.2f}" if str(amount)[-1].isdigit() else str(amount)
    values = {"order_id": str(id), "quantity": "1", "price": price, "total_amount": price}
    return GOOD | values | {"status": status, "timestamp": timestamp}


def write(path: Path, rows: list[Row], columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="") as file:
        lines = csv.DictWriter(file, columns, lineterminator="\n")
        lines.writeheader()
        lines.writerows(rows)
    return path


@dataclass
class Night:
    """What a run of the series said."""

    orders: int
    revenue: Decimal
    corrected_orders: int
    corrected_revenue: Decimal
    seen: list[tuple[int, str, str, int]]  # row, kind, the earlier run, the row there
    replaced: list[tuple[int, str, int]]
    quality: dict[str, Any]

    @classmethod
    def of(cls, run: Path) -> "Night":
        rows = json.loads((run / "report/manifest.json").read_text())["rows"]
        quality = json.loads((run / "report/quality.json").read_text())
        seen = list(csv.DictReader((run / SEEN_CSV).open()))
        corrections = list(csv.DictReader((run / CORRECTIONS_CSV).open())) if (run / CORRECTIONS_CSV).exists() else []
        report = json.loads((run / "report/analytics_report.json").read_text(), parse_float=Decimal)
        assert sum(Decimal(each["revenue"]) for each in corrections) == Decimal(rows.get("corrected_revenue", "0"))
        return cls(
            report["orders"],
            Decimal(report["revenue"]),
            int(rows.get("corrected_orders", "0")),
            Decimal(rows.get("corrected_revenue", "0.00")),
            [(int(row["row"]), row["kind"], Path(row["run"]).name, int(row["earlier_row"] or 0)) for row in seen],
            [(int(row["newer_row"]), Path(row["run"]).name, int(row["row"] or 0)) for row in corrections],
            quality["seen_before"],
        )


class Series:
    """A series of runs without Dask, of which each is told of the others."""

    def __init__(self, folder: Path, **said: Any) -> None:
        self.folder, self.said = folder, said

    def night(self, name: str, rows: list[Row], columns: tuple[str, ...] = COLUMNS, **said: Any) -> Night:
        path = write(self.folder / f"{name}.csv", rows, columns)
        return self.run(name, path, **said)

    def run(self, name: str, path: Path, **said: Any) -> Night:
        inline.run(self.folder / "runs" / name, str(path), **{"known": str(self.folder / "runs"), **self.said, **said})
        return Night.of(self.folder / "runs" / name)


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return Series(tmp_path)


@pytest.fixture
def newest(tmp_path: Path) -> Series:
    return Series(tmp_path, again="newest")


@dataclass
class Account:
    """The account of a series: by order, the night, row, values and time that count now."""

    newest: bool
    counts: dict[str, tuple[str, int, Row]] = field(default_factory=dict)

    def night(self, name: str, rows: list[Row]) -> Night:
        night, own = Night(0, Decimal("0.00"), 0, Decimal("0.00"), [], [], {}), set[str]()
        for number, row in zip(count(1), rows, strict=False):
            id, paid = row["order_id"], row["status"] == "success"
            if not row["price"][-1].isdigit() or id in own:
                continue
            own.add(id)
            if before := self.counts.get(id):
                then = before[2]
                if not self.newest or row["timestamp"] <= then["timestamp"]:
                    as_old = row["timestamp"] == then["timestamp"]
                    other = "tied" if as_old else "older"
                    kind = "same" if row == then else other if self.newest else "other"
                    night.seen.append((number, kind, before[0], before[1]))
                    continue
                night.replaced.append((number, before[0], before[1]))
                if then["status"] == "success":
                    night.corrected_orders -= 1
                    night.corrected_revenue -= Decimal(then["price"])
            self.counts[id] = name, number, row
            night.orders += paid
            night.revenue += Decimal(row["price"]) if paid else 0
        return night

    @property
    def total(self) -> tuple[int, Decimal]:
        paid = [row for _, _, row in self.counts.values() if row["status"] == "success"]
        return len(paid), sum((Decimal(row["price"]) for row in paid), Decimal("0.00"))


ids = st.integers(1, 12).map(str) | st.sampled_from(["A1", "A2", "A10", "ü", "x" * 70 + "1", "y" * 70 + "1"])
rows = st.lists(
    st.builds(
        order,
        ids,
        st.integers(1, 3) | st.just("bad"),
        st.sampled_from(["success", "success", "failed"]),
        st.sampled_from(["2026-11-01 00:00:00", "2026-11-02 00:00:00", "2026-11-02 10:00:00"]),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.slow
@settings(max_examples=25)
@given(st.lists(rows, min_size=2, max_size=4), st.booleans(), st.data())
def test_a_series_counts_as_the_account_does(nights: list[list[Row]], newest: bool, data: st.DataObject) -> None:
    # A file of which every row is bad has no report.
    nights = [[*each, order("good", 7)] for each in nights]
    with TemporaryDirectory() as name:
        series, account = Series(Path(name), again="newest" if newest else "first"), Account(newest)
        found = (0, Decimal("0.00"))
        for number in data.draw(st.permutations(range(len(nights)))):
            partitions, block = data.draw(st.tuples(st.integers(1, 4), st.integers(100, 2000)))
            said = series.night(
                f"n{number}",
                nights[number],
                as_of=f"2026-11-{number + 1:02d}",
                partitions=partitions,
                block_bytes=block,
            )
            expected = account.night(f"n{number}", nights[number])
            counts, expected.quality = said.quality, said.quality
            assert said == expected
            assert counts["rows"] == len(said.seen)
            assert counts["same"] == len([kind for _, kind, _, _ in said.seen if kind == "same"])
            found = (
                found[0] + said.orders + said.corrected_orders,
                found[1] + said.revenue + said.corrected_revenue,
            )
        assert found == account.total


def test_a_file_that_is_delivered_again_counts_nothing_and_the_run_is_good(series: Series) -> None:
    rows = [order(id, id) for id in range(1, 60)]
    first = series.night("a", rows)
    again = series.night("b", rows)
    assert (first.orders, again.orders, again.revenue) == (59, 0, Decimal("0.00"))
    assert again.seen == [(row, "same", "a", row) for row in range(1, 60)]
    assert again.quality == again.quality | {"runs": 1, "rows": 59, "same": 59, "other": 0}
    assert (again.quality["first"][0]["row"], len(again.quality["first"])) == (1, 3)


def test_a_correction_is_told_apart_with_the_columns_that_differ_also_those_that_are_not_ours(series: Series) -> None:
    columns = (*COLUMNS, "note")
    series.night("a", [order(id) | {"note": "x"} for id in "123"], columns)
    said = series.night(
        "b", [order(1) | {"note": "x"}, order(2) | {"note": "y"}, order(3, "11") | {"note": "x"}], columns
    )
    assert [kind for _, kind, _, _ in said.seen] == ["same", "other", "other"]
    assert said.quality["columns"] == {"note": 1, "price": 1, "total_amount": 1}
    # A column that only one of the runs has is not compared.
    assert [kind for _, kind, _, _ in series.night("c", [order(2)]).seen] == ["same"]


def test_rows_are_named_by_their_numbers_whatever_the_earlier_run_rejected(series: Series) -> None:
    rows = [order(9), order(7, "bad"), order(5), order(5), order(3, status="failed"), order(8), order(9), order(4)]
    series.night("a", rows, partitions=3)
    said = series.night("b", [order(each) for each in (4, 8, 3, 5, 9)])
    assert [row for _, _, _, row in said.seen] == [8, 6, 5, 3, 1]
    ascending = Series(series.folder / "x")
    ascending.folder.mkdir()
    rows = [order(each, status="failed" if each % 3 else "success") for each in range(100, 140)]
    ascending.night("a", [rows[0] | {"price": "bad"}, *rows])
    said = ascending.night("b", rows[::-1])
    assert [row for _, _, _, row in said.seen] == list(range(41, 1, -1))


def test_the_first_run_that_has_counted_an_order_is_named(series: Series) -> None:
    inline.run(series.folder / "runs/b", str(write(series.folder / "b.csv", [order(1)])), as_of="2026-11-02")
    inline.run(series.folder / "runs/a", str(write(series.folder / "a.csv", [order(2), order(1)])), as_of="2026-11-01")
    assert series.night("c", [order(1), order(3)]).seen == [(1, "same", "a", 2)]


def test_only_runs_near_enough_are_looked_at(series: Series) -> None:
    series.night("a", [order(1)], as_of="2026-11-01")
    series.night("b", [order(2)], as_of="2026-11-05")
    said = series.night("c", [order(1), order(2)], as_of="2026-11-07", known_days=3)
    assert (said.orders, said.seen, said.quality["runs"]) == (1, [(2, "same", "b", 1)], 1)


def test_the_newest_row_counts_whichever_comes_first(newest: Series) -> None:
    newest.night("b", [order(1, "12", timestamp="2026-11-02"), order(2)])
    older = newest.night("a", [order(1, "10", timestamp="2026-11-01"), order(3)])
    assert (older.orders, older.seen) == (1, [(1, "older", "b", 1)])
    newer = newest.night("c", [order(1, "15", "failed", "2026-11-03"), order(2, "11")])
    assert (newer.orders, newer.corrected_orders, newer.corrected_revenue) == (0, -1, Decimal("-12.00"))
    assert (newer.replaced, newer.seen) == ([(1, "b", 1)], [(2, "tied", "b", 2)])
    assert newer.quality["tied"] == 1
    # What was taken back is not taken back again, and the one in its place is: it was unpaid.
    last = newest.night("d", [order(1, "20", timestamp="2026-11-04")])
    assert (last.orders, last.corrected_orders, last.corrected_revenue) == (1, 0, Decimal("0.00"))
    assert last.replaced == [(1, "c", 1)]
    # Without --again newest, what counts now is known all the same.
    assert newest.night("e", [order(1, "20", timestamp="2026-12-04")], again="first").seen == [(1, "other", "d", 1)]


def profile(series: Series, text: str) -> str:
    path = series.folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_a_version_says_which_row_is_newer(newest: Series) -> None:
    columns, said = (*COLUMNS, "rev"), {"profile": profile(newest, '[order]\nversion = "rev"\n')}
    newest.night("a", [order(id, timestamp="2026-11-09") | {"rev": "9"} for id in "123"], columns, **said)
    rows = [order(1, "11") | {"rev": "10"}, order(2, "11") | {"rev": "8"}, order(3, "11") | {"rev": "9.0"}]
    found = newest.night("b", rows, columns, **said)
    assert (found.replaced, [each[:2] for each in found.seen]) == ([(1, "a", 1)], [(2, "older"), (3, "tied")])
    assert found.revenue + found.corrected_revenue == Decimal("1.00")
    # A row without a version, or of a run without the column, is the oldest.
    newest.night("c", [order(7, timestamp="2026-12-09")])
    rows = [order(7) | {"rev": "1"}, order(8) | {"rev": ""}]
    assert newest.night("d", rows, columns, **said).replaced == [(1, "c", 1)]
    assert newest.night("e", [order(8) | {"rev": "0"}], columns, **said).replaced == [(1, "d", 2)]


def books(series: Series) -> tuple[int, Decimal, bool]:
    """What the history says of all runs, and whether it is certain."""
    done = subprocess.run(
        [sys.executable, "-m", "daskjobs", "history", str(series.folder / "runs"), "--json"],
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    found = json.loads(done.stdout)
    (total,) = found["totals"]
    return total["orders"], Decimal(total["revenue"]), found["exact"]


@pytest.mark.slow
@pytest.mark.parametrize("again", ["newest", "first"])
def test_a_series_in_which_a_file_was_corrected_is_certain_again_when_its_runs_are_made_again(
    tmp_path: Path, again: str
) -> None:
    """Whoever runs the commands of all nights again, twice, has each order once; and from then on nothing changes."""
    series = Series(tmp_path, again=again)
    files = {
        "n0": [order(1, "1"), order(2, "2"), order(3, "3"), order(4, "4")],
        "n1": [order(1, "10", timestamp="2026-11-02"), order(2, "2"), order(5, "5")],
        "n2": [order(1, "100", timestamp="2026-11-03"), order(3, "30", timestamp="2026-11-03"), order(4, "4")],
        "n3": [order(5, "50", timestamp="2026-11-04"), order(4, "4"), order(6, "6")],
    }
    for name, rows in files.items():
        series.night(name, rows)
    first = Decimal({"newest": "192.00", "first": "21.00"}[again])  # 100 + 2 + 30 + 4 + 50 + 6, or 1 + 2 + … + 6
    assert books(series) == (6, first, True)
    series.night("n0", files["n0"][:3])  # without the order 4, which n2 has, too
    totals = []
    for _ in range(4):
        for name in files:
            series.run(name, series.folder / f"{name}.csv")
        totals.append(books(series))
    assert totals[1:] == [(6, first, True)] * 3
    made = [(tmp_path / "runs" / name / "merge/manifest.json").read_bytes() for name in files]
    series.run("n0", series.folder / "n0.csv")
    assert [(tmp_path / "runs" / name / "merge/manifest.json").read_bytes() for name in files] == made


def test_what_was_taken_back_of_a_run_that_was_made_again_is_taken_back_of_it_anew(newest: Series) -> None:
    newest.night("a", [order(1, "10", timestamp="2026-11-01"), order(2)], as_of="2026-11-01")
    newest.night("b", [order(1, "11", timestamp="2026-11-02")], as_of="2026-11-02")
    newest.night("a", [order(1, "10", timestamp="2026-11-01"), order(3)], as_of="2026-11-01")
    again = newest.run("b", newest.folder / "b.csv", as_of="2026-11-02")
    assert (again.orders, again.corrected_orders, again.corrected_revenue) == (1, -1, Decimal("-10.00"))
    assert newest.night("c", [order(1, "12", timestamp="2026-11-03")]).replaced == [(1, "b", 1)]


def test_a_series_that_was_moved_knows_what_was_taken_back(newest: Series) -> None:
    newest.night("a", [order(1, "10", timestamp="2026-11-01")])
    newest.night("b", [order(1, "11", timestamp="2026-11-02")])
    moved = Series(newest.folder / "moved", again="newest")
    moved.folder.mkdir()
    (newest.folder / "runs").rename(moved.folder / "runs")
    assert moved.night("c", [order(1, "12", timestamp="2026-11-03")]).replaced == [(1, "b", 1)]


def test_an_order_of_several_lines_is_counted_once_with_all_of_its_lines(series: Series) -> None:
    said = {"profile": profile(series, '[order]\nrows = "line"\n')}
    first = series.night("a", [order(1), order(1, "5"), order(2, status="failed"), order(3)], **said)
    assert (first.orders, first.revenue) == (2, Decimal("25.00"))
    rows = [order(2), order(4), order(1), order(4, "1"), order(1, "2"), order(4, "bad"), order(5)]
    again = series.night("b", rows, **said)
    assert (again.orders, again.revenue) == (2, Decimal("21.00"))
    assert again.seen == [(row, "line", "a", 0) for row in (1, 3, 5)]
    assert series.night("c", rows, partitions=3, **said).orders == 0


def test_a_key_is_what_makes_an_order_known(series: Series) -> None:
    columns, said = (*COLUMNS, "shop"), {"profile": profile(series, '[order]\nkey = ["order_id", "shop"]\n')}
    series.night("a", [order(1) | {"shop": "x"}, order(1) | {"shop": "y"}, order(2) | {"shop": "x"}], columns, **said)
    rows = [order(1) | {"shop": "z"}, order(2) | {"shop": " x"}, order(1) | {"shop": "y"}]
    again = series.night("b", rows, columns, **said)
    assert (again.orders, [(each[0], each[2], each[3]) for each in again.seen]) == (1, [(2, "a", 3), (3, "a", 2)])
    without = Series(series.folder / "w", **said)
    without.folder.mkdir()
    inline.run(without.folder / "runs/a", str(write(without.folder / "a.csv", [order(1)])))
    with pytest.raises(ConfigError, match=r"/runs/a keeps no text of its column shop"):
        without.night("b", rows, columns)
    priced = profile(series, '[order]\nkey = ["order_id", "price"]\n')
    with pytest.raises(ConfigError, match=r"this run keeps no text of its column price"):
        series.night("c", rows, columns, profile=priced)


def test_returns_are_known_by_a_key_or_refused(series: Series) -> None:
    said = {"profile": profile(series, '[order]\nreturns = "subtract"\n')}
    with pytest.raises(ConfigError, match=r"can't tell whether a return was counted before.* name a key"):
        series.night("a", [order(1)], **said)
    columns = (*COLUMNS, "line")
    said = {"profile": profile(series, '[order]\nreturns = "subtract"\nkey = ["order_id", "line"]\n')}
    back = order(1, "-4") | {"quantity": "-1", "price": "4.00"}
    first = series.night("b", [order(1) | {"line": "1"}, back | {"line": "2"}], columns, again="newest", **said)
    assert (first.orders, first.revenue) == (1, Decimal("6.00"))
    assert series.night("c", [back | {"line": "2"}, order(2) | {"line": "1"}], columns, **said).revenue == 10
    back = order(1, "-3", timestamp="2026-12-01") | {"quantity": "-1", "price": "3.00", "line": "2"}
    newer = series.night("d", [back, order(3) | {"line": "1"}], columns, again="newest", **said)
    assert (newer.orders, newer.revenue, newer.corrected_orders, newer.corrected_revenue) == (1, 7, 0, 4)
    lines = profile(series, '[order]\nreturns = "subtract"\nrows = "line"\n')
    with pytest.raises(ConfigError, match=r"lines of orders: leave --known out"):
        series.night("e", [order(1)], profile=lines)


def test_lines_of_orders_are_not_compared_by_their_age(newest: Series) -> None:
    with pytest.raises(ConfigError, match=r"--again newest compares rows that are orders"):
        newest.night("a", [order(1)], profile=profile(newest, '[order]\nrows = "line"\n'))


def test_nothing_is_taken_back_in_another_currency(newest: Series) -> None:
    columns, said = (*COLUMNS, "cur"), {"profile": profile(newest, '[order]\ncurrency = "cur"\n')}
    newest.night("a", [order(1) | {"cur": "EUR"}], columns, **said)
    rows = [order(1, "3", timestamp="2026-12-01") | {"cur": "USD"}, order(2) | {"cur": "USD"}]
    with pytest.raises(ConfigError, match=r"/a is of EUR, and this run is of USD"):
        newest.night("b", rows, columns, **said)
    assert newest.night("b", rows, columns, again="first", **said).orders == 1


def test_an_order_that_was_unpaid_for_its_currency_alone_is_no_order_that_was_counted(series: Series) -> None:
    columns, said = (*COLUMNS, "cur"), {"profile": profile(series, '[order]\ncurrency = "cur"\n')}
    rows = [order(1) | {"cur": "EUR"}, order(2) | {"cur": "USD"}]
    assert series.night("a", rows, columns, currency="EUR", **said).orders == 1
    with pytest.raises(ConfigError, match=r"/a is of EUR, and this run is of USD: the orders of USD that it holds"):
        series.night("b", rows, columns, currency="USD", **said)
    assert series.night("c", [order(3) | {"cur": "EUR"}], columns, **said).orders == 1
    assert series.night("d", [order(3) | {"cur": "GBP"}, order(4) | {"cur": "GBP"}], columns, **said).orders == 1


def test_rows_of_all_formats_and_of_many_files_are_named(series: Series) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    days = series.folder / "days"
    days.mkdir()
    for number in range(5):
        write(days / f"{number}.csv", [order(10 * number + each) for each in (3, 1)])
    pq.write_table(pa.Table.from_pylist([order(each) for each in (91, 93, 92)]), days / "5.parquet", row_group_size=2)
    (days / "6.jsonl").write_text("".join(json.dumps(order(each)) + "\n" for each in (99, 97)))
    series.run("a", days / "*")
    said = series.night("b", [order(each) for each in (1, 13, 41, 92, 97, 98)], partitions=2)
    rows = list(csv.DictReader((series.folder / "runs/b" / SEEN_CSV).open()))
    places = [(Path(each["earlier_source"]).name, int(each["earlier_row"])) for each in rows]
    assert places == [("0.csv", 2), ("1.csv", 1), ("4.csv", 2), ("5.parquet", 3), ("6.jsonl", 2)]
    assert said.orders == 1
    # The other way round, a run of many files is told where its rows stand.
    assert Night.of(series.folder / "runs/b").seen == said.seen
    series.run("c", days / "*")
    rows = list(csv.DictReader((series.folder / "runs/c" / SEEN_CSV).open()))
    assert [(Path(each["source"]).name, each["row"], each["order_id"]) for each in rows][-3:] == [
        ("5.parquet", "3", "92"),
        ("6.jsonl", "1", "99"),
        ("6.jsonl", "2", "97"),
    ]


def test_what_is_wrong_with_an_earlier_run_is_said_of_that_run(series: Series) -> None:
    series.night("a", [order(1), order(2)])
    path = series.folder / "runs/a/validate/part-00000/paid.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"runs/a, of whose orders this run must know, can't be read: .*damaged"):
        series.night("b", [order(1)])


def test_corrections_of_an_earlier_run_that_are_gone_are_said_of_that_run(newest: Series) -> None:
    newest.night("a", [order(1, "10", timestamp="2026-11-01")])
    newest.night("b", [order(1, "11", timestamp="2026-11-02")])
    (newest.folder / "runs/b/merge/corrections.parquet").unlink()
    with pytest.raises(StorageError, match=r"runs/b, of whose orders this run must know, .* do that for \S+runs/b, or"):
        newest.night("c", [order(1, "12", timestamp="2026-11-03")])


def test_a_reason_of_ones_own_of_that_name_is_refused_only_where_earlier_runs_are_known(series: Series) -> None:
    rules = series.folder / "mine.py"
    rules.write_text('def seen_before(orders):\n    """Mine."""\n    return orders["total_cents"] > 0\n')
    path = write(series.folder / "a.csv", [order(1), order(2, "0")])
    inline.run(series.folder / "own", str(path), rules=str(rules))
    with pytest.raises(ConfigError, match=r"defines seen_before, which is a built-in rule"):
        series.run("a", path, rules=str(rules))


def test_rows_that_are_known_are_no_part_of_what_may_be_rejected(series: Series) -> None:
    series.night("a", [order(each) for each in range(9)])
    rows = [*(order(each) for each in range(9)), order(10, "bad")]
    assert series.night("b", rows, max_rejected=0.1).orders == 0
    with pytest.raises(FileNotFoundError):  # there is no report
        series.night("c", rows, max_rejected=0.09)
