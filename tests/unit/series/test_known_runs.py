"""Runs of a series as people start them: two at once, stopped, done again, on S3."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import daskjobs
import inline
from conftest import Command, csv_text, row
from daskjobs.errors import ConfigError
from daskjobs.files.storage import Storage
from daskjobs.series.earlier import OvertakenError
from daskjobs.series.layout import EARLIER, LOCK_FOLDER, REPORT, SEEN_CSV
from daskjobs.series.runs import good_runs, name_of
from daskjobs.stages import STAGES, new_context, run_stage
from daskjobs.stages.run_settings import Settings

BYTES = (REPORT, "report/quality.json", SEEN_CSV, EARLIER, "merge/quarantine.csv", "validate/rules.json")


def orders(path: Path, *ids: int) -> str:
    path.write_bytes(csv_text(*(row(order_id=str(id)) for id in ids)))
    return str(path)


def counted(series: str) -> dict[str, int]:
    """The orders of each good run."""
    return {run.name: json.loads(run.read("report", REPORT))["orders"] for run in good_runs(series, STAGES)}


@pytest.mark.slow
def test_of_two_processes_at_once_the_first_to_commit_counts_and_the_other_counts_the_rest(
    tmp_path: Path, daskjobs: Command
) -> None:
    a, b = orders(tmp_path / "a.csv", *range(30)), orders(tmp_path / "b.csv", *range(20, 50))
    command = {
        name: ["--input", file, "--run", f"runs/{name}", "--known", "runs", "--dashboard", "127.0.0.1:0"]
        for name, file in (("a", a), ("b", b))
    }
    for each in command.values():  # both have looked before one of them has anything to be seen
        for stage, options in (("split", each[:-2]), ("validate", each), ("merge", each[2:4]), ("clean", each[2:4])):
            done = daskjobs(stage, *options)
            assert done.returncode == 0, done.stderr
    with ThreadPoolExecutor() as pool:
        ended = dict(zip(command, pool.map(lambda each: daskjobs("report", *each[2:4]), command.values()), strict=True))
    (won,) = [name for name, each in ended.items() if each.returncode == 0]
    (lost,) = ended.keys() - {won}
    assert ended[lost].returncode == ConfigError.exit_code
    assert f"runs/{won} was committed while this run worked" in ended[lost].stderr
    assert "run all stages again, from split" in ended[lost].stderr
    assert counted(str(tmp_path / "runs")) == {won: 30}
    again = daskjobs("run", *command[lost])
    assert again.returncode == 0, again.stderr
    assert counted(str(tmp_path / "runs")) == {won: 30, lost: 20}
    assert "known      1 earlier run, 10 rows seen before (10 the same again, 0 with other values)" in again.stdout


def test_a_report_that_is_committed_alone_after_it_was_overtaken_is_refused_until_all_stages_run_again(
    tmp_path: Path,
) -> None:
    file, runs = orders(tmp_path / "a.csv", 1, 2), tmp_path / "runs"
    context = new_context(Settings.of(run_uri=str(runs / "a"), input=file, known=str(runs), dashboard="127.0.0.1:0"))
    stages = [name for name in STAGES if name not in ("generate", "cleanup")]
    for name in stages[:-1]:
        run_stage(name, context)
    daskjobs.run_orders(input=orders(tmp_path / "b.csv", 2, 3), run=runs / "b", known=runs)
    with pytest.raises(OvertakenError, match=r"/b was committed while this run worked"):
        run_stage("report", new_context(context.settings))
    with pytest.raises(
        ConfigError, match=r"has no merge/manifest.json: run `daskjobs merge"
    ):  # as Argo's retry of the report alone would
        run_stage("report", new_context(context.settings))
    daskjobs.run_orders(input=file, run=runs / "a", known=runs)
    assert counted(str(runs)) == {"a": 1, "b": 2}


def test_a_run_that_is_done_again_has_the_same_bytes_whatever_came_after_it(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name, ids in (("a", range(30)), ("b", range(20, 50)), ("c", range(45, 60))):
        daskjobs.run_orders(input=orders(tmp_path / f"{name}.csv", *ids), run=runs / name, known=runs)
    before = {name: (runs / "b" / name).read_bytes() for name in BYTES}
    (runs / "b/report/report.html").unlink()
    (runs / "b/merge/quarantine.csv").write_text("torn")
    (runs / "b/validate/part-00001/paid.parquet").write_bytes(b"torn")
    daskjobs.run_orders(input=str(tmp_path / "b.csv"), run=runs / "b", known=runs)
    assert {name: (runs / "b" / name).read_bytes() for name in BYTES} == before
    assert counted(str(runs)) == {"a": 30, "b": 20, "c": 10}
    # c has looked at b as it is, so that it, too, stands.
    assert daskjobs.run_orders(input=str(tmp_path / "c.csv"), run=runs / "c", known=runs).orders == 10


def test_a_run_whose_earlier_one_is_gone_looks_anew_when_it_is_done_again(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name, ids in (("a", range(30)), ("b", range(20, 50))):
        daskjobs.run_orders(input=orders(tmp_path / f"{name}.csv", *ids), run=runs / name, known=runs)
    shutil.rmtree(runs / "a")
    (runs / "b/merge/manifest.json").unlink()
    given = {"run_uri": str(runs / "b"), "input": str(tmp_path / "b.csv"), "dashboard": "127.0.0.1:0"}
    (runs / "b/validate/rules.json").unlink()
    with pytest.raises(ConfigError, match=r"/a is gone since this run looked at it: run all stages again, from split"):
        run_stage("validate", new_context(Settings.of(**given)))
    assert daskjobs.run_orders(input=str(tmp_path / "b.csv"), run=runs / "b", known=runs).orders == 30


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_with_the_same_bytes(tmp_path: Path, daskjobs: Command) -> None:
    runs = tmp_path / "runs"
    a, b = orders(tmp_path / "a.csv", *range(3000)), orders(tmp_path / "b.csv", *range(2000, 5000))
    assert daskjobs("run", "--input", a, "--run", "runs/a", "--known", "runs").returncode == 0
    whole = ["--input", b, "--run", "runs/b", "--known", "runs", "--again", "newest"]
    assert daskjobs("run", *whole).returncode == 0
    names = (*BYTES, "merge/corrections.csv", "merge/corrections.parquet")
    before = {name: (runs / "b" / name).read_bytes() for name in names}
    shutil.rmtree(runs / "b")
    for seconds in (0.8, 1.1, 1.4, 1.7):
        process = subprocess.Popen(
            [sys.executable, "-m", "daskjobs", "run", *whole], cwd=tmp_path, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert daskjobs("run", *whole).returncode == 0
    assert {name: (runs / "b" / name).read_bytes() for name in names} == before
    assert not [*(runs / "b/validate").glob("*.pieces"), *(runs / "b/validate").glob("*.bits")]


RULE = "def dear(orders):\n    return orders['total_cents'] > 3000\n"


@pytest.mark.parametrize(
    "other",
    [
        {"warn": "wrong_total"},
        {"rules": "rule.py"},
        {"statuses": "success=failed"},
        {"partitions": 2},
        {"expect": "rows=3"},
    ],
)
def test_a_past_night_that_is_made_again_with_other_options_looks_anew_at_once(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    (tmp_path / "rule.py").write_text(RULE)
    rows = [
        row(order_id="1"),
        row(order_id="2", status="failed", quantity="3", total_amount="31.50"),
        row(order_id="3", total_amount="1.00"),
    ]
    (tmp_path / "a.csv").write_bytes(csv_text(*rows))
    (tmp_path / "b.csv").write_bytes(csv_text(*rows, row(order_id="4")))
    more = {name: str(tmp_path / value) if name == "rules" else value for name, value in other.items()}

    def night(name: str, **options: Any) -> None:
        given = {"known": str(tmp_path / "runs"), "as_of": f"2026-11-0{'ab'.index(name) + 1}"}
        inline.run(tmp_path / "runs" / name, str(tmp_path / f"{name}.csv"), **{"partitions": 1, **given, **options})

    night("a")
    night("b")
    before = (tmp_path / "runs/a" / EARLIER).read_bytes()
    night("a")
    assert (tmp_path / "runs/a" / EARLIER).read_bytes() == before  # the same run again looks at the same ones
    night("a", **more)
    known = json.loads((tmp_path / "runs/a" / EARLIER).read_text())["known"]
    assert [name_of(each["run"]) for each in known] == ["b"]
    night("b")
    night("a", **more)
    paid = {order_id for path in tmp_path.glob("runs/*/validate/part-*/*paid.parquet") for order_id in ids_in(path)}
    assert paid >= {"1", "4"}
    assert sum(len(ids_in(path)) for path in tmp_path.glob("runs/*/validate/part-*/*paid.parquet")) == len(paid)


def ids_in(path: Path) -> list[str]:
    return list(pq.read_table(path, columns=["order_id"])["order_id"].to_pylist())


def test_a_night_that_failed_before_another_one_was_committed_ends_right_when_it_is_run_again(tmp_path: Path) -> None:
    a = tmp_path / "a.csv"
    a.write_bytes(csv_text(row(order_id="1"), row(order_id="2", total_amount="1.00")))
    b, runs = orders(tmp_path / "b.csv", 1, 4), str(tmp_path / "runs")
    inline.run(tmp_path / "runs/a", str(a), known=runs, max_rejected=0)
    assert not (tmp_path / "runs/a" / REPORT).exists()
    inline.run(tmp_path / "runs/b", b, known=runs)
    inline.run(tmp_path / "runs/a", str(a), known=runs, max_rejected=0.5)
    assert counted(runs) == {"a": 0, "b": 2}


@pytest.mark.slow
def test_series_and_runs_in_an_object_store_count_each_order_once(s3: str, tmp_path: Path) -> None:
    series = f"{s3}/known"
    a, b = orders(tmp_path / "a.csv", *range(30)), orders(tmp_path / "b.csv", *range(20, 50))
    daskjobs.run_orders(input=a, run=f"{series}/a", known=series)
    context = new_context(Settings.of(run_uri=f"{series}/b", input=b, known=series, dashboard="127.0.0.1:0"))
    stages = [name for name in STAGES if name not in ("generate", "cleanup")]
    for name in stages[:-1]:
        run_stage(name, context)
    third = daskjobs.run_orders(input=b, run=f"{series}/c", known=series, again="newest")
    assert (third.orders, third.revenue) == (20, Decimal("420.00"))
    with pytest.raises(OvertakenError, match=r"s3://orders/known/c was committed while this run worked"):
        run_stage("report", new_context(context.settings))
    assert daskjobs.run_orders(input=b, run=f"{series}/b", known=series).orders == 0
    assert counted(series) == {"a": 30, "b": 0, "c": 20}
    assert LOCK_FOLDER in Storage(series).folders()
    # A run on this machine looks at a series elsewhere.
    assert daskjobs.run_orders(input=b, run=tmp_path / "here", known=series).orders == 0
