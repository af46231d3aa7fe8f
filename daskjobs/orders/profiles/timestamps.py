"""Reads times by the formats of a profile, a column at a time, as `datetime.strptime` would read each.

What is read is also strict: two numbers without anything between them have all their digits, literal characters and
words are as they stand in the format, and a clock of 24 hours with AM or PM has to be right about it.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.orders import parse
from daskjobs.orders.money import cents_of
from daskjobs.orders.profiles import ISO, UNIX, ValueForm
from daskjobs.orders.profiles.zones import by_names, by_offsets, to_utc
from daskjobs.orders.schema import TIME

Ints = npt.NDArray[np.int64]
Parts = npt.NDArray[np.int32]  # of times: smaller, and so faster
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

SECOND = 1_000_000
MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
          "november", "december")  # fmt: skip
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WORDS = {
    "b": tuple(each[:3] for each in MONTHS),
    "B": MONTHS,
    "a": tuple(each[:3] for each in WEEKDAYS),
    "A": WEEKDAYS,
    "p": ("am", "pm"),
}
# The least and the most digits of numbers, and the values that they may have.
NUMBERS = {
    "Y": (4, 4, 1000, 9999),
    "y": (2, 2, 0, 99),
    "m": (1, 2, 1, 12),
    "d": (1, 2, 1, 31),
    "j": (1, 3, 1, 366),
    "H": (1, 2, 0, 23),
    "I": (1, 2, 1, 12),
    "M": (1, 2, 0, 59),
    "S": (1, 2, 0, 59),
}
_UTC_END = re.compile(r"(%[A-Za-z]|\s)(UTC|Z|\+00:?00)\s*$")  # of a format without %z that says itself that it is UTC
_UNIX = r"^-?[0-9]{1,12}(\.[0-9]{1,6})?$"
_UNIX_FINER = (r"^(-?[0-9]+\.[0-9]{6})0+$", r"\1")
_FIRST, _LAST = (np.datetime64(each, "us").astype(np.int64) for each in ("1000-01-01", "9999-12-31T23:59:59.999999"))


def times(text: pa.Array, form: ValueForm) -> pa.Array:
    """Return times as timestamps, null where none of the formats fits or the day doesn't exist.

    A time with an offset becomes UTC, and so does one in the profile's zone. A day alone stays that day. The first
    format that fits a text is taken.
    """
    formats = form.timestamp or [ISO]
    if formats == [ISO] and not form.zone:
        return parse.times(text)
    if _same_length(text):
        return _read(text, form, formats)
    return parse.each_once(text, lambda distinct: _read(distinct, form, formats))


def _same_length(text: pa.Array) -> bool:
    length = pc.min_max(pc.binary_length(text))
    return bool(length["min"] == length["max"])


def _read(text: pa.Array, form: ValueForm, formats: list[str]) -> pa.Array:
    moments, known = _by(formats[0], text, form)
    for each in formats[1:]:
        rest = np.flatnonzero(~known)
        if not len(rest):
            break
        if len(rest) == len(text):
            moments, known = _by(each, text, form)
        else:
            moments[rest], known[rest] = _by(each, text.take(pa.array(rest)), form)
    known &= (moments >= _FIRST) & (moments <= _LAST)
    return pa.array(moments, mask=None if known.all() else ~known).cast(TIME)


def _by(written: str, text: pa.Array, form: ValueForm) -> tuple[Ints, Bools]:
    """Return times by one format, in microseconds since 1970, and which texts it fits."""
    if written == ISO:
        return _iso(text, form)
    return _unix(text) if written == UNIX else _formatted(text, written, form)


def _parts(times: pa.Array) -> tuple[Ints, Bools]:
    return times.cast(pa.int64()).fill_null(0).to_numpy().copy(), times.is_valid().to_numpy(zero_copy_only=False).copy()


def _settled(moments: Ints, known: Bools) -> Ints:
    """Return times with the first known one in place of the unknown, so that zones of no other years are looked up."""
    return np.where(known, moments, moments[known.argmax()]) if known.any() else moments


def _iso(text: pa.Array, form: ValueForm) -> tuple[Ints, Bools]:
    local, zoned = parse.local_and_zoned(text)
    moments, known = _parts(local)
    if form.zone:
        clock = pc.greater(pc.binary_length(parse.trimmed(text)), len("2025-03-31")).to_numpy(zero_copy_only=False)
        shifted, exists = to_utc(_settled(moments, known), form.zone, form.hour_twice)
        moments, known = np.where(clock, shifted, moments), known & (exists | ~clock)
    if zoned is not None:
        others, there = _parts(zoned)
        moments, known = np.where(there, others, moments), known | there
    return moments, known


def _unix(text: pa.Array) -> tuple[Ints, Bools]:
    text = pc.replace_substring_regex(parse.trimmed(text), *_UNIX_FINER)
    known = pc.match_substring_regex(text, _UNIX)
    read = pc.if_else(known, text, "0").cast(pa.decimal128(18, 6))
    return cents_of(read).copy(), known.to_numpy(zero_copy_only=False).copy()


def _formatted(text: pa.Array, written: str, form: ValueForm) -> tuple[Ints, Bools]:
    """Return times by one format of `strptime`. Texts that are as long as most are read apart, since that is faster."""
    length = pc.binary_length(text).to_numpy()
    common = np.bincount(length).argmax() if len(length) and length.max() < 1000 else -1
    usual = length == common
    if usual.all() or np.count_nonzero(usual) * 10 < len(usual) * 9:
        return _parsed(text, written, form)
    moments, known = np.zeros(len(text), np.int64), np.zeros(len(text), bool)
    for rows in (np.flatnonzero(usual), np.flatnonzero(~usual)):
        moments[rows], known[rows] = _parsed(text.take(pa.array(rows)), written, form)
    return moments, known


@dataclass(frozen=True)
class _Step:
    """A part of a format: a directive, or a literal text, or white space.

    ``full``: its number must have all digits, as the next part is a number, too, or the one before it. ``before`` is
    the first byte of what follows.
    """

    letter: str = ""
    literal: bytes = b""
    full: bool = False
    before: int | None = None


@lru_cache(maxsize=64)
def _steps(written: str) -> list[_Step]:
    steps: list[_Step] = []
    for letter, blank, literal in re.findall(r"%(.)|(\s+)|([^%\s]+)", written.strip(), re.DOTALL):
        text = "%" if letter == "%" else literal
        steps.append(_Step(literal=text.encode()) if text else _Step(" " if blank else letter))
    numbers = [False, *(each.letter in NUMBERS or each.letter == "f" for each in steps), False]
    after: list[int | None] = [ord(" ") if each.letter == " " else next(iter(each.literal), None) for each in steps[1:]]
    return [
        replace(each, full=numbers[at] and (numbers[at - 1] or numbers[at + 1]), before=before)
        for (at, each), before in zip(enumerate(steps, 1), [*after, None], strict=True)
    ]


def _parsed(text: pa.Array, written: str, form: ValueForm) -> tuple[Ints, Bools]:
    texts, parts = _Texts(_clean(text)), dict[str, Parts]()
    names: dict[str, pa.Array] = {}
    for step in _steps(written):
        letter = step.letter
        if step.literal:
            texts.literal(step.literal)
        elif letter == " ":
            texts.blanks()
        elif letter in WORDS:
            parts[letter] = texts.word(WORDS[letter])
        elif letter == "f":
            parts["f"] = texts.fraction(step.full)
        elif letter in "zZ":
            names[letter] = texts.until(step.before)
        else:
            least, most, low, high = NUMBERS[letter]
            parts[letter] = texts.number(most if step.full else least, most, low, high)
    texts.end()
    if not texts.good.any():
        return np.zeros(len(text), np.int64), texts.good
    moments, good = _moments(parts)
    good &= texts.good
    moments = _settled(moments, good)
    if "z" in names:
        moments, exist = by_offsets(moments, names["z"])
    elif "Z" in names:
        moments, exist = by_names(moments, names["Z"], form.zone, form.hour_twice)
    elif form.zone and parts.keys() & {"H", "I"} and not _UTC_END.search(written):
        moments, exist = to_utc(moments, form.zone, form.hour_twice)
    else:
        return moments, good
    return moments, good & exist


def _clean(text: pa.Array) -> pa.Array:
    """Return texts without white space around them, and with blanks in place of those that don't break."""
    if not pc.all(pc.string_is_ascii(text)).as_py():
        text = pc.replace_substring_regex(text, "[\u00a0\u202f]", " ")
    return parse.trimmed(text)


def _moments(parts: dict[str, Parts]) -> tuple[Ints, Bools]:
    """Return microseconds since 1970 of the parts of local times, and which of these exist."""
    none = np.zeros(1, np.int32)
    year = parts["Y"] if "Y" in parts else parts["y"] + np.where(parts["y"] < 69, 2000, 1900)
    firsts = _first_days()
    if "j" in parts:
        first, after = (firsts[np.clip((year + more) * 12 - 12_000, 0, len(firsts) - 1)] for more in (0, 1))
        day = first + parts["j"] - 1
    else:
        month = parts["m"] - 1 if "m" in parts else parts["b"] if "b" in parts else parts["B"]
        place = np.clip(year * 12 + month - 12_000, 0, len(firsts) - 2)
        first, after = firsts[place], firsts[place + 1]
        day = first + parts["d"] - 1
    good: Bools = day < after
    hour = parts.get("H", none)
    if "p" in parts and "H" in parts:
        good &= (hour >= 12) == (parts["p"] == 1)
    if "I" in parts:
        hour = parts["I"] % 12 + 12 * parts["p"]
    clock = (hour * 60 + parts.get("M", none)) * 60 + parts.get("S", none)
    moments = day.astype(np.int64) * 86_400
    moments += clock
    moments *= SECOND
    return moments + parts["f"] if "f" in parts else moments, good


@lru_cache(maxsize=1)
def _first_days() -> Parts:
    """Return the first day of each month from 1000 to 9999, and of the one after these, in days since 1970."""
    return np.arange("1000-01", "10000-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int32)


class _Texts:
    """The bytes of texts, read from left to right: ``at`` is how far, alike for all or for each; ``good`` which fit.

    Behind the end of a text there are zeros, as far as anybody looks.
    """

    def __init__(self, text: pa.Array) -> None:
        self.text = text
        offsets = np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1]
        self.data = np.frombuffer(text.buffers()[2] or b"", np.uint8)
        self.starts, self.stops = offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)
        self.good = np.ones(len(text), bool)
        self.at: int | Ints | Parts = 0
        widths = self.stops - self.starts
        self.width = int(widths[0]) if len(widths) else 0
        self.rows: Bytes | None = None
        if len(widths) and (widths == self.width).all():
            matrix = self.data[self.starts[0] : self.stops[-1]].reshape(len(widths), self.width)
            self.rows = np.ascontiguousarray(matrix.T)

    def peek(self, ahead: int = 0) -> Bytes:
        """Return the byte that stands so far ahead in each text."""
        if isinstance(self.at, int) and self.rows is not None:
            column = self.at + ahead
            return self.rows[column] if column < self.width else np.zeros(len(self.good), np.uint8)
        places = self.starts + self.at + ahead
        inside = places < self.stops
        if not len(self.data):
            return np.zeros(len(self.good), np.uint8)
        found: Bytes = self.data[np.where(inside, places, 0)] * inside
        return found

    def skip(self, count: int | Parts) -> None:
        """Go on by as many bytes, or by as many in each text."""
        if not isinstance(count, int):
            most = int(count.max(initial=0, where=self.good))
            if ((count == most) | ~self.good).all():
                count = most
        self.at = self.at + count

    def demand(self, fits: Bools) -> None:
        self.good &= fits

    def literal(self, content: bytes) -> None:
        for ahead, byte in enumerate(content):
            self.demand(self.peek(ahead) == byte)
        self.skip(len(content))

    def blanks(self, least: int = 1) -> None:
        blank = self.peek() == ord(" ")
        if least:
            self.demand(blank)
        while (blank & self.good).any():
            self.skip(blank.astype(np.int32))
            blank = self.peek() == ord(" ")

    def digits(self, most: int) -> tuple[Parts, Parts]:
        """Read at most six digits; return their value, and how many there are."""
        value, count = np.zeros(len(self.good), np.int32), np.zeros(len(self.good), np.int32)
        more = np.ones(len(self.good), bool)
        for ahead in range(most):
            digit = self.peek(ahead) - ord("0")
            more &= digit < 10
            if more.all():
                value *= 10
                value += digit
                count += 1
            else:
                value = np.where(more, value * 10 + digit, value)
                count += more
        self.skip(count)
        return value, count

    def number(self, least: int, most: int, low: int, high: int) -> Parts:
        value, count = self.digits(most)
        if least:
            self.demand(count >= least)
        self.demand((value >= low) & (value <= high))
        return value

    def word(self, words: tuple[str, ...]) -> Parts:
        """Read one of some words in any case; return its place among them."""
        found, length = np.full(len(self.good), -1, np.int32), np.zeros(len(self.good), np.int32)
        longest = max(map(len, words))
        read = [self.peek(ahead) for ahead in range(longest)]
        lower = [np.where((each >= ord("A")) & (each <= ord("Z")), each + 32, each) for each in read]
        for place, word in enumerate(words):
            fits = lower[0] == ord(word[0])
            for each, letter in zip(lower[1:], word[1:], strict=False):
                fits &= each == ord(letter)
            found[fits], length[fits] = place, len(word)
        self.demand(found >= 0)
        self.skip(length)
        return found

    def fraction(self, full: bool) -> Parts:
        """Read microseconds: six digits, or from one on; those behind the sixth are zeros."""
        value, count = self.digits(6)
        self.demand(count >= (6 if full else 1))
        if full:
            return value
        more = (self.peek() == ord("0")) & (count == 6)
        while (more & self.good).any():
            self.skip(more.astype(np.int32))
            more &= self.peek() == ord("0")
        return value * 10 ** (6 - count)

    def until(self, mark: int | None) -> pa.Array:
        """Read the text before the next byte ``mark``, or all that is left; it is empty for texts that don't fit."""
        begins = np.where(self.good, self.starts + self.at, self.stops)  # elsewhere, it may be inside a character
        if not len(begins):
            return pa.array([], pa.string())
        if mark is None:
            self.at = self.stops - self.starts
        else:
            more = self.good & (self.peek() != mark) & (self.starts + self.at < self.stops)
            while more.any():
                self.skip(more.astype(np.int32))
                more &= (self.peek() != mark) & (self.starts + self.at < self.stops)
        ends = np.where(self.good, self.starts + self.at, self.stops)
        edges = np.column_stack([begins, ends]).ravel().astype(np.int32)
        buffers = [None, pa.py_buffer(edges), self.text.buffers()[2]]
        return pa.Array.from_buffers(pa.string(), len(edges) - 1, buffers).take(pa.array(np.arange(0, len(edges), 2)))

    def end(self) -> None:
        self.demand(self.starts + self.at == self.stops)
