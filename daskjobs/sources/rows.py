"""Where the rows of a CSV file begin and end: quoted newlines never end a row, and no block cuts one."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import IO

import numpy as np
import numpy.typing as npt

from daskjobs.errors import InputError

BLOCK_BYTES = 4 << 20  # read, parsed and written at a time; memory follows it
ROW_BYTES = 64 << 20  # a longer row is a quote that is never closed
BOM = b"\xef\xbb\xbf"

Ints = npt.NDArray[np.int64]


@lru_cache
def _quoted_or_newline(delimiter: str) -> re.Pattern[bytes]:
    """Match a quoted field, or a newline outside of one.

    A quote opens a field only at the field's start, as in RFC 4180 and Python's csv module; what is quoted is
    taken whole, up to the closing quote or the end of the block.
    """
    return re.compile(rb'(?<![^%s\n])"(?:[^"]++|"")*+(?:"|\Z)|\n' % re.escape(delimiter.encode()))


def row_ends(block: bytes, delimiter: str = ",") -> Ints:
    """Return the offset after each row that ends in ``block``, which begins at a row's start.

    >>> row_ends(b'1,a\\n2,"b\\nc"\\n3,')
    array([ 4, 12])
    """
    if b'"' in block:
        found = _quoted_or_newline(delimiter).finditer(block)
        return np.array([match.end() for match in found if match[0] == b"\n"], np.int64)
    return np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1


def unclosed(row: bytes, delimiter: str) -> bool:
    """Tell whether a row ends inside of quotes, as only a file's last row can.

    >>> unclosed(b'1,"a""', ","), unclosed(b'1,"a"', ",")
    (True, False)
    """
    quoted = (match for match in _quoted_or_newline(delimiter).finditer(row) if match.end() == len(row))
    return b'"' in row and any(match[0].count(b'"') % 2 for match in quoted)


def blocks(file: IO[bytes], start: int, end: int, name: str, delimiter: str = ",") -> Iterator[tuple[int, bytes, Ints]]:
    """Read bytes ``start`` to ``end`` of a file in blocks of whole rows.

    Yields each block's offset in the file, its bytes, and the offset in it after each of its rows; what follows the
    last of them belongs to the next block, and is read again then: a copy would take longer, and hold Python's lock.
    The file's last row needs no newline. Raises InputError for a row longer than ROW_BYTES.
    """
    size = BLOCK_BYTES
    while start < end:
        file.seek(start)
        wanted = min(size, end - start)
        data = file.read(wanted)
        if len(data) < wanted:
            raise InputError(
                f"{name} ended at byte {start + len(data)}, before byte {end}: it changed while it was read; run again"
            )
        ends = row_ends(data, delimiter)
        if start + len(data) == end and (not len(ends) or ends[-1] < len(data)):
            ends = np.append(ends, len(data))
        if len(ends):
            yield start, data, ends
            start, size = start + int(ends[-1]), BLOCK_BYTES
        elif len(data) > ROW_BYTES:
            raise InputError(
                f"{name} has a row of more than {ROW_BYTES >> 20} MiB from byte {start}: is a quote there never closed?"
            )
        else:
            size = min(2 * size, ROW_BYTES + 1)
