"""benchmarks/compare.py --against: two revisions in turns."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from manifests import ROOT

COMPARE = [sys.executable, str(ROOT / "benchmarks/compare.py"), "--rows", "500", "--rounds", "1", "--against"]

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no checkout, so there are no revisions")


def compared(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMPARE, *arguments], capture_output=True, text=True, timeout=100)


@pytest.mark.slow
def test_two_revisions_take_turns_on_the_same_orders(tmp_path: Path) -> None:
    done = compared("HEAD", "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stderr
    ours, theirs = json.loads((tmp_path / "figures.json").read_text())["rows"]["500"].items()
    assert theirs[0].endswith(" at HEAD")
    assert f"| {ours[0]} |" in done.stdout
    assert f"| {theirs[0]} |" in done.stdout
    for figures in (ours[1], theirs[1]):
        assert len(figures) == 1
        assert figures[0]["wall"] > 0
        assert figures[0]["cpu"] > 0
        assert figures[0]["MB"] > 10


def test_revision_that_is_not_there_is_told() -> None:
    done = compared("no-such-revision")
    assert done.returncode == 1
    assert "--against must be a revision of this repository, got no-such-revision" in done.stderr
    assert "Traceback" not in done.stderr
