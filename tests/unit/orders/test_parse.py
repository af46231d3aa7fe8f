from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from daskjobs.orders import parse

numbers = st.one_of(
    st.from_regex(r"-?[0-9]{0,18}(\.[0-9]{0,3}0{0,4})?", fullmatch=True),
    st.text(alphabet="-+.0123456789eE, xX_$ ", max_size=8),
    st.sampled_from(
        [
            "NaN",
            "inf",
            "0x1F",
            "320.0000",
            "2.0 ",
            "-0.000",
            "7." + "0" * 60,
            "1e3",
            "1_000",
            "1,000",
            "+1",
            ".5",
            "5.",
            "-.50",
            "-5.",
            ".",
            "-.",
            ".0",
            "-0",
            "-0.00",
            "٣",
            "1 ",
            " 1",
        ]
    ),
)


def test_number_is_understood_or_null_when_its_point_has_digits_on_one_side_alone() -> None:
    read = {
        ".50": "0.50", "-.5": "-0.50", ".5000": "0.50", "-.00": "0.00", " .25\t": "0.25", ".": None, "-.": None,
        "": None, "-": None, "+.5": None, ".505": None, "..5": None, ".5.": None, ". 5": None, "- .5": None, "5.": None,
    }  # fmt: skip
    assert parse.amounts(pa.array(list(read))).to_pylist() == [each and Decimal(each) for each in read.values()]
    whole = {".0": 0, "-.00": 0, ".5": None, ".": None, "2.": None, "123456789.0": 123456789}
    assert parse.quantities(pa.array(list(whole))).to_pylist() == list(whole.values())


@given(st.lists(numbers, max_size=20))
def test_amounts_are_those_of_decimal_when_text_is_anything(values: list[str]) -> None:
    read = parse.amounts(pa.array(values, pa.string()))
    assert read.to_pylist() == [oracle.number(text.strip(" \t"), 16, 2) for text in values]


@given(st.lists(numbers, max_size=20))
def test_quantities_are_whole_numbers_when_text_is_anything(values: list[str]) -> None:
    read = parse.quantities(pa.array(values, pa.string()))
    assert read.to_pylist() == [oracle.number(text.strip(" \t"), 9, 0) for text in values]


TIMES = {
    "2024-02-29 23:59:59": datetime(2024, 2, 29, 23, 59, 59),
    "2025-03-31": datetime(2025, 3, 31),
    " 2025-03-31T07:05\t": datetime(2025, 3, 31, 7, 5),
    "2025-03-31 07:05:09.25": datetime(2025, 3, 31, 7, 5, 9, 250_000),
    "2025-03-31T07:05:09.123456Z": datetime(2025, 3, 31, 7, 5, 9, 123_456),
    "2025-03-31 00:30:00+02:00": datetime(2025, 3, 30, 22, 30),
    "2025-12-31T23:30-0130": datetime(2026, 1, 1, 1, 0),
    "2026-03-12 09:14:02 +0000": datetime(2026, 3, 12, 9, 14, 2),
    "2026-03-12 09:14:02 -0300": datetime(2026, 3, 12, 12, 14, 2),
    "2020-12-31 21:25:58.745232+02": datetime(2020, 12, 31, 19, 25, 58, 745_232),
    "2023-02-10 15:45-01": datetime(2023, 2, 10, 16, 45),
    "2023-02-10 15:45:31 Z": datetime(2023, 2, 10, 15, 45, 31),
    "2023-02-10 15:45:31  +00": None,
    "2023-02-10 15:45:31+0": None,
    "2023-02-10 15:45:31+020": None,
    "2023-02-10 +0000": None,
    "9999-12-31T23:30-01:30": None,
    "2025-02-29 00:00:00": None,
    "2025-02-29T00:00:00Z": None,
    "2025-04-31T00:00:00": None,
    "2025-01-01 24:00:00": None,
    "2025-01-01 23:59:60": None,
    "2025-1-1 1:1:1": None,
    "31.03.2025": None,
    "03/31/2025": None,
    "1743379200": None,
    "2025-03-31+02:00": None,
    "2025-03-31 07:05:09.1234560": datetime(2025, 3, 31, 7, 5, 9, 123_456),
    "2025-03-31T07:05:09.000000000Z": datetime(2025, 3, 31, 7, 5, 9),
    " 2025-03-31 07:05:09.5000000 +02:00": datetime(2025, 3, 31, 5, 5, 9, 500_000),
    "2025-03-31 07:05:09.1200000": datetime(2025, 3, 31, 7, 5, 9, 120_000),
    "2025-03-31 07:05:09 UTC": datetime(2025, 3, 31, 7, 5, 9),
    "2025-03-31T07:05UTC": datetime(2025, 3, 31, 7, 5),
    "2025-03-31 07:05:09.123456 UTC\t": datetime(2025, 3, 31, 7, 5, 9, 123_456),
    "2025-03-31 07:05:09.123456000 UTC": datetime(2025, 3, 31, 7, 5, 9, 123_456),
    "2025-03-31 07:05:09.1234567": None,
    "2025-03-31 07:05:09.12345600001": None,
    "2025-03-31 07:05:09.": None,
    "2025-03-31 07:05:09.0000000 1": None,
    "2025-02-30 07:05:09.0000000": None,
    "2025-02-30 07:05:09 UTC": None,
    "2025-03-31 UTC": None,
    "2025-03-31 07:05:09  UTC": None,
    "2025-03-31 07:05:09 utc": None,
    "2025-03-31 07:05:09 UTC+2": None,
    "2025-03-31 07:05:09 GMT": None,
    "2025-03-31 07:05:09 CET": None,
    "0999-01-01 00:00:00": None,
    "": None,
}


@pytest.mark.parametrize("text", TIMES)
def test_time_is_understood_or_null_when_it_is_alone(text: str) -> None:
    assert parse.times(pa.array([text])).to_pylist() == [TIMES[text]]


def test_times_are_understood_or_null_when_they_stand_together() -> None:
    assert parse.times(pa.array(list(TIMES))).to_pylist() == list(TIMES.values())


def test_time_is_read_alike_when_a_bad_day_stands_beside_it() -> None:
    alone = parse.times(pa.array(["2025-03-01T12:00:00"]))
    beside = parse.times(pa.array(["2025-03-01T12:00:00", "2025-02-30 00:00:00"]))
    assert beside[0] == alone[0]


times = st.sampled_from([10, 16, 19]).flatmap(
    lambda length: st.lists(
        st.text("0123456789-: T+.Z", min_size=length, max_size=length)
        | st.datetimes().map(lambda moment: moment.isoformat(" ")[:length].ljust(length, "0"))
        | st.from_regex(r"[012][0-9]{3}-[0-3][0-9]-[0-3][0-9][ T][0-9]{2}:[0-9]{2}:[0-9]{2}", fullmatch=True).map(
            lambda text: text[:length]
        ),
        min_size=1,
        max_size=8,
    )
)


@given(times)
def test_times_are_read_alike_when_all_are_as_long_and_when_not(values: list[str]) -> None:
    alike = parse.times(pa.array(values)).to_pylist()
    assert alike == parse.times(pa.array([*values, "longer than all of them"])).to_pylist()[:-1]


moments = st.from_regex(
    r"2[0-9]{3}-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-5][0-9](:[0-5][0-9](\.[0-9]{0,6}0{0,4}1?)?)?"
    r" ?(UTC|Z|GMT|[+-][01][0-9](:?[0-5][0-9])?)?",
    fullmatch=True,
)


@given(st.lists(moments, max_size=20))
def test_times_are_those_of_datetime_when_fractions_and_zones_are_anything(values: list[str]) -> None:
    expected = [oracle.moment(text) for text in values]
    assert parse.times(pa.array(values, pa.string())).to_pylist() == [
        when and when.replace(tzinfo=None) for when in expected
    ]
