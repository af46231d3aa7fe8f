"""Finds out how numbers and times are written, from texts alone: what a proposal says under [values]."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
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
    "%d.%m.%Y", "%m.%d.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y",
    "%d-%m-%y", "%m-%d-%y", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m-%d", "%Y%m%d", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y",
    "%d %B %Y", "%d. %B %Y", "%b %d, %Y", "%B %d, %Y", "%b-%d-%y", "%b %d %Y", "%d/%b/%Y", "%a, %d %b %Y",
    "%a %b %d %Y",
)  # fmt: skip
_CLOCKS = (
    "", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%H:%M:%S %p", "%I:%M%p", "%H.%M", "%H.%M.%S",
    "%H%M%S", "%Hh%M",
)  # fmt: skip
_JOINS = (" ", ", ", "T", " - ", "  ")
_ZONES = ("", " %z", "%z")
_MOST_TEXTS = 3000  # distinct ones that formats are tried with
_BLANKS = str.maketrans("\u00a0\u202f", "  ")  # that don't break are blanks in times
SWAPPED = {"%d": "%m", "%m": "%d"}


def twin(form: str) -> str:
    """Return a format with its day and month exchanged.

    >>> twin("%d/%m/%Y %H:%M")
    '%m/%d/%Y %H:%M'
    """
    return re.sub("%[dm]", lambda found: SWAPPED[found[0]], form)


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
class Times:
    """How times are written: ``formats`` to be tried in order, with how many of ``count`` texts each fits.

    ``twin`` is the format with day and month exchanged where it was a candidate, and ``decided`` how many texts
    can't be of that one. ``offsets`` is the number of texts that have an offset or are UTC, ``clocks`` of those that
    have a time of day. ``milliseconds``: the texts are milliseconds since 1970.
    """

    count: int = 0
    formats: dict[str, int] = field(default_factory=dict)
    twin: str = ""
    decided: int = 0
    offsets: int = 0
    clocks: int = 0
    milliseconds: int = 0

    @property
    def read(self) -> int:
        """The number of texts that are understood."""
        return sum(self.formats.values())


def times(texts: Iterable[str], named: bool = False, american: bool = False) -> Times:
    """Return how times are written. Bare numbers count as seconds since 1970 in a column ``named`` as times are.

    Where nothing says which of two numbers is the day, it is the second one of what is ``american``.
    """
    counts = Counter(each.translate(_BLANKS).strip() for each in texts)
    del counts[""]
    total = counts.total()
    tried = dict(counts.most_common(_MOST_TEXTS))
    likely = {each: count for each, count in tried.items() if _may_be(each, named)}
    milliseconds = sum(count for each, count in tried.items() if named and re.fullmatch("1[0-9]{12}", each))
    left, formats = dict(likely), dict[str, int]()
    other, decided = "", 0
    while left and len(formats) < 3:
        scores = {form: sum(count for each, count in left.items() if fits(each, form)) for form in _candidates(left)}
        scores = {form: score for form, score in scores.items() if score and not clash([*formats, form])}
        if formats:
            scores.pop(UNIX, None)
        if not scores:
            break
        best = max(scores, key=lambda form: scores[form])  # of equals, the first candidate
        if not formats and re.search("%d.%m|%m.%d", best) and not best.startswith("%Y"):
            if american and scores.get(twin(best)) == scores[best] and best.startswith("%d"):
                best = twin(best)
            other = twin(best)
            decided = sum(count for each, count in left.items() if fits(each, best) and not fits(each, other))
        formats[best] = scores[best]
        left = {each: count for each, count in left.items() if not fits(each, best)}
    offsets = clocks = 0
    for each, count in likely.items():
        iso = _ISO.fullmatch(each)
        offsets += count * bool(iso["zone"] if iso else re.search(r"[+-]\d\d:?\d\d$|Z$|UTC$", each))
        clocks += count * bool(iso["clock"] if iso else re.search(r"\d[:.h]\d\d|\d{14}", each[8:]))
    return Times(total, formats, other, decided, offsets, clocks, milliseconds)


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
