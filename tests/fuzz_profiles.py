"""A fuzz run over profiles: python tests/fuzz_profiles.py --minutes 10 --seed 1

Draws a profile, writes files of orders by it, some values spoilt, and runs the stages twice, with other partitions and
blocks. Each run must end with what tests/oracle_profiles.py says. What differs is kept in --keep: the exit code is 1.
"""

import argparse
import json
import logging
import random
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import oracle_profiles

import inline
import oracle
from daskjobs.errors import InputError

FORMATS = ("%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S %z", "%b %d, %Y %I:%M %p", "%d/%m/%y")
NOISE = ("", " ", "x", "-1", "0", "1,5", "1.5", "(2)", "3-", "1.234", "NULL", "\\N", "NULL  ", " \\N\t",
         "€ 1", "2025-02-30", "99999999999", "É", "31.02.2025 10:00", "---", "\u00a0", "\u3000", "\v")  # fmt: skip
TEXTS = ("kettle", "mug, red", 'a "b"', "théière", "two\nlines", "")


@dataclass
class Drawn:
    """A profile, and what is needed to write files by it."""

    toml: str = ""
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    header: list[str] = field(default_factory=list)


def as_toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {as_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def draw(chance: random.Random) -> Drawn:
    """Draw a profile that makes sense."""
    maybe = lambda share: chance.random() < share  # noqa: E731
    drawn = Drawn()
    file: dict[str, Any] = {"delimiter": chance.choice([",", ";", "tab", "|"])}
    values: dict[str, Any] = {}
    order: dict[str, Any] = {}
    columns: dict[str, Any] = {}
    status: dict[str, Any] = {}
    furniture: dict[str, Any] = {}
    if maybe(0.3):
        file["encoding"] = chance.choice(["cp1252", ["utf-8", "cp1252"]])
    if maybe(0.2):
        file["quoting"] = "none"
    if maybe(0.2):
        file["skip_lines"] = chance.randint(1, 3)
    if maybe(0.2):
        file["footer_lines"] = chance.randint(1, 2)
    if maybe(0.3):
        file["nulls"] = ["\\N", "NULL"]
    if maybe(0.4):
        values["decimal"] = ","
    if maybe(0.4):
        values["thousands"] = chance.choice(["'", " ", "." if values.get("decimal") else ","])
    if maybe(0.3):
        values["currency"] = chance.choice(["€", ["$", "US$"], ["EUR", "€"]])
    for key in ("parentheses", "trailing_minus"):
        if maybe(0.2):
            values[key] = True
    if maybe(0.6):
        values["timestamp"] = chance.choice([chance.choice(FORMATS), [FORMATS[0], "iso"]])
        if maybe(0.4):
            values["zone"] = chance.choice(["Europe/Berlin", "America/New_York"])
            if maybe(0.5):
                values["hour_twice"] = chance.choice(["first", "second"])
    if maybe(0.2):
        values["ids"] = chance.choice(["trimmed", "visible"])
    for ours in oracle.COLUMNS:
        drawn.names[ours] = f"Their {ours}" if maybe(0.3) else ours
        if drawn.names[ours] != ours:
            columns[ours] = chance.choice([drawn.names[ours], ["none such", drawn.names[ours]]])
    for ours in ("region", "payment_mode", "user_id", "product"):
        if maybe(0.15):
            columns[ours] = chance.choice([{"constant": "EU"}, {"absent": True}])
    if maybe(0.1):
        columns["quantity"] = {"column": drawn.names["quantity"], "empty": "1"}
    if maybe(0.5):
        status = {"success": ["paid", "Completed, shipped", *([""] if maybe(0.2) else [])], "failed": ["no"]}
        if maybe(0.3):
            status["pending"] = ["*"]
    if maybe(0.08):
        columns["status"] = {"constant": chance.choice(["success", *status.get("success", ["pending"])])}
    extra = ["note"]
    if maybe(0.4):
        order["rows"] = "line"
        if maybe(0.6):
            order["fill_down"] = True
        if maybe(0.3):
            order["rejects"] = "order"
        if maybe(0.3):
            order["key"] = ["order_id", "line"]
            extra.append("line")
    if maybe(0.25):
        extra += ["Subtotal", "Shipping", "Discount"]
        if maybe(0.5) or order.get("rows") != "line":
            columns.pop("total_amount", None)
            drawn.names["total_amount"] = "total_amount"
            order["total"] = ["Subtotal", "+Shipping", "-Discount"]
        else:
            columns["total_amount"] = {"sum": ["Subtotal", "Shipping", "-Discount"]}
    elif maybe(0.15):
        columns["total_amount"] = {"computed": True}
    if maybe(0.2) and (order.get("rows") != "line" or "key" in order):
        order["repeats"] = chance.choice(["first", "last"])
    if maybe(0.3):
        order["returns"] = "subtract"
    if maybe(0.2):
        order["refunds"] = "Refunded"
        extra.append("Refunded")
    if maybe(0.25):
        order["currency"] = "Currency"
        order["report_currency"] = "EUR"
        extra.append("Currency")
    if maybe(0.2):
        order["without_rules"] = [chance.choice(["wrong_total", "negative_price"])]
    if maybe(0.2):
        order["tolerance"] = chance.choice([1, 5])
    if maybe(0.3):
        furniture["lines"] = ["^---", "^Sum:"]
    if maybe(0.2):
        furniture["where"] = [{"note": ["sum"]}]
    if maybe(0.2):
        furniture["header"] = True
    drawn.header = [drawn.names[each] for each in chance.sample(oracle.COLUMNS, len(oracle.COLUMNS))]
    if maybe(0.15):
        extra += ["Tax ", "Tax "]
    drawn.header += extra
    chance.shuffle(drawn.header)
    if maybe(0.15) and not file.get("skip_lines") and "Tax " not in extra:
        file["header"] = drawn.header
    drawn.said = {"file": file, "columns": columns, "values": values, "status": status, "order": order,
                  "furniture": furniture}  # fmt: skip
    drawn.toml = "\n".join(
        line for title, table in drawn.said.items() if table
        for line in (f"[{title}]", *(f"{key} = {as_toml(value)}" for key, value in table.items()))
    )  # fmt: skip
    return drawn


def number(value: Decimal, values: dict[str, Any], chance: random.Random) -> str:
    """Write a number in one of the forms of a profile."""
    text = f"{abs(value):f}"
    before, _, behind = text.partition(".")
    thousands = values.get("thousands")
    if thousands and chance.random() < 0.5:
        before = f"{int(before):,}".replace(",", thousands)
    text = before + (values.get("decimal", ".") + behind if behind else "")
    negative = value < 0
    if (sign := values.get("currency")) and chance.random() < 0.5:
        sign = chance.choice(oracle_profiles.several(sign))
        text = chance.choice([f"{sign}{text}", f"{sign} {text}", f"{text} {sign}"])
    if not negative:
        return text
    forms = [f"-{text}"]
    forms += [f"({text})"] if values.get("parentheses") else []
    forms += [f"{text}-"] if values.get("trailing_minus") else []
    return chance.choice(forms)


def when(values: dict[str, Any], chance: random.Random) -> str:
    moment = datetime(2025, 3, 29, 22) + timedelta(minutes=chance.randrange(0, 600_000, 30))
    form = chance.choice(oracle_profiles.several(values.get("timestamp", "iso")))
    return moment.isoformat(" ") if form == "iso" else moment.strftime(form.replace("%z", "+0200"))


def write(drawn: Drawn, chance: random.Random, first: int) -> bytes:
    """Write a file by a profile."""
    file, values, status, order = (drawn.said[key] for key in ("file", "values", "status", "order"))
    rows, by_line = list[dict[str, str]](), order.get("rows") == "line"
    for at in range(chance.randint(0, 12)):
        an_order = f"A{chance.randint(0, first + at) if chance.random() < 0.15 else first + at}"
        currency = chance.choice(["EUR", "eur", "EUR", "JPY"])
        paid = chance.choice([*status.get("success", ["success"]), *status.get("failed", ["failed"]), "odd"])
        moment, back = when(values, chance), chance.random() < 0.2
        shipping = [Decimal(chance.randint(0, 99999)) / 100 for _ in range(3)]
        amounts = dict(zip(("Subtotal", "Shipping", "Discount"), shipping, strict=True))
        amounts["Refunded"] = Decimal(chance.choice([0, 0, 500])) / 100
        written = {name: number(each, values, chance) for name, each in amounts.items()}
        begin = len(rows)
        for line in range(chance.randint(1, 4) if by_line else 1):
            quantity = chance.randint(1, 1500) * (-1 if back and chance.random() < 0.5 else 1)
            price = Decimal(chance.randint(0, 250_000)) / 100
            plain = {
                "order_id": an_order, "user_id": "U1", "region": chance.choice(TEXTS), "product": chance.choice(TEXTS),
                "quantity": number(Decimal(quantity), values | {"currency": None}, chance),
                "price": number(price, values, chance),
                "total_amount": number(quantity * price, values, chance), "payment_mode": "card", "status": paid,
                "timestamp": moment,
            }  # fmt: skip
            texts = {drawn.names[ours]: text for ours, text in plain.items()}
            if order.get("fill_down") and line:
                for ours in ("region", "status", "user_id", "payment_mode", "timestamp"):
                    texts[drawn.names[ours]] = ""
                if chance.random() < 0.3:
                    texts[drawn.names["order_id"]] = ""
            late = order.get("fill_down") and line and chance.random() < 0.5
            texts |= {name: "" if late else written[name] for name in amounts}
            texts |= {
                "note": chance.choice(["", "x", "sum"]),
                "line": str(line),
                "Tax ": "1",
                "Currency": "" if late else currency,
            }
            if chance.random() < 0.12:
                texts[chance.choice(drawn.header)] = chance.choice(NOISE)
            rows.append(texts)
        if by_line and order.get("total") and chance.random() < 0.2:  # the order once more, with another total
            newer = number(Decimal(chance.randint(0, 99999)) / 100, values, chance)
            rows += [row | ({"Subtotal": newer} if row["Subtotal"] else {}) for row in rows[begin:]]
    if chance.random() < 0.2:
        chance.shuffle(rows)
    lines = [[row[name] for name in drawn.header] for row in rows]
    repeated = [
        drawn.header,
        [f"\ufeff{drawn.header[0]}", *drawn.header[1:]],
        [f"{each}\u00a0" for each in drawn.header],
    ]
    for _ in range(chance.choice([0, 0, 0, 1, 1, 3]) if lines else 0):
        lines.insert(chance.randrange(len(lines)), chance.choice([["---"] * 3, ["Sum: 5"], *repeated, ["a", "b"]]))
    delimiter = file["delimiter"].replace("tab", "\t")
    title = ["title; a, b"] * file.get("skip_lines", 0)
    header = [] if "header" in file else [drawn.header]
    text = "".join(f"{line}\n" for line in title)
    text += "".join(delimiter.join(quoted(each, delimiter, file) for each in line) + "\n" for line in header + lines)
    text += "".join(f"{line}\n" for line in ["(12 rows affected)", ""][: file.get("footer_lines", 0)])
    encoding = chance.choice(oracle_profiles.several(file.get("encoding", "utf-8")))
    if chance.random() < 0.2:
        text = text.removesuffix("\n") if file.get("footer_lines") != 2 else text
    return text.encode(encoding, "replace")


def quoted(text: str, delimiter: str, file: dict[str, Any]) -> str:
    if file.get("quoting") == "none":
        return text.replace(delimiter, "").replace("\n", "")
    return '"' + text.replace('"', '""') + '"' if any(each in text for each in (delimiter, '"', "\n")) else text


def one(folder: Path, drawn: Drawn, files: dict[str, bytes], chance: random.Random) -> str:
    """Run the stages twice on files; return what came of it."""
    (folder / "profile.toml").write_text(drawn.toml)
    (folder / "in").mkdir()
    for name, data in files.items():
        (folder / "in" / name).write_bytes(data)
    results = []
    for where in ("one", "two"):
        options = {"partitions": chance.randint(1, 7), "workers": 1, "profile": str(folder / "profile.toml")}
        block = chance.choice([64, 300, 1000, 1 << 22])
        try:
            results.append(inline.run(folder / where, str(folder / "in" / "*"), block, **options))
        except InputError as error:
            if results:
                raise
            return f"refused: {str(error).replace(str(folder), '')[:60]}"
    assert results[0] == results[1], "the results depend on partitions or blocks"
    assert_books(results[0], oracle_profiles.expect(files, drawn.toml))
    return "as the oracle says"


def assert_books(results: dict[str, bytes], books: oracle_profiles.Books) -> None:
    """Hold a run's results against the oracle's."""
    quality = json.loads(results["report/quality.json"])
    lines = quality["reasons"]
    counted = Counter(reason for _, _, reasons in books.rejected for reason in reasons)
    rows = quality["rows"]
    seen = {
        "in": rows["in"], "furniture": rows.get("furniture", 0), "rejected": rows["rejected"],
        "unpaid": quality["unpaid_by_status"], "reasons": {line["reason"]: line["rows"] for line in lines},
        "warned": sum(line["rows"] for line in quality.get("warned", [])),
    }  # fmt: skip
    wanted = {
        "in": books.rows, "furniture": books.furniture, "rejected": len(books.rejected),
        "unpaid": dict(sorted(books.unpaid.items())), "reasons": dict(counted),
        "warned": len(books.warned),
    }  # fmt: skip
    assert seen == wanted, f"{seen}\n  != {wanted}"
    if report := results["report/analytics_report.json"]:
        found = json.loads(report, parse_float=Decimal)
        assert found == {"orders": books.orders, "revenue": books.revenue}


def main() -> int:
    """Fuzz until the time is over; print how many came to what."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--most", type=int, default=1 << 30, help="stop after so many")
    options = parser.parse_args()
    logging.getLogger("daskjobs").setLevel(logging.ERROR)
    counts = Counter[str]()
    end = time.monotonic() + options.minutes * 60
    while time.monotonic() < end and counts.total() < options.most:
        number = counts.total()
        chance = random.Random(f"{options.seed} {number}")
        drawn = draw(chance)
        files = {f"f{at}.csv": write(drawn, chance, 20 * at) for at in range(chance.randint(1, 3))}
        with TemporaryDirectory() as name:
            try:
                outcome = one(Path(name), drawn, files, chance)
            except Exception as error:
                outcome = f"failed: {type(error).__name__}"
                kept = options.keep / f"{options.seed}-{number}"
                kept.mkdir(parents=True, exist_ok=True)
                (kept / "profile.toml").write_text(drawn.toml)
                for file, data in files.items():
                    (kept / file).write_bytes(data)
                print(f"--- {options.seed} {number}")
                traceback.print_exc(limit=-2, file=sys.stdout)
        counts[outcome] += 1
    print(f"{options.minutes:g} minutes, seed {options.seed}, {counts.total():,} profiles")
    for outcome, count in counts.most_common():
        print(f"{count:8,} {outcome}")
    return 1 if any(outcome.startswith("failed") for outcome in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
