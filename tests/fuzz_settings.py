"""A fuzz run over settings and folders: python tests/fuzz_settings.py --minutes 10 --seed 1

Gives the command line odd values, in run folders of every state: new, a stranger's, finished, half finished, damaged.
Each command must end with a known exit code and a bounded sentence, must leave a stranger's files as they were, and
where it ends well over known orders, must come to their numbers. Anything else is printed, and the exit code is 1.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent))

from click.testing import CliRunner

import inline
from conftest import csv_text, row
from daskjobs.cli import main as cli
from daskjobs.cli import parameters
from daskjobs.errors import MOST_MESSAGE, DaskjobsError
from daskjobs.stages import STAGES

CODES = {0, 2, 10, 11, 20, 21, 22}
VALUES = [
    "", " ", "-1", "0", "1", "2", "1e20", "nan", "inf", "-inf", "0.5", "1" * 50, "x", "::", "a::b", "/", ".", "..", "~",
    "~nobody/x", "/dev/null", "/dev/zero", "/dev/full", "/proc/self/environ", "folder", "mine.csv", "*.csv", "[", "[a]",
    "\x1b[31m", "\udcff\udcfe", "é", "\u202e", "a\nb", "x" * 10_000, "x" * 300, "%s", "{}", "$(x)", "'", '"', ",", "=",
    "a=b", "price=x", "tab", ";", "utf-16", "undefined", "hex", "idna", "\x00", "local", "kubernetes", "tcp://", "tcp://x",
    "tls://127.0.0.1:9", "127.0.0.1:0", "[::1]:0", "localhost:99999", ":0", "://", "file://", "file:///", "s3://",
    "ftp://x/y", "zip://a::b", "http://127.0.0.1:9/a.csv", "nothing://x", "memory://x", "data:,x", "https://[", "s3://b/[",
    "true",
]  # fmt: skip
COMMANDS = ["run", *STAGES, "stages", "cluster", "explain", "doctor", "janitor"]
OWN = {"explain": ["run", "row", "source", "input", "reason", "most", "id", "series"]}
OWN["doctor"] = ["run", "cluster", "namespace", "image"]
OWN["janitor"] = ["namespace", "delete-timeout"]
SHARED = [option.flag.removeprefix("--") for _, option in parameters.FIELDS] + ["log-level"]
JUNK = [b"", b"\0" * 40, b"null", b"[]", b"{}", b'{"stage": "merge"}', b"{" * 5000, b"\xff\xfe", b"1e999", b'"x"']
STATES = ["missing", "empty", "strange", "finished", "half finished", "junk", "damaged", "a file", "a link"]
ENVIRONMENT = {"KUBECONFIG": "/nowhere", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x",
               "AWS_SECRET_ACCESS_KEY": "x", "KUBERNETES_SERVICE_HOST": ""}  # fmt: skip
MOST_SECONDS = 60
ORDERS = csv_text(row(), row(price="-1"), row(status="failed"), row(region=""))
EXPECTED = {"orders": 2, "revenue": 42.0}


def arguments(chance: random.Random, run: str) -> list[str]:
    """Choose a command, some of its options, and odd values for these."""
    command = chance.choice(COMMANDS) if chance.random() < 0.6 else "run"
    chosen = [command]
    if command == "stages":
        chosen += chance.sample([*STAGES, "cluster", "x", ""], chance.randint(1, 4))
    if command not in OWN:
        chosen += ["--dashboard", "127.0.0.1:0"]
        chosen += ["--input", "mine.csv"] if chance.random() < 0.7 else ["--rows", "10"]
    if command != "janitor":
        chosen += ["--run", run]
    if command == "explain":
        chosen += ["--row", str(chance.randint(1, 5))]
    for _ in range(chance.choice([0, 0, 1, 1, 2])):
        name = chance.choice([*OWN.get(command, SHARED), "outputs"])
        chosen += [f"--{name}", chance.choice(VALUES)]
    return chosen


def make_state(state: str, run: Path, finished: Path, chance: random.Random) -> None:
    """Make the folder of a run as ``state`` says, from a finished one."""
    if state == "missing":
        return
    if state == "a file":
        run.write_bytes(b"mine")
        return
    if state == "a link":
        run.symlink_to("strange")
        return
    if state in ("empty", "strange"):
        run.mkdir()
    else:
        shutil.copytree(finished, run)
    if state == "strange":
        for name in ("keep.json", "merge/rejected-00000.csv", "report/report.html", "validate/part-00000/x.part-1"):
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(b"mine")
    names = sorted(path for path in run.rglob("*") if path.is_file())
    for path in chance.sample(names, min(len(names), chance.randint(1, 4))):
        if state == "half finished":
            path.unlink()
        elif state == "junk":
            chance.choice([*run.rglob("manifest.json")]).write_bytes(chance.choice(JUNK))
            path.write_bytes(chance.choice(JUNK))
        elif state == "damaged":
            data = bytearray(path.read_bytes())
            for _ in range(chance.randint(1, 3)):
                if data:
                    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            path.write_bytes(data[: chance.choice([len(data), len(data), chance.randint(0, len(data))])])


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return what the files of a folder hold."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def called(given: list[str]) -> tuple[int, str]:
    """Call the command line in this process; return its exit code and sentence. Raises what is no sentence."""
    done = CliRunner(env=ENVIRONMENT).invoke(cli.main, given)
    error = done.exception
    if isinstance(error, DaskjobsError):
        return error.exit_code, str(error)
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return done.exit_code, done.output[-MOST_MESSAGE:] if done.exit_code != 2 else ""


def started(given: list[str]) -> tuple[int, str]:
    """Start the command line as a process."""
    if any("\0" in each for each in given):
        return 2, ""  # no process can be given one
    command = [sys.executable, "-m", "daskjobs", *given]
    done = subprocess.run(
        command, env=os.environ | ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=MOST_SECONDS
    )
    errors = done.stderr.decode(errors="replace")
    assert "Traceback" not in errors, errors
    assert b"\x1b" not in done.stderr + done.stdout, errors
    return done.returncode, "" if done.returncode in (0, 2) else "".join(errors.splitlines()[-1:])


@contextlib.contextmanager
def bounded(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""

    def late(*_: object) -> None:
        raise TimeoutError(f"no end within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def one(folder: Path, finished: Path, chance: random.Random, processes: bool = True) -> str:
    """Run one command in a folder of its own; return what came of it. Raises AssertionError where that is wrong.

    Without ``processes``, none is started.
    """
    state = chance.choice(STATES)
    make_state("strange", folder / "strange", finished, chance)
    make_state(state, folder / "run", finished, chance)
    (folder / "mine.csv").write_bytes(ORDERS)
    (folder / "folder").mkdir()
    strangers = {"mine.csv": ORDERS, **{f"strange/{name}": data for name, data in snapshot(folder / "strange").items()}}
    if state in ("strange", "a file"):
        strangers |= (
            snapshot(folder) if state == "a file" else {f"run/{n}": d for n, d in snapshot(folder / "run").items()}
        )
    given = arguments(chance, "run")
    os.chdir(folder)
    os.environ["HOME"] = str(folder)
    try:
        if any("\udcff" in each or each == "kubernetes" for each in given) and not processes:
            return "left out"
        if chance.random() < 0.05 * processes or any("\udcff" in each for each in given):  # click's runner prints none
            code, sentence = started(given)
        else:
            with bounded(MOST_SECONDS), inline.stages_inline(real="--cluster" in given):
                code, sentence = called(given)
    except BaseException as error:
        error.add_note(f"state {state!r}: daskjobs {given}"[:2000])
        raise
    told = f"state {state!r}: daskjobs {given}: {code}, {sentence}"[:4000]
    assert code in CODES, told
    assert len(sentence) <= MOST_MESSAGE + 20, told
    now = {name: data for name, data in snapshot(folder).items() if name in strangers}
    assert now == strangers, f"a stranger's file was changed or removed; {told}"
    report = folder / "run/report/analytics_report.json"
    plain = {"--input", "--rows", "--dashboard", "--run"}
    usual = given[0] == "run" and given.count("--run") == given.count("--input") == 1 and set(given[1::2]) <= plain
    if usual and code == 0 and "mine.csv" in given:
        assert json.loads(report.read_bytes()) == EXPECTED, told
    return f"{state}: {code}"


def main() -> int:
    """Fuzz until the time is over; print how many commands came to what."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chance, counts, here = random.Random(given.seed), Counter[str](), Path.cwd()
    end = time.monotonic() + given.minutes * 60
    with TemporaryDirectory() as root:
        finished = Path(root) / "finished"
        (Path(root) / "mine.csv").write_bytes(ORDERS)
        os.chdir(root)
        with inline.stages_inline():
            assert called(["run", "--input", "mine.csv", "--run", "finished"])[0] == 0
        while time.monotonic() < end:
            folder = Path(root) / "work"
            folder.mkdir()
            try:
                outcome = one(folder, finished, chance)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                outcome = "failed"
                traceback.print_exc()
            finally:
                os.chdir(here)
                shutil.rmtree(folder)
            counts[outcome] += 1
    print(f"{given.minutes:g} minutes, seed {given.seed}: {counts.total()} commands, {dict(sorted(counts.items()))}")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
