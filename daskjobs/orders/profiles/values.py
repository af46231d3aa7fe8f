"""Reads numbers, times and ids as a profile says that they are written, a column at a time."""

import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.orders import parse
from daskjobs.orders.parse import trimmed
from daskjobs.orders.profiles import ValueForm

_INVISIBLE = r"[\p{Cf}\x{034F}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}\x{3164}\x{FE00}-\x{FE0F}]"
_INVISIBLE = rf"(?:{_INVISIBLE}|[\x00-\x08\x0E-\x1F\x7F-\x{{84}}\x{{86}}-\x{{9F}}])"
_BLANK = r"[\s\p{Z}\x{85}]"


def ids(text: pa.Array, form: ValueForm) -> pa.Array:
    """Return ids as `ValueForm.ids` has them: exact, without white space around them, or without what is invisible.

    Of the visible ones, characters that look alike are the same (NFC), and each white space is a blank.
    """
    if form.ids == "exact":
        return trimmed(text)
    if form.ids == "visible":
        plain = pc.all(pc.match_substring_regex(text, r"^[ -~]*$")).as_py()
        if plain is False:
            text = pc.replace_substring_regex(text, _INVISIBLE, "")
            text = pc.utf8_normalize(pc.replace_substring_regex(text, _BLANK, " "), "NFC")
    return pc.utf8_trim_whitespace(text)


def quantities(text: pa.Array, form: ValueForm) -> pa.Array:
    return parse.quantities(text)


def amounts(text: pa.Array, form: ValueForm) -> pa.Array:
    return parse.amounts(text)


def times(text: pa.Array, form: ValueForm) -> pa.Array:
    return parse.times(text)
