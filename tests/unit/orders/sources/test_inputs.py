"""Which files an --input names, and what is said when it names something else."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import fsspec
import pytest

import inline
from conftest import TESTS, csv_text, row
from daskjobs.errors import InputError
from daskjobs.orders.sources.inputs import find_inputs
from daskjobs.stages import new_context, run_stage
from daskjobs.stages.run_settings import Settings

CORPUS = TESTS / "corpus"
ODD_NAMES = ["orders[1].csv", "[2025] orders.csv", "a::b.csv", "what?.csv", "50%.csv", "#1.csv", "lat\udce9.csv"]


def report(folder: Path, pattern: str) -> bytes:
    return inline.run(folder, pattern)["report/analytics_report.json"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_file_that_exists_is_read_when_its_name_has_odd_characters(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(csv_text(row(), row(price="x")))
    (tmp_path / "orders1.csv").write_bytes(b"what a glob would find")
    assert report(tmp_path / "run", str(tmp_path / name)) == b'{"orders": 1, "revenue": 21.00}\n'
    listed = os.fsencode(name).decode(errors="backslashreplace")
    assert f"/{listed}" in (tmp_path / "run/merge/quarantine.csv").read_text()


@pytest.mark.parametrize("above", ["\n", "\r\n \t\r\n", "\ufeff\n\n", "\n" * 3000])
def test_blank_lines_above_the_header_are_counted_and_left_out(tmp_path: Path, above: str) -> None:
    rejected = row(price="x")
    (tmp_path / "o.csv").write_bytes(above.encode() + csv_text(row(), rejected))
    results = inline.run(tmp_path / "run", str(tmp_path / "o.csv"))
    assert results["report/analytics_report.json"] == b'{"orders": 1, "revenue": 21.00}\n'
    lines = json.loads(results["report/quality.json"])["lines"]
    assert (lines["in_files"], lines["headers"], lines["rows"]) == (above.count("\n") + 3, 1, 2)
    assert lines["outside"] == above.count("\n")
    inline.run(tmp_path / "again", str(tmp_path / "run/merge/rejected-00000.csv"))  # which has them, too
    expected = above.removeprefix("\ufeff").encode() + csv_text(rejected)
    assert (tmp_path / "again/merge/rejected-00000.csv").read_bytes() == expected


def test_files_with_odd_names_are_read_when_a_glob_finds_them(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        (tmp_path / name).write_bytes(csv_text(row()))
    assert report(tmp_path / "run", str(tmp_path / "*.csv")) == b'{"orders": 7, "revenue": 147.00}\n'


@pytest.mark.parametrize("name", ["my orders.csv", "a%20b.csv", "50%.csv", "a%2520b.csv", *ODD_NAMES])
def test_file_is_read_when_its_uri_is_as_python_writes_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(csv_text(row(), row(price="x")))
    uri = (tmp_path / name).as_uri()
    assert report(tmp_path / "run", uri) == b'{"orders": 1, "revenue": 21.00}\n'
    assert list(find_inputs(uri.replace("file://", "file://localhost"))) == list(find_inputs(str(tmp_path / name)))


def test_name_with_percent_signs_is_meant_when_a_path_says_so_or_no_other_is_there(tmp_path: Path) -> None:
    (tmp_path / "a%20b.csv").write_bytes(csv_text(row()))
    literal = tmp_path / "a%20b.csv"
    assert report(tmp_path / "1", f"file://{literal}") == b'{"orders": 1, "revenue": 21.00}\n'
    (tmp_path / "a b.csv").write_bytes(csv_text(row(), row()))
    assert report(tmp_path / "2", f"file://{literal}") == b'{"orders": 2, "revenue": 42.00}\n'
    assert report(tmp_path / "3", str(literal)) == b'{"orders": 1, "revenue": 21.00}\n'
    assert report(tmp_path / "4", f"{tmp_path}/a*.csv") == b'{"orders": 3, "revenue": 63.00}\n'


def test_run_and_archive_are_found_when_their_uris_are_encoded(tmp_path: Path) -> None:
    folder = tmp_path / "my files"
    folder.mkdir()
    with zipfile.ZipFile(folder / "o.zip", "w") as archive:
        archive.writestr("orders.csv", csv_text(row()))
    (folder / "orders.csv").write_bytes(csv_text(row()))
    for name in (f"zip://orders.csv::{(folder / 'o.zip').as_uri()}", f"{folder.as_uri()}/o*.csv"):
        with inline.stages_inline():
            for stage in inline.STAGES:
                run_stage(stage, new_context(Settings.of(run_uri=(tmp_path / "my runs/1").as_uri(), input=name)))
        assert (
            tmp_path / "my runs/1/report/analytics_report.json"
        ).read_bytes() == b'{"orders": 1, "revenue": 21.00}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my files", "my runs"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["a.csv", "*.csv"])
def test_file_is_refused_when_its_zip_archive_has_two_of_its_name(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "o.zip", "w") as archive:
        for member in ("a.csv", "b.csv", "a.csv"):
            archive.writestr(member, "x\n")
    assert list(find_inputs(f"zip://b.csv::{tmp_path}/o.zip")) == [f"zip://b.csv::{tmp_path}/o.zip"]
    with pytest.raises(InputError, match="is of a zip archive with several files named a.csv: unpack the one that you"):
        find_inputs(f"zip://{name}::{tmp_path}/o.zip")


def test_mark_of_an_archives_file_is_the_same_in_each_process_and_another_when_the_archive_changes(
    tmp_path: Path,
) -> None:
    uris = [f"zip://o.csv::{tmp_path}/o.zip", f"tar://o.csv::{tmp_path}/o.tar"]
    code = f"from daskjobs.orders.sources.inputs import find_inputs; print(*map(find_inputs, {uris}), sep='\\n')"

    def pack(text: str) -> None:
        (tmp_path / "o.csv").write_text(text)
        with zipfile.ZipFile(tmp_path / "o.zip", "w") as archive, tarfile.open(tmp_path / "o.tar", "w") as tar:
            archive.write(tmp_path / "o.csv", "o.csv")
            tar.add(tmp_path / "o.csv", "o.csv")

    def marks() -> list[str]:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    pack("one")
    first = marks()
    assert len(first) == 2
    assert marks() == first
    pack("more")
    assert not {*marks()} & {*first}


@pytest.mark.parametrize("pattern", ["zip://orders.csv::{}/o.zip", "zip://*.csv::file://{}/o.zip"])
def test_file_in_an_archive_is_read_when_a_uri_says_so(tmp_path: Path, pattern: str) -> None:
    with zipfile.ZipFile(tmp_path / "o.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("orders.csv", csv_text(*(row() for _ in range(300))))
    assert report(tmp_path / "run", pattern.format(tmp_path)) == b'{"orders": 300, "revenue": 6300.00}\n'


@pytest.mark.parametrize(
    "uri",
    ["ftp://127.0.0.1:9/a.csv", "zip://orders.csv", "zip://a.csv::{}/missing.zip", "foo://x", "http://127.0.0.1:9/a.csv",
     "zip://a.csv::{}/no.zip", "file://{}/missing.csv", "simplecache::x"],
)  # fmt: skip
def test_uri_that_leads_nowhere_is_a_sentence(tmp_path: Path, uri: str) -> None:
    (tmp_path / "no.zip").write_bytes(b"no archive")
    with pytest.raises(InputError, match="^--input .* (can't be reached|names no file)"):
        find_inputs(uri.format(tmp_path))


def test_input_is_said_to_be_what_it_is_when_it_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    for name, words in {
        tmp_path: "is a folder: give a glob in quotes",
        tmp_path / "pipe": "is a pipe, which can be read only once",
        tmp_path / "socket": "is a socket",
        "/dev/null": "is a device",
        tmp_path / "missing.csv": "names no file; give the path, URI or glob",
    }.items():
        with pytest.raises(InputError, match=f"^--input {name} {words}"):
            find_inputs(str(name))


@pytest.mark.slow
def test_input_is_said_to_be_forbidden_when_it_is(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("folder/orders.csv", "orders.csv"):
        (tmp_path / name).write_bytes(csv_text(row()))
    (tmp_path / "orders.csv").chmod(0)
    (tmp_path / "folder").chmod(0)
    command = (
        "import sys; sys.path[:0] = eval(sys.argv[1])\n"
        "import os, pyarrow, fsspec.implementations.local\n"
        "import daskjobs.orders.sources.inputs as f, daskjobs.orders.sources as s\n"
        "from daskjobs.orders.dialect import InputFormat; from daskjobs.files.storage import Storage\n"
        "os.getuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534))\n"
        "for name in sys.argv[2:]:\n"
        "  try: [s.describe(Storage('x'), uri, 'plain', InputFormat()) for uri in f.find_inputs(name)]\n"
        "  except f.InputError as error: print(error)\n"
    )
    names = [str(tmp_path / name) for name in ("folder/orders.csv", "folder", "orders.csv")]
    folder = tmp_path
    while os.getuid() == 0 and folder != Path("/tmp") and folder != folder.parent:
        folder.chmod(0o755) if folder.owner() == "root" else None
        folder = folder.parent
    done = subprocess.run(
        [sys.executable, "-c", command, repr(sys.path), *names], capture_output=True, text=True, timeout=60, check=False
    )
    (tmp_path / "folder").chmod(0o700)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert "may not be looked at: ask for the right to its folder" in lines[0]
    assert "is a folder that may not be looked into" in lines[1]
    assert "Permission denied" in lines[2]


@pytest.mark.parametrize(
    ("mark", "kind"),
    [
        ("_delta_log/0.json", "Delta"),
        ("_delta_log/00000000000000000010.checkpoint.0000000001.0000000002.parquet", "Delta"),
        ("metadata/v1.metadata.json", "Iceberg"),
        ("metadata/00002-0b6a6c5e-5f0e-4ce5-8a2b-0d7c0c0a9c11.gz.metadata.json", "Iceberg"),
        (".hoodie/hoodie.properties", "Hudi"),
    ],
)
def test_folder_of_a_table_is_refused_and_a_glob_of_its_files_too(tmp_path: Path, mark: str, kind: str) -> None:
    table, plain = tmp_path / "table", tmp_path / "plain"
    for path in (table / mark, table / "region=north/day=1/part-0.parquet", plain / "part-0.parquet"):
        path.parent.mkdir(parents=True)
        path.touch()
    for pattern in (table, f"{table}/*/*/*.parquet", f"{table}/region=north/day=1/part-0.parquet"):
        with pytest.raises(InputError, match=f"is of an? {kind} table: .* rows that were deleted .* export"):
            find_inputs(str(pattern))
    with pytest.raises(InputError, match=re.escape(f"{table / mark} makes it one")):
        find_inputs(str(table))
    assert len(find_inputs(f"{plain}/*.parquet")) == 1
    assert len(find_inputs(f"{table}/*/*/*.parquet", ignore_table=True)) == 1
    with pytest.raises(InputError, match="is of an? "):
        find_inputs(str(table), ignore_table=True)


@pytest.mark.parametrize(
    "file", ["region=north/year=2025/month=1/day=1/hour=2/x.parquet", "data/0110/1010/0101/11/x.parquet"]
)
def test_file_is_of_a_table_when_many_folders_partition_it(tmp_path: Path, file: str) -> None:
    for path in (tmp_path / "_delta_log/0.json", tmp_path / file):
        path.parent.mkdir(parents=True)
        path.touch()
    with pytest.raises(InputError, match="is of a Delta table"):
        find_inputs(str(tmp_path / file))


@pytest.mark.parametrize(
    "mark",
    ["metadata/build.metadata.json", "metadata/v1.json", "_delta_log/", "_delta_log/readme.txt", ".hoodie/",
     ".hoodie/temp", "a_delta_log/0.json", "metadata"],
)  # fmt: skip
def test_file_is_of_no_table_when_a_folder_nearby_only_looks_like_one(tmp_path: Path, mark: str) -> None:
    for path in (tmp_path / f"{mark}x" if mark.endswith("/") else tmp_path / mark, tmp_path / "exports/2025/x.parquet"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    if mark.endswith("/"):
        (tmp_path / f"{mark}x").unlink()
    assert len(find_inputs(str(tmp_path / "exports/2025/x.parquet"))) == 1


def test_table_is_read_when_an_option_says_so(tmp_path: Path) -> None:
    shutil.copy(CORPUS / "parquet_of_texts.parquet", tmp_path / "x.parquet")
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "_delta_log/0.json").touch()
    with pytest.raises(InputError, match="give --ignore-table true"):
        inline.run(tmp_path / "run", f"{tmp_path}/*.parquet")
    results = inline.run(tmp_path / "run", f"{tmp_path}/*.parquet", ignore_table=True)
    assert results["report/analytics_report.json"] == b'{"orders": 1, "revenue": 21.00}\n'


def test_glob_passes_over_what_begins_with_a_dot_or_an_underscore(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["part-0.csv", "_SUCCESS", "_metadata", "_common_metadata", ".part-0.csv.crc", "day=1/x.csv",
             "_day=1/x.csv", "_temporary/0/x.csv"]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(pattern: str) -> list[str]:
        return [uri.partition(f"{tmp_path}/")[2] for uri in find_inputs(f"{tmp_path}/{pattern}")]

    assert found("*") == ["part-0.csv"]
    assert found("**") == ["_day=1/x.csv", "day=1/x.csv", "part-0.csv"]
    assert found("_temporary/*/x.csv") == ["_temporary/0/x.csv"]
    assert found("_S*") == found("_SUCCESS") == ["_SUCCESS"]
    assert found(".*.crc") == [".part-0.csv.crc"]
    with pytest.raises(InputError, match="finds nothing but _SUCCESS, which globs pass over: give a file by its name"):
        find_inputs(f"{tmp_path}/[_]SUCC*")
    assert not caplog.records
    (tmp_path / "_mine.csv").touch()
    assert found("*") == ["part-0.csv"]
    assert "input.passed_over names=_mine.csv of=1" in caplog.text


def test_folder_is_advised_as_a_glob_of_the_same_protocol(tmp_path: Path, s3: str) -> None:
    fsspec.filesystem("s3").pipe_file(f"{s3}/{tmp_path.name}/d/x.csv", b"1")
    with zipfile.ZipFile(tmp_path / "o.zip", "w") as archive:
        archive.writestr("d/x.csv", "1")
    for folder, glob in {
        f"{s3}/{tmp_path.name}/d": f"{s3}/{tmp_path.name}/d/*.csv",
        f"{s3}/{tmp_path.name}/d/": f"{s3}/{tmp_path.name}/d/*.csv",
        f"zip://d::{tmp_path}/o.zip": f"zip://d/*.csv::{tmp_path}/o.zip",
        f"file://{tmp_path}": f"file://{tmp_path}/*.csv",
        f"{tmp_path}/": f"{tmp_path}/*.csv",
    }.items():
        with pytest.raises(InputError, match=re.escape(f"is a folder: give a glob in quotes, like '{glob}'")):
            find_inputs(folder)


def test_mark_changes_when_the_file_does(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"one")
    before = find_inputs(str(path))
    assert find_inputs(str(path)) == before
    shutil.copy(path, tmp_path / "y")
    (tmp_path / "y").replace(path)
    assert find_inputs(str(path)) != before


def test_glob_finds_names_in_the_order_in_which_people_count(tmp_path: Path) -> None:
    names = [
        "o-10.csv",
        "o-2.csv",
        "o-02.csv",
        "o-1.csv",
        "o.csv",
        f"o-{'9' * 5000}.csv"[:200],
        "a-3/o.csv",
        "a-20/o.csv",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [uri.partition(f"{tmp_path}/")[2] for uri in find_inputs(f"{tmp_path}/**")]
    assert found == ["a-3/o.csv", "a-20/o.csv", "o-1.csv", "o-02.csv", "o-2.csv", "o-10.csv", names[5], "o.csv"]


def test_first_file_as_people_count_has_the_order_that_counts(tmp_path: Path) -> None:
    (tmp_path / "o-10.csv").write_bytes(csv_text(row(order_id="A", quantity="4", total_amount="42.00")))
    (tmp_path / "o-9.csv").write_bytes(csv_text(row(order_id="A")))
    results = inline.run(tmp_path / "run", f"{tmp_path}/*.csv")
    assert results["report/analytics_report.json"] == b'{"orders": 1, "revenue": 21.00}\n'
    assert b'o-10.csv","duplicate_order_id"' in results["merge/quarantine.csv"]


def test_glob_passes_over_a_notebooks_copies(tmp_path: Path) -> None:
    for name in ("o.csv", ".ipynb_checkpoints/o-checkpoint.csv", "below/.ipynb_checkpoints/p-checkpoint.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for pattern in ("**/*.csv", "**"):
        assert [uri.rpartition("/")[2] for uri in find_inputs(f"{tmp_path}/{pattern}")] == ["o.csv"]
