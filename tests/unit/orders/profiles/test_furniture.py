"""Rows that a profile names as furniture are neither kept nor malformed, and nothing else is."""

import numpy as np
import pytest

from conftest import row
from daskjobs.errors import ConfigError
from daskjobs.orders import sources  # noqa: F401  # before profiles.furniture, which it imports
from daskjobs.orders.profiles import Furniture, Profile
from daskjobs.orders.profiles.furniture import causes, sort_out
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources import fields
from daskjobs.orders.sources.format import Block
from daskjobs.orders.sources.quotes import row_ends

NAMES = ["id", "status", "sum"]


def block_of(text: str, names: list[str] | None = None) -> Block:
    data = text.encode()
    return fields.read_block(data, row_ends(data), names or NAMES)


def furniture(text: str, names: list[str] | None = None, **said: object) -> list[int]:
    block = sort_out(block_of(text, names), Profile("mine", furniture=Furniture(**said)), names or NAMES)  # type: ignore[arg-type]
    return [] if block.furniture is None else block.furniture.tolist()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_told_by_their_text_whether_or_not_they_have_the_fields_of_a_row(end: str) -> None:
    text = end.join(["Report of May", "A1,paid,1", "---,---,---", "A2,paid,2", "(2 rows affected)", ""])
    assert furniture(text, lines=["^Report", "^-+,", r"\(\d+ rows affected\)$"]) == [0, 2, 4]
    assert furniture(text, lines=["^rows", "A$"]) == []


def test_rest_of_a_block_stays_as_it_is_when_some_of_its_rows_are_furniture() -> None:
    before = block_of("title\nA1,paid,1\nbroken\nA2,paid,2\nSum,,3\n")
    block = sort_out(before, Profile("mine", furniture=Furniture(["^title$"], [{"id": ["Sum"]}])), NAMES)
    assert block.rows == 5
    assert block.texts["id"].to_pylist() == ["A1", "A2"]
    assert block.kept.tolist() == [1, 3]
    assert block.malformed == {2: "wrong_number_of_fields"}
    assert block.furniture is not None
    assert block.furniture.tolist() == [0, 4]
    assert block.raw(np.array([1, 4])).to_pylist() == ["A1,paid,1", "Sum,,3"]


def test_row_is_furniture_where_each_named_column_has_one_of_its_texts() -> None:
    text = "Sum,,1\nSum,paid,2\n Total\t,,3\nSumme,,4\n"
    assert furniture(text, where=[{"id": ["Sum", "Total"], "status": [""]}]) == [0, 2]
    assert furniture(text, where=[{"id": ["Sum"]}, {"sum": ["4"]}]) == [0, 1, 3]
    assert furniture(text, where=[{"other": [""]}]) == []  # another file of the input has it


def test_header_is_furniture_again_also_in_quotes_and_with_a_column_without_a_name() -> None:
    assert furniture('id,status,sum\n"id","status","sum"\nid,status,1\n', header=True) == [0, 1]
    assert furniture("id,,sum\nid,column_2,sum\nid,x,sum\n", ["id", "column_2", "sum"], header=True) == [0, 1]


def test_row_whose_lines_look_like_several_rows_is_no_longer_told_when_it_is_furniture() -> None:
    text = f'{row()}\n"A\n{row()}\n{row()}\nB",,,,,,,,,\n'
    block = block_of(text, list(COLUMNS))
    assert block.lines is not None
    assert list(block.lines.several) == [1]
    sorted_out = sort_out(block, Profile("mine", furniture=Furniture([",,,,,,,,,$"])), list(COLUMNS))
    assert sorted_out.lines is not None
    assert (sorted_out.lines.inside, sorted_out.lines.several) == (3, {})


def test_each_cause_is_told_in_words() -> None:
    profile = Profile("mine", furniture=Furniture(["^-"], [{"id": ["Sum"], "status": ["", "x"]}], header=True))
    assert [why for why, _ in causes(block_of("A,B,C\n"), profile, NAMES)] == [
        "its text matches ^-",
        "id is 'Sum' and status is '' or 'x'",
        "it is the header again",
    ]


def test_what_cannot_be_a_pattern_is_a_sentence() -> None:
    with pytest.raises(
        ConfigError, match=r"profile mine: \[furniture\] lines has '\(\(', which is no regular expressi"
    ):
        furniture("A,B,C\n", lines=["(("])
