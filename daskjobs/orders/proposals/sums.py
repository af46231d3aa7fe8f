"""Finds rows of sums that stand among orders and their lines: with a word like Summe, or with numbers alone."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

from daskjobs.orders.proposals.guesses import MOST, Guess, ranked
from daskjobs.orders.proposals.sampling import Sheet
from daskjobs.orders.proposals.shapes import has_amounts
from daskjobs.orders.proposals.words import TOTALS, plain

MOST_COLUMNS = 20  # in which the sums are looked for
OF_ROWS = ("order_id", "timestamp", "status", "product", "user_id", "region", "payment_mode")  # that sums don't have


@dataclass(frozen=True)
class Sums:
    """The rows in which a column has a word of sums: ``held`` of ``count`` are the sum of the lines above them."""

    column: str
    words: Counter[str]
    amount: str = ""
    held: int = 0

    @property
    def count(self) -> int:
        """The number of rows that have such a word."""
        return self.words.total()

    @property
    def sure(self) -> bool:
        """Whether they are sums: (nearly) all hold."""
        return self.held >= MOST * self.count


def sums_of_orders(found: Guess) -> Sums | None:
    """Return the rows of sums of a column, if any of them goes on with an order."""
    ids = found.names.get("order_id", [])
    candidates = list(_candidates(found, ids)) if ids else []
    return max(candidates, key=lambda each: (each.sure, each.held, each.count), default=None)


def _candidates(found: Guess, ids: list[str]) -> Iterator[Sums]:
    for name, texts in found.table.columns.items():
        words = Counter({text: count for text, count in Counter(texts).items() if _is_sum(text)})
        if not words or name in ids:
            continue
        places = [place for place, text in enumerate(texts) if text in words]
        others = {name, *found.names.get("quantity", [])}  # a quantity of one is soon the sum of another one
        numeric = [each for each in found.table.columns if each not in others and _number_at(found, each, places[0])]
        held = {each: _held(found, each, {*places}) for each in numeric[:MOST_COLUMNS]}
        amount = max(held, key=lambda each: held[each], default="")
        yield Sums(name, words, amount, held.get(amount, 0))


def _is_sum(text: str) -> bool:
    return plain(text.strip(":")) in TOTALS


def _number_at(found: Guess, name: str, place: int) -> bool:
    return found.numbers.value(found.table.columns[name][place]) is not None


def _held(found: Guess, name: str, sums: set[int]) -> int:
    """Return how many rows of sums have the sum of the lines of their order above them in a column, if any is not 0."""
    above = dict[str, Decimal]()
    held, some = 0, False
    for place, (each, value) in enumerate(zip(found.ids, found.amounts([name]), strict=True)):
        if place not in sums:
            above[each] = above.get(each, Decimal(0)) + (value or 0)
        elif each in above and value == above[each]:
            held += 1
            some = some or bool(value)
    return held if some else 0


def without_sums(sheets: list[Sheet], sums: Sums) -> list[Sheet]:
    """Return sheets without rows of sums, which are counted as such."""
    left = []
    for sheet in sheets:
        if sums.column not in sheet.columns:
            left.append(sheet)
            continue
        place = sheet.columns.index(sums.column)
        words = Counter(row[place] for row in sheet.rows if row[place] in sums.words)
        counted = sheet.sums | {place: sheet.sums.get(place, Counter()) + words}
        rows = [row for row in sheet.rows if row[place] not in sums.words]
        left.append(replace(sheet, rows=rows, sums=counted, summed=sheet.summed + words.total()))
    return left


@dataclass(frozen=True)
class Unlabelled:
    """The places of rows that may be sums without a word that says so: ``held`` are the sum of rows above them.

    ``below`` counts more of them at the end of a file, below rows that were not looked at. ``empty`` are columns that
    are all empty in these rows, and in no others; there may be none. ``sure`` tells whether they are sums.
    """

    rows: list[int]
    held: int
    below: int
    empty: list[str]
    sure: bool


@dataclass
class _Above:
    """What stands above a row, since a file's beginning or since the last sum: the sums of columns, rows and orders."""

    sums: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    ids: set[str] = field(default_factory=set)

    def add(self, values: dict[str, Decimal], order: str) -> None:
        for name, value in values.items():
            self.sums[name] += value  # type: ignore[assignment]  # typeshed has counters of int alone
        self.rows += 1
        self.ids.add(order)

    def has(self, values: dict[str, Decimal]) -> bool:
        """Tell whether one of some values, which is not 0, is the sum of its column."""
        return any(value and self.sums[name] == value for name, value in values.items())


def unlabelled_sums(found: Guess) -> Unlabelled | None:
    """Return rows of numbers alone, without an id, and others that add up the orders above; None if there are none.

    A row of numbers alone may also be a line of the order above it, and so they are sums for sure only if each of them
    adds up what stands above it, and half of them several rows.
    """
    columns, own = found.table.columns, found.texts("order_id")
    if "order_id" not in found.names:
        return None
    taken = {name for role in OF_ROWS for name in found.names.get(role, [])}
    numeric = [each for each in columns if each not in taken and has_amounts(found, each)]
    may_have = {*numeric, *found.names.get("currency", []), *found.names["order_id"]}
    others = [columns[name] for name in columns if name not in may_have]
    totals = [found.amounts([name]) for role in ("total", "line_total") for name in ranked(numeric, role)]
    counts = {*found.names.get("quantity", []), *ranked(numeric, "quantity"), *ranked(numeric, "line")}
    amounts = {name: found.amounts([name]) for name in numeric if name not in counts}
    places, held, several, doubtful, start = list[int](), 0, 0, False, 0
    sheets = found.table.sheets
    for sheet in sheets:
        whole, since = _Above(), _Above()
        for place in range(start, start + len(sheet.rows)):
            values = {name: value for name, column in amounts.items() if (value := column[place]) is not None}
            bare = bool(values) and not any(texts[place] for texts in others)
            above = [each for each in (since, whole) if each.has(values)]
            of_orders = any(len(each.ids) > 1 for each in above) and (bare or not own[place])
            if (bare and not own[place] and not _is_line(found, totals, place)) or of_orders:
                places.append(place)
                doubtful |= not (bare and above)
            if places[-1:] == [place] and above:
                held += 1
                several += any(each.rows > 1 for each in above)
                since = _Above()
            else:
                whole.add(values, found.ids[place])
                since.add(values, found.ids[place])
        start += len(sheet.rows)
    below = sum(
        _alone(found, numeric, dict(zip(each.columns, row, strict=True))) for each in sheets for row in each.end
    )
    if not places and not below:
        return None
    empty = _empty(found, places)
    return Unlabelled(places, held, below, empty, bool(places and empty) and not doubtful and 2 * several >= held)


def _alone(found: Guess, numeric: list[str], row: dict[str, str]) -> bool:
    """Tell whether a row has numbers alone, and isn't a line that has a quantity and a price."""
    filled = {name for name, text in row.items() if text}
    line = all(filled.intersection(found.names.get(role, [])) for role in ("quantity", "price"))
    return bool(filled) and filled <= {*numeric, *found.names.get("currency", [])} and not line


def _is_line(found: Guess, totals: list[list[Decimal | None]], place: int) -> bool:
    """Tell whether a row has a quantity and a price, and their product where it has a total."""
    quantity, price = found.quantity[place], found.price[place]
    if not found.names.keys() >= {"quantity", "price"} or quantity is None or price is None:
        return False
    own = [each[place] for each in totals if each[place] is not None]
    return not own or quantity * price in own


def _empty(found: Guess, places: list[int]) -> list[str]:
    """Return columns that are empty in some rows and, taken together, in no others; none if there are no such."""
    columns, rows = found.table.columns, {*places}
    empty = [name for name in columns if any(columns[name]) and not any(columns[name][place] for place in places)]
    empty = [name for name in empty if all(name in sheet.columns for sheet in found.table.sheets)]
    few = {name for role in OF_ROWS[:4] for name in found.names.get(role, [])}
    for names in ([name for name in empty if name in few], empty):
        if {place for place in range(found.table.count) if not any(columns[name][place] for name in names)} == rows:
            return names
    return []


def without_rows(sheets: list[Sheet], places: list[int]) -> list[Sheet]:
    """Return sheets without some rows, given by their places in all of them."""
    left, start, out = [], 0, {*places}
    for sheet in sheets:
        rows = [row for place, row in enumerate(sheet.rows, start) if place not in out]
        left.append(replace(sheet, rows=rows))
        start += len(sheet.rows)
    return left
