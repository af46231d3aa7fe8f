"""Finds files of which no row was understood: most likely, such a file is written in another way than it was taken."""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.files.tables import column
from daskjobs.orders.plan import Partition
from daskjobs.orders.rules.builtin import MALFORMED
from daskjobs.orders.sources.format import SourceFile
from daskjobs.orders.summary import counts_of
from daskjobs.orders.validation.result import UnreadRows

# A row that is rejected for one of these was not understood; the other reasons are about what it says.
REASONS = pa.array(
    [*MALFORMED, "missing_order_id", "unreadable_quantity", "unreadable_price", "unreadable_total", "unknown_status",
     "unreadable_timestamp", "unreadable_refund"]
)  # fmt: skip


class Unread:
    """Counts a partition's rows that were not understood, by file and by reason."""

    def __init__(self) -> None:
        self._rows, self._reasons = Counter[str](), dict[str, Counter[str]]()
        self._furniture = Counter[str]()

    def add(self, rejected: pa.Table, furniture: pa.Array | None = None) -> None:
        """Add the rejected rows of a block, and the sources of the rows that are furniture."""
        if furniture is not None:
            self._furniture.update(counts_of(furniture))
        reasons = column(rejected, "reasons")
        rows, each = pc.list_parent_indices(reasons), reasons.flatten()
        lost = pc.unique(rows.filter(pc.is_in(each, REASONS)))
        if not len(lost):
            return
        sources = column(rejected, "source")
        if sources[0] == sources[-1]:  # the files of a block stand one after another, so this is its only one
            source = sources[0].as_py()
            self._rows[source] += len(lost)
            self._reasons.setdefault(source, Counter()).update(counts_of(each))
            return
        self._rows.update(counts_of(sources.take(lost)))
        pairs = pa.table({"source": sources.take(rows), "reason": each}).group_by(["source", "reason"])
        for pair in pairs.aggregate([([], "count_all")]).to_pylist():
            self._reasons.setdefault(pair["source"], Counter())[pair["reason"]] += pair["count_all"]

    def files(self, partition: Partition, files: dict[int, SourceFile]) -> dict[str, UnreadRows]:
        """Return the files of which the partition has rows, and none that was understood, by their place."""
        rows = Counter[int]()
        for part in partition.ranges:
            rows[part.file] += part.rows
        found = dict[str, UnreadRows]()
        for file, count in rows.items():
            name = files[file].name
            if count and count == self._rows[name] + self._furniture[name]:
                found[str(file)] = UnreadRows(self._rows[name], dict(self._reasons.get(name, {})))
        return found
