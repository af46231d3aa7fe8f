import time
from pathlib import Path

import pytest

from daskjobs.errors import ConfigError, StorageError
from daskjobs.files.digest import Output
from daskjobs.files.storage import Storage
from daskjobs.orders.sources.inputs import find_inputs


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "s3":
        return Storage(f"{request.getfixturevalue('s3')}/{tmp_path.name}")
    return Storage(str(tmp_path / "run"))


def test_file_is_there_whole_when_it_was_written(storage: Storage) -> None:
    with storage.write("a/b.txt") as file:
        file.write(b"hello ")
        assert storage.size("a/b.txt") is None
        file.write(b"world")
    assert file.output == Output.of(b"hello world")
    assert storage.read("a/b.txt", file.output) == b"hello world"
    assert storage.names("a") == ["a/b.txt"]


def test_nothing_changes_when_writing_fails_half_way(storage: Storage) -> None:
    storage.put("x", b"old")
    with pytest.raises(ZeroDivisionError), storage.write("x") as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert storage.read("x") == b"old"
    assert storage.names("") == ["x"]


def test_file_is_gone_when_it_was_removed_twice(storage: Storage) -> None:
    storage.put("x", b"1")
    storage.remove("x")
    storage.remove("x")
    assert storage.size("x") is None


def test_reading_fails_with_a_sentence_when_bytes_are_not_those_vouched_for(storage: Storage) -> None:
    storage.put("x", b"other")
    with pytest.raises(StorageError, match="is damaged .it is not what its manifest says"):
        storage.read("x", Output.of(b"first"))


def test_reading_fails_with_a_sentence_when_the_file_is_not_there(storage: Storage) -> None:
    with pytest.raises(StorageError, match=r"could not read .*nothing: it is not there"):
        storage.read("nothing")


def test_any_offset_can_be_read_when_a_file_is_open(storage: Storage) -> None:
    storage.put("x", bytes(range(256)) * 100)
    with storage.open("x") as file:
        file.seek(511)
        assert file.read(3) == b"\xff\x00\x01"


def test_glob_finds_files_in_order_with_a_mark_that_changes_when_they_do(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).write_text(name)
    before = find_inputs(str(tmp_path / "*.csv"))
    assert [uri.rsplit("/", 1)[-1] for uri in before] == ["a.csv", "b.csv"]
    assert find_inputs(str(tmp_path / "*.csv")) == before
    (tmp_path / "a.csv").write_text("longer than before")
    after = find_inputs(str(tmp_path / "*.csv"))
    assert [after[uri] == before[uri] for uri in before] == [False, True]


def test_writing_fails_with_a_sentence_when_the_place_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="choose a place that you may use"):
        Storage(str(tmp_path / "file" / "run")).put("x", b"1")


def test_unknown_protocol_is_refused_with_a_sentence() -> None:
    with pytest.raises(ConfigError, match="can't reach gopher://hole"):
        Storage("gopher://hole").put("x", b"1")


def test_dead_s3_server_is_a_storage_error_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="pip install daskjobs[s3] to run this test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    started = time.monotonic()
    with pytest.raises(StorageError, match="could not"):
        Storage("s3://dead-bucket/run").read("x")
    assert time.monotonic() - started < 40
