"""The built-in rules as a profile changes them."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from daskjobs.errors import ConfigError
from daskjobs.orders.money import MONEY
from daskjobs.orders.profiles import Column, OrderForm, Profile, ValueForm
from daskjobs.orders.rules.builtin import OPTIONAL, RULES, SENTENCES, Orders
from daskjobs.orders.rules.profiled import PROFILED, left_out, rules_of, sentences_of
from daskjobs.orders.rules.ruleset import Ruleset

SUBTRACT = OrderForm(returns="subtract")


def reasons_of(order: OrderForm, quantity: int | None, price: int | None, total: int | None) -> list[str]:
    """The reasons of a row whose other values are good; money in cents."""
    values = {"price": price, "total_amount": total}
    money = {name: [None if cents is None else Decimal(cents).scaleb(-2)] for name, cents in values.items()}
    columns = {name: pa.array(amount, MONEY) for name, amount in money.items()}
    columns |= {"quantity": pa.array([quantity], pa.int64()), "timestamp": pa.array([datetime(2025, 4, 2)])}
    orders = Orders(pa.table(columns | {"order_id": ["A1"], "status": ["success"]}))
    return [name for name, rule in rules_of(Profile("mine", order=order)).items() if rule(orders)[0]]


def test_rules_are_the_built_in_ones_when_a_profile_says_nothing_of_them() -> None:
    assert rules_of(Profile("mine")) == RULES
    assert sentences_of(Profile("mine")) == SENTENCES


@pytest.mark.parametrize(
    ("order", "row", "reasons"),
    [
        (OrderForm(), (3, 725, 2610), ["wrong_total"]),
        (OrderForm(without_rules=["wrong_total"]), (3, 725, 2610), []),
        (OrderForm(without_rules=["wrong_total"]), (3, 725, -2610), ["negative_total"]),
        (OrderForm(without_rules=["quantity_below_one"]), (0, 725, 0), []),
        (OrderForm(without_rules=["quantity_below_one"]), (-3, 725, -2175), ["negative_total"]),
        (OrderForm(total=["Total"]), (3, 725, 9999), []),
        (OrderForm(tolerance=2), (3, 725, 2177), []),
        (OrderForm(tolerance=2), (3, 725, 2173), []),
        (OrderForm(tolerance=2), (3, 725, 2178), ["wrong_total"]),
        (OrderForm(tolerance=2), (3, 725, None), ["unreadable_total"]),
        (OrderForm(tolerance=2), (1, 0, -1), ["negative_total"]),
        (OrderForm(tolerance=2), (999_999_999, 99 * 10**16, 0), ["wrong_total"]),  # whose product wraps in 64 bits
        (OrderForm(price="line"), (3, 2175, 2175), []),
        (OrderForm(price="line"), (3, 725, 2175), ["wrong_total"]),
        (OrderForm(price="line", tolerance=1), (3, 2175, 2176), []),
        (OrderForm(price="line", tolerance=1), (3, 2175, 2177), ["wrong_total"]),
    ],
)
def test_total_is_held_against_what_the_profile_says_of_it(
    order: OrderForm, row: tuple[int, int, int], reasons: list[str]
) -> None:
    assert reasons_of(order, *row) == reasons


@pytest.mark.parametrize(
    ("order", "row", "reasons"),
    [
        (SUBTRACT, (-3, 725, -2175), []),
        (SUBTRACT, (3, -725, -2175), []),
        (SUBTRACT, (-1, 0, 0), []),  # a gift goes back
        (SUBTRACT, (0, 725, 0), ["quantity_below_one"]),
        (SUBTRACT, (-3, 725, 2175), ["wrong_total", "contradictory_signs"]),
        (SUBTRACT, (3, 725, -2175), ["wrong_total", "contradictory_signs"]),
        (SUBTRACT, (-3, -725, 2175), ["contradictory_signs"]),
        (SUBTRACT, (-3, -725, -2175), ["wrong_total", "contradictory_signs"]),
        (SUBTRACT, (-3, None, 2175), ["unreadable_price", "contradictory_signs"]),
        (OrderForm(returns="subtract", price="line"), (-3, -2175, -2175), []),
        (OrderForm(returns="subtract", price="line"), (3, -2175, -2175), []),
        (OrderForm(returns="subtract", price="line"), (-3, 2175, 2175), ["contradictory_signs"]),
        (OrderForm(returns="subtract", without_rules=["wrong_total"]), (-3, 725, -2610), []),
        (OrderForm(returns="subtract", without_rules=["wrong_total"]), (-3, 725, 2610), ["contradictory_signs"]),
        (OrderForm(returns="subtract", rows="line", total=["Total"]), (-1, 725, 5000), []),  # one item of a paid order
    ],
)
def test_return_is_a_row_whose_signs_agree_that_something_went_back(
    order: OrderForm, row: tuple[int, int, int], reasons: list[str]
) -> None:
    assert reasons_of(order, *row) == reasons


@pytest.mark.parametrize(
    ("profile", "why"),
    [
        (Profile("mine", order=OrderForm(without_rules=["wrong_total"])), "the profile names it in without_rules"),
        (Profile("mine", order=OrderForm(total=["Total"])), "the total_amount is the order's own total"),
        (Profile("mine", columns={"total_amount": Column(computed=True)}), "the total_amount is computed"),
        (Profile("mine", columns={"total_amount": Column(sum=["a", "-b"])}), "the total_amount is a sum of columns"),
    ],
)
def test_rule_about_totals_is_left_out_where_it_cannot_hold(profile: Profile, why: str) -> None:
    assert left_out(profile) == {"wrong_total": why}
    assert "wrong_total" not in rules_of(profile)


def one_column(price: Column, total: Column, of: str = "line") -> Profile:
    return Profile("mine", columns={"price": price, "total_amount": total}, order=OrderForm(price=of))  # type: ignore[arg-type]


def test_rule_about_totals_is_left_out_where_price_and_total_are_one_column() -> None:
    net = Column(names=["Netto", "Net"])
    for total in (net, replace(net, empty="0")):
        assert left_out(one_column(net, total)) == {"wrong_total": "price and total_amount are one column"}
    assert left_out(one_column(replace(net, empty="1"), replace(net, empty="0"))) == {}
    assert left_out(one_column(net, net, "unit")) == {}, "of two pieces, the total is another one"
    assert left_out(one_column(net, Column(names=["Netto"]))) == {}
    assert left_out(one_column(Column(constant="1"), Column(constant="2"))) == {}


@pytest.mark.parametrize(
    ("profile", "reason", "sentence"),
    [
        (
            Profile("", values=ValueForm(decimal=",", currency=["€"])),
            "unreadable_price",
            "The price is not an amount as [values] of the profile says, like 12,34, of whole cents and with at most "
            "sixteen digits before these.",
        ),
        (
            Profile("", values=ValueForm(thousands=["'"])),
            "unreadable_quantity",
            "The quantity is not a whole number of at most nine digits, written as [values] of the profile says.",
        ),
        (
            Profile("", values=ValueForm(decimal=","), order=OrderForm(refunds="Back")),
            "unreadable_refund",
            "The refund is not an amount as [values] of the profile says, like 12,34, of whole cents and with at most "
            "sixteen digits before these.",
        ),
        (
            Profile("", order=OrderForm(total=["Sum", "-Discount"])),
            "unreadable_total",
            "The order's total, or a part of it, is not an amount like 12.34, of whole cents and with at most sixteen "
            "digits before the point.",
        ),
        (
            Profile("", columns={"total_amount": Column(computed=True)}),
            "unreadable_total",
            "The total_amount can't be computed: quantity or price can't be read, or is too large.",
        ),
        (
            Profile("", values=ValueForm(timestamp=["%d.%m.%Y"])),
            "unreadable_timestamp",
            "The timestamp fits none of the formats that the profile names, or is no day that exists.",
        ),
        (
            Profile("", values=ValueForm(timestamp=["%d.%m.%Y %H:%M"], zone="Europe/Berlin")),
            "unreadable_timestamp",
            "The timestamp fits none of the formats that the profile names, or is no day that exists, or it is of an "
            "hour that doesn't exist in Europe/Berlin, or occurs twice there (which hour_twice can decide).",
        ),
        (
            Profile("", values=ValueForm(zone="Europe/Berlin", hour_twice="first")),
            "unreadable_timestamp",
            "The timestamp is not a day that exists, like 2025-03-31, alone or with a time like 23:59:59 (ISO 8601), "
            "or it is of an hour that doesn't exist in Europe/Berlin.",
        ),
        (
            Profile("", status={"paid": "success"}),
            "unknown_status",
            "The status is none of success, failed, pending, cancelled and refunded, in lower case, and [status] of "
            "the profile doesn't map it to one.",
        ),
    ],
)
def test_sentence_of_what_cannot_be_read_says_what_the_profile_says(
    profile: Profile, reason: str, sentence: str
) -> None:
    said = sentences_of(profile)
    assert said[reason] == sentence
    assert [*said] == [*sentences_of(Profile("", order=profile.order, columns=profile.columns))]


def test_what_may_be_left_out_says_nothing_of_the_order_its_day_its_status_and_its_total() -> None:
    needed = {"missing_order_id", "unreadable_timestamp", "unknown_status", "unreadable_total"}
    assert {*OPTIONAL} == {*RULES} - needed


def test_row_without_a_price_counts_by_its_total_when_the_rule_about_prices_is_left_out() -> None:
    without = OrderForm(without_rules=["unreadable_price"])
    assert reasons_of(without, 3, None, 2175) == []
    assert reasons_of(without, 3, None, -2175) == ["negative_total"]
    assert reasons_of(without, 3, 700, 2175) == ["wrong_total"]


def test_every_reason_that_a_profile_brings_has_a_sentence() -> None:
    every = [OrderForm(tolerance=1), OrderForm(returns="subtract", refunds="back", currency="money")]
    said = {name: text for order in every for name, text in sentences_of(Profile("mine", order=order)).items()}
    assert {*PROFILED} <= said.keys()
    assert all(text.endswith(".") for text in said.values())


def test_own_rule_may_have_the_name_of_a_reason_that_only_a_profile_brings_when_there_is_none() -> None:
    code = "def missing_currency(orders):\n    return orders['quantity'] > 1\n"
    assert "missing_currency" in Ruleset(code, "mine.py").sentences
    with pytest.raises(ConfigError, match="defines missing_currency, which is a built-in rule: give it another name"):
        Ruleset(code, "mine.py", profile=Profile("mine")).own  # noqa: B018
