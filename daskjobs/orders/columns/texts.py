"""Looks at texts eight bytes at a time: their hashes, whether they ascend, the least and the most.

Texts are ordered by their characters, which in UTF-8 is by their bytes. `Steps` alone looks at them as order numbers
are: by their length, then by their bytes.
"""

import hashlib
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.orders.columns.distinct import FIRST, SECOND, Hashes, Ints

WORD = 8  # bytes
LONG = 2048  # bytes: what is longer is hashed by BLAKE2
FEW = 32  # texts that are compared as such
_HALF = np.uint64(32)

Bools = npt.NDArray[np.bool_]
Rows = Ints | slice | None  # of some texts; None for all


class Words:
    """The words of texts, at least one, of which none is null: eight bytes each, as numbers, the first byte the lowest.

    The last word of a text may have zeros behind it.
    """

    def __init__(self, texts: pa.Array) -> None:
        self.texts, self.count = texts, len(texts)
        offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
        self.lengths = np.diff(offsets)
        self.shortest, self.longest = int(self.lengths.min()), int(self.lengths.max())
        self.width = self.longest if self.shortest == self.longest else 0  # if all have one length
        self._descending = False
        begin, end = int(offsets[0]), int(offsets[-1])
        self._data, self._before = np.frombuffer(texts.buffers()[2], np.uint8)[begin:end], 0
        if self.shortest < WORD:  # a word that ends with a text may begin before it
            self._data, self._before = np.concatenate([np.zeros(WORD, np.uint8), self._data]), WORD
        if not self.width:
            self.lengths = self.lengths.astype(np.int64)
            self._ends = offsets[1:].astype(np.int64)
            self._ends += self._before - begin
            self._all = np.ndarray((len(self._data) - WORD + 1,), "<u8", self._data, 0, (1,))  # by where they begin

    @property
    def number(self) -> int:
        """How many words the longest text has."""
        return -(-self.longest // WORD)

    def longest_first(self) -> "Words":
        """Return the same words in another order."""
        order, words = np.argsort(-self.lengths), copy(self)
        words.lengths, words._ends, words._descending = self.lengths[order], self._ends[order], True
        return words

    def whole(self, row: int) -> Any:
        """Return the bytes of a text."""
        end = (row + 1) * self.width if self.width else self._ends[row]
        return self._data[end - self.lengths[row] : end]

    def characters(self) -> Ints:
        """Return how many characters each text has."""
        if (self._data < 0x80).all():
            return self.lengths
        ends = self._before + np.cumsum(self.lengths, dtype=np.int64)
        inside = np.append(
            0, np.cumsum((self._data & 0xC0) == 0x80, dtype=np.int32)
        )  # of a character, behind its first
        counts: Ints = self.lengths - (inside[ends] - inside[ends - self.lengths])
        return counts

    def word(self, nth: int, rows: Rows = None) -> Hashes:
        """Return the word ``nth`` of texts, all or some; zeros where it is behind the end."""
        if self.width:
            left = self.width - WORD * nth
            read = np.ndarray(
                (self.count,), "<u8", self._data, self._before + self.width - max(left, WORD), (self.width,)
            )
            words: Hashes = read.copy() if rows is None else read[rows]
            if left < WORD:
                words >>= np.uint64(8 * (WORD - left))
            return words
        ends, lengths = (self._ends, self.lengths) if rows is None else (self._ends[rows], self.lengths[rows])
        lefts = lengths - WORD * nth
        words = self._all[ends - (np.maximum(lefts, WORD) if self.longest > WORD else WORD)]
        missing = WORD - lefts
        if self.longest > WORD:
            np.clip(missing, 0, WORD, out=missing)
        missing <<= 3
        words >>= missing.view(np.uint64)
        return words

    def having(self, nth: int, rows: Rows) -> Rows:
        """Return which texts have a word ``nth``, of those that have the one before; None for all."""
        if self.shortest > WORD * nth:
            return None
        if self._descending:
            return slice(int(np.count_nonzero(self.lengths[rows or slice(None)] > WORD * nth)))
        found = np.flatnonzero((self.lengths if rows is None else self.lengths[rows]) > WORD * nth)
        return rows[found] if isinstance(rows, np.ndarray) else found


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


def hashes(words: Words, first: Hashes, order: "Order | None" = None) -> Hashes:
    """Return the hashes of texts, of which ``first`` are the first words; ``order`` looks at their words, too.

    Without an ``order``, the hashes may be in another one than the texts.
    """
    if not order and not words.width and words.number > 1:
        words = words.longest_first()
        first = words.word(0)
    sums = first ^ (words.lengths[:1] if words.width else words.lengths).astype(np.uint64) * SECOND
    _mix(sums)
    if order:
        order.look(first, None)
    rows: Rows = None
    for nth in range(1, min(words.number, LONG // WORD)):
        rows = words.having(nth, rows)
        word = words.word(nth, rows)
        if rows is None:
            sums ^= word
            _mix(sums)
        else:
            some = sums[rows] ^ word
            _mix(some)
            sums[rows] = some
        if order:
            order.look(word, rows)
    if words.longest > LONG:
        for row in np.flatnonzero(words.lengths > LONG).tolist():
            digest = hashlib.blake2b(words.whole(row), digest_size=WORD).digest()
            sums[row] = int.from_bytes(digest, "little")
    sums *= SECOND
    sums ^= sums >> _HALF
    return sums


def _mix(sums: Hashes) -> None:
    sums *= FIRST
    sums ^= sums >> _HALF


class Order:
    """Compares each text with the one before it, by length, then a word after another."""

    def __init__(self, words: Words) -> None:
        self._words, self.risen, self.fallen = words, 0, 0
        self._alike: Bools | None = None  # those that are like the one before them so far; None for all
        self._open = words.count - 1  # the number of these
        if not words.width:
            grown = np.diff(words.lengths)
            self._alike = grown == 0
            self._open = int(np.count_nonzero(self._alike))
            self.risen, self.fallen = int(np.count_nonzero(grown > 0)), int(np.count_nonzero(grown < 0))

    @property
    def alive(self) -> bool:
        """Whether all texts so far ascend, or all descend."""
        return not (self.risen and self.fallen) and self._words.longest <= LONG

    @property
    def ascends(self) -> bool:
        """Whether the texts are of one length, and the first one is the least and the last one the most."""
        return self.alive and not self.fallen and bool(self._words.width)

    def look(self, word: Hashes, rows: Rows) -> None:
        """Compare the next word of all texts, or of those that have it."""
        if not self.alive or not self._open:
            return
        if rows is not None:  # two texts of one length both have it, or neither
            whole = np.zeros(self._words.count, np.uint64)
            whole[rows] = word
            word = whole
        alike = word[1:] == word[:-1]
        if alike.all():
            return
        word = word.byteswap()
        above = word[1:] > word[:-1]
        if self._alike is not None:
            above &= self._alike
            alike &= self._alike
        risen, open_still = int(np.count_nonzero(above)), int(np.count_nonzero(alike))
        self.risen, self.fallen = self.risen + risen, self.fallen + self._open - risen - open_still
        self._alike, self._open = alike, open_still

    def tell(self, steps: Steps) -> None:
        """Tell how the texts go on behind those that ``steps`` knows."""
        if self.alive:
            texts = self._words.texts
            steps.add(not self.fallen, not self.risen, self.risen + self.fallen, texts[0].as_py(), texts[-1].as_py())
        else:
            steps.end()


def extremes(words: Words, first: Hashes, least: str | None, most: str | None) -> list[str]:
    """Return the least and the most of texts, of which ``first`` are the first words, unless they are known.

    That is: unless they are certainly not below ``least``, and not above ``most``.
    """
    prefix, found = first.byteswap(), list[str]()
    low, high = prefix.min(), prefix.max()
    if least is None or low <= _prefix(least):
        found.append(_extreme(words, prefix == low, np.min, min))
    if most is None or high >= _prefix(most):
        found.append(_extreme(words, prefix == high, np.max, max))
    return found


def _prefix(text: str) -> int:
    return int.from_bytes(text.encode()[:WORD].ljust(WORD, b"\0"), "big")


def _extreme(words: Words, some: Any, of: Callable[[Hashes], np.uint64], best: Callable[..., str]) -> str:
    """Return the least or the most of some texts, of which the first words are the same."""
    rows, nth = np.flatnonzero(some), 1
    while len(rows) > FEW and nth < min(words.number, LONG // WORD):
        word = words.word(nth, rows).byteswap()
        rows, nth = rows[word == of(word)], nth + 1
    found = words.texts.take(pa.array(rows))
    if len(found) > FEW:
        found = pc.unique(found)
    return best(found.to_pylist())
