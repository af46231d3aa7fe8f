"""Reads numbers and ids as a profile says that they are written, a column at a time."""

import re
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.orders import parse
from daskjobs.orders.money import cents_of, decimals_of
from daskjobs.orders.profiles import ValueForm

Bools = npt.NDArray[np.bool_]

CODES = {"€": "EUR", "$": "USD", "US$": "USD", "US $": "USD", "£": "GBP", "¥": "JPY", "zł": "PLN"}  # of signs
BLANK = "[ \u00a0\u202f]"  # what may stand between an amount and its currency
NEVER = r"[^\x{0}-\x{10FFFF}]"  # a pattern that nothing matches
AROUND = " \t\u00a0\u202f"  # what may stand around a number
_INVISIBLE = r"[\p{Cf}\p{Cc}\x{034F}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}\x{3164}\x{FE00}-\x{FE0F}]"
_WHITE = r"[\s\p{Z}\x{0B}\x{85}]"


def ids(text: pa.Array, form: ValueForm) -> pa.Array:
    """Return ids as `ValueForm.ids` has them: exact, without white space around them, or without what is invisible.

    Of the visible ones, characters that look alike are the same (NFC), and each white space is a blank.
    """
    if form.ids == "exact":
        return parse.trimmed(text)
    if form.ids == "visible" and not pc.all(pc.match_substring_regex(text, "^[ -~]*$")).as_py():
        text = pc.replace_substring_regex(pc.replace_substring_regex(text, _WHITE, " "), _INVISIBLE, "")
        text = pc.utf8_normalize(text, "NFC")
    return pc.utf8_trim_whitespace(text)


def quantities(text: pa.Array, form: ValueForm) -> pa.Array:
    """Return whole numbers as int64, and null for other texts: written as amounts are, but without a currency."""
    return parse.each_once(text, lambda distinct: _read(distinct, form, False))


def amounts(text: pa.Array, form: ValueForm) -> pa.Array:
    """Return amounts as decimals, and null for other texts and for fractions of a cent."""
    return parse.each_once(text, lambda distinct: _read(distinct, form, True))


def code_of(sign: str) -> str:
    """Return the code of a currency's sign, or what is given where it is another text."""
    return CODES.get(sign, sign)


def currencies(form: ValueForm) -> list[str]:
    """Return the currencies that amounts may be written in, each once: the code of a sign that is known, else it."""
    return [*dict.fromkeys(code_of(sign) for sign in form.currency)]


def signs(text: pa.Array, form: ValueForm) -> pa.Array:
    """Return the currency of `currencies` that amounts are written with, or an empty text of those with none."""
    ordered = "|".join(map(re.escape, sorted(form.currency, key=len, reverse=True)))

    def read(distinct: pa.Array) -> pa.Array:
        found = pc.struct_field(pc.extract_regex(distinct, f"(?P<sign>{ordered})"), "sign").to_pylist()
        return pa.array([code_of(sign or "") for sign in found], pa.string())

    return parse.each_once(text, read)


def _read(text: pa.Array, form: ValueForm, money: bool) -> pa.Array:
    parsed = parse.distinct_amounts if money else parse.distinct_quantities
    if (plain := _plain(text, form)) is not None:
        return parsed(plain)
    text = pc.utf8_trim(text, AROUND)
    currency = "|".join(map(re.escape, sorted(form.currency, key=len, reverse=True))) if money else ""
    known = pc.match_substring_regex(text, _pattern(form, currency))
    text = pc.if_else(known, text, "")
    # Signs with a decimal mark, like Fr., go before the characters that are no digits do.
    bare = pc.replace_substring_regex(text, currency, "") if form.decimal in currency else text
    digits, negative = _digits(bare, form)
    if form.percent:
        digits = _hundredths(text, digits)
    read = parsed(digits)
    if not negative.any():
        return read
    if not money:
        return pc.if_else(pa.array(negative), pc.negate(read), read)
    cents = cents_of(read)
    return pc.if_else(read.is_valid(), decimals_of(np.where(negative, -cents, cents)), None)


def _plain(text: pa.Array, form: ValueForm) -> pa.Array | None:
    """Fast path: return the texts in our own form, if they have nothing but digits, decimal marks and minuses."""
    _, offsets, data = text.buffers()
    content = data.to_pybytes() if data else b""
    marks = form.decimal + ("" if form.trailing_minus else "-")
    if not marks.isascii() or content.translate(None, b"0123456789" + marks.encode()):
        return None
    if form.decimal == ".":
        return text
    content = content.translate(bytes.maketrans(form.decimal.encode(), b"."))
    return pa.Array.from_buffers(pa.string(), len(text), [None, offsets, pa.py_buffer(content)], 0, text.offset)


def _pattern(form: ValueForm, currency: str) -> str:
    """Return a pattern of all numbers in a form.

    Groups have three digits, the same mark between all of them, and no zero before them, since 0.123 is no thousand.
    """
    decimal = re.escape(form.decimal)
    groups = "".join(rf"|[1-9][0-9]{{0,2}}(?:{re.escape(mark)}[0-9]{{3}})+" for mark in form.thousands)
    number = rf"(?:(?:[0-9]+{groups})(?:{decimal}[0-9]+)?|{decimal}[0-9]+)"
    before, after = (
        rf"(?:{currency or NEVER}){BLANK}?",
        rf"{BLANK}?(?:{currency or NEVER}{'|%' if form.percent else ''})",
    )
    forms = [rf"-?{number}(?:{after})?", rf"(?:-?{before}|{before}-){number}"]
    if form.trailing_minus:
        forms += [rf"{number}(?:-(?:{after})?|{after}-)", rf"{before}{number}-"]
    if form.parentheses:
        forms += [rf"\({number}(?:{after})?\)", rf"\({before}{number}\)"]
        forms += [rf"{before}\({number}\)", rf"\({number}\){after}"]
    return f"^(?:{'|'.join(forms)})$"


def _digits(text: pa.Array, form: ValueForm) -> tuple[pa.Array, Bools]:
    """Return numbers as digits with a decimal point, and which of them are negative."""
    if not form.decimal.isascii():
        text = pc.replace_substring(text, form.decimal, ".")
    mark = (form.decimal if form.decimal.isascii() else ".").encode()
    offsets = np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1]
    data = np.frombuffer(text.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    offsets = offsets - offsets[0]
    stays = np.zeros(256, bool)
    stays[list(b"0123456789" + mark)] = True
    kept, minus = stays[data], (data == ord("-")) | (data == ord("("))
    at, digits = _before(kept)[offsets], data[kept]
    digits[digits == mark[0]] = ord(".")
    buffers = [None, pa.py_buffer(at), pa.py_buffer(digits)]
    negative = np.diff(_before(minus)[offsets]) > 0 if minus.any() else np.zeros(len(text), bool)
    return pa.Array.from_buffers(pa.string(), len(text), buffers), negative


def _before(flags: Bools) -> npt.NDArray[np.int32]:
    """Return how many of the flags are set before each of them, and in all."""
    counts = np.zeros(len(flags) + 1, np.int32)
    np.cumsum(flags, dtype=np.int32, out=counts[1:])
    return counts


def _hundredths(text: pa.Array, digits: pa.Array) -> pa.Array:
    """Return numbers, with a hundredth in place of those that are percent."""
    percent = pc.match_substring(text, "%")
    if not pc.any(percent).as_py():
        return digits
    pairs = zip(digits.to_pylist(), percent.to_pylist(), strict=True)
    return pa.array([f"{Decimal(each).scaleb(-2):f}" if so else each for each, so in pairs], pa.string())
