"""What is behind the standard streams ends no run: a closed descriptor, a reader that went, a full disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("DASKJOBS_")}


def shell(command: str, where: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command line in which $D is daskjobs; the exit code is that of daskjobs also before a pipe."""
    environment = {**ENVIRONMENT, "D": f"{sys.executable} -m daskjobs", **environment}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "streams", ["2>&-", ">&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "| true", "2>&1 | true"]
)
def test_stage_is_done_whatever_becomes_of_what_it_prints(tmp_path: Path, streams: str) -> None:
    done = shell(f"$D stages generate split --rows 10 --run mine {streams}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "mine/split/manifest.json").read_text())["rows"]["out"] == 10
    assert "Traceback" not in done.stderr
    assert ("standard output could not be written: No space left" in done.stderr) == (streams == ">/dev/full")


@pytest.mark.slow
def test_run_ends_with_its_report_when_nobody_reads_what_it_prints(tmp_path: Path) -> None:
    done = shell("$D run --rows 10 --run mine --dashboard 127.0.0.1:0 2>&- | head -1", tmp_path)
    assert (done.returncode, done.stdout) == (0, "run        mine\n")
    assert json.loads((tmp_path / "mine/report/analytics_report.json").read_text())["orders"] > 0


@pytest.mark.slow
def test_files_hold_no_words_of_the_log_when_standard_error_is_closed(tmp_path: Path) -> None:
    for name, streams in (("open", ""), ("closed", "<&- >&- 2>&-")):
        shell(f"$D generate --rows 1000 --log-level debug --run {name} {streams}", tmp_path)
    assert (tmp_path / "open/orders/orders.csv").read_bytes() == (tmp_path / "closed/orders/orders.csv").read_bytes()


def test_usage_is_still_told_when_standard_output_is_closed(tmp_path: Path) -> None:
    done = shell("$D run --nothing >&-", tmp_path)
    assert done.returncode == 2
    assert "No such option '--nothing'" in done.stderr


def test_name_is_shown_escaped_when_the_terminals_encoding_lacks_its_characters(tmp_path: Path) -> None:
    done = shell("$D generate --rows 1 --run mïne", tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert (tmp_path / "mïne/generate/manifest.json").exists()


def test_removed_working_directory_is_a_sentence(tmp_path: Path) -> None:
    done = shell(f"mkdir gone; cd gone; rmdir ../gone; $D generate --rows 1 --run {tmp_path}/mine", tmp_path)
    assert done.returncode == 11
    assert done.stderr.endswith(
        "daskjobs: the working directory was removed: change to one that exists, and start again\n"
    )
    assert "Traceback" not in done.stderr


def test_broken_socket_within_the_work_is_no_silent_end(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import daskjobs.pipeline.context\n"
        "def broken(*_): raise BrokenPipeError(32, 'Broken pipe')\n"
        "daskjobs.pipeline.context.StageContext.commit = broken\n"
    )
    done = shell("$D generate --rows 1 --run mine", tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "BrokenPipeError" in done.stderr


def test_bug_shows_its_stack_trace_without_what_is_secret_in_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import daskjobs.pipeline.context\n"
        "def broken(*_): raise TypeError('https://me:hunter2@host/a?sig=hunter2')\n"
        "daskjobs.pipeline.context.StageContext.commit = broken\n"
    )
    done = shell("$D generate --rows 1 --run mine", tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "TypeError: https://host/a\n" in done.stderr
    assert "hunter2" not in done.stderr.replace("raise TypeError('https://me:hunter2@host/a?sig=hunter2')", "")


@pytest.mark.parametrize("command", ["profile list", "profile show shopify", "profile propose orders.csv"])
def test_command_fails_whose_only_result_could_not_be_written(tmp_path: Path, command: str) -> None:
    (tmp_path / "orders.csv").write_text("order_id,price\nA1,1.00\n")
    done = shell(f"$D {command} > /dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (
        20,
        "daskjobs: standard output could not be written: No space left on device\n",
    )
    assert shell(f"$D {command} | true", tmp_path).returncode == 0
