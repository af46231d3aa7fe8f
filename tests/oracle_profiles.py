"""The contract of profiles once more: their TOML, csv, decimal and datetime, a row at a time, slow and obvious.

It shares nothing with daskjobs.orders.profiles. Rows come in the order of the files; what an order is, is said by
[order]: the rows next to one another with one order_id are a run, and runs of the same id belong to one order.
"""

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import oracle

OF_ORDER = ("user_id", "region", "payment_mode", "status", "timestamp")
CENT = Decimal("0.01")
FURNITURE = "furniture"


@dataclass
class Row:
    """A row of a file: its values by the file's names, or why it has none."""

    source: str
    number: int
    raw: str
    values: dict[str, str]
    reasons: list[str] = field(default_factory=list)
    run: int = -1
    unnamed: bool = False
    id: str = ""
    paid: bool = False
    returned: bool = False
    unpaid: str = ""
    total: Decimal = Decimal(0)
    refund: Decimal = Decimal(0)
    key: tuple[str, ...] = ()
    known: bool = False
    refunds: Decimal | None = None
    warned: bool = False


@dataclass
class Books:
    """What a report must say."""

    rows: int = 0
    furniture: int = 0
    orders: int = 0
    gross: Decimal = Decimal(0)
    refunded: Decimal = Decimal(0)
    unpaid: Counter[str] = field(default_factory=Counter)
    rejected: list[tuple[str, int, list[str]]] = field(default_factory=list)
    currencies: Counter[str] = field(default_factory=Counter)
    warned: list[tuple[str, int]] = field(default_factory=list)

    @property
    def revenue(self) -> Decimal:
        return self.gross - self.refunded


def several(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def signed(name: str) -> tuple[int, str]:
    return (-1 if name[0] == "-" else 1), name.lstrip("+-") if name[0] in "+-" else name


class Reader:
    """A profile, as it is read from its TOML."""

    def __init__(self, toml: str) -> None:
        said = tomllib.loads(toml)
        self.file, self.columns, self.values = (said.get(key, {}) for key in ("file", "columns", "values"))
        self.order, self.furniture = said.get("order", {}), said.get("furniture", {})
        self.status = {text: ours for ours, texts in said.get("status", {}).items() for text in several(texts)}
        self.by_line = self.order.get("rows") == "line"
        total = self.order.get("total", "line")
        self.own_total = [] if total == "line" else [signed(each) for each in several(total)]
        fill = self.order.get("fill_down", [])
        self.fill = ["order_id", *OF_ORDER, "total", "refunds", "currency"] if fill is True else several(fill or [])
        self.refunds_once = "refunds" in self.order and bool(self.own_total or "refunds" in self.fill)
        self.subtract = self.order.get("returns") == "subtract"
        without = set(self.order.get("without_rules", []))
        if self.own_total or {"sum", "computed"} & set(self.spec("total_amount")):
            without.add("wrong_total")
        price, total = self.spec("price"), self.spec("total_amount")
        alike = price.get("empty", total.get("empty")) == total.get("empty", price.get("empty"))
        names = [several(each.get("column", [])) for each in (price, total)]
        if self.order.get("price") == "line" and alike and names[0] == names[1] != []:
            without.add("wrong_total")
        self.without = without

    def spec(self, ours: str) -> dict[str, Any]:
        said = self.columns.get(ours, ours)
        return said if isinstance(said, dict) else {"column": several(said)}

    def in_turn(self, rows: list[Row]) -> list[Row]:
        """Return rows with the one that counts among equals in front."""
        return rows[::-1] if self.order.get("repeats") == "last" else rows

    # The file

    def rows(self, name: str, data: bytes) -> tuple[list[Row], int]:
        """Return the rows of a file, and how many others are furniture."""
        encoding = self.file.get("encoding", "utf-8")
        for each in several(encoding):
            try:
                text = data.decode(each)
                break
            except UnicodeDecodeError:
                continue
        lines = text.removeprefix("\ufeff").split("\n")
        end = [lines.pop()] if lines[-1] == "" else []
        lines = lines[self.file.get("skip_lines", 0) : len(lines) - self.file.get("footer_lines", 0)]
        body = "\n".join(lines + end if lines else [])
        delimiter = self.file.get("delimiter", ",").replace("tab", "\t")
        read = oracle.rows_of(body.encode(), delimiter, self.file.get("quoting", "rfc4180"))
        header = self.file.get("header") or [each.decode() for each in read.pop(0)[1]]
        found, furniture = [], 0
        for number, (raw, fields) in enumerate(read, 1):
            texts = [each.decode() for each in fields]
            values = dict(zip(header, texts, strict=True)) if len(texts) == len(header) else {}
            if self.is_furniture(raw.decode(), values, self.is_header(texts, header)):
                furniture += 1
                if values and self.is_named(values) and self.an_id(self.text(values, "order_id")).strip():
                    found.append(Row(name, number, raw.decode(), {}, [FURNITURE]))  # rows below may be of its order
                continue
            nulls = [each.strip(" \t") for each in self.file.get("nulls", [])]
            values = {name: "" if text.strip(" \t") in nulls else text for name, text in values.items()}
            found.append(Row(name, number, raw.decode(), values, [] if values else ["wrong_number_of_fields"]))
        return found, furniture

    def is_header(self, texts: list[str], header: list[str]) -> bool:
        first, *others = texts
        if first.startswith("\ufeff"):
            first = first[1:]
            if first != header[0] and first.startswith('"') and first.endswith('"'):
                first = first[1:-1].replace('""', '"')
        return [each.strip() for each in (first, *others)] == [each.strip() for each in header]

    def is_furniture(self, raw: str, values: dict[str, str], header: bool) -> bool:
        if any(re.search(each, raw) for each in self.furniture.get("lines", [])):
            return True
        if header and self.furniture.get("header"):
            return True
        return bool(values) and self.is_named(values)

    def is_named(self, values: dict[str, str]) -> bool:
        return any(
            all(values[name].strip(" \t") in several(texts) for name, texts in each.items())
            for each in self.furniture.get("where", [])
        )

    # Values

    def amount(self, text: str, digits: int = 16, places: int = 2, signs: bool = True) -> Decimal | None:
        said = self.values
        text, negative = text.strip(" \t\u00a0\u202f"), False
        if said.get("parentheses") and text.startswith("(") and text.endswith(")"):
            negative, text = True, text[1:-1]
        elif said.get("trailing_minus") and text.endswith("-"):
            negative, text = True, text[:-1]
        minus = text.startswith("-")
        text = text.removeprefix("-")
        for sign in sorted(several(said.get("currency", [])) if signs else [], key=len, reverse=True):
            if text.startswith(sign):
                text = text.removeprefix(sign).lstrip(" \u00a0\u202f")
                break
            if text.endswith(sign):
                text = text.removesuffix(sign).rstrip(" \u00a0\u202f")
                if said.get("trailing_minus") and text.endswith("-") and not negative:
                    negative, text = True, text[:-1]
                break
        if text.startswith("-") and not minus:
            minus, text = True, text[1:]
        if minus and negative:
            return None
        point = said.get("decimal", ".")
        before, found, behind = text.partition(point)
        for sign in several(said.get("thousands", [])):
            if sign in before:
                groups = before.split(sign)
                first, *others = groups
                if not 1 <= len(first) <= 3 or first[0] == "0" or any(len(each) != 3 for each in others):
                    return None
                before = "".join(groups)
                break
        if not set(before + behind) <= set("0123456789") or not (behind if found else before):
            return None
        if len(before) > digits or behind[places:].strip("0"):
            return None
        value = Decimal(f"{before or 0}.{behind or 0}")
        return -value if negative or minus else value

    def moment(self, text: str) -> datetime | None:
        text = text.strip(" \t")
        for each in several(self.values.get("timestamp", "iso")):
            if each == "iso":
                when, plain = oracle.moment(text), not re.search(r"(Z|UTC|[+-]\d\d(:?\d\d)?)$", text[10:])
            elif each == "unix":
                if not re.fullmatch(r"\d+(\.\d+)?", text):
                    continue
                when, plain = datetime.fromtimestamp(0, UTC).replace(tzinfo=None) + timedelta(seconds=int(text)), False
            else:
                try:
                    when = datetime.strptime(text, each)
                except ValueError:
                    continue
                plain = when.tzinfo is None
                when = when if plain else when.astimezone(UTC).replace(tzinfo=None)
            if when is None:
                continue
            clock = len(text) > len("2025-04-02") if each == "iso" else any(part in each for part in ("%H", "%I"))
            return self.in_utc(when) if plain and clock and self.values.get("zone") else when.replace(tzinfo=None)
        return None

    def in_utc(self, when: datetime) -> datetime | None:
        zone = ZoneInfo(self.values["zone"])
        both = [when.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
        right = [each for each in both if each.astimezone(zone).replace(tzinfo=None) == when]
        if len(set(right)) == 2:
            twice = self.values.get("hour_twice")
            return min(right).replace(tzinfo=None) if twice == "first" else (
                max(right).replace(tzinfo=None) if twice == "second" else None)  # fmt: skip
        return right[0].replace(tzinfo=None) if right else None

    def an_id(self, text: str) -> str:
        how = self.values.get("ids", "exact")
        if how == "visible":
            text = unicodedata.normalize("NFC", "".join(each for each in text if unicodedata.category(each) != "Cf"))
        return text.strip(" \t") if how == "exact" else text.strip()

    def text(self, values: dict[str, str], ours: str) -> str:
        """Return the text of one of our columns, where it is not an amount of several."""
        said = self.spec(ours)
        if "constant" in said:
            return str(said["constant"])
        if said.get("absent") or "sum" in said or "computed" in said:
            return ""
        if "join" in said:
            return " ".join(each for each in (values[name].strip(" \t") for name in said["join"]) if each)
        text = next(values[name] for name in several(said["column"]) if name in values)
        return str(said["empty"]) if "empty" in said and not text.strip(" \t") else text

    def added(self, values: dict[str, str], names: list[tuple[int, str]]) -> Decimal | None:
        texts = [(sign, values[name]) for sign, name in names]
        if not any(text.strip(" \t") for _, text in texts):
            return None
        parts = [(sign, self.amount(text) if text.strip(" \t") else Decimal(0)) for sign, text in texts]
        if any(each is None for _, each in parts):
            return None
        return sum((sign * each for sign, each in parts if each is not None), Decimal(0))

    # A row

    def contradictory(self, quantity: Decimal | None, price: Decimal | None, total: Decimal | None) -> bool:
        """Tell whether a row is neither a sale nor a return: what is known of its signs is of both."""
        sign = {key: 0 if each is None else (each > 0) - (each < 0)
                for key, each in (("quantity", quantity), ("price", price), ("total", total))}  # fmt: skip
        back = -1 in (sign["quantity"], sign["price"])
        if back and sign["total"] > 0:
            return True
        if self.order.get("price") == "line":
            return sign["price"] > 0 > sign["total"]
        sale = sign["quantity"] == sign["price"] == 1
        return sign["quantity"] == sign["price"] == -1 or (sale and sign["total"] < 0)

    def judge(self, row: Row) -> None:
        values = row.values
        row.id = "" if row.unnamed else self.an_id(self.text(values, "order_id"))
        quantity = self.amount(self.text(values, "quantity"), 9, 0, signs=False)
        price = self.amount(self.text(values, "price"))
        said = self.spec("total_amount")
        if self.own_total:
            total = self.added(values, self.own_total)
        elif "sum" in said:
            total = self.added(values, [signed(each) for each in said["sum"]])
        elif said.get("computed"):
            total = None if quantity is None or price is None else quantity * price
        else:
            total = self.amount(self.text(values, "total_amount"))
        refund: Decimal | None = Decimal(0)
        if name := self.order.get("refunds"):
            refund = abs(self.amount(values[name]) or Decimal(0)) if values[name].strip(" \t") else Decimal(0)
            if values[name].strip(" \t") and self.amount(values[name]) is None:
                refund = None
        text = self.text(values, "status").strip(" \t")
        others = text if self.spec("status").get("constant") in oracle.STATUSES else self.status.get("*", text)
        status = self.status.get(text, others)
        back = [total] if self.by_line and self.own_total else [quantity, price, total]
        row.returned = self.subtract and any(each is not None and each < 0 for each in back)
        reasons = []
        if not row.id:
            reasons.append("missing_order_id")
        if quantity is None:
            reasons.append("unreadable_quantity")
        elif quantity < 1 and not (self.subtract and quantity < 0):
            reasons.append("quantity_below_one")
        if price is None:
            reasons.append("unreadable_price")
        elif price < 0 and not self.subtract:
            reasons.append("negative_price")
        if total is None:
            reasons.append("unreadable_total")
        if None not in (quantity, price, total) and "wrong_total" not in self.without:
            expected = price if self.order.get("price") == "line" else quantity * price  # type: ignore[operator]
            if abs(expected - total) > CENT * self.order.get("tolerance", 0):  # type: ignore[operator]
                reasons.append("wrong_total")
        if not self.subtract and (self.without or self.order.get("tolerance")) and total is not None and total < 0:
            reasons.append("negative_total")
        if self.subtract and not (self.by_line and self.own_total) and self.contradictory(quantity, price, total):
            reasons.append("contradictory_signs")
        if status not in oracle.STATUSES:
            reasons.append("unknown_status")
        if self.moment(self.text(values, "timestamp")) is None:
            reasons.append("unreadable_timestamp")
        if refund is None:
            reasons.append("unreadable_refund")
        currency = values[self.order["currency"]].strip().upper() if "currency" in self.order else ""
        if "currency" in self.order and not currency and status == "success":
            reasons.append("missing_currency")
        row.reasons = [each for each in reasons if each not in self.without]
        row.known, row.refunds = total is not None, refund
        row.total, row.refund = total or Decimal(0), refund or Decimal(0)
        row.paid, row.unpaid = status == "success", status
        chosen = self.order.get("report_currency", "")
        if row.paid and chosen and currency != chosen:
            row.paid, row.unpaid = False, f"success in {currency}"
        row.key = tuple(self.an_id(self.text(values, each) if each in oracle.COLUMNS else values[each])
                        for each in self.order.get("key", []))  # fmt: skip


def number_runs(reader: Reader, rows: list[Row], first: int) -> None:
    """Give each row that can be read the number of its run, and fill down what stands above it in its order."""
    header = next((row.values for row in rows if not row.reasons), {})
    columns = {each: [n for n in several(reader.spec(each).get("column", [])) if n in header]
               for each in reader.fill if each in oracle.COLUMNS}  # fmt: skip
    names = [name for each in columns.values() for name in each[:1]]
    if "total" in reader.fill:
        names += [name for _, name in reader.own_total]
    names += [reader.order[each] for each in ("refunds", "currency") if each in reader.fill and each in reader.order]
    last: dict[str, str] = {}
    current, run, lost = "", first, False
    for row in rows:
        if row.reasons:
            lost = True  # it may have begun another order, whose rows without an id stand below it
            continue
        mine = reader.an_id(reader.text(row.values, "order_id"))
        if "order_id" in reader.fill:
            mine = mine if mine.strip() else "" if lost else current
        lost = False
        if not mine or mine != current:
            current, last, run = mine, {}, run + 1
        row.run, row.unnamed = run, "order_id" in reader.fill and not mine
        for name in names:
            if row.values[name].strip():
                last[name] = row.values[name]
            elif name in last:
                row.values[name] = last[name]


def expect(files: dict[str, bytes], toml: str) -> Books:
    """Return what the report on these files must say."""
    reader, books, rows = Reader(toml), Books(), list[Row]()
    for name, data in files.items():
        found, furniture = reader.rows(name, data)
        books.rows += sum(row.reasons != [FURNITURE] for row in found) + furniture
        books.furniture += furniture
        readable = [row for row in found if not row.reasons]
        number_runs(reader, found, max((row.run for row in rows), default=-1))
        for row in readable:
            reader.judge(row)
        for at, row in enumerate(found):  # a malformed row is a line of the run in which it stands
            beside = [next((each for each in some if each.run >= 0), None) for some in (found[at::-1], found[at:])]
            if row.run < 0 and None not in beside and len({each.run for each in beside if each}) == 1 and beside[0]:
                row.id = beside[0].id
        rows += [row for row in found if row.reasons != [FURNITURE]]
    by_order(reader, rows) if reader.by_line else by_row(reader, rows)
    counted = set[str]()
    for row in rows:
        if row.warned:
            books.warned.append((row.source, row.number))
        if row.reasons:
            books.rejected.append((row.source, row.number, row.reasons))
        elif not row.paid:
            books.unpaid[row.unpaid] += 1
        else:
            add(reader, books, row, counted)
    return books


def by_row(reader: Reader, rows: list[Row]) -> None:
    seen, returns = set[str | tuple[str, ...]](), set[str]()
    for row in reader.in_turn(rows):
        if row.reasons:
            continue
        if row.returned and not reader.order.get("key"):
            again = str(sorted(row.values.items()))
            row.warned, returns = again in returns, returns | {again}
            continue
        key = row.key if reader.order.get("key") else row.id
        if key in seen:
            row.reasons = ["duplicate_order_id"]
        seen.add(key)


def by_order(reader: Reader, rows: list[Row]) -> None:
    if reader.own_total:
        differing(reader, rows, "differing_total", lambda row: row.total if row.known else None)
    if reader.refunds_once:
        differing(reader, rows, "differing_refund", lambda row: row.refunds)
    seen = set[str]()
    for row in reader.in_turn(rows) if reader.order.get("key") else []:
        if not row.reasons and row.key in seen:
            row.reasons = ["duplicate_line"]
        seen |= {row.key} if not row.reasons else set()
    if reader.order.get("rejects") == "order":
        bad = {row.id for row in rows if row.reasons and row.id and row.reasons != ["duplicate_line"]}
        for row in rows:
            if not row.reasons and row.id in bad:
                row.reasons = ["line_of_rejected_order"]
    if reader.own_total or reader.refunds_once:
        places(reader, rows)


def places(reader: Reader, rows: list[Row]) -> None:
    """Warn of the first valid row of each run that says something else of its order than the run that counts."""
    runs: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        if not row.reasons and not row.returned:
            runs.setdefault(row.id, {}).setdefault(row.run, []).append(row)
    for of_order in runs.values():
        said = [
            (
                each[0].total if reader.own_total else None,
                each[0].refund if reader.refunds_once else None,
                any(row.paid for row in each),
                each[0],
            )
            for each in of_order.values()
        ]
        counting = next((each for each in said if each[2]), said[0])
        for each in said:
            each[3].warned = each[:3] != counting[:3]


def differing(reader: Reader, rows: list[Row], reason: str, amount: Callable[[Row], Decimal | None]) -> None:
    """Reject the rows with another amount than the run's first one with any, of those that no later row replaces."""
    newest = reader.order.get("repeats") == "last" and bool(reader.order.get("key"))
    for run in {row.run for row in rows}:
        mine = [row for row in rows if row.run == run and amount(row) is not None]
        passing = [not row.reasons for row in mine]
        later = [[next_ for next_ in range(at + 1, len(mine)) if passing[next_] and mine[next_].key == row.key]
                 if newest else [] for at, row in enumerate(mine)]  # fmt: skip
        right = list[bool]()
        for row in mine:
            alike = [at for at, each in enumerate(mine) if each.returned == row.returned]
            right.append(amount(row) == amount(mine[next((at for at in alike if not later[at]), alike[0])]))
        for at, row in enumerate(mine):
            if not right[at] and not any(right[each] for each in later[at]):
                row.reasons = [*row.reasons, reason]


def add(reader: Reader, books: Books, row: Row, counted: set[str]) -> None:
    """Add a paid row: an order once, its own total and its refunds once."""
    key = f"return {row.run}" if row.returned else row.id
    first = key not in counted or not reader.by_line
    counted.add(key)
    if row.returned:
        if first or not reader.own_total:
            books.refunded += abs(row.total)
        return
    books.orders += first
    if first or not reader.own_total:
        books.gross += row.total
    if first or not reader.refunds_once:
        books.refunded += row.refund
