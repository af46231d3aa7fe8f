"""A profile: how a file of orders is written, what its columns mean, and what an order is in it.

`read_profile` makes one of a TOML file or of a preset. This module imports nothing slow.
"""

from dataclasses import dataclass, field
from typing import Literal

ISO, UNIX = "iso", "unix"  # timestamps that need no format: ISO 8601, and seconds since 1970
ANY = "*"  # in [status]: any other text
OTHERS = ("user_id", "region", "product", "payment_mode")  # columns that a file may do without


@dataclass(frozen=True)
class FileForm:
    """[file]: how files are written; empty where the profile says nothing.

    ``quoting`` is one of `dialect.QUOTINGS`, or "spark" (a backslash escapes quotes and backslashes alone); ``quote``
    is the character. ``encodings`` are pairs of a pattern of file names and the encodings to try for such a file, of
    which the first that fits all of it is taken. ``header`` names the columns of files without a header row.
    ``skip_lines`` stand before the header, ``footer_lines`` after the last row. ``nulls`` are texts that mean nothing.
    """

    delimiter: str = ""
    quoting: str = ""
    quote: str = '"'
    encodings: list[tuple[str, list[str]]] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    skip_lines: int = 0
    footer_lines: int = 0
    nulls: list[str] = field(default_factory=list)


def signed(name: str) -> tuple[int, str]:
    """Return the sign of a column in a sum, and its name.

    >>> signed("-Discount"), signed("Subtotal")
    ((-1, 'Discount'), (1, 'Subtotal'))
    """
    return (-1 if name.startswith("-") else 1), name.removeprefix("-").removeprefix("+").strip()


@dataclass(frozen=True)
class Column:
    """[columns]: where the values of one of our columns come from; exactly one of the first six says it.

    ``names``: the first of these columns that the file has. ``constant``: the same text in each row. ``absent``: the
    column is empty, and stands in no plot. ``sum``: amounts of columns, each name with a sign or none. ``join``: texts
    of columns with a blank between them (a date and a time). ``computed``: quantity times price (total_amount alone).
    ``empty`` is the text in place of an empty one.
    """

    names: list[str] = field(default_factory=list)
    constant: str | None = None
    absent: bool = False
    sum: list[str] = field(default_factory=list)
    join: list[str] = field(default_factory=list)
    computed: bool = False
    empty: str | None = None

    @property
    def sources(self) -> list[str]:
        """The file's columns that its values come from; of ``names``, these are the first one that a file has."""
        return [*self.names, *(signed(each)[1] for each in self.sum), *self.join]


@dataclass(frozen=True)
class ValueForm:
    """[values]: how numbers, times and ids are written.

    ``thousands`` are the characters that may stand between groups of three digits, ``currency`` the signs or codes that
    may stand before or after an amount. ``parentheses``, ``trailing_minus``: forms of negative numbers that are
    understood beside a leading minus. ``percent``: 12.5% is 0.125. ``timestamp`` are formats of `strptime`, tried in
    order, or "iso" or "unix" (seconds since 1970). Times without an offset stand in ``zone``, a name of tzdata, and
    become UTC (a day alone stays that day); of the hour that occurs twice, ``hour_twice`` takes the "first" or
    "second", or it is unreadable. ``ids``: "exact" as they stand (trimmed of blanks and tabs), "trimmed" of all white
    space, or "visible": without invisible characters, too.
    """

    decimal: str = "."
    thousands: list[str] = field(default_factory=list)
    currency: list[str] = field(default_factory=list)
    parentheses: bool = False
    trailing_minus: bool = False
    percent: bool = False
    timestamp: list[str] = field(default_factory=list)
    zone: str = ""
    hour_twice: Literal["", "first", "second"] = ""
    ids: Literal["exact", "trimmed", "visible"] = "exact"


@dataclass(frozen=True)
class OrderForm:
    """[order]: what an order is.

    ``rows``: each row is an "order", or a "line" of one. ``key`` are the columns (ours or the file's) that no two rows
    have in common; without it, the order_id where rows are orders, and none where they are lines. ``fill_down`` are our
    columns, and "total", "refunds" and "currency" for those below, of which an empty field has the nearest value above
    it in its order.
    ``total``: empty where total_amount is the row's own; else the order's own total, counted once: columns of the file,
    each with a sign or none. ``price`` is of a "unit", or of the whole "line". ``tolerance``: cents by which a total
    may differ. ``returns``: negative quantities and amounts are to "reject", or to "subtract" from the revenue.
    ``refunds`` and ``currency`` are columns of the file, or empty; the report is of ``report_currency``, or of the only
    one that there is. ``rejects``: a rejected line rejects that "line", or its whole "order". ``repeats``: of rows with
    one key, the "first" or the "last" counts. ``version`` is the file's column by which --again newest says which row
    is newer; without it, the timestamp does. ``without_rules`` are built-in rules that are left out.
    """

    rows: Literal["order", "line"] = "order"
    key: list[str] = field(default_factory=list)
    fill_down: list[str] = field(default_factory=list)
    total: list[str] = field(default_factory=list)
    price: Literal["unit", "line"] = "unit"
    tolerance: int = 0
    returns: Literal["reject", "subtract"] = "reject"
    refunds: str = ""
    currency: str = ""
    report_currency: str = ""
    rejects: Literal["line", "order"] = "line"
    repeats: Literal["first", "last"] = "first"
    without_rules: list[str] = field(default_factory=list)
    version: str = ""


@dataclass(frozen=True)
class Furniture:
    """[furniture]: rows that are no orders, counted apart: neither lost nor rejected.

    ``lines`` are regular expressions of RE2, searched in the text of a row. ``where``: rows in which each of these
    columns has one of these texts. ``header``: the header again.
    """

    lines: list[str] = field(default_factory=list)
    where: list[dict[str, list[str]]] = field(default_factory=list)
    header: bool = False


@dataclass(frozen=True)
class Profile:
    """A profile. ``name`` is its path, URI or preset, as shown; ``sha256`` is that of everything else in it.

    ``columns`` has those of ours that the profile names; the others are the file's of the same name. ``status`` has
    our status by the file's; the key `ANY` stands for all others.
    """

    name: str
    sha256: str = ""
    file: FileForm = field(default_factory=FileForm)
    columns: dict[str, Column] = field(default_factory=dict)
    values: ValueForm = field(default_factory=ValueForm)
    status: dict[str, str] = field(default_factory=dict)
    order: OrderForm = field(default_factory=OrderForm)
    furniture: Furniture = field(default_factory=Furniture)

    def column(self, ours: str) -> Column:
        """Return where the values of one of our columns come from.

        It is what the profile says of it, or the file's column of the same name; an order's own total is a sum.
        """
        if ours == "total_amount" and self.order.total:
            return Column(sum=self.order.total)
        return self.columns.get(ours, Column(names=[ours]))

    @property
    def by_line(self) -> bool:
        """Whether a row is a line of an order."""
        return self.order.rows == "line"

    @property
    def nets(self) -> bool:
        """Whether the file tells what was given back, so that the revenue is net of it."""
        return self.order.returns == "subtract" or bool(self.order.refunds)

    @property
    def refunds_once(self) -> bool:
        """Whether a refund is the order's, as its own total is, and not that of one of its lines."""
        order = self.order
        return self.by_line and bool(order.refunds) and (bool(order.total) or "refunds" in order.fill_down)

    @property
    def counts(self) -> bool:
        """Whether a row may count for something else than one order and its total_amount."""
        return self.by_line or self.nets or bool(self.order.total)
