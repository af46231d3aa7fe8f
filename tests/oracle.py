"""The data contract of docs/orders.md once more: a character at a time, with decimal and datetime, slow and obvious."""

import json
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

COLUMNS = ["order_id", "user_id", "region", "product", "quantity", "price", "total_amount", "payment_mode", "status",
           "timestamp"]  # fmt: skip
STATUSES = {"success", "failed", "pending", "cancelled", "refunded"}
DAY = r"(\d{4})-(\d\d)-(\d\d)"
CLOCK = r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6})0*)?)?"
ZONE = r" ?(Z|UTC|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)"


ABOUT_THE_ORDER = {"quantity_below_one", "negative_price", "wrong_total", "duplicate_order_id", "negative_total"}
BELOW_ZERO = {"quantity_below_one", "negative_price", "wrong_total", "unknown_status"}  # without one, totals may be so
AFTER = {"unknown_status", "unreadable_timestamp"}  # reasons that stand behind negative_total


@dataclass
class Expected:
    rows: int = 0
    orders: int = 0
    cents: int = 0
    unpaid: Counter[str] = field(default_factory=Counter)
    rejected: list[tuple[str, int, list[str], str]] = field(default_factory=list)  # source, row, reasons, raw text
    lines: Counter[str] = field(default_factory=Counter)
    several: list[tuple[str, int, int]] = field(default_factory=list)  # source, row, line ends in it
    files: Counter[str] = field(default_factory=Counter)  # rows by source
    warned: list[tuple[str, int, list[str], str]] = field(default_factory=list)  # as ``rejected``, of valid rows
    sums: Counter[str] = field(default_factory=Counter)  # cents of all rows whose amount can be read, by source
    unread: Counter[str] = field(default_factory=Counter)  # the others, by source
    ids: dict[str, set[str]] = field(default_factory=dict)  # all of them, by source

    @property
    def not_understood(self) -> dict[str, int]:
        """How many rows a file has, for each file whose rows all have a reason that isn't about what an order says."""
        lost = Counter(source for source, _, reasons, _ in self.rejected if set(reasons) - ABOUT_THE_ORDER)
        return {name: rows for name, rows in self.files.items() if rows == lost[name]}


def rows_of(data: bytes, delimiter: str, quoting: str, quote: str = '"') -> list[tuple[bytes, list[bytes]]]:
    """Return each row as it stands in a file, without what ends it, and its fields.

    RFC 4180, and where it says nothing, the contract: lines end with a newline, a return before it belongs to the line
    end, and so does a return that ends the file; the last row needs no line end; a quote opens a field only where its
    closing quote is followed by a delimiter or the end of the row.
    """
    if not data:
        return []
    data = data.removesuffix(b"\n").removesuffix(b"\r")  # what ends the last row
    separator, rows, fields, begin, at = ord(delimiter), list[tuple[bytes, list[bytes]]](), list[bytes](), 0, 0
    while True:
        value, at = field_at(data, at, separator, quoting, quote.encode())
        fields.append(value)
        if at < len(data) and data[at] == separator:
            at += 1
            continue
        rows.append((data[begin:at], fields))
        if at == len(data):
            return rows
        at = begin = data.index(b"\n", at) + 1
        fields = []


def ends_field(data: bytes, at: int, separator: int) -> bool:
    return at == len(data) or data[at] in (separator, ord("\n")) or data[at : at + 2] == b"\r\n"


def field_at(data: bytes, at: int, separator: int, quoting: str, quote: bytes) -> tuple[bytes, int]:
    """Return the field that begins at an offset, and the offset behind it."""
    if quoting != "none" and quote and data[at : at + 1] == quote:
        value, here = bytearray(), at + 1
        while here < len(data):
            if quoting == "backslash" and data[here : here + 1] == b"\\":
                piece, here = escaped(data, here)
                value += piece
            elif quoting == "spark" and data[here : here + 2] in (b"\\" + quote, rb"\\"):
                value += data[here + 1 : here + 2]
                here += 2
            elif data[here : here + 2] == quote + quote:
                value += quote
                here += 2
            elif data[here : here + 1] == quote:
                if ends_field(data, here + 1, separator):
                    return bytes(value), here + 1
                break
            else:
                value.append(data[here])
                here += 1
    value, here = bytearray(), at
    while not ends_field(data, here, separator):
        if quoting == "backslash" and data[here : here + 1] == b"\\":
            piece, here = escaped(data, here)
            value += piece
        else:
            value.append(data[here])
            here += 1
    null = quoting == "backslash" and data[at:here] == b"\\N"
    return b"" if null else bytes(value), here


def escaped(data: bytes, at: int) -> tuple[bytes, int]:
    """Return what a backslash and the character behind it stand for, and the offset behind them."""
    known = {b"0": b"\0", b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"Z": b"\x1a", b"": b"\\"}
    after = data[at + 1 : at + 3] if data[at + 1 : at + 3] == b"\r\n" else data[at + 1 : at + 2]
    return known.get(after, after), at + 1 + len(after)


def number(text: str, digits: int, places: int) -> Decimal | None:
    """Return a plain number of at most so many digits before the point, and nothing but zeros behind the places."""
    before, point, behind = text.removeprefix("-").partition(".")
    known = set(before + behind) <= set("0123456789") and (behind if point else before) != ""
    return Decimal(text) if known and len(before) <= digits and not behind[places:].strip("0") else None


def moment(text: str) -> datetime | None:
    found = re.fullmatch(f"{DAY}(?:[ T]{CLOCK}{ZONE}?)?", text, re.ASCII)
    if not found or int(found[1]) < 1000:
        return None
    try:
        when = datetime(*(int(part or 0) for part in found.groups()[:6]), int((found[7] or "0").ljust(6, "0")))
        if found[8] not in (None, "Z", "UTC"):
            zone = found[8] if len(found[8]) > 3 else f"{found[8]}00"
            when = when.replace(tzinfo=datetime.strptime(zone, "%z").tzinfo).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return when


def reasons_of(values: dict[str, str]) -> list[str]:
    """Return why a row with the right number of fields is rejected, in the order of the contract's table."""
    order_id, quantity, price, total, status, timestamp = (
        values[name].strip(" \t") for name in ("order_id", "quantity", "price", "total_amount", "status", "timestamp")
    )
    count, each, whole = number(quantity, 9, 0), number(price, 16, 2), number(total, 16, 2)
    known = None not in (count, each, whole)
    return [
        *(["missing_order_id"] if not order_id else []),
        *(["unreadable_quantity"] if count is None else ["quantity_below_one"] if count < 1 else []),
        *(["unreadable_price"] if each is None else ["negative_price"] if each < 0 else []),
        *(["unreadable_total"] if whole is None else []),
        *(["wrong_total"] if known and count * each != whole else []),
        *(["unknown_status"] if status not in STATUSES else []),
        *(["unreadable_timestamp"] if moment(timestamp) is None else []),
    ]


def expect(
    files: dict[str, bytes], delimiter: str = ",", quoting: str = "rfc4180", warn: Collection[str] = ()
) -> Expected:
    """Judge the rows of UTF-8 files, the first of each being its header, one after another; some rules may ``warn``."""
    expected, seen = Expected(), set[str]()
    for name, data in files.items():
        data = data.removeprefix(b"\xef\xbb\xbf")
        if re.match(rb'\s*\{\s*["}]', data):
            read_rows = objects_of(data)
        else:
            (first, columns), *rows = rows_of(data, delimiter, quoting)
            header = [column.decode().strip() for column in columns]
            expected.lines.update(
                in_files=data.count(b"\n") + (not data.endswith(b"\n")), headers=1, rows=len(rows),
                inside_quotes=first.count(b"\n") + sum(row.count(b"\n") for row, _ in rows),
            )  # fmt: skip
            for row_number, (row, _) in enumerate(rows, 1):
                if sum(line.count(delimiter.encode()) + 1 == len(header) for line in row.split(b"\n")) > 1:
                    expected.several.append((name, row_number, row.count(b"\n")))
            read_rows = [(row, *read(row, fields, header)) for row, fields in rows]
        for row_number, (row, reasons, values) in enumerate(read_rows, 1):
            expected.rows += 1
            expected.files[name] += 1
            total = number(values.get("total_amount", "").strip(" \t"), 16, 2)
            expected.sums[name] += int(total * 100) if total is not None else 0
            expected.unread[name] += total is None
            expected.ids.setdefault(name, set()).update({values.get("order_id", "").strip(" \t")} - {""})
            reasons = reasons or reasons_of(values)
            if BELOW_ZERO & {*warn} and total is not None and total < 0:
                at = next((at for at, each in enumerate(reasons) if each in AFTER), len(reasons))
                reasons.insert(at, "negative_total")
            warned, reasons = [each for each in reasons if each in warn], [each for each in reasons if each not in warn]
            if not reasons and values["order_id"].strip(" \t") in seen:
                reasons = ["duplicate_order_id"]
            if reasons:
                expected.rejected.append((name, row_number, reasons, row.decode(errors="backslashreplace")))
                continue
            if warned:
                expected.warned.append((name, row_number, warned, row.decode(errors="backslashreplace")))
            seen.add(values["order_id"].strip(" \t"))
            status = values["status"].strip(" \t")
            if status == "success":
                expected.orders += 1
                expected.cents += int(Decimal(values["total_amount"].strip(" \t")) * 100)
            else:
                expected.unpaid[status] += 1
    return expected


def read(row: bytes, fields: list[bytes], header: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return a row's fields by column, or why it has none."""
    try:
        row.decode()
    except UnicodeDecodeError:
        return ["not_utf8"], {}
    if len(fields) != len(header):
        return ["wrong_number_of_fields"], {}
    return [], {name: value.decode() for name, value in zip(header, fields, strict=True)}


class Number(str):
    """A number of JSON, as it is written."""


def objects_of(data: bytes) -> list[tuple[bytes, list[str], dict[str, str]]]:
    """Return each line of JSON Lines as it stands, why it has no values, and its values by key."""
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    return [(line.removesuffix(b"\r"), *object_of(line)) for line in lines]


def object_of(line: bytes) -> tuple[list[str], dict[str, str]]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs)

    def never(constant: str) -> None:
        raise AssertionError(constant)

    try:
        text = line.decode()
    except UnicodeDecodeError:
        return ["not_utf8"], {}
    try:
        found = json.loads(text, parse_float=Number, parse_int=Number, parse_constant=never, object_pairs_hook=once)
        assert isinstance(found, dict)
        assert levels(found) <= 100
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, AssertionError, RecursionError):
        return ["malformed_json"], {}
    values = {key: "" if value is None else value if isinstance(value, str) else as_json(value)
              for key, value in found.items()}  # fmt: skip
    return [], dict.fromkeys(COLUMNS, "") | values


def levels(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(levels, inner), default=0)


def as_json(value: Any) -> str:
    """Return JSON in which numbers stand as they were written."""
    if isinstance(value, Number):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {as_json(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_json, value)) + "]"
    return json.dumps(value)
