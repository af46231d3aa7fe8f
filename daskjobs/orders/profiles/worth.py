"""What a row adds to orders and revenue, as a profile says: returns, refunds, currencies, and an order's own total."""

from collections import Counter
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.errors import InputError
from daskjobs.files.tables import column, mask
from daskjobs.orders.money import cents_of, decimals_of
from daskjobs.orders.profiles import Profile
from daskjobs.orders.profiles.columns import Arranged
from daskjobs.orders.rules.profiled import MISSING_CURRENCY, UNREADABLE_REFUND
from daskjobs.orders.schema import COUNTS, PAID
from daskjobs.orders.summary import counts_of, own_total

SPREAD = np.int64(0x9E3779B97F4A7C15 - (1 << 64))  # an odd number, whose multiples are everywhere in 64 bits
MOST_CURRENCIES = 1000  # the world has fewer: more texts are those of another column

Mask = npt.NDArray[np.bool_]


def faults(found: Arranged) -> dict[str, Mask]:
    """Return the rows that are rejected for what no rule sees, by reason."""
    masks = dict[str, Mask]()
    if found.refunds is not None:
        masks[UNREADABLE_REFUND] = mask(found.refunds.is_null())
    if found.currencies is not None:
        unpriced = pc.equal(found.currencies.fill_null(""), "")
        masks[MISSING_CURRENCY] = mask(pc.and_(unpriced, pc.equal(found.orders["status"].fill_null(""), PAID)))
    return masks


def returned(orders: pa.Table, profile: Profile) -> Mask:
    """Return which valid rows give something back: these are no orders, and repeat no id."""
    if profile.order.returns == "reject":
        return np.zeros(len(orders), bool)
    back: Mask = _cents(orders["total_amount"]) < 0
    if not own_total(profile):  # else one line of an order may go back, and the order is paid all the same
        price = column(orders, "price")
        back |= (_cents(price) < 0) & (True if price.null_count == 0 else mask(price.is_valid()))
        back |= column(orders, "quantity").fill_null(0).to_numpy() < 0
    return back


def foreign(found: Arranged, profile: Profile) -> Mask:
    """Return the paid rows of another currency than the one that was chosen for the report."""
    chosen = profile.order.report_currency
    if found.currencies is None or not chosen:
        return np.zeros(len(found.orders), bool)
    return mask(pc.not_equal(found.currencies, chosen.upper())) & _paid(found)


def of_order(found: Arranged, profile: Profile) -> npt.NDArray[np.int64]:
    """Return a number for what each row says of its whole order: its own total, and its refund, where it has these.

    Two that differ have two numbers, but for some pairs of amounts, as rare as equal hashes of 64 bits.
    """
    says = np.zeros(len(found.orders), np.int64)
    if own_total(profile):
        says += _cents(found.orders["total_amount"])
    if profile.refunds_once and found.refunds is not None:
        says += _cents(found.refunds) * SPREAD
    return says


def counted(orders: pa.Table, found: Arranged, profile: Profile, heads: Mask) -> pa.Table:
    """Return the orders with what each row adds, in the columns `COUNTS`.

    ``heads`` are the first rows of their orders that pass every rule. Each is an order, unless it is a return, and the
    order's refund and its own total count there.
    """
    back, totals = returned(orders, profile), _cents(orders["total_amount"])
    adding = heads if profile.order.total else np.ones(len(orders), bool)
    gross, refunded = np.where(adding & ~back, totals, 0), np.where(adding & back, -np.minimum(totals, 0), 0)
    if found.refunds is not None:
        giving = heads if profile.refunds_once or not profile.by_line else np.ones(len(orders), bool)
        refunded += np.where(giving & ~back, _cents(found.refunds), 0)
    arrays = pa.array((heads & ~back).astype(np.int64)), decimals_of(gross), decimals_of(refunded)
    for name, array in zip(COUNTS, arrays, strict=True):
        orders = orders.append_column(name, array)
    return orders


def statuses(found: Arranged, other: Mask) -> pa.Array:
    """Return each row's status, and of those of another currency than the report's this, too: "success in JPY"."""
    status = column(found.orders, "status")
    if not other.any():
        return status
    return pc.if_else(pa.array(other), pc.binary_join_element_wise(status, found.currencies, " in "), status)


def refuse_many(currencies: Collection[str], profile: Profile) -> None:
    """Raise InputError when there are more currencies than in the world."""
    if len(currencies) > MOST_CURRENCIES:
        raise InputError(
            f"the column {profile.order.currency} has more than {MOST_CURRENCIES:,} different texts, so it is not one "
            f"of currencies: name that in the profile {profile.name}, under [order] currency"
        )


def currencies(found: Arranged, profile: Profile, valid: Mask) -> dict[str, int]:
    """Return how many valid rows are paid in each currency. Raises InputError when no world has so many."""
    if found.currencies is None:
        return {}
    counts = counts_of(found.currencies.filter(pa.array(valid & _paid(found))))
    refuse_many(counts, profile)
    return counts


def signs(found: Arranged, valid: Mask) -> dict[str, int]:
    """Return how many totals and refunds of valid rows that are paid have each sign, where they may have several."""
    counts = Counter[str]()
    for each in found.signs:
        counts.update(counts_of(each.filter(pa.array(valid & _paid(found)))))
    return counts


def _paid(found: Arranged) -> Mask:
    return mask(pc.equal(column(found.orders, "status"), PAID))


def _cents(amounts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return cents_of(amounts.combine_chunks() if isinstance(amounts, pa.ChunkedArray) else amounts)
