"""No number is taken from a file that has changed: each file of a run, and each way in which it may have changed."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import inline
from conftest import RESULTS
from daskjobs.cli.artifacts import show
from daskjobs.errors import DaskjobsError, StorageError
from daskjobs.files.documents import sealed
from daskjobs.stages import STAGES, new_context, run_stage
from daskjobs.stages.run_settings import Context, Settings

ALL = tuple(name for name in STAGES if name != "cleanup")
ROWS, PARTITIONS = 300, 2
FILES = [  # the first stage that a run of single pods would go on with, once the file was written
    ("orders/orders.csv", "split"),
    ("orders/truth.parquet", "split"),
    ("split/partitions.json", "validate"),
    ("validate/rules.json", "merge"),
    *(
        (f"validate/part-00001/{name}", "merge")
        for name in ("paid.parquet", "unpaid.parquet", "quarantine.parquet", "summary.parquet", "result.json")
    ),
    ("validate/part-00001/columns.arrow", "report"),
    ("merge/quarantine.csv", "clean"),
    ("merge/quarantine.parquet", "clean"),
    ("merge/rejected-00000.csv", "clean"),
    ("clean/summary.parquet", "report"),
    ("report/quality.json", ""),
    ("report/columns.json", ""),
    ("report/analytics_report.json", ""),
    *((f"{stage}/manifest.json", (*ALL, "")[place]) for place, stage in enumerate(ALL, 1)),
]
READ_LENIENTLY = [f"{stage}/{name}" for stage in ALL for name in ("manifest.json", "facts.json")] + [
    "validate/part-00001/result.json"
]


@pytest.fixture(scope="module", autouse=True)
def without_dask() -> Iterator[None]:
    with inline.stages_inline():
        yield


def do(folder: Path, *stages: str) -> Context:
    """Do stages, each in a process of its own, as far as memory goes."""
    run = new_context(Settings.of(run_uri=str(folder), rows=ROWS, partitions=PARTITIONS))
    for name in stages:
        run = new_context(run.settings)
        run_stage(name, run)
    return run


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {name: (folder / name).read_bytes() for name in RESULTS}
    found["page"] = json.loads((folder / "report/manifest.json").read_text())["rows"]
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trust") / "finished"
    do(folder, *ALL)
    return folder


Copy = Callable[[], Path]


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Copy:
    def again() -> Path:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return Path(shutil.copytree(finished, tmp_path / "run"))

    return again


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(("name", "following"), FILES)
def test_no_number_is_taken_from_a_file_when_one_byte_of_it_has_changed(
    copy: Copy, finished: Path, name: str, following: str
) -> None:
    expected, data = results(finished), (finished / name).read_bytes()
    for at in (len(data) // 3, len(data) - 2):
        # As a single stage in its own pod, which finds nothing done yet that follows the file.
        folder = copy()
        (folder / name).write_bytes(changed(data, at))
        later = ALL[ALL.index(following) :] if following else ()
        for stage in later:
            for path in (folder / stage).glob("**/*"):
                if path.is_file() and not (stage == "validate" and path.name == "result.json"):
                    path.unlink()
        with suppress(DaskjobsError):
            do(folder, *later)
            found = results(folder) if later else expected
            assert {key: found[key] for key in found if key != name} == {
                key: expected[key] for key in expected if key != name
            }
        # What the sentence says to do leads to the right report.
        do(folder, *ALL)
        assert results(folder) == expected
        # As a run that is started again when all of it is done.
        folder = copy()
        (folder / name).write_bytes(changed(data, at))
        do(folder, *ALL)
        assert results(folder) == expected


def test_a_wrong_report_does_not_survive_a_rerun_and_the_log_says_why(
    copy: Copy, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy()
    path = folder / "report/analytics_report.json"
    path.write_text(path.read_text().replace("1", "2"))
    do(folder, *ALL)
    assert path.read_bytes() == (finished / "report/analytics_report.json").read_bytes()
    assert "report/analytics_report.json is not what the manifest says" in caplog.text


def test_split_of_the_same_process_takes_no_orders_that_were_touched_since_it_wrote_them(tmp_path: Path) -> None:
    run = new_context(Settings.of(run_uri=str(tmp_path), rows=ROWS))
    run_stage("generate", run)
    path = tmp_path / "orders/orders.csv"
    data, times = path.read_bytes(), path.stat()
    time.sleep(0.05)  # clocks of file systems have ticks
    path.write_bytes(changed(data, 5_000))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(StorageError, match="orders.csv is damaged"):
        run_stage("split", run)
    path.write_bytes(data)  # touched, and yet the same: it is hashed
    assert run_stage("split", run).rows["out"] == ROWS


def test_what_people_are_shown_is_named_by_the_product_and_held_against_its_hash(copy: Copy, tmp_path: Path) -> None:
    folder = copy()
    manifest = json.loads((folder / "merge/manifest.json").read_bytes())
    del manifest["checksum"]
    manifest["rows"] |= {"../../escaped": 1, "/tmp/escaped": "x", "in": manifest["rows"]["in"]}
    (folder / "merge/manifest.json").write_bytes(sealed(manifest))
    run = do(folder, "merge")
    show(run, "merge", run.manifest("merge").rows, str(tmp_path / "shown"))
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("**/*") if path.is_file()}
    shown = {file for file in files if not file.startswith("run")}
    counts = {f"shown/merge/rows/{name}" for name in ("in", "valid", "rejected")}
    assert shown == counts | {"shown/merge/facts/seconds", "shown/merge/quarantine.csv", "shown/manifests/merge.json"}
    path = folder / "merge/quarantine.csv"
    path.write_bytes(path.read_bytes() + b'1,"invented","x","y"\n')
    with pytest.raises(StorageError, match="quarantine.csv is damaged"):
        show(run, "merge", {}, str(tmp_path / "shown"))


def test_kept_partition_is_checked_again_when_a_byte_of_its_files_has_changed(copy: Copy, finished: Path) -> None:
    expected = results(finished)
    for name in ("paid.parquet", "ids.pieces", "result.json", "summary.parquet"):
        folder = copy()
        (folder / "validate/manifest.json").unlink()
        path = folder / "validate/part-00001" / name
        path.write_bytes(changed(path.read_bytes(), path.stat().st_size // 2))
        other = (folder / "validate/part-00000/paid.parquet").stat().st_mtime_ns
        do(folder, *ALL)
        assert results(folder) == expected
        assert path.read_bytes() == (finished / "validate/part-00001" / name).read_bytes()
        assert (folder / "validate/part-00000/paid.parquet").stat().st_mtime_ns == other


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("name", READ_LENIENTLY)
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=20) | anything.map(lambda value: json.dumps(value).encode()))
def test_report_is_right_when_anything_stands_in_place_of_a_manifest_a_result_or_facts(
    copy: Copy, finished: Path, name: str, data: bytes
) -> None:
    folder = copy()
    (folder / name).write_bytes(data)
    do(folder, *ALL, "cleanup")
    assert results(folder) == results(finished)


def mutated(value: Any, at: st.DataObject) -> Any:
    """Exchange one value somewhere in JSON for any other."""
    if isinstance(value, dict) and value and at.draw(st.integers(0, 5)):
        key = at.draw(st.sampled_from(sorted(value)))
        return {**value, key: mutated(value[key], at)}
    if isinstance(value, list) and value and at.draw(st.integers(0, 5)):
        place = at.draw(st.integers(0, len(value) - 1))
        return [*value[:place], mutated(value[place], at), *value[place + 1 :]]
    return at.draw(anything)


@pytest.mark.parametrize("name", [*(f"{stage}/manifest.json" for stage in ALL), "validate/part-00001/result.json"])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_run_ends_in_a_report_or_a_sentence_when_someone_forges_a_manifest_with_its_checksum(
    copy: Copy, name: str, data: st.DataObject
) -> None:
    folder = copy()
    value = json.loads((folder / name).read_bytes())
    del value["checksum"]
    key = data.draw(st.sampled_from(sorted(value)))
    (folder / name).write_bytes(sealed({**value, key: mutated(value[key], data)}))
    if name.endswith("result.json"):
        (folder / "validate/manifest.json").unlink()
    for stage in ("merge", "clean", "report"):
        if data.draw(st.booleans()):
            (folder / stage / "manifest.json").unlink()
    with suppress(DaskjobsError):
        do(folder, *ALL[data.draw(st.integers(0, 5)) :], "cleanup")
