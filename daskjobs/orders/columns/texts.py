"""Looks at texts eight bytes at a time: their hashes, whether they ascend, the least and the most.

Texts are ordered by their characters, which in UTF-8 is by their bytes. `Steps` alone looks at them as order numbers
are: by their length, then by their bytes.
"""

import hashlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.orders.columns.distinct import FIRST, Hashes, Ints, mixed

WORD = 8  # bytes
LONG = 512  # bytes: what is longer is hashed by BLAKE2
FEW = 32  # texts that are compared as such
_LONG_SHIFT = np.uint64(32)


class Words:
    """The words of texts, of which none is empty or null: numbers that are ordered as eight bytes of each are."""

    def __init__(self, texts: pa.Array) -> None:
        self.texts, self.count = texts, len(texts)
        offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
        self.lengths = np.diff(offsets)
        self.shortest, self.longest = int(self.lengths.min()), int(self.lengths.max())
        self.width = self.longest if self.shortest == self.longest else 0  # if all have one length
        begin, end = int(offsets[0]), int(offsets[-1])
        self._data = np.frombuffer(texts.buffers()[2], np.uint8)[begin:end]
        if self.shortest < WORD:
            self._data = np.concatenate([self._data, np.zeros(WORD, np.uint8)])
        if not self.width:
            self._starts = offsets[:-1].astype(np.int64) - begin
            self._lengths = self.lengths.astype(np.int64)
            self._all = np.ndarray((len(self._data) - WORD + 1,), ">u8", self._data, 0, (1,))

    def number(self) -> int:
        """Return how many words the longest text has."""
        return -(-self.longest // WORD)

    def word(self, nth: int, rows: Ints | None = None) -> Hashes:
        """Return the word ``nth`` of texts, all or some, that have it.

        The last word of a longer text may overlap the one before, and a shorter text is one, without bytes before it.
        """
        if self.width:
            place = max(0, min(WORD * nth, self.width - WORD))
            read = np.ndarray((self.count,), ">u8", self._data, place, (self.width,))
            words: Hashes = (read if rows is None else read[rows]).astype(np.uint64)
            if self.width < WORD:
                words >>= np.uint64(8 * (WORD - self.width))
            return words
        starts, lengths = self._starts, self._lengths
        if rows is not None:
            starts, lengths = starts[rows], lengths[rows]
        if self.shortest >= WORD:
            return np.asarray(self._all[starts + np.minimum(WORD * nth, lengths - WORD)], np.uint64)
        at = np.minimum(WORD * nth, lengths - WORD)
        words = np.asarray(self._all[starts + np.maximum(at, 0)], np.uint64)
        missing = np.maximum(-at, 0)
        missing <<= 3
        words >>= missing.view(np.uint64)
        return words

    def prefix(self, first: Hashes) -> Hashes:
        """Return the first words with zeros behind shorter texts, so that they are ordered as the texts are."""
        if self.shortest >= WORD:
            return first
        missing = np.maximum(WORD - self.lengths.astype(np.int64), 0)
        missing <<= 3
        return first << missing.view(np.uint64)

    def having(self, nth: int, rows: Ints | None) -> Ints | None:
        """Return which texts, of all or of some, have a word ``nth``; None for all."""
        if self.shortest > WORD * nth:
            return rows
        lengths = self.lengths if rows is None else self.lengths[rows]
        found = np.flatnonzero(lengths > WORD * nth)
        return found if rows is None else rows[found]


class Steps:
    """How each value of a column compares with the one before it: if they ascend or descend, their number is known."""

    def __init__(self) -> None:
        self.up = self.down = True
        self.changes = 0  # from one value to another one
        self.first: int | str | None = None
        self.last: int | str | None = None

    @property
    def alive(self) -> bool:
        """Whether all values so far ascend, or all descend."""
        return self.up or self.down

    def end(self) -> None:
        """Note that the values neither ascend nor descend."""
        self.up = self.down = False

    def add(self, up: bool, down: bool, changes: int, first: int | str, last: int | str) -> None:
        """Add values behind the others: whether these never fall, whether they never rise, and how often they change.

        >>> steps = Steps()
        >>> steps.add(True, False, 2, 7, 9); steps.add(True, True, 0, 9, 9); steps.up, steps.changes
        (True, 2)
        """
        if self.last is not None:
            before, after = _rank(self.last), _rank(first)
            up, down = up and before <= after, down and before >= after
            changes += before != after
        else:
            self.first = first
        self.last = last
        self.up, self.down, self.changes = self.up and up, self.down and down, self.changes + changes

    def merge(self, other: "Steps") -> None:
        """Add what was seen of later values."""
        if other.first is not None and other.last is not None:
            self.add(other.up, other.down, other.changes, other.first, other.last)
        elif not other.alive:
            self.end()

    def distinct(self) -> int | None:
        """Return the number of distinct values, or None if it isn't known."""
        if not self.alive:
            return None
        return self.changes + (self.first is not None)


def _rank(value: int | str) -> tuple[int, bytes]:
    if isinstance(value, int):
        return value, b""
    data = value.encode()
    return len(data), data


def hashes(words: Words, steps: Steps | None = None) -> tuple[Hashes, Hashes]:
    """Return the hashes of texts, and their first words; tell the texts to ``steps``, if it asks."""
    asked = steps is not None and steps.alive and words.longest <= LONG
    if steps is not None and not asked:
        steps.end()
    order = _Order(words) if asked else None
    first = words.word(0)
    sums = words.lengths.astype(np.uint64)
    sums ^= first
    sums *= FIRST
    sums ^= sums >> _LONG_SHIFT
    if order:
        order.look(first, None)
    rows: Ints | None = None
    for nth in range(1, min(words.number(), LONG // WORD)):
        rows = words.having(nth, rows)
        word = words.word(nth, rows)
        some = sums if rows is None else sums[rows]
        some ^= word
        some *= FIRST
        some ^= some >> _LONG_SHIFT
        if rows is not None:
            sums[rows] = some
        if order:
            order.look(word, rows)
    if words.longest > LONG:
        for row in np.flatnonzero(words.lengths > LONG).tolist():
            digest = hashlib.blake2b(words.texts[row].as_py().encode(), digest_size=WORD).digest()
            sums[row] = int.from_bytes(digest, "little")
    if order and steps is not None:
        ends = (words.texts[0].as_py(), words.texts[-1].as_py()) if order.alive else ("", "")
        steps.add(*order.told(), *ends)
        if not order.alive:
            steps.end()
    return mixed(sums), first


class _Order:
    """Compares each text with the one before it, by length, then a word after another."""

    def __init__(self, words: Words) -> None:
        self._count = words.count
        grown = np.diff(words.lengths) if not words.width else None
        self._open = None if grown is None else np.flatnonzero(grown == 0)  # None for all: the texts are alike so far
        self._risen = 0 if grown is None else int(np.count_nonzero(grown > 0))
        self._fallen = 0 if grown is None else int(np.count_nonzero(grown < 0))

    @property
    def alive(self) -> bool:
        return not (self._risen and self._fallen)

    def look(self, word: Hashes, rows: Ints | None) -> None:
        """Compare the next word of all texts, or of those that have it."""
        if not self.alive:
            return
        if rows is not None:  # two texts of one length both have it, or neither
            whole = np.zeros(self._count, np.uint64)
            whole[rows] = word
            word = whole
        if self._open is None:
            before, after = word[:-1], word[1:]
        elif not len(self._open):
            return
        else:
            before, after = word[self._open], word[self._open + 1]
        risen, fallen = after > before, after < before
        self._risen += int(np.count_nonzero(risen))
        self._fallen += int(np.count_nonzero(fallen))
        if self.alive:
            alike = np.flatnonzero(~(risen | fallen))
            self._open = alike if self._open is None else self._open[alike]

    def told(self) -> tuple[bool, bool, int]:
        return not self._fallen, not self._risen, self._risen + self._fallen


def extremes(words: Words, first: Hashes) -> tuple[str, str]:
    """Return the least and the most of texts, of which ``first`` are the first words."""
    prefix = words.prefix(first)
    return _extreme(words, prefix, np.min, min), _extreme(words, prefix, np.max, max)


def _extreme(words: Words, prefix: Hashes, of: Callable[[Hashes], np.uint64], best: Callable[..., str]) -> str:
    rows, nth = np.flatnonzero(prefix == of(prefix)), 1
    while len(rows) > FEW and nth < words.number():
        if not words.width and words.lengths[rows].min() < WORD * (nth + 1):
            break  # their words don't begin at the same place
        word = words.word(nth, rows)
        rows, nth = rows[word == of(word)], nth + 1
    found = words.texts.take(pa.array(rows))
    if len(found) > FEW:
        found = pc.unique(found)
    if len(found) > FEW:
        told = pc.min_max(found)
        return str(told["min" if best is min else "max"].as_py())
    return best(found.to_pylist())
