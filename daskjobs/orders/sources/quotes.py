"""Find where the rows of a CSV file end: a line end in a quoted field ends no row."""

import re
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from daskjobs.orders.dialect import BACKSLASH, COMMAS, NONE, RFC4180, SPARK, Dialect
from daskjobs.orders.sources.format import Ints
from daskjobs.orders.sources.lines import BEYOND, LAST, MORE, NEWLINE, line_ends

RETURN, SLASH = b"\r\\"

Bytes = npt.NDArray[np.uint8]


@lru_cache
def _fields_in_quotes(dialect: Dialect, behind: str) -> re.Pattern[bytes]:
    """Return a pattern of quoted fields, and of single quotes at the start of fields that are not quoted.

    A quote opens a field only at the field's start, and only if its closing quote, the first one that isn't doubled, is
    followed by a delimiter or a line end. A field whose closing quote, or the byte after it, may not have been read yet
    is matched up to the end of the block. With backslashes, an escaped character is matched too, together with the
    quotes after it, which are not at a field's start.
    """
    delimiter, quote = re.escape(dialect.delimiter.encode()), re.escape(dialect.quote.encode())
    escaped, inside, anywhere = rb"\\(?:\r\n|.)", b"", b""
    if not quote:
        return re.compile(escaped, re.DOTALL)
    closed = rb"%s(?=%s|\r?\n%s)" % (quote, delimiter, rb"|\r?\Z" if behind == LAST else b"")
    undecided = rb"|(?:%s\r?|\\)?\Z" % quote if behind == MORE else b""
    if dialect.quoting == BACKSLASH:
        inside, anywhere = rb"|%s" % escaped, rb"%s%s*+|" % (escaped, quote)
    body = rb"(?:[^%s%s]++|%s%s%s)*+" % (quote, rb"\\" if inside else b"", quote, quote, inside)
    opened = rb"%s(?<![^%s\n]%s)" % (quote, delimiter, quote)
    return re.compile(rb"%s%s(?:%s(?:%s%s))?" % (anywhere, opened, body, closed, undecided), re.DOTALL)


def escaping(data: Bytes, dialect: Dialect) -> Ints:
    """Return where Spark's escapes begin: a backslash before a quote or a backslash; others are plain characters."""
    slashes = np.flatnonzero(data == SLASH)
    index = np.arange(len(slashes))
    run = np.maximum.accumulate(np.where(np.diff(slashes, prepend=-2) != 1, index, 0))  # of backslashes in a row
    slashes = slashes[((index - run) % 2 == 0) & (slashes + 1 < len(data))]
    after = data[slashes + 1]
    escapes: Ints = slashes[(after == SLASH) | (after == ord(dialect.quote))]
    return escapes


def _without_escapes(block: bytes, dialect: Dialect) -> bytes:
    """Return a block of Spark's with other bytes in place of its escapes, so that each quote left is one.

    Outside quotes, a backslash escapes nothing, but a quote behind it is a plain character there, too.
    """
    if b"\\" not in block:
        return block
    data = np.frombuffer(block, np.uint8).copy()
    escapes = escaping(data, dialect)
    data[escapes] = data[escapes + 1] = 0
    return data.tobytes()


def quoted(block: bytes, dialect: Dialect, behind: str) -> tuple[Ints, Ints]:
    """Return where the quoted fields of a block, which begins at a row's start, begin and end.

    A quote at the start of a field that is not quoted counts as a field of one byte. With backslashes, each escaped
    character has an entry too.
    """
    if dialect.quoting == SPARK:
        block = _without_escapes(block, dialect)
    data = np.frombuffer(block, np.uint8)
    well_formed = _pairs(data, dialect, behind) if dialect.quoting in (RFC4180, SPARK) else None
    if well_formed is not None:
        return well_formed
    matches = [match.span() for match in _fields_in_quotes(dialect, behind).finditer(block)]
    spans = np.array(matches, np.int64).reshape(-1, 2)
    return spans[:, 0], spans[:, 1]


def _pairs(data: Bytes, dialect: Dialect, behind: str) -> tuple[Ints, Ints] | None:
    """Fast path of `quoted`, if every quote of a block opens or closes a field; else return None.

    A doubled quote counts as the end of one field and the start of the next.
    """
    quotes = np.flatnonzero(data == ord(dialect.quote))
    if (len(quotes) % 2 and behind != MORE) or behind == BEYOND:
        return None
    opening, closing = quotes[::2], quotes[1::2]
    doubled = np.concatenate([[-1], closing + 1])[: len(opening)] == opening
    separators = np.zeros(256, bool)
    separators[[ord(dialect.delimiter), NEWLINE]] = True
    if not np.all((opening == 0) | separators[data[opening - 1]] | doubled):
        return None
    padded = np.concatenate([data, np.frombuffer(b"\n\n", np.uint8)])  # the end of a block counts as a line end
    after = padded[closing + 1]
    follows = np.append(doubled[1:], False)[: len(closing)]
    returns = (after == RETURN) & (padded[closing + 2] == NEWLINE)
    if not np.all(separators[after] | returns | follows):
        return None
    return opening, np.append(closing + 1, [len(data)] * (len(quotes) % 2))


def may_quote(data: bytes, dialect: Dialect, end: int | None = None) -> bool:
    """Tell whether there is a quote or an escaped character in bytes, up to ``end``."""
    quote = dialect.quote.encode() if dialect.quoting != NONE else b""
    return (quote != b"" and data.find(quote, 0, end) >= 0) or (
        dialect.quoting == BACKSLASH and data.find(b"\\", 0, end) >= 0
    )


def row_ends(block: bytes, dialect: Dialect = COMMAS, behind: str = MORE) -> Ints:
    """Return the offset after each row that ends in ``block``, which begins at a row's start.

    >>> row_ends(b'1,a\\n2,"b\\nc"\\n3,')
    array([ 4, 12])
    """
    ends = line_ends(block)
    if may_quote(block, dialect):
        begin, end = quoted(block, dialect, behind)
        before = np.searchsorted(begin, ends, "left")
        ends = ends[np.concatenate([[0], end])[before] < ends]
    return ends
