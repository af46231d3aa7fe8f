"""The built-in rules: each is a pure function from a frame of orders to a mask of the rows that it rejects.

A rule is a function that `rule` marks, and its name is the function's. Its sentence is the argument of `rule`, not the
docstring, which Python removes under -OO. The frame is what `daskjobs.orders.schema.frame` returns: a row for
each order, Arrow types, money as integer cents, and null where a text could not be parsed. A null in a mask rejects
nothing, since the rule about unreadable values has rejected that row already.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from daskjobs.orders.profiles import Profile
from daskjobs.orders.rules.functions import SENTENCE, rule
from daskjobs.orders.schema import PAID, STATUSES

Rule = Callable[[pd.DataFrame], pd.Series]
FACTORS = ("quantity", "price_cents", "total_cents")  # of which the last one is the product of the others

# Reasons of rows that could not be split into fields, and so are not in a frame.
WRONG_FIELDS = "wrong_number_of_fields"
NOT_UTF8 = "not_utf8"
MALFORMED_JSON = "malformed_json"
MALFORMED = {
    WRONG_FIELDS: "The row doesn't have as many fields as the header.",
    NOT_UTF8: "The row holds bytes that are not text in the input's encoding.",
    MALFORMED_JSON: "The line is not one JSON object that has each key once and only whole characters.",
}
DUPLICATE = "duplicate_order_id"  # looked for across all partitions, among the rows that pass every rule
DUPLICATES = {DUPLICATE: "A row before it, which passes every rule too, has the same order_id."}
# Reasons of rows that a profile takes for lines of an order.
DUPLICATE_LINE = "duplicate_line"
DIFFERING_TOTAL = "differing_total"
DIFFERING_REFUND = "differing_refund"
REJECTED_ORDER = "line_of_rejected_order"
OF_LINES = {
    DUPLICATE_LINE: "A row {where} it, which passes every rule too, has the same key ({key}).",
    DIFFERING_TOTAL: "The order's total is another one than that of {first}.",
    DIFFERING_REFUND: "The order's refund is another one than that of {first}.",
    REJECTED_ORDER: "Another line of the same order is rejected, and the profile then rejects the whole order.",
}


def of_lines(profile: Profile | None) -> dict[str, str]:
    """Return the sentences of the reasons that a profile adds where a row is a line of an order, or has a key."""
    if not profile:
        return {}
    order, key = profile.order, ", ".join(profile.order.key)
    last = order.repeats == "last"
    where = "behind" if last else "before"
    first = "the first of its lines here" + (" that no later one replaces" if last and key else "")
    if not profile.by_line:
        if key:
            return {DUPLICATE: OF_LINES[DUPLICATE_LINE].format(key=key, where=where)}
        return {DUPLICATE: DUPLICATES[DUPLICATE].replace("before", where)}
    needed = {
        DUPLICATE_LINE: key,
        DIFFERING_TOTAL: order.total,
        DIFFERING_REFUND: profile.refunds_once,
        REJECTED_ORDER: order.rejects == "order",
    }
    return {
        name: sentence.format(key=key, where=where, first=first) for name, sentence in OF_LINES.items() if needed[name]
    }


def cells(orders: pd.DataFrame) -> list[npt.NDArray[np.int64]]:
    """Return the columns `FACTORS` of a frame, with zeros in place of null."""
    return [orders[name].fillna(0).to_numpy(np.int64) for name in FACTORS]


def far_from_product(orders: pd.DataFrame, tolerance: int = 0) -> pd.Series:
    """Return the rows whose total isn't quantity times price, to so many cents; a row that lacks one isn't asked."""
    quantity, price, total = cells(orders)
    wraps = np.abs(quantity.astype(float) * price) > 4e18  # more than any total can be
    far = np.abs(quantity * price - total) > tolerance if tolerance else quantity * price != total
    far |= wraps
    for name in FACTORS:
        far &= orders[name].notna().to_numpy()
    return pd.Series(far, orders.index)


@rule("The order_id is empty.")
def missing_order_id(orders: pd.DataFrame) -> pd.Series:
    return orders["order_id"] == ""


@rule("The quantity is not a whole number of at most nine digits, like 2 or 2.0.")
def unreadable_quantity(orders: pd.DataFrame) -> pd.Series:
    return orders["quantity"].isna()


@rule("The quantity is zero or negative.")
def quantity_below_one(orders: pd.DataFrame) -> pd.Series:
    return orders["quantity"] < 1


@rule("The price is not an amount like 12.34, of whole cents and with at most sixteen digits before the point.")
def unreadable_price(orders: pd.DataFrame) -> pd.Series:
    return orders["price_cents"].isna()


@rule("The price is below zero.")
def negative_price(orders: pd.DataFrame) -> pd.Series:
    return orders["price_cents"] < 0


@rule("The total_amount is not an amount like 12.34, of whole cents and with at most sixteen digits before the point.")
def unreadable_total(orders: pd.DataFrame) -> pd.Series:
    return orders["total_cents"].isna()


@rule("The total_amount is not quantity times price, to the cent.")
def wrong_total(orders: pd.DataFrame) -> pd.Series:
    return far_from_product(orders)


@rule("The status is none of success, failed, pending, cancelled and refunded, in lower case, and not mapped to one.")
def unknown_status(orders: pd.DataFrame) -> pd.Series:
    return ~orders["status"].isin(list(STATUSES))


@rule("The timestamp is not a day that exists, like 2025-03-31, alone or with a time like 23:59:59 (ISO 8601).")
def unreadable_timestamp(orders: pd.DataFrame) -> pd.Series:
    return orders["timestamp"].isna()


def failed_transaction(orders: pd.DataFrame) -> pd.Series:
    """The status is not success: the order is valid but unpaid, and clean leaves it out."""
    return orders["status"] != PAID


# The rules by name, in the order of a row's reasons; and the sentence of each reason.
RULES: dict[str, Rule] = {
    each.__name__: each
    for each in (missing_order_id, unreadable_quantity, quantity_below_one, unreadable_price, negative_price,
                 unreadable_total, wrong_total, unknown_status, unreadable_timestamp)
}  # fmt: skip
SENTENCES = MALFORMED | {name: str(getattr(each, SENTENCE)) for name, each in RULES.items()} | DUPLICATES
# Those that a profile may leave out. Without one of the others, nobody could tell which order a row is, of which day,
# whether it is paid, and what it comes to.
OPTIONAL = ("unreadable_quantity", "quantity_below_one", "unreadable_price", "negative_price", "wrong_total")
# The known anomalies of generated orders, and the functions that must find them.
ANOMALIES: dict[str, Rule] = {
    function.__name__: function for function in (negative_price, wrong_total, failed_transaction)
}
