"""The history of a series, made by real runs, compared with sums that csv and decimal make."""

import csv
import json
import re
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import daskjobs
from conftest import GOOD, csv_text, row
from daskjobs.cli import history as command
from daskjobs.errors import ConfigError, DaskjobsError, InputError, StorageError, UsageError
from daskjobs.files.documents import to_json
from daskjobs.orders.schema import COLUMNS
from daskjobs.series import history as books
from daskjobs.series.days import days_of
from daskjobs.series.history import History, Sums
from daskjobs.series.layout import LOCK_FOLDER
from daskjobs.series.prices import prices_of
from daskjobs.stages import STAGES

DAYS = ("2026-11-01", "2026-11-02", "2026-11-05")  # of three nights
EUROS = """
[order]
currency = "cur"
"""


def night(day: str, number: int) -> bytes:
    """Some orders of a day: paid and unpaid ones, one that is rejected, and one of another day."""
    at = {"timestamp": f"{day} 10:00:00"}
    return csv_text(
        row(**at, quantity=str(number), price="10.05", total_amount=str(number * Decimal("10.05"))),
        row(**at, price="0.10", total_amount="0.20"),
        row(**at, status="failed"),
        row(**at, total_amount="21.01"),
        *[row(**at, quantity="0", total_amount="0.00")] * (number == 2),
        row(timestamp="2026-10-07 09:00:00"),
    )


def counted(text: bytes) -> tuple[int, int, Decimal]:
    """The rows of a file, its paid orders and their revenue, by rules written anew."""
    rows = [*csv.DictReader(text.decode().splitlines())]
    paid = [
        Decimal(each["total_amount"])
        for each in rows
        if int(each["quantity"]) * Decimal(each["price"]) == Decimal(each["total_amount"]) != 0
        if each["status"] == "success"
    ]
    return len(rows), len(paid), sum(paid, Decimal())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series of three nights, with their files beside it, and of one that failed."""
    folder = tmp_path_factory.mktemp("made")
    for number, day in enumerate(DAYS, 1):
        (folder / f"{day}.csv").write_bytes(night(day, number))
        daskjobs.run_orders(folder / f"{day}.csv", run=folder / f"runs/n{number}", as_of=day, known=folder / "runs")
    with pytest.raises(InputError):
        daskjobs.run_orders(folder / f"{DAYS[0]}.csv", run=folder / "runs/bad", as_of="2026-11-03", max_rejected=0)
    (folder / "runs/notes.txt").write_text("no run")
    return folder


@pytest.fixture
def series(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "runs", tmp_path / "runs"))


def look(series: Path | str, **more: Any) -> History:
    return books.history(str(series), STAGES, **more)


def call(*arguments: object) -> Result:
    """What the command prints; its error is that of the result."""
    return CliRunner().invoke(command.history, [*map(str, arguments)])


def refused(result: Result, kind: type[DaskjobsError], sentence: str) -> None:
    assert isinstance(result.exception, kind), result.output
    assert re.search(sentence, str(result.exception)), result.exception


def test_total_is_the_sum_of_the_nights_to_the_cent(made: Path) -> None:
    found = look(made / "runs")
    nights = [counted((made / f"{day}.csv").read_bytes()) for day in DAYS]
    (total,) = found.totals
    assert (total.orders, Decimal(total.revenue)) == (sum(each[1] for each in nights), sum(each[2] for each in nights))
    assert (total.of_runs.revenue, total.corrections.revenue) == (total.revenue, "0.00")
    assert [(row.day, row.rows, row.orders, Decimal(row.revenue)) for row in found.runs] == [
        (day, *each) for day, each in zip(DAYS, nights, strict=True)
    ]
    assert [sum(row.reasons.values()) for row in found.runs] == [1, 2, 1]
    assert [row.rejected for row in found.runs] == [1, 2, 1]
    assert all(row.reasons["wrong_total"] == 1 for row in found.runs)
    assert (found.exact, found.doubts, found.count, found.first, found.last) == (True, [], 3, DAYS[0], DAYS[-1])
    assert found.gaps == ["2026-11-03", "2026-11-04"]
    assert all(row.seconds and row.workers for row in found.runs)


def test_a_failed_run_is_listed_with_the_stage_it_reached_and_not_counted(series: Path) -> None:
    (other,) = look(series).not_good
    assert (other.run, other.day, other.stage) == ("bad", "2026-11-03", "clean")
    shutil.rmtree(series / "bad/clean")
    shutil.rmtree(series / "bad/merge")
    assert look(series).not_good[0].stage == "validate"
    shown = call(series)
    assert shown.exit_code == 0
    assert "not good    2026-11-03 bad has no report, and is not counted; its last stage done is validate" in (
        shown.output
    )


def test_first_line_is_the_total_and_the_rest_what_needs_attention_and_a_line_for_each_run(made: Path) -> None:
    lines = call(made / "runs").output.splitlines()
    orders, revenue = (sum(each[at] for each in (counted((made / f"{day}.csv").read_bytes()) for day in DAYS))
                       for at in (1, 2))  # fmt: skip
    assert lines[0] == (
        f"total       {orders} orders, revenue {revenue}, of 3 good runs, 2026-11-01 to 2026-11-05, each order once"
    )
    assert lines[1:3] == [
        f"of runs     {orders} orders, revenue {revenue}",
        "corrections 0 orders, revenue 0.00",
    ]
    assert lines[3] == "no run of   2026-11-03, 2026-11-04"
    table = lines[lines.index("") + 1 :]
    assert table[0].split() == ["day", "run", "rows", "rejected", "orders", "revenue", "seconds", "workers", "reasons"]
    assert table[1].startswith("2026-11-01  n1   ")
    assert table[1].endswith("wrong_total 1")
    assert len([*filter(None, table)]) == 4


def test_runs_made_without_known_are_named_since_an_order_may_count_twice(series: Path, made: Path) -> None:
    daskjobs.run_orders(made / f"{DAYS[1]}.csv", run=series / "n4", as_of="2026-11-06")
    found = look(series)
    assert not found.exact
    assert found.doubts == ["1 of 4 runs were made without --known, so an order may count twice: n4"]
    output = call(series).output.splitlines()
    assert output[0].endswith("2026-11-01 to 2026-11-06, not certain")
    assert output[3] == f"not certain {found.doubts[0]}"


def test_runs_that_looked_only_at_some_runs_or_at_runs_that_are_gone_are_named(series: Path, made: Path) -> None:
    file = made / f"{DAYS[0]}.csv"
    daskjobs.run_orders(file, run=series / "n4", as_of="2026-11-06", known=made / "runs", known_days=2)
    assert look(series).doubts == [
        "1 of 4 runs have not looked at all runs before them (--known-days, another series, or a run made meanwhile), "
        "so an order may count twice: n4"
    ]
    shutil.rmtree(series / "n4")
    shutil.rmtree(series / "n1")
    assert look(series).doubts == [
        "2 of 2 runs have looked at runs that are no longer in this series, or were made again since, so an order "
        "of these may not be counted: n2 (n1), n3 (n1)"
    ]


def test_last_runs_are_shown_and_the_total_is_that_of_all(made: Path) -> None:
    found = look(made / "runs", last=1)
    assert [row.run for row in found.runs] == ["n3"]
    assert found.totals == look(made / "runs").totals
    assert [row.run for row in look(made / "runs", last=0).runs] == ["n1", "n2", "n3"]
    assert len(json.loads(call(made / "runs", "--last", 2, "--json").output)["runs"]) == 2


def test_two_currencies_are_never_added_up(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(EUROS)
    for currency, total in (("EUR", "21.00"), ("USD", "42.00"), ("EUR", "10.50")):
        number = len([*tmp_path.glob("*.csv")])
        text = csv_text(row(quantity=str(int(Decimal(total) / Decimal("10.50"))), total_amount=total) + f",{currency}",
                        header=",".join([*COLUMNS, "cur"]))  # fmt: skip
        (tmp_path / f"{number}.csv").write_bytes(text)
        daskjobs.run_orders(tmp_path / f"{number}.csv", run=tmp_path / f"runs/{number}", profile=tmp_path / "p.toml",
                            known=tmp_path / "runs", as_of=f"2026-11-0{number + 1}")  # fmt: skip
    assert [(each.currency, each.runs, each.orders, each.revenue) for each in look(tmp_path / "runs").totals] == [
        ("EUR", 2, 2, "31.50"),
        ("USD", 1, 1, "42.00"),
    ]
    lines = call(tmp_path / "runs").output.splitlines()
    assert lines[0].startswith("total       2 orders, revenue 31.50 EUR, of 2 good runs")
    assert lines[1].startswith("total       1 order, revenue 42.00 USD, of 1 good run")


def test_a_damaged_run_is_named_at_the_top_and_the_others_are_shown(series: Path) -> None:
    path = series / "n2/report/quality.json"
    path.write_bytes(path.read_bytes().replace(b"2", b"3", 1))
    found = look(series)
    assert [(each.run, each.exit_code) for each in found.bad] == [("n2", 20)]
    assert not found.exact
    assert [row.run for row in found.runs] == ["n1", "n3"]
    shown = call(series)
    assert shown.output.splitlines()[0].endswith("of 2 good runs, 2026-11-01 to 2026-11-05, not certain")
    assert re.search(
        r"^damaged     n2 can't be read, and is not counted: .*quality.json is damaged", shown.output, re.M
    )
    refused(shown, StorageError, r"1 run of .*/runs can't be read, so the total is without what they counted: n2; run")
    manifest = series / "n1/report/manifest.json"
    manifest.write_text(json.dumps({"stage": "report", "daskjobs": "99.0"}))
    path.write_bytes(path.read_bytes().replace(b"3", b"2", 1))
    refused(call(series), ConfigError, "n1")


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        ("2026-11-01..02", []),
        ("2026-11-01", []),
        ("2026-11-01..05", ["2026-11-03", "2026-11-04"]),
        ("2026-10-07", ["2026-10-07"]),
    ],
)
def test_days_of_dated_runs_are_those_they_stand_for(made: Path, asked: str, missing: list[str]) -> None:
    found = look(made / "runs", days=days_of("--missing", asked)).missing
    assert found is not None
    assert [each.day for each in found] == missing
    assert [each.orders for each in found] == [3 if each == "2026-10-07" else 0 for each in missing]
    shown = call(made / "runs", "--missing", asked)
    assert shown.exit_code == (0 if not missing else 1)
    if missing:
        refused(shown, InputError, rf"no good run covers {len(missing)} days?: {', '.join(missing)}; run these days")
    if "2026-10-07" in missing:
        assert "missing     2026-10-07 (3 paid orders of it in runs of other days)\n" in shown.output


def test_a_run_without_a_date_covers_the_days_of_its_valid_orders(tmp_path: Path) -> None:
    days = {day: {"timestamp": f"2026-11-0{day} 10:00:00"} for day in range(1, 5)}
    (tmp_path / "a.csv").write_bytes(
        csv_text(row(**days[1]), row(**days[2], status="failed"), row(**days[3], total_amount="1.00"))
    )
    daskjobs.run_orders(tmp_path / "a.csv", run=tmp_path / "runs/a")
    found = look(tmp_path / "runs", days=days_of("--missing", "2026-11-01..04")).missing
    assert found is not None
    assert [each.day for each in found] == ["2026-11-03", "2026-11-04"]


def test_a_damaged_summary_says_no_day(series: Path) -> None:
    path = series / "n1/clean/summary.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StorageError, match="summary.parquet is damaged"):
        look(series, days=days_of("--missing", "2026-11-03"))


@pytest.mark.parametrize(
    "text", ["", "2026-11", "2026-11-31", "2026-11-02..01", "2026-11-01..2026-11-31", "2026-11-01 .. 02",
             "1900-01-01..2026-01-01", "2026-11-01..2", "20261101..30"],
)  # fmt: skip
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--missing must be a"):
        days_of("--missing", text)


def test_cost_is_what_workers_computed_and_the_memory_that_they_held(series: Path) -> None:
    used = {"workers": 4, "cpu_seconds": 7200.5, "memory_bytes": 3 << 29, "busy_seconds": 1.0}
    validate = {"seconds": 1830.25, "start_seconds": 20.0, "queue_seconds": 10.25, "resources": {"used": used}}
    for name, kind in (("n1", "processes"), ("n2", "threads"), ("n3", None)):
        path = series / name / "report/facts.json"
        facts = json.loads(path.read_bytes())
        facts["stages"]["validate"] = {**validate, "workers_are": kind} if kind else {"seconds": 1.0}
        path.write_text(json.dumps(facts))
    prices = prices_of("cpu-hour=0.04,gib-hour=0.005")
    found = look(series, prices=prices)
    cpu, half = Decimal("7200.5") / 3600 * Decimal("0.04"), Decimal("0.5")  # 30 minutes
    expected = [
        cpu + gib * half * Decimal("0.005") for gib in (Decimal(6), Decimal("1.5"))
    ]  # processes hold memory each, threads share theirs
    assert [row.cost and Decimal(row.cost) for row in found.runs] == [*(round(each, 6) for each in expected), None]
    assert found.cost is not None
    assert Decimal(found.cost) == sum(round(each, 6) for each in expected)
    assert [row.workers for row in found.runs] == [4, 4, None]
    shown = call(series, "--price", "cpu-hour=0.04,gib-hour=0.005").output
    assert "unknown" in shown
    assert f"\ncost        {found.cost}, of the workers of the runs above\n" in shown
    (series / "n1/report/facts.json").write_text("{")  # which no manifest lists
    assert look(series, prices=prices).runs[0].seconds is None


@pytest.mark.parametrize(
    "text", ["cpu-hour", "cpu-hour=", "cpu-hour=-1", "cpu-hour=nan", "cpu-hour=1e3", "hour=1", "cpu-hour=1,cpu-hour=2",
             "cpu-hour=1,,gib-hour=2"],
)  # fmt: skip
def test_a_price_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--price "):
        prices_of(text)


def test_drift_of_a_run_is_shown_with_its_sentences(tmp_path: Path) -> None:
    series = tmp_path / "runs"
    for number, rows in ((1, 400), (2, 40)):
        (tmp_path / f"{number}.csv").write_bytes(csv_text(*[row() for _ in range(rows)]))
        daskjobs.run_orders(tmp_path / f"{number}.csv", run=series / f"n{number}", as_of=f"2026-11-0{number}",
                            compare="last")  # fmt: skip
    first, second = look(series).runs
    assert (first.compared, first.drift, first.drifted) == ("", None, [])
    measures = json.loads((series / "n2/report/drift.json").read_bytes())["measures"]
    over = [each["sentence"] for each in measures if each["over"]]
    assert (second.compared, second.drift, second.drifted) == ("n1", len(over), over)
    assert len(measures) > len(over) > 0
    shown = call(series).output
    for sentence in over:
        assert f"drift       2026-11-02 n2, compared with n1: {sentence}\n" in shown


def test_what_the_sender_says_and_what_rules_warn_of_stands_in_the_line_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv_text(row(), row(total_amount="21.50"), row(status="odd")))
    daskjobs.run_orders(tmp_path / "a.csv", run=tmp_path / "runs/a", expect="ids=3,rows=3", warn="wrong_total")
    (found,) = look(tmp_path / "runs").runs
    assert (found.sent, found.missing) == ({"rows": "3", "ids": "3"}, {"rows": "0", "ids": "0"})
    assert (found.warned, [*found.reasons]) == ({"wrong_total": 1}, ["unknown_status"])
    heads, line = call(tmp_path / "runs").output.splitlines()[-3:-1]
    assert "    sent  missing  " in heads
    assert "  3 rows        0  " in line
    assert line.endswith("unknown_status 1, wrong_total 1 (warned)")


def dated(order: str, total: str, day: int, status: str = "success") -> dict[str, str]:
    at = f"2026-11-0{day} 10:00:00"
    return GOOD | {
        "order_id": order, "quantity": "1", "price": total, "total_amount": total, "timestamp": at, "status": status,
    }  # fmt: skip


def test_corrections_stand_on_a_line_of_their_own_and_the_total_is_that_of_the_newest_rows(tmp_path: Path) -> None:
    nights = [
        [dated("A", "10.00", 1), dated("B", "20.25", 1), dated("C", "1.00", 1)],
        [dated("A", "15.50", 2), dated("B", "20.25", 1), dated("D", "7.00", 2)],
        [dated("C", "1.00", 3, "refunded"), dated("A", "3.00", 1), dated("D", "7.01", 3)],
    ]
    for number, rows in enumerate(nights, 1):
        (tmp_path / f"{number}.csv").write_bytes(csv_text(*[",".join(each.values()) for each in rows]))
        daskjobs.run_orders(tmp_path / f"{number}.csv", run=tmp_path / f"runs/{number}", as_of=f"2026-11-0{number}",
                            known=tmp_path / "runs", again="newest")  # fmt: skip
    newest = dict[str, dict[str, str]]()
    for each in (each for rows in nights for each in rows):
        before = newest.setdefault(each["order_id"], each)
        if each["timestamp"] > before["timestamp"]:
            newest[each["order_id"]] = each
    paid = [Decimal(each["total_amount"]) for each in newest.values() if each["status"] == "success"]
    found = look(tmp_path / "runs")
    (total,) = found.totals
    assert (total.orders, total.revenue, found.exact, found.not_good) == (len(paid), str(sum(paid)), True, [])
    assert (total.of_runs, total.corrections) == (Sums(6, "60.76"), Sums(-3, "-18.00"))
    assert [(row.corrections, row.corrected_revenue) for row in found.runs] == [
        (0, "0.00"),
        (1, "-10.00"),
        (2, "-8.00"),
    ]
    assert call(tmp_path / "runs").output.splitlines()[1:3] == [
        "of runs     6 orders, revenue 60.76",
        "corrections -3 orders, revenue -18.00",
    ]


def test_json_has_one_object_for_each_run_and_is_the_same_each_time(made: Path) -> None:
    first, second = call(made / "runs", "--json"), call(made / "runs", "--json")
    assert first.output == second.output
    said = json.loads(first.output)
    assert said == json.loads(json.dumps(to_json(look(made / "runs"))))
    assert [each["run"] for each in said["runs"]] == ["n1", "n2", "n3"]
    assert Counter(map(tuple, said["runs"])) == {tuple(said["runs"][0]): 3}


def test_an_empty_series_has_no_orders_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shown = call(tmp_path / "empty", "--html", tmp_path / "h.html")
    assert shown.exit_code == 0
    assert shown.output.splitlines()[0] == "total       no orders, since there is no good run"
    assert b"there is no good run" in (tmp_path / "h.html").read_bytes()
    refused(call(tmp_path / "missing"), InputError, "there is no folder .*/missing: name the one that holds runs")
    (tmp_path / "file").touch()
    refused(call(tmp_path / "file"), InputError, "there is no folder .*/file")


def test_a_run_is_no_series(made: Path) -> None:
    refused(call(made / "runs/n1"), UsageError, "n1 is a run, and a series is the folder that holds runs")
    refused(call(""), UsageError, "SERIES is empty")
    refused(call("s3://me:secret@bucket/runs"), UsageError, "SERIES s3://bucket/runs must have no user")


def test_page_is_refused_where_it_would_harm(series: Path, tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text("<!doctype html><title>mine</title>")
    refused(call(series, "--html", series / "n1/report/report.html"), UsageError, "is in the folder of the run .*/n1")
    refused(call(series, "--html", series / "n1/deep/er/h.html"), UsageError, "which only the run writes")
    refused(call(series, "--html", tmp_path / "other.html"), UsageError, "other.html is there already, and no page of")
    refused(call(series, "--html", tmp_path), UsageError, "is a folder: name a file in it")
    refused(call(series, "--html", f"{tmp_path}/h/"), UsageError, "--html must name a file")
    refused(call(series, "--html", "http://host/h.html"), UsageError, "--html must be a path, or a URI of")
    assert (tmp_path / "other.html").read_text() == "<!doctype html><title>mine</title>"
    for _ in range(2):  # its own page is written again
        assert call(series, "--html", series / "history.html").exit_code == 0
    assert {path.name for path in series.iterdir()} - {LOCK_FOLDER} == {
        *("bad", "n1", "n2", "n3", "notes.txt", "history.html")
    }


def test_history_of_a_series_in_s3_is_that_of_the_same_folder_here(s3: str, made: Path, tmp_path: Path) -> None:
    import s3fs

    fs = s3fs.S3FileSystem()
    fs.put(str(made / "runs"), f"{s3}/history/runs", recursive=True)
    local, there = look(made / "runs"), look(f"{s3}/history/runs")
    assert there.totals == local.totals
    assert there.doubts == local.doubts == []
    assert [row.run for row in there.runs] == ["n1", "n2", "n3"]
    shown = call(f"{s3}/history/runs", "--html", f"{s3}/history/h.html", "--missing", "2026-11-01..05")
    refused(shown, InputError, "no good run covers 2 days")
    assert b"Orders history: " in fs.cat_file(f"{s3}/history/h.html")
    assert call(f"{s3}/history/runs", "--html", tmp_path / "h.html").exit_code == 0
    assert b"href=" not in (tmp_path / "h.html").read_bytes()
    refused(call(f"{s3}/history/none"), InputError, "there is no folder s3://orders/history/none")
    refused(call(f"{s3}/history/runs", "--html", f"{s3}/history/runs/n1/h.html"), UsageError, "only the run writes")
