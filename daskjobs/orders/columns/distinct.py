"""Counts distinct values: exactly up to `SIZE` of them, and beyond that by their lowest hashes.

This is the bottom-k sketch, also called KMV: of n distinct values with evenly distributed hashes, the k-th lowest hash
is about k/n of the highest possible one. So the estimate depends on the values alone, and neither on how often each is
there, nor on their order or where they were cut. Its standard error is 1/√(k - 1).

- Bar-Yossef, Jayram, Kumar, Sivakumar, Trevisan: Counting distinct elements in a data stream (2002)
- Beyer, Haas, Reinwald, Sismanis, Gemulla: On synopses for distinct-value estimation under multiset operations (2007)
"""

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

SIZE = 4096  # distinct values that are counted exactly; beyond, the standard error is 1.6%
HELD = 4 * SIZE  # hashes that are collected before the lowest of them are found
RANGE = 1 << 64  # of hashes
SPAN = 1 << 21  # of numbers that are marked at their places in an array, which takes less time than their hashes

_HALF = np.uint64(32)
FIRST, SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)  # those of MurmurHash3's finalizer


def mixed(words: Hashes) -> Hashes:
    """Return evenly distributed words, of which no two are the same unless the given ones are."""
    found = words * FIRST
    found ^= found >> _HALF
    found *= SECOND
    found ^= found >> _HALF
    return found


class Distinct:
    """The lowest hashes of distinct values, of which it is given all, each any number of times."""

    def __init__(self) -> None:
        self._lowest, self._held, self._count = np.empty(0, np.uint64), list[Hashes](), 0
        self._full = False
        self._marks: npt.NDArray[np.bool_] | None = np.zeros(0, bool)  # None where the numbers are too far apart
        self._first = 0  # the number at the first place of these

    def add(self, hashes: Hashes) -> None:
        """Add the hashes of values."""
        if self._full:
            hashes = hashes[hashes < self._lowest[-1]]
        if len(hashes):
            self._held.append(hashes)
            self._count += len(hashes)
            if self._count >= HELD:
                self._merge()

    def add_numbers(self, values: Ints, low: int, high: int) -> None:
        """Add values that are whole numbers from ``low`` to ``high``."""
        if self._marks is not None:
            first, end = low, high + 1
            if len(self._marks):
                first, end = min(first, self._first), max(end, self._first + len(self._marks))
            if end - first > SPAN:
                self._add_marked()
                self._marks = None
            elif end - first > len(self._marks):
                marks = np.zeros(end - first, bool)
                marks[self._first - first :][: len(self._marks)] = self._marks
                self._marks, self._first = marks, first
        if self._marks is None:
            self.add(mixed(values.view(np.uint64)))
        else:
            self._marks[values - self._first] = True

    def _add_marked(self) -> None:
        if self._marks is not None and len(self._marks):
            self.add(mixed((np.flatnonzero(self._marks) + self._first).view(np.uint64)))

    def _merge(self) -> None:
        if self._held:
            found = np.sort(np.concatenate([self._lowest, *self._held]))
            found = found[np.append(True, found[1:] != found[:-1])]
            self._full = len(found) > SIZE
            self._lowest = found[: SIZE + 1].copy()
            self._held.clear()
            self._count = 0

    @property
    def lowest(self) -> Hashes:
        """The lowest hashes, ascending: at most one more than `SIZE`."""
        self._add_marked()
        self._merge()
        return self._lowest

    def count(self) -> tuple[int, bool]:
        """Return the number of distinct values, and whether it is exact or estimated."""
        lowest = self.lowest
        if len(lowest) <= SIZE:
            return len(lowest), True
        return SIZE * RANGE // (int(lowest[-1]) + 1), False
