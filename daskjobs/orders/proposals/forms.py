"""Finds out how numbers and times are written, from texts alone: what a proposal says under [values]."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import partial

from daskjobs.orders.profiles import ISO, UNIX
from daskjobs.orders.profiles.timeforms import clash
from daskjobs.orders.proposals.words import CODES, SIGNS

GROUPS = " '\u2019\u00a0\u202f\u2009"  # beside the point and the comma
_CURRENCY = "|".join(
    sorted(
        [re.escape(each) for each in (*SIGNS, *CODES)] + [f"[{''.join(map(chr, range(0x20A0, 0x20C1)))}$£¥€¤]"],
        key=len,
        reverse=True,
    )
)
_AMOUNT = re.compile(
    rf"(?P<open>\()?\s*(?P<minus>[-\u2212])?\s*(?P<before>{_CURRENCY})?\s*(?P<inner>[-\u2212])?\s*"
    rf"(?P<core>[0-9](?:[0-9{GROUPS}.,]*[0-9])?|[.,][0-9]+)"
    rf"\s*(?P<percent>%)?\s*(?P<trailing>-)?\s*(?P<after>{_CURRENCY})?\s*(?P<last>-)?\s*(?P<close>\))?"
)
_GROUPED = re.compile(rf"[0-9]{{1,3}}(?:([{GROUPS}.,])[0-9]{{3}})(?:\1[0-9]{{3}})*")
_DECIMALS = re.compile(
    rf"(?P<whole>[0-9]*|[0-9]{{1,3}}(?P<sep>[{GROUPS}.,])[0-9]{{3}}(?:(?P=sep)[0-9]{{3}})*)"
    r"(?P<point>[.,])(?P<part>[0-9]+)"
)
LONGEST = 60  # characters of an amount or a time


@dataclass(frozen=True)
class Amount:
    """A number as it is written: its digits, and what stands in and around them.

    ``open`` is the character that may be the decimal sign or group thousands, as the comma in 1,234.
    """

    core: str
    decimal: str = ""
    thousands: str = ""
    open: str = ""
    sign: str = ""
    negative: str = ""  # one of "leading", "parentheses", "trailing"
    percent: bool = False


def amount(text: str) -> Amount | None:
    """Return how a text is written as a number, or None if it is none.

    >>> amount("1.234,56 €"), amount("K0")
    (Amount(core='1.234,56', decimal=',', thousands='.', open='', sign='€', negative='', percent=False), None)
    """
    text = text.strip()
    if not text or len(text) > LONGEST or not (found := _AMOUNT.fullmatch(text)):
        return None
    if (found["before"] and found["after"]) or bool(found["open"]) != bool(found["close"]):
        return None
    leading, trailing = found["minus"] or found["inner"], found["trailing"] or found["last"]
    if (found["minus"] and found["inner"]) or sum(map(bool, (leading, trailing, found["open"]))) > 1:
        return None
    core = found["core"]
    form = partial(
        Amount,
        core,
        sign=found["before"] or found["after"] or "",
        negative="parentheses" if found["open"] else "trailing" if trailing else "leading" if leading else "",
        percent=bool(found["percent"]),
    )
    if core.isdigit():
        return form()
    if grouped := _GROUPED.fullmatch(core):
        sep = grouped[1]
        if sep in ".," and core.count(sep) == 1 and not core.startswith("0"):
            return form(open=sep)
        if not (sep in ".," and core.startswith("0")):
            return form(thousands=sep)
    if (parts := _DECIMALS.fullmatch(core)) and parts["sep"] != parts["point"]:
        return form(decimal=parts["point"], thousands=parts["sep"] or "")
    return None


@dataclass(frozen=True)
class Numbers:
    """How the numbers of some columns are written, with how many texts show it."""

    decimal: str = "."
    point_seen: int = 0  # texts that have this decimal sign
    against: int = 0  # texts that can only be read with the other one
    either: int = 0  # texts like 1,234, which can be read both ways
    mark: str = ""  # the sign that most of these have
    thousands: dict[str, int] = field(default_factory=dict)
    signs: dict[str, int] = field(default_factory=dict)
    parentheses: int = 0
    trailing_minus: int = 0
    percent: int = 0

    @property
    def undecided(self) -> bool:
        """Whether nothing says if a sign is the decimal's or the thousands'."""
        return bool(self.either) and not self.point_seen

    def value(self, text: str) -> Decimal | None:
        """Return the number that a text is, read this way, or None."""
        found = amount(text)
        if found is None or self.decimal == found.thousands or (found.decimal and found.decimal != self.decimal):
            return None
        if found.open and found.open != self.decimal and found.open not in self.thousands:
            return None
        core = "".join(char for char in found.core if char.isdigit() or char == self.decimal)
        number = Decimal(core.replace(",", "."))
        return -number if found.negative else number


def numbers(texts: Iterable[str], decimal: str = ".") -> Numbers:
    """Return how numbers are written; texts that are none don't count. ``decimal`` stands where nothing shows it."""
    found = [each for each in map(amount, texts) if each]
    points = Counter(each.decimal for each in found if each.decimal)
    points.update(
        {".": ","}.get(each.thousands, ".") for each in found if each.thousands in (".", ",") and not each.decimal
    )
    open = Counter(each.open for each in found if each.open)
    if points:
        decimal = "," if points[","] > points["."] else "."
    other = "." if decimal == "," else ","
    thousands = Counter(each.thousands for each in found if each.thousands and each.thousands != decimal)
    if open[other]:
        thousands[other] += open[other]
    return Numbers(
        decimal,
        points[decimal],
        points[other],
        sum(open.values()),
        max(open, key=lambda each: open[each], default=""),
        dict(thousands.most_common()),
        dict(Counter(each.sign for each in found if each.sign).most_common()),
        sum(each.negative == "parentheses" for each in found),
        sum(each.negative == "trailing" for each in found),
        sum(each.percent for each in found),
    )


_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6}0*)?)?"
_ISO = re.compile(
    r"[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    rf"(?P<clock>[ T]{_CLOCK}(?P<zone> ?(Z|UTC|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?))?)?"
)
_DAYS = (
    "%d.%m.%Y", "%m.%d.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%m.%d.%y", "%d/%m/%y",
    "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%y.%m.%d", "%y/%m/%d", "%y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m-%d",
    "%Y%m%d", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d %B %Y", "%d. %B %Y", "%b %d, %Y", "%B %d, %Y", "%b-%d-%y",
    "%b %d %Y", "%d/%b/%Y", "%a, %d %b %Y", "%a %b %d %Y",
)  # fmt: skip
_CLOCKS = (
    "", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%H:%M:%S %p", "%I:%M%p", "%H.%M", "%H.%M.%S",
    "%H%M%S", "%Hh%M",
)  # fmt: skip
_JOINS = (" ", ", ", "T", " - ", "  ")
_ZONES = ("", " %z", "%z")
_MOST_TEXTS = 3000  # distinct ones that formats are tried with
_BLANKS = str.maketrans("\u00a0\u202f", "  ")  # that don't break are blanks in times
# Orders of the same numbers, the likeliest first.
_ORDERS = [
    [each.replace("?", sign) for each in orders]
    for orders in (("%d?%m?%Y", "%m?%d?%Y"), ("%d?%m?%y", "%m?%d?%y", "%y?%m?%d"))
    for sign in "./-"
]
_ONE = re.compile(r"(0)?[1-9][./-]")  # a day or month below ten
_YEARS = 3  # times as many years of another reading speak against it
# Numbers that are times, and that no profile reads.
_COUNTS = {
    "milliseconds since 1970": re.compile("1[0-9]{12}"),
    "microseconds since 1970": re.compile("1[0-9]{15}"),
    "nanoseconds since 1970": re.compile("1[0-9]{18}"),
    "days as Excel counts them": re.compile(r"[34][0-9]{4}([.,][0-9]+)?"),
}


def orders_of(form: str) -> list[str]:
    """Return a format and those with its day, month and year in another order, the likeliest first.

    >>> orders_of("%m/%d/%Y %H:%M"), orders_of("%d %b %Y")
    (['%d/%m/%Y %H:%M', '%m/%d/%Y %H:%M'], ['%d %b %Y'])
    """
    for days in _ORDERS:
        if form[:8] in days:
            return [day + form[8:] for day in days]
    return [form]


def counted(texts: Iterable[str]) -> dict[str, int]:
    """Return which numbers that count time some texts are, and how many: milliseconds since 1970, Excel's days."""
    texts = list(texts)
    found = {what: sum(map(bool, map(form.fullmatch, texts))) for what, form in _COUNTS.items()}
    return {what: count for what, count in found.items() if count}


def fits(text: str, form: str) -> bool:
    """Tell whether a time is of a format of `strptime`, or "iso" or "unix"."""
    if form == ISO:
        found = _ISO.fullmatch(text)
        return bool(found) and _is(text[:10], "%Y-%m-%d")
    if form == UNIX:
        return bool(re.fullmatch(r"[12][0-9]{9}(\.[0-9]{1,6})?", text))
    return _is(text, form)


def _is(text: str, form: str) -> bool:
    try:
        read = datetime.strptime(text, form)
    except (ValueError, OverflowError):
        return False
    half = "%H" in form and "%p" in form  # 15:04 PM is right, and 03:04 PM is another hour
    return read.year >= 1000 and (not half or read.strftime("%p").lower() in text.lower())


@dataclass(frozen=True)
class Rival:
    """Another order of day, month and year, in which the texts of a format may be meant.

    ``only`` of the texts can't be of it, and ``against`` others can be of it alone; ``both`` can be of either. ``why``
    says what else makes it unlikely, or is empty.
    """

    only: int
    against: int
    both: int
    why: str = ""


@dataclass(frozen=True)
class Times:
    """How times are written: ``formats`` to be tried in order, with how many of ``count`` texts each fits.

    ``rivals`` are the other readings of each format, by their formats. ``mixed`` are the formats of which some texts
    begin like 1/, and some like 01/, as two people write. ``offsets`` is the number of texts that have an
    offset or are UTC, ``clocks`` of those that have a time of day.
    """

    count: int = 0
    formats: dict[str, int] = field(default_factory=dict)
    rivals: dict[str, dict[str, Rival]] = field(default_factory=dict)
    mixed: frozenset[str] = frozenset()
    offsets: int = 0
    clocks: int = 0

    @property
    def read(self) -> int:
        """The number of texts that are understood."""
        return sum(self.formats.values())


def times(texts: Iterable[str], named: bool = False, american: bool = False, today: date | None = None) -> Times:
    """Return how times are written. Bare numbers count as seconds since 1970 in a column ``named`` as times are.

    Where nothing says which of two numbers is the day, it is the second one of what is ``american``. A year of two
    digits is not after ``today``.
    """
    counts = Counter(each.translate(_BLANKS).strip() for each in texts)
    del counts[""]
    total = counts.total()
    tried = dict(counts.most_common(_MOST_TEXTS))
    likely = {each: count for each, count in tried.items() if _may_be(each, named)}
    left, formats, rivals = dict(likely), dict[str, int](), dict[str, dict[str, Rival]]()
    while left and len(formats) < 3:
        scores = {form: sum(count for each, count in left.items() if fits(each, form)) for form in _candidates(left)}
        scores = {form: score for form, score in scores.items() if score and not clash([*formats, form])}
        if formats:
            scores.pop(UNIX, None)
        if not scores:
            break
        likeliest = max(scores, key=lambda form: scores[form])  # of equals, the first candidate
        best, others = _ordered(likeliest, left, american, today)
        if others:
            rivals[best], american = others, best.startswith("%m")  # one order for all formats of a file
        formats[best] = sum(count for each, count in left.items() if fits(each, best))
        left = {each: count for each, count in left.items() if not fits(each, best)}
    mixed = frozenset(
        form
        for form in rivals
        if len({bool(found[1]) for each in likely if (found := _ONE.match(each)) and fits(each, form)}) > 1
    )
    offsets = clocks = 0
    for each, count in likely.items():
        iso = _ISO.fullmatch(each)
        offsets += count * bool(iso["zone"] if iso else re.search(r"[+-]\d\d:?\d\d$|Z$|UTC$", each))
        clocks += count * bool(iso["clock"] if iso else re.search(r"\d[:.h]\d\d|\d{14}", each[8:]))
    return Times(total, formats, rivals, mixed, offsets, clocks)


def _ordered(form: str, counts: dict[str, int], american: bool, today: date | None) -> tuple[str, dict[str, Rival]]:
    """Return in which order of day, month and year texts are meant, and what is to be said of each other order.

    It is the order that most of them fit; of equals, the one without days in the future, then that of the fewest years.
    """
    orders = orders_of(form)
    if len(orders) == 1:
        return form, {}
    if american:
        orders.sort(key=lambda each: not each.startswith("%m"))
    own = {each: {text: count for text, count in counts.items() if fits(text, each)} for each in orders}
    seen = {each: _years(own[each], each, today) for each in orders}
    best = min(orders, key=lambda each: (-sum(own[each].values()), seen[each][1] > 0, seen[each][0]))
    (years, ahead), rivals = seen[best], dict[str, Rival]()
    for other in orders:
        only = sum(count for text, count in own[best].items() if text not in own[other])
        against = sum(count for text, count in own[other].items() if text not in own[best])
        other_years, other_ahead = seen[other]
        why = ""
        if other_ahead and not ahead:
            why = f"as {other}, {other_ahead:,} would be in the future"
        elif other_years >= _YEARS * years:
            why = f"as {other}, they would be of {other_years} years, not of {years}"
        # Days with points begin with the day everywhere, unless something says otherwise.
        if other != best and own[other] and (only or against or not other.startswith("%m.")):
            rivals[other] = Rival(only, against, sum(own[best].values()) - only, why)
    return best, rivals


def _years(texts: dict[str, int], form: str, today: date | None) -> tuple[int, int]:
    """Return of how many years texts are in a format with a year of two digits, and how many are after today."""
    if "%y" not in form:
        return 1, 0
    days = {text: datetime.strptime(text, form).date() for text in texts}
    return len({each.year for each in days.values()}), sum(
        texts[text] for text, each in days.items() if today and each > today
    )


def _may_be(text: str, named: bool) -> bool:
    """Tell whether a text may be a time: cheap, and so before any format is tried."""
    if not 6 <= len(text) <= LONGEST or sum(char.isdigit() for char in text) < 3:
        return False
    if re.fullmatch(r"[0-9.]+", text) and text.count(".") < 2:
        return named and bool(re.fullmatch(r"(19|20)[0-9]{6}|(19|20)[0-9]{12}|[12][0-9]{9}(\.[0-9]{1,6})?", text))
    return text[0].isalnum()


def _forms() -> Iterator[str]:
    for day in _DAYS:
        for clock in _CLOCKS:
            for join in ("",) if clock in ("", "%H%M%S") else _JOINS:
                yield from (f"{day}{join}{clock}{zone}" for zone in (_ZONES if clock else ("",)))


FORMS = (ISO, UNIX, *_forms())
_WORD = re.compile(r"[^\W\d_]{3}")
_BARE = {form: Counter(re.sub("%[a-zA-Z]", "", form)) for form in FORMS}


def _candidates(texts: Iterable[str]) -> list[str]:
    """Return the formats that fit at least one of the first texts of each shape."""
    shapes = dict[str, str]()
    for text in texts:
        shapes.setdefault(re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "A", text)), text)
    examples = list(dict.fromkeys([*list(shapes.values())[:40], *list(texts)[:40]]))
    return [form for form in FORMS if any(_quickly(each, form) and fits(each, form) for each in examples)]


def _quickly(text: str, form: str) -> bool:
    """Tell whether a text has the signs of a format: most formats are out at once."""
    if form in (ISO, UNIX):
        return True
    words = "b" in form or "B" in form
    return all(text.count(char) >= count for char, count in _BARE[form].items()) and words == bool(_WORD.search(text))


def looks_like_data(text: str) -> bool:
    """Tell whether a text is a number or a time, which no name of a column is."""
    text = text.strip()
    return bool(amount(text)) or (_may_be(text, True) and bool(times([text], named=True).formats))


def invisible(text: str) -> bool:
    """Tell whether a text has characters that nobody sees."""
    return any(unicodedata.category(char) in ("Cf", "Cc") for char in text)
