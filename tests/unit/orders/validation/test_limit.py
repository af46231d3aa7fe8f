from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import inline
from conftest import csv_text, row
from daskjobs.errors import InputError
from daskjobs.files.storage import PARTIAL
from daskjobs.orders.sources import lines
from daskjobs.orders.validation import limit
from daskjobs.orders.validation.limit import Limit
from daskjobs.pipeline.context import AccountedError
from daskjobs.stages import STAGES, new_context, run_stage
from daskjobs.stages.run_settings import Settings


@given(st.integers(0, 100), st.integers(0, 10_000))
def test_share_of_rows_is_exact_where_binary_fractions_are_not(percent: int, rows: int) -> None:
    assert Limit(rows, percent / 100).most == percent * rows // 100


@pytest.mark.parametrize("share", [1.0, 0.99])
@pytest.mark.parametrize("rows", [1, 7])
def test_every_row_is_too_many_whatever_the_share(rows: int, share: float) -> None:
    assert Limit(rows, share).broken(rows, {"a": rows})
    assert not Limit(rows, 1.0).broken(rows - 1, {"a": rows - 1})
    assert not Limit(0, share).broken(0, {})


def attempt(folder: Path, path: Path, share: float, partitions: int = 3) -> str:
    """Run the stages; return what came of it."""
    with inline.stages_inline():
        for name in inline.STAGES:
            settings = Settings.of(run_uri=str(folder), input=str(path), max_rejected=share, partitions=partitions)
            try:
                run_stage(name, new_context(settings))
            except AccountedError as error:
                return f"account: {error}"
            except InputError as error:
                return f"early: {error}"
    return "done"


@pytest.mark.parametrize(("share", "fails"), [(0.29, True), (0.3, False), (0.31, False), (0.0, True), (1.0, False)])
@pytest.mark.parametrize("partitions", [1, 4])
def test_outcome_is_the_same_when_it_is_judged_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, fails: bool, partitions: int
) -> None:
    monkeypatch.setattr(lines, "BLOCK_ROWS", 5)
    path = tmp_path / "o.csv"
    path.write_bytes(csv_text(*(row(price="x" if number % 10 in (1, 4, 8) else "10.50") for number in range(100))))
    for few, ending in ((0, "early"), (1000, "account")):
        monkeypatch.setattr(limit, "FEW_ROWS", few)
        outcome = attempt(tmp_path / f"run-{few}", path, share, partitions)
        assert outcome.startswith(ending) if fails else outcome == "done", outcome
        assert "--max-rejected" in outcome or not fails


def test_run_ends_at_the_first_block_too_many_and_leaves_no_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK_ROWS", 10)
    monkeypatch.setattr(limit, "FEW_ROWS", 0)
    (tmp_path / "o.csv").write_bytes(csv_text(*["" for _ in range(1000)]))
    outcome = attempt(tmp_path / "run", tmp_path / "o.csv", 0.05)
    assert (
        "at least 60 of 1000 rows were rejected, and --max-rejected 0.05 allows 50: at least 10 too many (" in outcome
    )
    assert "wrong_number_of_fields 60" in outcome
    assert not [
        path for path in (tmp_path / "run").rglob("*") if path.name.endswith(".parquet") or PARTIAL in path.name
    ]


def test_partitions_that_are_kept_count_when_fewer_rows_may_be_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit, "FEW_ROWS", 0)
    (tmp_path / "o.csv").write_bytes(csv_text(*(row(price="x" if number % 2 else "10.50") for number in range(40))))
    assert attempt(tmp_path / "run", tmp_path / "o.csv", 1.0) == "done"
    (tmp_path / "run/validate/manifest.json").unlink()
    assert attempt(tmp_path / "run", tmp_path / "o.csv", 0.1).startswith("early: at least ")
    assert not any(
        (tmp_path / "run" / name).exists() for each in ("merge", "report") for name in STAGES[each].artifacts
    )
    assert attempt(tmp_path / "run", tmp_path / "o.csv", 0.5) == "done"


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        ([], "done"),
        ([row(price="x")], "account: 1 of 1 rows were rejected, every one of them (unreadable_price 1)"),
        ([row(price="x"), ""], "account: 2 of 2 rows were rejected, every one of them"),
        ([row(price="x"), row()], "done"),
        ([row(status="failed")] * 1, "done"),
    ],
)
def test_run_fails_with_its_account_when_every_row_is_rejected(tmp_path: Path, rows: list[str], outcome: str) -> None:
    (tmp_path / "o.csv").write_bytes(csv_text(*rows))
    found = attempt(tmp_path / "run", tmp_path / "o.csv", 1.0)
    assert found.startswith(outcome)
    report = tmp_path / "run/report"
    assert (report / "quality.json").exists()
    assert (report / "analytics_report.json").exists() == (outcome == "done")
    if outcome != "done":
        assert all(each in found for each in ("daskjobs explain", "--columns", "--statuses", "--delimiter"))
        assert (tmp_path / "run/merge/quarantine.csv").read_bytes().count(b"\n") == 1 + len(rows)
