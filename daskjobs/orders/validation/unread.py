"""Finds files of which no row was understood: most likely, such a file is written in another way than it was taken."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.files.tables import column
from daskjobs.orders.rules.builtin import MALFORMED
from daskjobs.orders.sources.format import Block, RowRange, SourceFile
from daskjobs.orders.validation.result import UnreadRows

# A row that is rejected for one of these was not understood; the other reasons are about what it says.
REASONS = pa.array(
    [*MALFORMED, "missing_order_id", "unreadable_quantity", "unreadable_price", "unreadable_total", "unknown_status",
     "unreadable_timestamp"]
)  # fmt: skip


class Unread:
    """Counts a partition's rows by file and reason, where none of the file's rows is understood."""

    def __init__(self) -> None:
        self._rows, self._reasons = Counter[int](), dict[int, Counter[str]]()
        self._understood = set[int]()

    def add(self, parts: list[RowRange], files: dict[int, SourceFile], block: Block, rejected: pa.Table) -> None:
        """Add a block of these ranges of rows, of which these are rejected; several ranges are whole in it."""
        if len(parts) == 1:
            self._add(parts[0].file, block.rows - (0 if block.furniture is None else len(block.furniture)), rejected)
            return
        furniture = np.zeros(0, np.int64) if block.furniture is None else block.furniture
        begins = np.cumsum([0, *(part.rows for part in parts)])
        beside = np.diff(np.searchsorted(furniture, begins)).tolist()
        of = rejected["source"].combine_chunks().dictionary_encode()
        for part, others in zip(parts, beside, strict=True):
            at = of.dictionary.index(files[part.file].name).as_py()
            some = rejected.slice(0, 0) if at < 0 else rejected.filter(pc.equal(of.indices, at))
            self._add(part.file, part.rows - others, some)

    def _add(self, file: int, rows: int, rejected: pa.Table) -> None:
        if file in self._understood:
            return
        if rows > len(rejected) or not _none_understood(rejected):
            self._understood.add(file)
            self._reasons.pop(file, None)
            return
        self._rows[file] += rows
        counted = pc.value_counts(_reasons(rejected).flatten()).to_pylist()
        self._reasons.setdefault(file, Counter()).update({each["values"]: each["counts"] for each in counted})

    @property
    def files(self) -> dict[str, UnreadRows]:
        """The files of which no row was understood here, by their place in the input."""
        return {str(file): UnreadRows(self._rows[file], dict(counts)) for file, counts in self._reasons.items()}


def _none_understood(rejected: pa.Table) -> bool:
    reasons = _reasons(rejected)
    rows = pc.list_parent_indices(reasons).filter(pc.is_in(reasons.flatten(), REASONS))
    return int(pc.count_distinct(rows).as_py()) == len(rejected)


def _reasons(rejected: pa.Table) -> pa.Array:
    return column(rejected, "reasons")
