"""The good runs of a series, made by real runs."""

import json
import shutil
from pathlib import Path

import fsspec
import pytest

import daskjobs
from daskjobs.errors import ConfigError, StorageError, UsageError
from daskjobs.series.runs import again, good_runs
from daskjobs.stages import STAGES


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    series = tmp_path_factory.mktemp("series")
    for name, day in (("b", "2026-11-02"), ("a", "2026-11-03"), ("c", "2026-11-01")):
        daskjobs.run_orders(rows=10, run=series / name, as_of=day)
    return series


@pytest.fixture
def series(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


def test_good_runs_are_in_the_order_of_their_days_without_the_one_that_looks(series: Path) -> None:
    (series / "notes.txt").write_text("not a run")
    (series / "empty").mkdir()
    found = good_runs(str(series), STAGES)
    assert [(run.name, run.day) for run in found] == [("c", "2026-11-01"), ("b", "2026-11-02"), ("a", "2026-11-03")]
    assert [run.name for run in good_runs(str(series), STAGES, but=f"{series}/b/")] == ["c", "a"]
    assert again([(run.uri, run.sha256) for run in found], STAGES) == found
    assert good_runs(str(series / "missing"), STAGES) == []


def test_a_run_without_a_committed_report_is_passed_over(series: Path) -> None:
    (series / "a/report/manifest.json").unlink()
    assert [run.name for run in good_runs(str(series), STAGES)] == ["c", "b"]


def test_a_run_whose_manifests_are_of_two_attempts_is_named(series: Path) -> None:
    path = series / "a/merge/manifest.json"
    path.write_bytes((series / "b/merge/manifest.json").read_bytes())
    with pytest.raises(StorageError, match=r"a/merge/manifest.json is not what the report of \S+/a was made from"):
        good_runs(str(series), STAGES)


def test_a_report_that_no_version_of_ours_wrote_is_named(series: Path) -> None:
    path = series / "a/report/manifest.json"
    path.write_text("{")
    with pytest.raises(StorageError, match=r"a/report/manifest.json is damaged"):
        good_runs(str(series), STAGES)
    path.write_text(json.dumps({"stage": "report", "daskjobs": "99.0"}))
    with pytest.raises(ConfigError, match=r"daskjobs 99.0 wrote it.* move \S+/a out of the series"):
        good_runs(str(series), STAGES)


def test_a_run_that_was_made_again_or_is_gone_is_named(series: Path) -> None:
    found = [(run.uri, run.sha256) for run in good_runs(str(series), STAGES)]
    with pytest.raises(ConfigError, match=r"/c was made again since this run looked at it"):
        again([(found[0][0], "0" * 64)], STAGES)
    shutil.rmtree(series / "c")
    with pytest.raises(ConfigError, match=r"/c is gone since this run looked at it"):
        again(found, STAGES)


def test_a_run_is_no_series(series: Path) -> None:
    with pytest.raises(UsageError, match=r"/a is a run, and a series is the folder that holds runs"):
        good_runs(str(series / "a"), STAGES)


def test_a_file_is_no_series_and_a_folder_that_is_not_there_is_an_empty_one(tmp_path: Path, s3: str) -> None:
    (tmp_path / "o.csv").touch()
    fsspec.filesystem("s3").pipe_file(f"{s3}/no-series/o.csv", b"x")
    for series in str(tmp_path / "o.csv"), f"{s3}/no-series/o.csv":
        with pytest.raises(UsageError, match=r"/o.csv is a file, and a series is the folder that holds runs"):
            good_runs(series, STAGES)
    for series in str(tmp_path / "none"), f"{s3}/none":
        assert good_runs(series, STAGES) == []
