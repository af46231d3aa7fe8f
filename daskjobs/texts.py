"""How the orders' texts are understood: vectorized, and each row by itself."""

from collections.abc import Callable
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.orders import MONEY, TIME

_QUANTITY = r"^-?[0-9]{1,9}$"
_MONEY = r"^-?[0-9]{1,16}(\.[0-9]{1,2})?$"
_QUANTITY_ZEROS = r"^(-?[0-9]+)\.0+$"  # of 2.0: the number before them
_MONEY_ZEROS = r"^(-?[0-9]+\.[0-9]{2})0+$"  # of 320.0000: the amount to the cent
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_DAY = r"[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = f"^{_DAY}([ T]{_CLOCK})?$"
_ZONED = f"^{_DAY}[ T]{_CLOCK} ?(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)$"
_LENGTHS = (10, 16, 19)  # of 2025-03-31, alone, and with a time to the minute or second
_FIRST = pa.scalar(datetime(1000, 1, 1), TIME)
_LAST = pa.scalar(datetime(9999, 12, 31, 23, 59, 59, 999_999), TIME)


def trimmed(text: pa.Array) -> pa.Array:
    """Return texts without the spaces and tabs around them."""
    return pc.utf8_trim(text, " \t")


def _understood(text: pa.Array, pattern: str, tidied: Callable[[pa.Array], pa.Array] = trimmed) -> pa.Array:
    """Return the texts that match, and null for the others; where some don't, all are tidied first.

    Most blocks match as they are, and then cost one look.
    """
    if pc.match_substring_regex(text, pattern).false_count == 0:
        return text
    text = tidied(text)
    return pc.if_else(pc.match_substring_regex(text, pattern), text, None)


def _each_once(text: pa.Array, pattern: str, zeros: str, kind: pa.DataType) -> pa.Array:
    """Return texts as numbers, null where they don't match; each distinct one, as most occur often, is read once.

    ``zeros`` matches a number with zeros at its end that don't count; its group is the number without them.
    """

    def tidied(text: pa.Array) -> pa.Array:
        return pc.replace_substring_regex(trimmed(text), zeros, r"\1")

    found = text.dictionary_encode()
    return _understood(found.dictionary, pattern, tidied).cast(kind).take(found.indices)


def quantities(text: pa.Array) -> pa.Array:
    """Return whole numbers like 2 or 2.0 as int64, null where the text is none."""
    return _each_once(text, _QUANTITY, _QUANTITY_ZEROS, pa.int64())


def amounts(text: pa.Array) -> pa.Array:
    """Return amounts like -12.5 or 12.3400 as decimals, null where the text is none or finer than a cent."""
    return _each_once(text, _MONEY, _MONEY_ZEROS, MONEY)


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
    zoned = _moments(_zone_at_once(_understood(text, _ZONED)), pa.timestamp("us", "UTC")).cast(TIME)
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


def _zone_at_once(text: pa.Array) -> pa.Array:
    """Return zoned times without the space before their zone, which Arrow's parser doesn't take."""
    return pc.replace_substring_regex(text, " ([Z+-])", r"\1")


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


def typed(texts: pa.Table, statuses: dict[str, str] | None = None) -> pa.Table:
    """Return a table of texts with quantity, money and time understood, and null where they can't be.

    ``statuses`` says which of our statuses one of the file's stands for; others stay as they are.
    """
    for name, read in READERS.items():
        texts = texts.set_column(texts.schema.get_field_index(name), name, read(texts[name].combine_chunks()))
    if statuses:
        at = texts.schema.get_field_index("status")
        texts = texts.set_column(at, "status", mapped(texts["status"].combine_chunks(), statuses))
    return texts


def mapped(status: pa.Array, statuses: dict[str, str]) -> pa.Array:
    """Return trimmed statuses with those of the file that have one of ours for them replaced by it."""
    ours = pa.array(statuses.values(), pa.string()).take(pc.index_in(status, pa.array(statuses, pa.string())))
    return pc.coalesce(ours, status)
