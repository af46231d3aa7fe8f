"""The job with Python's csv module: python with_csv.py ORDERS.csv FOLDER"""

import csv
import json
import re
import sys
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

COLUMNS = ["order_id", "user_id", "region", "product", "quantity", "price", "total_amount", "payment_mode", "status",
           "timestamp"]  # fmt: skip
STATUSES = {"success", "failed", "pending", "cancelled", "refunded"}


def money(text: str) -> Decimal | None:
    return Decimal(text) if re.fullmatch(r"-?[0-9]{1,16}(\.[0-9]{1,2})?", text) else None


def moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return None


def reasons(order: dict[str, str]) -> list[str]:
    quantity = int(order["quantity"]) if re.fullmatch(r"-?[0-9]{1,9}", order["quantity"]) else None
    price, total = money(order["price"]), money(order["total_amount"])
    rules = {
        "missing_order_id": not order["order_id"].strip(),
        "unreadable_quantity": quantity is None,
        "quantity_below_one": quantity is not None and quantity < 1,
        "unreadable_price": price is None,
        "negative_price": price is not None and price < 0,
        "unreadable_total": total is None,
        "wrong_total": quantity is not None and price is not None and total is not None and quantity * price != total,
        "unknown_status": order["status"] not in STATUSES,
        "unreadable_timestamp": moment(order["timestamp"]) is None,
    }
    return [name for name, broken in rules.items() if broken]


def job(orders: Iterable[dict[str, str]], folder: str) -> dict[str, int]:
    seen, paid, cents, rejected = set[str](), 0, 0, 0
    with open(f"{folder}/clean.csv", "w", newline="") as clean, open(f"{folder}/rejected.csv", "w", newline="") as bad:
        good_rows, bad_rows = csv.writer(clean), csv.writer(bad)
        good_rows.writerow(COLUMNS)
        bad_rows.writerow(["row", *COLUMNS, "reasons"])
        for number, read in enumerate(orders, 1):
            order = {name: read[name] or "" for name in COLUMNS}
            why = reasons(order)
            if not why and order["order_id"] in seen:
                why = ["duplicate_order_id"]
            if why:
                rejected += 1
                bad_rows.writerow([number, *order.values(), ";".join(why)])
                continue
            seen.add(order["order_id"])
            if order["status"] == "success":
                paid += 1
                cents += int(Decimal(order["total_amount"]) * 100)
                good_rows.writerow(order.values())
    return {"orders": paid, "cents": cents, "rejected": rejected}


def main(source: str, folder: str) -> None:
    with open(source, newline="", encoding="utf-8") as file:
        print(json.dumps(job(csv.DictReader(file), folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
