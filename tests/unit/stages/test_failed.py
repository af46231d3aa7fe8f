"""What a failed run leaves: nothing that looks like a result of it, and all that a later attempt goes on from."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fuzz_settings
import pytest

import inline
from conftest import csv_text, row
from daskjobs.errors import ClusterError, ConfigError, InputError, LostWorkError, StorageError, UsageError
from daskjobs.files.storage import PARTIAL, Storage
from daskjobs.pipeline.context import Done
from daskjobs.pipeline.lease import LOCK, lease
from daskjobs.pipeline.stage import Stage, numbered
from daskjobs.stages import STAGES, new_context, run_stage
from daskjobs.stages.run_settings import Context, Settings

MAKING = [name for name in STAGES if name != "cleanup"]
FAILURES = (InputError, ConfigError, StorageError, ClusterError, LostWorkError, ZeroDivisionError, KeyboardInterrupt)
Called = Callable[..., int]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of generated orders, done by all stages, and the copies of what people look at in shown/."""
    folder = tmp_path_factory.mktemp("finished")
    with inline.stages_inline():
        for name in STAGES:
            given = ["--run", str(folder / "run"), "--rows", "300", "--outputs", str(folder / "shown")]
            assert fuzz_settings.called([name, *given])[0] == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished / "shown", tmp_path / "shown")
    return Path(shutil.copytree(finished / "run", tmp_path / "run"))


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Called]:
    """Call the command line in a folder with orders in it; return the exit code."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "o.csv").write_bytes(csv_text(*(row() for _ in range(4))))

    def call(*given: str) -> int:
        code, call.sentence = fuzz_settings.called(list(given))  # type: ignore[attr-defined]
        return code

    with inline.stages_inline():
        yield call


def shown(folder: Path, first: str) -> set[str]:
    """Return which manifests and files that people look at are there of a stage and of those after it, but cleanup."""
    later = MAKING[MAKING.index(first) :]
    return {
        name for each in later for name in (STAGES[each].manifest, *STAGES[each].artifacts) if (folder / name).exists()
    }


def untimed(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out the files that have the time in them."""
    return {name: data for name, data in files.items() if name not in (LOCK, "cleanup/receipt.json")}


def failing(stage: Stage, error: type[BaseException], seen: list[set[str]] | None = None) -> Stage:
    """The stage, which fails before it looks at its manifest, or, with ``seen``, in its work, noting what is there."""

    def execute(context: Context) -> Any:
        def work() -> Done:
            assert seen is not None
            seen.append(shown(Path(context.settings.run_uri), stage.name))
            raise error("no")

        if seen is None:
            raise error("no")
        return context.commit(stage.name, {"other": "input"}, {}, work)

    return replace(stage, execute=execute)


@pytest.mark.parametrize("error", FAILURES)
@pytest.mark.parametrize("name", MAKING)
def test_nothing_of_a_stage_that_fails_or_of_a_later_one_looks_current(
    run: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type[BaseException]
) -> None:
    monkeypatch.setitem(STAGES, name, failing(STAGES[name], error))
    before, receipt = fuzz_settings.snapshot(run), (run / "cleanup/receipt.json").read_bytes()
    with pytest.raises(error):
        run_stage(name, new_context(Settings.of(run_uri=str(run))))
    assert shown(run, name) == set()
    assert (run / "cleanup/receipt.json").read_bytes() == receipt
    after = fuzz_settings.snapshot(run)
    later = {STAGES[each].folder for each in MAKING[MAKING.index(name) :]} | {name}
    assert {name for name in before if name.split("/")[0] not in later} <= after.keys()
    assert {name for name in before if name.endswith("/result.json")} <= after.keys()  # finished partitions
    assert {name for name in after if name.startswith(("merge/", "clean/", "report/"))} == {
        name for name in before if name.split("/")[0] in {"merge", "clean", "report"} - later
    }


@pytest.mark.parametrize("name", MAKING)
def test_later_results_are_gone_before_a_stage_works_in_case_it_is_killed(
    run: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    seen = list[set[str]]()
    monkeypatch.setitem(STAGES, name, failing(STAGES[name], StorageError, seen))
    with pytest.raises(StorageError):
        run_stage(name, new_context(Settings.of(run_uri=str(run))))
    assert seen == [set()]
    assert shown(run, name) == set()


def test_nothing_is_removed_when_nothing_has_changed(run: Path, called: Called) -> None:
    before = fuzz_settings.snapshot(run)
    assert called("run", "--run", str(run), "--rows", "300") == 0
    assert untimed(fuzz_settings.snapshot(run)) == untimed(before)


def test_run_goes_on_from_its_finished_partitions_after_a_failure(
    run: Path, called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = (run / "report/analytics_report.json").read_bytes()
    parts = sorted(path for path in run.glob("validate/part-*/*") if path.name != "result.json")
    kept = [run / "generate/manifest.json", run / "split/manifest.json", *parts]
    before = [path.stat().st_ino for path in kept]
    with monkeypatch.context() as patch:
        patch.setitem(STAGES, "validate", failing(STAGES["validate"], ClusterError, []))
        assert called("run", "--run", str(run), "--rows", "300") == ClusterError.exit_code
    assert called("run", "--run", str(run), "--rows", "300") == 0
    assert (run / "report/analytics_report.json").read_bytes() == report
    assert [path.stat().st_ino for path in kept] == before


BROKEN = {
    "empty": (b"", (), 10),
    "no orders": (b"a,b\n1,2\n", (), 10),
    "no file": (None, (), 10),
    "bad rules": (csv_text(row()), ("--rules", "typo.py"), 11),
    "rules that fail": (csv_text(row()), ("--rules", "fails.py"), 11),
    "no rules": (csv_text(row()), ("--rules", "nowhere.py"), 11),
    "every row rejected": (csv_text(row(price="x")), (), 10),
    "too many rejected": (csv_text(row(), row(price="x")), ("--max-rejected", "0.4"), 10),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_report_of_the_run_before_is_gone_when_the_next_one_fails(called: Called, kind: str) -> None:
    data, options, code = BROKEN[kind]
    Path("typo.py").write_text("def rule(orders:\n")
    Path("fails.py").write_text("def rule(orders):\n    return orders['nothing']\n")
    assert called("run", "--input", "o.csv", "--run", "r") == 0
    Path("o.csv").unlink() if data is None else Path("o.csv").write_bytes(data)
    assert called("run", "--input", "o.csv", "--run", "r", *options) in {code, 20 if kind == "no rules" else code}
    assert not Path("r/report/analytics_report.json").exists()
    assert not Path("r/report/manifest.json").exists()
    accounted = kind in ("every row rejected", "too many rejected")
    assert Path("r/report/quality.json").exists() == Path("r/merge/quarantine.csv").exists() == accounted
    assert Path("r/report/report.html").exists() == accounted
    assert called("explain", "--run", "r", "--row", "1") == (0 if accounted else ConfigError.exit_code)


def test_report_is_gone_when_validate_finds_that_a_row_has_changed(called: Called) -> None:
    assert called("run", "--input", "o.csv", "--run", "r") == 0
    assert called("split", "--input", "o.csv", "--run", "r", "--partitions", "2") == 0
    data = Path("o.csv").read_bytes()
    Path("o.csv").write_bytes(data.replace(b"lamp", b"limp"))
    assert called("validate", "--run", "r") == 10
    assert shown(Path("r"), "validate") == set()


def test_result_in_python_says_so_when_a_later_run_has_failed_in_its_folder(called: Called) -> None:
    import daskjobs

    result = daskjobs.run_orders("o.csv", run="r")
    Path("o.csv").write_bytes(b"")
    with pytest.raises(InputError):
        daskjobs.run_orders("o.csv", run="r")
    with pytest.raises(StorageError, match=r"could not read .*quarantine.parquet: it is not there"):
        _ = result.rejected
    with pytest.raises(StorageError):
        result.explain(1)


REFUSED = {
    "no such delimiter": (2, "split", "--input", "o.csv", "--delimiter", ";;"),
    "no such encoding": (2, "split", "--input", "o.csv", "--encoding", "klingon"),
    "no such columns": (2, "split", "--input", "o.csv", "--columns", "cost"),
    "no such statuses": (2, "split", "--input", "o.csv", "--statuses", "cost"),
    "no such number": (2, "report", "--max-rejected", "2"),
    "another setting than before": (11, "report", "--statuses", "success=paid"),
    "another manifest than given": (11, "report", "--given", "given"),
    "its own rows as input": (11, "run", "--input", "run/merge/rejected-00000.csv"),
    "its own folder for copies": (11, "report", "--outputs", "run", "--max-rejected", "0.9"),
    "a folder in it for copies": (11, "report", "--outputs", "run/merge/x", "--max-rejected", "0.9"),
}


BEFORE_IT_BEGINS = {
    "no such run": ("--compare", "x"),
    "itself": ("--compare", "new"),
    "a series that is a run": ("--known", "run"),
    "a series that is a file": ("--known", "o.csv"),
    "no such rule": ("--warn", "x"),
    "no such reason": ("--max-rejected", "x=0"),
    "no such column": ("--expect", "x=0"),
}


@pytest.mark.parametrize("kind", BEFORE_IT_BEGINS)
@pytest.mark.parametrize("command", ["run", "split", "stages generate split"])
def test_no_folder_is_left_when_a_command_is_refused(run: Path, called: Called, kind: str, command: str) -> None:
    before = fuzz_settings.snapshot(run.parent)
    for folder in "new", "run":
        assert called(*command.split(), "--run", folder, "--input", "o.csv", *BEFORE_IT_BEGINS[kind]) == 2
    assert fuzz_settings.snapshot(run.parent) == before
    assert not Path("new").exists()


def test_no_folder_is_left_when_run_orders_is_refused(run: Path, called: Called) -> None:
    import daskjobs

    for options in {"compare": "x"}, {"compare": "new"}, {"known": run}, {"warn": "x"}, {"expect": {"x": 0}}:
        with pytest.raises(UsageError):
            daskjobs.run_orders("o.csv", run="new", **options)  # type: ignore[arg-type]
    assert not Path("new").exists()


@pytest.mark.parametrize("kind", REFUSED)
def test_nothing_is_touched_when_a_command_is_refused(run: Path, called: Called, kind: str) -> None:
    Path("given").mkdir()
    Path("given/clean.json").write_bytes(b"{}")
    before = fuzz_settings.snapshot(run)
    code, command, *options = REFUSED[kind]
    assert called(command, "--run", "run", *options) == code
    assert untimed(fuzz_settings.snapshot(run)) == untimed(before)


@pytest.mark.parametrize("command", ["run", "split", "report"])
@pytest.mark.parametrize(
    "options",
    [
        ("--columns", "price=a", "--columns", "price=b"),
        ("--statuses", "success=a", "--statuses", "failed=a"),
        ("--delimiter", ";;"),
        ("--encoding", "klingon"),
        ("--input", "./o.csv"),
        ("--input", "file://o.csv"),
    ],
)
def test_no_folder_is_made_when_options_contradict_each_other(
    called: Called, command: str, options: tuple[str, ...]
) -> None:
    assert called(command, "--run", "new", "--input", "o.csv", *options) == 2
    assert not Path("new").exists()


def test_nothing_is_touched_when_another_process_works_on_the_run(run: Path, called: Called) -> None:
    with lease(str(run)):
        before = fuzz_settings.snapshot(run)
        assert called("run", "--run", "run", "--input", "nowhere.csv") == 11
        assert fuzz_settings.snapshot(run) == before


@pytest.mark.parametrize("name", MAKING)
def test_copies_of_an_earlier_attempt_are_gone_when_the_stage_fails(
    run: Path, called: Called, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    copies = Path("shown")
    before = fuzz_settings.snapshot(copies)
    monkeypatch.setitem(STAGES, name, failing(STAGES[name], StorageError))
    assert called(name, "--run", "run", "--outputs", "shown") == StorageError.exit_code
    later = set(MAKING[MAKING.index(name) :])
    gone = {each for each in before if {each.split("/")[0], Path(each).stem} & later}
    assert "cleanup/receipt.json" in before.keys() - gone
    assert fuzz_settings.snapshot(copies).keys() == before.keys() - gone
    assert gone


def test_copies_are_the_account_alone_when_too_many_rows_are_rejected(run: Path, called: Called) -> None:
    assert called("report", "--run", "run", "--outputs", "shown", "--max-rejected", "0") == 10
    left = {path.name for path in Path("shown/report").rglob("*") if path.is_file()}
    assert left == {"quality.json", "report.html"}
    assert not Path("shown/manifests/report.json").exists()
    assert Path("shown/merge/quarantine.csv").exists()


def test_copies_are_their_owners_alone_and_no_link_is_followed(run: Path, called: Called) -> None:
    victim = Path("victim")
    victim.write_text("mine")
    for name in ("report.html", "analytics_report.json"):
        (Path("shown/report") / name).unlink()
        (Path("shown/report") / name).symlink_to(victim.resolve())
    assert called("report", "--run", "run", "--outputs", "shown") == 0
    assert victim.read_text() == "mine"
    for name in ("report/report.html", "report/analytics_report.json", "report/rows/paid", "manifests/report.json"):
        about = Path("shown", name).lstat()
        assert (about.st_mode & 0o777, about.st_nlink) == (0o600, 1), name
    assert (Path("shown/report/report.html")).read_bytes() == (run / "report/report.html").read_bytes()


def test_folder_of_copies_that_a_link_stands_for_is_refused(run: Path, called: Called) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/report.html").write_text("mine")
    shutil.rmtree("shown/report")
    Path("shown/report").symlink_to(Path("elsewhere").resolve())
    assert called("report", "--run", "run", "--outputs", "shown", "--max-rejected", "0.9") == 11
    assert [path.read_text() for path in Path("elsewhere").iterdir()] == ["mine"]
    assert shown(run, "report") == set()


def test_copies_can_be_read_by_the_other_containers_of_a_pod(
    run: Path, called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASKJOBS_POD", "pod-1")
    assert called("report", "--run", "run", "--outputs", "new/shown") == 0
    modes = {path.stat().st_mode & 0o777 for path in Path("new/shown").rglob("*") if path.is_file()}
    folders = {
        path.stat().st_mode & 0o777 for path in [Path("new/shown"), *Path("new/shown").rglob("*")] if path.is_dir()
    }
    assert (modes, folders) == ({0o644}, {0o755})


@pytest.mark.slow
def test_stages_are_taken_back_in_an_object_store(s3: str, tmp_path: Path) -> None:
    context = new_context(Settings.of(run_uri=f"{s3}/{tmp_path.name}"))
    names = [numbered(file, 0, "csv") for each in STAGES.values() for file in (each.manifest, each.facts, *each.files)]
    for name in [*names, "merge/mine.csv", f"merge/quarantine.csv{PARTIAL}12345678"]:
        context.storage.put(name, b"x")
    context.take_back("merge")
    left = Storage(context.settings.run_uri).names("")
    gone = {name for name in names if name.split("/")[0] in ("merge", "clean", "report")}
    gone |= {"cleanup/manifest.json", "cleanup/facts.json"}
    assert set(left) == {*names, "merge/mine.csv"} - gone
    new_context(Settings.of(run_uri=f"{s3}/{tmp_path.name}-new")).take_back("generate")  # where nothing is
