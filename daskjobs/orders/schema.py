"""The columns of orders and of rejected rows, their types, and how Parquet files store them."""

import pandas as pd
import pyarrow as pa

from daskjobs.files.tables import ColumnWriting
from daskjobs.orders.money import MONEY, cents_of

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

# How all Parquet files of a run are written; what is not named here is text, of which most values are different.
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
    ascending=("row", "position", "timestamp"),  # mostly
    # Those of texts take longer to make than all else about them, and help hardly any reader to skip a row group.
    statistics=("row", "partition", *TYPES),
)


def orders_schema(extra: list[str]) -> pa.Schema:
    """Return the columns of valid orders: the ten known ones, typed, and the input's other columns as text."""
    return pa.schema(
        [(name, TYPES.get(name, pa.string())) for name in COLUMNS] + [(name, pa.string()) for name in extra]
    )


def frame(orders: pa.Table) -> pd.DataFrame:
    """Return what the rules see: a frame with Arrow types, money as integer cents in price_cents and total_cents.

    It shares the table's memory, so what rules see of that can't be written to. Its labels count from 1: pandas makes
    new ones from 0, after a merge or `reset_index`, and a mask with such labels would mean other rows in silence.
    """
    money = {"price": "price_cents", "total_amount": "total_cents"}
    columns = {name: orders[name] for name in orders.column_names if name not in money}
    for source, name in money.items():
        amounts = orders[source].combine_chunks()
        columns[name] = pa.array(cents_of(amounts), mask=amounts.is_null().to_numpy(zero_copy_only=False))
    table = pa.table(columns)
    table = pa.table([_read_only(each) for each in table.columns], table.column_names)
    typed: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype, use_threads=False)
    typed.index = pd.RangeIndex(1, len(typed) + 1)
    return typed


def _read_only(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of plain values over the same memory, whose buffers nobody can write to."""
    chunks = []
    for chunk in column.chunks:
        buffers = [None if each is None else pa.py_buffer(memoryview(each).toreadonly()) for each in chunk.buffers()]
        chunks.append(pa.Array.from_buffers(chunk.type, len(chunk), buffers, -1, chunk.offset))
    return pa.chunked_array(chunks, column.type)
