"""The row groups of a Parquet file and their columns, as its footer describes them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from daskjobs.files.parquetpages.thrift import LIST, STOP, read_field, read_list, read_struct, read_value, whole

ROW_GROUPS, ENCRYPTION, CRYPTO = 4, 8, {8, 9}  # numbers of a footer's fields, and of those of a column in it


class Encrypted(Exception):
    """The file has encrypted columns."""


@dataclass(frozen=True)
class Column:
    """A column of a row group, as the footer describes it: its pages are bytes ``start`` to before ``end``.

    ``kind`` is the number of its physical type, ``encodings`` are the numbers of its encodings. It has so many
    ``values``, of ``unpacked`` bytes in all; ``coded`` tells whether there is a dictionary of them.
    """

    path: str
    kind: int
    encodings: tuple[int, ...]
    values: int
    unpacked: int
    start: int
    end: int
    coded: bool

    @classmethod
    def of(cls, chunk: dict[int, Any]) -> Self:
        """Read Thrift's ColumnChunk. Raises ValueError when it is of an encrypted column, or in another file."""
        said = chunk.get(3)
        if CRYPTO & chunk.keys():
            raise Encrypted
        if chunk.get(1) or not isinstance(said, dict):
            raise ValueError("a column stands in another file")
        path = b".".join(part if isinstance(part, bytes) else b"?" for part in said.get(3) or []).decode()
        kind, values, unpacked, packed, data = (whole(said, key) for key in (1, 5, 6, 7, 9))
        offset = whole(said, 11) if 11 in said else 0
        start = min((each for each in (offset, data) if each), default=0)  # no rows have no data page, at 0
        if min(values, unpacked, packed, start) < 0:
            raise ValueError(f"{path} has a negative size or number of values")
        encodings = tuple(each for each in said.get(2) or [] if isinstance(each, int))
        return cls(path, kind, encodings, values, unpacked, start, start + packed, offset > 0)


@dataclass(frozen=True)
class Group:
    """A row group, as the footer describes it: its ``rows``, and their ``size`` in bytes before compression."""

    rows: int
    size: int
    columns: list[Column]


def row_groups(footer: bytes, start: int = 0, end: int | None = None) -> Iterator[Group]:
    """Yield the row groups ``start`` to before ``end`` of a footer that is not encrypted.

    Raises Encrypted when columns are, and ValueError when the footer is damaged.
    """
    at = key = 0
    try:
        while True:
            key, kind, at = read_field(footer, at, key)
            if kind == STOP:
                return
            if key == ENCRYPTION:
                raise Encrypted
            if key == ROW_GROUPS and kind == LIST:
                count, _, at = read_list(footer, at)
                for number in range(count):
                    group, at = read_struct(footer, at)
                    if start <= number and (end is None or number < end):
                        columns = [Column.of(each) for each in group.get(1) or []]
                        yield Group(whole(group, 3), whole(group, 2), columns)
            else:
                _, at = read_value(footer, at, kind, 0)
    except (IndexError, AttributeError, TypeError) as error:
        raise ValueError(f"it is no footer ({error})") from error
