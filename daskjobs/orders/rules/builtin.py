"""The built-in rules: each is a pure function from the typed columns of orders to a mask of the rows that it rejects.

A rule is a function that `rule` marks, and its name is the function's. Its sentence is the argument of `rule`, not the
docstring, which Python removes under -OO. Its argument is `Orders`, arrays of numpy, while the user's own rules get a
frame of pandas (`daskjobs.orders.rules.frames`), which is not even loaded without them. A value that could not be
parsed rejects nothing but by the rule about unreadable ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.files.tables import column, mask
from daskjobs.orders.money import cents_of
from daskjobs.orders.profiles import Profile
from daskjobs.orders.rules.functions import SENTENCE, rule
from daskjobs.orders.schema import PAID, STATUSES
from daskjobs.orders.validation.result import SEEN_BEFORE

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
MOST_PRODUCT = 4 * 10**18  # more than any total can be, and less than what wraps in 64 bits


@dataclass(frozen=True)
class Cells:
    """A column of whole numbers: its values, zero in place of null, and which of them are known."""

    values: Ints
    known: Mask

    @classmethod
    def of(cls, values: Ints, array: pa.Array) -> "Cells":
        """Return the cells of an array, whose nulls may have any of these values."""
        if not array.null_count:
            return cls(values, np.ones(len(values), bool))
        known = array.is_valid().to_numpy(zero_copy_only=False)
        return cls(np.where(known, values, 0), known)


@dataclass(frozen=True)
class Orders:
    """Typed orders as the built-in rules look at them; money is in integer cents."""

    table: pa.Table

    @cached_property
    def quantity(self) -> Cells:
        """The quantities."""
        array = column(self.table, "quantity")
        return Cells.of(array.fill_null(0).to_numpy(), array)

    @cached_property
    def price(self) -> Cells:
        """The prices in cents."""
        return self._money("price")

    @cached_property
    def total(self) -> Cells:
        """The total amounts in cents."""
        return self._money("total_amount")

    @property
    def factors(self) -> tuple[Cells, Cells, Cells]:
        """The columns of which the last one is the product of the others."""
        return self.quantity, self.price, self.total

    def text(self, name: str) -> pa.Array:
        """Return a column of texts, or of times."""
        return column(self.table, name)

    def by_status(self, judge: Callable[[pa.Array], pa.Array]) -> Mask:
        """Return what is told of statuses, each of which is asked about once where they are those of a dictionary."""
        status = self.text("status")
        if not pa.types.is_dictionary(status.type):
            return mask(judge(status))
        found: Mask = mask(judge(status.dictionary))[status.indices.to_numpy()]
        return found

    def _money(self, name: str) -> Cells:
        array = column(self.table, name)
        return Cells.of(cents_of(array), array)


Rule = Callable[[Orders], Mask]

# Reasons of rows that could not be split into fields, and so are not in a frame.
WRONG_FIELDS = "wrong_number_of_fields"
NOT_UTF8 = "not_utf8"
MALFORMED_JSON = "malformed_json"
MALFORMED = {
    WRONG_FIELDS: "The row doesn't have as many fields as the header.",
    NOT_UTF8: "The row holds bytes that are not text in the input's encoding.",
    MALFORMED_JSON: "The line is not one JSON object that has each key once and only whole characters.",
}
DUPLICATE = "duplicate_order_id"  # looked for across all partitions, among the rows that pass every rule
DUPLICATES = {DUPLICATE: "A row before it, which passes every rule too, has the same order_id."}
SEEN = {SEEN_BEFORE: "An earlier run of the series has counted the order."}
# Reasons that a profile brings: of returns, and of rows that are lines of an order.
DUPLICATE_RETURN = "duplicate_return"
DIFFERING_PLACE = "differing_place"
DUPLICATE_LINE = "duplicate_line"
DIFFERING_TOTAL = "differing_total"
DIFFERING_REFUND = "differing_refund"
REJECTED_ORDER = "line_of_rejected_order"
OF_PROFILE = {
    DUPLICATE_RETURN: "A return {where} it, which passes every rule too, has the same text in each column.",
    DUPLICATE_LINE: "A row {where} it, which passes every rule too, has the same key ({key}).",
    DIFFERING_TOTAL: "The order's total is another one than that of {first}.",
    DIFFERING_REFUND: "The order's refund is another one than that of {first}.",
    REJECTED_ORDER: "Another line of the same order is rejected, and the profile then rejects the whole order.",
    DIFFERING_PLACE: "The order stands in another place, too, which counts, and has another {own} there.",
}


def of_profile(profile: Profile | None) -> dict[str, str]:
    """Return the sentences of the reasons that a profile adds for rows that repeat others, or are lines of an order."""
    if not profile:
        return {}
    order, key = profile.order, ", ".join(profile.order.key)
    last = order.repeats == "last"
    where = "behind" if last else "before"
    first = "the first of its lines here" + (" that no later one replaces" if last and key else "")
    if not profile.by_line:
        if key:
            return {DUPLICATE: OF_PROFILE[DUPLICATE_LINE].format(key=key, where=where)}
        said = {DUPLICATE: DUPLICATES[DUPLICATE].replace("before", where)}
        if order.returns == "subtract":
            said[DUPLICATE_RETURN] = OF_PROFILE[DUPLICATE_RETURN].format(where=where)
        return said
    own = [*["total"] * bool(order.total), *["refund"] * profile.refunds_once]
    needed = {
        DUPLICATE_LINE: key,
        DIFFERING_TOTAL: order.total,
        DIFFERING_REFUND: profile.refunds_once,
        REJECTED_ORDER: order.rejects == "order",
        DIFFERING_PLACE: own,
    }
    given = {"key": key, "where": where, "first": first, "own": f"{', '.join(own)} or status"}
    return {name: OF_PROFILE[name].format(**given) for name, wanted in needed.items() if wanted}


def far_from_product(orders: Orders, tolerance: int = 0) -> Mask:
    """Return the rows whose total isn't quantity times price, to so many cents; a row that lacks one isn't asked."""
    quantity, price, total = (each.values for each in orders.factors)
    far: Mask = np.abs(quantity * price - total) > tolerance if tolerance else quantity * price != total
    if _largest(quantity) * _largest(price) > MOST_PRODUCT:
        far |= np.abs(quantity.astype(float) * price) > MOST_PRODUCT
    for each in orders.factors:
        far &= each.known
    return far


def _largest(values: Ints) -> int:
    """Return the largest absolute value."""
    return max(int(values.max(initial=0)), -int(values.min(initial=0)))


@rule("The order_id is empty.")
def missing_order_id(orders: Orders) -> Mask:
    return mask(pc.equal(orders.text("order_id"), ""))


@rule("The quantity is not a whole number of at most nine digits, like 2 or 2.0.")
def unreadable_quantity(orders: Orders) -> Mask:
    return ~orders.quantity.known


@rule("The quantity is zero or negative.")
def quantity_below_one(orders: Orders) -> Mask:
    return orders.quantity.known & (orders.quantity.values < 1)


@rule("The price is not an amount like 12.34, of whole cents and with at most sixteen digits before the point.")
def unreadable_price(orders: Orders) -> Mask:
    return ~orders.price.known


@rule("The price is below zero.")
def negative_price(orders: Orders) -> Mask:
    return orders.price.values < 0


@rule("The total_amount is not an amount like 12.34, of whole cents and with at most sixteen digits before the point.")
def unreadable_total(orders: Orders) -> Mask:
    return ~orders.total.known


@rule("The total_amount is not quantity times price, to the cent.")
def wrong_total(orders: Orders) -> Mask:
    return far_from_product(orders)


@rule("The status is none of success, failed, pending, cancelled and refunded, in lower case, and not mapped to one.")
def unknown_status(orders: Orders) -> Mask:
    return orders.by_status(lambda status: pc.invert(pc.is_in(status, pa.array(STATUSES))))


@rule("The timestamp is not a day that exists, like 2025-03-31, alone or with a time like 23:59:59 (ISO 8601).")
def unreadable_timestamp(orders: Orders) -> Mask:
    return mask(orders.text("timestamp").is_null())


def failed_transaction(orders: Orders) -> Mask:
    """The status is not success: the order is valid but unpaid, and clean leaves it out."""
    return orders.by_status(lambda status: pc.not_equal(status, PAID))


# The rules by name, in the order of a row's reasons; and the sentence of each reason.
RULES: dict[str, Rule] = {
    each.__name__: each
    for each in (missing_order_id, unreadable_quantity, quantity_below_one, unreadable_price, negative_price,
                 unreadable_total, wrong_total, unknown_status, unreadable_timestamp)
}  # fmt: skip
SENTENCES = MALFORMED | {name: str(getattr(each, SENTENCE)) for name, each in RULES.items()} | DUPLICATES
# Those that a profile may leave out. Without one of the others, nobody could tell which order a row is, of which day,
# whether it is paid, and what it comes to.
OPTIONAL = ("unreadable_quantity", "quantity_below_one", "unreadable_price", "negative_price", "wrong_total")
# The known anomalies of generated orders, and the functions that must find them.
ANOMALIES: dict[str, Rule] = {
    function.__name__: function for function in (negative_price, wrong_total, failed_transaction)
}
