"""What makes an order valid: each rule is a pure function from a frame to a mask of the rows it rejects.

A rule's name is its function's name, and its sentence is its docstring. The frame is `daskjobs.orders.frame`:
one row an order, Arrow types, money as integer cents, null where a text could not be understood. A null in a
mask rejects nothing: the rule for the unreadable value has spoken already.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from daskjobs.orders import PAID, STATUSES

Rule = Callable[[pd.DataFrame], pd.Series]

# Reasons that the reader gives before there is a frame.
WRONG_FIELDS = "wrong_number_of_fields"
NOT_UTF8 = "not_utf8"
MALFORMED = {
    WRONG_FIELDS: "The row doesn't have as many fields as the header.",
    NOT_UTF8: "The row holds bytes that are not text in the input's encoding.",
}
DUPLICATE = "duplicate_order_id"  # found across all partitions, once the rows that pass every rule are known
DUPLICATES = {DUPLICATE: "A row before it, which passes every rule too, has the same order_id."}


def missing_order_id(orders: pd.DataFrame) -> pd.Series:
    """The order_id is empty."""
    return orders["order_id"] == ""


def unreadable_quantity(orders: pd.DataFrame) -> pd.Series:
    """The quantity is not a whole number of at most nine digits, like 2 or 2.0."""
    return orders["quantity"].isna()


def quantity_below_one(orders: pd.DataFrame) -> pd.Series:
    """The quantity is zero or negative."""
    return orders["quantity"] < 1


def unreadable_price(orders: pd.DataFrame) -> pd.Series:
    """The price is not an amount like 12.34, of whole cents and with at most sixteen digits before the point."""
    return orders["price_cents"].isna()


def negative_price(orders: pd.DataFrame) -> pd.Series:
    """The price is below zero."""
    return orders["price_cents"] < 0


def unreadable_total(orders: pd.DataFrame) -> pd.Series:
    """The total_amount is not an amount like 12.34, of whole cents and with at most sixteen digits before the point."""
    return orders["total_cents"].isna()


def wrong_total(orders: pd.DataFrame) -> pd.Series:
    """The total_amount is not quantity times price, to the cent."""
    columns = [orders[name] for name in ("quantity", "price_cents", "total_cents")]
    quantity, price, total = (column.fillna(0).to_numpy(np.int64) for column in columns)
    wraps = np.abs(quantity.astype(float) * price) > 4e18  # more than any total can be
    wrong = (quantity * price != total) | wraps
    for column in columns:
        wrong &= column.notna().to_numpy()
    return pd.Series(wrong, orders.index)


def unknown_status(orders: pd.DataFrame) -> pd.Series:
    """The status is none of success, failed, pending, cancelled and refunded, in lower case, and not mapped to one."""
    return ~orders["status"].isin(list(STATUSES))


def unreadable_timestamp(orders: pd.DataFrame) -> pd.Series:
    """The timestamp is not a day that exists, like 2025-03-31, alone or with a time like 23:59:59 (ISO 8601)."""
    return orders["timestamp"].isna()


RULES: tuple[Rule, ...] = (
    missing_order_id,
    unreadable_quantity,
    quantity_below_one,
    unreadable_price,
    negative_price,
    unreadable_total,
    wrong_total,
    unknown_status,
    unreadable_timestamp,
)


def failed_transaction(orders: pd.DataFrame) -> pd.Series:
    """The status is not success: the order is valid, but was not paid. Clean leaves it out."""
    return orders["status"] != PAID


def sentence(rule: Rule) -> str:
    """Return what a rule says of the rows it rejects."""
    return (rule.__doc__ or rule.__name__).strip().splitlines()[0]


SENTENCES = {**MALFORMED, **{rule.__name__: sentence(rule) for rule in RULES}, **DUPLICATES}

# The anomalies of generated data, each found by the function of the same name.
ANOMALIES: dict[str, Rule] = {rule.__name__: rule for rule in (negative_price, wrong_total, failed_transaction)}
