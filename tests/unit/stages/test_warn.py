"""Rules that warn instead of rejecting rows, and limits by rule."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskjobs
import inline
import oracle
from conftest import Command, Pipeline, csv_text, row
from daskjobs import verify
from daskjobs.errors import ConfigError, InputError, UsageError
from daskjobs.orders.rules.builtin import OF_PROFILE, SENTENCES
from daskjobs.orders.rules.levels import ALWAYS_WARN, CAN_WARN, CANNOT
from daskjobs.orders.rules.profiled import PROFILED
from daskjobs.orders.sources import lines
from daskjobs.orders.validation import limit, partition
from daskjobs.pipeline.context import AccountedError
from daskjobs.stages import new_context, run_stage
from daskjobs.stages.explain import explain
from daskjobs.stages.run_settings import Settings

HERE: Any = {"dashboard": "127.0.0.1:0", "workers": 1}
RULES = """import daskjobs

@daskjobs.rule("The order is dear.", level="warn")
def dear(orders):
    return orders["total_cents"] > 100_00

def cash(orders):
    "Nobody pays in cash."
    return orders["payment_mode"] == "cash"
"""


def quality(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "report/quality.json").read_text()))


def warned(folder: Path) -> list[tuple[str, int, list[str]]]:
    with (folder / "merge/warned.csv").open(newline="") as text:
        listed = [(each["source"].rsplit("/")[-1], int(each["row"]), each["reasons"].split(";"), each["raw"])
                  for each in csv.DictReader(text)]  # fmt: skip
    exact = pq.read_table(folder / "merge/warned.parquet").to_pylist()
    assert [(each["row"], each["reasons"]) for each in exact] == [(number, names) for _, number, names, _ in listed]
    return [each[:3] for each in listed]


odd = st.sampled_from(["0", "-2", "x", "3", "-1.50", "1.50", "", "lost", "success", "failed", "99"])
spoilt = st.dictionaries(st.sampled_from(["quantity", "price", "total_amount", "status", "timestamp"]), odd, max_size=2)


@pytest.mark.slow
@settings(max_examples=40)
@given(
    st.lists(st.tuples(spoilt, st.integers(1, 9)), max_size=12),
    st.sets(st.sampled_from(CAN_WARN), min_size=1),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_warned_rows_count_and_are_listed_as_the_oracle_has_them(
    rows: list[tuple[dict[str, str], int]], warn: set[str], partitions: tuple[int, int]
) -> None:
    data = csv_text(*(row(**values, order_id=f"{number}") for values, number in rows))
    expected = oracle.expect({"a.csv": data}, warn=warn)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.csv").write_bytes(data)
        first, second = (
            inline.run(folder / f"run-{at}", str(folder / "a.csv"), 200, warn=[*warn], partitions=count)
            for at, count in enumerate(partitions)
        )
        inline.assert_as_expected(first, expected)
        assert first == second
        listed = [(source, number, reasons) for source, number, reasons, _ in expected.warned]
        assert warned(folder / "run-0") == warned(folder / "run-1") == listed
        told = {each["reason"]: each for each in quality(folder / "run-0").get("warned", [])}
        assert {name: each["rows"] for name, each in told.items()} == Counter(
            name for *_, names in listed for name in names
        )
        for name, each in told.items():
            shown = [(one["source"].rsplit("/")[-1], one["row"]) for one in each.get("first", [])]
            assert shown == [(source, number) for source, number, names in listed if name in names][:3]
        if (folder / "run-0/report/analytics_report.json").exists() and not expected.lines["inside_quotes"]:
            assert verify.main([str(folder / "run-0")]) == 0


@pytest.mark.slow
def test_warned_rows_are_shown_wherever_reasons_are(
    daskjobs: Command, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [row(), row(total_amount="20.00"), row(total_amount="20.00", price="x"), row(status="lost")]
    path = orders_file(*rows)
    given = ["run", "--input", str(path), "--run", "run", "--dashboard", "127.0.0.1:0", "--workers", "1"]
    done = daskjobs(*given, "--warn", "unknown_status", DASKJOBS_WARN="ignored")
    assert done.returncode == 0, done.stderr
    assert ["rejected   2 of 4 ", "wrong_total 1, unreadable_price 1)"][0] in done.stdout
    done = daskjobs(*given, "--warn", "unknown_status", "--warn", "wrong_total")
    assert done.returncode == 0, done.stderr
    assert "orders     2\nrevenue    41.00\n" in done.stdout
    assert "rejected   1 of 4 (unreadable_price 1)\nunpaid     1\n" in done.stdout
    assert "warned     unknown_status 1, wrong_total 1\n" in done.stdout
    assert warned(tmp_path / "run") == [("mine.csv", 2, ["wrong_total"]), ("mine.csv", 4, ["unknown_status"])]
    page = (tmp_path / "run/report/report.html").read_text()
    assert 'id="warned"' in page
    assert "The first: row 2 of mine.csv." in page
    shown = explain(new_context(Settings.of(run_uri=str(tmp_path / "run"))), 2, "")
    assert shown.verdict == [
        "valid      no rule rejects it, and paid",
        f"warned     wrong_total: {SENTENCES['wrong_total']}",
    ]
    assert explain(new_context(Settings.of(run_uri=str(tmp_path / "run"))), 3, "").reasons.keys() == {
        "unreadable_price"
    }
    assert explain(new_context(Settings.of(run_uri=str(tmp_path / "run"))), 4, "").status == "lost"


def test_run_that_warns_no_more_leaves_nothing_of_it(orders_file: Callable[..., Path], tmp_path: Path) -> None:
    path = str(orders_file(row(), row(total_amount="20.00")))
    first = inline.run(tmp_path / "plain", path)
    inline.run(tmp_path / "run", path, warn="wrong_total")
    assert inline.run(tmp_path / "run", path) == first
    assert not list((tmp_path / "run").rglob("warned.*"))
    assert b"warned" not in b"".join(first.values())


@pytest.mark.slow
def test_own_rule_may_warn_and_its_rows_count(tmp_path: Path, orders_file: Callable[..., Path]) -> None:
    path = orders_file(row(), row(price="1000.00", total_amount="2000.00"), row(payment_mode="cash"))
    (tmp_path / "mine.py").write_text(RULES)

    def dear(orders: Any) -> Any:
        return orders["total_cents"] > 100_00

    def cash(orders: Any) -> Any:
        """Nobody pays in cash."""
        return orders["payment_mode"] == "cash"

    marked = daskjobs.rule("The order is dear.", level="warn")(dear)
    for name, rules in {"file": tmp_path / "mine.py", "functions": [marked, cash]}.items():
        result = daskjobs.run_orders(path, run=tmp_path / name, rules=rules, **HERE)
        assert (result.orders, result.revenue, result.rows.rejected) == (2, Decimal("2021.00"), 1)
        assert warned(tmp_path / name) == [("mine.csv", 2, ["dear"])]
        assert [each["rule"] for each in quality(tmp_path / name)["warned"]] == ["The order is dear."]
        assert result.explain(2).warnings == {"dear": "The order is dear."}
    result = daskjobs.run_orders(path, run=tmp_path / "both", rules=tmp_path / "mine.py", warn="cash", **HERE)
    assert (result.orders, result.rows.rejected) == (3, 0)
    assert warned(tmp_path / "both") == [("mine.csv", 2, ["dear"]), ("mine.csv", 3, ["cash"])]
    with pytest.raises(ConfigError, match='level of daskjobs.rule must be "reject" or "warn", got 3'):
        daskjobs.rule("Of {level}.", level=3)  # type: ignore[arg-type]


def test_every_builtin_reason_can_warn_or_says_why_not() -> None:
    assert {*ALWAYS_WARN} | {*CAN_WARN} | {*CANNOT} == {*SENTENCES, *PROFILED, *OF_PROFILE, "seen_before"}
    assert not {*CAN_WARN} & {*CANNOT}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"warn": "unreadable_price"},
            "--warn can't have unreadable_price, because nobody could tell what its row comes",
        ),
        ({"warn": "duplicate_order_id"}, "--warn can't have duplicate_order_id, because the order would count twice"),
        ({"warn": "seen_before"}, "--warn can't have seen_before, because the order would count twice"),
        (
            {"warn": "wrong_totals"},
            "--warn has 'wrong_totals', which is no rule of this run: did you mean wrong_total?",
        ),
        ({"warn": "*"}, "--warn has '*', which is no rule of this run: it may be one of quantity_below_one, "),
        ({"warn": "unreadable_pric"}, "--warn has 'unreadable_pric', which is no rule of this run"),
        (
            {"max_rejected": "wrong_totals=0"},
            "--max-rejected has 'wrong_totals', which is no reason of this run: did you",
        ),
        ({"max_rejected": "duplicate_line=0"}, "--max-rejected has 'duplicate_line', which is no reason of this run"),
        ({"max_rejected": {"dear": 0}}, "--max-rejected has 'dear', which is no reason of this run"),
    ],
)
def test_name_that_is_no_rule_is_refused_before_any_row_is_checked(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    path = str(orders_file(row()))
    with pytest.raises(UsageError) as raised:
        pipeline(input=path, **given)
    assert words in str(raised.value)
    assert not (tmp_path / "run/validate/part-00000").exists()
    if "max_rejected" in given:  # also where nothing but the limit has changed
        pipeline(input=path, where="other")
        with pytest.raises(UsageError, match="which is no reason of this run"):
            pipeline("report", input=path, where="other", **given)
        assert (tmp_path / "other/report/analytics_report.json").exists()  # a command that is refused changes nothing


def test_rule_that_the_profile_leaves_out_can_neither_warn_nor_have_a_limit(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text('[order]\nwithout_rules = ["wrong_total"]\n')
    path, profile = str(orders_file(row())), str(tmp_path / "mine.toml")
    for asked in ({"warn": "wrong_total"}, {"max_rejected": "wrong_total=0"}):
        with pytest.raises(UsageError, match="has wrong_total, which is not checked here, since the profile names it"):
            pipeline(input=path, profile=profile, **asked)


def test_negative_total_is_rejected_where_what_would_reject_it_only_warns(
    orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = str(orders_file(row(), row(quantity="-1", total_amount="-10.50"), row(total_amount="-5.00")))
    inline.run(tmp_path / "run", path, warn="wrong_total,quantity_below_one")
    assert {each["reason"]: each["rows"] for each in quality(tmp_path / "run")["reasons"]} == {"negative_total": 2}
    assert warned(tmp_path / "run") == []
    assert json.loads((tmp_path / "run/report/analytics_report.json").read_text()) == {"orders": 1, "revenue": 21.0}


def test_warned_line_does_not_reject_its_order(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[order]\nrows = "line"\nrejects = "order"\n')
    rows = [row(order_id="1"), row(order_id="1", total_amount="20.00"), row(order_id="2"), row(order_id="2", price="x")]
    (tmp_path / "mine.csv").write_bytes(csv_text(*rows))
    given = {"profile": str(tmp_path / "mine.toml"), "warn": "wrong_total"}
    inline.run(tmp_path / "run", str(tmp_path / "mine.csv"), **given)
    found = quality(tmp_path / "run")
    assert (found["orders"], found["rows"]["valid"], found["rows"]["rejected"]) == (1, 2, 2)
    assert warned(tmp_path / "run") == [("mine.csv", 2, ["wrong_total"])]


def test_scores_of_generated_orders_stay_those_of_the_rules(tmp_path: Path, pipeline: Pipeline) -> None:
    pipeline(rows=2000)
    pipeline(rows=2000, warn="wrong_total,negative_price", where="warned")
    plain, mild = quality(tmp_path / "run"), quality(tmp_path / "warned")
    assert mild["scores"] == plain["scores"]
    counts = [
        {each["reason"]: each["rows"] for each in one} for one in (plain["reasons"], mild["warned"], mild["reasons"])
    ]
    rejected, warned_of, still = counts
    assert warned_of["wrong_total"] == rejected["wrong_total"]
    assert still == {"negative_total": rejected["negative_price"] - warned_of["negative_price"]}
    assert verify.main([str(tmp_path / "warned")]) == 0


def test_statuses_that_are_no_statuses_are_not_counted_one_by_one(
    orders_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "MOST_STATUSES", 5)
    path = str(orders_file(*(row(status=f"s{number}") for number in range(6))))
    with pytest.raises(InputError, match="more than 5 different texts for statuses"):
        inline.run(tmp_path / "run", path, warn="unknown_status", partitions=1)


def outcome(folder: Path, path: Path, most: Any, **given: Any) -> str:
    with inline.stages_inline():
        for name in inline.STAGES:
            try:
                values = {"run_uri": str(folder), "input": str(path), "max_rejected": most, "partitions": 3, **given}
                run_stage(name, new_context(Settings.of(**values)))
            except InputError as error:
                return f"{'account' if isinstance(error, AccountedError) else 'early'}: {error}"
    return "done"


@pytest.mark.parametrize(
    ("most", "words"),
    [
        ("wrong_total=0.03,unreadable_price=2%,*=0.05", ""),
        ({"wrong_total": 0.02, "unreadable_price": 0.02}, "3 of 100 rows were rejected as wrong_total, and "
         "--max-rejected wrong_total=0.02 allows 2: 1 too many"),
        (["wrong_total=1%", "unreadable_price=0"], "wrong_total=0.01 allows 1: 2 too many"),
        (["wrong_total=1%", "unreadable_price=0"], "unreadable_price=0 allows 0: 2 too many"),
        ("wrong_total=0.03,*=0.04", "5 of 100 rows were rejected, and --max-rejected 0.04 allows 4: 1 too many ("),
        ("*=0.04,unreadable_price=0", "; 2 of 100 rows were rejected as unreadable_price"),
        ("negative_price=0", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("few", [0, 1000])
def test_limit_by_reason_says_which_was_broken_and_by_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: Any, words: str, few: int
) -> None:
    monkeypatch.setattr(limit, "FEW_ROWS", few)
    bad = {10: {"total_amount": "1.00"}, 50: {"total_amount": "1.00"}, 51: {"price": "x"}, 52: {"price": "x"},
           99: {"total_amount": "1.00"}}  # fmt: skip
    (tmp_path / "o.csv").write_bytes(csv_text(*(row(**bad.get(number, {})) for number in range(100))))
    found = outcome(tmp_path / "run", tmp_path / "o.csv", most)
    assert found == "done" if not words else found.startswith("account" if few else "early"), found
    assert words in found or not few
    assert (tmp_path / "run/report/analytics_report.json").exists() == (not words)


def test_large_run_ends_at_the_first_block_that_breaks_the_limit_of_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK_ROWS", 10)
    monkeypatch.setattr(limit, "FEW_ROWS", 0)
    (tmp_path / "o.csv").write_bytes(csv_text(*(row(total_amount="1.00") for _ in range(1000))))
    for asked, words in ({}, "rejected"), ({"warn": "wrong_total"}, "warned of"):
        found = outcome(tmp_path / f"run-{len(asked)}", tmp_path / "o.csv", "wrong_total=0.05", **asked)
        assert (
            f"at least 60 of 1000 rows were {words} as wrong_total, and --max-rejected wrong_total=0.05 allows 50"
            in found
        )


def test_limit_of_a_warning_is_one_of_warned_rows_and_all_rejected_rows_are_apart(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_bytes(csv_text(row(), row(total_amount="1.00"), row(status="lost"), row()))
    given = {"warn": "wrong_total"}
    assert outcome(tmp_path / "a", tmp_path / "o.csv", "wrong_total=0.25,*=0.25", **given) == "done"
    found = outcome(tmp_path / "b", tmp_path / "o.csv", "wrong_total=0.2,*=0.25", **given)
    assert found.startswith(
        "account: 1 of 4 rows were warned of as wrong_total, and --max-rejected wrong_total=0.2 allows 0"
    )
    assert "; report/quality.json says why, and merge/warned.csv has each row: mend the orders" in found
    found = outcome(tmp_path / "c", tmp_path / "o.csv", "wrong_total=0,unknown_status=0", **given)
    assert "says why, and merge/quarantine.csv and merge/warned.csv have each row: mend the orders" in found


def test_limit_of_orders_that_were_seen_before_is_one_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_bytes(csv_text(row(order_id="1"), row(order_id="2")))
    given = {"known": str(tmp_path / "nights")}
    assert outcome(tmp_path / "nights/a", tmp_path / "o.csv", "seen_before=0", **given) == "done"
    assert outcome(tmp_path / "nights/b", tmp_path / "o.csv", "0", **given) == "done"
    assert outcome(tmp_path / "nights/c", tmp_path / "o.csv", "seen_before=0,*=0", **given) == (
        "account: 2 of 2 rows were rejected as seen_before, and --max-rejected seen_before=0 allows 0: 2 too many; "
        "report/quality.json says why, and merge/seen_before.csv has each row: these orders have counted in earlier "
        "runs: leave them out of the input, or allow more"
    )


def test_limits_stand_in_the_manifest_as_they_were_meant(pipeline: Pipeline, orders_file: Callable[..., Path]) -> None:
    path = str(orders_file(row(), row()))
    for most, kept in ("0.5", 0.5), ("50%", 0.5), (1, 1.0), ({"wrong_total": "0"}, "wrong_total=0.0"):
        made = pipeline(input=path, max_rejected=most)["report"]
        assert made.settings == {"max_rejected": kept}
        assert type(made.settings["max_rejected"]) is type(kept)


@pytest.mark.parametrize(
    ("most", "words"),
    [
        ("wrong_total=0.1,wrong_total=0.2", "--max-rejected gives wrong_total two shares, 0.1 and 0.2: give one"),
        ("0.1,*=0.2", "--max-rejected gives all rejected rows two shares, 0.1 and 0.2: give one"),
        ("wrong_total=101%", "--max-rejected must be between 0 and 1, got '101%'"),
        ("wrong_total=-0.1", "--max-rejected must be between 0 and 1, got '-0.1'"),
        ("wrong_total=", "--max-rejected must be a share from 0 to 1, like 0.05, or shares by reason"),
        ("wrong total=0", "a reason is a rule's name, or * for all rejected rows, got 'wrong total'"),
        (",", "--max-rejected must be a share from 0 to 1"),
        ("nan", "--max-rejected must be a share from 0 to 1"),
        ({5: 0.1}, "a reason is a rule's name, or * for all rejected rows, got '5'"),
        ({"wrong_total": None}, "--max-rejected must be a number, got 'None'"),
        ("1_0%", "like wrong_total=0.01,*=0.05, got '1_0%'"),
        ("\u0663%", "like wrong_total=0.01,*=0.05, got '\u0663%'"),
        ("wrong_total=0.1=0.2", "like wrong_total=0.01,*=0.05, got 'wrong_total=0.1=0.2'"),
        ("1e9999999", "like wrong_total=0.01,*=0.05, got '1e9999999'"),
        (Decimal("1e9999999"), "--max-rejected must be between 0 and 1, got '1E+9999999'"),
    ],
)
def test_limit_that_makes_no_sense_is_refused(most: Any, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        Settings.of(run_uri="run", max_rejected=most)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("warn", "words"),
    [
        (",", "--warn must be names of rules, like wrong_total,unknown_status, got ','"),
        (True, "got 'True'"),
        ([5], "got"),
    ],
)
def test_names_of_warnings_that_are_none_are_refused(warn: Any, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        Settings.of(run_uri="run", warn=warn)
    assert words in str(raised.value)


@pytest.mark.slow
def test_limits_and_warnings_are_read_from_the_environment_and_given_several_times(
    daskjobs: Command, orders_file: Callable[..., Path]
) -> None:
    path = orders_file(row(), row(total_amount="20.00"), row(), row(price="x"))
    given = ["run", "--input", str(path), "--dashboard", "127.0.0.1:0", "--workers", "1"]
    twice = ["--max-rejected", "wrong_total=0", "--max-rejected", "*=0.25"]
    done = daskjobs(*given, "--run", "a", *twice, DASKJOBS_WARN="wrong_total")
    assert done.returncode == 10
    assert "1 of 4 rows were warned of as wrong_total" in done.stderr
    done = daskjobs(*given, "--run", "b", DASKJOBS_MAX_REJECTED="wrong_total=0.25,*=0.3")
    assert done.returncode == 10
    assert "2 of 4 rows were rejected, and --max-rejected 0.3 allows 1: 1 too many" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_in_s3_has_the_same_bytes_of_warnings_and_of_what_was_sent(
    s3: str, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = orders_file(row(), row(total_amount="20.00"), row(status="lost"))
    asked: Any = {"warn": "wrong_total,unknown_status", "expect": "rows=3,ids=3,total_amount=62"}
    assert outcome(tmp_path / "run", path, 1.0, **asked) == "done"
    with inline.stages_inline():
        for name in inline.STAGES:
            run_stage(name, new_context(Settings.of(run_uri=f"{s3}/warned", input=str(path), **asked)))
    for name in ("report/quality.json", "merge/warned.csv", "merge/warned.parquet", "split/sent.json"):
        with fsspec.open(f"{s3}/warned/{name}") as file:
            assert file.read() == (tmp_path / "run" / name).read_bytes()
    assert explain(new_context(Settings.of(run_uri=f"{s3}/warned")), 2, "").warnings.keys() == {"wrong_total"}
