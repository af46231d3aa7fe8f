"""A file that several threads cut has the same ranges as one that is followed from its start."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from daskjobs.errors import InputError
from daskjobs.files.storage import Storage
from daskjobs.orders.dialect import BACKSLASH, NONE, RFC4180, SPARK
from daskjobs.orders.sources import lines
from daskjobs.orders.sources.csv import CsvFormat, CsvSource
from daskjobs.orders.sources.format import Cuts
from daskjobs.orders.sources.lines import LinesFormat, LinesSource

PIECES = (
    b"a",
    b"bc",
    b",",
    b'"',
    b'""',
    b"\n",
    b"\r\n",
    b'",',
    b',"',
    b'"\n',
    b"\\",
    b'\\"',
    b"\\\n",
    b"\xe9",
    b"x" * 30,
)


def source(path: Path, data: bytes, quoting: str = RFC4180, footer: int = 0) -> CsvSource:
    path.write_bytes(data)
    return CsvSource(
        name="x.csv", read=str(path), kind="csv", size=len(data), columns=["a", "b"], start=min(4, len(data) - footer),
        delimiter=",", quoting=quoting, lines=1, inside=0, footer=footer,
    )  # fmt: skip


def cut(file: LinesSource, count: int, threads: int, form: LinesFormat[Any] | None = None) -> list[Any]:
    """Return the ranges, and the error's sentence if there is one."""
    form, found = form or CsvFormat(), list[Any]()
    storage, total = Storage("/nowhere"), form.weight(file) + 70
    try:
        found.extend(form.ranges(storage, file, Cuts(1, 30, total, count, threads=threads)))
    except InputError as error:
        found.append(str(error))
    return found


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and rows are of some bytes, so that each file has many."""
    monkeypatch.setattr(lines, "BLOCK_BYTES", 32)
    monkeypatch.setattr(lines, "ROW_BYTES", 64)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("quoting", [RFC4180, NONE, BACKSLASH, SPARK])
def test_ranges_are_the_same_whatever_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quoting: str
) -> None:
    chance = random.Random(quoting)
    seen = set[str]()
    for _ in range(150):
        monkeypatch.setattr(lines, "NEAR_BYTES", chance.choice([1, 5, 20, 1000]))  # mostly too few to guess right
        some = chance.sample(PIECES, chance.randint(2, len(PIECES)))
        data = b"a,b\n" + b"".join(chance.choices([*some, b"\n"], k=chance.randint(0, 150)))
        file = source(tmp_path / "x.csv", data, quoting, chance.choice([0, 0, 3]))
        count = chance.randint(1, 12)
        alone = cut(file, count, 1)
        assert cut(file, count, chance.randint(2, 4)) == alone
        seen |= {"error"} if alone and isinstance(alone[-1], str) else {"ranges"}
    assert seen == {"ranges", "error"}


def test_wrong_start_is_found_when_a_quote_hides_where_rows_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "NEAR_BYTES", 100)
    file = source(tmp_path / "x.csv", b"a,b\n" + b"1,2\n" * 20 + b'1,"' + b"3,4\n" * 500 + b'"\n' + b"1,2\n" * 20)
    starts = list[int]()
    probable = CsvFormat._probable_start

    def noted(*arguments: Any) -> int:
        starts.append(probable(*arguments))
        return starts[-1]

    monkeypatch.setattr(CsvFormat, "_probable_start", noted)
    found = cut(file, 5, 2)
    assert found == cut(file, 5, 1)
    assert len(starts) == 5
    assert [part.start for _, part in found] == [4, 2089]
    assert 2089 not in starts  # lines of the long field looked like rows
    assert [(part.first_row, part.rows) for _, part in found] == [(1, 21), (22, 20)]


def test_lines_that_have_no_quotes_are_cut_where_threads_guess(tmp_path: Path) -> None:
    class Lines(LinesFormat[LinesSource]):
        name, source = "lines", LinesSource

    data = b"".join(b"%d\n" % number for number in range(3000))
    (tmp_path / "x").write_bytes(data)
    file = LinesSource(name="x", read=str(tmp_path / "x"), kind="lines", size=len(data), columns=[], start=0)
    assert cut(file, 7, 3, Lines()) == cut(file, 7, 1, Lines())
    assert sum(part.rows for _, part in cut(file, 7, 3, Lines())) == 3000


def test_file_that_became_shorter_is_told_of_in_the_same_words(tmp_path: Path) -> None:
    file = source(tmp_path / "x.csv", b"a,b\n" + b"1,2\n" * 3000)
    (tmp_path / "x.csv").write_bytes(b"a,b\n" + b"1,2\n" * 1000)
    *_, said = cut(file, 4, 2)
    assert said.startswith("x.csv ended at byte 4004, before byte ")
    assert said.endswith(": it changed while it was read; run again")


def test_threads_end_with_their_block_when_the_caller_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 32)
    file = source(tmp_path / "x.csv", b"a,b\n" + b"1,2\n" * 10_000)
    before, read = threading.active_count(), list[int]()
    blocks, waiting, go = lines.blocks, threading.Event(), threading.Event()

    def counted(*arguments: Any) -> Iterator[Any]:
        for each in blocks(*arguments):
            read.append(each[0])
            if len(read) == 50:
                waiting.set()
            if waiting.is_set():
                go.wait(20)
            yield each

    monkeypatch.setattr(lines, "blocks", counted)

    result = Future[Any].result

    def interrupted(self: Future[Any], timeout: float | None = None) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return result(self, timeout)
        assert waiting.wait(20)
        threading.Timer(0.2, go.set).start()  # the threads go on only once they were told to end
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(CsvFormat().ranges(Storage("/nowhere"), file, Cuts(0, 0, 40_000, 8, threads=2)))
    assert threading.active_count() <= before + 1  # the timer may still end
    assert len(read) < 60
