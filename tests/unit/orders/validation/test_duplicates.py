from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Pipeline, row
from daskjobs.errors import StorageError
from daskjobs.files.storage import Storage
from daskjobs.orders.validation import duplicates

STAGES = ("split", "validate", "merge", "clean", "report")
ids = st.text(alphabet="ab1é", min_size=1, max_size=3) | st.sampled_from(
    ["a" * 100, "b" + "a" * 99, "a" * 101, "1" * 64]
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "BATCH_ROWS", 7)
    monkeypatch.setattr(duplicates, "SLICE_ROWS", 5)


@pytest.mark.slow
@given(st.lists(st.lists(st.lists(ids, max_size=6), max_size=5), min_size=1, max_size=4), st.integers(1, 4))
def test_all_but_the_first_of_equal_ids_are_found_when_they_are_anywhere(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[list[str]]], count: int
) -> None:
    storage, written = Storage(str(tmp_path_factory.mktemp("ids"))), []
    for number, blocks in enumerate(parts):
        with duplicates.writing_ids(storage, f"{number}.pieces", count) as (take, _, pieces):
            for block in blocks:
                take(pa.array(block, pa.string()))
        written.append((f"{number}.pieces", pieces))
    found = {
        f"found-{bucket}": duplicates.find_repeats(
            storage.root, [(name, pieces[bucket]) for name, pieces in written], f"found-{bucket}"
        )
        for bucket in range(count)
    }
    seen = set[str]()
    for number, blocks in enumerate(parts):
        expected = []
        for position, each in enumerate(each for block in blocks for each in block):
            if each in seen:
                expected.append(position)
            seen.add(each)
        repeats = {target: partitions[number] for target, partitions in found.items() if number in partitions}
        assert duplicates.positions(storage, repeats).tolist() == expected


def test_different_ids_are_kept_apart_when_their_hashes_are_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "hashes", lambda ids: np.zeros(len(ids), np.uint64))
    storage = Storage(str(tmp_path))
    with duplicates.writing_ids(storage, "ids", 3) as (take, _, pieces):
        take(pa.array(["x", "y", "x", "z"]))
    assert [duplicates.find_repeats(storage.root, [("ids", pieces[bucket])], "none") for bucket in (1, 2)] == [{}, {}]
    found = duplicates.find_repeats(storage.root, [("ids", pieces[0])], "found")
    assert found.keys() == {0}
    assert duplicates.positions(storage, {"found": found[0]}).tolist() == [2]


def test_no_id_is_taken_from_a_piece_that_has_changed(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    with duplicates.writing_ids(storage, "ids", 1) as (take, _, pieces):
        take(pa.array(["x", "y", "x"]))
    found = duplicates.find_repeats(storage.root, [("ids", pieces[0])], "found")
    for name, work in {
        "ids": lambda: duplicates.find_repeats(storage.root, [("ids", pieces[0])], "found"),
        "found": lambda: duplicates.positions(storage, {"found": found[0]}),
    }.items():
        data = (tmp_path / name).read_bytes()
        for changed in (data[:-1], data[:50] + bytes([data[50] ^ 1]) + data[51:], b""):
            (tmp_path / name).write_bytes(changed)
            with pytest.raises(StorageError, match=f"{name} is damaged"):
                work()
        (tmp_path / name).write_bytes(data)


@pytest.mark.slow
def test_hashes_differ_when_ids_do() -> None:
    texts = [f"{number}" for number in range(100_000)] + [f"A{number:030}" for number in range(100_000)]
    assert len(np.unique(duplicates.hashes(pa.array(texts)))) == len(texts)


def test_a_repeated_id_is_rejected_once_when_it_is_in_another_partition_or_file(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("a.csv", "b.csv"):
        orders_file(*(row(order_id=f"X{number}") for number in range(20)), name=name)
    first = pipeline(*STAGES, input=str(tmp_path / "*.csv"), partitions=3)
    assert first["merge"].rows["reasons"] == {"duplicate_order_id": 20}
    assert (first["report"].rows["paid"], first["report"].rows["revenue"]) == (20, "420.00")
    rejected = (tmp_path / "run/merge/quarantine.csv").read_text().splitlines()[1:]
    assert all("b.csv" in line for line in rejected)
    # A retry, the commit lost, comes to the same files and keeps every partition.
    (tmp_path / "run/validate/manifest.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/validate/part-*/*")}
    assert pipeline("validate", input=str(tmp_path / "*.csv"), partitions=3)["validate"] == first["validate"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/validate/part-*/*")} == before
