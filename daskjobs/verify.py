"""Recompute a run of daskjobs with the standard library alone: python -m daskjobs.verify RUN [FOLDER]

RUN is the folder of a run. FOLDER is where the files of orders lie now, if they aren't where the run read them. This
file imports nothing of daskjobs, so it can be copied, read and run by itself.

1. Each manifest has the checksum of its own text and the hashes of the manifests before it, and each file that a
   manifest vouches for has the hash that stands there. A file that no manifest vouches for is named.
2. Each row of the orders that merge/quarantine.csv doesn't name is counted: its id is new, its total is quantity times
   price, unless merge/warned.csv names it, and what is paid is added up with decimal. Each rejected row stands in the
   orders as the list shows it.
3. The ledgers of the manifests, analytics_report.json and quality.json have the numbers that were counted.

It ends with 0 if all is right, 1 if something is wrong, and 3 if nothing is wrong but something wasn't recomputed:
Parquet, JSON Lines, CSV that isn't written as in RFC 4180, and orders with a profile.
"""

import csv
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

STAGES = ("generate", "split", "validate", "merge", "clean", "report")
OTHERS = ("daskjobs-run.json", "daskjobs-run.lock", "cleanup/receipt.json", "validate/performance.html")
FREE = {*OTHERS, "cleanup/told.json", *(f"{stage}/facts.json" for stage in STAGES)}  # no result needs them
QUARANTINE, WARNED = "merge/quarantine.csv", "merge/warned.csv"
csv.field_size_limit(1 << 30)


class Verifier:
    """What was found in the folder ``run``: sentences about what is ``wrong``, and about what is ``open``."""

    def __init__(self, run: Path, folder: Path | None) -> None:
        self.run, self.folder = run, folder
        self.wrong, self.open, self.manifests = list[str](), list[str](), dict[str, Any]()
        self.rows, self.revenue = Counter[str](), Decimal(0)  # rows "in", "rejected", and the valid ones by status
        self.ids, self.warned = set[str](), dict[str, dict[int, str]]()  # the reasons of warned rows, by file and row

    def hold(self, right: bool, sentence: str) -> None:
        """Note a sentence about what is wrong, unless it is right."""
        self.wrong += [sentence][right:]

    def read(self, name: str, number: type = float) -> Any:
        """Return the JSON of a file of the run, with its fractions as such numbers."""
        try:
            return json.loads((self.run / name).read_bytes(), parse_float=number)
        except (ValueError, OSError) as error:
            raise ValueError(f"{name} can't be read: {error}") from error

    def check_files(self) -> None:
        """Hold each manifest and each file against the hashes that vouch for them."""
        known = {file["read"] for file in self.read("split/partitions.json")["files"]}
        for stage in STAGES[not (self.run / "generate/manifest.json").exists() :]:
            name = f"{stage}/manifest.json"
            self.manifests[stage] = manifest = self.read(name)
            text, known = (self.run / name).read_text(), known | {name, *manifest["outputs"]}
            bare = {key: value for key, value in manifest.items() if key != "checksum"}
            whole = {**bare, "checksum": hashlib.sha256(f"{json.dumps(bare, indent=2)}\n".encode()).hexdigest()}
            self.hold(text == f"{json.dumps(whole, indent=2)}\n", f"{name} doesn't have its checksum")
            for before, sha256 in manifest["inputs"].items():
                if before.endswith("/manifest.json"):
                    self.hold(digest(self.run / before) == sha256, f"{before} isn't what {name} was made from")
            for file, output in manifest["outputs"].items():
                self.hold(digest(self.run / file) == output["sha256"], f"{file} isn't what {name} vouches for")
        there = {path.relative_to(self.run).as_posix() for path in self.run.rglob("*") if not path.is_dir()}
        self.open += [f"{name} is a file that no manifest vouches for" for name in sorted(there - known - FREE)]

    def check_orders(self) -> None:
        """Read the orders once more, and count every row that isn't rejected."""
        plan = self.read("split/partitions.json")
        rejected, self.warned = ({file["name"]: dict[int, str]() for file in plan["files"]} for _ in range(2))
        for name in (QUARANTINE, WARNED)[: 1 + (WARNED in self.manifests["merge"]["outputs"])]:
            with (self.run / name).open(newline="", encoding="utf-8") as text:
                for row in csv.DictReader(text):
                    number, of_file = int(row["row"]), (rejected if name == QUARANTINE else self.warned)[row["source"]]
                    self.hold(number not in of_file, f"{name} names row {number} of {row['source']} twice")
                    of_file[number] = row["raw" if name == QUARANTINE else "reasons"]
        self.rows["rejected"] = sum(map(len, rejected.values()))
        if plan.get("profile"):
            self.open.append("orders and revenue: only a profile says what an order is in these files")
            return
        for number, file in enumerate(plan["files"]):
            ranges = [each for part in plan["partitions"] for each in part["ranges"] if each["file"] == number]
            name, path = file["name"], self.find(file)
            if file["kind"] != "csv" or file["quoting"] != "rfc4180":
                self.open.append(f"{name}: only CSV is read here, with quotes as in RFC 4180")
            elif path is None:
                self.open.append(f"{name} isn't there: name the folder where it lies now")
            elif path.stat().st_size != file["bytes"]:
                self.wrong.append(f"{name} has another size than the run read")
            elif any(digest(path, each["start"], each["end"]) != each["sha256"] for each in ranges):
                self.wrong.append(f"{name} isn't as it was when the run read it")
            else:
                with path.open("rb") as data:
                    header = data.read(file["start"]).decode("utf-8-sig", "replace").rstrip("\r\n")
                    self.hold(header == file["header"], f"{name} has another header than the run read, {header!r}")
                    lines = (line.decode(errors="replace") for line in data)
                    self.count(file, lines, rejected[name], sum(each["rows"] for each in ranges))

    def find(self, file: dict[str, Any]) -> Path | None:
        """Return where a file of orders lies: in the folder that was given, where it was read, or in the run."""
        there = Path(unquote(urlsplit(file["read"]).path))
        places = [self.folder / there.name] if self.folder else []
        return next((place for place in (*places, there, self.run / file["read"]) if place.is_file()), None)

    def count(self, file: dict[str, Any], lines: Iterator[str], rejected: dict[int, str], rows: int) -> None:
        """Count the rows of a file, of which there must be so many, without the rejected ones."""
        reader = csv.reader(lines, delimiter=file["delimiter"], strict=True)
        statuses = self.manifests["validate"]["settings"].get("statuses", {})
        for row in range(1, rows + 1):
            place = f"row {row} of {file['name']}"
            if row in rejected:
                shown = rejected[row].rstrip("\r\n")
                raw = "".join(next(lines, "") for _ in range(shown.count("\n") + 1)).rstrip("\r\n")
                same = raw.replace("'", "") == shown.replace("'", "")  # the list has some more, as spreadsheets need it
                self.hold(same or not raw.isascii() or not raw.isprintable(), f"{place} isn't as {QUARANTINE} shows it")
                continue
            try:
                values = dict(zip(file["columns"], (text.strip(" \t") for text in next(reader)), strict=True))
                total = Decimal(values["total_amount"])
                product = Decimal(values["quantity"]) * Decimal(values["price"])
            except (csv.Error, StopIteration, ValueError, ArithmeticError) as error:
                self.open.append(f"{file['name']} from row {row} on: Python's csv reads it otherwise ({error})")
                return
            odd = "wrong_total" in self.warned[file["name"]].get(row, "").split(";")  # which a rule warns of
            self.hold(odd != (product == total), f"{place} has the total {total}, and quantity times price {product}")
            self.hold(values["order_id"] not in self.ids, f"{place} has the order_id of a row before it")
            self.ids.add(values["order_id"])
            status = statuses.get(values["status"], values["status"])
            self.rows[status] += 1
            self.revenue += total if status == "success" else 0
        self.hold(next(lines, None) is None, f"{file['name']} has more rows than the {rows} that split found")
        self.rows["in"] += rows

    def check_numbers(self) -> None:
        """Compare the ledgers with each other, with the report, and with what was counted here."""
        of = {stage: manifest["rows"] for stage, manifest in self.manifests.items()}
        report, parts = of["report"], of["merge"]["partitions"]
        for part in (report, of["merge"], *parts):
            told = part["valid"] + part["rejected"] + part.get("furniture", 0)
            self.hold(part["in"] == told, f"a ledger has {part['in']} rows in, and {told} valid and rejected: {part}")
        for name in ("in", "valid", "rejected"):
            counted = sum(part[name] for part in parts)
            self.hold(counted == of["merge"][name] == report[name], f"the stages differ in the rows {name}")
        self.hold(of["split"]["out"] == report["in"], "split found another number of rows than the report has")
        self.hold(report["valid"] == report["paid"] + report["unpaid"], "valid rows aren't paid + unpaid ones")
        self.hold(self.rows["rejected"] == report["rejected"], f"{QUARANTINE} has {self.rows['rejected']} rows")
        written, quality = self.read("report/analytics_report.json", Decimal), self.read("report/quality.json")
        revenue, profile = Decimal(written["revenue"]), "profile" in self.manifests["split"]["settings"]
        same = profile or written["orders"] == report["paid"]  # with a profile, an order may be several rows
        self.hold(same, "analytics_report.json has other orders than the ledger")
        self.hold(revenue == Decimal(report["revenue"]), "analytics_report.json has another revenue than the ledger")
        for name, rows in quality["rows"].items():
            self.hold(rows == report[name], f"quality.json and the ledger differ in the rows {name}")
        for line in quality.get("sent", []):
            self.hold(Decimal(line["sent"]) == Decimal(line["received"]) + Decimal(line["missing"]), f"{line} is wrong")
        if not self.open and not self.wrong:
            unpaid = {status: rows for status, rows in self.rows.items() if status not in ("in", "rejected", "success")}
            for name, rows in ("in", self.rows["in"]), ("paid", self.rows["success"]), ("unpaid", sum(unpaid.values())):
                self.hold(rows == report[name], f"{rows} rows {name} were counted, and the report has {report[name]}")
            self.hold(self.revenue == revenue, f"the paid orders come to {self.revenue}, and the report says {revenue}")
            self.hold(unpaid == of["clean"]["unpaid_by_status"], f"the unpaid ones were counted as {unpaid}")


def digest(path: Path, start: int = 0, end: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its bytes from ``start`` up to ``end``; an empty text if it isn't there."""
    if not path.is_file():
        return ""
    found, end = hashlib.sha256(), path.stat().st_size if end is None else end
    with path.open("rb") as data:
        data.seek(start)
        while piece := data.read(min(end - data.tell(), 1 << 20)):
            found.update(piece)
    return found.hexdigest()


def main(arguments: list[str]) -> int:
    """Verify the run that the arguments name, print what was found, and return the exit code."""
    if len(arguments) not in (1, 2) or not (Path(arguments[0]) / "report/manifest.json").is_file():
        print("usage: python -m daskjobs.verify RUN [FOLDER]; RUN is the folder of a run that has a report")
        return 2
    verifier = Verifier(Path(arguments[0]), Path(arguments[1]) if arguments[1:] else None)
    for check in (verifier.check_files, verifier.check_orders, verifier.check_numbers):
        try:
            check()
        except (ValueError, LookupError, TypeError, OSError) as error:  # a file that is cut, or of another version
            verifier.wrong.append(f"{check.__name__.replace('_', ' ')} could not go on: {error!r}")
    found, rows = [f"WRONG {each}" for each in verifier.wrong], verifier.rows
    right = f"right: orders {rows['success']:,}, revenue {verifier.revenue}, rejected {rows['rejected']:,}"
    print("\n".join(found + [f"open  {each}" for each in verifier.open] or [right]))
    return 1 if verifier.wrong else 3 if verifier.open else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
