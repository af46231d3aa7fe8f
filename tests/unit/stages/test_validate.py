import json
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster

from conftest import Pipeline, row
from daskjobs.cluster import versions
from daskjobs.cluster.backends import remote
from daskjobs.errors import ClusterError, ConfigError, InputError, LostWorkError
from daskjobs.orders.validation import partition
from daskjobs.stages import workers as run_workers


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A Dask cluster of two worker processes that runs already."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as running:
        yield running.scheduler_address


def quarantine(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "run/validate").glob("part-*/quarantine.parquet"))
    return [line for file in files for line in pq.read_table(file).to_pylist()]


def test_rejected_rows_keep_their_place_when_partitions_are_many(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    bad = row(status="lost")
    path = orders_file(*(bad if number % 4 == 0 else row() for number in range(1, 21)))
    manifest = pipeline("split", "validate", input=str(path), partitions=3)["validate"]
    assert manifest.rows == {"in": 20, "valid": 15, "rejected": 5}
    lines = quarantine(tmp_path)
    assert [line["row"] for line in lines] == [4, 8, 12, 16, 20]
    assert [line["partition"] for line in lines] == sorted(line["partition"] for line in lines)
    assert {(line["raw"], *line["reasons"]) for line in lines} == {(bad, "unknown_status")}


@pytest.mark.slow
def test_scheduler_that_runs_already_gives_the_same_files(pipeline: Pipeline, tmp_path: Path, scheduler: str) -> None:
    local = pipeline("generate", "split", "validate", where="local")
    remote = pipeline("generate", "split", "validate", where="remote", backend=scheduler)
    assert remote["validate"] == local["validate"]
    facts = json.loads((tmp_path / "remote/validate/facts.json").read_text())
    assert (facts["cluster"], facts["workers"]) == (scheduler, 2)


def test_finished_partitions_are_kept_when_the_stage_is_run_again(pipeline: Pipeline, tmp_path: Path) -> None:
    first = pipeline("generate", "split", "validate")["validate"]
    files = sorted((tmp_path / "run/validate").glob("part-*/paid.parquet"))
    before = [file.stat().st_mtime_ns for file in files]
    (tmp_path / "run/validate/manifest.json").unlink()
    files[2].unlink()
    assert pipeline("validate")["validate"] == first
    after = [file.stat().st_mtime_ns for file in files]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, True, True]


def test_validation_fails_with_a_sentence_when_orders_change_after_the_split(
    pipeline: Pipeline, orders_file: Callable[..., Path]
) -> None:
    path = orders_file(row(), row())
    pipeline("split", input=str(path))
    path.write_bytes(path.read_bytes().replace(b"north", b"south"))
    with pytest.raises(InputError, match=r"mine.csv has changed since it was split"):
        pipeline("validate", input=str(path))


def test_validation_fails_with_a_sentence_when_no_scheduler_answers(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "CONNECT_SECONDS", 1)
    pipeline("generate", "split")
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9 within 1 s"):
        pipeline("validate", backend="tcp://127.0.0.1:9")


def test_validation_fails_with_a_sentence_when_versions_differ(
    pipeline: Pipeline, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline("generate", "split")
    monkeypatch.setattr(versions, "version", lambda name: "1.0" if name == "pandas" else version(name))
    with pytest.raises(ConfigError, match=r"versions differ: pandas .* at tcp://.*, 1.0 here"):
        pipeline("validate", backend=scheduler)


@pytest.mark.slow
def test_validation_fails_with_a_sentence_when_it_takes_too_long(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleepy(*_: object) -> None:
        time.sleep(3)

    monkeypatch.setattr(partition, "check_partition", sleepy)
    pipeline("generate", "split")
    with pytest.raises(LostWorkError, match=r"0 of 5 partitions were done within 1 s: allow more with --timeout"):
        pipeline("validate", timeout=1.0)


def test_bug_keeps_its_stack_trace_when_a_task_raises_one(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(partition, "check_partition", broken)
    pipeline("generate", "split")
    with pytest.raises(RuntimeError, match="partition . failed") as raised:
        pipeline("validate")
    assert isinstance(raised.value.__cause__, KeyError)


@pytest.mark.parametrize(("rows", "workers"), [(20, "threads"), pytest.param(90, "processes", marks=pytest.mark.slow)])
def test_workers_are_processes_when_the_orders_are_large(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, workers: str
) -> None:
    monkeypatch.setattr(run_workers, "PROCESS_BYTES", 4000)
    pipeline("generate", "split", "validate", rows=rows, workers=1)
    assert json.loads((tmp_path / "run/validate/facts.json").read_text())["workers_are"] == workers
