"""A run's folder is its own, and one process works in it at a time: on a local file system, and on S3."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from conftest import Command, Pipeline, csv_text, row, until
from daskjobs.errors import ConfigError, InputError, LostWorkError
from daskjobs.files.documents import dump
from daskjobs.files.storage import Storage
from daskjobs.pipeline import lease as leases
from daskjobs.pipeline.context import Done
from daskjobs.pipeline.lease import LOCK, MARKER, InUseError, lease, mark
from daskjobs.stages import STAGES, new_context, run_stage
from daskjobs.stages.run_settings import Settings

STRANGERS = {
    "report/thesis.txt": b"thesis",
    "orders/2024.csv": b"my orders",
    "backup/photos.tar.gz.part-aa": b"piece",
    "validate/part-00000/notes.txt": b"notes",
    "merge/quarantine.csv.daskjobs-part-mine": b"not eight characters",
}


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a run could be: a folder, or a prefix, that isn't there."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    return str(tmp_path / "run")


@pytest.fixture
def settings(place: str) -> Settings:
    return Settings.of(run_uri=place, rows=300, dashboard="127.0.0.1:0")


def contents(storage: Storage, names: Any) -> dict[str, bytes]:
    return {name: storage.read(name) for name in names}


@pytest.mark.parametrize("name", STAGES)
def test_folder_of_other_files_is_refused_and_stays_as_it_is(settings: Settings, name: str) -> None:
    storage = Storage(settings.run_uri)
    for stranger, data in STRANGERS.items():
        storage.put(stranger, data)
    with pytest.raises(
        ConfigError, match=r"is not the folder of a run .*holds backup, merge, orders, report, validate: "
    ):
        run_stage(name, new_context(settings))
    assert contents(storage, storage.names("")) == STRANGERS


@pytest.mark.parametrize("name", ["generate", "cleanup"])
def test_folder_of_a_run_of_0_3_0_is_refused_as_such_and_stays_as_it_is(settings: Settings, name: str) -> None:
    storage = Storage(settings.run_uri)
    old = {
        "orders/orders.csv": b"order_id\n",
        "generate/manifest.json": b'{"stage": "generate", "daskjobs": "0.3.0", "inputs": {}, "rows": {"out": 0}}\n',
        "generate/run.json": b"{}\n",
    }
    for file, data in old.items():
        storage.put(file, data)
    with pytest.raises(
        ConfigError, match=r"was made by daskjobs 0\.3\.0, and this version can't continue its runs: choose"
    ):
        run_stage(name, new_context(settings))
    assert contents(storage, storage.names("")) == old


@pytest.mark.slow
def test_files_of_others_in_a_runs_folder_stay_when_its_stages_are_done_again(settings: Settings) -> None:
    storage = Storage(settings.run_uri)
    for changed in (settings, replace(settings, rows=200, partitions=2)):
        for name in STAGES:
            run_stage(name, new_context(changed))
        for stranger, data in STRANGERS.items():
            storage.put(stranger, data)
    with pytest.raises(InputError, match=r"no_such\.csv"):
        run_stage("split", new_context(replace(settings, input="/no_such.csv")))
    run_stage("cleanup", new_context(settings))
    assert contents(storage, STRANGERS) == STRANGERS
    assert not [name for name in storage.names("validate") if "/part-00002/" in name]


@pytest.mark.slow
def test_every_file_that_a_run_makes_is_in_the_table(settings: Settings, tmp_path: Path) -> None:
    packed = tmp_path / "packed.csv"
    packed.write_text(csv_text(row(order_id="A"), row(order_id="A"), row(price="x")).decode(), encoding="utf-16")
    for given in (settings, replace(settings, input=str(packed), encoding="utf-16")):
        for name in STAGES:
            run_stage(name, new_context(given))
    names = set(Storage(settings.run_uri).names("")) - {MARKER, LOCK}
    assert {"split/input-00000.plain", "merge/rejected-00000.csv"} <= names
    assert set().union(*(stage.made(names) for stage in STAGES.values())) == names


def test_folder_is_a_runs_once_it_is_marked_and_another_is_refused(settings: Settings) -> None:
    """As `daskjobs cluster` does, which notes a file of the run's beside generate, whichever of the two is first."""
    storage = Storage(settings.run_uri)
    mark(settings.run_uri)
    mark(settings.run_uri)
    storage.put("validate/facts.json", b"{}")
    with lease(settings.run_uri):
        mark(settings.run_uri)
    assert storage.read("validate/facts.json") == b"{}"
    other = replace(settings, run_uri=f"{settings.run_uri}-other")
    Storage(other.run_uri).put("theirs.txt", b"x")
    with pytest.raises(ConfigError, match="is not the folder of a run"):
        mark(other.run_uri)


def test_empty_folder_and_one_with_a_marker_are_taken(settings: Settings) -> None:
    if "://" not in settings.run_uri:
        Path(settings.run_uri).mkdir()
    for _ in range(2):
        with lease(settings.run_uri):
            made = json.loads(Storage(settings.run_uri).read(MARKER))
    assert made.keys() == {"daskjobs", "made"}


def test_second_process_is_told_who_works_on_the_run(settings: Settings) -> None:
    with lease(settings.run_uri):
        before = contents(Storage(settings.run_uri), Storage(settings.run_uri).names(""))
        said = rf"is being worked on by process {os.getpid()} on .* since 20.*\+00:00, and only one process"
        with pytest.raises(InUseError, match=said) as refused, lease(settings.run_uri):
            pass
        assert refused.value.exit_code == 11
        for name in STAGES:
            with pytest.raises(InUseError):
                run_stage(name, new_context(settings))
        assert contents(Storage(settings.run_uri), Storage(settings.run_uri).names("")) == before
    with lease(settings.run_uri) as check:
        check()


HOLDER = """
import sys, time
from daskjobs.pipeline.lease import lease
from daskjobs.stages.run_settings import Settings
with lease(sys.argv[1]):
    print("held", flush=True)
    time.sleep(100)
"""


def test_run_is_free_at_once_when_its_process_was_killed_on_this_machine(settings: Settings) -> None:
    command = [sys.executable, "-c", HOLDER, settings.run_uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InUseError, match=f"process {holder.pid} on "), lease(settings.run_uri):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with lease(settings.run_uri) as check:
        check()


def held_elsewhere(run: str, workflow: str = "") -> bytes:
    """Let a process of another machine hold a run on S3."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = leases.Holder("elsewhere", "pid:[1]", 7, since, workflow, "theirs")
    Storage(run).put(MARKER, b"{}")
    return dump(holder)


@pytest.fixture
def remote(s3: str, tmp_path: Path) -> Settings:
    return Settings.of(run_uri=f"{s3}/{tmp_path.name}", rows=100, dashboard="127.0.0.1:0")


def test_run_that_is_released_is_free_although_a_child_lives_that_was_forked_meanwhile(tmp_path: Path) -> None:
    """Between fork and exec, a child has all that its parent has open: any thread's subprocess, at any moment."""
    run = str(tmp_path / "run")
    with lease(run):
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
    try:
        with lease(run) as check:
            check()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_run_on_s3_is_free_when_its_lock_was_not_renewed_and_said_from_when_on(
    remote: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    Storage(remote.run_uri).put(LOCK, held_elsewhere(remote.run_uri))
    with (
        pytest.raises(InUseError, match=r"process 7 on elsewhere .*the run is free at \d\d:\d\d:\d\d UTC"),
        lease(remote.run_uri),
    ):
        pass
    monkeypatch.setattr(leases, "STALE_SECONDS", -2)
    with lease(remote.run_uri) as check:
        check()


@pytest.mark.parametrize("pid", ['"7"', "-7", "true", "7.0"])
def test_lock_on_s3_that_names_no_process_is_free(remote: Settings, pid: str) -> None:
    held = held_elsewhere(remote.run_uri).replace(b'"elsewhere"', json.dumps(socket.gethostname()).encode())
    own = held.replace(b"pid:[1]", os.readlink("/proc/self/ns/pid").encode())
    Storage(remote.run_uri).put(LOCK, own.replace(b'"pid": 7', f'"pid": {pid}'.encode()))
    with lease(remote.run_uri) as check:
        check()


def test_lock_on_s3_is_renewed_while_it_is_held(remote: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.05)
    storage = Storage(remote.run_uri)
    fs, path = leases.filesystem(f"{remote.run_uri}/{LOCK}")

    def written() -> datetime:
        fs.invalidate_cache()
        when: datetime = fs.modified(path)
        return when

    with lease(remote.run_uri) as check:
        first = written()
        until(lambda: written() > first, "the lock renewed")
        check()
    assert storage.read(LOCK) == b"{}\n"


def test_retry_of_the_same_workflow_takes_over_and_the_old_attempt_changes_nothing_more(remote: Settings) -> None:
    mine = replace(remote, cluster=replace(remote.cluster, workflow_uid="uid-1"))
    storage = Storage(remote.run_uri)
    with new_context(mine).held() as old:
        run_stage("generate", old)
        with pytest.raises(InUseError), lease(remote.run_uri, "uid-2"):
            pass
        with new_context(mine).held() as new:
            run_stage("split", new)
            before = contents(storage, storage.names(""))
            for attempt in (
                lambda: run_stage("validate", old),
                lambda: run_stage("cleanup", old),
                lambda: old.storage.put("report/quality.json", b"old"),
                lambda: old.storage.remove("split/partitions.json"),
                lambda: old.commit("clean", {}, {}, lambda: Done({}, {})),
            ):
                with pytest.raises(LostWorkError, match="was taken over by another process") as lost:
                    attempt()
                assert lost.value.exit_code == 22
            with pytest.raises(LostWorkError), old.storage.write("orders/orders.csv") as file:
                file.write(b"old")
            if new.check:
                new.check()
            assert contents(storage, storage.names("")) == before
        with pytest.raises(LostWorkError):
            run_stage("merge", old)


def test_one_of_many_gets_the_lock_when_all_ask_at_once(settings: Settings) -> None:
    got, refused, done = list[object](), list[InUseError](), threading.Barrier(6)

    def ask() -> None:
        try:
            with lease(settings.run_uri) as check:
                got.append(check)
                done.wait(20)
        except InUseError as error:
            refused.append(error)
            done.wait(20)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(got), len(refused)) == (1, 5)


def test_old_process_changes_nothing_when_its_folder_was_removed_and_made_anew(tmp_path: Path) -> None:
    settings = Settings.of(run_uri=str(tmp_path / "run"), rows=10)
    with new_context(settings).held() as old:
        (tmp_path / "run").rename(tmp_path / "away")
        with new_context(settings).held() as new:
            new.storage.put("report/quality.json", b"new")
            with pytest.raises(LostWorkError):
                old.storage.put("report/quality.json", b"old")
            assert new.storage.read("report/quality.json") == b"new"


def test_input_among_the_runs_own_files_is_refused_and_stays(
    settings: Settings, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    first = replace(settings, input=str(orders_file(row(), row(quantity="x"))), partitions=1)
    for name in STAGES:
        run_stage(name, new_context(first))
    storage, name = Storage(settings.run_uri), "merge/rejected-00000.csv"
    mended = storage.read(name).replace(b",x,", b",2,")
    storage.put(name, mended)
    given = [f"{settings.run_uri}/{name}", f"{settings.run_uri}/*/rejected-*.csv"]
    if "://" not in settings.run_uri:
        (tmp_path / "link").symlink_to(settings.run_uri)
        (tmp_path / "mended.csv").symlink_to(f"{settings.run_uri}/{name}")
        given += [str(tmp_path / "link" / name), str(tmp_path / "mended.csv"), f"file://{settings.run_uri}/{name}"]
    for each in given:
        with pytest.raises(ConfigError, match="--input .* is among the files of .*: choose another --run"):
            run_stage("split", new_context(replace(settings, input=each)))
        assert storage.read(name) == mended
    other = new_context(replace(settings, input=given[0], run_uri=f"{settings.run_uri}-2"))
    assert run_stage("split", other).rows["out"] == 1


def test_mended_file_stays_when_it_is_given_back_to_the_same_run(
    daskjobs: Command, pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    pipeline(input=str(orders_file(row(), row(quantity="x"))))
    mended = tmp_path / "run/merge/rejected-00000.csv"
    mended.write_text(mended.read_text().replace(",x,", ",2,"))
    before = mended.read_bytes()
    done = daskjobs("run", "--run", "run", "--input", "run/merge/rejected-00000.csv")
    assert (done.returncode, mended.read_bytes()) == (11, before)
    assert "is among the files of" in done.stderr.splitlines()[-1]


def test_rules_among_the_runs_own_files_are_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline("generate", "split")
    rules = tmp_path / "run/validate/rules.py"
    rules.parent.mkdir()
    rules.write_text("")
    with pytest.raises(ConfigError, match="--rules .*/validate/rules.py is among the files of"):
        pipeline("validate", rules=str(rules))
    assert rules.exists()


def test_chained_url_as_run_is_refused_and_the_file_in_it_stays(daskjobs: Command, tmp_path: Path) -> None:
    (tmp_path / "keep.json").write_text("mine")
    for run in ("keep.json::x", "simplecache::s3://b/x", "zip://a::keep.json"):
        done = daskjobs("run", "--run", run, "--rows", "10")
        assert (done.returncode, "--run must be one path or URI" in done.stderr) == (2, True), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["keep.json"]
    assert (tmp_path / "keep.json").read_text() == "mine"


@pytest.mark.slow
def test_two_runs_at_once_in_one_folder_print_their_own_numbers_or_who_is_there(
    daskjobs: Command, tmp_path: Path
) -> None:
    (tmp_path / "big.csv").write_bytes(csv_text(*(row() for _ in range(60_000))))
    (tmp_path / "small.csv").write_bytes(csv_text(row(), row()))
    command = [sys.executable, "-m", "daskjobs", "run", "--run", "race", "--dashboard", "127.0.0.1:0", "--input"]
    with subprocess.Popen([*command, "big.csv"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as first:
        until((tmp_path / "race" / MARKER).exists, "the first run's folder")
        second = daskjobs(*command[3:], "small.csv")
        out, _ = first.communicate(timeout=60)
    assert (first.returncode, "orders     60,000\nrevenue    1260000.00\n" in out) == (0, True)
    assert second.returncode == 11
    assert f"race is being worked on by process {first.pid} on " in second.stderr


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_folders_and_files_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    settings = Settings.of(run_uri=str(tmp_path / "runs/mine"), rows=100, dashboard="127.0.0.1:0")
    for name in STAGES:
        run_stage(name, new_context(settings))
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in (tmp_path / "runs").rglob("*") if path.is_dir()}
    assert (modes, folders, (tmp_path / "runs").stat().st_mode & 0o777) == ({0o600}, {0o700}, 0o700)


def test_folder_that_exists_keeps_its_rights(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    with lease(str(tmp_path / "run")):
        pass
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755


def test_link_in_the_place_of_a_file_is_replaced_and_not_followed(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline("generate", "split")
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    for name in ("validate/rules.json", "report/report.html", "cleanup/receipt.json", "merge/rejected-00009.csv"):
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).symlink_to(mine)
    pipeline()
    assert mine.read_text() == "mine"
    assert not list((tmp_path / "run").glob("merge/rejected-00009.csv"))
    assert not (tmp_path / "run/report/report.html").is_symlink()


@pytest.mark.parametrize("linked", ["orders", "validate", "validate/part-00001", "report"])
def test_link_in_the_place_of_a_stages_folder_is_refused(pipeline: Pipeline, tmp_path: Path, linked: str) -> None:
    with lease(str(tmp_path / "run")):
        pass
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "summary.parquet").write_text("mine")
    (elsewhere / "report.html").write_text("mine")
    (tmp_path / "run" / linked).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / linked).symlink_to(elsewhere)
    with pytest.raises(ConfigError, match=f"run/{linked} is a link to .*elsewhere, and a run writes only into"):
        pipeline()
    assert sorted(path.name for path in elsewhere.iterdir()) == ["report.html", "summary.parquet"]


def test_run_behind_a_link_is_the_users_choice(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    pipeline(where="link/run")
    assert (tmp_path / "disk/run/report/report.html").exists()


def test_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "mine")
    with pytest.raises(ConfigError), lease(str(tmp_path / "run")):
        pass
    assert (tmp_path / "mine").read_text() == "mine"
