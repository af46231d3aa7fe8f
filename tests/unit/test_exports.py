"""The presets: each reads a sample that is written as its source writes, and gives the report worked out by hand.

`expected.toml` beside the samples has these reports. A second count of each sample, by csv and decimal alone, must come
to the same, so that a wrong sum by hand doesn't hide a wrong one here.
"""

import csv
import io
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import inline
from daskjobs.orders.profiles.reading import about, parse_profile, presets
from daskjobs.orders.schema import COLUMNS
from generated import answers
from manifests import ROOT

SAMPLES = ROOT / "examples/exports"
EXPECTED: dict[str, dict[str, Any]] = tomllib.loads((SAMPLES / "expected.toml").read_text())
PRESETS = presets()
NAMES = list(COLUMNS)

Row = dict[str, str]
Counted = tuple[int, Decimal, Decimal]  # orders, gross, refunds


def files_of(preset: str) -> list[Path]:
    folder = SAMPLES / preset
    if folder.is_dir():
        return sorted(path for path in folder.iterdir() if not path.name.startswith("_"))
    (file,) = SAMPLES.glob(f"{preset}.*")
    return [file]


@pytest.mark.parametrize("preset", PRESETS)
def test_sample_of_a_preset_gives_the_report_worked_out_by_hand(preset: str, tmp_path: Path) -> None:
    expected = EXPECTED[preset]
    folder = SAMPLES / preset
    pattern = f"{folder}/*" if folder.is_dir() else str(files_of(preset)[0])
    results = inline.run(tmp_path / "run", pattern, profile=preset, currency=expected.get("currency", ""))
    quality, report = (json.loads(results[f"report/{name}.json"]) for name in ("quality", "analytics_report"))
    assert (report["orders"], f"{report['revenue']:.2f}") == (expected["orders"], expected["revenue"])
    rows = quality["rows"]
    assert (rows["unpaid"], rows.get("furniture", 0)) == (expected["unpaid"], expected.get("furniture", 0))
    assert rows["rejected"] == sum(expected["rejected"].values())
    assert rows["in"] == rows["valid"] + rows["rejected"] + rows.get("furniture", 0)
    assert expected["rejected"].items() <= {each["reason"]: each["rows"] for each in quality["reasons"]}.items()
    told = {key: quality[key] for key in ("gross", "refunds", "net") if key in quality}
    amounts = {key: expected[key] for key in ("gross", "refunds") if key in expected}
    assert told == (amounts and amounts | {"net": expected["revenue"]})


@pytest.mark.parametrize("preset", PRESETS)
def test_sample_of_a_preset_comes_to_the_same_when_csv_and_decimal_count_it(preset: str) -> None:
    orders, gross, refunds = COUNTS[preset](list(read(preset)))
    expected = EXPECTED[preset]
    assert orders == expected["orders"]
    assert gross - refunds == Decimal(expected["revenue"])
    assert (gross, refunds) == (
        Decimal(expected.get("gross", expected["revenue"])),
        Decimal(expected.get("refunds", 0)),
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_begins_with_what_it_is_of_and_with_three_answers(preset: str) -> None:
    text = PRESETS[preset]
    assert text.splitlines()[0] == f"# {about(text)}"
    said = answers(text)
    assert list(said)[:4] == ["Columns", "Total", "Refunds", "Tax, shipping, tips"]
    assert re.search("documented|Documented|seen in|unverified", said["Columns"])
    parse_profile(text, preset)


def test_there_is_a_sample_and_a_report_of_each_preset() -> None:
    assert list(EXPECTED) == sorted(EXPECTED, key=list(EXPECTED).index)
    assert set(EXPECTED) == set(PRESETS) == set(COUNTS)
    known = {path for preset in PRESETS for path in files_of(preset)}
    others = {path.name for path in SAMPLES.rglob("*") if path.is_file() and path not in known}
    assert others == {"expected.toml", "own.csv", "_SUCCESS"}


# The second count: what each source's rows come to, read by the csv module.

DIALECTS: dict[str, dict[str, Any]] = {
    "amazon-orders": {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "encoding": "cp1252"},
    "amazon-settlement": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
    "excel-de": {"delimiter": ";", "encoding": "cp1252"},
    "excel-fr": {"delimiter": ";"},
    "prestashop": {"delimiter": ";"},
    "mssql": {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "names": NAMES},
    "redshift": {"delimiter": "|", "quoting": csv.QUOTE_NONE, "names": NAMES},
    "mysql": {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "escapechar": "\\", "names": NAMES},
    "postgres-copy": {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "escapechar": "\\", "names": NAMES},
    "snowflake": {"quoting": csv.QUOTE_NONE, "escapechar": "\\", "names": NAMES},
    "spark": {"doublequote": False, "escapechar": "\\", "names": NAMES},
}


def read(preset: str) -> Iterator[Row]:
    """The rows of a sample that have as many fields as its header; a repeated header is none."""
    form = dict(DIALECTS.get(preset, {}))
    encoding, names = form.pop("encoding", "utf-8-sig"), form.pop("names", [])
    for path in files_of(preset):
        text = path.read_bytes().decode(encoding).replace("\0", "").lstrip("\n")
        header, *rows = csv.reader(io.StringIO(text, newline=""), **form)
        if names:
            header, rows = names, [header, *rows]
        yield from (dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header) and row != header)


def money(text: str, decimal: str = ".", marks: str = ",$€") -> Decimal:
    bare = "".join(char for char in text if char not in marks and not char.isspace())
    return Decimal(bare.replace(decimal, ".") or 0)


def once(order: str, total: str, paid: Callable[[Row], bool], refunds: str = "") -> Callable[[list[Row]], Counted]:
    """Count each order's own total once: it stands in one of its rows, or is the same in all."""

    def count(rows: list[Row]) -> Counted:
        found = {row[order]: (money(row[total]), money(row[refunds]) if refunds else 0) for row in rows if paid(row)}
        return (
            len(found),
            sum((each for each, _ in found.values()), Decimal()),
            Decimal(sum(b for _, b in found.values())),
        )

    return count


def signed(
    order: str, amount: str, paid: Callable[[Row], bool], decimal: str = ".", marks: str = ",$€"
) -> Callable[[list[Row]], Counted]:
    """Count rows of which negative ones give back; a sale that stands twice counts once."""

    def count(rows: list[Row]) -> Counted:
        amounts = [(row[order], money(row[amount], decimal, marks)) for row in rows if paid(row)]
        sales = {key: each for key, each in amounts if each >= 0}
        return len(sales), sum(sales.values(), Decimal()), -sum((each for _, each in amounts if each < 0), Decimal())

    return count


def lines(order: str, amount: Callable[[Row], Decimal], paid: Callable[[Row], bool]) -> Callable[[list[Row]], Counted]:
    """Count the sum of all lines."""

    def count(rows: list[Row]) -> Counted:
        counted = [row for row in rows if paid(row)]
        amounts = list(map(amount, counted))
        back = -sum((each for each in amounts if each < 0), Decimal())
        sold = [(row[order], each) for row, each in zip(counted, amounts, strict=True) if each >= 0]
        return len({key for key, _ in sold}), sum((each for _, each in sold), Decimal()), back

    return count


def in_words(column: str, *words: str) -> Callable[[Row], bool]:
    return lambda row: row[column] in words


def ours(decimal: str = ".", marks: str = ",$€", names: Callable[[str], str] = str) -> Callable[[list[Row]], Counted]:
    """Count rows of the ten columns."""

    def paid(row: Row) -> bool:
        return row[names("status")].strip() == "success" and row[names("quantity")].isdigit()

    def amount(row: Row) -> Decimal:
        total = money(row[names("total_amount")], decimal, marks)
        assert total == int(row[names("quantity")]) * money(row[names("price")], decimal, marks)
        return total

    return lines(names("order_id"), amount, paid)


def amazon_total(row: Row) -> Decimal:
    added = sum(money(row[name]) for name in ("item-price", "shipping-price", "gift-wrap-price"))
    return Decimal(added - money(row["item-promotion-discount"]) - money(row["ship-promotion-discount"]))


def of_settlement(row: Row) -> bool:
    kinds = ("Order", "Refund", "Chargeback Refund", "A-to-z Guarantee Refund")
    amounts = row["amount-type"] in ("ItemPrice", "Promotion") and "Tax" not in row["amount-description"]
    return row["transaction-type"] in kinds and amounts


def of_etsy(rows: list[Row]) -> Counted:
    by_transaction = {row["Transaction ID"]: row for row in rows if row["Date Paid"]}.values()
    right = (row for row in by_transaction if int(row["Quantity"]) * money(row["Price"]) == money(row["Item Total"]))
    return lines("Order ID", lambda row: money(row["Item Total"]), lambda _: True)(list(right))


def of_odoo(rows: list[Row]) -> Counted:
    """Orders, each in the first of its rows, whatever its lines are: halves, discounts or headings."""
    kept = [row for row in rows if row["Order Reference"]]
    return once("Order Reference", "Total", in_words("Status", "Sales Order", "Locked", "sale", "done"))(kept)


def of_paypal(
    kind: str, impact: str, credit: str, currency: tuple[str, str], payments: str, back: str
) -> Callable[[Row], bool]:
    """Tell which movements are sales, and which are refunds of one's own."""

    def paid(row: Row) -> bool:
        if row[currency[0]] != currency[1] or row["Status"] not in ("Completed", "Partially Refunded", "Abgeschlossen"):
            return False
        return bool(re.fullmatch(payments if row[impact] == credit else back, row[kind]))

    return paid


COUNTS: dict[str, Callable[[list[Row]], Counted]] = {
    "shopify": once("Name", "Total", in_words("Financial Status", "paid", "partially_refunded"), "Refunded Amount"),
    "woocommerce": signed(
        "Order #",
        "Net Sales",
        lambda row: row["Status"] in ("processing", "completed", "refunded") and row["Order #"] != "121",  # 8.333
    ),
    "woocommerce-order-export": once(
        "Order Number", "Order Total Amount", in_words("Order Status", "Processing", "Completed"), "Order Refund Amount"
    ),
    "magento": once(
        "ID",
        "Grand Total (Base)",
        lambda row: row["Status"].lower() in ("processing", "complete") and "Feb 30" not in row["Purchase Date"],
        "Total Refunded",
    ),
    "amazon-orders": lines(
        "amazon-order-id",
        amazon_total,
        lambda row: (
            row["sales-channel"] != "Non-Amazon"
            and row["order-status"] not in ("Pending", "Cancelled", "Shipped - Lost in Transit")
            and row["item-status"] in ("Shipped", "Unshipped")
        ),
    ),
    "amazon-settlement": lines("order-id", lambda row: money(row["amount"]), of_settlement),
    "ebay": once(
        "Order Number",
        "Total Price",
        lambda row: bool(row["Order Number"] and row["Total Price"] and row["Paid On Date"]),
    ),
    "etsy": of_etsy,
    "stripe": once(
        "id",
        "Amount",
        lambda row: (
            row["Captured"] == "true"
            and row["Status"] in ("Paid", "Refunded")
            and row["Mode"] == "Live"
            and row["Currency"] == "usd"
        ),
        "Amount Refunded",
    ),
    "paypal": signed(
        "Transaction ID",
        "Gross",
        of_paypal("Type", "Balance Impact", "Credit", ("Currency", "USD"), r"(?!Donation).* Payment", "Payment Re.*"),
    ),
    "paypal-de": signed(
        "Transaktionscode",
        "Brutto",
        of_paypal(
            "Typ",
            "Auswirkung auf Guthaben",
            "Haben",
            ("Währung", "EUR"),
            r"(?!Spende|Rück|Überw).*[zZ]ahlung.*",
            "Rückzahlung",
        ),
        ",",
        ".",
    ),
    "square": signed("Transaction ID", "Total Collected", in_words("Event Type", "Payment", "Refund")),
    "prestashop": once(
        "ID",
        "Total",
        in_words(
            "Status",
            *("Payment accepted", "Processing in progress", "Shipped", "Delivered"),
            *("On backorder (paid)", "Remote payment accepted"),
        ),
    ),
    "odoo": of_odoo,
    "excel-de": ours(",", ".€"),
    "excel-fr": ours(",", "€"),
    "google-sheets-us": ours(),
    "oracle": ours(names=str.upper),
    **dict.fromkeys(("mssql", "bigquery", "snowflake", "redshift", "mysql", "postgres-copy", "spark"), ours()),
}
