import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from conftest import Command, Pipeline, csv_text, row
from daskjobs.cli import main as cli
from daskjobs.errors import UsageError
from daskjobs.orders.rules.builtin import SENTENCES
from daskjobs.stages import new_context
from daskjobs.stages.explain import explain, rejected_for
from daskjobs.stages.run_settings import Settings

STAGES = ("split", "validate", "merge", "clean", "report")


@pytest.mark.slow
def test_row_is_explained_by_its_reasons_partition_and_text(
    pipeline: Pipeline, orders_file: Callable[..., Path], daskjobs: Command
) -> None:
    rows = [row(), row(price="-1.00", status="lost"), row(status="failed"), row()]
    pipeline("split", "validate", input=str(orders_file(*rows)), partitions=4)
    shown = [daskjobs("explain", "--run", "run", "--row", str(number)).stdout for number in (1, 2, 3)]
    assert shown[0].splitlines()[0].startswith("row        1 of file://")
    assert shown[0].splitlines()[1:] == [
        "partition  0",
        "valid      it passes every rule, and paid",
        f"text       {rows[0]}",
    ]
    assert shown[1].splitlines()[1:] == [
        "partition  1",
        "rejected   negative_price: The price is below zero.",
        "rejected   wrong_total: The total_amount is not quantity times price, to the cent.",
        f"rejected   unknown_status: {SENTENCES['unknown_status']}",
        f"text       {rows[1]}",
    ]
    assert "passes every rule, and unpaid: its status is failed" in shown[2]


@pytest.mark.parametrize(
    ("number", "source", "words"),
    [
        (3, "a.csv", "--row must be one of the rows 1 to 2 of .*a.csv, got 3"),
        (1, "", "--source must be .*a.csv, .*b.csv.*got nothing, which fits 2 of them"),
    ],
)
def test_explain_says_what_there_is_when_a_row_or_file_is_not(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path, number: int, source: str, words: str
) -> None:
    for name in ("a.csv", "b.csv"):
        orders_file(row(), row(), name=name)
    pipeline("split", "validate", input=str(tmp_path / "*.csv"))
    with pytest.raises(UsageError, match=words):
        explain(new_context(Settings.of(run_uri=str(tmp_path / "run"))), number, source)
    assert explain(new_context(Settings.of(run_uri=str(tmp_path / "run"))), 2, "b.csv").source.endswith("/b.csv")


def test_rejected_rows_are_an_input_when_they_are_mended(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    header = "order_id;user_id;region;product;quantity;cost;total_amount;payment_mode;status;timestamp"
    lines = [row(product='"a\nb"', price=price).replace(",", ";") for price in ("10.50", "10.5O", "-10.50")]
    (tmp_path / "mine.csv").write_bytes(csv_text(*lines, header=header))
    options = {"columns": "price=cost", "partitions": 2}
    first = pipeline(*STAGES, input=str(tmp_path / "mine.csv"), **options)["report"].rows
    assert (first["paid"], first["rejected"]) == (1, 2)
    rejected = tmp_path / "run/merge/rejected-00000.csv"
    assert rejected.read_text() == "\n".join([header, *lines[1:]]) + "\n"
    mended = tmp_path / "mended.csv"
    mended.write_text(rejected.read_text().replace("10.5O", "10.50").replace("-10", "10"))
    second = pipeline(*STAGES, where="second", input=str(mended), **options)["report"].rows
    assert (second["paid"], second["rejected"], second["revenue"]) == (2, 0, "42.00")


@pytest.mark.slow
@pytest.mark.parametrize(("most", "code"), [("0.49", 10), ("0.5", 0)])
def test_run_fails_after_the_account_when_more_rows_than_allowed_are_rejected(
    daskjobs: Command, orders_file: Callable[..., Path], tmp_path: Path, most: str, code: int
) -> None:
    path = orders_file(row(), row(price="x"))
    arguments = ["run", "--run", "mine", "--input", str(path), "--dashboard", "127.0.0.1:0"]
    daskjobs(*arguments)
    done = daskjobs(*arguments, "--max-rejected", most)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    report = tmp_path / "mine/report"
    assert json.loads((report / "quality.json").read_text())["rows"]["rejected"] == 1
    assert ("This run has failed" in (report / "report.html").read_text()) == (code != 0)
    assert (report / "analytics_report.json").exists() == (code == 0)
    if code:
        assert "1 of 2 rows were rejected, and --max-rejected 0.49 allows 0: 1 too many" in done.stderr


def test_row_is_explained_with_our_status_when_theirs_is_mapped_and_kept_as_it_stood(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = orders_file(row(status="canceled"), row(status="paid"), row(status="Paid"))
    options = {"input": str(path), "statuses": "success=paid,cancelled=canceled"}
    assert pipeline(*STAGES, **options)["validate"].rows == {"in": 3, "valid": 2, "rejected": 1}
    run = new_context(Settings.of(run_uri=str(tmp_path / "run")))
    assert [explain(run, number, "").verdict[0].split("status is ")[-1] for number in (1, 2)] == [
        "cancelled",
        "valid      it passes every rule, and paid",
    ]
    assert ",Paid," in explain(run, 3, "").raw
    again = pipeline(*STAGES, **{**options, "statuses": "success=paid,success=Paid,cancelled=canceled"})
    assert (again["split"].skipped, again["validate"].rows["rejected"]) == (True, 0)


def test_rows_with_a_reason_are_the_first_ones_of_the_quarantine_and_all_are_counted(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    for name, prices in (("a.csv", ["-1", "10.50", "x", "-2"]), ("b.csv", ["10.50", "-3", "-4", "10.50"])):
        orders_file(*(row(price=price) for price in prices), name=name)
    pipeline("split", "validate", "merge", input=str(tmp_path / "*.csv"), partitions=3)
    context = new_context(Settings.of(run_uri=str(tmp_path / "run")))
    with (tmp_path / "run/merge/quarantine.csv").open(newline="") as file:
        lines = [each for each in csv.DictReader(file) if "negative_price" in each["reasons"].split(";")]
    assert len(lines) == 4
    for most in (1, 3, 4, 100):
        found = rejected_for(context, "negative_price", most)
        assert (found.rows, found.sentence) == (4, SENTENCES["negative_price"])
        assert [(str(each.row), each.source, ";".join(each.reasons), each.raw) for each in found.first] == [
            (each["row"], each["source"], each["reasons"], each["raw"]) for each in lines[:most]
        ]
    assert rejected_for(context, "unknown_status", 5).rows == 0
    with pytest.raises(UsageError, match=r"--reason wrong_totl is no reason of this run: did you mean wrong_total\? "):
        rejected_for(context, "wrong_totl", 5)
    with pytest.raises(UsageError, match=r"zzz is no reason of this run: its reasons are wrong_number_of_fields, "):
        rejected_for(context, "zzz", 5)


def test_list_of_rows_names_each_file_once_and_cuts_long_and_hostile_texts(
    daskjobs: Command, pipeline: Pipeline, orders_file: Callable[..., Path]
) -> None:
    hostile = row(price="-1", region="\x1b[2J\u202e" + "z" * 3000, status="lost")
    pipeline("split", "validate", input=str(orders_file(row(price="-1", total_amount="-2"), row(), hostile)))
    told = daskjobs("explain", "--run", "run", "--reason", "negative_price")
    assert told.returncode == 0
    lines = told.stdout.splitlines()
    assert lines[0] == f"reason     negative_price: {SENTENCES['negative_price']}"
    assert lines[1] == "rejected   2 rows"
    assert lines[2].startswith("file       file:///")
    assert [each[:11] for each in lines[3:]] == ["1          ", "3          ", "           "]
    assert r"\x1b[2J\u202ezzz" in lines[4]
    assert len(lines[4]) == 11 + 1000
    assert lines[4].endswith("z…")
    assert lines[5] == "           also wrong_total, unknown_status"
    told = daskjobs("explain", "--run", "run", "--reason", "negative_price", "--most", "1")
    assert told.stdout.splitlines()[1] == "rejected   2 rows, of which these are the first 1"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "an order (--id): give one of these, got none"),
        (["--row", "1", "--id", "x", "--run", "r"], "give one of these, got --row and --id"),
        (["--row", "1", "--reason", "x", "--run", "r"], "give one of these, got --row and --reason"),
        (["--row", "1"], "--row needs --run: where the files are"),
        (["--reason", "x"], "--reason needs --run: where the files are"),
        (["--id", "x"], "--id needs --run or --series: where the files are"),
        (
            ["--id", "x", "--run", "r", "--series", "s"],
            "--id needs --run or --series, not both: one run, or a folder of",
        ),
        (["--row", "1", "--run", "r", "--series", "s"], "--series means nothing with --row: leave it out"),
        (["--row", "1", "--run", "r", "--most", "2"], "--most means nothing with --row: leave it out"),
        (["--reason", "x", "--run", "r", "--source", "s"], "--source means nothing with --reason: leave it out"),
        (["--id", "x", "--run", "r", "--input", "s"], "--input means nothing with --id: leave it out"),
    ],
)
def test_options_of_explain_exclude_one_another_with_a_sentence(given: list[str], said: str) -> None:
    error = CliRunner().invoke(cli.main, ["explain", *given]).exception
    assert isinstance(error, UsageError)
    assert said in str(error)
