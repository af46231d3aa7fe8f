"""One file of orders, polluted in each way that the Pollock benchmark pollutes its file, and in some more.

Pollock: A Data Loading Benchmark (Vitagliano and others, VLDB 2023), https://github.com/HPI-Information-Systems/Pollock.
Nothing here is of its code, and the file is another one: five orders, all valid and paid.
"""

from collections.abc import Iterator
from dataclasses import dataclass

COLUMNS = ["order_id", "user_id", "region", "product", "quantity", "price", "total_amount", "payment_mode", "status",
           "timestamp"]  # fmt: skip
ORDERS = [
    ["A1", "U1", "north", "desk", "2", "80.25", "160.50", "card", "success", "2025-03-01 12:00:00"],
    ["A2", "", "south", "café lamp, large", "1", "99.99", "99.99", "cash", "success", "2025-03-01 13:30:00"],
    ["A3", "U3", "east", "chair", "3", "15.00", "45.00", "card", "success", "2025-03-02 09:15:00"],
    ["A4", "U1", "west", "pen", "10", "1.10", "11.00", "card", "success", "2025-03-02 10:00:00"],
    ["A5", "U2", "north", '24" monitor, black', "2", "150.25", "300.50", "card", "success", "2025-03-03 18:45:10"],
]
IDS = tuple(order[0] for order in ORDERS)
ALL = frozenset(IDS)
TABLE = [COLUMNS, *ORDERS]
STYLES = {"all fields quoted": True, "quoted where needed": False}
WHOLE = "the whole file"


@dataclass(frozen=True)
class Pollution:
    """A polluted file, and what may become of it."""

    group: str
    name: str
    data: bytes
    touched: frozenset[str] = frozenset()  # the orders that a reader may reject; every other one must be read as it is
    right: tuple[str, ...] | None = IDS  # the orders that are to be counted; None: nobody can know


def cell(text: str, quoted: bool, delimiter: str = ",", quote: str = '"', escaped: str = '""') -> str:
    if quoted or delimiter in text or quote in text:
        return f"{quote}{text.replace(quote, escaped)}{quote}"
    return text


def line(fields: list[str], quoted: bool, delimiter: str = ",", quote: str = '"', escaped: str = '""') -> str:
    return delimiter.join(cell(text, quoted, delimiter, quote, escaped) for text in fields)


def file(*lines: str, end: str = "\n") -> bytes:
    return "".join(line + end for line in lines).encode()


def of_rows(style: str) -> Iterator[Pollution]:
    """Pollute each row, the header as well, at each of its fields."""
    quoted = STYLES[style]
    clean = [line(fields, quoted) for fields in TABLE]
    for row, fields in enumerate(TABLE):
        cells = [cell(text, quoted) for text in fields]
        touched = frozenset([fields[0]]) if row else ALL

        def polluted(group: str, where: str, text: str, row: int = row, touched: frozenset[str] = touched) -> Pollution:
            return Pollution(group, f"row {row}{where}, {style}", file(*clean[:row], text, *clean[row + 1 :]), touched)

        for at in range(len(cells)):
            column = f", column {at}"
            more = [*cells[:at], "", *cells[at:]]
            yield polluted("a separator more", column, ",".join(more))
            if at:
                fewer = [*cells[: at - 1], cells[at - 1] + cells[at], *cells[at + 1 :]]
                yield polluted("a separator fewer", column, ",".join(fewer))
            for where, text in {"before": f'"{cells[at]}', "behind": f'{cells[at]}"'}.items():
                yield polluted("a quote more", f"{column}, {where}", ",".join([*cells[:at], text, *cells[at + 1 :]]))
        for name, delimiter in {"space": " ", "semicolon": ";"}.items():
            yield polluted("another delimiter in a row", f", {name}", delimiter.join(cells))


def of_the_file(style: str) -> Iterator[Pollution]:
    """Pollute the file as a whole."""
    quoted = STYLES[style]
    header, *rows = clean = [line(fields, quoted) for fields in TABLE]
    one, two, *others = rows
    data = file(*clean)
    nothing, nobody = ",".join([cell("", quoted)] * 10), frozenset[str]()

    def table(columns: list[str]) -> list[str]:
        values = ["7"] * (len(columns) - 1)
        return [line(columns, quoted), line(["north", *values], quoted), line(["south", *values], quoted)]

    def changed(names: list[str]) -> bytes:
        return file(line(names, quoted), *rows)

    def apart(delimiter: str) -> bytes:
        return file(*(line(fields, quoted, delimiter) for fields in TABLE))

    def quotes(quote: str, escaped: str) -> bytes:
        return file(*(line(fields, quoted, quote=quote, escaped=escaped) for fields in TABLE))

    with_quotes = ALL if quoted else frozenset(["A2", "A5"])  # a row with a comma is in quotes
    files: dict[str, tuple[bytes, frozenset[str]]] = {
        "no header": (file(*rows), ALL),
        "the header twice": (file(header, *clean), nobody),
        "the header three times": (file(header, header, *clean), nobody),
        "a line above the header": (file("Orders of March 2025", *clean), ALL),
        "a row of fields and an empty one above": (file(f"Orders of March 2025{nothing[2:]}", nothing, *clean), ALL),
        "blank lines above the header": (file("", "", *clean), ALL),
        "sep=, above the header": (file("sep=,", *clean), ALL),
        "a comment above the header": (file("# written by shop 2.1", *clean), ALL),
        "a comment between rows": (file(header, one, "# the second half", two, *others), nobody),
        "a total line": (data + file(line(["Total", *[""] * 5, "616.99", *[""] * 3], quoted)), nobody),
        "a total line of two fields": (data + file(line(["Total", "616.99"], quoted)), nobody),
        "a footnote": (data + file("", "Without returned goods"), nobody),
        "a table of fewer columns below": (data + file(*table(["region", "target"])), nobody),
        "a table of as many columns below": (data + file(*table(["region", *"abcdefghi"])), nobody),
        "a table of more columns below": (data + file(*table(["region", *"abcdefghijk"])), nobody),
        "another table, a blank line between": (data + file("", *table(["region", "target"])), nobody),
        "the same table below": (data + data, nobody),
        "a row twice": (file(header, one, one, two, *others), nobody),
        "CRLF": (file(*clean, end="\r\n"), nobody),
        "CR": (file(*clean, end="\r"), ALL),
        "CR CR LF": (file(*clean, end="\r\r\n"), ALL),
        "LF and CRLF": (file(header, f"{one}\r", two, *(f"{row}\r" for row in others)), nobody),
        "one CR among LF": (file(header, f"{one}\r{two}", *others), frozenset(["A1", "A2"])),
        "two rows in a line": (file(header, one + two, *others), frozenset(["A1", "A2"])),
        "a row in two lines": (data.replace(b"desk", b"de\nsk"), frozenset(["A1"])),
        "a row cut in two lines": (data.replace(b"80.25", b"80.25\n"), frozenset(["A1"])),
        "semicolons": (apart(";"), ALL),
        "tabs": (apart("\t"), ALL),
        "bars": (apart("|"), ALL),
        "spaces": (apart(" "), ALL),
        "comma and space": (apart(", "), ALL),
        "two colons": (apart("::"), ALL),
        "a delimiter of two bytes": (apart("§"), ALL),
        "apostrophes for quotes": (quotes("'", "''"), with_quotes),
        "backslash for escape": (quotes('"', '\\"'), frozenset(["A5"])),
        "no escape": (quotes('"', '"'), frozenset(["A5"])),
        "a whole row in quotes": (file(header, f'"{one}"', two, *others), frozenset(["A1"])),
        "every row in quotes": (file(*(f'"{each}"' for each in clean)), ALL),
        "typographic quotes": (data.replace(b'"A1"', "“A1”".encode()).replace(b",desk", ",“desk”".encode()),
                               frozenset(["A1"])),
        "no final newline": (data.removesuffix(b"\n"), nobody),
        "two final newlines": (data + b"\n", nobody),
        "blank lines between rows": (file(header, "", one, "", "", two, *others), nobody),
        "empty rows between rows": (file(header, one, nothing, two, nothing, *others), nobody),
        "Ctrl-Z at the end": (data + b"\x1a", nobody),
        "NULs at the end": (data + bytes(64), nobody),
        "cut in the last row": (data[: data.rindex(b"300.50") + 3], frozenset(["A5"])),
        "a byte order mark": (b"\xef\xbb\xbf" + data, nobody),
        "two byte order marks": (b"\xef\xbb\xbf" * 2 + data, ALL),
        "UTF-16": (data.decode().encode("utf-16"), ALL),
        "UTF-16 without a mark": (data.decode().encode("utf-16-le"), ALL),
        "Latin-1": (data.decode().encode("latin-1"), frozenset(["A2"])),
        "a separator at the end of each line": (file(*(f"{each}," for each in clean)), ALL),
        "a separator at the end of each row": (file(header, *(f"{row}," for row in rows)), ALL),
        "a separator at the end of the header": (file(f"{header},", *rows), ALL),
        "one name more": (changed([*COLUMNS, "note"]), ALL),
        "one name fewer": (changed(COLUMNS[:-1]), ALL),
        "a name missing in the middle": (changed([*COLUMNS[:5], *COLUMNS[6:]]), ALL),
        "row numbers without a name": (file(header, *(f"{n},{row}" for n, row in enumerate(rows, 1))), ALL),
        "names in capitals": (changed([name.upper() for name in COLUMNS]), ALL),
        "blanks around names": (changed([f" {name} " for name in COLUMNS]), ALL),
        "a column twice": (file(*(line([*fields, fields[6]], quoted) for fields in TABLE)), ALL),
    }  # fmt: skip
    for name, (content, touched) in files.items():
        yield Pollution(WHOLE, f"{name}, {style}", content, touched)
    other_status = [[*fields, "refunded" if row else "status"] for row, fields in enumerate(TABLE)]
    yield Pollution(
        WHOLE,
        f"a column twice with other values, {style}",
        file(*(line(fields, quoted) for fields in other_status)),
        ALL,
        None,
    )
    yield Pollution(WHOLE, f"the header alone, {style}", file(header), ALL, ())
    yield Pollution(WHOLE, f"one row, {style}", file(header, one), nobody, ("A1",))


def pollutions() -> list[Pollution]:
    """Return all of them, each under a name of its own."""
    found = [each for style in STYLES for each in (*of_rows(style), *of_the_file(style))]
    found += [Pollution(WHOLE, "an empty file", b"", ALL, ()), Pollution(WHOLE, "two newlines", b"\n\n", ALL, ())]
    return found
