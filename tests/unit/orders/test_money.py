from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daskjobs.orders.money import amount_text, cents_of, decimals_of


@given(st.lists(st.integers(-(10**18) + 1, 10**18 - 1), max_size=20))
def test_cents_come_back_when_they_were_decimals(values: list[int]) -> None:
    decimals = decimals_of(np.array(values, np.int64))
    assert [int(amount * 100) for amount in decimals.to_pylist()] == values
    assert cents_of(decimals).tolist() == values
    assert cents_of(decimals.slice(1)).tolist() == values[1:]


@given(st.integers(-(10**18), 10**18))
def test_amount_text_is_exact_when_cents_are_many(cents: int) -> None:
    assert Decimal(amount_text(cents)) * 100 == cents
