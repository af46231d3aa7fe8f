"""Makes our columns of a file's, as a profile says."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.errors import ConfigError, InputError
from daskjobs.orders.header import first_row
from daskjobs.orders.money import MONEY, cents_of, decimals_of
from daskjobs.orders.parse import mapped, trimmed
from daskjobs.orders.profiles import ANY, Profile, signed
from daskjobs.orders.profiles.timestamps import times
from daskjobs.orders.profiles.values import amounts, currencies, ids, quantities, signs
from daskjobs.orders.schema import COLUMNS, COUNTS, STATUSES

BETWEEN = "\x1f"  # the parts of a key
IN_PARTS = (
    ("\x1e", "\x1e0"),
    (BETWEEN, "\x1e1"),
)  # what stands in a part in place of these, so that no two keys are one
MOST_CENTS = 10**18 - 1  # as many as MONEY holds


@dataclass(frozen=True)
class Arranged:
    """Rows under our names: typed ``orders``, with the other columns as text.

    ``refunds`` are amounts, as positive decimals of scale 2: an empty one is 0, and one that can't be read is null, so
    that `worth.faults` rejects its row. ``currencies`` are codes in upper case, and ``keys`` the texts of the columns
    of `OrderForm.key`, joined by the character U+001F, which stands nowhere else in them; each of the three is None
    where the profile names none. ``signs`` are those of `values.signs`, of each column of totals and refunds; there are
    none where all are of one currency, or a column says it.
    """

    orders: pa.Table
    refunds: pa.Array | None = None
    currencies: pa.Array | None = None
    keys: pa.Array | None = None
    signs: tuple[pa.Array, ...] = ()


def needed(profile: Profile) -> list[list[str]]:
    """Return the names of columns that a file must have, each with those that may stand in its place."""
    return [list(names) for names in dict.fromkeys(map(tuple, _needed(profile)))]


def _needed(profile: Profile) -> Iterator[list[str]]:
    order = profile.order
    for ours in COLUMNS:
        column = profile.column(ours)
        if ours == "total_amount" and order.total:
            continue
        yield from [column.names] if column.names else ([name] for name in column.sources)
    total = profile.column("total_amount").sources if order.total else []
    yield from ([name] for name in (*total, order.refunds, order.currency, order.version) if name)
    yield from ([name] for name in order.key if name not in COLUMNS)
    yield from ([name] for where in profile.furniture.where for name in where)


def amount_names(profile: Profile) -> set[str]:
    """Return the names that a file's columns of quantities and amounts may have."""
    of = [profile.column(ours) for ours in ("quantity", "price", "total_amount")]
    return {profile.order.refunds, *(name for each in of for name in each.sources)} - {""}


def raw_names(header: list[str], profile: Profile, name: str) -> list[str]:
    """Return the names of a file's columns, as they are there, but each once: a repeated one gets a number.

    A column without a name is named by its number: column_11. Raises InputError when one that the profile needs is
    missing, or occurs twice.
    """
    named = [column or f"column_{number}" for number, column in enumerate(header, 1)]
    wanted = needed(profile)
    known = {each for names in wanted for each in names}
    missing = [" or ".join(names) for names in wanted if _first_of(names, named) is None]
    if missing:
        skipped = profile.file.skip_lines
        row = f"first row, after skip_lines = {skipped}," if skipped else "first row"
        todo = "name the columns of this file in the profile, or take another one"
        if skipped:
            todo += "; if the header stands above that row, make skip_lines less, and if below it, more"
        elif not any(map(str.strip, header)):
            todo = "if the header stands below it, say skip_lines = 1 under [file] of the profile"
        raise InputError(
            f"{name} has no column {', '.join(missing)}, which the profile {profile.name} needs: its {row} "
            f"{first_row(header, known)}; {todo}"
        )
    counts = Counter(named)
    taken = {_first_of(names, named) for names in wanted}
    if twice := [column for column, times in counts.items() if times > 1 and column in taken]:
        raise InputError(
            f"{name} has the column {', '.join(twice)} more than once, and the profile {profile.name} needs it; give "
            "each of these columns a name of its own"
        )
    return _unique(named)


def _first_of(names: list[str], columns: Sequence[str]) -> str | None:
    """Return the first of some names that a file has."""
    return next((each for each in names if each in columns), None)


def _unique(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Return names of which each is another one: a repeated one gets a number.

    >>> _unique(["Tax", "Tax", "Tax_2"])
    ['Tax', 'Tax_3', 'Tax_2']
    """
    names = list(names)
    first, used, result = set(taken), set(names) | set(taken), []
    for name in names:
        new, number = name, 1
        while new in (first if number == 1 else used):
            number += 1
            new = f"{name}_{number}"
        first.add(new)
        used.add(new)
        result.append(new)
    return result


def used(columns: list[str], profile: Profile) -> dict[str, str]:
    """Return which of a file's columns has the values of each of ours, where it is one column."""
    found = {ours: _first_of(profile.column(ours).names, columns) for ours in COLUMNS}
    return {ours: name for ours, name in found.items() if name}


def others(columns: list[str], profile: Profile) -> dict[str, str]:
    """Return the names of a file's columns that aren't ours, by their names in the results.

    One that is called like ours, or like one that stands behind them, gets the suffix '_original'.
    """
    taken = COLUMNS + (COUNTS if profile.counts else ())
    mine = set(used(columns, profile).values())
    names = [each for each in columns if each not in mine]
    shown = _unique((f"{each}_original" if each in taken else each for each in names), taken)
    return dict(zip(shown, names, strict=True))


def extra_names(columns: list[str], profile: Profile) -> list[str]:
    """Return the names of a file's columns that aren't ours, as they stand in the results."""
    return list(others(columns, profile))


def kept_as(profile: Profile, name: str, kept: Iterable[str]) -> str:
    """Return the name under which results have a file's column, of the names that are ``kept``; empty without it."""
    kept, columns = set(kept), {ours: profile.column(ours) for ours in COLUMNS}
    ours = next((ours for ours, each in columns.items() if each.names[:1] == [name] and each.empty is None), "")
    taken = COLUMNS + (COUNTS if profile.counts else ())
    return ours or next((each for each in (name, f"{name}_original") if each in kept - {*taken}), "")


def order_ids(texts: pa.Table, profile: Profile) -> pa.Array:
    """Return the order ids of a table that has the file's columns as texts, as `arranged` has them.

    Where they are filled down, one that is white space alone is empty, whatever `ValueForm.ids` says.
    """
    found = ids(_text(texts, profile, "order_id"), profile.values)
    if "order_id" not in profile.order.fill_down:
        return found
    blank = pc.utf8_is_space(found)
    return pc.if_else(blank, "", found) if pc.any(blank).as_py() else found


def arranged(texts: pa.Table, profile: Profile, extra: list[str]) -> Arranged:
    """Return the rows of a table that has the file's columns as texts.

    ``extra`` are the columns of all files besides ours; those that this one doesn't have are null.
    """
    order, values = profile.order, profile.values
    columns = {ours: _typed(texts, profile, ours) for ours in COLUMNS if ours != "total_amount"}
    if profile.column("total_amount").computed:
        columns["total_amount"] = _product(columns["quantity"], columns["price"])
    else:
        columns["total_amount"] = _typed(texts, profile, "total_amount")
    refunds = None
    if order.refunds:
        given = trimmed(_of(texts, order.refunds))
        read = pc.if_else(pc.equal(given, ""), 0, amounts(given, values))
        refunds = pc.abs(read).cast(MONEY)
    orders = pa.table({ours: columns[ours] for ours in COLUMNS})
    here = others(texts.column_names, profile)
    for name in dict.fromkeys([*here, *extra]):
        orders = orders.append_column(name, texts[here[name]] if name in here else pa.nulls(len(texts), pa.string()))
    codes = pc.utf8_upper(pc.utf8_trim_whitespace(_of(texts, order.currency))) if order.currency else None
    keys = _keys(texts, profile) if order.key else None
    return Arranged(orders, refunds, codes, keys, _signs(texts, profile))


def _signs(texts: pa.Table, profile: Profile) -> tuple[pa.Array, ...]:
    if profile.order.currency or len(currencies(profile.values)) < 2:
        return ()
    of = profile.column("price" if profile.column("total_amount").computed else "total_amount")
    total = _first_of(of.names, texts.column_names)
    names = dict.fromkeys([total, *(signed(each)[1] for each in of.sum), profile.order.refunds])
    return tuple(signs(_of(texts, name), profile.values) for name in names if name)


def _typed(texts: pa.Table, profile: Profile, ours: str) -> pa.Array:
    column, values = profile.column(ours), profile.values
    if ours == "status" and column.constant in STATUSES and column.constant not in profile.status:
        return _text(texts, profile, ours)  # which isn't one of the file's others
    if column.sum:
        return _sum(texts, profile, column.sum, column.empty)
    if ours == "order_id":
        return order_ids(texts, profile)
    text = _text(texts, profile, ours)
    match ours:
        case "user_id":
            return text if values.ids == "exact" else ids(text, values)
        case "quantity":
            return quantities(text, values)
        case "price" | "total_amount":
            return amounts(text, values)
        case "timestamp":
            return times(text, values)
        case "status":
            return _statuses(text, profile.status)
    return text


def _of(texts: pa.Table, name: str) -> pa.Array:
    text = texts[name].combine_chunks()
    return text.fill_null("") if text.null_count else text


def _text(texts: pa.Table, profile: Profile, ours: str) -> pa.Array:
    """Return the texts of one of our columns, as the file has them."""
    column = profile.column(ours)
    if column.constant is not None:
        return pa.repeat(column.constant, len(texts))
    if column.join:
        text = reduce(_joined, (trimmed(_of(texts, name)) for name in column.join))
    else:
        name = _first_of(column.names, texts.column_names)
        text = _of(texts, name) if name else pa.repeat("", len(texts))
    if column.empty is None:
        return text
    return pc.if_else(pc.equal(trimmed(text), ""), column.empty, text)


def _joined(left: pa.Array, right: pa.Array) -> pa.Array:
    """Return texts with a blank between them, or one of them where the other is empty."""
    return trimmed(pc.binary_join_element_wise(left, right, " "))


def _sum(texts: pa.Table, profile: Profile, names: list[str], empty: str | None = None) -> pa.Array:
    """Return the sum of columns of amounts, each with a sign or none.

    An empty one counts as 0, but where all are empty, the sum is that of the text ``empty``, or null. It is null, too,
    where one is unreadable.
    """
    total, size = np.zeros(len(texts), np.int64), np.zeros(len(texts))
    readable, something = np.ones(len(texts), bool), np.zeros(len(texts), bool)
    for sign, name in map(signed, names):
        text = trimmed(_of(texts, name))
        full = pc.not_equal(text, "").to_numpy(zero_copy_only=False)
        read = amounts(text, profile.values)
        known = read.is_valid().to_numpy(zero_copy_only=False)
        cents = np.where(known, cents_of(read), 0)
        total += sign * cents
        size += sign * cents.astype(float)
        readable &= known | ~full
        something |= full
    readable &= (np.abs(size) < 2.0 * MOST_CENTS) & (np.abs(total) <= MOST_CENTS)
    result = _masked(total, readable & something)
    if empty is None:
        return result
    return pc.if_else(pa.array(something), result, amounts(pa.array([empty]), profile.values)[0])


def _product(quantity: pa.Array, price: pa.Array) -> pa.Array:
    """Return quantity times price, null where one of them is or where it is too large."""
    known = pc.and_(quantity.is_valid(), price.is_valid()).to_numpy(zero_copy_only=False)
    count = quantity.fill_null(0).to_numpy()
    cents = np.where(known, cents_of(price), 0)
    small = np.abs(count.astype(float) * cents) < 2.0 * MOST_CENTS
    total = np.where(small, count * np.where(small, cents, 0), 0)
    return _masked(total, known & small & (np.abs(total) <= MOST_CENTS))


def _masked(cents: np.ndarray, known: np.ndarray) -> pa.Array:
    return decimals_of(np.where(known, cents, 0), known)


def _statuses(text: pa.Array, statuses: dict[str, str]) -> pa.Array:
    """Return our statuses for the file's; each distinct text is looked up once."""
    coded = text.dictionary_encode()
    named = {theirs: ours for theirs, ours in statuses.items() if theirs != ANY}
    theirs = trimmed(coded.dictionary)
    ours = mapped(theirs, named) if named else theirs
    if ANY in statuses:
        ours = pc.if_else(pc.is_in(theirs, pa.array(list(named), pa.string())), ours, statuses[ANY])
    return ours.take(coded.indices)


def _keys(texts: pa.Table, profile: Profile) -> pa.Array:
    """Return the texts of the columns of a key, joined, each as ids are."""
    return joined(
        ids(_text(texts, profile, each) if each in COLUMNS else _of(texts, each), profile.values)
        for each in profile.order.key
    )


def kept_key(profile: Profile, run: str, kept: Sequence[str]) -> list[str]:
    """Return the columns of the valid orders of a ``run``, of those that are ``kept``, that have those of the key.

    Raises ConfigError where one of these isn't kept as the text that the key is made of.
    """
    found = dict[str, str]()
    for name in profile.order.key:
        found[name] = name if name in COLUMNS else kept_as(profile, name, kept)
    texts = ("order_id", "user_id", "region", "product", "payment_mode")
    if wrong := next((name for name, at in found.items() if not at or (at in COLUMNS and at not in texts)), ""):
        raise ConfigError(
            f"--known can't compare the key of the profile {profile.name}, since {run} keeps no text of its column "
            f"{wrong}: make the key of other columns, or leave --known out"
        )
    return list(found.values())


def key_texts(orders: pa.Table, names: Sequence[str], profile: Profile) -> pa.Array:
    """Return the keys of valid orders that are kept, from the columns that `kept_key` names."""
    return joined(ids(orders[name].combine_chunks().cast(pa.string()).fill_null(""), profile.values) for name in names)


def joined(columns: Iterable[pa.Array]) -> pa.Array:
    """Return the texts of keys, of those of their columns."""
    parts = list(columns)
    return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*map(_without_between, parts), BETWEEN)


def _without_between(part: pa.Array) -> pa.Array:
    """Return texts without the character `BETWEEN`, of which two are the same only if they were."""
    if not any(pc.any(pc.match_substring(part, sign)).as_py() for sign, _ in IN_PARTS):
        return part
    return reduce(lambda text, each: pc.replace_substring(text, *each), IN_PARTS, part)
