"""Where the rows of a CSV file begin and end: quoted newlines never end a row, and no block cuts one."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt

from daskjobs.errors import InputError

BLOCK_BYTES = 4 << 20  # read, parsed and written at a time; memory follows it
ROW_BYTES = 64 << 20  # a longer row is a quote that is never closed
BOM = b"\xef\xbb\xbf"

Ends = npt.NDArray[np.int64]

# A quote opens a field only at the field's start, as in RFC 4180 and Python's csv module; what is quoted is
# taken whole, up to the closing quote or the end of the block.
_QUOTED_OR_NEWLINE = re.compile(rb'(?<![^,\n])"(?:[^"]++|"")*+(?:"|\Z)|\n')


@dataclass(frozen=True)
class Header:
    """The first row of a file: its column names, and the offset of the byte after it."""

    columns: list[str]
    end: int


def row_ends(block: bytes) -> Ends:
    """Return the offset after each row that ends in ``block``, which begins at a row's start.

    >>> row_ends(b'1,a\\n2,"b\\nc"\\n3,')
    array([ 4, 12])
    """
    if b'"' in block:
        return np.array([match.end() for match in _QUOTED_OR_NEWLINE.finditer(block) if match[0] == b"\n"], np.int64)
    return np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1


def blocks(file: IO[bytes], start: int, end: int, name: str) -> Iterator[tuple[int, bytes, Ends]]:
    """Read bytes ``start`` to ``end`` of a file in blocks of whole rows.

    Yields each block's offset in the file, its bytes, and the offset in it after each of its rows. The file's
    last row needs no newline. Raises InputError for a row longer than ROW_BYTES.
    """
    file.seek(start)
    rest = b""
    while start + len(rest) < end:
        data = file.read(min(BLOCK_BYTES, end - start - len(rest)))
        if not data:
            raise InputError(
                f"{name} ended at byte {start + len(rest)}, before byte {end}: it changed while it was read; run again"
            )
        data = rest + data
        ends = row_ends(data)
        if start + len(data) == end and (not len(ends) or ends[-1] < len(data)):
            ends = np.append(ends, len(data))
        last = int(ends[-1]) if len(ends) else 0
        rest = data[last:]
        if len(rest) > ROW_BYTES:
            raise InputError(
                f"{name} has a row of more than {ROW_BYTES >> 20} MiB from byte {start + last}: "
                "is a quote there never closed?"
            )
        if last:
            yield start, data[:last], ends
        start += last


def read_header(file: IO[bytes], name: str) -> Header:
    """Read a file's first row. Raises InputError when it isn't the header of a CSV file."""
    first = file.read(1 << 20)
    if not first:
        raise InputError(f"{name} is empty; it must begin with a header row")
    ends = row_ends(first.removeprefix(BOM))
    end = (int(ends[0]) if len(ends) else len(first.removeprefix(BOM))) + (len(BOM) if first.startswith(BOM) else 0)
    line = first[:end].removeprefix(BOM)
    try:
        columns = next(csv.reader(io.StringIO(line.decode(), newline="")), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{name} is not CSV: its first bytes are {first[:16]!r}; give a UTF-8 text file of orders with a header row"
        ) from error
    return Header([column.strip() for column in columns], end)
