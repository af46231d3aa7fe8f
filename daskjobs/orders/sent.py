"""What the sender says of the orders, by --expect or in a control file, and how it compares with what was received.

This module imports neither pyarrow nor Dask. `validation.received` counts what was received.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from daskjobs.errors import InputError, UsageError
from daskjobs.files.documents import dump
from daskjobs.options import is_nothing, quoted
from daskjobs.orders.profiles import Profile
from daskjobs.orders.validation.result import Received, SourceRow

MOST_BYTES = 1 << 16  # of a control file
ROWS, IDS = "rows", "ids"
MONEY = ("total_amount", "price")  # the columns whose sum the sender may say
HASHES = {"sha256": 64, "md5": 32}  # digits
EXPECT = "--expect"
FORM = f"{EXPECT} must be like rows=50000,total_amount=21206843.46,ids=49990, or some of these"
NAMED = 3  # files or rows in a sentence
MOST_LISTED = 100  # lines of single files in quality.json

COUNT_DIGITS, AMOUNT_DIGITS = 18, 24  # at most, of an amount before the point
_COUNT = re.compile(rf"[0-9]{{1,{COUNT_DIGITS}}}", re.ASCII)
_AMOUNT = re.compile(rf"-?[0-9]{{1,{AMOUNT_DIGITS}}}(\.[0-9]{{1,2}}0*)?", re.ASCII)


@dataclass(frozen=True)
class Said:
    """What the sender says of one file, or of the whole input: None, or empty, where nothing is said.

    ``sums`` are texts of amounts, with two decimals, by the column: total_amount or price.
    """

    rows: int | None = None
    ids: int | None = None
    sums: dict[str, str] = field(default_factory=dict)
    sha256: str = ""
    md5: str = ""

    @property
    def hashes(self) -> dict[str, str]:
        """The hashes of the file's bytes, by algorithm."""
        return {name: value for name in HASHES if (value := getattr(self, name))}


@dataclass(frozen=True)
class Control:
    """What a control file says of the file of orders beside it, which is the ``file``-th of the input, from 0."""

    name: str
    file: int
    said: Said


@dataclass(frozen=True)
class Sent:
    """What the sender says, as split has fixed it: of the whole input, and of single files."""

    expect: Said | None = None
    controls: list[Control] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.expect or self.controls)

    @property
    def sums(self) -> list[str]:
        """The columns to add up."""
        asked = {name for each in self._all for name in each.sums}
        return [name for name in MONEY if name in asked]

    @property
    def ids(self) -> bool:
        """Whether distinct ids are to be counted."""
        return any(each.ids is not None for each in self._all)

    @property
    def _all(self) -> list[Said]:
        return [*filter(None, [self.expect]), *(each.said for each in self.controls)]


@dataclass(frozen=True)
class SentLine:
    """One line of the ledger: what was sent is what was received and what is missing, all three as exact texts.

    ``what`` are rows, ids (distinct order ids), or a column of money that was added up. ``by`` is who says so:
    --expect, a control file, or so many control files. ``missing`` is below zero if more was received than sent, and
    empty if nobody can know it, since ``unread`` rows have no amount that can be read: ``first`` are the first of them.
    """

    what: str
    by: str
    sent: str
    received: str
    missing: str
    unread: int = 0
    first: list[SourceRow] = field(default_factory=list)

    @property
    def balances(self) -> bool:
        """Whether all that was sent was received, and no more."""
        return bool(self.missing) and not Decimal(self.missing)

    def sentence(self) -> str:
        """Return the line in words."""
        noun = {ROWS: " rows", IDS: " distinct ids"}.get(self.what, "")
        sum_of, are = ("", "are") if noun else (f"{self.what} of ", "is")
        head = f"the sender's {sum_of}{_grouped(self.sent)}{noun} {are} {_grouped(self.received)} received"
        by = "" if self.by == EXPECT else f", by {self.by.removeprefix('file://')}"
        if not self.missing:
            rows = ", ".join(f"row {each.row} of {each.source.rsplit('/', 1)[-1]}" for each in self.first)
            more = f" and {self.unread - len(self.first):,} more" if self.unread > len(self.first) else ""
            count = "1 row has" if self.unread == 1 else f"{self.unread:,} rows have"
            return f"{head} + an unknown rest{by}, since {count} no amount that can be read ({rows}{more})"
        if self.missing.startswith("-"):
            return f"{head}, {_grouped(self.missing.removeprefix('-'))} too many{by}"
        return f"{head} + {_grouped(self.missing)} missing{by}"


def _grouped(number: str) -> str:
    return f"{Decimal(number):,}"


def read_expect(value: Any) -> str:
    """Return what --expect says, always in the same form.

    ``value`` is a text, several, or a mapping. Names of columns are not looked at: they may be the file's own. Raises
    UsageError when it makes no sense.

    >>> read_expect("ids=7 , total_amount=10.5,rows=007"), read_expect({"rows": 7, "Total": Decimal("1")})
    ('rows=7,ids=7,total_amount=10.50', 'rows=7,Total=1.00')
    """
    if (isinstance(value, str) and not value) or is_nothing(value):
        return ""
    found = dict[str, str]()
    for name, said in _pairs(value):
        if name in HASHES:
            raise UsageError(f"{EXPECT} can't say {name}, which is of one file: let its control file say it")
        read = _value(name, said, UsageError, EXPECT)
        if found.setdefault(name, read) != read:
            raise UsageError(f"{EXPECT} says two {name}, {found[name]} and {read}: give one")
    if not found:
        raise UsageError(f"{FORM}, got {quoted(str(value))}")
    return ",".join(f"{name}={found[name]}" for name in sorted(found, key=_order))


def _order(name: str) -> tuple[int, str]:
    return ((ROWS, IDS, *MONEY).index(name), "") if name in (ROWS, IDS, *MONEY) else (9, name)


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, said in value.items():
            if not isinstance(name, str) or not name.strip() or {",", "="} & {*name}:
                raise UsageError(f"{FORM}, got the name {quoted(str(name))}")
            yield name.strip(), said
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _pairs(each)
    elif isinstance(value, str):
        for part in filter(None, (each.strip() for each in value.split(","))):
            name, equals, said = part.rpartition("=")
            if not equals or not name.strip():
                raise UsageError(
                    f"{FORM}, got {quoted(part)}, which is no name=number; numbers have no commas between thousands"
                )
            yield name.strip(), said.strip()
    else:
        raise UsageError(f"{FORM}, as a text or a dict, got {quoted(str(value))}")


def _value(name: str, said: Any, error: type[InputError | UsageError], where: str) -> str:
    """Return a count or an amount as a text of always the same form. Raises ``error`` when it is neither."""
    if getattr(said, "shape", None) == ():  # numpy's
        said = said.item()
    if isinstance(said, bool) or not isinstance(said, int | Decimal | str):
        hint = ": a float may stand for another number" if isinstance(said, float) else ""
        raise error(f"{where} must say {name} as a number or a text, got {quoted(str(said))}{hint}")
    small = isinstance(said, Decimal) and said.is_finite() and said.adjusted() <= AMOUNT_DIGITS
    text = f"{said:f}" if small else str(said)  # Decimal("5E+3") is 5000
    if name in (ROWS, IDS):
        if not _COUNT.fullmatch(text):
            most = f"of at most {COUNT_DIGITS} digits and not below 0"
            raise error(f"{where} must say {name} as a whole number {most}, like 50000, got {quoted(text)}")
        return str(int(text))
    if not _AMOUNT.fullmatch(text):
        most = f"with at most {AMOUNT_DIGITS} digits before the point"
        raise error(f"{where} must say {name} as an amount of whole cents {most}, like 21206843.46, got {quoted(text)}")
    return amount(text)


def amount(text: str) -> str:
    """Return an amount with two decimals.

    >>> amount("-007.1000"), amount("-0")
    ('-7.10', '0.00')
    """
    whole, _, cents = text.removeprefix("-").partition(".")
    plain = f"{int(whole)}.{cents[:2]:0<2}"
    return f"-{plain}" if text.startswith("-") and plain.strip("0.") else plain


def read_control(data: bytes, where: str, names: Mapping[str, str]) -> Said:
    """Return what a control file says, where ``names`` are those of `our_columns`.

    Raises InputError for a malformed one, and for what isn't known.
    """
    try:
        said = json.loads(data.decode("utf-8-sig"), parse_float=str, parse_int=str, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise InputError(f"{where} is no JSON ({error}): it must be an object like {_example()}") from error
    if not isinstance(said, _Pairs) or not said:
        raise InputError(f"{where} must be an object like {_example()}, got {quoted(str(said))}")
    _refuse_unknown((name for name, _ in said), names, InputError, where)
    found = dict[str, str]()
    for name, value in said:
        if name not in HASHES:
            read = _value(name, value, InputError, where)
        elif not isinstance(value, str) or not re.fullmatch(f"[0-9a-fA-F]{{{HASHES[name]}}}", value):
            raise InputError(f"{where} must say {name} as {HASHES[name]} hexadecimal digits, got {quoted(str(value))}")
        else:
            read = value.lower()
        if found.setdefault(name, read) != read:
            raise InputError(f"{where} says two {name}, {found[name]} and {read}: its sender must say one")
    return _said(found, names, InputError, where)


class _Pairs(list[tuple[str, Any]]):
    """The names and values of a JSON object, in which a name may stand twice."""

    def __str__(self) -> str:
        return str(dict(self))


def _example() -> str:
    return '{"rows": 50000, "total_amount": "21206843.46", "ids": 49990, "sha256": "…"}'


def our_columns(columns: str, profile: Profile | None) -> dict[str, str]:
    """Return the names by which a sender may call a column of money, each with ours: ours, and the file's own."""
    from daskjobs.orders.sources.names import column_names  # late, since it imports pyarrow

    names = dict(zip(MONEY, MONEY, strict=True))
    for ours in reversed(MONEY):  # one column may be both
        if profile:
            of = profile.column(ours)
            theirs = of.names or [each.removeprefix("+").strip() for each in of.sum if len(of.sum) == 1]
        else:
            theirs = [column_names(columns).get(ours, ours)]
        names |= {name: ours for name in theirs if name not in (ROWS, IDS, *MONEY) and not name.startswith("-")}
    return names


def _refuse_unknown(
    said: Iterable[str], names: Mapping[str, str], error: type[InputError | UsageError], by: str
) -> None:
    known = [ROWS, IDS, *names, *(HASHES if by != EXPECT else ())]
    for name in said:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}? It" if near else "it"
            raise error(f"{by} says {quoted(name)}, which is not known: {hint} may say {', '.join(known)}")


def _said(pairs: Mapping[str, str], names: Mapping[str, str], error: type[InputError | UsageError], by: str) -> Said:
    """Return what names and values say. Raises ``error`` when two names of one column have two values."""
    sums = dict[str, str]()
    for name in pairs.keys() - {ROWS, IDS, *HASHES}:
        if sums.setdefault(names[name], pairs[name]) != pairs[name]:
            raise error(f"{by} says two sums of {names[name]}, {sums[names[name]]} and {pairs[name]}: give one")
    return Said(
        rows=int(pairs[ROWS]) if ROWS in pairs else None,
        ids=int(pairs[IDS]) if IDS in pairs else None,
        sums={name: sums[name] for name in MONEY if name in sums},
        sha256=pairs.get("sha256", ""),
        md5=pairs.get("md5", ""),
    )


def expected(text: str, names: Mapping[str, str]) -> Said | None:
    """Return what the text of `read_expect` says; None if it is empty. Raises UsageError for what isn't known."""
    if not text:
        return None
    pairs = dict(part.rpartition("=")[::2] for part in text.split(","))
    _refuse_unknown(pairs, names, UsageError, EXPECT)
    return _said(pairs, names, UsageError, EXPECT)


def refuse_contradiction(sent: Sent, files: int) -> None:
    """Raise InputError when control files of all of the ``files`` say something else than --expect."""
    if sent.expect is None or not sent.controls or len(sent.controls) < files:
        return
    one = files == 1
    for what, mine in _measures(sent.expect).items():
        theirs = [said[what] for each in sent.controls if what in (said := _measures(each.said))]
        if len(theirs) == files and (what != IDS or one) and sum(theirs) != mine:
            name = sent.controls[0].name.removeprefix("file://")
            who = f"{name} says" if one else f"the {files:,} control files together say"
            raise InputError(
                f"{EXPECT} says {what}={mine}, and {who} {sum(theirs)}: ask the sender which "
                f"of the two is right; leave {EXPECT} out, or correct the control file"
            )


def _measures(said: Said) -> dict[str, Decimal]:
    """Return the counts and sums that are said."""
    counts = {name: Decimal(value) for name, value in ((ROWS, said.rows), (IDS, said.ids)) if value is not None}
    return counts | {name: Decimal(text) for name, text in said.sums.items()}


def compare(sent: Sent, received: Mapping[str, Received], ids: Mapping[str, int]) -> list[SentLine]:
    """Return the ledger's lines: of --expect, of all control files together, and of single files that differ.

    ``received`` and ``ids`` (the number of distinct ones) are by the place of the file, and under "" of all files.
    """
    lines = _lines(sent.expect, EXPECT, received.get("", Received()), ids.get("", 0)) if sent.expect else []
    each = [
        line
        for one in sent.controls
        for line in _lines(one.said, one.name, received.get(str(one.file), Received()), ids.get(str(one.file), 0))
    ]
    if len(sent.controls) < 2:
        return lines + each
    for what in (ROWS, IDS, *MONEY):
        if some := [line for line in each if line.what == what]:
            lines.append(_together(some))
    return lines + [line for line in each if not line.balances][:MOST_LISTED]


def _lines(said: Said, by: str, received: Received, ids: int) -> list[SentLine]:
    lines = list[SentLine]()
    came = _measures(Said(received.rows, ids, received.sums))
    for what, sent in _measures(said).items():
        arrived = came.get(what, Decimal("0.00"))
        lines.append(_line(what, by, sent, arrived, received.unread.get(what, 0), received.first.get(what, [])))
    return lines


def _line(what: str, by: str, sent: Decimal, arrived: Decimal, unread: int, first: list[SourceRow]) -> SentLine:
    return SentLine(what, by, str(sent), str(arrived), "" if unread else str(sent - arrived), unread, first)


def _together(lines: Sequence[SentLine]) -> SentLine:
    """Return one line for those of several control files."""
    by = f"{len(lines):,} control files" if len(lines) > 1 else lines[0].by
    sent = sum((Decimal(line.sent) for line in lines[1:]), Decimal(lines[0].sent))
    received = sum((Decimal(line.received) for line in lines[1:]), Decimal(lines[0].received))
    first = [row for line in lines for row in line.first][:NAMED]
    return _line(lines[0].what, by, sent, received, sum(line.unread for line in lines), first)


def broken(lines: Sequence[SentLine], furniture: int = 0) -> str:
    """Say which lines don't balance; an empty text if all do."""
    wrong = [line for line in lines if not line.balances]
    if not wrong:
        return ""
    said = "; ".join(line.sentence() for line in wrong[: 2 * NAMED])
    more = f"; and {len(wrong) - 2 * NAMED:,} more" if len(wrong) > 2 * NAMED else ""
    apart = f"; {furniture:,} rows of furniture came besides, and don't count" if furniture else ""
    return f"{said}{more}{apart}"


def fingerprint(controls: Iterable[Control]) -> str:
    """Return a hash of what control files say."""
    return hashlib.sha256(dump([*controls])).hexdigest()
