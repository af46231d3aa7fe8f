"""The orders' columns, and how their text is understood: vectorized, and each row by itself."""

from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

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

MONEY = pa.decimal128(18, 2)  # exact; a file stores it as a 64-bit integer of cents
TIME = pa.timestamp("us")
TYPES = {"quantity": pa.int64(), "price": MONEY, "total_amount": MONEY, "timestamp": TIME}

_QUANTITY = r"^-?[0-9]{1,9}$"
_MONEY = r"^-?[0-9]{1,16}(\.[0-9]{1,2})?$"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_DAY = r"[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = f"^{_DAY}([ T]{_CLOCK})?$"
_ZONED = f"^{_DAY}[ T]{_CLOCK}(Z|[+-](0[0-9]|1[0-4]):?[0-5][0-9])$"
_LAST = pa.scalar(datetime(9999, 12, 31, 23, 59, 59, 999_999), TIME)


def trimmed(text: pa.Array) -> pa.Array:
    """Return texts without the spaces and tabs around them."""
    return pc.utf8_trim(text, " \t")


def _understood(text: pa.Array, pattern: str) -> pa.Array:
    """Return the texts that match, without spaces around them, and null for the others."""
    matches = pc.match_substring_regex(text, pattern)
    if matches.false_count == 0:
        return text
    text = trimmed(text)
    return pc.if_else(pc.match_substring_regex(text, pattern), text, None)


def quantities(text: pa.Array) -> pa.Array:
    """Return whole numbers as int64, null where the text is none."""
    return _understood(text, _QUANTITY).cast(pa.int64())


def amounts(text: pa.Array) -> pa.Array:
    """Return amounts like -12.5 or 12.34 as decimals, null where the text isn't one or is finer than a cent."""
    return _understood(text, _MONEY).cast(MONEY)


def times(text: pa.Array) -> pa.Array:
    """Return ISO 8601 dates and times, null where the text is none or no such day exists.

    A time with a zone becomes UTC; one without is taken as it is.
    """
    found = _moments(_understood(text, _TIME), TIME)
    if found.null_count == 0:
        return found
    zoned = _moments(_understood(text, _ZONED), pa.timestamp("us", "UTC")).cast(TIME)
    return pc.coalesce(found, pc.if_else(pc.less_equal(zoned, _LAST), zoned, None))


def _moments(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return timestamps, null where the day doesn't exist, like a 30 February."""
    try:
        return text.cast(kind)
    except pa.ArrowInvalid:
        days = pc.utf8_slice_codeunits(text, 0, 10).dictionary_encode()
        exists = pa.array([_is_day(day) for day in days.dictionary.to_pylist()], pa.bool_()).take(days.indices)
        return pc.if_else(exists, text, None).cast(kind)


def _is_day(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def cents(money: pa.Array) -> npt.NDArray[np.int64]:
    """Return decimals of scale 2 as integer cents, without a copy; what stands at a null is not defined."""
    words = np.frombuffer(money.buffers()[1], np.int64) if len(money) else np.empty(0, np.int64)
    return words[2 * money.offset :: 2][: len(money)]


def money(cents: npt.NDArray[np.int64]) -> pa.Array:
    """Return integer cents as decimals of scale 2."""
    words = np.stack([cents, cents >> 63], axis=1)
    return pa.Decimal128Array.from_buffers(MONEY, len(cents), [None, pa.py_buffer(words)])


READERS = {
    "order_id": trimmed,
    "quantity": quantities,
    "price": amounts,
    "total_amount": amounts,
    "status": trimmed,
    "timestamp": times,
}


def typed(texts: pa.Table) -> pa.Table:
    """Return a table of texts with quantity, money and time understood, and null where they can't be."""
    for name, read in READERS.items():
        texts = texts.set_column(texts.schema.get_field_index(name), name, read(texts[name].combine_chunks()))
    return texts


def frame(orders: pa.Table) -> pd.DataFrame:
    """Return what the rules see: a frame with Arrow types, money as integer cents in price_cents and total_cents."""
    money = {"price": "price_cents", "total_amount": "total_cents"}
    columns = {name: orders[name] for name in orders.column_names if name not in money}
    for source, name in money.items():
        decimals = orders[source].combine_chunks()
        columns[name] = pa.array(cents(decimals), mask=decimals.is_null().to_numpy(zero_copy_only=False))
    seen: pd.DataFrame = pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype)
    return seen


def amount_text(cents: int) -> str:
    """Return integer cents as a plain number with two decimals.

    >>> amount_text(-5)
    '-0.05'
    """
    sign, whole = ("-", -cents) if cents < 0 else ("", cents)
    return f"{sign}{whole // 100}.{whole % 100:02d}"
