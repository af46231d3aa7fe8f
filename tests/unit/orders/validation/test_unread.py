"""Files of which no row was understood, in blocks of one file or of several."""

import pyarrow as pa

from daskjobs.orders.plan import Partition
from daskjobs.orders.rules.builtin import SENTENCES
from daskjobs.orders.schema import QUARANTINE
from daskjobs.orders.sources.format import RowRange, SourceFile
from daskjobs.orders.validation.result import UnreadRows
from daskjobs.orders.validation.unread import REASONS, Unread

PRICE, TOTAL = ["unreadable_price"], ["wrong_total"]


def block(*rows: tuple[str, list[str]]) -> pa.Table:
    """The rejected rows of a block: the file of each, and its reasons."""
    columns = {"row": 1, "source": "", "partition": 0, "reasons": [""], "raw": ""}
    return pa.Table.from_pylist([{**columns, "source": name, "reasons": each} for name, each in rows], QUARANTINE)


def found(*blocks: pa.Table, rows: dict[str, int], furniture: dict[str, int] | None = None) -> dict[str, UnreadRows]:
    """What a partition with so many rows of each file finds."""
    unread = Unread()
    for each in blocks:
        unread.add(each)
    for name, count in (furniture or {}).items():
        unread.add(block(), pa.repeat(name, count))
    files = {at: SourceFile(name=name, read=name, kind="csv", size=9, columns=[]) for at, name in enumerate(rows)}
    ranges = [
        RowRange(file=at, start=0, first_row=1, rows=count, sha256="", end=9) for at, count in enumerate(rows.values())
    ]
    names = dict(zip(map(str, files), rows, strict=True))
    partition = Partition(0, sum(rows.values()), ranges)
    return {names[file]: each for file, each in unread.files(partition, files).items()}


def test_file_is_found_when_each_of_its_rows_has_a_reason_that_it_was_not_understood() -> None:
    one = block(("a", PRICE), ("a", [*PRICE, *TOTAL]))
    assert found(one, block(("a", PRICE)), rows={"a": 3}) == {
        "a": UnreadRows(3, {"unreadable_price": 3, "wrong_total": 1})
    }
    assert found(one, rows={"a": 3}) == {}  # a valid row
    assert found(one, block(("a", TOTAL)), rows={"a": 3}) == {}  # a row that was understood


def test_file_is_found_beside_others_in_one_block() -> None:
    several = block(("a", PRICE), ("b", TOTAL), ("c", PRICE), ("c", ["unknown_status", *PRICE]), ("d", PRICE))
    assert found(several, rows={"a": 2, "b": 1, "c": 2, "d": 1, "e": 4}) == {
        "c": UnreadRows(2, {"unreadable_price": 2, "unknown_status": 1}),
        "d": UnreadRows(1, {"unreadable_price": 1}),
    }


def test_furniture_is_no_row_that_was_understood() -> None:
    assert found(block(("a", PRICE)), rows={"a": 3}, furniture={"a": 2}) == {
        "a": UnreadRows(1, {"unreadable_price": 1})
    }
    assert found(rows={"a": 2}, furniture={"a": 2}) == {"a": UnreadRows(0, {})}  # the rest may be in other partitions
    assert found(rows={"a": 0}) == {}


def test_reasons_are_those_that_there_are() -> None:
    about_the_order = {"quantity_below_one", "negative_price", "wrong_total", "duplicate_order_id"}
    assert {*SENTENCES} - about_the_order <= {*REASONS.to_pylist()}
