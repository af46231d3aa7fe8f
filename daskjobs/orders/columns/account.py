"""report/columns.json: what each column of the orders holds."""

from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Literal

VERSION = 1
QUANTILES = ("0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99")
MOST_COLUMNS = 200  # that are told of
MOST_VALUES = 50  # distinct ones, that are told with their rows
MOST_TEXT = 200  # characters of a text that is told
MEAN_PLACES = Decimal("0.0001")

Kind = Literal["text", "number", "amount", "time"]
EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True)
class ColumnAccount:
    """What a column holds, over all rows that were read as rows, rejected ones too.

    ``in_file`` is the column's own name in the first file, where it is another one. ``empty`` counts the rows without a
    text, ``unreadable`` those whose text is none of its ``kind``; everything else is about the others. ``distinct`` is
    their number of different values, estimated unless ``distinct_exact``. ``longest`` are the characters of the longest
    text. ``quantiles`` are values: the least one that so large a share of the rows don't exceed. ``values`` has all
    values with their rows, if they are few. Texts of more than 200 characters are cut, and end with an ellipsis.
    """

    name: str
    kind: Kind
    empty: int
    unreadable: int
    distinct: int
    distinct_exact: bool
    in_file: str = ""
    least: str | None = None
    most: str | None = None
    longest: int | None = None
    mean: str | None = None
    quantiles: dict[str, str] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ColumnsAccount:
    """The content of columns.json: how many ``rows`` were read as rows, and what the ``columns`` hold in these.

    ``left_out`` counts the columns behind the first 200, which are not told of.
    """

    version: int
    rows: int
    columns: list[ColumnAccount]
    left_out: int = 0


def mean(total: Decimal, count: int) -> str:
    """Return a mean, to the fourth place.

    >>> mean(Decimal("10.00"), 3)
    '3.3333'
    """
    return str(EXACT.quantize(EXACT.divide(total, Decimal(count)), MEAN_PLACES))
