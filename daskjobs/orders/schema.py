"""The columns of orders and of rejected rows, their types, and how Parquet files store them."""

from dataclasses import replace

import pyarrow as pa

from daskjobs.files.tables import ColumnWriting
from daskjobs.orders.money import MONEY

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
STATUSES = (PAID, "failed", "pending", "cancelled", "refunded")

TIME = pa.timestamp("us")
COUNTS = ("orders", "gross", "refunded")  # what a row adds, where a profile says that this may be no whole order
TYPES = {"quantity": pa.int64(), "price": MONEY, "total_amount": MONEY, "timestamp": TIME}
QUARANTINE = pa.schema(
    [
        ("row", pa.int64()),
        ("source", pa.string()),
        ("partition", pa.int32()),
        ("reasons", pa.list_(pa.string())),
        ("raw", pa.string()),
    ]
)

# How all Parquet files of a run are written; columns that are not named here are texts with mostly different values.
WRITING = ColumnWriting(
    few_values=(
        "region",
        "product",
        "quantity",
        "payment_mode",
        "status",
        "reasons.list.element",
        "source",
        "dimension",
    ),
    coded=("region", "product", "payment_mode", "status"),
    ascending=("row", "position", "timestamp"),  # mostly ascending
    amounts=("price", "total_amount", "gross"),
    # None for texts: these take longer than the rest of their writing, and let hardly any reader skip a row group.
    statistics=("row", "partition", *TYPES),
)

# The columns of `COUNTS` have few values, too: no other column of theirs has these names where they stand.
COUNTED_WRITING = replace(WRITING, few_values=(*WRITING.few_values, "orders", "refunded"))


def orders_schema(extra: list[str], counts: bool = False) -> pa.Schema:
    """Return the schema of valid orders: the ten known columns, typed, and the input's other columns as text.

    With ``counts``, what each row adds stands at the end: its ``orders``, and the ``gross`` and ``refunded`` amounts.
    """
    added = zip(COUNTS, (pa.int64(), MONEY, MONEY), strict=True) if counts else ()
    return pa.schema(
        [(name, TYPES.get(name, pa.string())) for name in COLUMNS] + [(name, pa.string()) for name in extra] + [*added]
    )
