"""daskjobs/verify.py: an auditor's second count of a run, which needs nothing of daskjobs."""

import ast
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import inline
from conftest import Pipeline
from daskjobs import verify
from daskjobs.files.documents import sealed
from daskjobs.stages import STAGES
from daskjobs.stages.told import TOLD

LINES = 200  # that an auditor is asked to read
ORDERS = """id;user_id;region;product;quantity;price;total_amount;payment_mode;status;timestamp;note
1;7;north;"Lampe;
rot";2;10.00;20.00;card;paid;2025-03-01;"a ""b"" c"
2;7;north;-lamp;3;10.00;20.00;card;paid;2025-03-01;wrong total
3;7;north;lamp;1;5.00;5.00;card;failed;2025-03-01;

1;7;north;lamp;1;5.00;5.00;card;paid;2025-03-01;again
4;7;s\u00fcd;lamp;1; 5.50 ;5.5;card;paid;2025-03-01;
5;7;s\u00fcd;l\u00e4mp;x;5.50;5.5;card;paid;2025-03-01;no quantity
"""
OPTIONS: dict[str, Any] = {"columns": "order_id=id", "statuses": "success=paid"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "orders.csv").write_text(ORDERS)
    inline.run(folder / "run", str(folder / "orders.csv"), **OPTIONS)
    return folder


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """A copy of the run, whose orders lie in the folder beside it alone."""
    shutil.copytree(whole, tmp_path / "copied")
    return tmp_path / "copied"


def verified(run: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = verify.main([str(run), str(folder)])
    return code, capsys.readouterr().out


def test_generated_run_is_right(pipeline: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline(rows=3_000, seed=3)
    (tmp_path / "run/cleanup/told.json").write_text("{}")  # as a run with --notify leaves it
    report = json.loads((tmp_path / "run/report/analytics_report.json").read_text())
    assert verify.main([str(tmp_path / "run")]) == 0
    assert f"right: orders {report['orders']:,}, revenue {report['revenue']:.2f}, rejected " in capsys.readouterr().out


def test_own_orders_are_counted_again_by_the_file_alone(whole: Path, tmp_path: Path) -> None:
    alone = shutil.copy(verify.__file__, tmp_path / "alone.py")
    command = [sys.executable, "-I", "-S", alone, str(whole / "run")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stdout) == (0, "right: orders 2, revenue 25.50, rejected 4\n")


def test_module_is_one_that_an_auditor_can_read() -> None:
    text = Path(verify.__file__).read_text()
    assert len(text.splitlines()) <= LINES
    assert tuple(name for name in STAGES if name != "cleanup") == verify.STAGES
    imported = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imported if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in imported if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_any_changed_byte_is_named(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = copied / "run"
    files = [path.relative_to(run) for path in run.rglob("*") if path.is_file()]
    vouched = [path for path in files if path.as_posix() not in verify.FREE]
    assert len(vouched) > 15
    for name in vouched:
        data = (run / name).read_bytes()
        for at in {0, len(data) // 3, len(data) // 2, len(data) - 2} if data else set():
            (run / name).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            code, said = verified(run, copied, capsys)
            assert (code, name.as_posix() in said) == (1, True), (name, at, said)
        (run / name).write_bytes(data)
    assert verified(run, copied, capsys)[0] == 0


@pytest.mark.parametrize("at", [30, 95, 200, 300])
def test_changed_order_is_named(copied: Path, at: int, capsys: pytest.CaptureFixture[str]) -> None:
    data = (copied / "orders.csv").read_bytes()
    (copied / "orders.csv").write_bytes(data[:at] + b"#" + data[at + 1 :])
    code, said = verified(copied / "run", copied, capsys)
    assert code == 1
    assert "orders.csv" in said


@pytest.mark.parametrize("more", ["9", " 23:59", "1,7,north,lamp,1,5.00,5.00,card,success,2025-03-01\n", "\n"])
def test_orders_that_go_on_behind_their_last_row_are_named(
    tmp_path: Path, more: str, capsys: pytest.CaptureFixture[str]
) -> None:
    orders = tmp_path / "orders.csv"
    orders.write_text("user_id,region,product,quantity,price,total_amount,payment_mode,status,timestamp,order_id\n"
        "7,north,lamp,1,5.00,5.00,card,success,2025-03-01,1")  # fmt: skip
    inline.run(tmp_path / "run", str(orders))
    assert verify.main([str(tmp_path / "run")]) == 0
    orders.write_text(orders.read_text() + more)
    assert verified(tmp_path / "run", tmp_path, capsys)[0] == 1


def test_header_that_was_changed_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orders = tmp_path / "orders.csv"
    orders.write_bytes(b"\xef\xbb\xbforder_id,user_id,region,product,quantity,price,total_amount,payment_mode,status,timestamp\n"
        b"1,7,north,lamp,1,5.00,5.00,card,success,2025-03-01\n")  # fmt: skip
    inline.run(tmp_path / "run", str(orders))
    assert verify.main([str(tmp_path / "run")]) == 0
    orders.write_bytes(orders.read_bytes().replace(b"\xef\xbb\xbf", b"xxx"))
    code, said = verified(tmp_path / "run", tmp_path, capsys)
    assert (code, "another header" in said) == (1, True)


@pytest.mark.parametrize("name", ["report/dangling", "merge/daskjobs-run.parquet", "report/more/facts.json"])
def test_entry_that_is_no_runs_is_named(copied: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "run" / name).parent.mkdir(exist_ok=True)
    (copied / "run" / name).symlink_to("/nowhere")
    code, said = verified(copied / "run", copied, capsys)
    assert (code, name in said) == (3, True)


def test_last_manifest_is_held_by_its_bytes(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = copied / "run/report/manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    assert verified(copied / "run", copied, capsys) == (1, "WRONG report/manifest.json doesn't have its checksum\n")


def test_number_that_was_changed_everywhere_is_not_the_one_that_is_counted(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, manifest = copied / "run/report/analytics_report.json", copied / "run/report/manifest.json"
    report.write_text(report.read_text().replace("25.50", "35.50").replace("25.5", "35.5"))
    value = json.loads(manifest.read_text())
    del value["checksum"]
    value["rows"]["revenue"] = "35.50"
    value["outputs"]["report/analytics_report.json"]["sha256"] = hashlib.sha256(report.read_bytes()).hexdigest()
    manifest.write_bytes(sealed(value))
    code, said = verified(copied / "run", copied, capsys)
    assert (code, said) == (1, "WRONG the paid orders come to 25.50, and the report says 35.50\n")


def test_file_that_nobody_vouches_for_is_named(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "run/merge/more.csv").write_text("")
    (copied / "run" / TOLD).parent.mkdir(exist_ok=True)
    (copied / "run" / TOLD).write_text("{}")  # what --notify keeps is no part of any result
    assert verified(copied / "run", copied, capsys) == (
        3,
        "open  merge/more.csv is a file that no manifest vouches for\n",
    )


def test_compressed_and_encoded_orders_are_counted_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(ORDERS.encode("cp1252")))
    inline.run(tmp_path / "run", str(tmp_path / "a.csv.gz"), encoding="cp1252", **OPTIONS)
    (tmp_path / "a.csv.gz").unlink()  # the run has its plain text
    assert verified(tmp_path / "run", tmp_path, capsys) == (0, "right: orders 2, revenue 25.50, rejected 4\n")


def test_what_cannot_be_counted_again_is_said(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stray = tmp_path / "stray.csv"
    stray.write_text(ORDERS.replace("d;lamp;1; 5.50", 'd;"lamp;1; 5.50'))
    columns = ORDERS.splitlines()[0].split(";")[:10]
    row = ["1", "7", "north", "lamp", "2", "10.00", "20.00", "card", "paid", "2025-03-01"]
    pq.write_table(pa.table([[value] for value in row], columns), tmp_path / "a.parquet")
    (tmp_path / "mine.toml").write_text('[columns]\norder_id = "id"\n[status]\nsuccess = "paid"\nfailed = "failed"\n')
    for name, options, said in (
        ("stray.csv", OPTIONS, "csv reads it otherwise"),
        ("a.parquet", OPTIONS, "only CSV is read here"),
        ("stray.csv", {"profile": str(tmp_path / "mine.toml")}, "only a profile says what an order is"),
    ):
        run = tmp_path / f"{name}-{len(options)}"
        inline.run(run, str(tmp_path / name), **options)
        code, found = verified(run, tmp_path, capsys)
        assert (code, said in found) == (3, True), found
    (whole / "orders.csv").rename(whole / "moved.csv")
    assert verified(whole / "run", tmp_path, capsys)[0] == 3
    assert "name the folder where it lies now" in verified(whole / "run", tmp_path, capsys)[1]
    (whole / "moved.csv").rename(whole / "orders.csv")


@pytest.mark.parametrize("arguments", [[], ["a", "b", "c"], ["nowhere"]])
def test_wrong_use_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main(arguments) == 2
    assert "usage: python -m daskjobs.verify RUN" in capsys.readouterr().out
