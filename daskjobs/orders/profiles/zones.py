"""Makes UTC of local times: by zones of tzdata, by offsets, and by the names of zones beside the times."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Moments = tuple[Ints, Bools]

SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET = re.compile(r"([+-])(0[0-9]|1[0-4])(?::?([0-5][0-9]))?")
# The names that Rails has for zones, as Square exports them.
RAILS = {
    "Eastern Time (US & Canada)": "America/New_York",
    "Central Time (US & Canada)": "America/Chicago",
    "Mountain Time (US & Canada)": "America/Denver",
    "Pacific Time (US & Canada)": "America/Los_Angeles",
    "Indiana (East)": "America/Indiana/Indianapolis",
    "Arizona": "America/Phoenix",
    "Alaska": "America/Juneau",
    "Hawaii": "Pacific/Honolulu",
    "Atlantic Time (Canada)": "America/Halifax",
    "Newfoundland": "America/St_Johns",
    "Saskatchewan": "America/Regina",
    "London": "Europe/London",
    "Dublin": "Europe/Dublin",
    "Paris": "Europe/Paris",
    "Madrid": "Europe/Madrid",
    "Tokyo": "Asia/Tokyo",
    "Sydney": "Australia/Sydney",
    "Melbourne": "Australia/Melbourne",
    "Brisbane": "Australia/Brisbane",
    "Adelaide": "Australia/Adelaide",
    "Darwin": "Australia/Darwin",
    "Perth": "Australia/Perth",
    "Hobart": "Australia/Hobart",
}


_NONE = np.iinfo(np.int64).min


def to_utc(local: Ints, zone: str, hour_twice: str = "") -> Moments:
    """Return local times of a zone in UTC, all in microseconds since 1970, and which of them exist.

    Of the hour that occurs twice, the "first" or "second" is meant, or neither exists.
    """
    edges, offsets = _edges(zone, _years(local), hour_twice)
    offset = offsets[np.searchsorted(edges, local, "right")]
    exists = offset != _NONE
    return local - np.where(exists, offset, 0), exists


def by_names(local: Ints, names: pa.Array, zone: str, hour_twice: str) -> Moments:
    """Return local times in UTC, each in the zone of the name beside it, and which exist.

    A name is UTC, one of tzdata like Europe/Berlin, one of `RAILS`, or an abbreviation that ``zone`` has at that time.
    """
    coded = names.dictionary_encode()
    place = coded.indices.to_numpy()
    moments, exists = local.copy(), np.zeros(len(local), bool)
    for number, name in enumerate(coded.dictionary.to_pylist()):
        rows = np.flatnonzero(place == number)
        iana = RAILS.get(name, name)
        if name == "UTC":
            exists[rows] = True
        elif "/" in iana and iana in _zones():
            moments[rows], exists[rows] = to_utc(local[rows], iana, hour_twice)
        elif zone and name:
            moments[rows], exists[rows] = _abbreviated(local[rows], name, zone, hour_twice)
    return moments, exists


def by_offsets(local: Ints, offsets: pa.Array) -> Moments:
    """Return local times in UTC, each with the offset beside it, and which offsets are some: +02:00, -0500, +00, Z."""
    coded = offsets.dictionary_encode()
    found = [_offset(each) for each in coded.dictionary.to_pylist()]
    place = coded.indices.to_numpy()
    shift = np.array([each or 0 for each in found], np.int64)
    known = np.array([each is not None for each in found], bool)
    return local - shift[place], known[place]


def _offset(text: str) -> int | None:
    if text in ("Z", "z", "UTC"):
        return 0
    if not (match := _OFFSET.fullmatch(text)):
        return None
    sign, hours, minutes = match.groups()
    return int(sign + "1") * (int(hours) * 60 + int(minutes or 0)) * 60 * SECOND


def _abbreviated(local: Ints, name: str, zone: str, hour_twice: str) -> Moments:
    """Return the UTC of local times for which a zone has that abbreviation, like CEST, and which are such times."""
    offsets = sorted({offset for year in _years(local) for offset, each in _abbreviations(zone, year) if each == name})
    first, exists = to_utc(local, zone, "first")
    second, _ = to_utc(local, zone, "second")
    right, later = (exists & np.isin(local - each, offsets) for each in (first, second))
    twice = right & later & (first != second)
    moments = np.where(right, first, second)
    if hour_twice == "second":
        moments = np.where(twice, second, moments)
    return moments, (right | later) & (~twice | bool(hour_twice))


@lru_cache(maxsize=1)
def _zones() -> set[str]:
    return available_timezones()


def _years(local: Ints) -> tuple[int, ...]:
    """Return the years of some times, and those before and after them."""
    if not len(local):
        return ()
    low, high = np.array([local.min(), local.max()]).astype("datetime64[us]").astype("datetime64[Y]").astype(int) + 1970
    years = np.arange(low, high + 1)
    if len(years) > 100:
        years = np.unique(local.astype("datetime64[us]").astype("datetime64[Y]").astype(int)) + 1970
    around = np.unique(np.concatenate([years - 1, years, years + 1]))
    return tuple(around[(around > 0) & (around < 10_000)].tolist())


@lru_cache(maxsize=64)
def _edges(zone: str, years: tuple[int, ...], hour_twice: str) -> tuple[Ints, Ints]:
    """Return the local times at which a zone's offset changes, and the offset before and after each.

    Each change has two of them: between them, a time doesn't exist or occurs twice.
    """
    edges, offsets, before = list[int](), [0], 0
    for at, year in enumerate(years):
        if not at or years[at - 1] != year - 1:
            start = datetime(year, 1, 1, tzinfo=UTC)
            before = _utc_offset(zone, start)
            edges.append(_micros(start) - 2 * 86_400 * SECOND if at else _NONE)
            offsets.append(before)
        for moment, after in _changes(zone, year):
            edges += [moment + min(before, after), moment + max(before, after)]
            within = _NONE if after > before else {"first": before, "second": after}.get(hour_twice, _NONE)
            offsets += [within, after]
            before = after
    return np.array(edges, np.int64), np.array(offsets, np.int64)


@lru_cache(maxsize=4096)
def _changes(zone: str, year: int) -> list[tuple[int, int]]:
    """Return the times, in UTC, at which a zone's offset changes in a year, and the offset after each."""
    changes = []
    day, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year, 12, 30 if year == 9999 else 31, tzinfo=UTC)
    before = _utc_offset(zone, day)
    while day <= end:
        after = _utc_offset(zone, day + timedelta(days=1))
        if before != after:
            low, high = 0, 86_400
            while high - low > 1:
                middle = (low + high) // 2
                same = _utc_offset(zone, day + timedelta(seconds=middle)) == before
                low, high = (middle, high) if same else (low, middle)
            changes.append((_micros(day) + high * SECOND, after))
        day, before = day + timedelta(days=1), after
    return changes


@lru_cache(maxsize=4096)
def _abbreviations(zone: str, year: int) -> list[tuple[int, str]]:
    """Return the offsets that a zone has in a year, each with its abbreviation."""
    start = _micros(datetime(year, 1, 1, tzinfo=UTC))
    moments = [_EPOCH + timedelta(microseconds=each) for each in (start, *(each for each, _ in _changes(zone, year)))]
    return [(_utc_offset(zone, each), each.astimezone(ZoneInfo(zone)).tzname() or "") for each in moments]


def _utc_offset(zone: str, moment: datetime) -> int:
    offset = moment.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()
    return offset // timedelta(microseconds=1)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
