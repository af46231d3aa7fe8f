"""Reads rejected rows again, from their texts as the quarantine has them."""

import numpy as np
import pyarrow as pa

from daskjobs.files.tables import column
from daskjobs.orders.parse import trimmed
from daskjobs.orders.profiles import Profile
from daskjobs.orders.profiles.columns import order_ids
from daskjobs.orders.quarantine import standalone
from daskjobs.orders.sources import format_of
from daskjobs.orders.sources.fields import read_block
from daskjobs.orders.sources.format import Block, Ints, SourceFile, joined
from daskjobs.orders.sources.lines import LAST, LinesFormat
from daskjobs.orders.sources.quotes import row_ends


def read_ids(texts: pa.ChunkedArray, source: SourceFile, profile: Profile | None) -> tuple[pa.Array, Ints]:
    """Return the order ids of rejected rows of a file, and the places of these rows; malformed ones are left out."""
    block = _read(bytes(standalone(texts, source)), source)
    if block.rows != len(texts):  # a row that can't stand beside others
        block = joined([_read(bytes(standalone(texts.slice(at, 1), source)), source) for at in range(len(texts))])
    ids = order_ids(block.texts, profile) if profile else trimmed(column(block.texts, "order_id"))
    return ids, np.asarray(block.kept)


def _read(data: bytes, source: SourceFile) -> Block:
    """Read rows as they stand in the file of a source's rejected rows: CSV, unless the source is of other lines."""
    lines = format_of(source)
    if isinstance(lines, LinesFormat):
        return lines.block(source, data, lines.row_ends(source)(data, LAST))
    return read_block(data, row_ends(data, source.dialect, LAST), source.columns, source.dialect)
