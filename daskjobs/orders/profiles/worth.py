"""What a row adds to orders and revenue, as a profile says."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from daskjobs.files.tables import column
from daskjobs.orders.money import cents_of, decimals_of
from daskjobs.orders.profiles import Profile
from daskjobs.orders.profiles.columns import Arranged
from daskjobs.orders.schema import COUNTS

Mask = npt.NDArray[np.bool_]


def returned(orders: pa.Table, profile: Profile) -> Mask:  # noqa: ARG001
    """Return which rows give something back: these are no orders, and repeat no id."""
    return np.zeros(len(orders), bool)


def counted(orders: pa.Table, found: Arranged, profile: Profile, heads: Mask) -> pa.Table:  # noqa: ARG001
    """Return the orders with what each row adds, in the columns `COUNTS`.

    ``heads`` are the rows that count as an order. An order's own total counts there.
    """
    totals = cents_of(column(orders, "total_amount"))
    gross = np.where(heads if profile.order.total else np.ones(len(orders), bool), totals, 0)
    arrays = pa.array(heads.astype(np.int64)), decimals_of(gross), decimals_of(np.zeros(len(orders), np.int64))
    for name, array in zip(COUNTS, arrays, strict=True):
        orders = orders.append_column(name, array)
    return orders
