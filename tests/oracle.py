"""The data contract of docs/orders.md once more: a row at a time, with csv, decimal and datetime, slow and obvious."""

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

COLUMNS = ["order_id", "user_id", "region", "product", "quantity", "price", "total_amount", "payment_mode", "status",
           "timestamp"]  # fmt: skip
STATUSES = {"success", "failed", "pending", "cancelled", "refunded"}
DAY = r"(\d{4})-(\d\d)-(\d\d)"
CLOCK = r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?"
ZONE = r" ?(Z|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)"


@dataclass
class Expected:
    rows: int = 0
    orders: int = 0
    cents: int = 0
    unpaid: Counter[str] = field(default_factory=Counter)
    rejected: list[tuple[str, int, list[str], str]] = field(default_factory=list)  # source, row, reasons, raw text


def rows_of(data: bytes, delimiter: str) -> list[tuple[bytes, bool]]:
    """Return each row without what ends it, and whether it ends inside of quotes."""
    found, row, state = [], bytearray(), "start"
    for byte in data:
        char = chr(byte)
        if char == "\n" and state != "quoted":
            found.append((bytes(row).removesuffix(b"\r"), False))
            row, state = bytearray(), "start"
            continue
        row.append(byte)
        if state == "quoted":
            state = "closing" if char == '"' else "quoted"
        elif char == '"' and state in ("start", "closing"):
            state = "quoted"
        else:
            state = "start" if char == delimiter else "plain"
    if row:
        found.append((bytes(row).removesuffix(b"\n").removesuffix(b"\r"), state == "quoted"))
    return found


def amount(text: str) -> Decimal | None:
    return Decimal(text) if re.fullmatch(r"-?[0-9]{1,16}(\.[0-9]{1,2}0*)?", text) else None


def moment(text: str) -> datetime | None:
    found = re.fullmatch(f"{DAY}(?:[ T]{CLOCK}{ZONE}?)?", text, re.ASCII)
    if not found or int(found[1]) < 1000:
        return None
    try:
        when = datetime(*(int(part or 0) for part in found.groups()[:6]), int((found[7] or "0").ljust(6, "0")))
        if found[8] and found[8] != "Z":
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
    count = int(quantity.partition(".")[0]) if re.fullmatch(r"-?[0-9]{1,9}(\.0+)?", quantity) else None
    each, whole = amount(price), amount(total)
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


def expect(files: dict[str, bytes], delimiter: str = ",") -> Expected:
    """Judge the rows of UTF-8 files, the first of each being its header, one after another."""
    csv.field_size_limit(1 << 27)
    expected, seen = Expected(), set[str]()
    for name, data in files.items():
        (first, _), *rows = rows_of(data.removeprefix(b"\xef\xbb\xbf"), delimiter)
        header = [column.strip() for column in next(csv.reader([first.decode()], delimiter=delimiter))]
        for number, (row, unclosed) in enumerate(rows, 1):
            expected.rows += 1
            reasons, values = read(row, header, delimiter)
            if unclosed:
                reasons = ["unclosed_quote"]
            reasons = reasons or reasons_of(values)
            if not reasons and values["order_id"].strip(" \t") in seen:
                reasons = ["duplicate_order_id"]
            if reasons:
                expected.rejected.append((name, number, reasons, row.decode(errors="backslashreplace")))
                continue
            seen.add(values["order_id"].strip(" \t"))
            status = values["status"].strip(" \t")
            if status == "success":
                expected.orders += 1
                expected.cents += int(Decimal(values["total_amount"].strip(" \t")) * 100)
            else:
                expected.unpaid[status] += 1
    return expected


def read(row: bytes, header: list[str], delimiter: str) -> tuple[list[str], dict[str, str]]:
    """Return a row's fields by column, or why it has none."""
    try:
        fields = next(csv.reader([row.decode()], delimiter=delimiter), [])
    except UnicodeDecodeError:
        return ["not_utf8"], {}
    except csv.Error:
        fields = []
    return (
        (["wrong_number_of_fields"], {}) if len(fields) != len(header) else ([], dict(zip(header, fields, strict=True)))
    )
