import csv
import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conftest import row
from daskjobs.orders.rules.ruleset import Ruleset
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources import fields
from daskjobs.orders.sources.lines import LAST
from daskjobs.orders.sources.quotes import Dialect, row_ends
from daskjobs.orders.validation.block import Judged, Place, judge

PLACE = Place(partition=3, source="x.csv", row=100)


NONE = np.empty(0, np.int64)


def judged(text: bytes, columns: list[str] | None = None, extra: list[str] | None = None) -> Judged:
    block = fields.read_block(text, row_ends(text), columns or list(COLUMNS))
    return judge(block, extra or [], PLACE, Ruleset(), NONE)


def test_rejected_row_carries_number_partition_source_raw_text_and_reasons() -> None:
    bad = row(product='"lamp, big"', price="-10.50", total_amount="-21.00")
    rejected = judged(f"{row()}\n{bad}\r\n{row()}\n".encode()).quarantine.to_pylist()
    assert rejected == [{"row": 101, "source": "x.csv", "partition": 3, "reasons": ["negative_price"], "raw": bad}]


def test_rows_are_rejected_in_their_order_when_fields_are_missing_or_too_many() -> None:
    text = f"{row()}\n1,2\n\n{row(order_id='')}\n{row()},x\n{row()}\n".encode()
    checked = judged(text)
    assert checked.quarantine["row"].to_pylist() == [101, 102, 103, 104]
    assert checked.quarantine["reasons"].to_pylist() == [
        ["wrong_number_of_fields"],
        ["wrong_number_of_fields"],
        ["missing_order_id"],
        ["wrong_number_of_fields"],
    ]
    assert len(checked.paid) == 2


def test_only_the_row_itself_is_rejected_when_its_bytes_are_no_utf8() -> None:
    text = row(region="caf\u00e9").encode() + b"\n" + row(region="caf\u00e9").encode("latin-1") + b"\n"
    checked = judged(text)
    assert checked.paid["region"].to_pylist() == ["caf\u00e9"]
    assert checked.quarantine["reasons"].to_pylist() == [["not_utf8"]]
    assert "caf\\xe9" in checked.quarantine["raw"][0].as_py()


def test_columns_are_found_when_they_stand_in_another_order_with_others_between() -> None:
    values = dict(zip(COLUMNS, row().split(","), strict=True), note="hello")
    columns = sorted(values)
    checked = judged((",".join(values[name] for name in columns) + "\n").encode(), columns, ["note", "colour"])
    assert checked.paid.schema.names == [*COLUMNS, "note", "colour"]
    assert checked.paid["note"].to_pylist() == ["hello"]
    assert checked.paid["colour"].to_pylist() == [None]


field = st.text(alphabet='ab1,;"\n é\0', max_size=5)


@given(
    st.lists(st.lists(field, min_size=1, max_size=4), max_size=10),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(",;"),
)
def test_fields_are_the_same_when_rows_are_read_one_by_one(
    values: list[list[str]], newline: str, delimiter: str
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=newline, quoting=csv.QUOTE_ALL, delimiter=delimiter).writerows(values)
    block = text.getvalue().encode()
    names = ["a", "b", "c"]
    dialect = Dialect(delimiter)
    ends = row_ends(block, dialect)
    fast, kept, malformed, inside = fields.read_fields(block, ends, names, dialect)
    slow, kept_slowly, malformed_slowly, inside_slowly = fields.read_row_by_row(block, ends, names, dialect)
    assert fast.to_pylist() == slow.to_pylist() == [dict(zip(names, v, strict=True)) for v in values if len(v) == 3]
    assert np.array_equal(kept, kept_slowly)
    assert malformed == malformed_slowly
    assert inside == inside_slowly == sum(value.count("\n") for line in values for value in line)


@given(st.binary(max_size=200))
def test_every_row_is_accounted_for_when_bytes_are_anything(data: bytes) -> None:
    ends = row_ends(data, behind=LAST)
    if not len(ends) or ends[-1] < len(data):
        ends = np.append(ends, len(data))
    checked = judge(fields.read_block(data, ends, list(COLUMNS)), [], PLACE, Ruleset(), NONE)
    assert len(checked.paid) + len(checked.quarantine) == len(ends)
    assert checked.quarantine["row"].to_pylist() == sorted(set(checked.quarantine["row"].to_pylist()))


def test_row_is_rejected_when_it_is_named_as_repeating_an_id() -> None:
    text = "\n".join(
        row(order_id=name, price=price) for name, price in zip("abcd", ["10.50", "x", "10.50", "10.50"], strict=True)
    )
    block = fields.read_block(text.encode(), np.append(row_ends(text.encode()), len(text)), list(COLUMNS))
    checked = judge(block, [], PLACE, Ruleset(), np.array([1, 7]))
    assert checked.ids.to_pylist() == ["a", "c", "d"]
    assert checked.paid["order_id"].to_pylist() == ["a", "d"]
    assert checked.quarantine["row"].to_pylist() == [101, 102]
    assert checked.quarantine["reasons"][1].as_py() == ["duplicate_order_id"]
