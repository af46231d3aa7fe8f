"""The built-in rules as a profile changes them: left out, with a tolerance, or with returns."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from daskjobs.orders.money import amount_text
from daskjobs.orders.profiles import OrderForm, Profile, ValueForm
from daskjobs.orders.rules.builtin import (
    DUPLICATES,
    MALFORMED,
    OF_PROFILE,
    RULES,
    SENTENCES,
    Mask,
    Orders,
    Rule,
    far_from_product,
    negative_price,
    of_profile,
    quantity_below_one,
    wrong_total,
)
from daskjobs.orders.rules.functions import SENTENCE, rule
from daskjobs.orders.schema import STATUSES

# Reasons that `worth.faults` finds: what they look at isn't in the frame of a rule.
MISSING_CURRENCY, UNREADABLE_REFUND = "missing_currency", "unreadable_refund"
AMOUNT = "an amount like 12.34, of whole cents and with at most sixteen digits before the point"
FAULTS = {
    UNREADABLE_REFUND: f"The refund is not {AMOUNT}.",
    MISSING_CURRENCY: "The row has no currency.",
}
NEGATIVE_TOTAL, CONTRADICTORY_SIGNS = "negative_total", "contradictory_signs"
PROFILED = (NEGATIVE_TOTAL, CONTRADICTORY_SIGNS, *FAULTS)
BUILT_IN = (*SENTENCES, *PROFILED, *OF_PROFILE)  # all reasons but those of the user's own rules
_AT = [*RULES].index(wrong_total.__name__) + 1
_ORDER = (*[*RULES][:_AT], NEGATIVE_TOTAL, CONTRADICTORY_SIGNS, *[*RULES][_AT:])
_UNCLEAR = "It is no sale and no return, since the signs of its quantity, price and total_amount don't fit together."


@rule("The total_amount is below zero.")
def _negative_total(orders: Orders) -> Mask:
    return orders.total.values < 0


@rule(_UNCLEAR)
def _contradictory_row(orders: Orders) -> Mask:
    quantity, price, total = (each.values for each in orders.factors)  # what isn't known is 0, of neither sign
    if min(each.min(initial=0) for each in (quantity, price, total)) == 0:  # as in most blocks
        return np.zeros(len(total), bool)
    back, sale = (quantity < 0) | (price < 0), (quantity > 0) & (price > 0)
    wrong: Mask = ((quantity < 0) & (price < 0)) | (back & (total > 0)) | (sale & (total < 0))
    return wrong


@rule(_UNCLEAR)
def _contradictory_line(orders: Orders) -> Mask:
    """Judge rows whose price is that of the whole line: its sign is the total's, whatever the quantity's is."""
    quantity, price, total = (each.values for each in orders.factors)
    wrong: Mask = (((quantity < 0) | (price < 0)) & (total > 0)) | ((price > 0) & (total < 0))
    return wrong


@rule("The quantity is zero.")
def _zero_quantity(orders: Orders) -> Mask:
    zero: Mask = orders.quantity.known & (orders.quantity.values == 0)
    return zero


def _far_from_price(orders: Orders, tolerance: int = 0) -> Mask:
    price, total = orders.price, orders.total
    far: Mask = np.abs(total.values - price.values) > tolerance
    return far & price.known & total.known


def left_out(profile: Profile) -> dict[str, str]:
    """Return the built-in rules that a profile leaves out, in their order, each with the reason."""
    order, total = profile.order, profile.column("total_amount")
    out = dict.fromkeys(order.without_rules, "the profile names it in without_rules")
    if order.total:
        out[wrong_total.__name__] = "the total_amount is the order's own total"
    elif total.computed:
        out[wrong_total.__name__] = "the total_amount is computed"
    elif total.sum:
        out[wrong_total.__name__] = "the total_amount is a sum of columns"
    elif _is_one_column(profile):
        out[wrong_total.__name__] = "price and total_amount are one column"
    return {name: out[name] for name in RULES if name in out}


def _is_one_column(profile: Profile) -> bool:
    """Tell whether price and total_amount are the same text of each row, so that one can't contradict the other."""
    price, total = (profile.column(ours) for ours in ("price", "total_amount"))
    return (
        profile.order.price == "line"
        and price.names == total.names != []
        and (price.empty == total.empty or None in (price.empty, total.empty))
    )


def rules_of(profile: Profile, warn: Collection[str] = ()) -> dict[str, Rule]:
    """Return the built-in rules of a run with a profile, by name, in the order of a row's reasons.

    A negative total must not lessen the revenue where one of those that would reject it may ``warn`` instead.
    """
    order, out = profile.order, left_out(profile)
    rules = RULES | _totals(order)
    if order.returns == "subtract":
        rules[quantity_below_one.__name__] = _zero_quantity
        del rules[negative_price.__name__]
        if not (profile.by_line and order.total):  # where a line's signs needn't be those of its order
            rules[CONTRADICTORY_SIGNS] = _contradictory_line if order.price == "line" else _contradictory_row
    elif out or order.tolerance or {*RULES} & {*warn}:  # else the other rules leave no negative total
        rules[NEGATIVE_TOTAL] = _negative_total
    return {name: rules[name] for name in _ORDER if name in rules and name not in out}


def _totals(order: OrderForm) -> dict[str, Rule]:
    """Return the rule about totals, if a profile says another one."""
    if order.price == "unit" and not order.tolerance:
        return {}
    far, product = (
        (_far_from_price, "the price") if order.price == "line" else (far_from_product, "quantity times price")
    )
    within = f"to within {amount_text(order.tolerance)}" if order.tolerance else "to the cent"
    name = wrong_total.__name__
    return {name: rule(f"The total_amount is not {product}, {within}.", name=name, tolerance=order.tolerance)(far)}


def sentences_of(profile: Profile, warn: Collection[str] = ()) -> dict[str, str]:
    """Return the sentence of each reason but the user's own, in the order of a row's reasons."""
    said = {name: str(getattr(each, SENTENCE)) for name, each in rules_of(profile, warn).items()}
    needed = {UNREADABLE_REFUND: profile.order.refunds, MISSING_CURRENCY: profile.order.currency}
    faults = {name: sentence for name, sentence in FAULTS.items() if needed[name]}
    read = {name: sentence for name, sentence in _of_values(profile).items() if name in said | faults}
    return MALFORMED | said | faults | read | DUPLICATES | of_profile(profile)


def _of_values(profile: Profile) -> dict[str, str]:
    """Return the sentences of values that can't be understood, where a profile says otherwise what is understood."""
    return _of_numbers(profile) | _of_times(profile.values) | _of_statuses(profile)


def _of_numbers(profile: Profile) -> dict[str, str]:
    values, total = profile.values, profile.column("total_amount")
    usual = replace(values, timestamp=[], zone="", hour_twice="", ids="exact") == ValueForm()
    amount, said = AMOUNT, {}
    if not usual:
        amount = (
            f"an amount as [values] of the profile says, like 12{values.decimal}34, of whole cents and with at most "
            "sixteen digits before these"
        )
        said["unreadable_quantity"] = (
            "The quantity is not a whole number of at most nine digits, written as [values] of the profile says."
        )
        said["unreadable_price"] = f"The price is not {amount}."
        said[UNREADABLE_REFUND] = f"The refund is not {amount}."
    if profile.column("price").sum:
        said["unreadable_price"] = f"The price is a sum, and not each part of it is {amount}."
    if profile.order.total:
        said["unreadable_total"] = f"The order's total, or a part of it, is not {amount}."
    elif total.sum:
        said["unreadable_total"] = f"The total_amount is a sum, and not each part of it is {amount}."
    elif total.computed:
        said["unreadable_total"] = (
            "The total_amount can't be computed: quantity or price can't be read, or is too large."
        )
    elif not usual:
        said["unreadable_total"] = f"The total_amount is not {amount}."
    return said


def _of_times(values: ValueForm) -> dict[str, str]:
    zone = ""
    if values.zone:
        twice = "" if values.hour_twice else ", or occurs twice there (which hour_twice can decide)"
        zone = f", or it is of an hour that doesn't exist in {values.zone}{twice}"
    if values.timestamp:
        what = "fits none of the formats that the profile names, or is no day that exists"
    elif zone:
        what = "is not a day that exists, like 2025-03-31, alone or with a time like 23:59:59 (ISO 8601)"
    return {"unreadable_timestamp": f"The timestamp {what}{zone}."} if values.timestamp or zone else {}


def _of_statuses(profile: Profile) -> dict[str, str]:
    if not profile.status:
        return {}
    return {
        "unknown_status": f"The status is none of {', '.join(STATUSES[:-1])} and {STATUSES[-1]}, in lower case, and "
        "[status] of the profile doesn't map it to one."
    }
