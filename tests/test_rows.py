import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskjobs.errors import InputError
from daskjobs.sources import rows

field = st.text(alphabet='ab,"\n é', max_size=6)
table = st.lists(st.lists(field, min_size=1, max_size=4).filter(any), max_size=12)


def written(values: list[list[str]], newline: str) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=newline).writerows(values)
    return text.getvalue().encode()


def read(data: bytes, start: int = 0, end: int | None = None) -> list[bytes]:
    """Read through `blocks`, and return the rows with what ends them."""
    found: list[bytes] = []
    for offset, block, ends in rows.blocks(io.BytesIO(data), start, len(data) if end is None else end, "x.csv"):
        begins = [0, *ends[:-1].tolist()]
        assert data[offset : offset + len(block)] == block
        found += [block[begin:upto] for begin, upto in zip(begins, ends.tolist(), strict=True)]
    return found


@given(table, st.integers(1, 40), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_rows_are_those_of_the_csv_module_when_blocks_are_of_any_size(
    values: list[list[str]], size: int, newline: str, last: bool
) -> None:
    data = written(values, newline)
    if last:
        data = data.removesuffix(newline.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BLOCK_BYTES", size)
        found = read(data)
    assert b"".join(found) == data
    assert [next(csv.reader(io.StringIO(row.decode(), newline=""))) for row in found] == values


def test_quote_is_a_character_when_it_stands_inside_a_field() -> None:
    assert read(b'1,5" pipe\n2,a\n') == [b'1,5" pipe\n', b"2,a\n"]


def test_last_row_is_read_when_it_has_no_newline() -> None:
    assert read(b"a\nb") == [b"a\n", b"b"]


def test_reading_fails_with_a_sentence_when_a_quote_is_never_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BLOCK_BYTES", 64)
    monkeypatch.setattr(rows, "ROW_BYTES", 1000)
    with pytest.raises(InputError, match=r"x.csv has a row of more than .* from byte 4: is a quote there never closed"):
        read(b'a,b\n1,"' + b"x,y\n" * 1000)


def test_reading_fails_with_a_sentence_when_the_file_shrinks() -> None:
    with pytest.raises(InputError, match="changed while it was read"):
        read(b"a\nb\n", end=100)
