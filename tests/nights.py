"""Thirty nights of orders with planted events, and what their books must come to, by csv and decimal alone."""

import csv
import io
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

FIRST, COUNT, ROWS = date(2026, 11, 1), 30, 1000
HEADER = ["order_id", "user_id", "region", "product", "quantity", "price", "total_amount", "payment_mode", "status",
          "timestamp"]  # fmt: skip
PRODUCTS = {"lamp": "19.90", "desk": "149.00", "chair": "89.50", "laptop": "799.99", "phone": "499.00"}
REGIONS = ("north", "south", "east", "west")
STATUSES = ("success",) * 17 + ("failed", "pending", "cancelled")

# What happens on which night; from that night on, where it changes how files are written.
VANISHED, TENFOLD, RENAMED, MISSING, AGAIN, DOUBLED, CORRECTED, CUT = 5, 8, 11, 15, 18, 20, 22, 25
DELIVERED_AGAIN, CORRECTIONS, LOST_ROWS = 400, 60, 120

Row = dict[str, str]


@dataclass(frozen=True)
class Delivery:
    """One file: the number of its night, the name of its run, its bytes, and what the sender says of it."""

    night: int
    run: str
    data: bytes
    control: bytes
    complete: bool = True

    @property
    def day(self) -> str:
        return (FIRST + timedelta(self.night - 1)).isoformat()


def deliveries() -> list[Delivery]:
    """All files in the order of their nights; the one that is cut short comes again, whole, on the same night."""
    rows = {night: _rows(night) for night in range(1, COUNT + 1) if night != MISSING}
    rows[AGAIN] = rows[AGAIN] + rows[AGAIN - 1][:DELIVERED_AGAIN]
    rows[CORRECTED] = rows[CORRECTED] + _corrections(rows[CORRECTED - 1])
    found = list[Delivery]()
    for night, some in rows.items():
        control = _control(some)
        if night == CUT:
            found.append(Delivery(night, f"n{night:02}-cut", _csv(night, some[:-LOST_ROWS]), control, complete=False))
        found.append(Delivery(night, f"n{night:02}", _csv(night, some), control))
    whole = found[-1]  # the last file comes again as it was
    return [*found, Delivery(whole.night, f"{whole.run}-again", whole.data, whole.control)]


def _rows(night: int) -> list[Row]:
    draw = random.Random(night)
    midnight = datetime.combine(FIRST + timedelta(night - 1), datetime.min.time())
    bad = 0.12 if night >= DOUBLED else 0.04
    rows = []
    for number in range(ROWS):
        product = draw.choice([*PRODUCTS])
        price = Decimal(PRODUCTS[product]) * (10 if night >= TENFOLD else 1)
        quantity = draw.choice([1, 1, 1, 2, 3])
        fault = draw.choice(["price", "total", "status"]) if draw.random() < bad else ""
        total = price * quantity + (Decimal("0.01") if fault == "total" else 0)
        values = (
            f"{night:02}{number:06}",
            f"U{draw.randrange(300)}",
            draw.choice(REGIONS[:3] if night >= VANISHED else REGIONS),
            product,
            str(quantity),
            f"{-price if fault == 'price' else price:.2f}",
            f"{-total if fault == 'price' else total:.2f}",
            draw.choice(["card", "card", "cash", "paypal"]),
            "lost" if fault == "status" else draw.choice(STATUSES),
            (midnight + timedelta(seconds=number * 86)).isoformat(sep=" "),
        )
        rows.append(dict(zip(HEADER, values, strict=True)))
    return rows


def _corrections(before: Iterable[Row]) -> list[Row]:
    """Orders of the night before with other quantities, and a later time."""
    good = [row for row in before if is_valid(row) and row["status"] == "success"][:CORRECTIONS]
    day = (FIRST + timedelta(CORRECTED - 1)).isoformat()
    corrected = []
    for row in good:
        quantity = int(row["quantity"]) + 1
        total = Decimal(row["price"]) * quantity
        corrected.append({**row, "quantity": str(quantity), "total_amount": str(total), "timestamp": f"{day} 23:59:00"})
    return corrected


def _csv(night: int, rows: list[Row]) -> bytes:
    extra = "voucher" if night >= RENAMED else "coupon"
    text = io.StringIO()
    writer = csv.DictWriter(text, [*HEADER, extra], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, extra: f"C{index % 5}"} for index, row in enumerate(rows))
    return text.getvalue().encode()


def _control(rows: list[Row]) -> bytes:
    total = sum(Decimal(row["total_amount"]) for row in rows)
    return json.dumps({"rows": len(rows), "total_amount": str(total)}).encode()


def is_valid(row: Row) -> bool:
    price, total = Decimal(row["price"]), Decimal(row["total_amount"])
    return price >= 0 and total == price * int(row["quantity"]) and row["status"] != "lost"


def books(files: Iterable[Delivery]) -> tuple[int, Decimal]:
    """Return the paid orders and the revenue of all files: of each order, the valid row with the latest time counts."""
    newest = dict[str, Row]()
    for file in files:
        for row in csv.DictReader(io.StringIO(file.data.decode())):
            known = newest.get(row["order_id"])
            if is_valid(row) and (known is None or row["timestamp"] > known["timestamp"]):
                newest[row["order_id"]] = row
    paid = [Decimal(row["total_amount"]) for row in newest.values() if row["status"] == "success"]
    return len(paid), sum(paid, Decimal())


def of_the_page() -> dict[str, bytes]:
    """The three files of docs/nights.md, by their paths, and a control file.

    Order 1003 is wrong on the first night, and mended on the second one, on which a customer takes a lamp less, too. On
    the third night, nobody in the west has ordered, and a column has another name.
    """
    wrong = dict(zip(HEADER, ["1003", "17", "north", "lamp", "3", "10.50", "21.00", "card", "success",
                              "2026-11-01 13:15:00"], strict=True))  # fmt: skip
    more = {**wrong, "order_id": "1004", "quantity": "2"}
    less = {**more, "quantity": "1", "total_amount": "10.50", "timestamp": "2026-11-02 09:00:00"}
    nights = [
        [wrong, more, *_rows(1)],
        [{**wrong, "total_amount": "31.50"}, less, *_rows(2)],
        [row for row in _rows(3) if row["region"] != "west"],
    ]
    files = {
        f"in/2026-11-{number:02}/orders.csv": _csv(RENAMED if number == 3 else 1, rows)
        for number, rows in enumerate(nights, 1)
    }
    return {**files, "in/2026-11-01/orders.csv.control.json": _control(nights[0])}
