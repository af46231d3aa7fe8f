import csv
import io
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import inline
from conftest import Pipeline, csv_text, row
from daskjobs.errors import LostWorkError, StorageError
from daskjobs.files.tables import rebatched
from daskjobs.stages import new_context, run_stage
from daskjobs.stages.run_settings import Settings

BEFORE = ("generate", "split", "validate")


def test_ledger_balances_in_all_and_by_partition(pipeline: Pipeline) -> None:
    rows = pipeline(*BEFORE, "merge", rows=3000, partitions=7)["merge"].rows
    assert len(rows["partitions"]) == 7
    for name in ("in", "valid", "rejected"):
        assert rows[name] == sum(line[name] for line in rows["partitions"])
    assert rows["in"] == 3000 == rows["valid"] + rows["rejected"]


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("paid", LostWorkError, "partition 2 has .* rows, its result says .* its files hold"),
        ("unpaid", StorageError, "part-00002/unpaid.parquet is damaged"),
        ("quarantine", LostWorkError, "partition 2 has .* rows, its result says .* its files hold"),
    ],
)
def test_merge_fails_and_commits_nothing_when_a_partition_lost_rows(
    pipeline: Pipeline, tmp_path: Path, kind: str, error: type[Exception], words: str
) -> None:
    pipeline(*BEFORE)
    path = tmp_path / f"run/validate/part-00002/{kind}.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(error, match=words):
        pipeline("merge")
    assert not (tmp_path / "run/merge/manifest.json").exists()


def test_merge_fails_when_a_result_was_changed(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline(*BEFORE)
    path = tmp_path / "run/validate/part-00001/result.json"
    path.write_text(path.read_text().replace('"rejected": ', '"rejected": 1'))
    with pytest.raises(StorageError, match="is damaged .it is not what its manifest says"):
        pipeline("merge")


def test_merge_fails_with_a_sentence_when_a_file_is_truncated(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline(*BEFORE)
    path = tmp_path / "run/validate/part-00001/paid.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StorageError, match=r"part-00001/paid.parquet is damaged"):
        pipeline("merge")


def test_quarantine_is_the_same_bytes_however_rows_were_partitioned(pipeline: Pipeline, tmp_path: Path) -> None:
    for partitions in (1, 17):
        pipeline(*BEFORE, "merge", where=f"run{partitions}", rows=3000, partitions=partitions)
    for name in ("quarantine.csv", "quarantine.parquet"):
        assert (tmp_path / "run1/merge" / name).read_bytes() == (tmp_path / "run17/merge" / name).read_bytes()


def test_quarantine_can_be_read_by_people_and_machines_when_raw_text_is_awkward(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    bad = [row(product='"a ""b"",\nc"', status="?", order_id=""), "x"]
    path = orders_file(bad[0], row(), bad[1])
    pipeline("split", "validate", "merge", input=str(path))
    with (tmp_path / "run/merge/quarantine.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["row"], line["reasons"], line["raw"]) for line in lines] == [
        ("1", "missing_order_id;unknown_status", bad[0]),
        ("3", "wrong_number_of_fields", "x"),
    ]
    table = pq.read_table(tmp_path / "run/merge/quarantine.parquet").to_pylist()
    assert [line["raw"] for line in table] == bad
    assert json.loads((tmp_path / "run/merge/manifest.json").read_text())["rows"]["rejected"] == 2


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_cell_is_no_formula_in_quarantine_csv_and_exact_elsewhere(tmp_path: Path, first: str) -> None:
    formula, harmless = f"{first}HYPERLINK(0),a", f"x,{first}1"
    (tmp_path / "mine.csv").write_bytes(csv_text(formula, harmless, row()))
    with inline.stages_inline():
        for name in ("split", "validate", "merge"):
            run_stage(name, new_context(Settings.of(run_uri=str(tmp_path / "run"), input=str(tmp_path / "mine.csv"))))
    with (tmp_path / "run/merge/quarantine.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [(line["row"], line["raw"]) for line in lines] == [("1", f"'{formula}"), ("2", harmless)]
    exact = pq.read_table(tmp_path / "run/merge/quarantine.parquet")["raw"].to_pylist()
    assert exact == [formula, harmless]
    rejected = (tmp_path / "run/merge/rejected-00000.csv").read_bytes()
    assert rejected == csv_text(formula, harmless)


@pytest.mark.parametrize(
    ("odd", "shown"),
    [
        ("\u200b", "\\u200b"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202e", "\\u202e"),
        ("\xa0", "\\u00a0"),
        ("é漢\t👩\u200d💻", "é漢\t👩\u200d💻"),
    ],
)
def test_invisible_character_is_seen_in_quarantine_csv_and_exact_elsewhere(
    tmp_path: Path, odd: str, shown: str
) -> None:
    rows = [row(order_id="plain", quantity="0"), row(order_id="odd", quantity=f"3{odd}", product='"two\nlines"')]
    (tmp_path / "mine.csv").write_bytes(csv_text(*rows, row()))
    results = inline.run(tmp_path / "run", str(tmp_path / "mine.csv"))
    lines = list(csv.DictReader(io.StringIO(results["merge/quarantine.csv"].decode(), newline="")))
    assert [line["raw"] for line in lines] == [rows[0], rows[1].replace(odd, shown)]
    assert pq.ParquetFile(io.BytesIO(results["merge/quarantine.parquet"])).read()["raw"].to_pylist() == rows
    assert (tmp_path / "run/merge/rejected-00000.csv").read_bytes() == csv_text(*rows)


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6))
def test_tables_hold_the_same_rows_however_they_came_and_none_is_too_long(pieces: list[list[int]]) -> None:
    lengths = [length for piece in pieces for length in piece]
    tables = [pa.table({"raw": pa.array(["x" * length for length in piece], pa.string())}) for piece in pieces]
    found = [[len(text) for text in table["raw"].to_pylist()] for table in rebatched(iter(tables), "raw", 4, 12)]
    assert [length for table in found for length in table] == lengths
    assert all(0 < len(table) <= 4 and (len(table) == 1 or sum(table) <= 12) for table in found)
    for table, following in pairwise(found):
        assert len(table) == 4 or sum(table) + following[0] > 12  # it was full, whatever came in which piece
