"""Guesses from sampled rows which of a file's columns are ours, and what an order is in it."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import cached_property
from itertools import combinations, islice, permutations, product

from daskjobs.orders.proposals import forms
from daskjobs.orders.proposals.forms import Numbers, Times, amount, numbers
from daskjobs.orders.proposals.sampling import Sheet
from daskjobs.orders.proposals.words import CODES, NAMES_OF, NO, NULLS, STATUS_OF, YES, plain
from daskjobs.orders.schema import COLUMNS

MONEY = ("quantity", "price", "line_total", "total", "refunds", "subtotal", "shipping", "tax", "discount")
MOST = Decimal("0.95")  # of the rows, by which a guess is taken for a rule
OURS = {"total": "total_amount"}  # where a role has another name than our column
OF_TOTALS = frozenset(("total", "amount", "summe", "betrag", "gesamt", "totale", "order"))  # in names of currencies
ENDINGS = ("orderid", "orderno", "ordernumber", "ordernr", "bestellnummer", "auftragsnummer", "bestelnummer")
LESS = 60  # how much worse a name is that has a known one in it
FEW = 12  # different texts that are few, however few rows there are
MOST_STATUSES = 60
CENT = Decimal("0.01")
MOST_NUMBERS = 12  # columns of numbers of which three are tried together
TRIED_ROWS = 2000
MOST_PRODUCTS = Decimal("0.8")  # of the rows, in which an unnamed price times the quantity is the total
TOLERANCE = 5  # cents that are taken for rounding
_PARENTHESES = re.compile(r"\s*[(\[][^)\]]*[)\]]\s*")
_LAST_WORD = re.compile(rf"[\s_-]+(in[\s_-]+)?({'|'.join(sorted(CODES))}|[$£€])$", re.I)


@dataclass(frozen=True)
class Table:
    """The sampled rows of all files: the texts of each column by its name, empty where a file hasn't got it."""

    sheets: list[Sheet]
    columns: dict[str, list[str]]
    nulls: dict[str, int]
    count: int

    def values(self, names: Iterable[str]) -> list[str]:
        """Return the texts of the first of some columns that each file has."""
        texts, start = [""] * self.count, 0
        for sheet in self.sheets:
            end = start + len(sheet.rows)
            if name := next((each for each in names if each in sheet.columns), ""):
                texts[start:end] = self.columns[name][start:end]
            start = end
        return texts


def table(sheets: list[Sheet]) -> Table:
    """Return the rows of some sheets together; texts that mean nothing are empty."""
    nulls, columns, start = Counter[str](), dict[str, list[str]](), 0
    count = sum(len(each.rows) for each in sheets)
    for sheet in sheets:
        for place, name in reversed([*enumerate(sheet.columns)]):
            column = columns.setdefault(name, [""] * count)
            texts = [row[place] for row in sheet.rows]
            found = {text: number for text, number in Counter(texts).items() if text in NULLS}
            nulls.update(found)
            column[start : start + len(texts)] = ["" if text in found else text for text in texts] if found else texts
        start += len(sheet.rows)
    order = list(dict.fromkeys(name for sheet in sheets for name in sheet.columns))
    return Table(sheets, {name: columns[name] for name in order}, dict(nulls), count)


def named(sheet: Sheet) -> Sheet:
    """Return a sheet without a header under our names, if it has ten columns that look like ours."""
    if sheet.header or len(sheet.columns) != len(COLUMNS) or not sheet.rows:
        return sheet
    rows = sheet.rows[:200]
    numeric = all(sum(bool(amount(row[place])) for row in rows) >= 0.8 * len(rows) for place in (4, 5, 6))
    timed = forms.times((row[9] for row in rows), named=True).read >= 0.8 * len(rows)
    return replace(sheet, columns=list(COLUMNS)) if numeric and timed else sheet


@dataclass
class Guess:
    """What the columns are taken for. Lists of names are one name, or one for each kind of file."""

    table: Table
    numbers: Numbers
    names: dict[str, list[str]]
    by_values: set[str]  # our columns that no name, but their values showed
    others: dict[str, str]  # a second column that fits as well
    times: Times
    joined: str = ""  # the column of a time of day beside the date
    otherwise: list[str] = field(default_factory=list)  # files whose numbers have another decimal sign than most

    @cached_property
    def ids(self) -> list[str]:
        """The id of each row; where it is empty, that of the row before it."""
        ids, last = list[str](), ""
        for each in self.table.values(self.names.get("order_id", [])):
            last = each or last
            ids.append(last)
        return ids

    def texts(self, role: str) -> list[str]:
        """Return the texts of what a column is taken for."""
        return self.table.values(self.names.get(role, []))

    def amounts(self, names: Iterable[str]) -> list[Decimal | None]:
        """Return the numbers of some columns, None where there are none."""
        known = dict[str, Decimal | None]()
        for each in (texts := self.table.values(names)):
            if each not in known:
                known[each] = self.numbers.value(each)
        return [known[each] for each in texts]

    @cached_property
    def quantity(self) -> list[Decimal | None]:
        """The quantity of each row, 1 where the file has none."""
        if "quantity" not in self.names:
            return [Decimal(1)] * self.table.count
        return self.amounts(self.names["quantity"])

    @cached_property
    def price(self) -> list[Decimal | None]:
        """The price of each row."""
        return self.amounts(self.names.get("price", []))

    def is_negative(self, place: int) -> bool:
        """Tell whether a row has a negative quantity, price or total."""
        return any((column[place] or 0) < 0 for column in self._signed)

    @cached_property
    def _signed(self) -> list[list[Decimal | None]]:
        names = {name for role in ("price", "total", "line_total") for name in ranked(self.table.columns, role)}
        return [self.quantity, *(self.amounts([name]) for name in sorted(names))]

    def agree(self, total: list[Decimal | None], price_of_line: bool = False, cents: int = 0) -> tuple[int, int]:
        """Return in how many rows quantity times price is the total, and how many there are."""
        agree = count = 0
        for quantity, price, whole in zip(self.quantity, self.price, total, strict=True):
            if quantity is not None and price is not None and whole is not None:
                count += 1
                agree += abs((price if price_of_line else quantity * price) - whole) <= cents * CENT
        return agree, count


def variants(name: str) -> list[str]:
    """Return the plain forms of a column's name: whole, without parentheses, without a currency at its end."""
    bare = _PARENTHESES.sub(" ", name).strip() or name
    ways = (name, bare, _LAST_WORD.sub("", bare), name.rpartition("/")[2])
    return list(dict.fromkeys(map(plain, ways)))


def ranked(names: Iterable[str], role: str) -> list[str]:
    """Return the columns whose names say that they may be of a role, best first."""
    known = NAMES_OF[role]
    found = list[tuple[int, int, str]]()
    for place, name in enumerate(names):
        whole, *others = variants(name)
        ranks = [known[whole]] if whole in known else []
        ranks += [known[each] + LESS * (role == "order_id") for each in others if each in known]
        if name.strip().casefold() == OURS.get(role, role):
            ranks.append(-1)
        if role == "order_id" and whole.endswith(ENDINGS):
            ranks.append(LESS)
        if ranks:
            found.append((min(ranks), place, name))
    return [name for _, _, name in sorted(found)]


class _Columns:
    """Looks for columns by name and values; each is taken once."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.filled = {name: [each for each in texts if each] for name, texts in table.columns.items()}
        self.counts = {name: Counter(texts) for name, texts in self.filled.items()}
        self.taken = set[str]()
        self._times = dict[str, Times]()

    def times(self, name: str, named: bool = False) -> Times:
        if name not in self._times or named:
            few = dict(self.counts[name].most_common(400))
            self._times[name] = forms.times((text for text, count in few.items() for _ in range(count)), named)
        return self._times[name]

    def is_time(self, name: str, named: bool = False) -> bool:
        found = self.times(name, named)
        return bool(self.filled[name]) and found.read >= (0.3 if named else 0.5) * max(1, found.count)

    def is_number(self, name: str) -> bool:
        texts = list(self.counts[name])[:1000]
        return bool(texts) and sum(bool(amount(each)) for each in texts) >= 0.7 * len(texts)

    def few(self, name: str, most: int = MOST_STATUSES) -> bool:
        return len(self.counts[name]) <= min(most, max(FEW, len(self.filled[name]) // 2))

    def free(self) -> list[str]:
        return [name for name in self.table.columns if name not in self.taken]

    def all(self, role: str, fits: Callable[[str], object]) -> list[str]:
        return [name for name in ranked(self.free(), role) if fits(name)]

    def pick(self, role: str, fits: Callable[[str], bool], order: Callable[[str], object] | None = None) -> list[str]:
        """Return the best column of a role, and those that files without it have in its place."""
        found = self.all(role, fits)
        if order:
            found.sort(key=order)  # type: ignore[arg-type]  # of comparable values
        if not found:  # its name alone has to do: it is ours, or there is nothing to see
            found = [name for name in ranked(self.free(), role) if name == OURS.get(role, role) or not self.table.count]
        names = self.with_others(found)
        self.taken.update(names)
        return names

    def with_others(self, found: list[str]) -> list[str]:
        """Return the first of some columns, with those that stand in its place in files that don't have it."""
        names = found[:1]
        for other in found[1:]:
            if not any(other in sheet.columns and set(names) & set(sheet.columns) for sheet in self.table.sheets):
                names.append(other)
        return names


def guess(sheets: list[Sheet], today: date | None = None) -> Guess:
    """Return what the columns of some sheets are taken for. Orders are not after ``today``."""
    rows = table(sheets)
    columns = _Columns(rows)
    names, by_values, others = dict[str, list[str]](), set[str](), dict[str, str]()

    def note(role: str, found: list[str], values: bool = False) -> None:
        if found:
            names[role] = found
            columns.taken.update(found)
            if values:
                by_values.add(role)

    filled = columns.filled
    note("timestamp", columns.pick("timestamp", lambda each: columns.is_time(each, named=True)))
    if "timestamp" not in names:
        timed = [each for each in columns.free() if columns.is_time(each) and not columns.is_number(each)]
        note("timestamp", timed[:1], values=True)
    elif more := columns.all("timestamp", lambda each: columns.is_time(each, named=True)):
        others["timestamp"] = more[0]
    joined = _clock(columns, names.get("timestamp", []))
    note("status", _status(columns))
    if "status" not in names:
        words = [each for each in columns.free() if columns.few(each) and _known(columns.counts[each]) >= 0.8]
        note("status", words[:1], values=True)
    note("currency", columns.pick("currency", lambda each: _codes(columns.counts[each])))
    if "currency" not in names:
        coded = [each for each in columns.free() if columns.counts[each] and columns.counts[each].keys() <= CODES]
        coded.sort(key=lambda each: not {plain(word) for word in each.split()} & OF_TOTALS)
        note("currency", coded[:1], values=True)
        for each in coded[1:]:
            columns.taken.add(each)
            if rows.columns[each] != rows.columns[coded[0]]:
                others["currency"] = each
    money = {name for role in MONEY for name in ranked(columns.free(), role) if columns.is_number(name)}
    if not money:
        money = {name for name in columns.free() if columns.is_number(name)}
    days = next(iter(columns.times(names["timestamp"][0]).formats), "") if "timestamp" in names else ""
    german = sheets[0].delimiter == ";" and days.startswith("%d.%m.")
    read = numbers((text for name in rows.columns if name in money for text in filled[name]), "," if german else ".")
    numeric = {name for name in columns.free() if columns.is_number(name)}

    def whole(name: str) -> bool:
        found = [read.value(each) for each in columns.counts[name]]
        return name in numeric and sum(each is not None and each == int(each) for each in found) >= 0.7 * len(found)

    def flag(name: str) -> bool:
        return {plain(each) for each in columns.counts[name]} == {"0", "1"}

    note("quantity", columns.pick("quantity", whole))
    note("refunds", columns.pick("refunds", lambda each: (each in numeric or not filled[each]) and not flag(each)))
    note("price", columns.pick("price", lambda each: each in numeric))
    prices = columns.all("price", lambda each: each in numeric)
    note("order_id", _order_id(columns))
    guessed = Guess(rows, read, names, by_values, others, Times(), joined, _otherwise(sheets, money, read))
    totals = [name for role in ("total", "line_total") for name in columns.all(role, lambda each: each in numeric)]
    if len(names.get("price", [])) == 1 and prices and "quantity" in names:
        guessed = _better_price(guessed, prices, totals)
    if "price" not in names and (totals or "quantity" in names):
        _price_by_product(guessed, columns, [each for each in columns.free() if each in numeric], totals)
    if not (
        names.keys() & {"price", "quantity"} or any(ranked(columns.free(), role) for role in ("total", "line_total"))
    ):
        _by_product(guessed, columns, [each for each in columns.free() if each in numeric])

    def text(name: str) -> bool:
        return not columns.is_time(name) and not _is_decimal(columns.counts[name])

    def word(name: str) -> bool:
        return text(name) and not columns.is_number(name) and columns.few(name, 200)

    for role, fits in {"product": text, "payment_mode": word, "region": text, "user_id": text}.items():
        note(role, columns.pick(role, fits))
    american = "$" in read.signs
    if "timestamp" in names:
        texts = rows.values(names["timestamp"])
        if joined:
            texts = [f"{day} {clock}".strip() for day, clock in zip(texts, rows.columns[joined], strict=True)]
        guessed.times = forms.times((each for each in texts if each), "timestamp" not in by_values, american, today)
    return guessed


def _otherwise(sheets: list[Sheet], money: set[str], read: Numbers) -> list[str]:
    """Return the files whose numbers have another decimal sign."""
    names = list[str]()
    for sheet in sheets:
        places = [place for place, name in enumerate(sheet.columns) if name in money]
        own = numbers(row[place] for row in sheet.rows for place in places)
        if own.point_seen and own.decimal != read.decimal:
            names.append(sheet.name)
    return names


def _price_by_product(guess: Guess, columns: _Columns, numeric: list[str], totals: list[str]) -> None:
    """Find a price that no name tells: times the quantity, it is a total in more rows than any other."""
    read = {name: guess.amounts([name]) for name in dict.fromkeys([*totals, *numeric][:MOST_NUMBERS])}
    quantities = {each[0]: guess.quantity for each in [guess.names.get("quantity", [])] if each}
    best, most = ("", "", ""), 1
    for q, p, t in product(quantities or read, read, totals or read):
        if len({q, p, t}) < 3:
            continue
        three = islice(zip(quantities.get(q) or read[q], read[p], read[t], strict=True), TRIED_ROWS)
        rows = [(x, y, z) for x, y, z in three if x is not None and y is not None and z is not None]
        held = [x for x, y, z in rows if abs(x * y - z) <= TOLERANCE * CENT and z]
        telling = sum(x != 1 for x in held)
        fits = telling and len(held) >= MOST_PRODUCTS * len(rows) and all(x == int(x) for x, _, _ in rows)
        if fits and len(held) > most:
            best, most = (q, p, t), len(held)
    for role, name in zip(("quantity", "price", "total"), best, strict=True):
        if name and (role == "total" or role not in guess.names):
            guess.names[role] = [name]
            guess.by_values.add(role)
            columns.taken.add(name)


def _better_price(guess: Guess, prices: list[str], totals: list[str]) -> Guess:
    """Return the guess with another price, if that one times the quantity is a total, and the first one is none."""
    for name in (guess.names["price"][0], *prices):
        names = guess.names | {"price": [name]}
        other = replace(guess, names=names)
        for total in totals:
            agree, count = other.agree(other.amounts([total]))
            if count and agree >= MOST * count:
                return other
    return guess


def _clock(columns: _Columns, dates: list[str]) -> str:
    """Return the column of the time of day, where the dates have none."""
    if len(dates) != 1 or columns.times(dates[0]).clocks:
        return ""
    clock = re.compile(r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?( ?[AaPp][Mm])?")
    found = columns.all(
        "time", lambda each: bool(columns.filled[each]) and all(map(clock.fullmatch, columns.counts[each]))
    )
    columns.taken.update(found[:1])
    return found[0] if found else ""


def _known(counts: Counter[str]) -> float:
    """Return the share of rows whose status is a known word."""
    return sum(count for text, count in counts.items() if plain(text) in STATUS_OF) / max(1, counts.total())


def _answers(counts: Counter[str]) -> bool:
    return bool(counts) and all(plain(each) in YES | NO for each in counts)


def _status(columns: _Columns) -> list[str]:
    def fits(name: str) -> bool:
        counts = columns.counts[name]
        if columns.is_time(name) or not counts:
            return False
        if plain(name) in ("state", "estado", "etat", "pago", "paid", "stan", "bezahlt", "paye", "result", "stage"):
            return _known(counts) >= 0.5 or _answers(counts)
        return (columns.few(name) and not columns.is_number(name)) or _known(counts) >= 0.5

    return columns.pick("status", fits, lambda each: _known(columns.counts[each]) < 0.5)


def _codes(counts: Counter[str]) -> bool:
    codes = sum(count for text, count in counts.items() if re.fullmatch("[A-Za-z]{3}", text))
    return bool(counts) and codes >= 0.9 * counts.total() and any(text.upper() in CODES for text in counts)


def _is_decimal(counts: Counter[str]) -> bool:
    """Tell whether most values are numbers with decimals."""
    found = [amount(each) for each in list(counts)[:300]]
    return bool(found) and sum(bool(each and each.decimal) for each in found) >= 0.5 * len(found)


def _order_id(columns: _Columns) -> list[str]:
    def fits(name: str) -> bool:
        counts = columns.counts[name]
        if not counts or columns.is_time(name, named=False) or _is_decimal(counts):
            return False
        loose = plain(name) in ("name", "reference", "number", "order", "id", "auftrag", "bestellung")
        digits = sum(count for text, count in counts.items() if re.search(r"\d", text))
        return not loose or digits >= 0.8 * counts.total()

    def blank(name: str) -> bool:
        return len(columns.filled[name]) < 0.95 * columns.table.count

    found = columns.pick("order_id", fits, blank)
    if found:
        return found
    others = {name for role in NAMES_OF if role != "order_id" for name in ranked(columns.free(), role)}
    free = [
        name for name in columns.free() if columns.filled[name] and not columns.is_time(name) and name not in others
    ]
    unique = [
        name
        for name in free
        if len(columns.counts[name]) == len(columns.filled[name]) == columns.table.count
        and not _is_decimal(columns.counts[name])
    ]
    return unique[:1] if columns.table.count > 1 else []


def _by_product(guess: Guess, columns: _Columns, numeric: list[str]) -> None:
    """Find quantity, price and total among unnamed numbers: the first two make the third in all rows."""
    read = {name: guess.amounts([name]) for name in numeric[:10]}
    for three in combinations(read, 3):
        for a, b, c in permutations(three):
            found = zip(read[a], read[b], read[c], strict=True)
            rows = [(x, y, z) for x, y, z in found if x is not None and y is not None and z is not None]
            if len(rows) < 2 or any(x != int(x) for x, _, _ in rows):
                continue
            if all(x * y == z for x, y, z in rows) and any(x != 1 for x, _, _ in rows):
                for role, name in (("quantity", a), ("price", b), ("total", c)):
                    guess.names[role] = [name]
                    guess.by_values.add(role)
                    columns.taken.add(name)
                return
    left = [name for name in numeric if _is_decimal(columns.counts[name])]
    if left:
        guess.names["total"] = left[-1:]
        guess.by_values.add("total")
        columns.taken.add(left[-1])
