"""Nothing in data or a file's name moves the cursor of the terminal that it is shown on."""

import re
from pathlib import Path

import pytest

from conftest import Command, csv_text, row
from daskjobs.display import escaped
from daskjobs.orders.schema import COLUMNS

OBEYED = [*map(chr, [*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A),
                    0x200E, 0x200F, 0x061C])]  # fmt: skip
UNSEEN = "\u00a0\u00ad\u034f\u115f\u180e\u2003\u200b\u200c\u200d\u2060\u2061\u206a\u2800"
UNSEEN += "\u3000\u3164\ufe0f\ufeff\uffa0\ufff9\U000e0041\U000e0100"
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b1m\x7f\u202egnp\u2066\u2028\u200e\u200f\u061c"
SEEN = re.compile("[" + "".join(re.escape(each) for each in OBEYED if each != "\n") + "]")


@pytest.mark.parametrize("character", [*OBEYED, *UNSEEN, "\udce9"], ids=lambda character: f"{ord(character):04x}")
def test_character_is_shown_as_its_escape_when_a_terminal_would_obey_it_or_nobody_sees_it(character: str) -> None:
    assert re.fullmatch(r"a\\(n|r|t|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})b", escaped(f"a{character}b"))


@pytest.mark.parametrize("character", [*map(chr, range(0x80, 0x100))])
def test_no_character_is_shown_as_a_byte_that_is_no_text(character: str) -> None:
    assert escaped(f"a{character}b") in {f"a{character}b", f"a\\u{ord(character):04x}b"}


@pytest.mark.parametrize("text", ["Żółć", "שלום", "سلام", "漢字", "👩\u200d💻", "a\u0301", "tab\\t", "a b"])
def test_letters_of_any_language_are_shown_as_they_are(text: str) -> None:
    assert escaped(text) == text


@pytest.mark.slow
def test_escapes_in_names_headers_and_rows_reach_no_terminal_log_or_message(daskjobs: Command, tmp_path: Path) -> None:
    name = f"ord{EVIL}\ners.csv"
    header = ",".join([*COLUMNS, f"no{EVIL}te"])
    rows = [row(product=EVIL, price="x"), row(product=EVIL), row(product='"a\nb"')]
    (tmp_path / name).write_bytes(csv_text(*(f"{text},1" for text in rows), header=header))
    (tmp_path / f"bad{EVIL}.csv").write_bytes(f"order_id,{EVIL}\n".encode())
    log = tmp_path / "termination-log"
    log.touch()
    patch = f"import pathlib, daskjobs.pipeline.ending as ending\nending.TERMINATION_LOG = pathlib.Path({str(log)!r})\n"
    (tmp_path / "sitecustomize.py").write_text(patch)
    run = ["--run", "mine", "--dashboard", "127.0.0.1:0", "--log-level", "debug"]
    called = {
        "run": daskjobs("run", *run, "--input", name),
        "rejected": daskjobs("explain", "--run", "mine", "--row", "1"),
        "valid": daskjobs("explain", "--run", "mine", "--row", "2"),
        "newline": daskjobs("explain", "--run", "mine", "--row", "3"),
        "no such file": daskjobs("explain", "--run", "mine", "--row", "1", "--source", EVIL),
        "bad header": daskjobs("split", "--run", "other", "--input", f"bad{EVIL}.csv", PYTHONPATH=str(tmp_path)),
        "missing": daskjobs("split", "--run", "other", "--input", f"{EVIL}.csv"),
        "usage": daskjobs("split", f"--{EVIL}"),
        "choice": daskjobs("stages", EVIL, "--run", "x"),
    }
    codes = {what: done.returncode for what, done in called.items()}
    assert codes == {
        **dict.fromkeys(("run", "rejected", "valid", "newline"), 0),
        **dict.fromkeys(("no such file", "usage", "choice"), 2),
        **dict.fromkeys(("bad header", "missing"), 10),
    }
    for what, done in called.items():
        assert not SEEN.findall(done.stdout + done.stderr), what
    assert called["newline"].stdout.splitlines()[-1].startswith("text       A")
    assert 'lamp"' not in called["newline"].stdout
    assert '"a\\nb"' in called["newline"].stdout
    assert log.read_text()
    assert not SEEN.findall(log.read_text())
