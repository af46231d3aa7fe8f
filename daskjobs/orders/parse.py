"""Parses the texts of orders into numbers, amounts and times, a column at a time."""

from collections.abc import Callable, Sequence
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.files.tables import mask
from daskjobs.orders.money import MONEY, cents_of, decimals_of
from daskjobs.orders.plain import Bools, Ints, Plain
from daskjobs.orders.schema import TIME

Form = tuple[str, str]  # a pattern, and its replacement

_QUANTITY = r"^-?[0-9]{1,9}$"
_MONEY = r"^-?[0-9]{1,16}(\.[0-9]{1,2})?$"
# Other forms of numbers, and their replacements: first a point without digits before it, then zeros.
_LEADING_POINT = (r"^(-?)(\.[0-9])", r"\10\2")
_QUANTITY_FORMS = (_LEADING_POINT, (r"^(-?[0-9]+)\.0+$", r"\1"))
_MONEY_FORMS = (_LEADING_POINT, (r"^(-?[0-9]+\.[0-9]{2})0+$", r"\1"))
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_DAY = r"[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = f"^{_DAY}([ T]{_CLOCK})?$"
_ZONED = f"^{_DAY}[ T]{_CLOCK} ?(Z|UTC|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)$"
_FINER = (r"^(.{19}\.[0-9]{6})0+", r"\1")  # zeros behind the microseconds, as SQL Server writes them
_LONGEST = 26  # of 2025-03-31 23:59:00.123456, which has no zeros behind the microseconds
_LENGTHS = (10, 16, 19)  # of 2025-03-31, alone, and with a time to the minute or second
_FIRST = pa.scalar(datetime(1000, 1, 1), TIME)
_LAST = pa.scalar(datetime(9999, 12, 31, 23, 59, 59, 999_999), TIME)


def trimmed(text: pa.Array) -> pa.Array:
    """Return texts without the spaces and tabs around them."""
    content = text.buffers()[2]
    if content and not (np.frombuffer(content, np.uint8) <= ord(" ")).any():  # as usual: that is soon known
        return text
    return pc.utf8_trim(text, " \t")


def _understood(text: pa.Array, pattern: str, forms: Sequence[Form] = ()) -> pa.Array:
    """Return the texts that match a pattern, and null in place of the others.

    If some don't match, all are trimmed, rewritten by ``forms``, and matched again. In most blocks all match at first.
    """
    if pc.match_substring_regex(text, pattern).false_count == 0:
        return text
    text = _rewritten(trimmed(text), forms)
    return pc.if_else(pc.match_substring_regex(text, pattern), text, None)


def _rewritten(text: pa.Array, forms: Sequence[Form]) -> pa.Array:
    """Return texts with each pattern of ``forms`` replaced by its replacement."""
    for pattern, replacement in forms:
        text = pc.replace_substring_regex(text, pattern, replacement)
    return text


def each_once(text: pa.Array, read: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Return what ``read`` makes of texts; it gets each distinct text once."""
    coded = text.dictionary_encode()
    return read(coded.dictionary).take(coded.indices)


def distinct_quantities(text: pa.Array) -> pa.Array:
    """Do what `quantities` does, one text after another."""
    return _understood(text, _QUANTITY, _QUANTITY_FORMS).cast(pa.int64())


def distinct_amounts(text: pa.Array) -> pa.Array:
    """Do what `amounts` does, one text after another."""
    return _understood(text, _MONEY, _MONEY_FORMS).cast(MONEY)


def quantities(text: pa.Array) -> pa.Array:
    """Return whole numbers like 2 or 2.0 as int64, and null for other texts."""
    return each_once(text, distinct_quantities)


def amounts(text: pa.Array) -> pa.Array:
    """Return amounts like -12.5, .50 or 12.3400 as decimals, and null for other texts and for fractions of a cent."""
    return each_once(text, distinct_amounts)


def times(text: pa.Array) -> pa.Array:
    """Return ISO 8601 dates and times as timestamps, and null for other texts and for days that don't exist.

    A time with a zone becomes UTC; a time without a zone stays as it is.
    """
    local, zoned = local_and_zoned(text)
    return local if zoned is None else pc.coalesce(local, zoned)


def local_and_zoned(text: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Return the times without a zone, and those with one in UTC, each null where `times` reads the other or none."""
    plain = _plain_times(text)
    if plain is not None:
        return plain, None
    if (pc.max(pc.binary_length(text)).as_py() or 0) > _LONGEST:
        text = _rewritten(trimmed(text), (_FINER,))
    local = _moments(_understood(text, _TIME), TIME)
    if local.null_count == 0:
        return local, None
    zoned = _moments(_as_arrow_has_it(_understood(text, _ZONED)), pa.timestamp("us", "UTC")).cast(TIME)
    return local, pc.if_else(pc.less_equal(zoned, _LAST), zoned, None)


def _plain_times(text: pa.Array) -> pa.Array | None:
    """Fast path: if all strings have one known length, Arrow's own parser accepts exactly our format; else None."""
    length = pc.min_max(pc.binary_length(text))
    if length["min"] != length["max"] or length["min"].as_py() not in _LENGTHS:
        return None
    try:
        read = text.cast(TIME)
    except pa.ArrowInvalid:
        return None
    return read if pc.greater_equal(pc.min(read), _FIRST).as_py() else None


def _as_arrow_has_it(text: pa.Array) -> pa.Array:
    """Return zoned times without a space before the zone, and with Z for UTC, as Arrow's parser needs them."""
    if pc.any(pc.ends_with(text, "UTC")).as_py():
        text = pc.replace_substring(text, "UTC", "Z")
    return pc.replace_substring_regex(text, " ([Z+-])", r"\1")


def _moments(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return timestamps, and null for days that don't exist, like 30 February."""
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


def _plain_quantities(fields: Plain, name: str) -> pa.Array:
    def numbers(others: pa.Array) -> Ints:
        return np.asarray(others.fill_null(0).to_numpy(), np.int64)

    def made(values: Ints, known: Bools) -> pa.Array:
        return pa.array(values, mask=None if known.all() else ~known)

    return _completed(fields, name, fields.whole_numbers(name), quantities, numbers, made)


def _plain_amounts(fields: Plain, name: str) -> pa.Array:
    return _completed(fields, name, fields.cents(name), amounts, cents_of, decimals_of)


def _completed(
    fields: Plain,
    name: str,
    found: tuple[Ints, Bools],
    read: Callable[[pa.Array], pa.Array],
    numbers: Callable[[pa.Array], Ints],
    made: Callable[[Ints, Bools], pa.Array],
) -> pa.Array:
    """Return a column ``made`` of the numbers that were found, and of those that ``read`` gets from the other texts."""
    values, known = found
    rest = np.flatnonzero(~known)
    if 2 * len(rest) > len(values):
        return read(fields.text(name))
    if len(rest):
        others = read(fields.text(name, rest))
        values[rest], known[rest] = numbers(others), mask(others.is_valid())
    return made(values, known)


# As `READERS` do, but from fields that are no texts yet. What a column has besides the usual is read as texts.
PLAIN_READERS: dict[str, Callable[[Plain, str], pa.Array]] = {
    "region": Plain.repeated,
    "product": Plain.repeated,
    "quantity": _plain_quantities,
    "price": _plain_amounts,
    "total_amount": _plain_amounts,
    "payment_mode": Plain.repeated,
    "status": lambda fields, name: each_kind(fields.repeated(name), trimmed),
}


def each_kind(text: pa.Array, change: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Return what ``change`` makes of texts, which may be those of a dictionary, of which it then gets each once."""
    if not pa.types.is_dictionary(text.type):
        return change(text)
    changed = change(text.dictionary)
    if changed.equals(text.dictionary):
        return text
    return changed.take(text.indices).dictionary_encode()  # some may be the same now


def _read(text: pa.Array, name: str) -> pa.Array:
    return READERS[name](text) if name in READERS else text


def _read_plain(fields: Plain, name: str) -> pa.Array:
    return PLAIN_READERS[name](fields, name) if name in PLAIN_READERS else _read(fields.text(name), name)


def typed(fields: pa.Table | Plain, statuses: dict[str, str] | None = None) -> pa.Table:
    """Return a table of the fields, with quantities, amounts and times parsed, and null for unreadable values.

    Of the others, texts that repeat may be those of a dictionary. ``statuses`` maps the file's statuses to ours; others
    stay as they are.
    """
    if isinstance(fields, Plain):
        columns = {name: _read_plain(fields, name) for name in fields.columns}
    else:
        columns = {name: _read(fields[name].combine_chunks(), name) for name in fields.column_names}
    if statuses:
        columns["status"] = each_kind(columns["status"], lambda text: mapped(text, statuses))
    return pa.table(columns)


def mapped(status: pa.Array, statuses: dict[str, str]) -> pa.Array:
    """Return trimmed statuses, with those that are keys of ``statuses`` replaced by ours."""
    ours = pa.array(statuses.values(), pa.string()).take(pc.index_in(status, pa.array(statuses, pa.string())))
    return pc.coalesce(ours, status)
