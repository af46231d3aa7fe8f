import json
from pathlib import Path

from conftest import Pipeline


def test_half_written_files_are_gone_and_named_in_the_receipt(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline()
    left = tmp_path / "run/clean/summary.parquet.daskjobs-part-ab_0129z"
    left.write_bytes(b"half")
    pipeline("cleanup")
    assert not left.exists()
    receipt = json.loads((tmp_path / "run/cleanup/receipt.json").read_text())
    assert receipt["removed_files"] == ["clean/summary.parquet.daskjobs-part-ab_0129z"]
    assert receipt["remaining"] == []


def test_receipt_is_written_when_nothing_ever_ran(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline("cleanup")
    assert json.loads((tmp_path / "run/cleanup/receipt.json").read_text())["removed_files"] == []
