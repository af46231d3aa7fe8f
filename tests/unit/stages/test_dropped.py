"""Orders that are given to a pod as an artifact, which becomes the input of its run."""

import json
from pathlib import Path

from conftest import Command, csv_text, row

STAGES = ("split", "validate", "merge", "clean", "report")


def test_dropped_orders_are_copied_into_the_run_as_they_are_and_reported_by_later_pods(
    daskjobs: Command, tmp_path: Path
) -> None:
    given, elsewhere = tmp_path / "given", tmp_path / "elsewhere"
    given.mkdir()
    elsewhere.mkdir()
    orders = b"\xef\xbb\xbf" + csv_text(row(), row(status="?"), row()).replace(b"\n", b"\r\n")
    (given / "orders").write_bytes(orders)
    copy, times = tmp_path / "run/input/orders", set[int]()
    for _ in range(2):  # a second attempt finds the copy
        done = daskjobs("generate", "--run", "run", "--given", "given")
        assert done.returncode == 0, done.stderr
        assert copy.read_bytes() == orders
        times.add(copy.stat().st_mtime_ns)
    assert len(times) == 1
    assert not (tmp_path / "run/generate/manifest.json").exists()
    done = daskjobs("stages", *STAGES, "--run", "run", "--given", "elsewhere", "--dashboard", "127.0.0.1:0")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/report/analytics_report.json").read_bytes()) == {"orders": 2, "revenue": 42.00}
    (named,) = json.loads((tmp_path / "run/split/manifest.json").read_bytes())["inputs"]
    assert named == f"file://{copy}"


def test_one_pod_does_it_all(daskjobs: Command, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given/orders").write_bytes(csv_text(row()))
    done = daskjobs("stages", "generate", *STAGES, "--run", "run", "--given", "given", "--dashboard", "127.0.0.1:0")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/report/analytics_report.json").read_bytes())["orders"] == 1


def test_orders_that_are_dropped_beside_an_input_are_refused(daskjobs: Command, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given/orders").write_bytes(csv_text(row()))
    done = daskjobs("split", "--run", "run", "--given", "given", "--input", "other.csv")
    assert done.returncode == 2
    assert "orders were dropped, and an input is named as well" in done.stderr
