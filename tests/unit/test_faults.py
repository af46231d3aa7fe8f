"""What breaks under a run, with real processes: Dask's scheduler and workers, and an S3 server behind a faulty wire.

What only Kubernetes can break is in e2e/; docs/faults.md lists all of it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import RESULTS, TESTS, csv_text, free_port, row, until
from daskjobs.cluster.kubernetes.spec import NEVER_PAUSED, TRIES
from daskjobs.cluster.tuning import variables
from daskjobs.errors import StorageError
from daskjobs.files.storage import Storage
from daskjobs.pipeline.lease import MARKER
from daskjobs.stages import STAGES, new_context, run_stage
from daskjobs.stages.run_settings import Settings

BOUND = 100  # seconds, for any wait here
ROWS, PARTITIONS = 2000, 4


class Wire:
    """The way of other processes to the S3 server, through faulty.py; this one goes there directly."""

    def __init__(self, folder: Path, bucket: str) -> None:
        self.control, self.said, self.run = folder / "wire", folder / "wire.log", bucket
        self.endpoint = f"127.0.0.1:{free_port()}"
        self.environment = os.environ | {"AWS_ENDPOINT_URL": f"http://{self.endpoint}"}
        self.is_to("")

    def is_to(self, does: str) -> None:
        new = self.control.with_suffix(".new")
        new.write_text(does)
        new.replace(self.control)

    def await_held(self, text: str) -> None:
        until(lambda: f"held {text}\n" in self.said.read_text(), f"a request for {text}", BOUND)


@pytest.fixture
def wire(s3: str, tmp_path: Path) -> Iterator[Wire]:
    wire = Wire(tmp_path, f"{s3}/{tmp_path.name}")
    target = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    command = [sys.executable, str(TESTS / "faulty.py"), wire.endpoint, target, str(wire.control)]
    with wire.said.open("w") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as proxy:
        try:
            until(lambda: "listening" in wire.said.read_text(), "the wire", BOUND)
            yield wire
        finally:
            proxy.terminate()


class Dask:
    """A scheduler and workers, each a process of its own as in a pod, with its nanny."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.processes = folder, dict[str, "subprocess.Popen[bytes]"]()
        given = {"distributed.scheduler.allowed-failures": str(TRIES - 1), **NEVER_PAUSED}
        self.environment = environment | variables(given)
        self.address = f"tcp://127.0.0.1:{free_port()}"

    def start(self, name: str, *command: str) -> None:
        dask = [str(Path(sys.executable).parent / "dask"), *command]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                dask, stdout=log, stderr=log, env=self.environment, start_new_session=True, cwd=self.folder
            )

    def scheduler(self) -> None:
        host, port = self.address.removeprefix("tcp://").split(":")
        self.start("scheduler", "scheduler", "--host", host, "--port", port, "--dashboard-address", "127.0.0.1:0")

    def worker(self, name: str, memory: str = "2GB") -> None:
        options = ["--name", name, "--nthreads", "1", "--memory-limit", memory, "--no-dashboard"]
        self.start(name, "worker", self.address, *options, "--local-directory", str(self.folder))

    def kill(self, name: str) -> None:
        """Kill a process and its children at once, as the end of its pod would."""
        os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes.pop(name).wait(BOUND)

    def close(self) -> None:
        for name in list(self.processes):
            self.kill(name)


@pytest.fixture
def dask(wire: Wire, tmp_path: Path) -> Iterator[Dask]:
    dask = Dask(tmp_path, wire.environment)
    try:
        dask.scheduler()
        yield dask
    finally:
        dask.close()


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def validate(wire: Wire, tmp_path: Path) -> Iterator[Start]:
    """Start `daskjobs validate` as a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def begin(**settings: Any) -> "subprocess.Popen[str]":
        generated = {} if "input" in settings else {"rows": ROWS}
        given = {"run": wire.run, "partitions": PARTITIONS, **generated, **settings}
        options = [f"--{name}={value}" for name, value in given.items()]
        command = [sys.executable, "-m", "daskjobs", "validate", *options]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=wire.environment, **pipes))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait(BOUND)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, errors = process.communicate(timeout=BOUND)
    return process.returncode, errors


def sentence(errors: str) -> str:
    assert "Traceback" not in errors, errors
    return errors.strip().splitlines()[-1]


def stages(where: str, *names: str, **settings: Any) -> None:
    run = new_context(
        Settings.of(**{"run_uri": where, "rows": ROWS, "partitions": PARTITIONS, "dashboard": "127.0.0.1:0"} | settings)
    )
    for name in names:
        run_stage(name, run)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """A run that nothing happens to."""
    where = str(tmp_path_factory.mktemp("undisturbed"))
    stages(where, *STAGES)
    return Storage(where)


@pytest.fixture
def split(wire: Wire, undisturbed: Storage) -> Wire:
    """A run whose orders are split, as in the undisturbed one."""
    for name in undisturbed.names(""):
        if name.startswith((MARKER, "orders/", "generate/", "split/")):
            Storage(wire.run).put(name, undisturbed.read(name))
    return wire


def assert_right(wire: Wire, undisturbed: Storage) -> None:
    """Finish the run, and hold it against the undisturbed one: row for row, and cent for cent."""
    stages(wire.run, "validate", "merge", "clean", "report")
    for name in RESULTS:
        assert Storage(wire.run).read(name) == undisturbed.read(name), name
    ledgers = [json.loads(storage.read("merge/manifest.json"))["rows"] for storage in (Storage(wire.run), undisturbed)]
    assert ledgers[0] == ledgers[1]


@pytest.mark.slow
@pytest.mark.parametrize("killed", [["one"], ["one", "two"]], ids=["one worker", "all workers"])
def test_report_is_right_when_workers_are_killed_mid_partition(
    split: Wire, dask: Dask, validate: Start, undisturbed: Storage, killed: list[str]
) -> None:
    for name in ("one", "two"):
        dask.worker(name)
    split.is_to("hold part-00001/paid")
    validating = validate(cluster=dask.address)
    split.await_held("part-00001/paid")
    for name in killed:
        dask.kill(name)
    dask.worker("three")
    split.is_to("")
    code, errors = ended(validating)
    assert code == 0, errors
    assert_right(split, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "codes"),
    [("part-00002/paid", {21, 22}), ("validate/performance.html", {0})],
    ids=["during the tasks", "after the tasks"],
)
def test_scheduler_killed_ends_in_a_sentence_or_does_no_harm(
    split: Wire, dask: Dask, validate: Start, undisturbed: Storage, moment: str, codes: set[int]
) -> None:
    dask.worker("one")
    dask.worker("two")
    split.is_to(f"hold {moment}")
    validating = validate(cluster=dask.address)
    split.await_held(moment)
    dask.kill("scheduler")
    time.sleep(1)
    split.is_to("")
    code, errors = ended(validating)
    assert code in codes, errors
    assert code == 0 or re.search("went away|was lost|doesn't say|no Dask scheduler", sentence(errors))
    assert_right(split, undisturbed)


@pytest.mark.slow
def test_partition_that_kills_its_worker_is_given_up_by_name_and_the_others_are_kept(
    wire: Wire, dask: Dask, validate: Start, tmp_path: Path
) -> None:
    """A row of 48 MB in a quoted field is within bounds, and more than a small worker can hold."""
    rows = [row(order_id=f"A{number}") for number in range(400_000)]
    rows[300_000] = row(product='"' + "é" * 24_000_000 + '"')
    orders = tmp_path / "poison.csv"
    orders.write_bytes(csv_text(*rows))
    stages(wire.run, "split", input=str(orders), partitions=6)
    dask.worker("small", memory="350MB")
    code, errors = ended(validate(input=orders, partitions=6, cluster=dask.address))
    assert code == 22, errors
    said = sentence(errors)
    plan = json.loads(Storage(wire.run).read("split/partitions.json"))
    (poison,) = [p for p in plan["partitions"] if p["rows"] and max(r["end"] - r["start"] for r in p["ranges"]) > 48e6]
    (part,) = poison["ranges"]
    assert f"partition {poison['partition']} " in said
    assert f"poison.csv bytes {part['start']} to {part['end']}, {part['rows']} rows" in said
    assert "its worker died each of the 3 times" in said
    assert "the worker small" in said
    assert "start its workers with more memory (dask worker --memory-limit)" in said
    assert "--worker-memory" not in said  # does nothing for a scheduler that runs already
    storage = Storage(wire.run)
    kept = {name: storage.read(name) for name in storage.names("validate") if name.endswith("result.json")}
    assert len(kept) == 5
    dask.kill("small")
    dask.worker("large")
    code, errors = ended(validate(input=orders, partitions=6, cluster=dask.address))
    assert code == 0, errors
    assert storage.size("validate/manifest.json")  # which looks anew
    assert {name: storage.read(name) for name in kept} == kept
    assert json.loads(storage.read("validate/manifest.json"))["rows"]["in"] == 400_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("refuse", 20, "could not "),
        ("fail 403 Forbidden", 11, "could not .*ask for the right to it"),
        ("cut part-00001/paid", 0, ""),
        ("slow 200000", 0, ""),
    ],
)
def test_storage_that_ails_ends_in_a_sentence_or_does_no_harm(
    split: Wire, validate: Start, undisturbed: Storage, fault: str, code: int, words: str
) -> None:
    split.is_to(fault)
    got, errors = ended(validate())
    assert got == code, errors
    assert not words or re.search(words, sentence(errors))
    split.is_to("")
    assert_right(split, undisturbed)


@pytest.mark.slow
def test_report_is_right_when_the_storage_is_gone_for_a_moment(
    split: Wire, validate: Start, undisturbed: Storage
) -> None:
    split.is_to("hold part-00001/paid")
    validating = validate()
    split.await_held("part-00001/paid")
    split.is_to("refuse")
    time.sleep(2)
    split.is_to("")
    code, errors = ended(validating)
    assert code in {0, 20}, errors
    assert code == 0 or "could not" in sentence(errors)
    assert_right(split, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "corrupted"])
def test_damaged_partition_is_a_sentence_and_its_remedy_leads_to_the_right_report(
    split: Wire, undisturbed: Storage, damage: str
) -> None:
    stages(split.run, "validate")
    storage, name = Storage(split.run), "validate/part-00001/paid.parquet"
    data = bytearray(storage.read(name))
    if damage == "corrupted":
        data[len(data) // 2] ^= 0xFF
    storage.put(name, bytes(data[:-100] if damage == "truncated" else data))
    with pytest.raises(StorageError, match=f"{split.run}/{name} is damaged .*: run all stages again"):
        stages(split.run, "merge", "clean", "report")
    assert_right(split, undisturbed)
