"""Find where the rows of a CSV file end, and read them in blocks: a line end in a quoted field ends no row."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import IO

import numpy as np
import numpy.typing as npt

from daskjobs.errors import InputError
from daskjobs.orders.dialect import BACKSLASH, COMMAS, NONE, RFC4180, Dialect

BLOCK_BYTES = 4 << 20  # read, parsed and written at a time; the memory of a task is proportional to it
BLOCK_ROWS = 1 << 17  # at most, since each row takes memory: a block of nothing but line ends has four million rows
ROW_BYTES = 64 << 20  # the longest row; a quoted field that is not closed in the first 64 MiB of its row is none
BOM = b"\xef\xbb\xbf"
QUOTE, NEWLINE, RETURN = b'"\n\r'

# What follows a block of bytes: more of the file; nothing; or more of a row that is too long already.
MORE, LAST, BEYOND = "more", "last", "beyond"

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@lru_cache
def _fields_in_quotes(dialect: Dialect, behind: str) -> re.Pattern[bytes]:
    """Return a pattern of quoted fields, and of single quotes at the start of fields that are not quoted.

    A quote opens a field only at the field's start, and only if its closing quote, the first one that isn't doubled, is
    followed by a delimiter or a line end. A field whose closing quote, or what follows it, may lie in bytes that have
    not been read yet is matched up to the end of the block. With backslashes, an escaped character is matched too,
    together with the quotes behind it, which are not at a field's start.
    """
    delimiter = re.escape(dialect.delimiter.encode())
    closed = rb'"(?=%s|\r?\n%s)' % (delimiter, rb"|\r?\Z" if behind == LAST else b"")
    undecided = rb'|(?:"\r?|\\)?\Z' if behind == MORE else b""
    escaped, inside, anywhere = rb"\\(?:\r\n|.)", b"", b""
    if dialect.quoting == BACKSLASH:
        inside, anywhere = rb"|%s" % escaped, rb'%s"*+|' % escaped
    body = rb'(?:[^"%s]++|""%s)*+' % (rb"\\" if inside else b"", inside)
    return re.compile(rb'%s"(?<![^%s\n]")(?:%s(?:%s%s))?' % (anywhere, delimiter, body, closed, undecided), re.DOTALL)


def quoted(block: bytes, dialect: Dialect, behind: str) -> tuple[Ints, Ints]:
    """Return where the quoted fields of a block, which begins at a row's start, begin and end.

    A quote at the start of a field that is not quoted counts as a field of one byte. With backslashes, each escaped
    character has an entry too.
    """
    data = np.frombuffer(block, np.uint8)
    well_formed = _pairs(data, dialect, behind) if dialect.quoting == RFC4180 else None
    if well_formed is not None:
        return well_formed
    matches = [match.span() for match in _fields_in_quotes(dialect, behind).finditer(block)]
    spans = np.array(matches, np.int64).reshape(-1, 2)
    return spans[:, 0], spans[:, 1]


def _pairs(data: Bytes, dialect: Dialect, behind: str) -> tuple[Ints, Ints] | None:
    """Fast path of `quoted`, where every quote of a block opens or closes a field; else return None.

    A doubled quote counts as the end of one field and the start of the next.
    """
    quotes = np.flatnonzero(data == QUOTE)
    if (len(quotes) % 2 and behind != MORE) or behind == BEYOND:
        return None
    opening, closing = quotes[::2], quotes[1::2]
    doubled = np.concatenate([[-1], closing + 1])[: len(opening)] == opening
    separators = np.zeros(256, bool)
    separators[[ord(dialect.delimiter), NEWLINE]] = True
    if not np.all((opening == 0) | separators[data[opening - 1]] | doubled):
        return None
    padded = np.concatenate([data, np.frombuffer(b"\n\n", np.uint8)])  # the end of a block is as good as a line end
    after = padded[closing + 1]
    follows = np.append(doubled[1:], False)[: len(closing)]
    returns = (after == RETURN) & (padded[closing + 2] == NEWLINE)
    if not np.all(separators[after] | returns | follows):
        return None
    return opening, np.append(closing + 1, [len(data)] * (len(quotes) % 2))


def row_ends(block: bytes, dialect: Dialect = COMMAS, behind: str = MORE) -> Ints:
    """Return the offset behind each row that ends in ``block``, which begins at a row's start.

    >>> row_ends(b'1,a\\n2,"b\\nc"\\n3,')
    array([ 4, 12])
    """
    newlines = np.flatnonzero(np.frombuffer(block, np.uint8) == NEWLINE)
    if dialect.quoting != NONE and (b'"' in block or (dialect.quoting == BACKSLASH and b"\\" in block)):
        begin, end = quoted(block, dialect, behind)
        before = np.searchsorted(begin, newlines, "right")
        newlines = newlines[np.concatenate([[0], end])[before] <= newlines]
    return newlines + 1


def blocks(
    file: IO[bytes], start: int, end: int, name: str, dialect: Dialect = COMMAS
) -> Iterator[tuple[int, bytes, Ints]]:
    """Read bytes ``start`` to ``end`` of a file in blocks of whole rows.

    Yields each block's offset in the file, its bytes, and the offsets in it behind each of its rows. The bytes behind
    the last row belong to the next block, and are read again with it: to copy them would take longer, and hold Python's
    lock. The file's last row needs no line end. A quote that is not closed before ``end`` is a plain character: a range
    always ends with a row, so a field that went on behind it would have made the range longer.
    Raises InputError for a row longer than ROW_BYTES.
    """
    size = BLOCK_BYTES
    while start < end:
        file.seek(start)
        wanted = min(size, ROW_BYTES, end - start)
        data = file.read(wanted)
        if len(data) < wanted:
            raise InputError(
                f"{name} ended at byte {start + len(data)}, before byte {end}: it changed while it was read; run again"
            )
        last = start + len(data) == end
        ends = row_ends(data, dialect, LAST if last else MORE)
        if last and (not len(ends) or ends[-1] < len(data)):
            ends = np.append(ends, len(data))
        if not len(ends) and wanted == ROW_BYTES:
            ends = row_ends(data, dialect, BEYOND)[:1]
            if not len(ends):
                raise InputError(
                    f"{name} has a row of more than {ROW_BYTES >> 20} MiB from byte {start}: check that it is a "
                    "text file with a row on each line"
                )
        if not len(ends):
            size, data = 2 * size, b""
            continue
        if len(data) > BLOCK_BYTES:  # it grew until its first row ended: the others come in blocks as usual
            ends = ends[: max(1, np.searchsorted(ends, BLOCK_BYTES, "right"))]
            data = data[: ends[-1]]
        for first in range(0, len(ends), BLOCK_ROWS):
            begin, upto = int(ends[first - 1]) if first else 0, ends[first : first + BLOCK_ROWS]
            yield start + begin, data[begin : upto[-1]] if len(upto) < len(ends) else data, upto - begin
        start, size = start + int(ends[-1]), BLOCK_BYTES
