"""The pipeline from Python: the same numbers and files as from the command line, and nothing of its process changed."""

import copy
import io
import logging
import multiprocessing
import pickle
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args, get_type_hints
from urllib.parse import urlparse

import cloudpickle
import dask.dataframe
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import daskjobs
from conftest import RESULTS, Command, csv_text, row
from daskjobs import run_orders
from daskjobs.cluster.public import ClusterKeywords
from daskjobs.errors import ConfigError, InputError, UsageError
from daskjobs.options import options
from daskjobs.stages.given import AnyPath
from daskjobs.stages.run_orders import Options
from daskjobs.stages.run_settings import Settings

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


def test_explain_says_what_a_row_and_a_source_must_be(tmp_path: Path) -> None:
    result = daskjobs.run_orders(orders_of(tmp_path), run=tmp_path / "run", **HERE)
    for number in ("3", None, 3.0, True):
        with pytest.raises(UsageError, match=r"row must be the number of a row in its file, like 7, got"):
            result.explain(number)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"source must be a file's name, or the end of it, got 7"):
        result.explain(3, 7)  # type: ignore[arg-type]


def test_result_has_the_reports_numbers_the_rejected_rows_and_what_became_of_each(tmp_path: Path) -> None:
    result = daskjobs.run_orders(orders_of(tmp_path), run=tmp_path / "run", rules=[bulk], **HERE)
    assert (result.orders, result.revenue) == (1, Decimal("21.00"))
    assert str(result.revenue) == "21.00"
    account = dict(rows_in=4, valid=2, rejected=2, furniture=0, paid=1, unpaid=1)
    said = {**account, "revenue": "21.00", "orders": None, "gross": "", "refunds": ""}
    assert vars(result.rows) | said == vars(result.rows)
    assert list(result.rejected.columns) == ["row", "source", "reasons", "raw"]
    assert [list(reasons) for reasons in result.rejected["reasons"]] == [["unreadable_price"], ["bulk"]]
    assert list(result.rejected["row"]) == [2, 3]
    assert result.rejected.explode("reasons").groupby("reasons").size().to_dict() == {"bulk": 1, "unreadable_price": 1}
    assert result.explain(3).reasons == {"bulk": "The order is of more than 100 pieces."}
    assert result.explain(4, "mine.csv").status == "failed"
    assert result.explain(4, Path("mine.csv")).status == "failed"
    assert result.explain(np.int64(4)).status == "failed"
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
    with pytest.raises(InputError, match="1 of 4 rows were rejected, and --max-rejected 0.1 allows 0: 1 too many"):
        daskjobs.run_orders(orders_of(tmp_path), run=tmp_path / "other", max_rejected=0.1, **HERE)
    assert (tmp_path / "other/cleanup/receipt.json").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rows": -1}, "--rows must be between 0 and"),
        ({"rows": "many"}, "--rows must be a whole number, got 'many'"),
        ({"rows": 1.5}, "--rows must be a whole number, got 1.5"),
        ({"rows": True}, "--rows must be a whole number, got True"),
        ({"rows": np.float64(5)}, "--rows must be a whole number, got 5.0"),
        ({"rows": Decimal("sNaN")}, "--rows must be a whole number, got 'sNaN'"),
        ({"max_rejected": False}, "--max-rejected must be a number, got False"),
        ({"max_rejected": Decimal("1.01")}, "--max-rejected must be between 0 and 1, got '1.01'"),
        ({"keep_cluster": 1}, "--keep-cluster must be True or False, got 1"),
        ({"max_rejected": [None]}, "--max-rejected must be a number, got 'None'"),
        ({"keep_cluster": "no"}, "--keep-cluster must be True or False, got 'no'"),
        ({"input": "a.csv", "columns": 7}, "--columns must be pairs like price=unit_price"),
        ({"columns": ""}, "--columns is empty: give it a value, or leave it out for the default"),
        ({"worker_memory": ""}, "--worker-memory is empty"),
        ({"rules": ""}, "--rules is empty"),
        ({"run": ""}, "--run is empty"),
        ({"run": "ftp://host/run"}, "--run must be a path, or a URI"),
        ({"run": 5}, "--run must be a text, got 5"),
        ({"delimeter": ";"}, "run_orders has no option delimeter: did you mean delimiter=';'?"),
        (
            {"cluster": "tcp://me:secret@host:1"},
            "run_orders has no option cluster: did you mean backend='tcp://host:1'?",
        ),
        ({"cluster": daskjobs.ClusterSettings()}, "run_orders has no option cluster: did you mean backend="),
        ({"max-rejected": 0.5}, "did you mean max_rejected=0.5?"),
        ({"output": "report"}, "run_orders has no option output: it has rows, seed, ignore_table"),
        ({"input": "a.csv", "rows": 5}, "--rows is for generated orders, and --input names your own"),
        ({"input": "a.csv", "seed": 5}, "--seed is for generated orders, and --input names your own"),
        ({"rows": 5, "columns": "price=cost"}, "--columns says how your orders are written: name these by --input"),
        ({}, r"run_orders needs orders: give their path, run_orders('orders.csv'), or say how many to generate"),
        ({"seed": 5}, "run_orders needs orders"),
        ({"rows": None}, "run_orders needs orders"),
        ({"input": None}, "run_orders needs orders"),
        ({"input": ""}, "--input is empty: give it a value"),
        ({"input": ["a.csv", ""]}, "--input is empty: give it a value"),
        ({"input": []}, "input is an empty list: give at least one path, URI or glob"),
        ({"input": iter([])}, "input is an empty list_iterator"),
        ({"input": {"b.csv", "a.csv"}}, "got set, which has no order, and the first of two equal ids counts: sort it"),
        ({"input": {"order_id": ["A1"]}}, "got dict: if it has columns, make a pandas.DataFrame of it"),
        (
            {"input": 5},
            "input must be a path, a URI or a glob, a list of these, or a table like a pandas DataFrame, got",
        ),
        ({"input": b"a.csv"}, "got bytes: give a path as a text"),
        ({"input": [["a.csv"]]}, "got list in a list: give the paths of files alone"),
        ({"input": [pd.DataFrame()]}, "got DataFrame in a list"),
        ({"input": io.StringIO("order_id")}, "got StringIO: give its path, or read it yourself: pandas.read_csv"),
        ({"input": urlparse("https://host/a.csv")}, "got ParseResult: give its text: url.geturl()"),
        (
            {"input": dask.dataframe.from_dict({"a": [1]}, npartitions=1)},
            "give the DataFrame that its compute() returns",
        ),
        ({"input": pd.DataFrame({"price": [1, "1"]})}, "given as input is no table with one type in each column"),
        ({"input": pa.chunked_array([[1]])}, "the ChunkedArray given as input is no table"),
        (
            {"input": pd.DataFrame([["1", "2", "3"]], columns=["price", "price", "region"])},
            "the DataFrame given as input has the column price more than once; give each column a name of its own",
        ),
        ({"input": pa.table({"price": pa.array([Decimal(10)], pa.decimal128(5, -1))})}, "can't be written as Parquet"),
        ({"input": pa.table({"price": pa.array([pa.MonthDayNano([1, 2, 3])])})}, "can't be written as Parquet"),
        ({"input": "a.csv", "columns": "price=a,price=b"}, "--columns must be pairs like"),
        ({"input": "a.csv", "statuses": "success=paid,failed=paid"}, "--statuses must be pairs like"),
        ({"input": "a.csv", "delimiter": ";;"}, "--delimiter must be one character"),
        ({"input": "a.csv", "encoding": "klingon"}, "--encoding must be a text encoding"),
        ({"input": ["a.csv", "./a.csv"]}, "a.csv twice: give each file once"),
    ],
)
def test_setting_of_no_sense_is_a_usage_error(
    given: dict[str, object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=re.escape(words)):
        daskjobs.run_orders(**given)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_unknown_or_empty_setting_of_a_cluster_is_a_usage_error() -> None:
    for given, words in [
        ({"worker": 5}, "dask_cluster has no option worker: did you mean workers=5?"),
        ({"cluster": "local"}, "dask_cluster has no option cluster: did you mean backend='local'?"),
        ({"namespace": ""}, "--namespace is empty"),
    ]:
        with pytest.raises(UsageError, match=re.escape(words)), daskjobs.dask_cluster(**given):  # type: ignore[arg-type]
            pass


def test_numbers_of_other_libraries_become_pythons_and_an_option_that_is_none_is_left_out(tmp_path: Path) -> None:
    given: dict[str, Any] = {"rows": np.int64(3), "max_rejected": Decimal("0.5"), "ignore_table": np.bool_(False)}
    settings = Settings.of(run_uri=tmp_path / "run", rules=Path("mine.py"), **given)
    values = settings.rows, settings.max_rejected, settings.ignore_table
    assert [(value, type(value)) for value in values] == [(3, int), (0.5, float), (False, bool)]
    assert (settings.run_uri, settings.rules) == (str(tmp_path / "run"), str(Path("mine.py").absolute()))
    assert type(Settings("run", max_rejected=Fraction(1)).max_rejected) is float  # type: ignore[arg-type]
    for bad in (5, None, [5]):
        with pytest.raises(UsageError, match="--input must be a text, got"):
            Settings("run", input=bad)  # type: ignore[arg-type]
    none: dict[str, Any] = dict.fromkeys(["columns", "seed", "workers"])
    result = daskjobs.run_orders(rows=10, run=tmp_path / "run", **{**HERE, **none, "workers": 1})
    assert result.rows.rows_in == 10


def test_rows_of_several_files_are_explained_when_their_names_are_no_text(tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "\udce9.csv"]
    for path in paths:
        path.write_bytes(csv_text(row()))
    result = daskjobs.run_orders(paths, run=tmp_path / "run", **HERE)
    assert result.explain(1, "a.csv").status == result.explain(1, r"\xe9.csv").status == "success"


def test_several_paths_and_globs_are_read_in_their_order_and_each_file_once(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.csv").write_bytes(csv_text(row(order_id="A1", product=name)))
    given: Any = (path for path in [tmp_path / "c.csv", f"file://{tmp_path}/[ab].csv", str(tmp_path / "*.csv")])
    result = daskjobs.run_orders(given, run=tmp_path / "run", **HERE)
    assert result.rows.rows_in == 3
    assert result.explain(1, "c.csv").status == "success"
    assert [source[-5:] for source in result.rejected["source"]] == ["a.csv", "b.csv"]
    again = daskjobs.run_orders([tmp_path / "b.csv", tmp_path / "c.csv"], run=tmp_path / "run", **HERE)
    assert again.rejected["source"][0].endswith("c.csv")
    again = daskjobs.run_orders([tmp_path / "c.csv", tmp_path / "b.csv"], run=tmp_path / "run", **HERE)
    assert again.rejected["source"][0].endswith("b.csv")
    with pytest.raises(UsageError, match="--input names .*a.csv twice: give each file once"):
        daskjobs.run_orders([tmp_path / "a.csv", f"{tmp_path}/./a.csv"], run=tmp_path / "run", **HERE)


FRAME = pd.DataFrame(
    {
        "order_id": ["A1", "A2", "A3", "A4"],
        "user_id": "U1",
        "region": pd.Categorical(["north", "south", "north", "south"]),
        "product": "lamp",
        "quantity": [2, 2, 200, 2],
        "price": [10.5, -10.5, 10.5, 10.5],
        "total_amount": [21.0, -21.0, 2100.0, 21.004],
        "payment_mode": "card",
        "status": "success",
        "timestamp": pd.Timestamp("2025-03-01 12:00:00"),
    },
    index=list("wxyz"),
)


def test_table_is_judged_like_a_parquet_file_of_it_and_is_a_file_of_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    FRAME.to_parquet(tmp_path / "frame.parquet", index=False)
    expected = daskjobs.run_orders(tmp_path / "frame.parquet", run=tmp_path / "file", **HERE)
    result = daskjobs.run_orders(FRAME, run=tmp_path / "run", **HERE)
    assert (result.orders, result.revenue, result.rows) == (expected.orders, expected.revenue, expected.rows)
    shown = ["row", "reasons", "raw"]
    assert result.rejected[shown].to_dict() == expected.rejected[shown].to_dict()
    assert list(result.rejected["row"]) == [2, 4]
    assert result.explain(3).source == f"file://{tmp_path}/run/input/orders.parquet"
    caplog.clear()  # another test in this process may have asked for events
    with caplog.at_level(logging.INFO, "daskjobs"):
        again = daskjobs.run_orders(pa.Table.from_pandas(FRAME, preserve_index=False), run=tmp_path / "run", **HERE)
    assert again == result
    assert "stage.started" not in caplog.text
    fewer = daskjobs.run_orders(FRAME[:1], run=tmp_path / "run", **HERE)
    assert (fewer.rows.rows_in, fewer.revenue) == (1, Decimal("21.00"))
    table = tmp_path / "run/input/orders.parquet"
    (tmp_path / "link.parquet").symlink_to(table)
    linked = daskjobs.run_orders(tmp_path / "link.parquet", run=tmp_path / "run", **HERE)
    assert (linked.revenue, table.exists()) == (Decimal("21.00"), True)
    daskjobs.run_orders(tmp_path / "frame.parquet", run=tmp_path / "run", **HERE)
    assert not table.exists()


def test_table_that_is_not_orders_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no column region"):
        daskjobs.run_orders(FRAME.set_index("region"), run=tmp_path / "run", **HERE)


def run_elsewhere(path: Path, run: Path) -> daskjobs.OrdersResult:
    return daskjobs.run_orders(path, run=run, **HERE)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> daskjobs.OrdersResult:
    """A result that came back from another process."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run_elsewhere, orders_of(folder), folder / "run").result(timeout=100)


@pytest.mark.slow
def test_result_of_another_process_has_its_numbers_and_finds_its_rows(result: daskjobs.OrdersResult) -> None:
    assert (result.orders, result.revenue) == (2, Decimal("2121.00"))
    assert list(result.rejected["row"]) == [2]
    assert result.explain(4).status == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r)), lambda r: pickle.loads(cloudpickle.dumps(r))],
)
def test_copy_of_a_result_is_the_same_without_the_rows_in_memory(result: daskjobs.OrdersResult, copied: Any) -> None:
    assert len(result.rejected) == 1
    other = copied(result)
    assert other == result
    assert "rejected" not in vars(other)
    assert other.rejected.equals(result.rejected)
    assert other.explain(2).reasons == result.explain(2).reasons


def test_settings_are_shown_without_passwords_and_tokens() -> None:
    settings = Settings(
        "run", input=["https://me:secret@host/a.csv?token=secret", "b.csv"], rules="s3://me:secret@b/r.py"
    )
    assert "secret" not in repr(settings)
    assert "https://host/a.csv" in repr(settings)
    assert "b.csv" in repr(settings)


def test_rule_that_can_not_be_written_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got a lambda"):
        daskjobs.run_orders(run=tmp_path / "run", rules=[lambda orders: orders["quantity"] > 1], **HERE)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["warn", "max_rejected", "expect", "columns", "statuses", "max_drift"])
@pytest.mark.parametrize("value", [np.array(["a", "b"]), np.array([]), pd.Series(["a", "b"]), pd.NA])
def test_array_as_an_option_is_refused_with_a_sentence(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} must"):
        daskjobs.run_orders(run=tmp_path / "run", **{name: value}, **HERE)
    assert not (tmp_path / "run").exists()


def test_run_without_input_and_folder_generates_orders_below_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = daskjobs.run_orders(rows=100, **HERE)
    assert result.rows.rows_in == 100
    assert Path(result.run_uri).parent == tmp_path / "runs"


def test_options_are_those_of_the_command_line() -> None:
    expected = {each.name: AnyPath if option.path else type(each.default) for each, option in options(Settings)}
    named = {"run_uri", "input", "rules", "as_of"}  # arguments of their own
    of_run = {name: kind for name, kind in expected.items() if name not in named}
    hints = get_type_hints(Options)
    more = {each.name: hints[each.name] for each, option in options(Settings) if option.python}
    assert hints == of_run | get_type_hints(ClusterKeywords) | more
    assert all(of_run[name] in get_args(kind) for name, kind in more.items())


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
