import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from daskjobs.errors import ConfigError, StorageError
from daskjobs.files.digest import Output
from daskjobs.pipeline.context import Done, StageContext
from daskjobs.pipeline.stage import Stage
from daskjobs.stages import STAGES
from daskjobs.stages.run_settings import Context, Settings


@pytest.fixture
def run(tmp_path: Path) -> Context:
    demo = Stage("demo", "", (), ("demo/a", "demo/b"), dict[str, Any], execute=Work)
    return Context(Settings(str(tmp_path)), {**STAGES, "demo": demo})


class Work:
    """A stage's work that counts how often it is done."""

    def __init__(self, run: Context) -> None:
        self.run, self.times, self.names = run, 0, ["demo/a", "demo/b"]

    def __call__(self) -> Done:
        self.times += 1
        return Done({name: self.run.storage.put(name, name.encode()) for name in self.names}, {"out": 2})


def test_work_is_done_once_when_nothing_changes(run: Context) -> None:
    work = Work(run)
    first = run.commit("demo", {"x": "1"}, {"n": 2}, work)
    again = run.commit("demo", {"x": "1"}, {"n": 2}, work)
    assert work.times == 1
    assert again == replace(first, skipped=True)


@pytest.mark.parametrize(("inputs", "settings"), [({"x": "2"}, {"n": 2}), ({"x": "1"}, {"n": 3})])
def test_work_is_done_again_when_an_input_or_a_setting_changes(
    run: Context, inputs: dict[str, str], settings: dict[str, int]
) -> None:
    work = Work(run)
    run.commit("demo", {"x": "1"}, {"n": 2}, work)
    run.commit("demo", inputs, settings, work)
    assert work.times == 2


@pytest.mark.parametrize("damage", [b"", None])
def test_work_is_done_again_when_an_output_is_cut_or_gone(run: Context, damage: bytes | None) -> None:
    work = Work(run)
    run.commit("demo", {}, {}, work)
    run.storage.remove("demo/a") if damage is None else run.storage.put("demo/a", damage)
    run.commit("demo", {}, {}, work)
    assert work.times == 2
    assert run.storage.read("demo/a") == b"demo/a"


def test_files_of_an_earlier_attempt_are_gone_when_the_stage_is_done(run: Context) -> None:
    work = Work(run)
    run.commit("demo", {}, {"n": 1}, work)
    work.names = ["demo/b"]
    run.storage.put("demo/a.txt", b"somebody else's")
    run.commit("demo", {}, {"n": 2}, work)
    assert run.storage.names("demo") == ["demo/a.txt", "demo/b", "demo/facts.json", "demo/manifest.json"]


def test_nothing_is_committed_when_the_work_fails(run: Context) -> None:
    work = Work(run)
    run.commit("demo", {}, {"n": 1}, work)
    with pytest.raises(ZeroDivisionError):
        run.commit("demo", {}, {"n": 2}, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match="has no demo/manifest.json: run `daskjobs demo --run"):
        run.manifest("demo")


def test_manifest_names_bytes_and_hashes_and_no_time(run: Context) -> None:
    run.commit("demo", {"x": "1"}, {"n": 2}, Work(run))
    manifest = json.loads(run.storage.read("demo/manifest.json"))
    assert manifest.keys() == {"stage", "daskjobs", "inputs", "settings", "outputs", "rows", "checksum"}
    assert manifest["outputs"]["demo/a"]["bytes"] == 6
    assert len(manifest["outputs"]["demo/a"]["sha256"]) == 64


def test_reading_fails_with_a_sentence_when_a_vouched_file_has_changed(run: Context) -> None:
    run.commit("demo", {}, {}, Work(run))
    run.storage.put("demo/a", b"demo/z")
    with pytest.raises(StorageError, match="demo/a is damaged .it is not what its manifest says"):
        run.vouched("demo", "demo/a")


def test_reading_fails_with_a_sentence_when_no_manifest_vouches_for_the_file(run: Context) -> None:
    run.commit("demo", {}, {}, Work(run))
    with pytest.raises(ConfigError, match="names no demo/c: run `daskjobs demo"):
        run.vouched("demo", "demo/c")


def anew(run: Context) -> Context:
    """The same run in another process."""
    return Context(run.settings, run.stages)


UNREADABLE = {
    "empty": b"",
    "nul": bytes(4096),
    "null": b"null",
    "list": b"[1, 2]",
    "number": b"7",
    "other shape": b'{"objects": 3, "outputs": {"demo/a": {"bytes": "6"}}}',
    "not utf-8": b'{"stage": "\xff"}',
    "utf-16": '{"stage": "demo"}'.encode("utf-16"),
    "deep": b"[" * 100_000,
    "deeper": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "nan": b'{"rows": NaN}',
    "many digits": b"1" * 10_000,
    "cut": b'{"stage": "demo", "rows"',
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_manifest_counts_as_not_there_when_it_can_not_be_read(run: Context, data: bytes) -> None:
    work = Work(run)
    run.commit("demo", {}, {}, work)
    run.storage.put("demo/manifest.json", data)
    run.storage.put("demo/facts.json", data)
    assert anew(run).facts("demo") == {}
    with pytest.raises(ConfigError, match="no demo/manifest.json that can be read: run `daskjobs demo --run .*` first"):
        anew(run).manifest("demo")
    assert not anew(run).commit("demo", {}, {}, work).skipped
    assert work.times == 2
    assert anew(run).manifest("demo").rows == {"out": 2}


def test_manifest_counts_as_not_there_when_a_folder_has_its_name(run: Context, tmp_path: Path) -> None:
    (tmp_path / "demo/manifest.json").mkdir(parents=True)
    (tmp_path / "demo/facts.json").mkdir()
    assert run.facts("demo") == {}
    with pytest.raises(ConfigError, match="has no demo/manifest.json: run"):
        run.manifest("demo")
    with pytest.raises(ConfigError, match="could not remove .*demo/manifest.json: Is a directory"):
        run.commit("demo", {}, {}, Work(run))


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "demo/../../x", "s3://bucket/x", "demo//x", "demo/.ssh", "x", "demo/a\n"]
)
def test_manifest_counts_as_not_there_when_it_names_a_file_outside_of_the_run(run: Context, name: str) -> None:
    manifest = run.commit("demo", {}, {}, Work(run))
    forged = replace(manifest, outputs={**manifest.outputs, name: Output.of(b"")})
    run.storage.put("demo/manifest.json", forged.to_json())
    with pytest.raises(ConfigError, match="that can be read"):
        anew(run).manifest("demo")


def test_work_is_done_again_when_any_byte_of_its_manifest_or_output_has_changed(run: Context) -> None:
    work = Work(run)
    first = run.commit("demo", {"x": "1"}, {"n": 2}, work)
    data = run.storage.read("demo/manifest.json")
    for at in range(0, len(data), 7):
        run.storage.put("demo/manifest.json", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert anew(run).commit("demo", {"x": "1"}, {"n": 2}, work) == first
    run.storage.put("demo/b", b"demo/c")  # of the same size
    assert anew(run).commit("demo", {"x": "1"}, {"n": 2}, work) == first
    assert run.storage.read("demo/b") == b"demo/b"
    assert work.times == 1 + len(range(0, len(data), 7)) + 1


def test_stages_of_one_process_go_on_from_what_they_wrote_when_a_manifest_is_exchanged(run: Context) -> None:
    first = run.commit("split", {}, {}, lambda: Done({}, {"out": 1, "partitions": 1}))
    digest = run.digest("split")
    anew(run).commit("split", {}, {"other": 1}, lambda: Done({}, {"out": 2, "partitions": 1}))
    assert run.manifest("split") == first
    assert run.digest("split") == digest != anew(run).digest("split")


def test_manifest_is_refused_when_a_stage_before_it_was_done_again(run: Context) -> None:
    run.commit("split", {}, {}, lambda: Done({}, {"out": 1, "partitions": 1}))
    rows = {"in": 1, "valid": 1, "rejected": 0}
    run.commit("validate", run.digest("split"), {}, lambda: Done({}, rows))
    assert anew(run).manifest("validate").rows == rows
    data = run.storage.read("validate/manifest.json")
    run.commit("split", {}, {"other": 1}, lambda: Done({}, {"out": 2, "partitions": 1}))
    run.storage.put("validate/manifest.json", data)  # as another process may, which began before
    with pytest.raises(ConfigError, match="validate/manifest.json was made from another split/manifest.json"):
        anew(run).manifest("validate")


def test_manifest_is_refused_when_it_is_not_the_one_that_was_handed_on(run: Context) -> None:
    run.commit("demo", {}, {}, Work(run))
    given = run.storage.read("demo/manifest.json")
    anew(run).accept("demo", given)
    run.commit("demo", {}, {"other": 1}, Work(run))
    later = anew(run)
    with pytest.raises(ConfigError, match="demo/manifest.json is not the manifest that this stage was given"):
        later.accept("demo", given)


def by_another_version(run: Context, version: str, monkeypatch: pytest.MonkeyPatch) -> Context:
    """The same run, worked on by another version."""
    monkeypatch.setattr(StageContext, "version", version)
    return anew(run)


def test_log_names_the_version_that_made_a_stage_when_another_one_does_it_again(
    run: Context, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(run)
    by_another_version(run, "0.3.9", monkeypatch).commit("demo", {}, {}, work)
    by_another_version(run, "0.4.7", monkeypatch).commit("demo", {}, {}, work)
    assert work.times == 2
    assert 'stage.again stage=demo reason="daskjobs 0.3.9 made it, and this is daskjobs 0.4.7"' in caplog.text


def test_log_names_the_version_that_made_a_manifest_of_another_shape(
    run: Context, caplog: pytest.LogCaptureFixture
) -> None:
    run.storage.put("demo/manifest.json", b'{"stage": "demo", "daskjobs": "0.3.0", "outputs": {}}')
    run.commit("demo", {}, {}, Work(run))
    assert "daskjobs 0.3.0 wrote it" in caplog.text


@dataclass(frozen=True)
class OtherRows:
    paid: int


def test_log_names_the_version_that_made_a_manifest_of_other_row_counts(
    run: Context, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_another_version(run, "0.5.0", monkeypatch).commit("demo", {}, {}, Work(run))
    later = replace(run, stages={**run.stages, "demo": replace(run.stages["demo"], rows=OtherRows)}, known={})
    with pytest.raises(ConfigError, match="has no demo/manifest.json that can be read: run `daskjobs demo --run"):
        later.manifest("demo")
    assert 'error="daskjobs 0.5.0 wrote it, and rows has no paid"' in caplog.text
