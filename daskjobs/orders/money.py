"""Exact money: integer cents in memory, decimals with two digits in Arrow, plain numbers in text."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MONEY = pa.decimal128(18, 2)  # exact; a Parquet file stores it as a 64-bit integer of cents


def cents_of(amounts: pa.Array) -> npt.NDArray[np.int64]:
    """Return decimals of scale 2 as integer cents, without a copy; the cents of a null are undefined."""
    words = np.frombuffer(amounts.buffers()[1], np.int64) if len(amounts) else np.empty(0, np.int64)
    return words[2 * amounts.offset :: 2][: len(amounts)]


def decimals_of(cents: npt.NDArray[np.int64], known: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Return integer cents as decimals of scale 2, and null where they are not ``known``."""
    words = np.empty((len(cents), 2), np.int64)
    words[:, 0] = cents
    np.right_shift(cents, 63, out=words[:, 1])
    valid = None if known is None or known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Decimal128Array.from_buffers(MONEY, len(cents), [valid, pa.py_buffer(words)])


def amount_text(cents: int) -> str:
    """Return integer cents as a plain number with two decimals.

    >>> amount_text(-5)
    '-0.05'
    """
    sign, whole = ("-", -cents) if cents < 0 else ("", cents)
    return f"{sign}{whole // 100}.{whole % 100:02d}"
