"""A little of tests/fuzz_settings.py, always the same: each option with each odd value, and folders of all states."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import fuzz_settings
import pytest

import inline


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with orders in it, and a finished run of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.csv").write_bytes(fuzz_settings.ORDERS)
    (tmp_path / "folder").mkdir()
    yield tmp_path
    os.chdir(tmp_path)


@pytest.mark.timeout(300)  # with rules, each of 90 runs starts processes
@pytest.mark.parametrize("option", [name for name in fuzz_settings.SHARED if name not in ("run", "cluster")])
def test_no_value_of_an_option_ends_in_a_stack_trace(here: Path, option: str) -> None:
    for number, value in enumerate(fuzz_settings.VALUES):
        given = ["--input", "mine.csv", "--run", f"run-{number}", f"--{option}", value]
        code, sentence = fuzz_settings.called(["stages", "generate", "split", *given])
        assert code in fuzz_settings.CODES, (option, value)
        assert code in (0, 2) or 0 < len(sentence) < 5000, (option, value, sentence)
    assert (here / "mine.csv").read_bytes() == fuzz_settings.ORDERS


@pytest.mark.slow
def test_no_folder_and_no_settings_lead_to_another_number_or_a_stack_trace(here: Path) -> None:
    with inline.stages_inline():
        assert fuzz_settings.called(["run", "--input", "mine.csv", "--run", "finished"])[0] == 0
    chance = random.Random(7)
    for number in range(60):
        folder = here / f"work-{number}"
        folder.mkdir()
        fuzz_settings.one(folder, here / "finished", chance, processes=False)
        os.chdir(here)
