import csv
import io
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import oracle
from daskjobs.errors import InputError
from daskjobs.orders.dialect import BACKSLASH, QUOTINGS, RFC4180, SPARK, Dialect
from daskjobs.orders.sources import fields, lines
from daskjobs.orders.sources.quotes import row_ends

COMMA = Dialect()
DIALECTS = [
    *(Dialect(",", quoting) for quoting in QUOTINGS),
    *(Dialect(",", quoting, "'") for quoting in (RFC4180, BACKSLASH, SPARK)),
    Dialect(",", SPARK),
    Dialect(",", BACKSLASH, ""),
]
field = st.text(alphabet='ab,"\n é', max_size=6)
table = st.lists(st.lists(field, min_size=1, max_size=4).filter(any), max_size=12)
awkward = st.lists(
    st.sampled_from(['"', '"', ",", ",", "\n", "\r", "\r\n", "\\", "a", '""', ',"', '",', '"\n', "N", "n"]), max_size=24
).map("".join)


def written(values: list[list[str]], newline: str) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=newline).writerows(values)
    return text.getvalue().encode()


def oracles(data: bytes, dialect: Dialect) -> list[tuple[bytes, list[bytes]]]:
    return oracle.rows_of(data, dialect.delimiter, dialect.quoting, dialect.quote)


def ends_by(dialect: Dialect) -> lines.RowEnds:
    return lambda block, behind: row_ends(block, dialect, behind)


def read(data: bytes, start: int = 0, end: int | None = None, dialect: Dialect = COMMA, size: int = 64) -> list[bytes]:
    """Read through `blocks`, and return the rows with what ends them."""
    found: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK_BYTES", size)
        for offset, block, ends in lines.blocks(
            io.BytesIO(data), start, len(data) if end is None else end, "x.csv", ends_by(dialect)
        ):
            begins = [0, *ends[:-1].tolist()]
            assert data[offset : offset + len(block)] == block
            found += [block[begin:upto] for begin, upto in zip(begins, ends.tolist(), strict=True)]
    return found


def without_line_end(row: bytes) -> bytes:
    return row.removesuffix(b"\n").removesuffix(b"\r")


@given(table, st.integers(1, 40), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_rows_are_those_of_the_csv_module_when_blocks_are_of_any_size(
    values: list[list[str]], size: int, newline: str, last: bool
) -> None:
    data = written(values, newline)
    if last:
        data = data.removesuffix(newline.encode())
    found = read(data, size=size)
    assert b"".join(found) == data
    assert [next(csv.reader(io.StringIO(row.decode(), newline=""))) for row in found] == values


@pytest.mark.slow
@hypothesis_settings(max_examples=400)
@given(awkward, st.sampled_from(DIALECTS), st.integers(1, 12))
def test_rows_and_fields_are_the_oracles_when_quotes_stand_anywhere_and_blocks_are_tiny(
    text: str, dialect: Dialect, size: int
) -> None:
    data = text.replace('"', dialect.quote or '"').encode()
    expected = oracles(data, dialect)
    found = read(data, dialect=dialect, size=size)
    assert b"".join(found) == data
    assert [without_line_end(row) for row in found] == [row for row, _ in expected]
    wanted = [[value.decode() for value in values] for _, values in expected]
    assert [fields.split(row.decode(), dialect)[0] for row, _ in expected] == wanted
    ends = np.cumsum([len(row) for row in found], dtype=np.int64)
    for width in {len(values) for values in wanted}:
        columns = [f"c{number}" for number in range(width)]
        texts, kept, _, inside = fields.read_fields(data + f"rest,{dialect.quote}".encode(), ends, columns, dialect)
        assert [list(line.values()) for line in texts.to_pylist()] == [wanted[index] for index in kept]
        assert kept.tolist() == [index for index, values in enumerate(wanted) if len(values) == width]
        assert inside == sum(row.count(b"\n") for row, _ in expected)


@hypothesis_settings(max_examples=200)
@given(awkward, st.sampled_from(DIALECTS), st.data())
def test_rows_of_a_range_are_those_of_the_file_when_it_is_cut_after_any_row(
    text: str, dialect: Dialect, data: st.DataObject
) -> None:
    file = text.replace('"', dialect.quote or '"').encode()
    whole = read(file, dialect=dialect)
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    start, end = (len(b"".join(whole[:index])) for index in (first, last))
    assert read(file, start, end, dialect, data.draw(st.integers(1, 12))) == whole[first:last]


@hypothesis_settings(max_examples=200)
@given(awkward, st.sampled_from(DIALECTS), st.integers(1, 12), st.integers(4, 12))
def test_rows_are_the_same_when_the_longest_row_is_short_and_blocks_are_of_any_size(
    text: str, dialect: Dialect, size: int, longest: int
) -> None:
    data = text.replace('"', dialect.quote or '"').encode()

    def outcome(size: int) -> list[bytes] | str:
        try:
            return read(data, dialect=dialect, size=size)
        except InputError as error:
            return str(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "ROW_BYTES", longest)
        found = outcome(size)
        assert found == outcome(longest)
        assert isinstance(found, str) or max(map(len, found), default=0) <= longest


@hypothesis_settings(max_examples=300)
@given(awkward, st.sampled_from(DIALECTS), st.randoms(use_true_random=False))
def test_rows_are_read_as_before_when_some_of_them_are_written_to_another_file(
    text: str, dialect: Dialect, chance: Random
) -> None:
    before = [
        row for row in oracles(text.replace('"', dialect.quote or '"').encode(), dialect) if chance.random() < 0.6
    ]
    file = "".join(fields.standalone_row(row.decode(), dialect) for row, _ in before).encode()
    assert [values for _, values in oracles(file, dialect)] == [values for _, values in before]
    assert len(read(file, dialect=dialect)) == len(before)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'1,5" pipe\n2,a\n', [b'1,5" pipe\n', b"2,a\n"]),
        (b'1,"Retro lamp\n2,"Mid lamp\n3,a\n', [b'1,"Retro lamp\n', b'2,"Mid lamp\n', b"3,a\n"]),
        (b'1,"a\nb"\n2,"c"d\n', [b'1,"a\nb"\n', b'2,"c"d\n']),
        (b'1,"a\nb" \n2,c\n', [b'1,"a\n', b'b" \n', b"2,c\n"]),
        (b'1,"a\r\nb"\r\n2,c', [b'1,"a\r\nb"\r\n', b"2,c"]),
        (b'1,"never closed\n2,a', [b'1,"never closed\n', b"2,a"]),
        (b'1,"a\nb"', [b'1,"a\nb"']),
        (b'1,"a\nb"\r', [b'1,"a\nb"\r']),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 100])
def test_quote_opens_a_field_only_where_its_closing_quote_ends_one(
    text: bytes, expected: list[bytes], size: int
) -> None:
    assert read(text, size=size) == expected


def test_last_row_is_read_when_it_has_no_newline() -> None:
    assert read(b"a\nb") == [b"a\n", b"b"]


def test_quoted_field_is_not_closed_when_it_goes_on_beyond_the_longest_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "ROW_BYTES", 1000)
    many = [b"x,y\n"] * 300
    data = b'a,b\n1,"' + b"".join(many) + b'z"\n2,"c\nd"\n'
    assert read(data) == [b"a,b\n", b'1,"x,y\n', *many[1:], b'z"\n', b'2,"c\nd"\n']
    short = b'a,b\n1,"' + b"".join(many[:200]) + b'z"\n2,"c\nd"\n'
    assert read(short) == [b"a,b\n", b'1,"' + b"".join(many[:200]) + b'z"\n', b'2,"c\nd"\n']


class Counted(io.BytesIO):
    """A file that says how much was read from it in all, and at most at once."""

    read_bytes, most = 0, 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.read_bytes, self.most = self.read_bytes + len(data), max(self.most, len(data))
        return data


@pytest.mark.parametrize(
    "hostile",
    [
        lambda: b'a,"' + b"x,y\n" * 100_000,  # one that is never closed
        lambda: b'a,"b\n' * 80_000,  # one a line, closed by none
        lambda: (b'a,"' + b"x,y\n" * 15_000 + b'"z\n') * 6,  # each closed where it must not be, as late as can be
        lambda: b'a,""b\n' * 60_000,
        lambda: b'"\n' * 200_000,
        lambda: b'""' * 20_000 + b"\n" + b'"a"",""b\n' * 40_000,
    ],
)
def test_file_is_read_few_times_and_in_small_pieces_when_quotes_are_hostile(
    hostile: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(lines, "ROW_BYTES", 65536)
    data = hostile()
    file = Counted(data)
    found = list(lines.blocks(file, 0, len(data), "x.csv", ends_by(COMMA)))
    assert sum(int(ends[-1]) for _, _, ends in found) == len(data)
    assert file.read_bytes < 6 * len(data)
    assert file.most <= 65536
    assert all(len(block) <= 4096 or len(ends) == 1 for _, block, ends in found)


def test_reading_fails_with_a_sentence_when_a_row_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "ROW_BYTES", 1000)
    with pytest.raises(InputError, match=r"x.csv has a row of more than .* from byte 4: check that it is a text"):
        read(b"a,b\n1," + b"x,y" * 1000)


def test_reading_fails_with_a_sentence_when_the_file_shrinks() -> None:
    with pytest.raises(InputError, match="changed while it was read"):
        read(b"a\nb\n", end=100)
