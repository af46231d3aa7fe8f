"""Runs that are held against what the sender says: the oracle reads the same files with csv and decimal."""

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import inline
from conftest import Command, Pipeline, csv_text, row
from daskjobs.errors import InputError, UsageError
from daskjobs.orders.sources import inputs
from daskjobs.pipeline.context import AccountedError

LINES = "order_id,user_id,region,product,quantity,price,total_amount,payment_mode,status,timestamp,Total"


def quality(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "report/quality.json").read_text()))


def lines(folder: Path) -> list[tuple[str, str, str]]:
    return [(line["what"], line["sent"], line["received"]) for line in quality(folder).get("sent", [])]


def control(path: Path, **said: Any) -> Path:
    beside = path.with_name(f"{path.name}.control.json")
    beside.write_text(json.dumps(said))
    return beside


@pytest.mark.slow
def test_run_fails_with_the_difference_once_its_account_is_written(
    daskjobs: Command, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    orders_file(row(), row(price="x"), row(total_amount="20.00"))
    given = ["run", "--input", "mine.csv", "--dashboard", "127.0.0.1:0", "--workers", "1"]
    done = daskjobs(*given, "--run", "bad", "--expect", "rows=4", "--expect", "total_amount=62,ids=2")
    assert done.returncode == 10
    assert done.stderr.splitlines()[-1].startswith(
        "daskjobs: the sender's 4 rows are 3 received + 1 missing; the sender's 2 distinct ids are 3 received, "
        "1 too many; report/quality.json has the account: ask the sender"
    )
    assert not (tmp_path / "bad/report/analytics_report.json").exists()
    assert "The sender&#39;s 4 rows are 3 received + 1 missing." in (tmp_path / "bad/report/report.html").read_text()
    done = daskjobs(*given, "--run", "good", "--expect", "rows=3,total_amount=62.00,ids=3")
    assert done.returncode == 0, done.stderr
    assert "sent       the sender's total_amount of 62.00 is 62.00 received + 0.00 missing" in done.stdout
    assert lines(tmp_path / "good") == [("rows", "3", "3"), ("ids", "3", "3"), ("total_amount", "62.00", "62.00")]


def test_run_without_a_sender_says_nothing_and_writes_nothing_of_it(
    orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    inline.run(tmp_path / "run", str(orders_file(row())))
    assert not (tmp_path / "run/split/sent.json").exists()
    assert "sent" not in quality(tmp_path / "run")
    assert "received" not in (tmp_path / "run/validate/part-00000/result.json").read_text()


def test_amount_that_can_not_be_read_leaves_the_sum_open_and_names_its_row(
    pipeline: Pipeline, orders_file: Callable[..., Path]
) -> None:
    path = orders_file(row(), row(total_amount="21,00"), "1,2,3", row())
    with pytest.raises(AccountedError) as raised:
        pipeline(input=str(path), expect="rows=4,total_amount=63")
    assert "total_amount of 63.00 is 42.00 received + an unknown rest, since 2 rows have" in str(raised.value)
    assert "(row 2 of mine.csv, row 3 of mine.csv)" in str(raised.value)


def test_generated_orders_may_be_held_against_numbers_too(pipeline: Pipeline) -> None:
    pipeline(rows=300, expect="rows=300,ids=300", partitions=3)
    with pytest.raises(AccountedError, match="the sender's 301 rows are 300 received"):
        pipeline(rows=300, expect="rows=301", where="other")


@pytest.mark.parametrize("form", ["csv", "csv.gz", "jsonl", "parquet"])
@pytest.mark.parametrize("place", ["here", "s3"])
def test_control_file_is_found_beside_a_file_of_any_form(
    form: str, place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = csv_text(row(), row(status="failed"), row(total_amount="1.00"))
    table = pyarrow.csv.read_csv(pyarrow.BufferReader(data))
    if form == "parquet":
        sink = pyarrow.BufferOutputStream()
        pq.write_table(table, sink)
        data = sink.getvalue().to_pybytes()
    elif form == "jsonl":
        rows = ({name: str(value) for name, value in each.items()} for each in table.to_pylist())
        data = "".join(f"{json.dumps(each)}\n" for each in rows).encode()
    elif form == "csv.gz":
        data = gzip.compress(data)
    folder = str(tmp_path) if place == "here" else f"{request.getfixturevalue('s3')}/sent-{form}"
    said = {"rows": 3, "total_amount": 43.00, "ids": "3", "sha256": hashlib.sha256(data).hexdigest().upper(),
            "md5": hashlib.md5(data, usedforsecurity=False).hexdigest()}  # fmt: skip
    for name, text in {f"o.{form}": data, f"o.{form}.control.json": json.dumps(said).encode()}.items():
        with fsspec.open(f"{folder}/{name}", "wb") as file:
            file.write(text)
    inline.run(tmp_path / "run", f"{folder}/*")
    assert lines(tmp_path / "run") == [("rows", "3", "3"), ("ids", "3", "3"), ("total_amount", "43.00", "43.00")]
    with fsspec.open(f"{folder}/o.{form}.control.json", "wb") as file:
        file.write(json.dumps(said | {"md5": "0" * 32}).encode())
    with pytest.raises(InputError, match="has the md5 .* says 00000000000000000000000000000000: it has not arrived"):
        inline.run(tmp_path / "again", f"{folder}/o.{form}")
    assert not (tmp_path / "again/split/manifest.json").exists()


def test_many_files_on_s3_are_asked_for_control_files_folder_by_folder(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "FEW", 1)
    names = {f"{s3}/several/{day}/o.csv": csv_text(row()) for day in (1, 2, 3)}
    names[f"{s3}/several/2/o.csv.control.json"] = b'{"rows": 2}'
    for name, text in names.items():
        with fsspec.open(name, "wb") as file:
            file.write(text)
    inline.run(tmp_path / "run", f"{s3}/several/*/*.csv")
    assert [line["missing"] for line in quality(tmp_path / "run")["sent"]] == ["1"]


def test_control_file_is_never_read_as_orders(orders_file: Callable[..., Path], tmp_path: Path) -> None:
    beside = control(orders_file(row(), name="a.csv"), rows=1)
    for pattern in ("*", "a*"):
        inline.run(tmp_path / "run", str(tmp_path / pattern) if pattern == "a*" else str(tmp_path / "[a]*"))
        assert list(json.loads((tmp_path / "run/split/manifest.json").read_text())["inputs"]) == [
            (tmp_path / "a.csv").as_uri()
        ]
    with pytest.raises(InputError, match=r"a.csv.control.json is a control file, .* give the file of orders"):
        inline.run(tmp_path / "other", str(beside))
    with pytest.raises(InputError, match="finds nothing but a.csv.control.json, which globs pass over"):
        inline.run(tmp_path / "other", str(tmp_path / "*.json"))
    (tmp_path / "a.csv").unlink()
    with pytest.raises(InputError, match=r"a.csv.control.json, and .*a.csv is not there: ask its sender for it"):
        inline.run(tmp_path / "other", str(tmp_path / "a.csv*"))


@pytest.mark.parametrize("ending", [".CONTROL.JSON", ".Control.json"])
@pytest.mark.parametrize("files", [1, 20])
def test_control_file_in_other_letters_is_named_in_a_warning_and_is_no_file_of_orders(
    orders_file: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, ending: str, files: int
) -> None:
    paths = [orders_file(row(), name=f"{number}.csv") for number in range(files)]
    other = tmp_path / f"0.csv{ending}"
    other.write_text('{"rows": 7}')
    with caplog.at_level("WARNING", "daskjobs"):
        assert [*inputs.find_inputs(str(tmp_path / "*"))] == sorted(
            (f"file://{path}" for path in paths), key=lambda each: (len(each), each)
        )
    assert caplog.messages == [f"input.passed_over names={other.name} of=1"]
    caplog.clear()
    with caplog.at_level("WARNING", "daskjobs"):
        assert inputs.find_controls([f"file://{path}" for path in paths]) == {}
    assert [each[: each.index(" why=")] for each in caplog.messages] == [f"control.passed_over file={other.name}"]
    with pytest.raises(InputError, match=r"0.csv\.\w+\.\w+ is a control file, .* give the file of orders"):
        inputs.find_inputs(str(other))
    control(paths[0], rows=1)  # which is used, whatever stands beside it
    caplog.clear()
    assert list(inputs.find_controls([f"file://{path}" for path in paths])) == [f"file://{paths[0]}"]
    assert not caplog.records


def test_control_file_that_changes_makes_the_run_anew_and_the_same_one_keeps_it(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = orders_file(row(), row())
    beside = control(path, rows=2)
    assert not pipeline("split", input=str(path))["split"].skipped
    beside.write_text('{"rows":2}\n')
    assert pipeline("split", input=str(path))["split"].skipped
    control(path, rows=3)
    assert not pipeline("split", input=str(path))["split"].skipped
    with pytest.raises(AccountedError, match=r"3 rows are 2 received \+ 1 missing, by /"):
        pipeline(input=str(path))
    first = (tmp_path / "run/report/quality.json").read_bytes()
    with pytest.raises(AccountedError):
        pipeline(input=str(path), partitions=1, where="other")
    assert (tmp_path / "other/report/quality.json").read_bytes() == first


def test_later_stage_refuses_to_expect_anything_else(pipeline: Pipeline, orders_file: Callable[..., Path]) -> None:
    path = orders_file(row())
    pipeline("split", input=str(path), expect="rows=1")
    for other in ("rows=2", "rows=1,ids=1"):
        with pytest.raises(Exception, match="split was made with --expect 'rows=1', and this stage is given"):
            pipeline("validate", input=str(path), expect=other, given=frozenset({"expect"}))
    pipeline("split", input=str(path), where="without")
    with pytest.raises(Exception, match="split was made with --expect 'none'"):
        pipeline("validate", input=str(path), expect="rows=1", given=frozenset({"expect"}), where="without")


def test_names_are_those_of_the_file_or_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    header = "order_id,user_id,region,product,quantity,price,Total,payment_mode,status,timestamp"
    (tmp_path / "mine.csv").write_bytes(csv_text(row(), row(), header=header))
    given = {"input": str(tmp_path / "mine.csv"), "columns": "total_amount=Total"}
    pipeline(**given, expect="Total=42,price=21")
    assert lines(tmp_path / "run") == [("total_amount", "42.00", "42.00"), ("price", "21.00", "21.00")]
    with pytest.raises(UsageError, match="--expect says 'Totals', which is not known: did you mean Total"):
        pipeline(**given, expect="Totals=42")


def test_own_total_of_an_order_counts_once_for_its_lines(tmp_path: Path) -> None:
    profile = tmp_path / "lines.toml"
    profile.write_text(
        '[order]\nrows = "line"\nfill_down = ["total"]\ntotal = "Total"\n[furniture]\nlines = ["^sum"]\n'
    )
    cells = [
        *(row(order_id="1", total_amount="0.00") + end for end in (",100.50", ",", ",")),
        *(row(order_id=id, total_amount="0.00") + end for id, end in (("2", ",7.00"), ("3", ","), ("3", ",x"))),
        "sum,,,,,,,,,,107.50",
        row(order_id="1", total_amount="0.00") + ",3.00",
    ]
    (tmp_path / "mine.csv").write_bytes(csv_text(*cells, header=LINES))
    given = {"profile": str(profile), "expect": "rows=7,Total=110.50,ids=3", "partitions": 3}
    inline.run(tmp_path / "run", str(tmp_path / "mine.csv"), **given)
    assert lines(tmp_path / "run") == [("rows", "7", "7"), ("ids", "3", "3"), ("total_amount", "110.50", "110.50")]
    (line,) = (each for each in quality(tmp_path / "run")["sent"] if each["what"] == "total_amount")
    assert (line["unread"], line["missing"], [each["row"] for each in line["first"]]) == (1, "", [5])


def test_empty_file_has_no_rows_and_a_sum_of_nothing(orders_file: Callable[..., Path], tmp_path: Path) -> None:
    inline.run(tmp_path / "run", str(orders_file()), expect="rows=0,ids=0,total_amount=0,price=0")
    assert all(sent.strip("0.") == received.strip("0.") == "" for _, sent, received in lines(tmp_path / "run"))
    assert all(line["missing"].strip("0.") == "" for line in quality(tmp_path / "run")["sent"])
    assert (tmp_path / "run/report/analytics_report.json").exists()
