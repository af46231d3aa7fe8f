import json
from pathlib import Path

import pytest

from daskjobs.errors import ConfigError, StorageError
from daskjobs.run import Done, Run
from daskjobs.settings import Settings


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(Settings(run=str(tmp_path)))


class Work:
    """A stage's work that counts how often it is done."""

    def __init__(self, run: Run) -> None:
        self.run, self.times, self.names = run, 0, ["demo/a", "demo/b"]

    def __call__(self) -> Done:
        self.times += 1
        return Done({name: self.run.storage.put(name, name.encode()) for name in self.names}, {"out": 2})


def test_work_is_done_once_when_nothing_changes(run: Run) -> None:
    work = Work(run)
    first = run.stage("demo", "demo", {"x": "1"}, {"n": 2}, work)
    again = run.stage("demo", "demo", {"x": "1"}, {"n": 2}, work)
    assert work.times == 1
    assert again == {**first, "skipped": True}


@pytest.mark.parametrize(("inputs", "settings"), [({"x": "2"}, {"n": 2}), ({"x": "1"}, {"n": 3})])
def test_work_is_done_again_when_an_input_or_a_setting_changes(
    run: Run, inputs: dict[str, str], settings: dict[str, int]
) -> None:
    work = Work(run)
    run.stage("demo", "demo", {"x": "1"}, {"n": 2}, work)
    run.stage("demo", "demo", inputs, settings, work)
    assert work.times == 2


@pytest.mark.parametrize("damage", [b"", None])
def test_work_is_done_again_when_an_output_is_cut_or_gone(run: Run, damage: bytes | None) -> None:
    work = Work(run)
    run.stage("demo", "demo", {}, {}, work)
    run.storage.remove("demo/a") if damage is None else run.storage.put("demo/a", damage)
    run.stage("demo", "demo", {}, {}, work)
    assert work.times == 2
    assert run.storage.read("demo/a") == b"demo/a"


def test_files_of_an_earlier_attempt_are_gone_when_the_stage_is_done(run: Run) -> None:
    work = Work(run)
    run.stage("demo", "demo", {}, {"n": 1}, work)
    work.names = ["demo/b"]
    run.stage("demo", "demo", {}, {"n": 2}, work)
    assert run.storage.names("demo") == ["demo/b", "demo/manifest.json", "demo/run.json"]


def test_nothing_is_committed_when_the_work_fails(run: Run) -> None:
    work = Work(run)
    run.stage("demo", "demo", {}, {"n": 1}, work)
    with pytest.raises(ZeroDivisionError):
        run.stage("demo", "demo", {}, {"n": 2}, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match="has no demo/manifest.json: run `daskjobs demo --run"):
        run.manifest("demo")


def test_manifest_names_bytes_and_hashes_and_no_time(run: Run) -> None:
    run.stage("demo", "demo", {"x": "1"}, {"n": 2}, Work(run))
    manifest = json.loads(run.storage.read("demo/manifest.json"))
    assert manifest.keys() == {"stage", "daskjobs", "inputs", "settings", "outputs", "rows"}
    assert manifest["outputs"]["demo/a"]["bytes"] == 6
    assert len(manifest["outputs"]["demo/a"]["sha256"]) == 64


def test_reading_fails_with_a_sentence_when_a_vouched_file_has_changed(run: Run) -> None:
    run.stage("demo", "demo", {}, {}, Work(run))
    run.storage.put("demo/a", b"demo/z")
    with pytest.raises(StorageError, match="is not what its manifest says"):
        run.vouched("demo", "demo/a")


def test_reading_fails_with_a_sentence_when_a_manifest_is_not_json(run: Run) -> None:
    run.storage.put("demo/manifest.json", b"{")
    with pytest.raises(StorageError, match="is not JSON"):
        run.manifest("demo")
