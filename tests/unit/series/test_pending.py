"""What is pending of a series, by real runs of real files."""

import gzip
import json
import os
import re
import shutil
from pathlib import Path

import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

import daskjobs
from conftest import Command, csv_text, row
from daskjobs.errors import InputError, UsageError
from daskjobs.series.pending import Asked, Pending, days_of, of_day, pending
from daskjobs.stages import STAGES

NEW, GONE = "no good run has read it", "there is no file of it"
OLD = 1_700_000_000.0  # a time long ago, in seconds


def touch(path: Path, seconds: float = OLD) -> Path:
    os.utime(path, (seconds, seconds))
    return path


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    """A folder of three files, of which two are packed or in another format; and one that is no orders."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "orders-2.csv").write_bytes(csv_text(row(order_id="2"), row(order_id="22")))
    (folder / "orders-10.csv.gz").write_bytes(gzip.compress(csv_text(row(order_id="10"), row(order_id="11"))))
    pq.write_table(arrow_csv.read_csv(folder / "orders-2.csv"), folder / "orders-30.parquet")
    (folder / "orders-2.csv.control.json").write_text("""{"rows": 3}""")
    for path in folder.iterdir():
        touch(path)
    return folder


def names(series: Path, *patterns: object, **asked: object) -> list[tuple[str, str]]:
    found = pending(Asked([*map(str, patterns)], **asked), str(series), STAGES).pending  # type: ignore[arg-type]
    return [(Path(each.input).name, each.why) for each in found]


def run(series: Path, *files: Path, where: str = "1", **settings: object) -> None:
    daskjobs.run_orders(input=[*map(str, files)], run=series / where, max_rejected=1.0, **settings)


def test_each_new_file_is_pending_until_a_good_run_has_read_it(incoming: Path, tmp_path: Path) -> None:
    series, glob = tmp_path / "runs", incoming / "*"
    three = ["orders-2.csv", "orders-10.csv.gz", "orders-30.parquet"]
    assert names(series, glob) == [(name, NEW) for name in three]
    run(series, incoming / three[0], incoming / three[1])
    assert names(series, glob) == [(three[2], NEW)]
    run(series, incoming / three[2], where="2")
    assert names(series, glob, incoming / three[0]) == []


def test_a_changed_file_is_pending_again_and_a_copied_one_is_not(incoming: Path, tmp_path: Path) -> None:
    series = tmp_path / "runs"
    plain, packed, table = (incoming / f"orders-{name}" for name in ("2.csv", "10.csv.gz", "30.parquet"))
    run(series, plain, packed, table)
    for path in (plain, packed, table):  # another file of the same bytes
        shutil.copy(path, path.with_suffix(".copy"))
        os.replace(path.with_suffix(".copy"), path)
        touch(path, OLD + 1000)
    again = "it has changed since 1 has read it"
    assert names(series, plain, packed) == []
    assert names(series, table) == [(table.name, again)]  # of a Parquet file's rows, a run keeps no hash
    touch(plain).write_bytes(plain.read_bytes().replace(b"22", b"23"))  # as long as before
    packed.write_bytes(gzip.compress(csv_text(row(order_id="10"), row(order_id="12"))))
    assert names(series, touch(plain), touch(packed)) == [(plain.name, again), (packed.name, again)]
    run(series, plain, where="2")
    assert names(series, plain) == []


def test_a_changed_header_is_a_change(incoming: Path, tmp_path: Path) -> None:
    series, path = tmp_path / "runs", incoming / "orders-2.csv"
    run(series, path)
    path.write_bytes(path.read_bytes().replace(b"user_id,region", b"region,user_id"))
    assert names(series, touch(path)) == [(path.name, "it has changed since 1 has read it")]
    path.write_bytes(b"\x1f\x8b".ljust(path.stat().st_size, b"x"))
    assert names(series, touch(path)) == [(path.name, "it has changed since 1 has read it")]


def test_the_same_rows_under_another_name_are_pending(incoming: Path, tmp_path: Path) -> None:
    series, path = tmp_path / "runs", incoming / "orders-2.csv"
    run(series, path)
    shutil.copy2(path, other := path.with_name("orders-3.csv"))
    assert names(series, path, other) == [(other.name, NEW)]


def test_a_file_of_a_profile_is_compared_as_it_was_read(tmp_path: Path) -> None:
    series, path, profile = tmp_path / "runs", tmp_path / "orders.csv", tmp_path / "shop.toml"
    path.write_bytes(b"a title\n" + csv_text(row()).replace(b"lamp", b"l\xe4mp"))
    profile.write_text('[file]\nskip_lines = 1\nencoding = ["utf-8", "cp1252"]\n')
    run(series, touch(path), profile=str(profile))
    assert names(series, touch(path, OLD + 5)) == []
    path.write_bytes(path.read_bytes().replace(b"l\xe4mp", b"l\xf6mp"))
    assert names(series, touch(path)) == [(path.name, "it has changed since 1 has read it")]


def test_a_run_that_failed_has_read_nothing(incoming: Path, tmp_path: Path) -> None:
    series, path = tmp_path / "runs", incoming / "orders-2.csv"
    path.write_bytes(csv_text(row(status="?")))
    with pytest.raises(InputError):
        daskjobs.run_orders(input=str(touch(path)), run=series / "1", max_rejected=0)
    assert names(series, path) == [(path.name, NEW)]


def test_a_file_that_may_still_be_written_is_left_for_the_next_time(incoming: Path, tmp_path: Path) -> None:
    path = incoming / "orders-2.csv"
    path.touch()
    answer = pending(Asked([str(path)], settle=3600), str(tmp_path / "runs"), STAGES)
    assert answer.pending == []
    assert len(answer.left) == 1
    assert "may still be written: it is left for the next time" in answer.left[0]
    assert names(tmp_path / "runs", path, settle=0) == [(path.name, NEW)]


def test_a_file_whose_run_never_succeeds_is_given_up_until_it_changes(incoming: Path, tmp_path: Path) -> None:
    series, path = tmp_path / "runs", incoming / "orders-2.csv"
    path.write_bytes(b"not orders\n")
    (found,) = pending(Asked([str(touch(path))]), str(series), STAGES).pending
    with pytest.raises(InputError):
        daskjobs.run_orders(input=found.input, run=series / found.run)
    assert pending(Asked([str(path)]), str(series), STAGES).pending == [found]
    answer = pending(Asked([str(path)], give_up=-1), str(series), STAGES)
    assert answer.pending == []
    assert f"its run {series}/{found.run} began at " in answer.left[0]
    path.write_bytes(csv_text(row()))
    assert names(series, touch(path), give_up=-1) == [(path.name, NEW)]


def test_no_more_than_asked_for_are_named_and_the_others_later(incoming: Path, tmp_path: Path) -> None:
    answer = pending(Asked([f"{incoming}/*"], most=1), str(tmp_path / "runs"), STAGES)
    assert [Path(each.input).name for each in answer.pending] == ["orders-2.csv"]
    assert answer.left == ["2 more are left for the next time: --most is 1"]


def test_a_run_has_the_same_folder_whenever_the_same_file_is_asked_for(incoming: Path, tmp_path: Path) -> None:
    series, path = str(tmp_path / "runs"), incoming / "orders-2.csv"
    (first,) = pending(Asked([str(path)]), series, STAGES).pending
    (glob,) = pending(Asked([f"{incoming}/orders-2*"]), series, STAGES).pending
    assert first == glob == Pending(f"file://{path}", first.run, NEW)
    assert re.fullmatch(r"orders-2\.csv-[0-9a-f]{12}", first.run)
    path.write_bytes(path.read_bytes() + b"\n")
    (other,) = pending(Asked([str(touch(path))]), series, STAGES).pending
    assert other.run != first.run


def test_files_of_the_series_and_names_that_nobody_can_pass_on_are_left_out(incoming: Path, tmp_path: Path) -> None:
    series = incoming / "runs"
    run(series, incoming / "orders-2.csv")
    (incoming / "odd\nname.csv").write_bytes(csv_text(row()))
    answer = pending(Asked([f"{incoming}/**/*.csv"], settle=0), str(series), STAGES)
    assert [Path(each.input).name for each in answer.pending] == []
    assert "can't be named here" in answer.left[0]


def test_days_are_pending_whole(tmp_path: Path) -> None:
    """Also a day without a file, whose run then says so; and one of whose files only some were read."""
    series, pattern = tmp_path / "runs", f"{tmp_path}/%Y/orders-%m%d*.csv"
    (tmp_path / "2026").mkdir()
    for name in ("1101", "1103", "1103-late"):
        Path(tmp_path, "2026", f"orders-{name}.csv").write_bytes(csv_text(row()))
    days = days_of("2026-11-01..2026-11-03")
    found = pending(Asked([pattern], days), str(series), STAGES).pending
    assert [(each.day, each.why) for each in found] == [(days[0], NEW), (days[1], GONE), (days[2], NEW)]
    assert found[2].input == f"{tmp_path}/2026/orders-1103*.csv"
    assert len({each.run for each in found}) == 3
    assert all(each.run.startswith(f"{each.day}-") for each in found)
    run(series, tmp_path / "2026/orders-1101.csv", tmp_path / "2026/orders-1103.csv")
    assert [each.day for each in pending(Asked([pattern], days), str(series), STAGES).pending] == days[1:]
    daskjobs.run_orders(input=found[2].input, run=series / found[2].run, as_of=days[2])
    assert [each.day for each in pending(Asked([pattern], days), str(series), STAGES).pending] == days[1:2]
    other = pending(Asked([pattern, str(tmp_path / "%Y%m%d.csv")], days), str(series), STAGES).pending
    assert other[1].run != found[1].run  # of other orders


@pytest.mark.parametrize("text", ["2026-11-31", "2026-11-03..2026-11-01", "20261101", "2026-11-01..", "x", ""])
def test_days_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--days must be"):
        days_of(text)


def test_pattern_of_days_must_have_the_whole_day() -> None:
    assert of_day("file:///100%%/%d.%m.%Y", "2026-11-05") == "file:///100%/05.11.2026"
    with pytest.raises(UsageError, match=r"it has no %Y and no %d"):
        of_day("s3://bucket/orders-%m.csv", "2026-11-05")


def test_command_prints_what_input_takes_and_writes_what_argo_takes(daskjobs: Command, incoming: Path) -> None:
    odd = incoming / "{{=1+1}} $(HOME) $$.csv"
    odd.write_bytes(csv_text(row()))
    touch(odd)
    done = daskjobs("pending", "--input", "in/*.csv", "--series", "runs", "--outputs", "shown")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"file://{incoming}/orders-2.csv", f"file://{odd}"]
    assert f"file://{odd}: {NEW}" in done.stderr
    shown = json.loads((incoming.parent / "shown/pending.json").read_text())
    value = shown[1]["input"]
    assert "{" not in value
    assert value.replace("$(DASKJOBS_BRACE)", "{").replace("$$", "$") == f"file://{odd}"
    listed = daskjobs("pending", "--input", "in/*.csv", "--series", "runs", "--json")
    found = json.loads(listed.stdout)
    assert [each["input"] for each in found] == done.stdout.splitlines()
    assert [each["run"] for each in found] == [each["run"] for each in shown]
    for each in found:
        made = daskjobs("run", "--input", each["input"], "--run", f"runs/{each['run']}")
        assert made.returncode == 0, made.stderr
    empty = daskjobs("pending", "--input", "in/*.csv", "--series", "runs", "--outputs", "shown")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert json.loads((incoming.parent / "shown/pending.json").read_text()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--input", "missing.csv", "--series", "runs"], 10, "missing.csv names no file"),
        (["--input", "missing-*.csv", "--series", "runs"], 0, ""),
        (["--series", "runs"], 2, "Missing option '--input'"),
        (["--input", "a.csv", "--series", "runs", "--series", "other"], 2, "--series is given more than once"),
        (["--input", "a.csv", "--series", "runs", "--days", "2026-11-01"], 2, "must have the day in it"),
        (["--input", "a.csv", "--series", "runs", "--settle", "nan"], 2, "--settle must be at least 0 seconds"),
    ],
)
def test_wrong_use_is_answered_with_a_sentence(
    daskjobs: Command, arguments: list[str], code: int, sentence: str
) -> None:
    done = daskjobs("pending", *arguments)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_files_in_s3_are_pending_by_what_s3_says_of_them_and_by_their_rows(s3: str) -> None:
    from daskjobs.files.storage import Storage

    place, series = Storage(f"{s3}/pending"), f"{s3}/pending/runs"
    for name in ("a.csv", "b.csv", "b.csv.control.json"):
        place.put(f"in/{name}", csv_text(row(order_id=name)))
    asked = Asked([f"{s3}/pending/in/*"], settle=0)
    found = pending(asked, series, STAGES).pending
    assert [each.input for each in found] == [f"{s3}/pending/in/{name}" for name in ("a.csv", "b.csv")]
    daskjobs.run_orders(input=found[0].input, run=f"{series}/{found[0].run}")
    assert pending(asked, series, STAGES).pending == found[1:]
    place.put("in/a.csv", csv_text(row(order_id="a.csv")))  # the same rows, delivered again
    assert pending(asked, series, STAGES).pending == found[1:]
    place.put("in/a.csv", csv_text(row(order_id="A.csv")))
    assert [each.why for each in pending(asked, series, STAGES).pending] == [
        f"it has changed since {found[0].run} has read it",
        NEW,
    ]
    assert pending(Asked([f"{s3}/pending/in/*"], settle=3600), series, STAGES).pending == []
