from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskjobs.orders.profiles import ValueForm
from daskjobs.orders.profiles.timestamps import times


def read(texts: list[str], *formats: str, zone: str = "", hour_twice: str = "") -> list[datetime | None]:
    form = ValueForm(timestamp=list(formats), zone=zone, hour_twice=hour_twice)  # type: ignore[arg-type]
    together: list[datetime | None] = times(pa.array(texts, pa.string()), form).to_pylist()
    assert together == [times(pa.array([text]), form)[0].as_py() for text in texts]
    return together


GERMAN = {
    "02.04.2025 09:30": datetime(2025, 4, 2, 9, 30),
    "31.12.2025 23:59": datetime(2025, 12, 31, 23, 59),
    "2.4.2025 9:30": datetime(2025, 4, 2, 9, 30),
    " 02.04.2025  09:30\t": datetime(2025, 4, 2, 9, 30),
    "02.04.2025\u00a009:30": datetime(2025, 4, 2, 9, 30),
    "29.02.2024 00:00": datetime(2024, 2, 29),
    "29.02.2025 00:00": None,
    "31.04.2025 00:00": None,
    "00.04.2025 00:00": None,
    "02.13.2025 09:30": None,
    "02.04.0999 09:30": None,
    "02.04.25 09:30": None,
    "02.04.2025": None,
    "02.04.2025 24:00": None,
    "02.04.2025 09:60": None,
    "02.04.2025 09:30:00": None,
    "002.04.2025 09:30": None,
    "02-04-2025 09:30": None,
    "2025-04-02 09:30": None,
    "0\uff12.04.2025 09:30": None,
    "": None,
}
CASES = [
    ("%d.%m.%Y %H:%M", GERMAN),
    (
        "%m/%d/%Y %H:%M:%S",
        {
            "4/2/2025 9:30:00": datetime(2025, 4, 2, 9, 30),
            "12/31/2025 23:59:59": datetime(2025, 12, 31, 23, 59, 59),
            "13/1/2025 1:01:01": None,
        },
    ),
    (
        "%b %d, %Y %H:%M:%S %p",
        {
            "Jan 5, 2026 15:04:05 PM": datetime(2026, 1, 5, 15, 4, 5),
            "JAN 15, 2026 03:04:05 am": datetime(2026, 1, 15, 3, 4, 5),
            "Jan 5, 2026 03:04:05 PM": None,
            "Jan 5, 2026 12:04:05 AM": None,
            "Jän 5, 2026 03:04:05 AM": None,
        },
    ),
    (
        "%A, %d %B %Y %I:%M %p",
        {
            "Monday, 05 May 2025 12:30 AM": datetime(2025, 5, 5, 0, 30),
            "Monday, 5 May 2025 12:30 PM": datetime(2025, 5, 5, 12, 30),
            "monday, 5 september 2025 2:30\u202fpm": datetime(2025, 9, 5, 14, 30),
            "Monday, 5 May 2025 0:30 AM": None,
            "Mon, 5 May 2025 1:30 AM": None,
        },
    ),
    (
        "%b-%d-%y",
        {
            "Sep-18-26": datetime(2026, 9, 18),
            "Sep-18-69": datetime(1969, 9, 18),
            "Sep-18-2026": None,
            "Sept-18-26": None,
        },
    ),
    (
        "%Y-%m-%d %H:%M:%S %z",
        {
            "2025-12-06 10:37:33 -0500": datetime(2025, 12, 6, 15, 37, 33),
            "2025-12-06 10:37:33 +01:30": datetime(2025, 12, 6, 9, 7, 33),
            "2025-12-06 10:37:33 +00": datetime(2025, 12, 6, 10, 37, 33),
            "2025-12-06 10:37:33 Z": datetime(2025, 12, 6, 10, 37, 33),
            "2025-12-06 10:37:33 UTC": datetime(2025, 12, 6, 10, 37, 33),
            "2025-12-06 10:37:33": None,
            "2025-12-06 10:37:33 +1": None,
            "2025-12-06 10:37:33 +1500": None,
            "2025-12-06 10:37:33 CET": None,
        },
    ),
    (
        "%Y-%m-%dT%H:%M:%S.%f",
        {
            "2025-12-06T10:37:33.5": datetime(2025, 12, 6, 10, 37, 33, 500_000),
            "2025-12-06T10:37:33.123456000": datetime(2025, 12, 6, 10, 37, 33, 123_456),
            "2025-12-06T10:37:33.1234567": None,
            "2025-12-06T10:37:33.": None,
        },
    ),
    ("%Y%m%d%H%M", {"202504020930": datetime(2025, 4, 2, 9, 30), "20250402930": None, "2025420930": None}),
    ("%a %b %d %H:%M:%S %z %Y", {"Wed Oct  1 20:19:24 +0200 2018": datetime(2018, 10, 1, 18, 19, 24)}),
    ("%j/%Y", {"366/2024": datetime(2024, 12, 31), "366/2025": None, "1/2025": datetime(2025, 1, 1), "0/2025": None}),
    ("%d.%m.%Y %H:%M%%", {"02.04.2025 09:30%": datetime(2025, 4, 2, 9, 30)}),
    ("%Y年%m月%d日", {"2025年04月02日": datetime(2025, 4, 2), "2025年4月2日": datetime(2025, 4, 2), "2025-4-2": None}),
    (
        "unix",
        {
            "1712345678": datetime(2024, 4, 5, 19, 34, 38),
            "1712345678.5": datetime(2024, 4, 5, 19, 34, 38, 500_000),
            "1712345678.1200000": datetime(2024, 4, 5, 19, 34, 38, 120_000),
            "-5": datetime(1969, 12, 31, 23, 59, 55),
            " 0\t": datetime(1970, 1, 1),
            "1712345678000": None,
            "999999999999": None,
            "1712345678.1234567": None,
            "1e9": None,
            "": None,
        },
    ),
]


@pytest.mark.parametrize(("written", "cases"), CASES)
def test_time_is_read_or_null_when_a_format_says_how_it_is_written(
    written: str, cases: dict[str, datetime | None]
) -> None:
    assert read(list(cases), written) == list(cases.values())


def test_times_are_all_null_or_none_when_nothing_is_there() -> None:
    assert read([], "%d.%m.%Y") == []
    assert read(["", ""], "%d.%m.%Y", zone="Europe/Berlin") == [None, None]


def test_first_format_that_fits_is_taken_when_there_are_several() -> None:
    magento = "%b %d, %Y %H:%M:%S %p", "%b %d, %Y %I:%M:%S %p"
    assert read(["Jan 5, 2026 15:04:05 PM", "Jan 5, 2026 03:04:05 PM", "Jan 5, 2026 12:04:05 AM"], *magento) == [
        datetime(2026, 1, 5, 15, 4, 5), datetime(2026, 1, 5, 15, 4, 5), datetime(2026, 1, 5, 0, 4, 5)
    ]  # fmt: skip
    texts = ["2025-04-02 09:30", "02.04.2025", "1743586200", "2025-04-02T09:30:00+02:00", "x"]
    assert read(texts, "iso", "%d.%m.%Y", "unix") == [
        datetime(2025, 4, 2, 9, 30), datetime(2025, 4, 2), datetime(2025, 4, 2, 9, 30), datetime(2025, 4, 2, 7, 30),
        None,
    ]  # fmt: skip


def test_local_time_becomes_utc_when_the_profile_names_a_zone() -> None:
    # 30 March 2025: 02:00 becomes 03:00. 26 October: 03:00 becomes 02:00.
    texts = ["01.02.2025 12:00", "01.07.2025 12:00", "30.03.2025 01:59", "30.03.2025 02:30", "30.03.2025 03:00",
             "26.10.2025 01:59", "26.10.2025 02:30", "26.10.2025 03:00", "01.07.2077 12:00"]  # fmt: skip
    utc = [datetime(2025, 2, 1, 11), datetime(2025, 7, 1, 10), datetime(2025, 3, 30, 0, 59), None,
           datetime(2025, 3, 30, 1), datetime(2025, 10, 25, 23, 59), None, datetime(2025, 10, 26, 2),
           datetime(2077, 7, 1, 10)]  # fmt: skip
    assert read(texts, "%d.%m.%Y %H:%M", zone="Europe/Berlin") == utc
    utc[6] = datetime(2025, 10, 26, 0, 30)
    assert read(texts, "%d.%m.%Y %H:%M", zone="Europe/Berlin", hour_twice="first") == utc
    utc[6] = datetime(2025, 10, 26, 1, 30)
    assert read(texts, "%d.%m.%Y %H:%M", zone="Europe/Berlin", hour_twice="second") == utc


def test_zone_leaves_alone_what_has_an_offset_and_what_has_no_clock() -> None:
    berlin = "Europe/Berlin"
    assert read(["02.04.2025"], "%d.%m.%Y", zone=berlin) == [datetime(2025, 4, 2)]
    assert read(["2025-04-02", "2025-04-02 09:30", "2025-04-02 09:30Z"], "iso", zone=berlin) == [
        datetime(2025, 4, 2), datetime(2025, 4, 2, 7, 30), datetime(2025, 4, 2, 9, 30)
    ]  # fmt: skip
    assert read(["1743586200"], "unix", zone=berlin) == [datetime(2025, 4, 2, 9, 30)]
    assert read(["2025-04-02T09:30:00Z"], "%Y-%m-%dT%H:%M:%SZ", zone=berlin) == [datetime(2025, 4, 2, 9, 30)]
    assert read(["2025-04-02 09:30 UTC"], "%Y-%m-%d %H:%M UTC", zone=berlin) == [datetime(2025, 4, 2, 9, 30)]
    assert read(["2025-04-02 09:30 MEZ"], "%Y-%m-%d %H:%M MEZ", zone=berlin) == [datetime(2025, 4, 2, 7, 30)]


def test_name_of_a_zone_is_understood_when_it_can_mean_only_one() -> None:
    cases = {
        "2026-07-18 12:59 Eastern Time (US & Canada)": datetime(2026, 7, 18, 16, 59),
        "2026-07-18 12:59 America/New_York": datetime(2026, 7, 18, 16, 59),
        "2026-07-18 12:59 UTC": datetime(2026, 7, 18, 12, 59),
        "2026-07-18 12:59 CEST": datetime(2026, 7, 18, 10, 59),
        "2026-10-25 02:30 CEST": datetime(2026, 10, 25, 0, 30),  # the hour that occurs twice
        "2026-10-25 02:30 CET": datetime(2026, 10, 25, 1, 30),
        "2026-07-18 12:59 CET": None,  # there is none in July
        "2026-07-18 12:59 PDT": None,
        "2026-07-18 12:59 GMT": None,
        "2026-07-18 12:59 ": None,
    }
    assert read(list(cases), "%Y-%m-%d %H:%M %Z", zone="Europe/Berlin") == list(cases.values())
    assert read(["2026-07-18 12:59 CEST"], "%Y-%m-%d %H:%M %Z") == [None]


@given(st.lists(st.datetimes(datetime(1000, 1, 3), datetime(9999, 12, 28)), max_size=20), st.sampled_from(
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "Asia/Kolkata"]),
    st.sampled_from([0, 1]))  # fmt: skip
def test_zone_is_that_of_zoneinfo_when_times_are_any(moments: list[datetime], zone: str, fold: int) -> None:
    moments = [each.replace(fold=fold) for each in moments]
    found = read([each.isoformat(" ") for each in moments], "iso", zone=zone, hour_twice=["first", "second"][fold])
    for local, utc in zip(moments, found, strict=True):
        expected = local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        exists = expected.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local
        assert utc == (expected.replace(tzinfo=None) if exists else None)


@given(st.sampled_from(["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe"]), st.integers(1950, 2060),
       st.integers(0, 366 * 48))  # fmt: skip
def test_hour_that_occurs_twice_is_null_when_the_profile_does_not_say_which(zone: str, year: int, half: int) -> None:
    local = datetime(year, 1, 1) + timedelta(minutes=30 * half)
    both = {local.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1)}
    there = {each for each in both if each.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local}
    expected = next(iter(there)).replace(tzinfo=None) if len(there) == 1 else None
    assert read([local.isoformat(" ")], "iso", zone=zone) == [expected]


directives = st.lists(
    st.sampled_from(["%Y", "%y", "%m", "%d", "%b", "%B", "%H", "%I", "%M", "%S", "%f", "%p", "%z", "%j", "%a", "%A",
                     "%%"]),
    min_size=2, max_size=8, unique=True,
)  # fmt: skip
between = st.sampled_from(["", "", " ", "/", ".", "-", ":", ", ", "T", "年"])


@st.composite
def formats(draw: st.DrawFn) -> str:
    has = draw(directives)
    day = [["%d", "%m"], ["%d", "%b"], ["%d", "%B"], ["%j"]][draw(st.integers(0, 3))]
    own = [each for each in has if each not in ("%Y", "%y", "%d", "%m", "%b", "%B", "%j")]
    if "%I" in own and ("%p" not in own or "%H" in own):
        own.remove("%I")
    chosen = draw(st.permutations([*own, *day, draw(st.sampled_from(["%Y", "%y"]))]))
    return "".join(each + (" " if each == "%z" else draw(between)) for each in chosen).strip()


@st.composite
def written(draw: st.DrawFn) -> tuple[str, list[str]]:
    form, texts = draw(formats()), []
    for _ in range(draw(st.integers(1, 4))):
        text = draw(st.datetimes(datetime(1000, 1, 1), timezones=st.just(UTC))).strftime(form)
        match draw(st.integers(0, 3)):
            case 0:  # without zeros at the front
                text = text.replace("0", "", draw(st.integers(1, 2)))
            case 1 if text:  # another character
                at = draw(st.integers(0, len(text) - 1))
                text = text[:at] + draw(st.sampled_from("0123456789 -:/apPZ")) + text[at + 1 :]
        texts.append(text)
    return form, texts


@given(written())
def test_time_is_that_of_strptime_when_both_read_it(drawn: tuple[str, list[str]]) -> None:
    form, texts = drawn
    for text, found in zip(texts, read(texts, form), strict=True):
        try:
            theirs = datetime.strptime(text.strip(" \t"), form)
        except ValueError:
            assert found is None or "%f" in form or "%z" in form  # more zeros; an offset of hours alone
            continue
        if theirs.tzinfo:
            theirs = theirs.astimezone(UTC).replace(tzinfo=None)
        assert found in (None, theirs)


@given(st.lists(st.datetimes(datetime(1000, 1, 1)), min_size=1, max_size=5), formats())
def test_time_is_read_when_strftime_wrote_it(moments: list[datetime], form: str) -> None:
    texts = [each.replace(tzinfo=UTC).strftime(form) for each in moments]
    own = [datetime.strptime(text, form).replace(tzinfo=None) for text in texts] if _reads(texts, form) else None
    if own and all(each.year >= 1000 for each in own):
        assert read(texts, form) == own


def _reads(texts: list[str], form: str) -> bool:
    try:
        return bool([datetime.strptime(text, form) for text in texts])
    except ValueError:
        return False
