import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Command, Pipeline, row
from daskjobs.cli import artifacts as show
from daskjobs.errors import ConfigError
from daskjobs.stages import new_context
from daskjobs.stages.run_settings import Context, Settings

ROWS = {"paid": 2, "revenue": "12.30", "reasons": {"negative_price": 1}}


@pytest.fixture
def run(tmp_path: Path) -> Context:
    return new_context(Settings.of(run_uri=str(tmp_path / "run")))


def test_results_and_row_counts_are_copied_when_the_stage_has_them(run: Context, tmp_path: Path) -> None:
    run.storage.put("report/quality.json", b"{}")
    run.storage.put("report/manifest.json", b"sealed")
    run.storage.put("report/facts.json", b'{"seconds": 1.5, "peak_bytes": 7}')
    show.show(run, "report", ROWS, str(tmp_path / "shown"))
    files = [path for path in (tmp_path / "shown").rglob("*") if path.is_file()]
    shown = {str(path.relative_to(tmp_path / "shown")): path.read_text() for path in files}
    assert shown == {
        "report/rows/paid": "2",
        "report/rows/revenue": "12.30",
        "report/facts/seconds": "1.5",
        "report/quality.json": "{}",
        "manifests/report.json": "sealed",
    }


def test_sample_ends_with_a_whole_row_when_the_csv_is_long(
    run: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "SAMPLE_BYTES", 12)
    run.storage.put("merge/quarantine.csv", b'a,b\n1,"x\ny"\n2,z\n')
    show.show(run, "merge", {}, str(tmp_path))
    assert (tmp_path / "merge/quarantine.csv").read_bytes() == b'a,b\n1,"x\ny"\n'


def test_error_names_the_directory_when_it_cannot_be_written(run: Context, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="could not write .*file/shown"):
        show.show(run, "report", ROWS, str(tmp_path / "file" / "shown"))


def test_stage_copies_its_results_when_the_environment_says_where(daskjobs: Command, tmp_path: Path) -> None:
    done = daskjobs("generate", "--rows", "10", DASKJOBS_RUN="run", DASKJOBS_OUTPUTS="shown")
    assert json.loads(done.stdout)["rows"] == {"out": 10}
    assert (tmp_path / "shown/generate/rows/out").read_text() == "10"


@pytest.mark.slow
def test_manifest_is_handed_on_as_it_is_and_one_that_has_changed_since_is_refused(
    daskjobs: Command, tmp_path: Path
) -> None:
    """A retry would meet the same two manifests, so the exit code is none that Argo tries again."""
    given = {"DASKJOBS_RUN": "run", "DASKJOBS_GIVEN": "shown/manifests"}
    assert daskjobs("generate", "--rows", "10", **given, DASKJOBS_OUTPUTS="shown").returncode == 0
    manifest = (tmp_path / "shown/manifests/generate.json").read_bytes()
    assert manifest == (tmp_path / "run/generate/manifest.json").read_bytes()
    assert daskjobs("split", **given).returncode == 0
    assert daskjobs("generate", "--run", "run", "--rows", "11").returncode == 0
    for command in (["split"], ["stages", "split", "validate"]):
        done = daskjobs(*command, **given)
        assert (done.returncode, done.stdout) == (11, "")
        assert "run/generate/manifest.json is not the manifest that this stage was given" in done.stderr
    assert not (tmp_path / "run/split/manifest.json").exists()  # its orders were made anew, and it was not


def test_failure_is_left_for_kubernetes_when_it_has_a_sentence(daskjobs: Command, tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    patch = f"import pathlib, daskjobs.pipeline.ending as ending\nending.TERMINATION_LOG = pathlib.Path({str(log)!r})\n"
    (tmp_path / "sitecustomize.py").write_text(patch)
    done = daskjobs("split", "--run", "x", "--input", "nowhere.csv", PYTHONPATH=str(tmp_path))
    assert done.returncode == 10
    assert "nowhere.csv names no file" in log.read_text()


@pytest.mark.slow
def test_account_is_shown_when_too_many_rows_are_rejected(
    daskjobs: Command, orders_file: Callable[..., Path], pipeline: Pipeline, tmp_path: Path
) -> None:
    pipeline("split", "validate", "merge", "clean", input=str(orders_file(row(price="x"))))
    arguments = ["--run", "run", "--max-rejected", "0.5", "--outputs", "shown"]
    assert daskjobs("report", *arguments).returncode == 10
    assert {path.name for path in (tmp_path / "shown/report").iterdir()} == {
        "rows",
        "facts",
        "quality.json",
        "report.html",
    }
    assert not (tmp_path / "shown/manifests").exists()
