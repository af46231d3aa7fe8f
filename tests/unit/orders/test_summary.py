from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from daskjobs.orders.money import MONEY
from daskjobs.orders.summary import summarize

MOST = Decimal("9999999999999999.99")


@pytest.mark.parametrize("amount", [Decimal("12.34"), MOST, -MOST])
@pytest.mark.parametrize("coded", [False, True])
def test_sums_are_exact_however_large_the_amounts(amount: Decimal, coded: bool) -> None:
    regions = pa.array(["north", "south", "north"] * 1000)
    times = [datetime(1000, 1, 1), datetime(9999, 12, 31, 23), datetime(1000, 1, 1, 23)] * 1000
    orders = pa.table(
        {
            "timestamp": pa.array(times, pa.timestamp("us")),
            "region": regions.dictionary_encode() if coded else regions,
            "product": pa.array(["lamp"] * 3000),
            "total_amount": pa.array([amount] * 3000, MONEY),
        }
    )
    assert sorted(tuple(line.values()) for line in summarize(orders).to_pylist()) == [
        ("day", "1000-01-01", 2000, 2000 * amount),
        ("day", "9999-12-31", 1000, 1000 * amount),
        ("product", "lamp", 3000, 3000 * amount),
        ("region", "north", 2000, 2000 * amount),
        ("region", "south", 1000, 1000 * amount),
    ]
    assert len(summarize(orders.slice(0, 0))) == 0
