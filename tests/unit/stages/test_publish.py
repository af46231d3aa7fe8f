"""A stage more is one module and one line in STAGES: whatever runs, finds, resumes or shows stages takes it along."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fuzz_settings
import publish
import pytest

import inline
from conftest import TESTS
from daskjobs.errors import ClusterError
from daskjobs.stages import STAGES, new_context, run_all, validate
from daskjobs.stages.run_orders import run_orders
from daskjobs.stages.run_settings import Settings


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    before = dict(STAGES)
    publish.register()
    with inline.stages_inline():
        yield
    STAGES.clear()
    STAGES.update(before)


def latest(run: Path) -> int:
    return int(json.loads((run / publish.LATEST).read_text())["paid"])


def run(folder: Path, rows: int = 300) -> tuple[int, str]:
    return fuzz_settings.called(["run", "--rows", str(rows), "--run", str(folder), "--log-level", "error"])


def test_python_and_the_command_line_give_the_reports_numbers(tmp_path: Path) -> None:
    result = run_orders(rows=300, run=tmp_path / "python")
    report = json.loads((tmp_path / "python/report/analytics_report.json").read_text())
    assert latest(tmp_path / "python") == result.orders == report["orders"] > 0
    assert result.report == str(tmp_path / "python/report/report.html")
    code, printed = run(tmp_path / "command")
    assert code == 0
    assert f"\norders     {report['orders']:,}\n" in printed
    assert "command/report/report.html\n" in printed
    assert (tmp_path / "command/cleanup/receipt.json").exists()


def test_results_of_a_run_are_found_by_the_stages_names_and_kept_by_a_second_run(tmp_path: Path) -> None:
    settings = Settings.of(run_uri=str(tmp_path / "run"), rows=300)
    first, second = run_all(new_context(settings)), run_all(new_context(settings))
    assert list(first) == list(STAGES)
    assert list(first)[-2:] == ["publish", "cleanup"]
    assert all(manifest.stage == name for name, manifest in first.items())
    assert first["publish"].rows == {"published": first["report"].rows["paid"]}
    assert second["publish"].skipped
    assert second["publish"].rows == first["publish"].rows


def test_files_are_taken_back_when_a_stage_before_fails_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_cluster(*_: object) -> None:
        raise ClusterError("no")

    run(tmp_path / "run")
    before = latest(tmp_path / "run")
    assert (tmp_path / "run/publish/reason-00000.txt").exists()
    with monkeypatch.context() as patch:
        patch.setattr(validate, "connect", no_cluster)
        assert run(tmp_path / "run", rows=900)[0] == ClusterError.exit_code
    assert not list(tmp_path.glob("run/publish/*"))
    assert run(tmp_path / "run", rows=900)[0] == 0
    assert latest(tmp_path / "run") > before


def test_stale_files_of_its_names_go_and_others_stay(tmp_path: Path) -> None:
    run(tmp_path / "run")
    stale, other = tmp_path / "run/publish/reason-00099.txt", tmp_path / "run/publish/notes.txt"
    for file in (stale, other):
        file.write_text("of somebody")
    (tmp_path / "run" / publish.LATEST).write_text("changed")
    assert run(tmp_path / "run")[0] == 0
    assert latest(tmp_path / "run") > 0
    assert (stale.exists(), other.exists()) == (False, True)


def test_it_has_a_command_that_shows_its_files_and_counts(tmp_path: Path) -> None:
    def command(*arguments: str, then: str = "from daskjobs.cli.main import entry; entry()") -> str:
        whole = [sys.executable, "-c", f"import publish; publish.register(); {then}", *arguments]
        done = subprocess.run(whole, cwd=TESTS, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    run(tmp_path / "run")
    made = command(then="import sys; sys.path.append('../tools'); import generated as g; print(*g.stage_sentences())")
    assert f'"{publish.NAME}": "{publish.STAGE.summary}"' in made  # in the table of the help
    said = json.loads(command("publish", "--run", str(tmp_path / "run"), "--outputs", str(tmp_path / "shown")))
    assert (said["stage"], said["skipped"]) == ("publish", True)
    assert latest(tmp_path / "shown") == said["rows"]["published"]
    assert (tmp_path / "shown/publish/rows/published").read_text() == str(said["rows"]["published"])
    assert (tmp_path / "shown/manifests/publish.json").exists()
