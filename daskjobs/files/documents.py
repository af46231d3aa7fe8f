"""JSON files: written with a checksum of their own, and refused when they don't have the expected shape.

A shape is a dataclass or a TypedDict. The type of a field is a shape again, or one of str, bool, int (from 0 to below
2^63), float (finite), list, tuple, dict with texts as keys, Literal, `… | None`, and Any. A field of a dataclass that
has a default is left out of the JSON where it has that value; all others must be there. Keys that a shape doesn't name
are passed over.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

MOST_INT = 1 << 63
MOST_SHOWN = 100  # characters of a value that is refused
_KEY, _READ_BY = "json key", "read from json by"

T = TypeVar("T")


def written_as(key: str) -> Mapping[str, Any]:
    """Return the metadata of a dataclass field whose key in JSON is not its name.

    >>> from dataclasses import dataclass, field
    >>> @dataclass
    ... class Count:
    ...     into: int = field(metadata=written_as("in"))
    >>> to_json(Count(7)), from_json({"in": 7}, Count)
    ({'in': 7}, Count(into=7))
    """
    return {_KEY: key}


def read_by(function: Callable[[Any], Any]) -> Mapping[str, Any]:
    """Return the metadata of a dataclass field that ``function`` makes from its JSON, or refuses with a ValueError."""
    return {_READ_BY: function}


def to_json(value: Any) -> Any:
    """Return what JSON can hold of a value: dataclasses become dictionaries, and tuples lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            key: to_json(getattr(value, each.name))
            for key, each, _ in _fields(type(value))
            if _required(each) or getattr(value, each.name) != _default(each)
        }
    if isinstance(value, dict):
        return {key: to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    return value


def from_json(value: Any, shape: type[T], name: str = "it") -> T:
    """Return what `to_json` was given. Raises ValueError, which names the place, where the value has another shape."""
    read: T = _read(value, shape, name)
    return read


def dump(value: Any) -> bytes:
    """Return JSON for people and machines: indented, keys in the order given, a newline at the end."""
    return (json.dumps(to_json(value), indent=2) + "\n").encode()


def sealed(value: Any) -> bytes:
    """Return JSON with a checksum of its own, which shows any change of the file."""
    return dump({**to_json(value), "checksum": hashlib.sha256(dump(value)).hexdigest()})


def unsealed(data: bytes, shape: type[T]) -> T:
    """Return what `sealed` was given. Raises ValueError for anything else."""
    value: Any = parse(data, dict[str, Any])
    checksum = value.pop("checksum", None)
    if checksum != hashlib.sha256(dump(value)).hexdigest():
        raise ValueError("its checksum is not that of the rest")
    return from_json(value, shape)


def parse(data: bytes, shape: type[T]) -> T:
    """Return what `dump` was given. Raises ValueError when it isn't JSON, or has not the ``shape``."""
    try:
        return from_json(json.loads(data.decode(), parse_constant=_refuse), shape)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def keys(shape: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields by their keys in JSON."""
    return {key: hint for key, _, hint in _fields(shape)}


@lru_cache
def _fields(shape: type) -> list[tuple[str, Field[Any], Any]]:
    """Return the fields of a dataclass, each with its key in JSON and its type."""
    hints = get_type_hints(shape)
    return [(each.metadata.get(_KEY, each.name), each, hints[each.name]) for each in fields(shape)]


def _required(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _read(value: Any, shape: Any, place: str) -> Any:
    if _is_plain(value, shape, ()):  # most values are, and the rest of this takes longer
        return value
    kind, parts = get_origin(shape) or shape, get_args(shape)
    if kind is Any or _is_plain(value, kind, parts):
        return value
    if isinstance(kind, type) and is_dataclass(kind):
        return kind(**_read_fields(value, kind, place))
    if is_typeddict(kind):
        return _read_keys(value, kind, place)
    if kind in (Union, UnionType) and value is None and type(None) in parts:
        return None
    if kind in (Union, UnionType):
        (shape,) = (part for part in parts if part is not type(None))
        return _read(value, shape, place)
    if kind is dict and isinstance(value, dict):
        return {key: _read(each, parts[1], f"{place}.{key}") for key, each in value.items()}
    if kind in (list, tuple) and isinstance(value, list):
        shapes = [parts[0]] * len(value) if kind is list or parts[1:] == (...,) else parts
        if len(value) == len(shapes):
            each = zip(value, shapes, strict=True)
            return kind(_read(item, part, f"{place}[{at}]") for at, (item, part) in enumerate(each))
    raise ValueError(f"{place} must be {_expected(kind, parts)}, got {repr(value)[:MOST_SHOWN]}")


def _is_plain(value: Any, kind: Any, parts: tuple[Any, ...]) -> bool:
    if kind is int:
        return type(value) is int and 0 <= value < MOST_INT
    if kind is float:
        return (type(value) is int and abs(value) < MOST_INT) or (type(value) is float and math.isfinite(value))
    if kind is Literal:
        return isinstance(value, str) and value in parts
    return kind in (str, bool) and isinstance(value, kind)


def _expected(kind: Any, parts: tuple[Any, ...]) -> str:
    words = {int: "a whole number from 0 to below 2^63", float: "a finite number", str: "text", bool: "true or false"}
    if kind is Literal:
        return " or ".join(map(repr, parts))
    return words.get(kind, "an object" if kind is dict else f"a list of {len(parts)}" if kind is tuple else "a list")


def _read_fields(value: Any, shape: type, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{place} must be an object")
    read = dict[str, Any]()
    for key, each, hint in _fields(shape):
        if key in value:
            function = each.metadata.get(_READ_BY)
            read[each.name] = function(value[key]) if function else _read(value[key], hint, f"{place}.{key}")
        elif _required(each):
            raise ValueError(f"{place} has no {key}")
    return read


def _read_keys(value: Any, shape: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{place} must be an object")
    missing = sorted(shape.__required_keys__ - value.keys())
    if missing:
        raise ValueError(f"{place} has no {missing[0]}")
    hints = get_type_hints(shape)
    return {key: _read(each, hints[key], f"{place}.{key}") if key in hints else each for key, each in value.items()}
