"""JSON Lines: an object on each line, whose keys are the columns, and whose numbers stay as they are written."""

import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.lib.stride_tricks import sliding_window_view

from daskjobs.errors import InputError
from daskjobs.orders.rules.builtin import MALFORMED_JSON, NOT_UTF8
from daskjobs.orders.sources.format import Block, InputFile, Ints, without_nulls
from daskjobs.orders.sources.lines import BOM, NEWLINE, LinesFormat, LinesSource, raw_rows, raw_texts
from daskjobs.orders.sources.unpack import START_BYTES

START = re.compile(rb'(?:\xef\xbb\xbf)?\s*(\{|\[(?=\s*[\[{"\]}]))')  # "[order_id],[price]" is a header of CSV
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half of a character, which the other half must follow
PAIR = re.compile(rb'"[^"]*"[ \t]*:[ \t]*(?:"(?P<text>[^"]*)"|(?P<bare>[^\s",{}\[\]]+))')
BARE = r"^(-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?|true|false|null)$"
QUOTE = ord('"')
BLANKS = " \t\r\n"  # between the parts of JSON
OTHER_KEYS = "other_keys"  # the column of keys that the first MiB of a larger file doesn't have
DEEPEST = 100  # levels, that of the line's object too: well below what Python's stack allows
Row = dict[str, str | bool | None]


@dataclass(frozen=True, kw_only=True)
class JsonLinesSource(LinesSource):
    """A file of JSON Lines. ``keys`` are its columns under its own names, but for `OTHER_KEYS`."""

    ending: ClassVar[str] = "jsonl"
    kind: Literal["json lines"]
    keys: list[str]

    @property
    def heading(self) -> list[str]:
        """The names of its columns as they stand there."""
        return [*self.keys, OTHER_KEYS][: len(self.columns)]


class JsonLinesFormat(LinesFormat[JsonLinesSource]):
    """Files that have a JSON object on each line."""

    name = "json lines"
    source = JsonLinesSource

    def sniff(self, first: bytes) -> bool:
        """Tell whether a file begins as JSON does, be it JSON Lines or not."""
        return bool(START.match(first))

    def describe(self, file: InputFile) -> JsonLinesSource:
        """Find a file's keys in its first MiB. Raises InputError when it isn't JSON Lines of orders."""
        file.refuse_form("JSON Lines", ("delimiter", "quoting", "quote", "header", "skip_lines", "footer_lines"))
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
                f"{file.name} is not JSON Lines: in its first MiB, no line is one JSON object with a key; write each "
                "object on a line of its own, as jq -c . does, in UTF-8 or with --encoding"
            )
        keys = list(dict.fromkeys(key for row in rows for key in row or ()))
        values = ((key, value) for row in rows for key, value in (row or {}).items())
        file.refuse_numbers({key for key, value in values if isinstance(value, _Number) and "." in value})
        return JsonLinesSource(
            name=file.name,
            read=file.read,
            kind="json lines",
            size=file.size,
            start=start,
            columns=file.named([*keys, OTHER_KEYS] if larger else keys),
            keys=keys,
            encoding=file.encoding,
            nulls=file.form.nulls,
            unpacked=file.unpacked,
        )

    def block(self, source: JsonLinesSource, data: bytes, ends: Ints) -> Block:
        """Return the rows that end at ``ends``."""
        names = [*source.keys, OTHER_KEYS][: len(source.columns)]
        alike, texts = _alike(data, ends, names)
        others = np.delete(np.arange(len(ends)), alike)
        if len(others):
            malformed, rows = dict[int, str](), list[Row]()
            keys, places = set(source.keys), list(map(int, others))
            for place, raw in zip(places, raw_rows(data, ends, others), strict=True):
                row = _row(raw, keys)
                if isinstance(row, str):
                    malformed[place] = row
                else:
                    rows.append(row)
            kept = np.concatenate([alike, np.delete(others, np.searchsorted(others, list(malformed)))])
            read = pa.table([_column([row.get(name) for row in rows]) for name in names], names)
            texts = pa.concat_tables([texts, read]).take(pa.array(np.argsort(kept)))
            kept.sort()
        else:
            malformed, kept = {}, alike
        block = Block(len(ends), texts.rename_columns(source.columns), kept, malformed, raw_texts(data, ends))
        return without_nulls(block, source.nulls)


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


def _row(raw: bytes, keys: set[str]) -> Row | str:
    """Return a row's values by key, those of keys beyond ``keys`` under `OTHER_KEYS`, or why it is malformed."""
    try:
        line = raw.decode()
    except UnicodeDecodeError:
        return NOT_UTF8
    if not ("[" in line or line.count("{") > 1 or ("\\u" in line and SURROGATE.search(line))):
        try:
            found, end = _FLAT.raw_decode(line)
            if end == len(line) and found.keys() <= keys:
                return dict(found)
        except (ValueError, AttributeError):
            pass  # blanks before it, or no object
    row = _object(line)
    return MALFORMED_JSON if row is None else _known(row, keys)


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


def _alike(data: bytes, ends: Ints, names: list[str]) -> tuple[Ints, pa.Table]:
    """Fast path: return the places and texts of the rows that differ from a block's first one in their values alone.

    Without backslashes, every quote begins or ends a text. So the quotes of the first row say where the values of each
    row with as many quotes must stand, and what stands between these must be the same bytes.
    """
    text = np.frombuffer(data, np.uint8, ends[-1])
    none = np.empty(0, np.int64), pa.table({name: pa.array([], pa.string()) for name in names})
    spans = [match.span("text" if match["text"] is not None else "bare") for match in PAIR.finditer(data, 0, ends[0])]
    first = _row(data[: ends[0]].rstrip(b"\r\n"), set(names) - {OTHER_KEYS})
    controls = len(ends) - (data[ends[-1] - 1] != NEWLINE) + data.count(b"\r\n", 0, len(text))
    if (
        not first
        or isinstance(first, str)
        or len(first) != len(spans)
        or OTHER_KEYS in first
        or data.count(b"{", 0, ends[0]) + data.count(b"[", 0, ends[0]) > 1
        or data.find(b"\\", 0, len(text)) >= 0
        or np.count_nonzero(text < ord(" ")) != controls
        or not _is_utf8(data[: len(text)])
    ):
        return none
    quotes, starts = np.flatnonzero(text == QUOTE), np.concatenate([[0], ends[:-1]])
    counts = np.diff(np.searchsorted(quotes, ends), prepend=0)
    rows = np.flatnonzero(counts == counts[0])
    at = np.column_stack([quotes[np.searchsorted(quotes, starts[rows])[:, None] + np.arange(counts[0])], ends[rows]])
    begins, stops, quote = list[Ints](), [starts[rows]], 0
    for begin, stop in spans:
        quoted = data[begin - 1] == QUOTE
        anchor, quote = at[:, quote + 1 + quoted], quote + 2 + 2 * quoted
        following = at[:, quote - quoted]
        begins.append(anchor + (begin - anchor[0]))
        stops.append(following + (stop - following[0]))
    begins.append(ends[rows])
    same = np.ones(len(rows), bool)
    for before, after in zip(stops, begins, strict=True):  # what stands between the values
        width = int(after[0] - before[0])
        same &= after - before == width
        between = sliding_window_view(text, width)[np.where(same, before, before[0])]
        same &= np.all(between == between[0], 1)
    same &= np.all([begin <= stop for begin, stop in zip(begins[:-1], stops[1:], strict=True)], 0)
    found = {
        name: _slices(data, begin[same], stop[same])
        for name, begin, stop in zip(first, begins[:-1], stops[1:], strict=True)
    }
    sound = pa.array(np.ones(np.count_nonzero(same), bool))
    for name, (begins_at, _) in zip(first, spans, strict=True):
        if data[begins_at - 1] != QUOTE:
            sound = pc.and_(sound, pc.match_substring_regex(found[name], BARE))
            found[name] = pc.replace_substring_regex(found[name], "^null$", "")
    empty = pa.array([""], pa.string()).take(pa.array(np.zeros(len(sound), np.int64)))
    table = pa.table({name: found.get(name, empty) for name in names})
    return rows[same][sound.to_numpy(zero_copy_only=False)], table.filter(sound)


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


def _slices(data: bytes, begins: Ints, stops: Ints) -> pa.Array:
    """Return the texts that begin and stop at these offsets, each behind the one before it."""
    edges = np.column_stack([begins, stops]).ravel().astype(np.int32)
    buffers = [None, pa.py_buffer(edges), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(edges) - 1, buffers).take(pa.array(np.arange(0, len(edges), 2)))
