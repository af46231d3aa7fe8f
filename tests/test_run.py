import json
import re
from pathlib import Path

import pytest

from daskjobs import layout
from daskjobs.errors import ConfigError, StorageError
from daskjobs.manifest import sealed
from daskjobs.outputs import Output
from daskjobs.run import Done, Run
from daskjobs.settings import Settings


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setitem(layout.PATTERNS, "demo", re.compile(r"demo/(a|b|(manifest|run)\.json)"))
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
    run.storage.put("demo/a.txt", b"somebody else's")
    run.stage("demo", "demo", {}, {"n": 2}, work)
    assert run.storage.names("demo") == ["demo/a.txt", "demo/b", "demo/manifest.json", "demo/run.json"]


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
    assert manifest.keys() == {"stage", "daskjobs", "inputs", "settings", "outputs", "rows", "checksum"}
    assert manifest["outputs"]["demo/a"]["bytes"] == 6
    assert len(manifest["outputs"]["demo/a"]["sha256"]) == 64


def test_reading_fails_with_a_sentence_when_a_vouched_file_has_changed(run: Run) -> None:
    run.stage("demo", "demo", {}, {}, Work(run))
    run.storage.put("demo/a", b"demo/z")
    with pytest.raises(StorageError, match="demo/a is damaged .it is not what its manifest says"):
        run.vouched("demo", "demo/a")


def test_reading_fails_with_a_sentence_when_no_manifest_vouches_for_the_file(run: Run) -> None:
    run.stage("demo", "demo", {}, {}, Work(run))
    with pytest.raises(ConfigError, match="vouches for no demo/c: run `daskjobs demo"):
        run.vouched("demo", "demo/c")


def anew(run: Run) -> Run:
    """The same run in another process."""
    return Run(run.settings)


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
def test_manifest_counts_as_not_there_when_it_can_not_be_read(run: Run, data: bytes) -> None:
    work = Work(run)
    run.stage("demo", "demo", {}, {}, work)
    run.storage.put("demo/manifest.json", data)
    run.storage.put("demo/run.json", data)
    assert anew(run).facts("demo") == {}
    with pytest.raises(ConfigError, match="no demo/manifest.json that can be read: run `daskjobs demo --run .*` first"):
        anew(run).manifest("demo")
    assert "skipped" not in anew(run).stage("demo", "demo", {}, {}, work)
    assert work.times == 2
    assert anew(run).manifest("demo")["rows"] == {"out": 2}


def test_manifest_counts_as_not_there_when_a_folder_has_its_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "demo/manifest.json").mkdir(parents=True)
    (tmp_path / "demo/run.json").mkdir()
    assert run.facts("demo") == {}
    with pytest.raises(ConfigError, match="has no demo/manifest.json: run"):
        run.manifest("demo")
    with pytest.raises(ConfigError, match="could not remove .*demo/manifest.json: Is a directory"):
        run.stage("demo", "demo", {}, {}, Work(run))


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "demo/../../x", "s3://bucket/x", "demo//x", "demo/.ssh", "x", "demo/a\n"]
)
def test_manifest_counts_as_not_there_when_it_names_a_file_outside_of_the_run(run: Run, name: str) -> None:
    manifest = run.stage("demo", "demo", {}, {}, Work(run))
    outputs = {**manifest["outputs"], name: Output.of(b"").json()}
    run.storage.put("demo/manifest.json", sealed({**manifest, "outputs": outputs}))
    with pytest.raises(ConfigError, match="that can be read"):
        anew(run).manifest("demo")


def test_work_is_done_again_when_any_byte_of_its_manifest_or_output_has_changed(run: Run) -> None:
    work = Work(run)
    first = run.stage("demo", "demo", {"x": "1"}, {"n": 2}, work)
    data = run.storage.read("demo/manifest.json")
    for at in range(0, len(data), 7):
        run.storage.put("demo/manifest.json", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert anew(run).stage("demo", "demo", {"x": "1"}, {"n": 2}, work) == first
    run.storage.put("demo/b", b"demo/c")  # of the same size
    assert anew(run).stage("demo", "demo", {"x": "1"}, {"n": 2}, work) == first
    assert run.storage.read("demo/b") == b"demo/b"
    assert work.times == 1 + len(range(0, len(data), 7)) + 1


def test_stages_of_one_process_go_on_from_what_they_wrote_when_a_manifest_is_exchanged(run: Run) -> None:
    first = run.stage("split", "split", {}, {}, lambda: Done({}, {"out": 1, "partitions": 1}))
    digest = run.digest("split")
    anew(run).stage("split", "split", {}, {"other": 1}, lambda: Done({}, {"out": 2, "partitions": 1}))
    assert run.manifest("split") == first
    assert run.digest("split") == digest != anew(run).digest("split")


def test_manifest_is_refused_when_a_stage_before_it_was_done_again(run: Run) -> None:
    run.stage("split", "split", {}, {}, lambda: Done({}, {"out": 1, "partitions": 1}))
    rows = {"in": 1, "valid": 1, "quarantined": 0}
    run.stage("validate", "validate", run.digest("split"), {}, lambda: Done({}, rows))
    assert anew(run).manifest("validate")["rows"] == rows
    run.stage("split", "split", {}, {"other": 1}, lambda: Done({}, {"out": 2, "partitions": 1}))
    with pytest.raises(ConfigError, match="validate/manifest.json was made from another split/manifest.json"):
        anew(run).manifest("validate")


def test_manifest_is_refused_when_it_is_not_the_one_that_was_handed_on(run: Run) -> None:
    run.stage("demo", "demo", {}, {}, Work(run))
    given = run.storage.read("demo/manifest.json")
    anew(run).hold("demo", given)
    run.stage("demo", "demo", {}, {"other": 1}, Work(run))
    later = anew(run)
    with pytest.raises(ConfigError, match="demo/manifest.json is not the manifest that this stage was given"):
        later.hold("demo", given)
