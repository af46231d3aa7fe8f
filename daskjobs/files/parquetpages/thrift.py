"""Thrift's compact protocol, in which Parquet writes footers and the headers of pages.

The functions that read ``data`` from the byte ``at`` on raise IndexError when what they read goes on beyond its end,
and ValueError when the bytes are something else.
"""

from typing import Any

STOP, BOOLEANS, NUMBERS, BYTES, LIST, STRUCT = 0, (1, 2), (4, 5, 6), 8, 9, 12  # types
WIDTHS = {3: 1, 7: 8}  # of a byte and a double
MOST_DEPTH = 16


def whole(said: dict[int, Any], key: int) -> int:
    """Return the number in a field of a struct. Raises ValueError where there is none."""
    value = said.get(key)
    if not isinstance(value, int):
        raise ValueError(f"a number is missing in it, that of the field {key}")
    return value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("it holds a number that is too long")


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def read_struct(data: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return a struct's values by the numbers of its fields, and where it ends."""
    members, key = dict[int, Any](), 0
    if depth > MOST_DEPTH:
        raise ValueError("it is nested too deeply")
    while True:
        key, kind, at = read_field(data, at, key)
        if kind == STOP:
            return members, at
        members[key], at = read_value(data, at, kind, depth)


def read_field(data: bytes, at: int, before: int) -> tuple[int, int, int]:
    """Return a field's number and type, and where its value begins; ``before`` is the number of the field before it."""
    byte, at = data[at], at + 1
    if byte >> 4:
        return before + (byte >> 4), byte & 15, at
    if byte:
        key, at = _number(data, at)
        return key, byte & 15, at
    return 0, STOP, at


def read_list(data: bytes, at: int) -> tuple[int, int, int]:
    """Return a list's length and its values' type, and where the first one begins."""
    byte, at = data[at], at + 1
    if byte >> 4 == 15:
        count, at = _varint(data, at)
        return count, byte & 15, at
    return byte >> 4, byte & 15, at


def read_value(data: bytes, at: int, kind: int, depth: int, inside: bool = False) -> tuple[Any, int]:
    """Read a value, which may stand ``inside`` a list."""
    if kind in BOOLEANS:  # in a struct, their value is their type
        return None, at + inside
    if kind in NUMBERS:
        return _number(data, at)
    if kind == BYTES:
        length, at = _varint(data, at)
        if at + length > len(data):
            raise IndexError
        return data[at : at + length], at + length
    if kind == STRUCT:
        return read_struct(data, at, depth + 1)
    if kind == LIST:
        count, each, at = read_list(data, at)
        values = []
        for _ in range(count):
            value, at = read_value(data, at, each, depth + 1, inside=True)
            values.append(value)
        return values, at
    if kind in WIDTHS:
        return None, at + WIDTHS[kind]
    raise ValueError(f"it holds a value of the type {kind}")  # a set or a map, which Parquet doesn't use
