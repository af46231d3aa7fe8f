"""Finds rows of sums that stand among the lines of an order, like Summe in the column of its articles."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from daskjobs.orders.proposals.guesses import MOST, Guess
from daskjobs.orders.proposals.sampling import Sheet
from daskjobs.orders.proposals.words import TOTALS, plain

MOST_COLUMNS = 20  # in which the sums are looked for


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
