"""Counts rejected rows by all of their reasons together: how many have just these, and no other.

There may be as many sets of reasons as rows. So only the `MOST` simplest sets are counted, those of the fewest reasons:
a set that is among them in the whole input is among them wherever it occurs, so its count is exact, whatever the
partitions are.
"""

from collections import Counter
from collections.abc import Iterable

MOST = 1000  # sets of reasons that are counted
AND = ";"  # between two reasons, as in quarantine.csv


def written(reasons: Iterable[str]) -> str:
    """Return a set of reasons as one text.

    >>> written(["negative_price", "wrong_total"])
    'negative_price;wrong_total'
    """
    return AND.join(reasons)


def simplest(counts: Counter[str]) -> dict[str, int]:
    """Return the counts of the sets with the fewest reasons, in their order: at most `MOST`.

    >>> simplest(Counter({"b;c": 1, "c": 5, "b": 2}))
    {'b': 2, 'c': 5, 'b;c': 1}
    """
    some = sorted((each for each, rows in counts.items() if rows), key=lambda each: (each.count(AND), each))
    return {each: counts[each] for each in some[:MOST]}


class Together:
    """Adds up counts by sets of reasons, and forgets those sets that can't be among the simplest ones."""

    def __init__(self) -> None:
        self._counts = Counter[str]()

    def add(self, counts: dict[str, int]) -> None:
        """Add the counts of a block, or of a partition."""
        self._counts.update(counts)
        if len(self._counts) > 2 * MOST:
            self._counts = Counter(simplest(self._counts))

    def simplest(self) -> dict[str, int]:
        """Return the counts of the simplest sets."""
        return simplest(self._counts)
