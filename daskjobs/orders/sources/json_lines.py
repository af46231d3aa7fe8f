"""JSON Lines: an object on each line, whose keys are the columns, and whose numbers stay as they are written."""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from daskjobs.errors import InputError
from daskjobs.orders.rules.builtin import MALFORMED_JSON, NOT_UTF8
from daskjobs.orders.sources.format import Block, InputFile, Ints
from daskjobs.orders.sources.lines import BOM, LinesFormat, LinesSource, raw_rows, raw_texts
from daskjobs.orders.sources.names import our_names
from daskjobs.orders.sources.unpack import START_BYTES

START = re.compile(rb'(?:\xef\xbb\xbf)?\s*([\[{])\s*[\[{"\]}]')
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half of a character, which the other half must follow
BLANKS = " \t\r\n"  # between the parts of JSON
OTHER_KEYS = "other_keys"  # the column of keys that the first MiB of a larger file doesn't have
DEEPEST = 100  # levels, that of the line's object too: well below what Python's stack allows
Row = dict[str, str | bool | None]


@dataclass(frozen=True, kw_only=True)
class JsonLinesSource(LinesSource):
    """A file of JSON Lines. ``keys`` are its columns under its own names, but for `OTHER_KEYS`."""

    kind: Literal["json lines"]
    keys: list[str]

    @property
    def ending(self) -> Literal["jsonl"]:
        """How the name of the file of its rejected rows ends."""
        return "jsonl"


class JsonLinesFormat(LinesFormat[JsonLinesSource]):
    """Files that have a JSON object on each line."""

    name = "json lines"
    source = JsonLinesSource

    def sniff(self, first: bytes) -> bool:
        """Tell whether a file begins as JSON does, be it JSON Lines or not."""
        return bool(START.match(first))

    def describe(self, file: InputFile) -> JsonLinesSource:
        """Find a file's keys in its first MiB. Raises InputError when it isn't JSON Lines of orders."""
        found = START.match(file.first)
        if found and found[1] == b"[":
            raise InputError(
                f"{file.name} is a JSON array: write each of its objects on a line of its own, as jq -c '.[]' does"
            )
        start = len(BOM) if file.first.startswith(BOM) else 0
        text, larger = file.first[start:START_BYTES], file.size > START_BYTES
        if larger:
            text = text[: text.rfind(b"\n") + 1]
        rows = [_object(line.decode(errors="surrogateescape")) for line in text.split(b"\n")]
        if not any(rows):
            raise InputError(
                f"{file.name} is not JSON Lines: in its first MiB, no line is one JSON object; write each object on a "
                "line of its own, as jq -c . does"
            )
        keys = list(dict.fromkeys(key for row in rows for key in row or ()))
        return JsonLinesSource(
            name=file.name,
            read=file.read,
            kind="json lines",
            size=file.size,
            start=start,
            columns=our_names([*keys, OTHER_KEYS] if larger else keys, file.columns, file.name),
            keys=keys,
            unpacked=file.unpacked,
        )

    def block(self, source: JsonLinesSource, data: bytes, ends: Ints) -> Block:
        """Return the rows that end at ``ends``."""
        malformed: dict[int, str] = {}
        try:
            lines: list[str | None] = list(data[: ends[-1]].decode().split("\n")[: len(ends)])
        except UnicodeDecodeError:
            lines = list(map(_text, raw_rows(data, ends, np.arange(len(ends)))))
        keys, rows = set(source.keys), list[Row]()
        for place, line in enumerate(lines):
            row = None if line is None else _row(line, keys)
            if row is None:
                malformed[place] = NOT_UTF8 if line is None else MALFORMED_JSON
            else:
                rows.append(row)
        names = [*source.keys, OTHER_KEYS][: len(source.columns)]
        texts = [_column([row.get(name) for row in rows]) for name in names]
        kept = np.delete(np.arange(len(ends)), list(malformed))
        return Block(len(ends), pa.table(texts, source.columns), kept, malformed, raw_texts(data, ends))


class _Number(str):
    """A number, as it is written."""

    __slots__ = ()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. Raises ValueError when it has a key twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _decoder(number: type[str]) -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_once, parse_float=number, parse_int=number, parse_constant=_refuse)


_FLAT, _NESTED = _decoder(str), _decoder(_Number)


def _text(row: bytes) -> str | None:
    try:
        return row.decode()
    except UnicodeDecodeError:
        return None


def _row(line: str, keys: set[str]) -> Row | None:
    """Return a row's values by key, with those of keys beyond ``keys`` under `OTHER_KEYS`; None if it is malformed."""
    if "[" in line or line.count("{") > 1 or ("\\u" in line and SURROGATE.search(line)):
        row = _object(line)
        return row if row is None else _known(row, keys)
    try:
        found, end = _FLAT.raw_decode(line)
    except (ValueError, RecursionError):
        row = _object(line)  # there may be blanks before it
        return row if row is None else _known(row, keys)
    if type(found) is not dict or line[end:].strip(BLANKS):
        return None
    return found if found.keys() <= keys else _known(_object(line) or {}, keys)


def _known(row: dict[str, Any], keys: set[str]) -> Row:
    known = {key: _shown(value) for key, value in row.items() if key in keys}
    other = {key: value for key, value in row.items() if key not in keys}
    return known | {OTHER_KEYS: _json(other)} if other else known


def _object(line: str) -> dict[str, Any] | None:
    """Return the object that a line is, in which numbers are `_Number`, or None if it is none."""
    try:
        line = line.strip(BLANKS)
        found, end = _NESTED.raw_decode(line)
        if end < len(line) or not isinstance(found, dict):
            return None
        _json(found)
        json.dumps(found, ensure_ascii=False).encode()  # which half a character can't be
    except (ValueError, RecursionError):
        return None
    return found


def _shown(value: Any) -> str | bool | None:
    return _json(value) if isinstance(value, dict | list) else value


def _json(value: Any, level: int = 0) -> str:
    """Return JSON text, with numbers as they were written. Raises ValueError when it is nested too deeply."""
    if level >= DEEPEST and isinstance(value, dict | list):
        raise ValueError("it is nested too deeply")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_json(each, level + 1)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_json(each, level + 1) for each in value) + "]"
    if isinstance(value, _Number):
        return value
    return json.dumps(value)


def _column(values: list[str | bool | None]) -> pa.Array:
    """Return values as texts: nothing is an empty text."""
    try:
        texts = pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # true and false
        texts = pa.array([json.dumps(each) if isinstance(each, bool) else each for each in values], pa.string())
    return texts.fill_null("") if texts.null_count else texts
