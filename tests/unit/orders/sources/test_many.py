"""Many small files: the same results as of each alone, read once, and told apart row by row."""

import csv
import gzip
import io
import json
import threading
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

import inline
from conftest import COLUMNS, GOOD, csv_text, row
from daskjobs.cores import in_turn
from daskjobs.errors import InputError
from daskjobs.orders.sources import many

HEADER = ",".join(COLUMNS).encode() + b"\n"
CONTENTS = [
    HEADER + row(order_id="A", quantity="0").encode(),  # no line end
    HEADER,
    HEADER + row(order_id="B").encode() + b"\r\n" + row(order_id="C", product='"two\nlines"').encode() + b"\r\n",
    HEADER + row(order_id="D", product='"never closed').encode() + b"\n",
    HEADER + row(order_id="E", product='"x""y"').encode() + b"\n" + row(order_id='"quoted').encode() + b"\n",
    HEADER + row(order_id="F", product='also"').encode() + b"\n" + row(order_id="G", product='"n\n"').encode() + b"\n",
    HEADER + b"too,few\n" + row(order_id="H", product="caf\\xe9").encode() + b"\n\n",
    HEADER + row(order_id="I", product="\xff").encode("latin-1") + b"\n" + row(order_id="A").encode() + b"\r",
    HEADER + b"\xef\xbb\xbf" + row(order_id="B", status="odd").encode() + b"\n" + row(order_id="B").encode() + b"\n",
    HEADER.replace(b"\n", b",more\n") + row(order_id="J").encode() + b",1\n",
    HEADER + row(order_id="K", price="1").encode() + b"\n",
]


def written(folder: Path, contents: list[bytes], ending: str = "csv") -> str:
    folder.mkdir()
    for number, content in enumerate(contents):
        (folder / f"o-{number}.{ending}").write_bytes(content)
    return f"{folder}/*.{ending}"


def rejected(results: dict[str, bytes]) -> list[tuple[str, int, str]]:
    lines = list(csv.reader(io.StringIO(results["merge/quarantine.csv"].decode(), newline="")))[1:]
    return [(source.rsplit("/", 1)[-1], int(number), reasons) for number, source, reasons, _ in lines]


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("quoting", ["rfc4180", "backslash", "none"])
def test_files_give_the_same_together_as_each_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quoting: str, partitions: int
) -> None:
    pattern = written(tmp_path / "in", CONTENTS * 3)
    together = inline.run(tmp_path / "together", pattern, quoting=quoting, partitions=partitions)
    monkeypatch.setattr(many, "SMALL_BYTES", 0)
    alone = inline.run(tmp_path / "alone", pattern, quoting=quoting, partitions=partitions)
    assert together == alone
    for name in ("paid", "unpaid", "quarantine", "ids", "summary"):
        for each in sorted((tmp_path / "alone/validate").glob(f"part-*/{name}.*")):
            other = tmp_path / "together" / each.relative_to(tmp_path / "alone")
            assert other.read_bytes() == each.read_bytes(), each


def test_rejected_rows_are_told_by_the_file_and_row_where_they_stand(tmp_path: Path) -> None:
    pattern = written(tmp_path / "in", CONTENTS[:3] + CONTENTS[6:9])
    results = inline.run(tmp_path / "run", pattern, partitions=1)
    assert rejected(results) == [
        ("o-0.csv", 1, "quantity_below_one;wrong_total"),
        ("o-3.csv", 1, "wrong_number_of_fields"),
        ("o-3.csv", 3, "wrong_number_of_fields"),
        ("o-4.csv", 1, "not_utf8"),
        ("o-5.csv", 1, "unknown_status"),
        ("o-5.csv", 2, "duplicate_order_id"),
    ]
    long = json.loads(results["report/quality.json"])["lines"]["rows_like_several"]
    assert long["rows"] == 0
    mended = sorted(path.name for path in (tmp_path / "run/merge").glob("rejected-*"))
    assert mended == [f"rejected-0000{number}.csv" for number in (0, 3, 4, 5)]


def test_row_that_looks_like_several_is_told_by_its_own_file(tmp_path: Path) -> None:
    several = row(region='"a,b,c,d,e,f,g,h\nk,l,m"')  # each line has ten fields, if quotes are nothing
    pattern = written(tmp_path / "in", [csv_text(row(), row()), csv_text(row(), several)])
    results = inline.run(tmp_path / "run", pattern, partitions=1)
    long = json.loads(results["report/quality.json"])["lines"]["rows_like_several"]
    assert [(each["source"].rsplit("/", 1)[-1], each["row"]) for each in long["first"]] == [("o-1.csv", 2)]


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv.gz"])
def test_files_of_other_formats_give_the_same_together_as_each_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    orders = [GOOD | {"order_id": f"A{number % 4}", "quantity": str(number % 3)} for number in range(20)]

    def content(order: dict[str, str]) -> bytes:
        if ending == "jsonl":
            return json.dumps(order).encode()
        if ending == "csv.gz":
            return gzip.compress(csv_text(",".join(order.values())), mtime=0)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist([order, order | {"status": "odd"}]), sink)
        return bytes(sink.getvalue().to_pybytes())

    pattern = written(tmp_path / "in", [content(order) for order in orders], ending)
    together = inline.run(tmp_path / "together", pattern, partitions=2)
    monkeypatch.setattr(many, "SMALL_BYTES", 0)
    assert inline.run(tmp_path / "alone", pattern, partitions=2) == together
    assert rejected(together)[0] == (f"o-0.{ending}", 1, "quantity_below_one;wrong_total")
    found = [each for each in rejected(together) if each[0] == f"o-14.{ending}"]
    assert found[0] == (f"o-14.{ending}", 1, "duplicate_order_id")


def test_small_files_are_opened_once_to_be_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern, opened = written(tmp_path / "in", [csv_text(row()) for _ in range(9)]), list[str]()
    plain = LocalFileSystem._open

    def counting(fs: LocalFileSystem, path: str, *arguments: object, **options: object) -> object:
        opened.append(path)
        return plain(fs, path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "_open", counting)
        inline.run(tmp_path / "run", pattern)
    files = [path for path in opened if "/in/" in path]
    assert len(files) == 2 * len(set(files)) == 18  # by split and by validate


def test_changed_file_is_told_by_its_name_among_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = written(tmp_path / "in", [csv_text(row()) for _ in range(5)])
    together = many.together

    def changing(*arguments: object, **options: object) -> object:
        path = tmp_path / "in/o-3.csv"
        path.write_bytes(path.read_bytes().replace(b"lamp", b"pump"))
        return together(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(many, "together", changing)
    with pytest.raises(InputError, match=r"o-3\.csv has changed since it was split: run again"):
        inline.run(tmp_path / "run", pattern, partitions=1)


def test_work_is_done_in_turn_and_ends_at_the_first_error() -> None:
    done, both = list[int](), threading.Barrier(2, timeout=20)

    def work(number: int) -> int:
        if number < 2:
            both.wait()  # two are at work at a time
        if number == 5:
            raise InputError("the sixth")
        done.append(number)
        return number * number

    found = list[int]()
    with pytest.raises(InputError, match="the sixth"):
        found.extend(in_turn(work, range(1000), 2))
    assert len(done) < 20
    assert list(in_turn(lambda number: number * number, range(50), 4)) == [number**2 for number in range(50)]


def test_small_files_of_a_store_are_requested_once_by_each_stage(
    tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    fs, folder, asked = s3fs.S3FileSystem(), f"{s3}/{tmp_path.name}", Counter[str]()
    contents = [csv_text(row(order_id=f"A{number}", quantity=str(number % 5))) for number in range(40)]
    local = inline.run(tmp_path / "local", written(tmp_path / "in", contents))
    for number, content in enumerate(contents):
        fs.pipe_file(f"{folder}/o-{number}.csv", content)
    plain = s3fs.S3FileSystem._call_s3

    async def counting(self: s3fs.S3FileSystem, method: str, *arguments: object, **options: object) -> object:
        asked[method] += 1
        return await plain(self, method, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(s3fs.S3FileSystem, "_call_s3", counting)
        stored = inline.run(tmp_path / "stored", f"{folder}/*.csv")
    assert stored["report/analytics_report.json"] == local["report/analytics_report.json"]
    assert [each[1:] for each in rejected(stored)] == [each[1:] for each in rejected(local)]
    assert asked["get_object"] == 2 * len(contents)
    assert asked["head_object"] < 10


@pytest.mark.slow
def test_thousands_of_files_take_seconds_to_compute(tmp_path: Path) -> None:
    pattern = written(tmp_path / "in", [csv_text(row(quantity=str(number % 3))) for number in range(3000)])
    started = time.process_time()
    results = inline.run(tmp_path / "run", pattern)
    assert time.process_time() - started < 10  # two, on a machine of 2026; it was sixty
    assert len(rejected(results)) == 2000
