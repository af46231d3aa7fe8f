"""Checks the formats of timestamps in a profile: that each says a moment, and that no text may be meant by two."""

import re
from datetime import UTC, datetime
from itertools import combinations

from daskjobs.orders.profiles import ISO, UNIX

DIRECTIVES = "aAbBdfHIjmMpSyYzZ%"  # of those that `strptime` knows, the ones that say the same on each machine
INSTEAD = {
    "F": "%Y-%m-%d",
    "T": "%H:%M:%S",
    "D": "%m/%d/%y",
    "R": "%H:%M",
    "e": "%d",
    "h": "%b",
    "k": "%H",
    "l": "%I",
    "s": UNIX,
    "c": "a format of its own",
    "x": "a format of its own",
    "X": "a format of its own",
}
_ISO_FORMS = [
    f"%Y-%m-%d{clock}{zone}"
    for clock in ("", *(f"{between}%H:%M{end}" for between in " T" for end in ("", ":%S", ":%S.%f")))
    for zone in ("", "%z")
    if clock or not zone
]
# Days that are months, too, and years that are both; in some of them the clock is past noon.
_SAMPLES = [
    datetime(*moment, tzinfo=UTC)
    for moment in ((2025, 4, 3, 17, 30, 0), (2003, 4, 5, 6, 7, 8), (2012, 11, 10, 9, 8, 7), (2010, 12, 11, 1, 2, 3))
]


def why_not(form: str) -> str:
    """Say why a format of a timestamp can't be used, or return an empty text if it can."""
    if form in (ISO, UNIX):
        return ""
    said = re.findall(r"%(.?)", form, re.DOTALL)
    for each in said:
        if each not in DIRECTIVES or not each:
            better = f": write {INSTEAD[each]}" if each in INSTEAD else f"; it may have %{', %'.join(DIRECTIVES)}"
            return f"has %{each}, which is none of strptime's that can be used here{better}"
    if not said:
        return f"has no %: formats are those of strptime, like '%d.%m.%Y %H:%M', or '{ISO}' or '{UNIX}'"
    twice = next((each for each in said if each != "%" and said.count(each) > 1), "")
    if twice:
        return f"has %{twice} twice"
    has = {*said}
    day = has & {"j"} or (has & {"d"} and has & {"m", "b", "B"})
    if not (has & {"Y", "y"} and day):
        return "doesn't say a year, a month and a day (%Y, %m and %d)"
    if has >= {"Y", "y"} or has >= {"H", "I"} or len(has & {"m", "b", "B"}) > 1:
        return "says a part twice in different ways"
    if "I" in has and "p" not in has:
        return "has %I, hours up to twelve, without %p: write %H for hours up to 23"
    try:
        _SAMPLES[0].strptime(_SAMPLES[0].strftime(form), form)
    except (ValueError, re.error) as error:
        return f"is no format of strptime: {error}"
    return ""


def clash(forms: list[str]) -> tuple[str, str, str] | None:
    """Return two formats and a text that both may be meant for, as different times; None if there is none."""
    for one, other in combinations(forms, 2):
        for a in _spelled(one):
            for b in _spelled(other):
                if text := _both(a, b) or _both(b, a):
                    return one, other, text
    return None


def _spelled(form: str) -> list[str]:
    return _ISO_FORMS if form == ISO else [form]


def _both(written: str, form: str) -> str:
    """Return a text of one format that the other reads as another time, or an empty text."""
    for moment in _SAMPLES:
        text = str(int(moment.timestamp())) if written == UNIX else moment.strftime(written)
        own, other = _read(text, written), _read(text, form)
        if own and other and own != other:
            return text
    return ""


def _read(text: str, form: str) -> datetime | None:
    try:
        if form == UNIX:
            return datetime.fromtimestamp(int(text), UTC).replace(tzinfo=None) if text.isdigit() else None
        return datetime.strptime(text, form).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        return None
