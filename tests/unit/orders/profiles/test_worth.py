"""What each row adds to orders and revenue."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from daskjobs.errors import InputError
from daskjobs.orders import summary
from daskjobs.orders.money import MONEY
from daskjobs.orders.profiles import Column, OrderForm, Profile, worth
from daskjobs.orders.profiles.columns import Arranged
from daskjobs.orders.validation.result import Amounts


def orders(*rows: tuple[int, str, str]) -> pa.Table:
    """Rows of a quantity, a price and a total."""
    quantities, prices, totals = zip(*rows, strict=True)
    return pa.table(
        {
            "quantity": pa.array(quantities, pa.int64()),
            "price": pa.array(map(Decimal, prices)).cast(MONEY),
            "total_amount": pa.array(map(Decimal, totals)).cast(MONEY),
            "status": ["success"] * len(rows),
        }
    )


def added(order: OrderForm, table: pa.Table, heads: list[int], refunds: list[str] | None = None) -> list[list[str]]:
    """The orders, gross and refunded of each row, as texts."""
    back = pa.array(map(Decimal, refunds)).cast(MONEY) if refunds else None
    profile = Profile("mine", order=order)
    found = worth.counted(table, Arranged(table, back), profile, np.array(heads, bool))
    return [[str(each[name]) for name in ("orders", "gross", "refunded")] for each in found.to_pylist()]


def test_return_adds_no_order_and_its_absolute_amount_to_what_was_given_back() -> None:
    rows = orders((3, "7.25", "21.75"), (-3, "7.25", "-21.75"), (1, "-4.00", "-4.00"), (-1, "0.00", "0.00"))
    assert added(OrderForm(returns="subtract"), rows, [1, 1, 1, 1]) == [
        ["1", "21.75", "0.00"],
        ["0", "0.00", "21.75"],
        ["0", "0.00", "4.00"],
        ["0", "0.00", "0.00"],
    ]


def test_line_adds_its_total_and_only_the_first_of_an_order_is_one() -> None:
    rows = orders((3, "7.25", "21.75"), (1, "4.00", "4.00"), (1, "4.00", "4.00"))
    assert added(OrderForm(rows="line"), rows, [1, 0, 1]) == [
        ["1", "21.75", "0.00"],
        ["0", "4.00", "0.00"],
        ["1", "4.00", "0.00"],
    ]


def test_own_total_and_refund_of_an_order_count_once_however_many_lines_have_them() -> None:
    rows = orders((3, "7.25", "30.00"), (1, "4.00", "30.00"), (-1, "4.00", "30.00"), (1, "9.00", "9.00"))
    form = OrderForm(rows="line", total=["Total"], returns="subtract", refunds="Refunded")
    assert added(form, rows, [1, 0, 0, 1], ["5.00", "5.00", "5.00", "0.00"]) == [
        ["1", "30.00", "5.00"],
        ["0", "0.00", "0.00"],
        ["0", "0.00", "0.00"],
        ["1", "9.00", "0.00"],
    ]


def test_line_that_goes_back_is_a_return_unless_the_total_is_the_orders_own() -> None:
    rows = orders((3, "7.25", "21.75"), (-1, "7.25", "-7.25"))
    by_line = Profile("mine", order=OrderForm(rows="line", returns="subtract"))
    own_total = Profile("mine", order=OrderForm(rows="line", returns="subtract", total=["Total"]))
    paid = orders((3, "7.25", "14.50"), (-1, "7.25", "14.50"))
    assert worth.returned(rows, by_line).tolist() == [False, True]
    assert worth.returned(paid, own_total).tolist() == [False, False]
    assert not worth.returned(rows, Profile("mine")).any()


def test_row_without_a_price_is_no_return_by_it() -> None:
    rows = orders((3, "-7.25", "21.75"), (3, "-7.25", "-21.75"))
    values = rows["price"].chunk(0).buffers()[1]  # which a null still has behind it
    unknown = rows.set_column(1, "price", pa.Array.from_buffers(MONEY, 2, [pa.py_buffer(b"\0"), values]))
    assert worth.returned(unknown, Profile("mine", order=OrderForm(returns="subtract"))).tolist() == [False, True]


def test_amounts_are_added_up_exactly_beyond_what_64_bits_hold() -> None:
    most = "9999999999999999.99"
    table = orders(*[(1, most, most)] * 3)
    profile = Profile("mine", order=OrderForm(rows="line"))
    counted = worth.counted(table, Arranged(table), profile, np.ones(3, bool))
    twice = summary.added(counted) + summary.added(counted)
    assert summary.added(counted.slice(0, 0)) + twice == Amounts(6, "59999999999999999.94", "0.00")


def test_paid_row_of_another_currency_than_the_chosen_one_is_told_with_its_currency() -> None:
    table = orders((1, "1.00", "1.00"), (1, "1.00", "1.00"), (1, "1.00", "1.00"))
    table = table.set_column(3, "status", pa.array(["success", "failed", "success"]))
    found = Arranged(table, currencies=pa.array(["JPY", "JPY", "EUR"]))
    chosen = Profile("mine", order=OrderForm(currency="money", report_currency="eur"))
    assert worth.foreign(found, chosen).tolist() == [True, False, False]
    assert worth.statuses(found, worth.foreign(found, chosen)).to_pylist() == ["success in JPY", "failed", "success"]
    none = Profile("mine", order=OrderForm(currency="money"))
    assert not worth.foreign(found, none).any()
    assert worth.currencies(found, none, np.array([True, True, True])) == {"JPY": 1, "EUR": 1}


def test_column_of_a_thousand_different_texts_is_no_column_of_currencies() -> None:
    table = orders(*[(1, "1.00", "1.00")] * 1001)
    found = Arranged(table, currencies=pa.array([f"C{number}" for number in range(1001)]))
    profile = Profile("mine", order=OrderForm(currency="Order"))
    with pytest.raises(InputError, match="the column Order has more than 1,000 different texts, so it is not one of"):
        worth.currencies(found, profile, np.ones(1001, bool))


def test_row_without_a_currency_or_with_an_unreadable_refund_is_rejected() -> None:
    table = orders((1, "1.00", "1.00"), (1, "1.00", "1.00"), (1, "1.00", "1.00"))
    refunds = pa.array([Decimal("0.00"), None, Decimal("0.00")]).cast(MONEY)
    masks = worth.faults(Arranged(table, refunds, pa.array(["EUR", "EUR", ""])))
    assert {name: rows.tolist() for name, rows in masks.items()} == {
        "unreadable_refund": [False, True, False],
        "missing_currency": [False, False, True],
    }
    assert worth.faults(Arranged(table)) == {}


@pytest.mark.parametrize(
    ("profile", "dimensions"),
    [
        (None, ("day", "region", "product")),
        (Profile("mine"), ("day", "region", "product")),
        (Profile("mine", columns={"region": Column(absent=True)}), ("day", "product")),
        (Profile("mine", order=OrderForm(rows="line", total=["Total"])), ("day", "region")),
        (Profile("mine", order=OrderForm(total=["Total"])), ("day", "region", "product")),
    ],
)
def test_sums_are_by_no_column_that_the_file_lacks_nor_by_product_without_totals_of_lines(
    profile: Profile | None, dimensions: tuple[str, ...]
) -> None:
    assert summary.dimensions(profile) == dimensions
