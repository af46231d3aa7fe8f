"""Reads fields of CSV rows from their bytes with numpy, where no field is quoted and nothing is escaped.

So numbers, and texts that repeat, are never made texts of their own, of which most of a reader's time goes into finding
the fields alone. What isn't of the usual form is left to `parse`, which reads texts.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

NEWLINE, RETURN = b"\n\r"
CACHED = 1 << 18  # bytes that are compared at a time: these stay in a core's cache
WORD = 8  # bytes
ZEROS = np.uint64(int.from_bytes(b"0" * WORD, "little"))
POINT = np.uint64((ord(".") ^ ord("0")) << 40)  # in a word, before two digits, after `ZEROS` were taken off
BEFORE_POINT, AT_POINT, BEHIND_POINT = map(np.uint64, (0xFFFFFFFFFF, 0xFF << 40, 0xFFFF << 48))
SIXES, HIGH = np.uint64(0x0606060606060606), np.uint64(0xF0F0F0F0F0F0F0F0)
MOST_WORDS = 4  # of a text that repeats
MOST_TEXTS = 1000  # different ones, in a column of such
SAMPLE = 1024  # rows; where most of them differ, texts don't repeat


@dataclass(frozen=True)
class Plain:
    """The fields of rows, which begin at ``begins`` of ``data``: those of column ``n`` end before ``stops[n]``."""

    data: bytes
    columns: list[str]
    begins: Ints
    stops: list[Ints]

    def __len__(self) -> int:
        return len(self.stops[0])

    def table(self) -> pa.Table:
        """Return all fields as texts."""
        return pa.table([self.text(name) for name in self.columns], self.columns)

    def text(self, name: str, rows: Ints | slice = slice(None)) -> pa.Array:
        """Return a column's fields, of all rows or of some, as texts."""
        starts, stops = self._bounds(name)
        return _texts(self.data, starts[rows], stops[rows])

    def repeated(self, name: str) -> pa.Array:
        """Return a column's fields as texts of a dictionary, or plain ones where they are long, or of many kinds."""
        starts, stops = self._bounds(name)
        lengths = stops - starts
        words = [self._words(stops, lengths, at) for at in range(-(-int(lengths.max(initial=0)) // WORD))]
        if not 0 < len(words) <= MOST_WORDS or self._has_zeros:
            return self.text(name)
        if len(np.unique(words[0][:SAMPLE])) > SAMPLE // 2:
            return self.text(name)
        width = WORD * len(words)  # of the bytes of a text, of which some are zero
        keys = words[0] if len(words) == 1 else np.stack(words[::-1], axis=1)
        kind = pa.uint64() if len(words) == 1 else pa.binary(width)
        coded = pa.Array.from_buffers(kind, len(lengths), [None, pa.py_buffer(keys)]).dictionary_encode()
        if len(coded.dictionary) > MOST_TEXTS:
            return self.text(name)
        known = coded.dictionary.buffers()[1].to_pybytes()
        each = (known[at : at + width].replace(b"\0", b"") for at in range(0, len(coded.dictionary) * width, width))
        return pa.DictionaryArray.from_arrays(coded.indices, pa.array([text.decode() for text in each], pa.string()))

    def whole_numbers(self, name: str) -> tuple[Ints, Bools]:
        """Return a column's whole numbers, and which of its fields are one: of one to eight digits."""
        starts, stops = self._bounds(name)
        lengths = stops - starts
        if lengths.min(initial=1) == lengths.max(initial=1) == 1:
            digit = np.frombuffer(self.data, np.uint8)[starts] ^ np.uint8(ord("0"))
            return digit.astype(np.int64), digit < 10
        digits = self._words(stops, lengths, 0, ZEROS)
        return _number(digits), _are_digits(digits) & (lengths > 0) & (lengths <= WORD)

    def cents(self, name: str) -> tuple[Ints, Bools]:
        """Return a column's amounts in cents, and which of its fields are one: to thirteen digits, a point, and two."""
        starts, stops = self._bounds(name)
        lengths = stops - starts
        digits = self._words(stops, lengths, 0, ZEROS) ^ POINT
        known = _are_digits(digits) & (digits & AT_POINT == 0) & (lengths > 3) & (lengths <= 2 * WORD)
        cents = _number(((digits & BEFORE_POINT) << np.uint64(8)) | (digits & BEHIND_POINT))
        if lengths.max(initial=0) > WORD:
            more = self._words(stops, lengths, 1, ZEROS)
            known &= _are_digits(more)
            cents += _number(more) * 10_000_000
        return cents, known

    def _bounds(self, name: str) -> tuple[Ints, Ints]:
        """Return where a column's fields begin, and where they end."""
        at = self.columns.index(name)
        return self.stops[at - 1] + 1 if at else self.begins, self.stops[at]

    @cached_property
    def _has_zeros(self) -> bool:
        return b"\0" in self.data

    def _words(self, stops: Ints, lengths: Ints, nth: int, without: np.uint64 | None = None) -> Words:
        """Return the last eight bytes of fields as a number each, or the ``nth`` last ones, after an exclusive or.

        The first byte is the lowest one. Bytes before the field are zero; without an exclusive or, they are behind it.
        """
        at = stops - WORD * (nth + 1)
        before = at[: np.searchsorted(at, 0)]  # what would begin before the data, in the first rows
        here = at if not len(before) else np.maximum(at, 0)
        words: Words = np.ndarray(len(self.data) - WORD + 1, "<u8", self.data, strides=(1,))[here]
        for row, begin in enumerate(before.tolist()):
            words[row] = int.from_bytes(self.data[: max(0, begin + WORD)].rjust(WORD, b"\0"), "little")
        if without is not None:
            words ^= without
        missing = WORD * (nth + 1) - lengths
        if nth or missing.min(initial=0) < 0:
            np.clip(missing, 0, WORD, out=missing)
        missing <<= 3
        bits = missing.view(np.uint64)  # 64 of them leave zero
        words >>= bits
        if without is not None:
            words <<= bits
        return words


def find_fields(data: bytes, ends: Ints, width: int, delimiter: str) -> tuple[Ints, list[Ints], Ints] | None:
    """Return where rows begin, where their fields end, a column after another, and which rows these are.

    They are those that have as many fields as ``width``. Returns None unless each line is a row.
    """
    end, text = int(ends[-1]), np.frombuffer(data, np.uint8)
    separators, newlines = _separators(text[:end], ord(delimiter))
    stops = np.flatnonzero(separators)
    open_end = text[end - 1] != NEWLINE
    if newlines + open_end != len(ends):
        return None
    if open_end:
        stops = np.append(stops, end)
    last = ends - 1
    last[-1] += open_end
    if len(stops) == len(ends) * width and np.array_equal(stops[width - 1 :: width], last):
        rows, by_column = np.arange(len(ends)), np.ascontiguousarray(stops.reshape(-1, width).T)
    else:
        of_rows = np.searchsorted(stops, last)
        rows = np.flatnonzero(np.diff(of_rows, prepend=-1) == width)
        by_column = stops[of_rows[rows] - np.arange(width)[::-1, None]]
    if b"\r" in data:
        by_column[-1] -= text[by_column[-1] - 1] == RETURN
    return np.concatenate([[0], ends[:-1]])[rows], list(by_column), rows


def _separators(text: Bytes, delimiter: int) -> tuple[Bools, int]:
    """Tell which bytes are a delimiter or a newline, and how many are newlines."""
    found, count = np.empty(len(text), bool), 0
    newlines = np.empty(min(CACHED, len(text)), bool)
    for first in range(0, len(text), CACHED):
        part, here = text[first : first + CACHED], found[first : first + CACHED]
        here_newlines = np.equal(part, NEWLINE, out=newlines[: len(part)])
        count += int(np.count_nonzero(here_newlines))
        np.equal(part, delimiter, out=here)
        here |= here_newlines
    return found, count


def _texts(data: bytes, starts: Ints, stops: Ints) -> pa.Array:
    """Return the parts of ``data`` from each start to its stop, in ascending order, as texts."""
    count = len(starts)
    lengths = stops - starts
    length = int(lengths.max(initial=0))
    if length and length == lengths.min():
        copied = np.ndarray(len(data) - length + 1, f"V{length}", data, strides=(1,))[starts]
        offsets = np.arange(0, (count + 1) * length, length, dtype=np.int32)
        return pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(copied)])
    bounds = np.empty(2 * count, np.int32)
    bounds[::2], bounds[1::2] = starts, stops
    parts = pa.Array.from_buffers(pa.string(), max(0, 2 * count - 1), [None, *map(pa.py_buffer, (bounds, data))])
    return parts.take(pa.array(np.arange(0, 2 * count, 2, dtype=np.int32)))  # the others are what is between them


def _are_digits(digits: Words) -> Bools:
    """Tell where each byte of a word is at most nine."""
    found: Bools = (((digits + SIXES) | digits) & HIGH) == 0
    return found


def _number(digits: Words) -> Ints:
    """Return the numbers that the bytes of words are the eight digits of; what they are of other bytes is undefined."""
    pairs = (digits * np.uint64(10) + (digits >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    fours = (pairs * np.uint64(100) + (pairs >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    return ((fours * np.uint64(10_000) + (fours >> np.uint64(32))) & np.uint64(0xFFFFFFFF)).view(np.int64)
