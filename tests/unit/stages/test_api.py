"""The pipeline from Python: the same numbers and files as from the command line, and nothing of its process changed."""

import logging
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import get_type_hints

import pandas as pd
import pytest

import daskjobs
from conftest import RESULTS, Command, csv_text, row
from daskjobs import run_orders
from daskjobs.cli import options
from daskjobs.errors import ConfigError, InputError, UsageError
from daskjobs.stages.api import Options

HERE = {"dashboard": "127.0.0.1:0", "workers": 1, "partitions": 1}
BAD = dict(quantity="200", total_amount="2100.00")


@daskjobs.rule("The order is of more than 100 pieces.")
def bulk(orders: pd.DataFrame) -> pd.Series:
    return orders["quantity"] > 100


def orders_of(folder: Path) -> Path:
    rows = [
        row(order_id="A1"),
        row(order_id="A2", price="x"),
        row(order_id="A3", **BAD),
        row(order_id="A4", status="failed"),
    ]
    (folder / "mine.csv").write_bytes(csv_text(*rows))
    return folder / "mine.csv"


def test_result_has_the_reports_numbers_the_rejected_rows_and_what_became_of_each(tmp_path: Path) -> None:
    result = daskjobs.run_orders(orders_of(tmp_path), run=tmp_path / "run", rules=[bulk], **HERE)
    assert (result.orders, result.revenue) == (1, Decimal("21.00"))
    assert str(result.revenue) == "21.00"
    assert vars(result.rows) == {**dict(rows_in=4, valid=2, quarantined=2, clean=1, unpaid=1), "revenue": "21.00"}
    assert list(result.rejected.columns) == ["row", "source", "reasons", "raw"]
    assert [list(reasons) for reasons in result.rejected["reasons"]] == [["unreadable_price"], ["bulk"]]
    assert list(result.rejected["row"]) == [2, 3]
    assert result.rejected.explode("reasons").groupby("reasons").size().to_dict() == {"bulk": 1, "unreadable_price": 1}
    assert result.explain(3).reasons == {"bulk": "The order is of more than 100 pieces."}
    assert result.explain(4, "mine.csv").status == "failed"
    assert Path(result.report) == tmp_path / "run/report/report.html"
    assert "<html" in Path(result.report).read_text()
    assert result.run_uri == str(tmp_path / "run")


@pytest.mark.slow
def test_functions_and_a_file_of_rules_and_the_command_line_give_the_same_bytes(
    tmp_path: Path, daskjobs: Command
) -> None:
    path = orders_of(tmp_path)
    run_orders(path, run=tmp_path / "functions", rules=bulk, **HERE)
    (tmp_path / "mine.py").write_text(
        "import daskjobs\n@daskjobs.rule('The order is of more than 100 pieces.')\n"
        "def bulk(orders):\n    return orders['quantity'] > 100\n"
    )
    run_orders(str(path), run=tmp_path / "file", rules=tmp_path / "mine.py", **HERE)
    given = ["--run", "command", "--input", "mine.csv", "--rules", "mine.py", "--dashboard", "127.0.0.1:0"]
    assert daskjobs("run", *given).returncode == 0
    for name in RESULTS:
        files = [(tmp_path / run / name).read_bytes() for run in ("functions", "file", "command")]
        assert len(set(files)) == 1, name


@pytest.mark.slow
def test_rules_are_an_input_of_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, limit = orders_of(tmp_path), 100

    def large(orders: pd.DataFrame) -> pd.Series:
        """The order is large."""
        return orders["quantity"] > limit

    def run() -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.INFO, "daskjobs"):
            daskjobs.run_orders(path, run=tmp_path / "run", rules=[large], **HERE)
        return [line.split()[2] for line in caplog.messages if line.startswith("stage.started")]

    assert run() == [f"stage={name}" for name in ("split", "validate", "merge", "clean", "report")]
    assert run() == []
    limit = 300
    assert run() == [f"stage={name}" for name in ("validate", "merge", "clean", "report")]


def test_input_that_is_not_orders_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="its first row has none of these names"):
        daskjobs.run_orders(tmp_path / "bad.csv", run=tmp_path / "run", **HERE)
    with pytest.raises(InputError, match="1 of 4 rows were rejected, more than --max-rejected 0.1 allows"):
        daskjobs.run_orders(orders_of(tmp_path), run=tmp_path / "other", max_rejected=0.1, **HERE)
    assert (tmp_path / "other/cleanup/receipt.json").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rows": -1}, "--rows must be between 0 and"),
        ({"rows": "many"}, "--rows must be a whole number, got 'many'"),
        ({"rows": 1.5}, "--rows must be a whole number, got 1.5"),
        ({"max_rejected": "1"}, "--max-rejected must be a number, got '1'"),
        ({"keep_cluster": "no"}, "--keep-cluster must be True or False, got 'no'"),
        ({"columns": {"price": "cost"}}, "--columns must be a text, got"),
        ({"run": "ftp://host/run"}, "--run must be a path, or a URI"),
    ],
)
def test_setting_of_no_sense_is_a_usage_error(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        daskjobs.run_orders(**given)  # type: ignore[arg-type]


def test_unknown_setting_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="rowz"):
        daskjobs.run_orders(rowz=1)  # type: ignore[call-arg]


def test_rule_that_can_not_be_written_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got a lambda"):
        daskjobs.run_orders(run=tmp_path / "run", rules=[lambda orders: orders["quantity"] > 1], **HERE)
    assert not (tmp_path / "run").exists()


def test_run_without_input_and_folder_generates_orders_below_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = daskjobs.run_orders(rows=100, **HERE)
    assert result.rows.rows_in == 100
    assert Path(result.run_uri).parent == tmp_path / "runs"


def test_options_are_those_of_the_command_line() -> None:
    expected = {each.name: type(each.default) for each, _ in options.FIELDS}
    named = {"run_uri", "input", "rules"}  # arguments of their own
    assert get_type_hints(Options) == {name: kind for name, kind in expected.items() if name not in named} | {
        "key": str
    }


SCRIPT = """
import logging, os, signal, sys, warnings
def state():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    names = ("", "daskjobs", "distributed", "distributed.client", "asyncio")
    loggers = [(name, logging.getLogger(name).level, logging.getLogger(name).handlers[:]) for name in names]
    environment = {name: value for name, value in os.environ.items() if name != "__DASK_PARENT_PID"}
    return handlers, loggers, environment, sys.stdout, list(sys.path)
import distributed
before = state()
import daskjobs

@daskjobs.rule("The order is of more than 100 pieces.")
def bulk(orders):
    return orders["quantity"] > 100

result = daskjobs.run_orders("mine.csv", run="run", rules=[bulk], dashboard="127.0.0.1:0", workers=2)
print(result.orders, len(result.rejected))
assert state() == before, (state(), before)
"""


@pytest.mark.slow
def test_script_needs_no_main_guard_and_its_process_is_as_before(tmp_path: Path) -> None:
    orders_of(tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "1 2\n"), done.stderr
    assert done.stderr == ""
