"""The shares of rows that a run may reject, in all and by reason, and the error when there are more."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real
from typing import Any, Self

from daskjobs.errors import InputError, UsageError
from daskjobs.options import plain, quoted, value_shown
from daskjobs.orders.validation.result import SEEN_BEFORE, UnreadFiles

FEW_ROWS = 200_000  # a run of at most these takes a second, so it writes its whole account before it fails
SHOWN = 3  # reasons that an error message names
ALL = "*"  # stands for all rejected rows, whatever their reasons are
FORM = "--max-rejected must be a share from 0 to 1, like 0.05, or shares by reason, like wrong_total=0.01,*=0.05"

Shares = float | str  # of all rejected rows, or a text of shares by reason


def read_shares(value: Any) -> Shares:
    """Return what --max-rejected says, always in the same form: the share of all rejected rows, or a text by reason.

    ``value`` is a number, a text, several of these, or a mapping from reasons to shares. Raises UsageError when it
    makes no sense.

    >>> read_shares("0.05"), read_shares("*=5%"), read_shares({"wrong_total": 0.01, "*": 0.05})
    (0.05, 0.05, 'wrong_total=0.01,*=0.05')
    """
    shares = dict[str, float]()
    for reason, said in _pairs(value):
        share = _share(said)
        if shares.setdefault(reason, share) != share:
            raise UsageError(
                f"--max-rejected gives {'all rejected rows' if reason == ALL else reason} two shares, "
                f"{shares[reason]:.15g} and {share:.15g}: give one"
            )
    if shares.keys() <= {ALL}:
        return shares.get(ALL, 1.0)
    return ",".join(
        f"{reason}={shares[reason]!r}" for reason in [*sorted(shares.keys() - {ALL}), *shares.keys() & {ALL}]
    )


def _pairs(value: Any) -> Iterable[tuple[str, Any]]:
    """Yield each reason with what is said of its share."""
    if isinstance(value, Mapping):
        for reason, said in value.items():
            yield _reason(reason), said
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _pairs(each)
    elif isinstance(value, str):
        for part in filter(None, (each.strip() for each in value.split(","))):
            reason, equals, said = part.rpartition("=")
            if "=" in reason:
                raise UsageError(f"{FORM}, got {quoted(part)}")
            yield (_reason(reason.strip()) if equals else ALL), said.strip()
        if not value.strip(", "):
            raise UsageError(f"{FORM}, got {quoted(value)}")
    else:
        yield ALL, value


def _reason(name: Any) -> str:
    if name != ALL and not (isinstance(name, str) and name.isidentifier()):
        raise UsageError(f"{FORM}: a reason is a rule's name, or * for all rejected rows, got {quoted(str(name))}")
    return str(name)


def _share(said: Any) -> float:
    """Return a share, which may be a number, its text, or a text of percent."""
    if getattr(said, "shape", None) == ():  # numpy's
        said = said.item()
    if isinstance(said, bool) or not isinstance(said, Real | Decimal | str):
        raise UsageError(f"--max-rejected must be a number, got {value_shown(said)}")
    number: Any = said
    try:
        if isinstance(said, str):
            number = Decimal(plain(said.removesuffix("%"))) / (100 if said.endswith("%") else 1)
        within = 0 <= number <= 1  # not nan
    except (ValueError, ArithmeticError):  # the latter for what is no number, and for an exponent of many digits
        raise UsageError(f"{FORM}, got {value_shown(said)}") from None
    if not within:
        raise UsageError(f"--max-rejected must be between 0 and 1, got {value_shown(said)}")
    return float(number)


@dataclass(frozen=True)
class Limit:
    """The rows of an input, and the share of them, from 0 to 1, that may be rejected; in all, and by reason.

    The limit of a rule that warns is one of its warned rows.
    """

    rows: int
    share: float = 1.0
    by_reason: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: int, said: Shares) -> Self:
        """Return the limit of so many rows that `read_shares` has returned."""
        shares = {reason: _share(share) for reason, share in _pairs(said)}
        return cls(rows, shares.pop(ALL, 1.0), shares)

    @property
    def most(self) -> int:
        """The number of rows that may be rejected.

        >>> Limit(100, 0.29).most  # which is 28.999… in binary
        29
        """
        return self._most(self.share)

    def _most(self, share: float) -> int:
        return int(Decimal(repr(float(share))) * self.rows)

    def ends_early(self, rejected: int, counts: Mapping[str, int]) -> bool:
        """Tell whether a run ends with ``rejected`` rows rejected, before all rows have been checked.

        ``counts`` are the rows by reason, those that were warned of among them.
        """
        return self.rows > FEW_ROWS and (rejected > self.most or bool(self.over(counts)))

    def over(self, counts: Mapping[str, int]) -> list[str]:
        """Return the reasons of which there are more rows than their own limits allow."""
        return [reason for reason, share in self.by_reason.items() if counts.get(reason, 0) > self._most(share)]

    def broken(
        self, rejected: int, reasons: Mapping[str, int], all_seen: bool = True, warned: Mapping[str, int] | None = None
    ) -> str:
        """Say why this number of rejected rows is too large, or return an empty text if it isn't.

        Rows that were seen before are not among ``rejected``: nothing is wrong with them. ``reasons`` counts them by
        reason, and ``warned`` those that rules warn of. All rows are too many, whatever the share: most likely the run
        reads the file in the wrong way. Unless ``all_seen``, there may be more rejected rows.
        """
        too_many, all_of_them = rejected > self.most, 0 < self.rows == rejected
        at_least, counts, said = "" if all_seen else "at least ", {**reasons, **(warned or {})}, list[str]()
        if too_many or all_of_them:
            wrong = {reason: rows for reason, rows in reasons.items() if reason != SEEN_BEFORE}
            allows = f"and {self._allows('', self.share, rejected, at_least)}" if too_many else "every one of them"
            said = [f"{at_least}{rejected} of {self.rows} rows were rejected, {allows} ({_most(wrong)})"]
        for reason in self.over(counts):
            count, share = counts[reason], self.by_reason[reason]
            what = "warned of" if warned and reason in warned else "rejected"
            said.append(
                f"{at_least}{count} of {self.rows} rows were {what} as {reason}, and "
                f"{self._allows(f'{reason}=', share, count, at_least)}"
            )
        return "; ".join(said)

    def _allows(self, reason: str, share: float, count: int, at_least: str) -> str:
        most = self._most(share)
        return f"--max-rejected {reason}{share:.15g} allows {most}: {at_least}{count - most} too many"

    def early(self, rejected: int, reasons: Mapping[str, int], warned: Mapping[str, int] | None = None) -> InputError:
        """Return the error of a run that ends before all of its rows have been checked."""
        understood = rejected <= self.most and {*self.over(reasons)} <= {SEEN_BEFORE}
        how = "" if understood else ", say how the file is written (--profile, --delimiter, --columns, --statuses)"
        return InputError(
            f"{self.broken(rejected, reasons, False, warned)}; the run has ended at once, without an account of its "
            f"rows: mend the orders{how}, or allow more, which gives the account"
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
