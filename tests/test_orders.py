import re
from datetime import datetime
from decimal import Decimal, InvalidOperation

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from daskjobs import orders

numbers = st.one_of(
    st.from_regex(r"-?[0-9]{1,18}(\.[0-9]{0,3})?", fullmatch=True),
    st.text(alphabet="-+.0123456789eE, xX_$ ", max_size=8),
    st.sampled_from(["NaN", "inf", "0x1F", "1e3", "1_000", "1,000", "+1", ".5", "5.", "-0", "-0.00", "٣", "1 ", " 1"]),
)


def money_oracle(text: str) -> Decimal | None:
    """The amount that the README's table says is understood, read slowly and obviously."""
    if not re.fullmatch(r"-?[0-9]{1,16}(\.[0-9]{1,2})?", text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


@given(st.lists(numbers, max_size=20))
def test_amounts_are_those_of_decimal_when_text_is_anything(texts: list[str]) -> None:
    read = orders.amounts(pa.array(texts, pa.string()))
    assert read.to_pylist() == [money_oracle(text) for text in texts]


@given(st.lists(numbers, max_size=20))
def test_quantities_are_whole_numbers_when_text_is_anything(texts: list[str]) -> None:
    read = orders.quantities(pa.array(texts, pa.string()))
    assert read.to_pylist() == [int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None for text in texts]


def test_times_are_null_when_no_such_day_or_hour_exists() -> None:
    texts = [
        "2024-02-29 23:59:59",
        "2025-02-29 00:00:00",
        "2025-04-31T00:00:00",
        "2025-01-01 24:00:00",
        "2025-1-1 1:1:1",
        "",
        "0000-01-01 00:00:00",
    ]
    read = orders.times(pa.array(texts)).to_pylist()
    assert read == [datetime(2024, 2, 29, 23, 59, 59), None, None, None, None, None, None]


def test_time_is_read_alike_when_a_bad_day_stands_beside_it() -> None:
    alone = orders.times(pa.array(["2025-03-01T12:00:00"]))
    beside = orders.times(pa.array(["2025-03-01T12:00:00", "2025-02-30 00:00:00"]))
    assert beside[0] == alone[0]


@given(st.lists(st.integers(-(10**18) + 1, 10**18 - 1), max_size=20))
def test_cents_come_back_when_they_were_money(values: list[int]) -> None:
    money = orders.money(np.array(values, np.int64))
    assert [int(amount * 100) for amount in money.to_pylist()] == values
    assert orders.cents(money).tolist() == values
    assert orders.cents(money.slice(1)).tolist() == values[1:]


@given(st.integers(-(10**18), 10**18))
def test_amount_text_is_exact_when_cents_are_many(cents: int) -> None:
    assert Decimal(orders.amount_text(cents)) * 100 == cents
