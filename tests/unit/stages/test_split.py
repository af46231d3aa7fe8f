import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Pipeline, csv_text, row
from daskjobs.errors import InputError
from daskjobs.pipeline.context import Manifest
from daskjobs.stages import split


def plan_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run/split/partitions.json").read_text()))


def pieces(plan: dict[str, Any]) -> list[bytes]:
    """Return the bytes of each partition, holding each range's hash and row count against them."""
    found = []
    for partition in plan["partitions"]:
        text = b""
        for part in partition["ranges"]:
            data = Path(plan["files"][part["file"]]["name"].removeprefix("file://")).read_bytes()[
                part["start"] : part["end"]
            ]
            assert hashlib.sha256(data).hexdigest() == part["sha256"]
            text += data
        found.append(text)
    return found


@pytest.mark.parametrize("partitions", [1, 2, 5, 17])
@pytest.mark.parametrize("rows", [0, 1, 4, 100])
def test_partitions_join_to_the_source_when_rows_are_few_or_many(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path, partitions: int, rows: int
) -> None:
    lines = [row(order_id=f"A{number}", product='"a\nb, ""c"""' if number % 3 else "lamp") for number in range(rows)]
    path = orders_file(*lines)
    manifest = pipeline("split", input=str(path), partitions=partitions)["split"]
    plan = plan_of(tmp_path)
    found = pieces(plan)
    assert len(found) == partitions == manifest.rows["partitions"]
    assert b"".join(found) == path.read_bytes().split(b"\n", 1)[1]
    assert sum(partition["rows"] for partition in plan["partitions"]) == plan["rows"] == rows
    assert all(not text or (text.startswith(b"A") and text.endswith(b"\n")) for text in found)


def test_partitions_are_more_and_a_multiple_of_ten_when_orders_are_large(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pipeline("generate", "split", rows=10_000)["split"].rows["partitions"] == 5
    monkeypatch.setattr(split, "FEW_BYTES", 100_000)
    monkeypatch.setattr(split, "PARTITION_BYTES", 20_000)
    size = (tmp_path / "run/orders/orders.csv").stat().st_size
    found = pipeline("generate", "split", rows=10_000, seed=8)["split"].rows["partitions"]
    assert found % 10 == 0
    assert size / 20_000 <= found < size / 20_000 + 10


def test_partitions_are_of_about_the_same_size_when_rows_are_many(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline("generate", "split", rows=10_000)
    rows = [partition["rows"] for partition in plan_of(tmp_path)["partitions"]]
    assert sum(rows) == 10_000
    assert max(rows) - min(rows) < 100


def test_files_are_taken_one_after_another_when_a_glob_names_several(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    for name in "cab":
        orders_file(*(row(order_id=f"{name}{number}") for number in range(5)), name=f"{name}.csv")
    pipeline("split", input=str(tmp_path / "*.csv"), partitions=2)
    plan = plan_of(tmp_path)
    assert [file["name"].rsplit("/", 1)[-1] for file in plan["files"]] == ["a.csv", "b.csv", "c.csv"]
    assert b"".join(pieces(plan)).count(b"\n") == 15
    assert [part["first_row"] for partition in plan["partitions"] for part in partition["ranges"]] == [1, 1, 4, 1]


def test_columns_beyond_the_ten_are_noted_when_files_have_them(pipeline: Pipeline, tmp_path: Path) -> None:
    header = "order_id,note,user_id,region,product,quantity,price,total_amount,payment_mode,status,timestamp"
    (tmp_path / "x.csv").write_bytes(csv_text(header=header))
    pipeline("split", input=str(tmp_path / "x.csv"))
    assert plan_of(tmp_path)["extra"] == ["note"]


def test_split_is_done_again_when_the_users_file_changes(pipeline: Pipeline, orders_file: Callable[..., Path]) -> None:
    def split() -> Manifest:
        return pipeline("split", input=str(path))["split"]

    path = orders_file(row())
    split()
    assert split().skipped
    orders_file(row(), row())
    assert split().rows["out"] == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; it must begin with a header row"),
        (b"\xef\xbb\xbf", "is empty; it must begin with a header row"),
        (b"\x00\xff\xfe\x01", "is not CSV: its first row is no text in UTF-8"),
        (b"a,b,c\n1,2,3\n", "has no column order_id, .*: its first row has none of these names; it must name"),
        (csv_text(header="order_id,price,price," + csv_text().decode().strip()), "order_id, price more than once"),
    ],
)
def test_split_fails_with_a_sentence_when_the_input_is_not_orders(
    pipeline: Pipeline, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        pipeline("split", input=str(tmp_path / "x.csv"))
    assert not (tmp_path / "run/split/manifest.json").exists()


def test_split_fails_with_a_sentence_when_the_input_names_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no file; give the path, URI or glob"):
        pipeline("split", input=str(tmp_path / "*.csv"))


def test_what_an_older_version_unpacked_is_gone_when_the_run_is_split_again(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = orders_file(row(), row())
    pipeline("split", input=str(path), partitions=2)
    (tmp_path / "run/split/input-00000.csv").write_bytes(path.read_bytes())
    (tmp_path / "run/split/mine.csv").write_bytes(b"")
    pipeline("split", input=str(path), partitions=3)
    assert not (tmp_path / "run/split/input-00000.csv").exists()
    assert (tmp_path / "run/split/mine.csv").exists()
