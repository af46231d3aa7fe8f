"""Decides what an order is in sampled rows: lines of orders or orders, and which column is which total."""

import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import combinations, islice

from daskjobs.display import escaped
from daskjobs.orders.proposals.forms import amount
from daskjobs.orders.proposals.guesses import MONEY, MOST, TOLERANCE, Guess, ranked
from daskjobs.orders.proposals.words import NO_CENTS, plain

LOOKED_AT = 1000  # texts, that tell whether a column is of amounts
LEAST_CENTS = 100  # an order of less is not common, if it is in cents
_WHOLE = re.compile(r"-?[0-9]+([.,]0)?")  # of floats, 1999.0 is no less a number of cents


@dataclass(frozen=True)
class Shape:
    """What an order is in the rows: the decisions of [order] and of the columns of its amounts."""

    by_line: bool = False
    repeats: int = 0
    equal: int = 0  # rows that repeat an id and differ in nothing that makes a line
    orders: int = 0
    fill: tuple[str, ...] = ()
    own: list[str] = field(default_factory=list)  # the order's own total
    own_once: bool = False  # it stands in the first line alone
    total: list[str] = field(default_factory=list)  # the row's
    price_of_line: bool = False
    tolerance: int = 0
    agrees: tuple[int, int] = (0, 0)


def shape(found: Guess) -> Shape:
    """Decide what an order is."""
    orders = len(set(found.ids) - {""}) if "order_id" in found.names else found.table.count
    by_line, repeats, equal = _lines(found)
    names = found.table.columns
    money = [each for each in ranked(names, "total") if has_amounts(found, each) and each not in used(found)]
    lines = [each for each in ranked(names, "line_total") if has_amounts(found, each) and each not in used(found)]
    if "total" in found.names:
        money = [*found.names["total"], *money]
    form = Shape(by_line, repeats, equal, orders)
    if by_line:
        return _line_form(found, form, money, lines)
    return _order_form(found, form, list(dict.fromkeys(money + lines)))


def used(found: Guess) -> set[str]:
    """Return the columns that are taken for something else than the total."""
    return {name for role, names in found.names.items() for name in names if role not in ("total",)}


def has_amounts(found: Guess, name: str) -> bool:
    """Tell whether a column is of amounts."""
    texts = [each for each in found.table.columns[name] if each][:LOOKED_AT]
    values = sum(map(bool, map(amount, texts)))
    return bool(values) and values >= 0.7 * len(texts)


def in_parts(found: Guess) -> str:
    """Return the column that is a quantity by its name, but whose numbers are not whole; empty if there is none."""
    if "quantity" in found.names:
        return ""
    names = [each for each in ranked(found.table.columns, "quantity") if each not in used(found)]
    return next((each for each in names if has_amounts(found, each)), "")


def with_quantity(found: Guess, name: str) -> Guess:
    """Return a guess with another column as the quantity."""
    return replace(found, names=found.names | {"quantity": [name]})


def may_be_cents(found: Guess, names: list[str]) -> bool:
    """Tell whether amounts may be whole cents: nobody writes them with decimals, signs or less than three digits."""
    texts = {each for name in names for each in found.table.columns[name] if each}
    roles = [role for role in MONEY if role != "quantity"]
    others = {name for role in roles for name in ranked(found.table.columns, role)}
    decimals = (text for name in others for text in found.table.columns[name] if not _WHOLE.fullmatch(text))
    codes = {each.upper() for each in found.texts("currency") if each}
    return (
        bool(texts)
        and all(map(_WHOLE.fullmatch, texts))
        and not any(0 < abs(Decimal(each.replace(",", "."))) < LEAST_CENTS for each in texts)
        and not any((each := amount(text)) and each.decimal for text in decimals)
        and not (codes and codes <= NO_CENTS)
    )


def differ(found: Guess, one: str, other: str) -> bool:
    """Tell whether two columns of amounts are different ones: both are there in most rows, and not the same in some."""
    both = [
        first == second
        for first, second in zip(found.amounts([one]), found.amounts([other]), strict=True)
        if first is not None and second is not None
    ]
    return not all(both) and 2 * len(both) > found.table.count


def _lines(found: Guess) -> tuple[bool, int, int]:
    """Return whether rows are lines of orders, how many rows repeat an id, and how many of these are no new line."""
    if "order_id" not in found.names:
        return False, 0, 0
    own_id = found.texts("order_id")
    own = [role for role in ("product", "quantity", "price") if role in found.names]
    taken = {name for role in own for name in found.names[role]}
    makes = dict.fromkeys(name for role in ("product", "line") for name in ranked(found.table.columns, role))
    everywhere = [each for each in makes if all(each in sheet.columns for sheet in found.table.sheets)]
    of_line = [*map(found.texts, own), *(found.table.columns[each] for each in everywhere if each not in taken)]
    of_order = [found.texts(role) for role in ("status", "timestamp", "user_id") if role in found.names]
    seen, repeats, equal, blanks = dict[str, set[tuple[str, ...]]](), 0, 0, 0
    for place, each in enumerate(found.ids):
        key = tuple(column[place] for column in of_line)
        if each and each in seen:
            blank = not all(texts[place] for texts in of_order)
            if found.is_negative(place) or (not own_id[place] and of_order and not blank):
                continue  # a return, or a row without an id
            repeats += 1
            blanks += blank
            equal += key in seen[each] or not of_line
        seen.setdefault(each, set()).add(key)
    return bool(repeats) and (repeats - equal >= max(1, equal) or blanks > repeats / 2), repeats, equal


def overlaps(found: Guess, line: str = "") -> int:
    """Return how many rows stand in a later file again, by id and line; none if two rows of one file have the same."""
    ids = found.texts("order_id")
    lines = found.table.columns[line] if line else [""] * len(ids)
    if not all(ids) or (line and not all(lines)):
        return 0
    seen, count, rows = dict[tuple[str, str], int](), 0, iter(zip(ids, lines, strict=True))
    for number, sheet in enumerate(found.table.sheets):
        for each in islice(rows, len(sheet.rows)):
            if seen.get(each) == number:
                return 0
            count += each in seen
            seen[each] = number
    return count


def same_rows(found: Guess) -> int:
    """Return how many rows of a file stand in an earlier one as they are."""
    seen, count = set[tuple[str, ...]](), 0
    for sheet in found.table.sheets:
        rows = {*map(tuple, sheet.rows)}
        count += len(rows & seen)
        seen |= rows
    return count


def changed(found: Guess) -> int:
    """Return how many rows repeat an id with another status than the row of that id before them."""
    last, count = dict[str, str](), 0
    for each, status in zip(found.texts("order_id"), found.texts("status"), strict=True):
        count += bool(each) and last.get(each, status) != status
        last[each] = status
    return count


def runs(found: Guess) -> list[list[int]]:
    """Return the places of the rows of each order that has several."""
    places = dict[str, list[int]]()
    for place, each in enumerate(found.ids):
        if each:
            places.setdefault(each, []).append(place)
    return [each for each in places.values() if len(each) > 1]


def alike_in(found: Guess, name: str) -> tuple[int, int] | None:
    """Return in how many orders of several lines all have the same in a column, of how many; None if in the fewer."""
    texts, several = found.table.columns[name], runs(found)
    alike = sum(bool(texts[run[0]]) and len({texts[place] for place in run}) == 1 for run in several)
    return (alike, len(several)) if 2 * alike >= len(several) > 0 else None


def _line_form(found: Guess, form: Shape, money: list[str], lines: list[str]) -> Shape:
    several = runs(found)

    def once(texts: list[str]) -> bool:
        later = [texts[place] for run in several for place in run[1:]]
        first = [texts[run[0]] for run in several]
        return sum(not each for each in later) >= 0.9 * len(later) and sum(map(bool, first)) >= 0.9 * len(first)

    def same(texts: list[str]) -> bool:
        alike = sum(bool(texts[run[0]]) and len({texts[place] for place in run}) == 1 for run in several)
        return alike >= 0.95 * len(several)

    fill = list[str]()
    for role in ("order_id", "user_id", "region", "payment_mode", "status", "timestamp", "currency", "refunds"):
        if role in found.names and once(found.texts(role)):
            fill.append(role)
    own, own_once, rest = list[str](), False, list[str]()
    for name in money:
        texts = found.table.columns[name]
        agrees, count = found.agree(found.amounts([name]))
        if count and agrees >= MOST * count:
            rest.append(name)
        elif not own and (once(texts) or same(texts)):
            own, own_once = [name], once(texts)
        elif not (once(texts) or same(texts)):
            rest.append(name)
    if own_once:
        fill.append("total")
    total, agreed = list[str](), (0, 0)
    candidates = list(dict.fromkeys([each for each in lines if not once(found.table.columns[each])] + rest))
    for name in candidates:
        seen = found.agree(found.amounts([name]))
        if seen[1] and seen[0] >= MOST * seen[1]:
            total, agreed = [name], seen
            break
    if not total and not own and candidates:
        return _order_form(found, replace(form, fill=tuple(fill)), candidates)
    return replace(
        form,
        fill=tuple(fill),
        own=own,
        own_once=own_once,
        total=total,
        agrees=agreed,
    )


def _order_form(found: Guess, form: Shape, candidates: list[str]) -> Shape:
    """Decide which column is the row's total, and how it agrees with quantity times price."""
    if not candidates:
        return form
    if "price" not in found.names:
        return replace(form, total=candidates[:1], price_of_line="quantity" in found.names)
    for price_of_line, cents in ((False, 0), (True, 0), (False, TOLERANCE)):
        for name in candidates:
            agrees, count = found.agree(found.amounts([name]), price_of_line, cents)
            if count and agrees >= MOST * count:
                tolerance = _largest(found, name) if cents else 0
                return replace(
                    form, total=[name], price_of_line=price_of_line, tolerance=tolerance, agrees=(agrees, count)
                )
    agrees, count = found.agree(found.amounts(candidates[:1]))
    return replace(form, total=candidates[:1], agrees=(agrees, count))


def _largest(found: Guess, name: str) -> int:
    """Return by how many cents quantity times price differs at most, of the differences that are taken for rounding."""
    most = 0
    for quantity, price, whole in zip(found.quantity, found.price, found.amounts([name]), strict=True):
        if quantity is not None and price is not None and whole is not None:
            cents = -(-abs(quantity * price - whole) * 100 // 1)
            most = max(most, int(cents)) if cents <= TOLERANCE else most
    return most


def parts(found: Guess, total: list[str]) -> str:
    """Return the sum of columns that is the total in all rows, or an empty text."""
    wholes = found.amounts(total)
    columns = {
        role: next(
            (each for each in ranked(found.table.columns, role) if has_amounts(found, each) and each not in total), ""
        )
        for role in ("subtotal", "shipping", "tax", "discount")
    }
    if not columns["subtotal"] or not any(columns[role] for role in ("shipping", "tax", "discount")):
        return ""
    values = {role: found.amounts([name]) for role, name in columns.items() if name}
    for with_tax in (True, False):
        for sign in (-1, 1):
            used = [role for role in values if with_tax or role != "tax"]
            signs = {role: sign if role == "discount" else 1 for role in used}
            rows = [
                place for place, each in enumerate(wholes) if each is not None and values["subtotal"][place] is not None
            ]
            if rows and all(
                sum(((values[role][place] or Decimal(0)) * signs[role] for role in used), Decimal(0)) == wholes[place]
                for place in rows
            ):
                return " ".join(
                    f"{'-' if signs[role] < 0 else '+'} {escaped(columns[role])}" for role in used
                ).removeprefix("+ ")
    return ""


SURE_KEYS = ("transactionid", "lineitemid", "lineid", "orderitemid", "orderlineid")


def key_of(found: Guess) -> str:
    """Return the column that tells the lines of an order apart, or an empty text."""
    taken = {name for names in found.names.values() for name in names}
    for name in ranked(found.table.columns, "line"):
        texts = found.table.columns[name]
        distinct = len(set(zip(found.ids, texts, strict=True)))
        least = 0.9 if plain(name) in SURE_KEYS else 1.0
        if name not in taken and all(texts) and distinct >= least * found.table.count:
            return name
    return ""


def made_of(found: Guess, total: str) -> str:
    """Return the sum that is the total in most rows: quantity times price, with shipping, tax, or less a discount."""
    names = {role: next((each for each in _others(found, role, total)), "") for role in ("shipping", "tax", "discount")}
    extras = {role: found.amounts([name]) for role, name in names.items() if name}
    columns = zip(found.quantity, found.price, found.amounts([total]), strict=True)
    rests = {
        place: whole - quantity * price
        for place, (quantity, price, whole) in enumerate(columns)
        if whole is not None and quantity is not None and price is not None
    }
    for count in range(1, len(extras) + 1):
        for used in combinations(extras, count):
            for less in (-1, 1) if "discount" in used else (1,):
                signs = {role: less if role == "discount" else 1 for role in used}
                sums = {
                    place: sum((extras[role][place] or 0) * sign for role, sign in signs.items()) for place in rests
                }
                if sum(sums[place] == rest for place, rest in rests.items()) >= MOST * max(1, len(rests)):
                    words = [f"{'-' if sign < 0 else '+'} {escaped(names[role])}" for role, sign in signs.items()]
                    return f"quantity * price {' '.join(words)}"
    return ""


def _others(found: Guess, role: str, total: str) -> list[str]:
    """Return the columns of amounts of a role, but for the total."""
    return [each for each in ranked(found.table.columns, role) if has_amounts(found, each) and each != total]


def sum_parts(found: Guess, subtotal: str) -> list[str]:
    """Return the columns that make a total of a subtotal, with their signs; none if there are no others."""
    extra = []
    for role, sign in (("shipping", "+"), ("tax", "+"), ("discount", "-")):
        names = _others(found, role, subtotal)
        if names:
            below = any((each or 0) < 0 for each in found.amounts(names[:1]))
            extra.append(f"{'+' if below else sign}{names[0]}")
    return [subtotal, *extra] if extra else []
