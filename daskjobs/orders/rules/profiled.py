"""The built-in rules as a profile changes them: left out, with a tolerance, or with returns."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from daskjobs.orders.money import amount_text
from daskjobs.orders.profiles import OrderForm, Profile
from daskjobs.orders.rules.builtin import (
    DUPLICATES,
    MALFORMED,
    RULES,
    Rule,
    negative_price,
    of_lines,
    quantity_below_one,
    wrong_total,
)
from daskjobs.orders.rules.functions import SENTENCE, rule

Numbers = npt.NDArray[np.int64]

# Reasons that `worth.faults` finds: what they look at isn't in the frame of a rule.
MISSING_CURRENCY, UNREADABLE_REFUND = "missing_currency", "unreadable_refund"
FAULTS = {
    UNREADABLE_REFUND: "The refund is not an amount like 12.34, of whole cents and with at most sixteen digits before "
    "the point.",
    MISSING_CURRENCY: "The row has no currency.",
}
NEGATIVE_TOTAL, CONTRADICTORY_SIGNS = "negative_total", "contradictory_signs"
PROFILED = (NEGATIVE_TOTAL, CONTRADICTORY_SIGNS, *FAULTS)
_AT = [*RULES].index(wrong_total.__name__) + 1
_ORDER = (*[*RULES][:_AT], NEGATIVE_TOTAL, CONTRADICTORY_SIGNS, *[*RULES][_AT:])
SIGNED = ("quantity", "price_cents", "total_cents")
_UNCLEAR = "It is no sale and no return, since the signs of its quantity, price and total_amount don't fit together."


@rule("The total_amount is below zero.")
def _negative_total(orders: pd.DataFrame) -> pd.Series:
    return orders["total_cents"] < 0


@rule(_UNCLEAR)
def _contradictory_row(orders: pd.DataFrame) -> pd.Series:
    if not any((orders[name] < 0).any() for name in SIGNED):  # as in most blocks
        return pd.Series(np.zeros(len(orders), bool), orders.index)
    quantity, price, total, known = _cells(orders)
    back = (quantity < 0) | (price < 0)
    wrong = ((quantity < 0) & (price < 0)) | (back & (total > 0)) | (~back & (price > 0) & (total < 0))
    return pd.Series(wrong & known, orders.index)


@rule(_UNCLEAR)
def _contradictory_line(orders: pd.DataFrame) -> pd.Series:
    """Judge rows whose price is that of the whole line: its sign is the total's, whatever the quantity's is."""
    quantity, price, total, known = _cells(orders)
    wrong = (((quantity < 0) | (price < 0)) & (total > 0)) | ((price > 0) & (total < 0))
    return pd.Series(wrong & known, orders.index)


@rule("The quantity is zero.")
def _zero_quantity(orders: pd.DataFrame) -> pd.Series:
    return orders["quantity"] == 0


def _far_from_product(orders: pd.DataFrame, tolerance: int = 0) -> pd.Series:
    quantity, price, total, known = _cells(orders)
    far = np.abs(quantity * price - total) > tolerance
    far |= np.abs(quantity.astype(float) * price) > 4e18  # where the product wraps
    return pd.Series(far & known, orders.index)


def _far_from_price(orders: pd.DataFrame, tolerance: int = 0) -> pd.Series:
    return (orders["total_cents"] - orders["price_cents"]).abs() > tolerance


def _cells(orders: pd.DataFrame) -> tuple[Numbers, Numbers, Numbers, npt.NDArray[np.bool_]]:
    """Return quantity, price and total_amount, with zeros in place of null, and the rows that have all three."""
    columns = [orders[name] for name in SIGNED]
    quantity, price, total = (column.fillna(0).to_numpy(np.int64) for column in columns)
    known = np.ones(len(orders), bool)
    for column in columns:
        known &= column.notna().to_numpy()
    return quantity, price, total, known


def left_out(profile: Profile) -> dict[str, str]:
    """Return the built-in rules that a profile leaves out, in their order, each with the reason."""
    order, total = profile.order, profile.columns.get("total_amount")
    out = dict.fromkeys(order.without_rules, "the profile names it in without_rules")
    if order.total:
        out[wrong_total.__name__] = "the total_amount is the order's own total"
    elif total and total.computed:
        out[wrong_total.__name__] = "the total_amount is computed"
    elif total and total.sum:
        out[wrong_total.__name__] = "the total_amount is a sum of columns"
    return {name: out[name] for name in RULES if name in out}


def rules_of(profile: Profile) -> dict[str, Rule]:
    """Return the built-in rules of a run with a profile, by name, in the order of a row's reasons."""
    order, out = profile.order, left_out(profile)
    rules = RULES | _totals(order)
    if order.returns == "subtract":
        rules[quantity_below_one.__name__] = _zero_quantity
        del rules[negative_price.__name__]
        if not (profile.by_line and order.total):  # where a line's signs needn't be those of its order
            rules[CONTRADICTORY_SIGNS] = _contradictory_line if order.price == "line" else _contradictory_row
    elif out or order.tolerance:  # else the other rules leave no negative total
        rules[NEGATIVE_TOTAL] = _negative_total
    return {name: rules[name] for name in _ORDER if name in rules and name not in out}


def _totals(order: OrderForm) -> dict[str, Rule]:
    """Return the rule about totals, if a profile says another one."""
    if order.price == "unit" and not order.tolerance:
        return {}
    far, product = (
        (_far_from_price, "the price") if order.price == "line" else (_far_from_product, "quantity times price")
    )
    within = f"to within {amount_text(order.tolerance)}" if order.tolerance else "to the cent"
    name = wrong_total.__name__
    return {name: rule(f"The total_amount is not {product}, {within}.", name=name, tolerance=order.tolerance)(far)}


def sentences_of(profile: Profile) -> dict[str, str]:
    """Return the sentence of each reason but the user's own, in the order of a row's reasons."""
    said = {name: str(getattr(each, SENTENCE)) for name, each in rules_of(profile).items()}
    needed = {UNREADABLE_REFUND: profile.order.refunds, MISSING_CURRENCY: profile.order.currency}
    faults = {name: sentence for name, sentence in FAULTS.items() if needed[name]}
    return MALFORMED | said | faults | DUPLICATES | of_lines(profile)
