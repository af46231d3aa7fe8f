"""Files of a real S3 server: what is asked for, and how often."""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from proxy import Proxy, proxy

from conftest import csv_text, row
from daskjobs.errors import StorageError
from daskjobs.files import remote
from daskjobs.files.digest import Output
from daskjobs.files.storage import Storage
from daskjobs.stages import new_context, run_stage
from daskjobs.stages.run_settings import Settings


@pytest.fixture
def seen(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Let all requests to the S3 server be counted."""
    s3fs = pytest.importorskip("s3fs")
    with proxy(os.environ["AWS_ENDPOINT_URL"]) as counting, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", counting.url)
        s3fs.S3FileSystem.clear_instance_cache()
        yield counting
        s3fs.S3FileSystem.clear_instance_cache()


def kinds(counting: Proxy) -> Counter[str]:
    found = Counter(each.kind for each in counting.requests)
    counting.requests.clear()
    return found


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pieces be small."""
    monkeypatch.setattr(remote, "PIECE_BYTES", 100)
    monkeypatch.setattr(remote, "FIRST_BYTES", 25)


@pytest.mark.usefixtures("pieces")
def test_part_of_a_file_is_read_in_any_steps(s3: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * 8
    storage = Storage(f"{s3}/{tmp_path.name}")
    storage.put("orders/orders.csv", data)
    for start, end in ((0, 2048), (7, 1999), (100, 130), (2000, 4096), (2048, 2048)):
        for step in (1000, 30, 1):
            with storage.open("orders/orders.csv", part=(start, end)) as file:
                read = list(iter(partial(file.read, step), b""))
                assert b"".join(read) == data[start:end]
    with storage.open("orders/orders.csv", part=(0, 2048)) as file:
        assert (file.read(300), file.seek(250), file.read(300)) == (data[:300], 250, data[250:550])
        assert (file.seek(1), file.read(4), file.seek(1500), file.read()) == (1, data[1:5], 1500, data[1500:])
        assert file.tell() == 2048


@pytest.mark.usefixtures("pieces")
def test_bytes_behind_a_part_are_not_asked_for(seen: Proxy, s3: str, tmp_path: Path) -> None:
    storage = Storage(f"{s3}/{tmp_path.name}")
    storage.put("orders/orders.csv", bytes(2000))
    seen.requests.clear()
    with storage.open("orders/orders.csv", part=(150, 500)) as file:
        assert len(file.read()) == 350
    assert sorted(each.range for each in seen.requests) == sorted(
        f"bytes={start}-{end}"
        for start, end in ((150, 174), (175, 199), (200, 224), (225, 249), (250, 349), (350, 449), (450, 499))
    )


def test_file_that_is_gone_is_named_when_it_is_read(s3: str, tmp_path: Path) -> None:
    storage = Storage(f"{s3}/{tmp_path.name}")
    with storage.open("no.csv", part=(0, 10)) as file, pytest.raises(StorageError, match=r"no\.csv: it is not there"):
        file.read(1)
    assert storage.find("no.csv") is None


def test_empty_file_is_found(s3: str, tmp_path: Path) -> None:
    storage = Storage(f"{s3}/{tmp_path.name}")
    empty = storage.put("rules.py", b"")
    assert (storage.find("rules.py"), storage.read("rules.py", empty), storage.size("rules.py")) == (b"", b"", 0)


def test_small_file_is_one_request_and_a_large_one_has_parts(seen: Proxy, s3: str, tmp_path: Path) -> None:
    storage = Storage(f"{s3}/{tmp_path.name}")
    storage.size("x")  # whatever the client needs at first
    kinds(seen)
    with storage.write("small") as file:
        file.write(b"x" * 1000)
    assert kinds(seen) == {"PUT": 1}
    with storage.write("large") as file:
        for _ in range(20):
            file.write(bytes(1 << 20))
    assert kinds(seen) == {"multipart": 2, "part": 3}
    assert storage.holds("large", Output.of(bytes(20 << 20)))


def test_files_appear_together_and_none_of_them_when_the_block_fails(s3: str, tmp_path: Path) -> None:
    storage, before = Storage(f"{s3}/{tmp_path.name}"), threading.active_count()
    with storage.closed_together() as together:
        for name in ("a", "b"):
            with together.write(name) as file:
                file.write(name.encode())
    assert (storage.read("a"), storage.read("b")) == (b"a", b"b")

    def fail() -> None:
        with storage.closed_together() as together, together.write("c") as file:
            file.write(bytes(20 << 20))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert storage.size("c") is None
    fs, _ = storage._input("c")
    assert not fs.call_s3("list_multipart_uploads", Bucket="orders", Prefix=f"{tmp_path.name}/").get("Uploads", [])
    assert threading.active_count() <= before + 1


@pytest.mark.parametrize("partitions", [1, 9])
def test_requests_of_a_stage_grow_by_a_few_for_each_partition(
    seen: Proxy, s3: str, tmp_path: Path, partitions: int
) -> None:
    """Where the second bound is 0, partitions cost no requests at all."""
    uri = f"{s3}/{tmp_path.name}"
    Storage(uri).put("in.csv", csv_text(*(row() for _ in range(90))))
    bounds = {"split": (31, 0), "validate": (20, 9), "merge": (30, 5), "clean": (25, 3), "report": (38, 1)}
    for stage, (fixed, each) in bounds.items():
        seen.requests.clear()
        settings = Settings.of(
            run_uri=f"{uri}/run", input=f"{uri}/in.csv", partitions=partitions, dashboard="127.0.0.1:0"
        )
        run_stage(stage, new_context(settings))
        asked = kinds(seen)
        assert asked.total() <= fixed + each * partitions, (stage, asked)
