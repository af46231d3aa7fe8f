import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inline
from conftest import Pipeline, csv_text, row
from daskjobs.errors import StorageError
from daskjobs.files.documents import unsealed
from daskjobs.files.storage import Storage
from daskjobs.orders.validation import duplicates
from daskjobs.orders.validation import ids as written
from daskjobs.orders.validation.duplicates import Part, suspected
from daskjobs.orders.validation.ids import Entries, PartitionIds
from daskjobs.orders.validation.result import Ids, PartitionResult

STAGES = ("split", "validate", "merge", "clean", "report")
ids = st.text(alphabet="ab1é", min_size=1, max_size=3) | st.sampled_from(
    ["a" * 100, "b" + "a" * 99, "a" * 101, "1" * 64]
)
blocks = st.lists(st.lists(ids, max_size=6), max_size=5)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "SORTED_ROWS", 7)
    monkeypatch.setattr(written, "HASHED_ROWS", 5)
    monkeypatch.setattr(written, "DECIDING_ROWS", 4)


def put(storage: Storage, name: str, texts: list[list[str]], count: int) -> list[list[Any]]:
    with storage.write(name) as file:
        entries = Entries(file, count)
        for block in texts:
            entries.take(pa.array(block, pa.string()))
        entries.flush()
    return entries.pieces


@pytest.mark.slow
@given(
    st.lists(blocks, min_size=1, max_size=4), st.integers(1, 4), st.sampled_from([1, 3]), st.sampled_from([1, 1 << 20])
)
def test_all_but_the_first_of_equal_ids_are_found_when_they_are_anywhere(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[list[str]]], count: int, smaller: int, held: int
) -> None:
    storage = Storage(str(tmp_path_factory.mktemp("ids")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(written, "HELD_BYTES", held)
        pieces = [put(storage, f"{number}.pieces", texts, count) for number, texts in enumerate(parts)]
        where = [
            [Part(f"{number}.pieces", each[at], number) for number, each in enumerate(pieces)] for at in range(count)
        ]
        if smaller > 1:
            divided = [duplicates.divide(storage.root, each, f"{at}.bucket", smaller) for at, each in enumerate(where)]
            where = [[Part(f"{at}.bucket", each)] for at, found in enumerate(divided) for each in found]
    found = {f"found-{at}": duplicates.find_repeats(storage.root, each, f"found-{at}") for at, each in enumerate(where)}
    seen = set[str]()
    for number, texts in enumerate(parts):
        expected = []
        for position, each in enumerate(each for block in texts for each in block):
            if each in seen:
                expected.append(position)
            seen.add(each)
        repeats = {target: partitions[number] for target, partitions in found.items() if number in partitions}
        assert duplicates.positions(storage, repeats).tolist() == expected


def test_different_ids_are_kept_apart_when_their_hashes_are_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (written, duplicates):
        monkeypatch.setattr(module, "hashes", lambda ids: np.zeros(len(ids), np.uint64))
    storage = Storage(str(tmp_path))
    first, *others = put(storage, "ids", [["x", "y", "x", "z"]], 3)
    assert others == [[], []]
    found = duplicates.find_repeats(storage.root, [Part("ids", first, 0)], "found")
    assert found.keys() == {0}
    assert duplicates.positions(storage, {"found": found[0]}).tolist() == [2]


def test_no_id_is_taken_from_a_piece_that_has_changed(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    parts = [Part("ids", put(storage, "ids", [["x", "y", "x"]], 1)[0], 0)]
    found = duplicates.find_repeats(storage.root, parts, "found")
    for name, work in {
        "ids": lambda: duplicates.find_repeats(storage.root, parts, "found"),
        "found": lambda: duplicates.positions(storage, {"found": found[0]}),
    }.items():
        data = (tmp_path / name).read_bytes()
        for changed in (data[:-1], data[:50] + bytes([data[50] ^ 1]) + data[51:], b""):
            (tmp_path / name).write_bytes(changed)
            with pytest.raises(StorageError, match=f"{name} is damaged"):
                work()
        (tmp_path / name).write_bytes(data)


@pytest.mark.slow
def test_hashes_differ_when_ids_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "HASHED_ROWS", 1 << 13)
    texts = [f"{number}" for number in range(100_000)] + [f"A{number:030}" for number in range(100_000)]
    assert len(np.unique(written.hashes(pa.array(texts)))) == len(texts)


@given(st.lists(ids | st.just(""), max_size=20))
def test_a_hash_is_that_of_the_text_alone_whatever_stands_beside_it(texts: list[str]) -> None:
    alone = [int(written.hashes(pa.array([text]))[0]) for text in texts]
    assert written.hashes(pa.array(["x", *texts], pa.string()).slice(1)).tolist() == alone


@given(
    st.lists(ids | st.just(""), min_size=1, max_size=6) | st.lists(st.integers(0, 300).map(str), min_size=1, max_size=6)
)
def test_ids_are_ordered_by_their_length_and_then_by_their_bytes(texts: list[str]) -> None:
    for each in (texts, sorted(texts, key=written.rank), sorted(set(texts), key=written.rank)):
        ranks = [written.rank(text) for text in each]
        array = pa.array(["é", *each], pa.string()).slice(1)
        assert written.ascend(array) == (ranks == sorted(set(ranks)))
        assert [*map(written.rank, written.extremes(array))] == [min(ranks), max(ranks)]


def told(texts: list[list[str]]) -> Ids:
    """What a partition says of its ids, which are written in vain."""

    class File:
        def write(self, data: Any) -> None: ...

        def tell(self) -> int:
            return 0

    partition: Any = PartitionIds(File(), 1, True)  # type: ignore[arg-type]
    for block in texts:
        partition.take(pa.array(block, pa.string()), np.empty(0, np.int64))
    said: Ids = partition.end()
    return said


@given(st.lists(blocks, max_size=5) | st.lists(st.lists(st.lists(st.integers(0, 60).map(str), max_size=2), max_size=3)))
def test_no_repeated_id_is_passed_over_when_only_partitions_that_overlap_or_do_not_ascend_are_looked_at(
    parts: list[list[list[str]]],
) -> None:
    looked_at = suspected([told(each) for each in parts])
    texts = [[text for block in each for text in block] for each in parts]
    for number, mine in enumerate(texts):
        others = {text for other, each in enumerate(texts) if other != number for text in each}
        if len(set(mine)) < len(mine) or others & set(mine):
            assert number in looked_at


def test_partitions_that_ascend_one_after_the_other_are_not_looked_at() -> None:
    one, two, three = told([["8", "9"], ["10"]]), told([["11"], [], ["99", "100"]]), told([["0101", "0102"]])
    assert suspected([three, one, told([]), two]) == []
    assert [each.buckets for each in (one, two, three)] == [[], [], []]
    assert suspected([three, one, told([["12"]]), two]) == [2, 3]
    assert suspected([one, told([["0102", "0101"]])]) == [1]
    assert suspected([one, told([["x" * 300]])]) == [0, 1]  # too long to be named


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


def results(run: Path) -> list[PartitionResult]:
    files = sorted(run.glob("validate/part-*/result.json"))
    return [unsealed(file.read_bytes(), PartitionResult) for file in files]


orders = st.lists(
    st.lists(st.integers(1, 60), max_size=12, unique=True).map(sorted) | st.lists(st.integers(1, 60), max_size=8),
    min_size=1,
    max_size=4,
)


@pytest.mark.slow
@pytest.mark.timeout(400)
@settings(max_examples=30)
@given(orders, st.integers(1, 6), st.sampled_from([20, 300]), st.sampled_from([2, 1 << 20]), st.booleans())
def test_the_first_row_of_an_id_counts_whatever_the_order_of_the_ids_and_a_retry_keeps_all(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[int]],
    partitions: int,
    block: int,
    most: int,
    last: bool,
) -> None:
    folder, seen, expected = tmp_path_factory.mktemp("run"), dict[int, tuple[str, int]](), set[tuple[str, int]]()
    for number, content in enumerate(files):
        rows = [row(order_id=str(each), status="pending" if each % 3 else "success") for each in content]
        (folder / f"{number}.csv").write_bytes(csv_text(*rows))
        for at, each in enumerate(content, 1):
            place = (f"{number}.csv", at)
            expected |= {seen[each] if last else place} if each in seen else set()
            seen[each] = place if last or each not in seen else seen[each]
    profile = folder / "profile.toml"
    profile.write_text('[order]\nrepeats = "last"\nkey = ["order_id"]\n')
    given = {"partitions": partitions} | ({"profile": str(profile)} if last else {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "BUCKET_ROWS", 5)
        patch.setattr(duplicates, "MOST_PIECES", most)
        found = inline.run(folder / "run", str(folder / "*.csv"), block, **given)
        rejected = csv.DictReader(io.StringIO(found["merge/quarantine.csv"].decode()))
        assert sorted((Path(each["source"]).name, int(each["row"])) for each in rejected) == sorted(expected)
        before = results(folder / "run")
        (folder / "run/validate/manifest.json").unlink()
        times = {path: path.stat().st_mtime_ns for path in folder.glob("run/validate/part-*/*")}
        assert inline.run(folder / "run", str(folder / "*.csv"), block, **given) == found
        assert results(folder / "run") == before
        assert {path: path.stat().st_mtime_ns for path in folder.glob("run/validate/part-*/*")} == times
    assert not [*folder.glob("run/validate/ids-*"), *folder.glob("run/validate/bucket-*")]


def test_ids_that_ascend_are_not_written_and_those_that_overlap_are_read_again_from_the_orders(
    orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    def rejected(name: str, *numbers: int) -> list[str]:
        rows = (row(order_id=str(each), status="pending" if each % 3 else "success") for each in numbers)
        found = inline.run(tmp_path / name, str(orders_file(*rows)), partitions=4)
        return [line.split(",")[0] for line in found["merge/quarantine.csv"].decode().splitlines()[1:]]

    assert rejected("one", *range(1000, 1020)) == []
    said = [each.ids for each in results(tmp_path / "one")]
    assert said[0].least == "1000"
    assert said[-1].most == "1019"
    assert [each.buckets for each in said] == [[], [], [], []]
    # Two ids of the first partition stand in the last one again, an unpaid and a paid one.
    assert rejected("two", *range(1000, 1018), 1001, 1002) == ["19", "20"]
    assert [each.ids.buckets != [] for each in results(tmp_path / "two")] == [False, False, False, True]
