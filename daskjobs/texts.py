"""How the orders' texts are understood: vectorized, and each row by itself."""

from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.orders import MONEY, TIME

_QUANTITY = r"^-?[0-9]{1,9}$"
_MONEY = r"^-?[0-9]{1,16}(\.[0-9]{1,2})?$"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_DAY = r"[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = f"^{_DAY}([ T]{_CLOCK})?$"
_ZONED = f"^{_DAY}[ T]{_CLOCK}(Z|[+-](0[0-9]|1[0-4]):?[0-5][0-9])$"
_LENGTHS = (10, 16, 19)  # of 2025-03-31, alone, and with a time to the minute or second
_FIRST = pa.scalar(datetime(1000, 1, 1), TIME)
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


def _each_once(text: pa.Array, pattern: str, kind: pa.DataType) -> pa.Array:
    """Return texts as numbers, null where they don't match; each distinct one, as most occur often, is read once."""
    found = text.dictionary_encode()
    return _understood(found.dictionary, pattern).cast(kind).take(found.indices)


def quantities(text: pa.Array) -> pa.Array:
    """Return whole numbers as int64, null where the text is none."""
    return _each_once(text, _QUANTITY, pa.int64())


def amounts(text: pa.Array) -> pa.Array:
    """Return amounts like -12.5 or 12.34 as decimals, null where the text isn't one or is finer than a cent."""
    return _each_once(text, _MONEY, MONEY)


def times(text: pa.Array) -> pa.Array:
    """Return ISO 8601 dates and times, null where the text is none or no such day exists.

    A time with a zone becomes UTC; one without is taken as it is.
    """
    plain = _plain_times(text)
    if plain is not None:
        return plain
    found = _moments(_understood(text, _TIME), TIME)
    if found.null_count == 0:
        return found
    zoned = _moments(_understood(text, _ZONED), pa.timestamp("us", "UTC")).cast(TIME)
    return pc.coalesce(found, pc.if_else(pc.less_equal(zoned, _LAST), zoned, None))


def _plain_times(text: pa.Array) -> pa.Array | None:
    """Return timestamps where all texts are as long, so that what Arrow reads can have no other form; or else None."""
    length = pc.min_max(pc.binary_length(text))
    if length["min"] != length["max"] or length["min"].as_py() not in _LENGTHS:
        return None
    try:
        found = text.cast(TIME)
    except pa.ArrowInvalid:
        return None
    return found if pc.greater_equal(pc.min(found), _FIRST).as_py() else None


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
