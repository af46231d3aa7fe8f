"""Makes our columns of a file's, as a profile says."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.errors import InputError
from daskjobs.orders.parse import trimmed, typed
from daskjobs.orders.profiles import Column, Profile
from daskjobs.orders.schema import COLUMNS


@dataclass(frozen=True)
class Arranged:
    """Rows under our names: typed ``orders``, with the other columns as text.

    ``refunds`` are amounts, as positive decimals of scale 2, ``currencies`` codes in upper case, and ``keys`` the texts
    of the columns of `OrderForm.key`, joined by the character U+001F; each is None where the profile names none.
    """

    orders: pa.Table
    refunds: pa.Array | None = None
    currencies: pa.Array | None = None
    keys: pa.Array | None = None


def column_of(profile: Profile, ours: str) -> Column:
    """Return where one of our columns comes from: what the profile says, or the file's column of the same name."""
    return profile.columns.get(ours, Column(names=[ours]))


def raw_names(header: list[str], profile: Profile, name: str) -> list[str]:
    """Return the names of a file's columns, as they are there. Raises InputError when one that is needed is missing."""
    named = [column or f"column_{number}" for number, column in enumerate(header, 1)]
    for ours in COLUMNS:
        names = column_of(profile, ours).names
        if names and not set(names) & set(named):
            raise InputError(f"{name} has no column {' or '.join(names)}, which the profile {profile.name} needs")
    return named


def used(columns: list[str], profile: Profile) -> dict[str, str]:
    """Return which of a file's columns has the values of each of ours, where it is one column."""
    found = {ours: [each for each in column_of(profile, ours).names if each in columns] for ours in COLUMNS}
    return {ours: names[0] for ours, names in found.items() if names}


def extra_names(columns: list[str], profile: Profile) -> list[str]:
    """Return the names of a file's columns that aren't ours, as they stand in the results."""
    ours = set(used(columns, profile).values())
    return [f"{each}_original" if each in COLUMNS else each for each in columns if each not in ours]


def order_ids(texts: pa.Table, profile: Profile) -> pa.Array:
    """Return the order ids of a table that has the file's columns as texts, as `arranged` has them."""
    name = used(texts.column_names, profile).get("order_id")
    if name is None:
        return pa.repeat(column_of(profile, "order_id").constant or "", len(texts))
    return trimmed(texts[name].combine_chunks())


def arranged(texts: pa.Table, profile: Profile, extra: list[str]) -> Arranged:
    """Return the rows of a table that has the file's columns as texts."""
    found = used(texts.column_names, profile)
    rows = len(texts)
    columns = {
        ours: texts[found[ours]] if ours in found else pa.repeat(column_of(profile, ours).constant or "", rows)
        for ours in COLUMNS
    }
    others = [each for each in texts.column_names if each not in found.values()]
    columns |= dict(zip(extra_names(texts.column_names, profile), (texts[each] for each in others), strict=True))
    columns |= {name: pa.nulls(rows, pa.string()) for name in extra if name not in columns}
    orders = typed(pa.table(columns), profile.status)
    keys = [orders[each] if each in COLUMNS else texts[each] for each in profile.order.key]
    joined = pc.binary_join_element_wise(*(each.cast(pa.string()) for each in keys), "\x1f") if keys else None
    return Arranged(orders, keys=None if joined is None else joined.combine_chunks())
