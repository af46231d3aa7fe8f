"""The lines of CSV files are accounted for: those in the files, the headers', the rows', and those inside of fields."""

import gzip
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import inline
import oracle
from conftest import TESTS, Command, Pipeline, csv_text, row
from daskjobs.errors import LostWorkError
from daskjobs.orders.sources import fields
from daskjobs.orders.sources.csv import CsvFormat
from daskjobs.orders.sources.format import RowRange

HEADER = ",".join(oracle.COLUMNS)
TWO_LINES = row(product='"two\r\nlines"')
SWALLOWING = [row(product='"Retro lamp'), row(), row(product='lamp 5"')]  # one row, by RFC 4180


def quality(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "report/quality.json").read_text()))


def lines_of(folder: Path, data: bytes, name: str = "x.csv", **options: Any) -> tuple[int, int, int, int]:
    (folder / name).write_bytes(data)
    inline.run(folder / "run", str(folder / name), **options)
    lines = quality(folder / "run")["lines"]
    return lines["in_files"], lines["headers"], lines["rows"], lines["inside_quotes"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (csv_text(row(), TWO_LINES), (4, 1, 2, 1)),
        (csv_text(row(), TWO_LINES).removesuffix(b"\n"), (4, 1, 2, 1)),
        (csv_text(row(), row()).replace(b"\n", b"\r\n"), (3, 1, 2, 0)),
        (csv_text(TWO_LINES, header=HEADER.replace("region", '"region\n"')), (4, 1, 1, 2)),
        (HEADER.encode(), (1, 1, 0, 0)),
        (csv_text(*SWALLOWING), (4, 1, 1, 2)),
        (csv_text(row(), "", '"\n'), (5, 1, 4, 0)),
        (csv_text('"a\nb",too few', row()) + b'"caf\xe9\n",x\n', (6, 1, 3, 2)),
    ],
)
def test_lines_of_a_file_are_headers_rows_and_line_ends_inside_of_fields(
    tmp_path: Path, data: bytes, expected: tuple[int, int, int, int]
) -> None:
    found = lines_of(tmp_path, data, partitions=2)
    assert found[0] == sum(found[1:]) == data.count(b"\n") + (not data.endswith(b"\n"))
    assert found == expected


def test_lines_are_those_of_the_unpacked_text_when_a_file_is_compressed_or_encoded(tmp_path: Path) -> None:
    packed = gzip.compress(csv_text(row(), TWO_LINES).decode().encode("utf-16"))
    assert lines_of(tmp_path, packed, encoding="utf-16") == (4, 1, 2, 1)


def test_escaped_line_ends_are_counted_and_escapes_that_mean_one_are_not(tmp_path: Path) -> None:
    data = csv_text(row(product="two\\\nlines"), row(product="one\\nline"))
    assert lines_of(tmp_path, data, quoting="backslash") == (4, 1, 2, 1)


def test_parquet_has_no_lines(tmp_path: Path) -> None:
    data = (TESTS / "corpus/parquet_of_texts.parquet").read_bytes()
    assert lines_of(tmp_path, data, "x.parquet") == (0, 0, 0, 0)


@pytest.mark.parametrize("lost", [1, -1])
def test_run_fails_when_split_counts_other_line_ends_than_there_are_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    ranges = CsvFormat.ranges

    def miscounted(*arguments: Any) -> Iterator[tuple[int, RowRange]]:
        for partition, part in ranges(*arguments):
            yield partition, replace(part, lines=(part.lines or 0) + lost)

    monkeypatch.setattr(CsvFormat, "ranges", miscounted)
    with pytest.raises(LostWorkError, match="line ends in its files, but .* rows with .* line ends in their fields"):
        lines_of(tmp_path, csv_text(row(), row()))
    assert not (tmp_path / "run/report/quality.json").exists()


def test_run_fails_when_the_header_has_other_line_ends_than_were_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = fields.split
    monkeypatch.setattr(fields, "split", lambda line, dialect: (split(line, dialect)[0], 7))
    with pytest.raises(LostWorkError, match="lines are missing: .*in_files must be the sum of the others"):
        lines_of(tmp_path, csv_text(row()))


def test_rows_that_look_like_several_are_counted_and_the_first_of_them_named(tmp_path: Path) -> None:
    data = csv_text(row(), *SWALLOWING, TWO_LINES, *SWALLOWING * 4, row())
    (tmp_path / "x.csv").write_bytes(data)
    one = inline.run(tmp_path / "one", str(tmp_path / "x.csv"), partitions=1)
    assert inline.run(tmp_path / "two", str(tmp_path / "x.csv"), 100, partitions=4) == one
    found = quality(tmp_path / "one")
    several = found["lines"]["rows_like_several"]
    assert (several["rows"], several["line_ends"]) == (5, 10)
    assert [(line["row"], line["line_ends"]) for line in several["first"]] == [(2, 2), (4, 2), (5, 2)]
    assert found["warnings"] == [
        "5 rows hold 10 line ends inside quotes and each look like several rows: row 2 of x.csv, row 4 of x.csv, "
        "row 5 of x.csv and 2 more; if quotes are plain characters in this file, use --quoting none"
    ]


@pytest.mark.slow
def test_row_that_looks_like_several_is_told_of_on_the_terminal_in_the_log_and_on_the_page(
    daskjobs: Command, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_bytes(csv_text(*SWALLOWING))
    done = daskjobs("run", "--input", "x.csv", "--run", "run", "--dashboard", "127.0.0.1:0")
    sentence = "1 row holds 2 line ends inside quotes and looks like several rows: row 1 of x.csv; if quotes"
    assert f"warning    {sentence}" in done.stdout
    assert re.search(r"WARNING rows.look_like_several run=\S+ rows=1 line_ends=2 ", done.stderr)
    page = (tmp_path / "run/report/report.html").read_text()
    assert sentence in page
    assert "4 lines in the CSV files = 1 header line + 1 row + 2 line ends inside quoted fields." in page
    again = daskjobs("run", "--input", "x.csv", "--run", "two", "--quoting", "none", "--dashboard", "127.0.0.1:0")
    assert "orders     3\n" in again.stdout
    assert "warning" not in again.stdout.lower()


def test_no_row_is_told_of_when_a_field_holds_line_ends_but_no_rows(
    pipeline: Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x.csv").write_bytes(csv_text(TWO_LINES, row(product='"a,b\nc,d\n\n"')))
    with caplog.at_level(logging.WARNING, "daskjobs"):
        pipeline(*inline.STAGES, input=str(tmp_path / "x.csv"))
    assert quality(tmp_path / "run")["warnings"] == []
    assert "look_like_several" not in caplog.text
