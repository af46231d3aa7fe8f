"""What isn't plain UTF-8 text: what it is said to be, and how much of it is unpacked."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pytest

import inline
from conftest import TESTS, Pipeline, csv_text, row
from daskjobs.errors import ConfigError, InputError, UsageError
from daskjobs.orders.sources import lines, unpack
from daskjobs.stages import generate


def zipped(name: str, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, "application/vnd.oasis.opendocument.spreadsheet")
    return file.getvalue()


def written(write: object) -> bytes:
    file = io.BytesIO()
    write(pa.table({"order_id": ["A1"]}), file)  # type: ignore[operator]
    return file.getvalue()


OTHERS = {
    "an Excel workbook": [
        zipped("[Content_Types].xml"),
        zipped("xl/workbook.xml"),
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    ],
    "an OpenDocument spreadsheet": [zipped("mimetype", zipfile.ZIP_STORED)],
    "a zip archive": [zipped("orders.csv")],
    "compressed with xz": [lzma.compress(b"x")],
    "compressed with bzip2": [bz2.compress(b"x")],
    "compressed with lz4": [pa.compress(b"x" * 99, "lz4", asbytes=True)],
    "compressed twice": [gzip.compress(gzip.compress(csv_text(row())))],
    "a tar archive": [b"x" * 257 + b"ustar\x0000", gzip.compress(b"x" * 257 + b"ustar\x0000")],
    "an ORC file": [written(pyarrow.orc.write_table)],
    "an Arrow file": [written(pyarrow.feather.write_feather)],
    "an Avro file": [b"Obj\x01\x04\x16avro.schema"],
    "an SQLite database": [b"SQLite format 3\x00\x10\x00"],
    "a PDF document": [b"%PDF-1.7\n"],
    "HTML or XML": [b"<!DOCTYPE html><html>", b'<?xml version="1.0"?>', b"\n<html>"],
}


@pytest.mark.parametrize("what", OTHERS)
def test_file_is_said_to_be_what_it_is_when_it_is_no_csv_file(pipeline: Pipeline, tmp_path: Path, what: str) -> None:
    for data in OTHERS[what]:
        (tmp_path / "x.csv").write_bytes(data)
        with pytest.raises(InputError, match=f"x.csv is {what}: "):
            pipeline("split", input=str(tmp_path / "x.csv"))


@pytest.mark.parametrize(
    "encoding", [*unpack.NO_TEXT, "rot13", "base64", "zlib", "hex", "uu", "aliases", "é", "x" * 99]
)
def test_encoding_that_is_none_of_texts_is_a_usage_error(pipeline: Pipeline, tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x.csv").write_bytes(csv_text(row()))
    with pytest.raises(UsageError, match="must be a text encoding that Python knows"):
        pipeline("split", input=str(tmp_path / "x.csv"), encoding=encoding)


@pytest.mark.parametrize("data", [b"\n" * (40 << 20), b"\0" * (40 << 20), b"id\n" + b"1\n" * (20 << 20)])
def test_nothing_is_unpacked_when_what_would_come_has_no_header(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(data, 1))
    monkeypatch.setattr(unpack, "unpack", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(InputError, match=r"has no column|begins with a row of more than 1 MiB"):
        pipeline("split", input=str(tmp_path / "x.csv.gz"))


def test_nothing_of_what_was_unpacked_stays_when_another_file_is_no_use(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(csv_text(*(row() for _ in range(9)))))
    (tmp_path / "b.csv").write_bytes(b"no orders\n")
    with pytest.raises(InputError, match="has no column"):
        pipeline("split", input=str(tmp_path / "*.csv*"))
    assert not list((tmp_path / "run").rglob("input-*"))


def test_unpacking_ends_with_a_sentence_before_the_disk_is_full(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(csv_text(*(row() for _ in range(99)))))
    pipeline("split", input=str(tmp_path / "x.csv.gz"), where="small")
    monkeypatch.setattr(unpack, "LOOK_BYTES", 1000)
    monkeypatch.setattr(unpack, "RESERVE_BYTES", 1 << 60)
    with pytest.raises(ConfigError, match=r"MiB are free in .*: make room there, or choose another --run"):
        pipeline("split", input=str(tmp_path / "x.csv.gz"))
    assert not list((tmp_path / "run").rglob("input-*"))


def test_generating_ends_with_a_sentence_before_it_begins_when_the_disk_is_too_small(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pipeline("generate", rows=1000)["generate"].outputs
    size = sum(output.size for output in made.values())
    assert generate.ROW_BYTES * 0.9 < size / 1000 < generate.ROW_BYTES * 1.1
    monkeypatch.setattr(generate, "RESERVE_BYTES", 1 << 60)
    assert pipeline("generate", rows=1000)["generate"].skipped
    pipeline("generate", rows=2000)
    monkeypatch.setattr(generate, "SMALL_BYTES", 1000)
    with pytest.raises(ConfigError, match=r"--rows 3000 would write about 0.0 GB, and .* GB are free in"):
        pipeline("generate", rows=3000)


def test_blocks_have_few_rows_when_lines_are_empty(tmp_path: Path) -> None:
    data, at, found = b"\n" * (lines.BLOCK_BYTES + 1000), 0, 0
    for offset, block, ends in lines.blocks(io.BytesIO(data), 0, len(data), "x"):
        assert offset == at
        assert block[: ends[-1]] == data[at : at + int(ends[-1])]
        assert len(ends) <= lines.BLOCK_ROWS
        at, found = at + int(ends[-1]), found + len(ends)
    assert found == at == len(data)


def test_columns_without_a_name_are_called_by_their_number(tmp_path: Path) -> None:
    text = csv_text(f"{row()},,", f"{row()},x,", header=csv_text().decode().strip() + ",,")
    (tmp_path / "x.csv").write_bytes(text)
    results = inline.run(tmp_path / "run", str(tmp_path / "x.csv"))
    assert results["report/analytics_report.json"] == b'{"orders": 2, "revenue": 42.00}\n'


def test_header_of_hundreds_of_kilobytes_is_a_header(pipeline: Pipeline, tmp_path: Path) -> None:
    extra = [f"column{number}" for number in range(20_000)]
    (tmp_path / "x.csv").write_bytes(csv_text(header=",".join([csv_text().decode().strip(), *extra])))
    assert (tmp_path / "x.csv").stat().st_size > 128 << 10
    assert pipeline("split", input=str(tmp_path / "x.csv"))["split"].rows["out"] == 0


PARQUET = (TESTS / "corpus/parquet_of_texts.parquet").read_bytes()
MANY = csv_text(*(row(product=f"{number:x}{number * 7919:x}") for number in range(9000)))  # of some MiB, hard to pack


def zip_of(data: bytes = MANY, name: str = "o.csv", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, data)
    return file.getvalue()


def tar_of(data: bytes = MANY, mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        entry = tarfile.TarInfo("o.csv")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def with_method(archive: bytes, method: int = 0, flags: int = 0) -> bytes:
    """Change what both headers of a zip archive's only file say of how it is compressed."""
    changed = bytearray(archive)
    for start, at in ((0, 6), (archive.index(b"PK\x01\x02"), 8)):
        if flags:
            changed[start + at : start + at + 2] = flags.to_bytes(2, "little")
        if method:
            changed[start + at + 2 : start + at + 4] = method.to_bytes(2, "little")
    return bytes(changed)


def damaged_at(archive: bytes, share: float, bytes_: bytes = b"\xff\x00" * 400) -> bytes:
    at = int(len(archive) * share)
    return archive[:at] + bytes_ + archive[at + len(bytes_) :]


ARCHIVES = {
    "encrypted": ("zip", with_method(zip_of(), flags=1), "is encrypted: unpack it with its password"),
    "deflate64": ("zip", with_method(zip_of(), 9), "is compressed by an unknown method .*: unpack it"),
    "strongly encrypted": ("zip", with_method(zip_of(), flags=0x41), "by an unknown method|is encrypted"),
    "unknown method": ("zip", with_method(zip_of(), 98), "is compressed by an unknown method"),
    "damaged at once": ("zip", damaged_at(zip_of(), 0.001), "is damaged: .*check that its archive is complete"),
    "damaged later": ("zip", damaged_at(zip_of(), 0.9), "is damaged: .*check that its archive is complete"),
    "stored and damaged": ("zip", damaged_at(zip_of(method=zipfile.ZIP_STORED), 0.5), "is damaged: Bad CRC-32"),
    "bzip2, damaged": ("zip", damaged_at(zip_of(method=zipfile.ZIP_BZIP2), 0.5), "is damaged"),
    "lzma, damaged": ("zip", damaged_at(zip_of(method=zipfile.ZIP_LZMA), 0.5), "is damaged"),
    "cut": ("zip", zip_of()[:-100], "can't be reached"),
    "no archive": ("zip", csv_text(row()), "can't be reached"),
    "empty": ("zip", b"", "can't be reached"),
    "another name": ("zip", zip_of(name="x.csv"), "names no file"),
    "a folder of that name": ("zip", zip_of(name="o.csv/x.csv"), "is a folder: give a glob"),
    "an archive in it": ("zip", zip_of(zip_of(), "o.csv"), "is a zip archive"),
    "tar, cut": ("tar", tar_of()[:90_000], "is damaged|can't be reached"),
    "tar, no archive": ("tar", MANY, "can't be reached"),
    "tar.gz, damaged": ("tar.gz", damaged_at(tar_of(mode="w:gz"), 0.6), "is damaged|can't be reached"),
    "tar.gz, cut": ("tar.gz", tar_of(mode="w:gz")[:-1000], "is damaged|can't be reached"),
    "tar.bz2, damaged": ("tar.bz2", damaged_at(tar_of(mode="w:bz2"), 0.6), "is damaged|can't be reached"),
    "tar.xz, damaged": ("tar.xz", damaged_at(tar_of(mode="w:xz"), 0.6), "is damaged|can't be reached"),
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_archive_that_cannot_be_unpacked_is_a_sentence(pipeline: Pipeline, tmp_path: Path, what: str) -> None:
    ending, data, words = ARCHIVES[what]
    (tmp_path / f"o.{ending}").write_bytes(data)
    with pytest.raises(InputError, match=words):
        pipeline("split", input=f"{ending.partition('.')[0]}://o.csv::{tmp_path}/o.{ending}")
    assert not list((tmp_path / "run").rglob("input-*"))


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_file_of_an_archive_is_read_when_it_is_sound(tmp_path: Path, ending: str) -> None:
    kind, _, packed = ending.partition(".")
    for name, data in {"csv": csv_text(row(), row()), "parquet": PARQUET}.items():
        archive = zip_of(data) if kind == "zip" else tar_of(data, f"w:{packed}")
        (tmp_path / f"{name}.{ending}").write_bytes(archive)
        results = inline.run(tmp_path / name, f"{kind}://o.csv::{tmp_path}/{name}.{ending}")
        assert b'"revenue": 0.00' not in results["report/analytics_report.json"]


def test_file_of_an_archive_in_an_archive_is_read(tmp_path: Path) -> None:
    (tmp_path / "o.zip").write_bytes(zip_of(zip_of(csv_text(row())), "inner.zip"))
    results = inline.run(tmp_path / "run", f"zip://o.csv::zip://inner.zip::{tmp_path}/o.zip")
    assert results["report/analytics_report.json"] == b'{"orders": 1, "revenue": 21.00}\n'
    with pytest.raises(InputError):
        inline.run(tmp_path / "no", f"zip://o.csv::zip://o.csv::{tmp_path}/o.zip")


@pytest.mark.parametrize(
    ("codec", "harm"),  # the zstd of pyarrow has no checksum
    [
        ("gzip", "damaged"),
        *((codec, f"cut{where}") for codec in ("gzip", "zstd") for where in ("", " at its end", " at once")),
    ],
)
def test_compressed_file_is_a_sentence_when_it_is_damaged_or_cut(
    pipeline: Pipeline, tmp_path: Path, codec: str, harm: str
) -> None:
    kept = pa.BufferOutputStream()
    with pa.CompressedOutputStream(kept, codec) as stream:
        stream.write(MANY)
    data = kept.getvalue().to_pybytes()
    harmed = {"cut": data[: len(data) // 2], "cut at its end": data[:-1], "damaged": damaged_at(data, 0.7),
              "cut at once": data[:5]}[harm]  # fmt: skip
    (tmp_path / "x.csv.packed").write_bytes(harmed)
    with pytest.raises(InputError, match="x.csv.packed (can't be unpacked|is empty)"):
        pipeline("split", input=str(tmp_path / "x.csv.packed"))
    assert not list((tmp_path / "run").rglob("input-*"))


def test_files_that_look_like_utf8_are_told_when_an_encoding_is_given(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv_text(row(product="théière")).decode().encode("cp1252"))
    (tmp_path / "b.csv").write_bytes(csv_text(row(product="théière")))
    (tmp_path / "c.csv").write_bytes(csv_text(row()))  # ASCII, which is both
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(csv_text(row(product="café"))))

    def warnings(pattern: str, **said: str) -> list[str]:
        quality = inline.run(tmp_path / f"run-{pattern[:1]}{len(said)}", f"{tmp_path}/{pattern}", **said)
        return [each for each in json.loads(quality["report/quality.json"])["warnings"] if "UTF-8" in each]

    (said,) = warnings("*.csv*", encoding="cp1252")
    assert said.startswith("b.csv, d.csv.gz look like UTF-8, and were read as --encoding says: ")
    assert warnings("[ac].csv", encoding="cp1252") == warnings("*.csv*") == []
