"""Finds the first rejected rows of each reason while the rejected rows pass by in the order of the source."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.files.tables import column
from daskjobs.orders.validation.result import Sample

SAMPLES = 3  # rows for each reason
LONGEST = 200  # characters of a row's text


class Samples:
    """Takes the first `SAMPLES` rows of each reason; ``counts`` says how many rows have it.

    ``found`` has them by reason. Once all are found, nothing is looked at any more.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.found = dict[str, list[Sample]]((reason, []) for reason in sorted(counts))
        self._missing = {reason: min(SAMPLES, rows) for reason, rows in counts.items() if rows}

    def look(self, rejected: pa.Table) -> None:
        """Look at the next rows, which have the columns of `QUARANTINE`."""
        if not self._missing:
            return
        reasons = column(rejected, "reasons")
        coded, parents = reasons.flatten().dictionary_encode(), pc.list_parent_indices(reasons).to_numpy()
        codes = coded.indices.to_numpy()
        for code, reason in enumerate(coded.dictionary.to_pylist()):
            if (missing := self._missing.get(reason)) is None:
                continue
            rows = parents[np.flatnonzero(codes == code)[:missing]]
            self.found[reason] += shortened(rejected.take(pa.array(rows)), LONGEST)
            self._missing[reason] -= len(rows)
            if not self._missing[reason]:
                del self._missing[reason]


def shortened(rejected: pa.Table, longest: int) -> list[Sample]:
    """Return rejected rows, of whose texts no more than so many characters."""
    raw = column(rejected, "raw")
    begin = pc.utf8_slice_codeunits(raw, 0, longest - 1)
    texts = pc.if_else(pc.equal(pc.utf8_slice_codeunits(raw, 0, longest), raw), raw, _ended(begin))
    columns = [*(rejected[name].to_pylist() for name in ("row", "source")), texts.to_pylist()]
    return [Sample(*each) for each in zip(*columns, strict=True)]


def _ended(texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(texts, "\u2026", "")
