"""Fields that numpy reads from bytes are those that pyarrow reads as texts, and `parse` understands."""

import random
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from conftest import GOOD
from daskjobs.orders import parse
from daskjobs.orders.dialect import COMMAS
from daskjobs.orders.parse import typed
from daskjobs.orders.plain import MOST_TEXTS, Plain
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources.fields import read_block, read_fields
from daskjobs.orders.sources.quotes import row_ends

NUMBERS = ["7", "123", "12.34", "0.05", "12345.67", "123456.78", "1234567890123.45", "99999999", "123456789"]
STRANGE = [
    "",
    "-",
    ".",
    "-3",
    "-3.50",
    "3.",
    ".50",
    ".5",
    "1.5",
    "1.234",
    "1.2300",
    "2.0",
    "1e3",
    "1_0",
    "+1",
    "\uff112.34",
]
LONG = ["12345678901234.56", "1234567890123456.78", "12345678901234567", "0" * 20 + "1.00", "00012.34"]
TIMES = ["2025-01-01", "2025-01-01 10:00", "2025-02-30 10:00:00", "", "2025-01-01T10:00:00Z"]


def data_of(rows: list[dict[str, str]], end: str = "\n") -> bytes:
    return "".join(",".join({**GOOD, **row}.values()) + end for row in rows).encode()


def assert_read_alike(data: bytes) -> Plain:
    """Hold what numpy reads against what pyarrow reads."""
    ends = row_ends(data, COMMAS, "last")
    if ends.size == 0 or ends[-1] < len(data):
        ends = np.append(ends, len(data))
    block = read_block(data, ends, list(COLUMNS))
    assert isinstance(block.fields, Plain)
    texts, kept, malformed, _ = read_fields(data, ends, list(COLUMNS))
    assert block.texts.to_pylist() == texts.to_pylist()
    assert (block.kept.tolist(), block.malformed) == (kept.tolist(), malformed)
    assert typed(block.fields).to_pylist() == typed(texts).to_pylist()
    return block.fields


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_numbers_are_those_of_their_texts(end: str) -> None:
    for column in ("quantity", "price", "total_amount"):
        for usual in NUMBERS:  # a column with few others is read at once, and these one by one
            for others in ([], STRANGE, LONG, [*STRANGE, *LONG]):
                rows = [{column: each} for each in others] + [{column: usual}] * 30
                assert_read_alike(data_of(rows, end))


@pytest.mark.parametrize("usual", ["5", "25", "7.25", "12.34", "12345.67", "1234567.89", "12345678"])
def test_no_byte_but_a_digit_is_read_as_one(usual: str) -> None:
    """Also bytes that differ from a digit, or from the point, in few bits."""
    marks = [chr(byte) for byte in range(1, 128) if chr(byte) not in ',"\n\r\\']
    changed = [usual[:at] + mark + usual[at + 1 :] for at in range(len(usual)) for mark in marks]
    rows = [{"quantity": each, "price": each} for each in changed]
    assert_read_alike(data_of([*rows, *[{"quantity": usual, "price": usual}] * 2 * len(rows)]))


def test_amounts_are_exact_to_the_last_digit() -> None:
    chance = random.Random(26)
    amounts = [f"{chance.randrange(10 ** chance.randint(1, 13))}.{chance.randrange(100):02d}" for _ in range(3000)]
    fields = assert_read_alike(data_of([{"price": each} for each in amounts]))
    assert typed(fields)["price"].to_pylist() == [Decimal(each) for each in amounts]


@pytest.mark.parametrize("time", TIMES)
def test_times_are_those_of_their_texts(time: str) -> None:
    assert_read_alike(data_of([{"timestamp": time}] * 3))
    assert_read_alike(data_of([{"timestamp": time}, {}, {"timestamp": "2025-12-31 23:59:59"}]))


def test_texts_that_repeat_are_those_of_a_dictionary() -> None:
    regions = ["north", "", "Île-de-France", " north", "n", "northern-territory-and-all", "north\0", "\0north"]
    chance = random.Random(1)
    data = data_of([{"region": chance.choice(regions[:6]), "status": "failed "} for _ in range(500)])
    orders = typed(assert_read_alike(data))
    assert pa.types.is_dictionary(orders["region"].type)
    assert orders["status"].chunk(0).dictionary.to_pylist() == ["failed"]
    assert_read_alike(data_of([{"region": region} for region in regions]))  # with bytes of zero


@pytest.mark.parametrize("count", [1, 2, MOST_TEXTS, MOST_TEXTS + 1, 1000])
def test_texts_are_found_however_many_there_are_and_however_late(count: int) -> None:
    late = [{"product": "lamp"}] * 1000 + [{"product": f"product {number}"} for number in range(count)]
    assert_read_alike(data_of([*late, *late]))


def test_long_texts_are_read() -> None:
    assert_read_alike(data_of([{"region": "r" * length, "user_id": "u" * length} for length in (0, 8, 31, 33, 5000)]))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_rows_of_another_number_of_fields_are_left_out(end: bytes) -> None:
    good = data_of([{}]).rstrip()
    rows = [good, b"abc", good + b",", b",,", good, good.replace(b",", b";"), good + b",x,y", good]
    assert_read_alike(b"\n".join(rows) + end)
    assert_read_alike(b"\r\n".join(rows) + end)


def test_first_fields_of_a_block_are_read_though_no_word_is_before_them() -> None:
    columns = ["quantity", "region", *(name for name in COLUMNS if name not in ("quantity", "region"))]
    rows = [{**GOOD, "quantity": "7", "region": region} for region in ("n", "north", "a longer one")]
    data = "".join(",".join(row[name] for name in columns) + "\n" for row in rows).encode()
    fields = read_block(data, row_ends(data), columns).fields
    assert isinstance(fields, Plain)
    orders = typed(fields)
    assert orders["quantity"].to_pylist() == [7, 7, 7]
    assert orders["region"].to_pylist() == ["n", "north", "a longer one"]
    assert orders["price"].to_pylist() == [Decimal("10.50")] * 3


def test_random_bytes_are_read_alike() -> None:
    chance = random.Random(7)
    tokens = [b",", b"\n", b" ", b"-", b".", b"0", b"/", b":", b"T", b"\xc3\xa9", b"\0", b"\t", b"\r\n", b""]
    for _ in range(200):
        data = bytearray(data_of([{}] * 20))
        for _ in range(chance.randint(1, 20)):
            at = chance.randrange(len(data))
            data[at : at + 1] = chance.choice(tokens)
        if chance.random() < 0.5 and b"\n\n" not in data:
            assert_read_alike(bytes(data)) if _rows_of_some_length(bytes(data)) else None


def _rows_of_some_length(data: bytes) -> bool:
    """Tell whether all rows are read as fields; a row of one byte, or none, is read by itself."""
    return all(len(row) > 2 for row in data.splitlines(keepends=True)) and b"\r" not in data.replace(b"\r\n", b"")


def test_statuses_are_mapped_when_they_are_those_of_a_dictionary() -> None:
    data = data_of([{"status": each} for each in ("paid", " paid", "success", "open")])
    fields = assert_read_alike(data)
    orders = parse.typed(fields, {"paid": "success", "open": "pending"})
    assert orders["status"].to_pylist() == ["success", "success", "success", "pending"]
    assert orders["status"].chunk(0).dictionary.to_pylist() == ["success", "pending"]
