"""report.html: what it shows is bounded, and no name that users wrote breaks its plots."""

import json
import random
import re
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from bokeh.settings import settings

from daskjobs.display import escaped
from daskjobs.orders import summary
from daskjobs.orders.report import page
from daskjobs.orders.report.quality import VERSION, Account, Quality, Reason
from daskjobs.orders.validation.result import Lines, LongRows

QUALITY = Quality(
    version=VERSION,
    rows=Account(rows_in=1, valid=1, rejected=0, paid=1, unpaid=0),
    lines=Lines(0, 0, 0, 0, LongRows(0, 0, [])),
    warnings=[],
    reasons=[],
    unpaid_by_status={},
    scores={},
)
ODD = ["", "(empty)", "a:b", "('a', 'b')", "nan", "x\0y", "$$\\alpha$$", "<b>", "two\nlines", "\x1b[31m", "\u202egnp",
       "0", "z" * 5000, "01234567-89ab-cdef-0123-456789abcdef"]  # fmt: skip


def lines(dimension: str, revenues: dict[str, str]) -> pa.Table:
    rows = [(dimension, value, 1, Decimal(revenue)) for value, revenue in revenues.items()]
    return pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=summary.SCHEMA.names).cast(
        summary.SCHEMA
    )


def drawn(summaries: pa.Table) -> str:
    return page.page(100, QUALITY, summaries, None).decode()


def attributes(inside: Any, kind: str) -> list[dict[str, Any]]:
    """The attributes of bokeh's elements of one kind, wherever they stand in a plot."""
    parts = inside.values() if isinstance(inside, dict) else inside if isinstance(inside, list) else []
    own = [inside.get("attributes", {})] if isinstance(inside, dict) and inside.get("name") == kind else []
    return own + [each for part in parts for each in attributes(part, kind)]


def plot_by_region(html: str) -> Any:
    """What a page tells bokeh to draw in its second plot."""
    (text,) = re.findall(r"const docs_json = '(.*)';", html)
    (document,) = json.loads(text.replace("\\'", "'").replace(r"\\", "\\")).values()
    return document["roots"][1]


def test_each_bar_has_a_place_of_its_own_whatever_its_name_is() -> None:
    plot = plot_by_region(drawn(lines("region", {name: str(100 - i) for i, name in enumerate(ODD)})))
    (source,) = attributes(plot, "ColumnDataSource")
    data = dict(source["data"]["entries"])
    assert data["place"] == list(range(len(ODD)))[::-1]
    assert data["revenue"] == [100.0 - i for i in range(len(ODD))]
    assert data["name"][:3] == ["(empty)", "(empty)", "a:b"]
    assert data["name"][5] == r"x\x00y"
    assert all(name.isprintable() and len(name) <= 201 for name in data["name"])
    overrides = [dict(each["major_label_overrides"]["entries"]) for each in attributes(plot, "LinearAxis")
                 if "major_label_overrides" in each]  # fmt: skip
    (labels,) = ([axis[place]["attributes"]["text"] for place in data["place"]] for axis in overrides)
    assert overrides[0][data["place"][6]]["name"] == "PlainText"  # no formula
    assert labels[6] == "$$\\alpha$$"
    assert all(len(label) <= 40 for label in labels)


def test_plots_show_names_as_terminals_do() -> None:
    characters = "".join(map(chr, [*range(32), *range(127, 161), 0x200B, 0x200E, 0x2028, 0x202E, 0x2066, 0xE9, 0xFEFF]))
    names = [f"a{characters[at : at + 20]}b" for at in range(0, len(characters), 20)]
    (source,) = attributes(plot_by_region(drawn(lines("region", dict.fromkeys(names, "1")))), "ColumnDataSource")
    assert sorted(dict(source["data"]["entries"])["name"]) == sorted(map(escaped, names))


@pytest.mark.parametrize("chosen", [True, False])
def test_programs_own_choice_of_bokehs_ids_stands_although_a_page_could_not_be_drawn(
    monkeypatch: pytest.MonkeyPatch, chosen: bool
) -> None:
    def fail(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(page, "components", fail)
    settings.simple_ids = chosen
    try:
        with pytest.raises(MemoryError):
            drawn(lines("region", {"north": "1"}))
        assert settings.simple_ids() is chosen
    finally:
        settings.simple_ids.unset_value()


def test_page_is_the_same_bytes_twice_in_one_process_and_keeps_ids_that_users_wrote() -> None:
    summaries = pa.concat_tables([lines("day", {"2025-01-01": "1"}), lines("region", dict.fromkeys(ODD, "1"))])
    first = drawn(summaries)
    assert first == drawn(summaries)
    assert ODD[-1] in first


def test_names_in_warnings_and_sentences_of_rules_are_shown_escaped() -> None:
    quality = replace(QUALITY, warnings=["row 2 of a\u202egnp.csv"], reasons=[Reason("big", 1, "It is <big>\u200e.")])
    html = page.page(100, quality, pa.table([[]] * 4, names=summary.SCHEMA.names).cast(summary.SCHEMA), None).decode()
    assert r"row 2 of a\u202egnp.csv" in html
    assert r"It is &lt;big&gt;\u200e." in html


def test_bars_are_those_with_the_most_revenue_to_the_cent_and_the_page_says_so() -> None:
    revenues = {f"r{i:03d}": f"90071992547409930.{i:02d}" for i in range(100)}  # alike, as floats
    found = summary.most(lines("region", revenues), page.BARS)
    assert found["value"].to_pylist() == [f"r{i:03d}" for i in range(99, 79, -1)]
    html = drawn(pa.concat_tables([lines("day", {"2025-01-01": "1"}), lines("region", revenues)]))
    assert "The plot by region shows the 20 with the most revenue." in html
    assert "The plot by product" not in html


@pytest.mark.slow
@pytest.mark.parametrize(
    ("days", "period", "points"), [(4000, "day", 4000), (4001, "month", 132), (130_000, "year", 356)]
)
def test_days_are_summed_by_month_or_year_when_they_are_many(days: int, period: str, points: int) -> None:
    every = {str(date(2000, 1, 1) + timedelta(day)): "0.01" for day in range(days)}
    what, found = summary.by_period(lines("day", every), page.MOST_DAYS)
    assert (what, len(found)) == (period, points)
    assert sum(found["revenue"].to_pylist()) == Decimal(days) / 100
    assert sum(found["orders"].to_pylist()) == days
    assert found["value"][0].as_py() == "2000-01-01"
    html = drawn(pa.concat_tables([lines("day", every), lines("region", {"north": "1"})]))
    assert f"<h2>Revenue by {period}</h2>" in html
    assert (f"the first plot shows their sums by {period}" in html) == (period != "day")


def test_page_stays_small_when_every_order_has_a_region_of_its_own() -> None:
    few, many = (lines("region", {f"region {i}": "1" for i in range(count)}) for count in (30, 50_000))
    assert abs(len(drawn(many)) - len(drawn(few))) < 1000


def test_sums_do_not_depend_on_how_many_come_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "LEAST_LINES", 3)
    chance = random.Random(5)
    parts = [
        lines(dimension, {str(chance.randrange(50)): f"{chance.randrange(10**6)}.{chance.randrange(100):02d}"})
        for dimension in chance.choices(summary.DIMENSIONS, k=300)
    ]
    one, each = summary.Total(), summary.Total()
    one.add(pa.concat_tables(parts))
    for part in parts:
        each.add(part)
    assert one.sums().to_pylist() == each.sums().to_pylist()
    expected: dict[tuple[str, str], Decimal] = {}
    for line in pa.concat_tables(parts).to_pylist():
        key = line["dimension"], line["value"]
        expected[key] = expected.get(key, Decimal()) + line["revenue"]
    found = {(line["dimension"], line["value"]): line["revenue"] for line in one.sums().to_pylist()}
    assert list(found.items()) == sorted(expected.items())


@pytest.mark.parametrize(("revenue", "start"), [("5.00", 0), ("0.00", 0), ("-5.00", None)])
def test_axis_of_revenue_begins_at_zero_unless_more_was_given_back_than_paid(revenue: str, start: int | None) -> None:
    (axis,) = attributes(plot_by_region(drawn(lines("region", {"north": "9.00", "south": revenue}))), "DataRange1d")
    assert axis.get("start") == start


def test_sentences_about_plots_stand_only_beside_plots() -> None:
    notes = ["There is no plot by product."]
    some = lines("region", {"north": "9.00"})
    assert "There is no plot by product." in page.page(900, QUALITY, some, None, notes=notes).decode()
    assert "There is no plot by product." not in page.page(None, QUALITY, some, None, "why", notes).decode()
