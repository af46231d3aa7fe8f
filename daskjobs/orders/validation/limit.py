"""The number of rows that a run may reject, and the error when there are more."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from daskjobs.errors import InputError
from daskjobs.orders.validation.result import UnreadFiles

FEW_ROWS = 200_000  # a run of at most these takes a second, so it writes its whole account before it fails
SHOWN = 3  # reasons that an error message names


@dataclass(frozen=True)
class Limit:
    """The rows of an input, and the share of them, from 0 to 1, that may be rejected."""

    rows: int
    share: float = 1.0

    @property
    def most(self) -> int:
        """The number of rows that may be rejected.

        >>> Limit(100, 0.29).most  # which is 28.999… in binary
        29
        """
        return int(Decimal(repr(float(self.share))) * self.rows)

    def ends_early(self, rejected: int) -> bool:
        """Tell whether a run ends with ``rejected`` rows rejected, before all rows have been checked."""
        return self.rows > FEW_ROWS and rejected > self.most

    def broken(self, rejected: int, reasons: Mapping[str, int], all_seen: bool = True) -> str:
        """Say why this number of rejected rows is too large, or return an empty text if it isn't.

        ``reasons`` counts them by reason. All rows are too many, whatever the share: most likely the run reads the file
        in the wrong way. Unless ``all_seen``, there may be more rejected rows.
        """
        too_many, all_of_them = rejected > self.most, 0 < self.rows == rejected
        if not too_many and not all_of_them:
            return ""
        head = f"{'' if all_seen else 'at least '}{rejected} of {self.rows} rows were rejected"
        allows = f"more than --max-rejected {self.share:.15g} allows" if too_many else "every one of them"
        return f"{head}, {allows} ({_most(reasons)})"

    def early(self, rejected: int, reasons: Mapping[str, int]) -> InputError:
        """Return the error of a run that ends before all of its rows have been checked."""
        return InputError(
            f"{self.broken(rejected, reasons, all_seen=False)}; the run has ended at once, without an account of its "
            "rows: mend the orders, say how the file is written (--profile, --delimiter, --columns, --statuses), or "
            "allow more, which gives the account"
        )


def ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return counts with their names, the largest first."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _most(reasons: Mapping[str, int]) -> str:
    """Return the reasons with the most rows, and how many more there are.

    >>> _most({"wrong_total": 2, "negative_price": 0, "unreadable_price": 7})
    'unreadable_price 7, wrong_total 2'
    """
    counts = ranked({reason: count for reason, count in reasons.items() if count})
    more = f" and {len(counts) - SHOWN} more reasons" if len(counts) > SHOWN else ""
    return ", ".join(f"{reason} {count}" for reason, count in counts[:SHOWN]) + more


def not_understood(unread: UnreadFiles, single: bool = False) -> str:
    """Say of which files no row was understood, and why."""
    names = ", ".join(name.removeprefix("file://") for name in unread.first)
    names += f" and {unread.files - len(unread.first):,} more files" if unread.files > len(unread.first) else ""
    row = f"the single row {'of' if unread.files == 1 else 'of each of'}" if single else "no row of"
    return f"{row} {names} was {'not ' if single else ''}understood ({_most(unread.reasons)})"


def proposal(unread: UnreadFiles | None) -> str:
    """Return the command that says how a file of which no row was understood may be read."""
    return f"daskjobs profile propose {shlex.quote(unread.first[0].removeprefix('file://')) if unread else 'FILE'}"
