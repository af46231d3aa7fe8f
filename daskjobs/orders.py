"""The orders' columns, their types, and money."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

COLUMNS = (
    "order_id",
    "user_id",
    "region",
    "product",
    "quantity",
    "price",
    "total_amount",
    "payment_mode",
    "status",
    "timestamp",
)
PAID = "success"
TRUTH = "orders/truth.parquet"  # of generated orders: the rows with an anomaly, and which
STATUSES = (PAID, "failed", "pending", "cancelled", "refunded")

MONEY = pa.decimal128(18, 2)  # exact; a file stores it as a 64-bit integer of cents
TIME = pa.timestamp("us")
TYPES = {"quantity": pa.int64(), "price": MONEY, "total_amount": MONEY, "timestamp": TIME}


def cents(money: pa.Array) -> npt.NDArray[np.int64]:
    """Return decimals of scale 2 as integer cents, without a copy; what stands at a null is not defined."""
    words = np.frombuffer(money.buffers()[1], np.int64) if len(money) else np.empty(0, np.int64)
    return words[2 * money.offset :: 2][: len(money)]


def money(cents: npt.NDArray[np.int64]) -> pa.Array:
    """Return integer cents as decimals of scale 2."""
    words = np.stack([cents, cents >> 63], axis=1)
    return pa.Decimal128Array.from_buffers(MONEY, len(cents), [None, pa.py_buffer(words)])


def frame(orders: pa.Table) -> pd.DataFrame:
    """Return what the rules see: a frame with Arrow types, money as integer cents in price_cents and total_cents."""
    money = {"price": "price_cents", "total_amount": "total_cents"}
    columns = {name: orders[name] for name in orders.column_names if name not in money}
    for source, name in money.items():
        decimals = orders[source].combine_chunks()
        columns[name] = pa.array(cents(decimals), mask=decimals.is_null().to_numpy(zero_copy_only=False))
    seen: pd.DataFrame = pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype, use_threads=False)
    return seen


def amount_text(cents: int) -> str:
    """Return integer cents as a plain number with two decimals.

    >>> amount_text(-5)
    '-0.05'
    """
    sign, whole = ("-", -cents) if cents < 0 else ("", cents)
    return f"{sign}{whole // 100}.{whole % 100:02d}"
