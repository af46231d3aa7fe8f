"""report.html: what it shows is bounded, it needs no script, and no name that users wrote breaks its plots."""

import random
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from daskjobs.display import escaped
from daskjobs.orders import summary
from daskjobs.orders.report import drift, page, plots
from daskjobs.orders.report.drift import Compared, Drift, Measure
from daskjobs.orders.report.quality import VERSION, Account, Quality, Reason, ReasonSet
from daskjobs.orders.report.resources import Request, ResourcesSection, Use
from daskjobs.orders.validation.result import Lines, LongRows, Sample

QUALITY = Quality(
    version=VERSION,
    rows=Account(rows_in=1, valid=1, rejected=0, paid=1, unpaid=0),
    lines=Lines(0, 0, 0, 0, LongRows(0, 0, [])),
    warnings=[],
    reasons=[],
    unpaid_by_status={},
    scores={},
)
ABOUT = page.About("runs/1", ["orders.csv"], "2026-11-30 03:54", "1.2.3")
ODD = ["", "(empty)", "a:b", "('a', 'b')", "nan", "x\0y", "$$\\alpha$$", "<b>", "two\nlines", "\x1b[31m", "\u202egnp",
       "0", "z" * 5000, "{0}{x}%s", "</svg><script>alert(1)</script>", "&amp;"]  # fmt: skip
ROW = re.compile(r'<tr><th scope="row">(.*?)</th><td class="drawn">(<svg.*?</svg>)</td><td class="n">(.*?)</td></tr>')
PERCENT = re.compile(r"([\d.]+)%")


def lines(dimension: str, revenues: dict[str, str]) -> pa.Table:
    rows = [(dimension, value, 1, Decimal(revenue)) for value, revenue in revenues.items()]
    return pa.table(
        [pa.array(column) for column in zip(*rows, strict=True)] or [[]] * 4, names=summary.SCHEMA.names
    ).cast(summary.SCHEMA)


def daily(count: int, revenue: str = "0.01", first: str = "2000-01-01", step: int = 1) -> pa.Table:
    start = date.fromisoformat(first)
    return lines("day", {str(start + timedelta(step * day)): revenue for day in range(count)})


@dataclass(frozen=True)
class Seen:
    """A page, read."""

    html: str

    def section(self, by: str) -> str:
        (found,) = re.findall(rf'<section class="figure">\n<h2>Revenue by {by}</h2>.*?</section>', self.html, re.DOTALL)
        return str(found)

    def bars(self, by: str) -> list[tuple[str, float, float, str]]:
        """The name, the left and the right end of each bar, and the value beside it."""
        rows = ROW.findall(self.section(by).partition("<details>")[0])
        found = []
        for name, svg, value in rows:
            drawing = ElementTree.fromstring(svg)
            rect = next(each for each in drawing if each.tag == "rect")
            left, width = (float(PERCENT.fullmatch(rect.attrib[each])[1]) for each in ("x", "width"))  # type: ignore[index]
            found.append((name, left, left + width, value))
        return found

    def table(self, by: str) -> list[tuple[str, str, str]]:
        """The rows of the table behind a plot: name, orders and revenue."""
        behind = self.section(by).partition("<details>")[2]
        return re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", behind)

    def columns(self, by: str) -> tuple[list[tuple[int, int, int, int]], list[str], list[str]]:
        """The left, the zero, the end and the width of each column; the ticks' texts, and those at the columns."""
        (svg,) = re.findall(r'<svg class="plot".*</svg>', self.section(by), re.DOTALL)
        drawing = ElementTree.fromstring(svg)
        path = next(each for each in drawing.iter("path")).attrib["d"]
        drawn = [tuple(map(int, each)) for each in re.findall(r"M(\d+) (\d+)V(\d+)h(\d+)V\2z", path)]
        assert len(drawn) == path.count("M")
        texts = [(each.attrib.get("class"), each.text or "") for each in drawing.iter("text")]
        ticks = [text for kind, text in texts if kind in ("", "wide")]
        return drawn, ticks, [text for kind, text in texts if kind in ("value", "value wide")]  # type: ignore[return-value]


def drawn(summaries: pa.Table, quality: Quality = QUALITY, revenue: int | None = 100, **more: Any) -> Seen:
    html = page.page(revenue, quality, summaries, ABOUT, None, **more).decode()
    main = ElementTree.fromstring(html[html.index("<main>") : html.index("</body>")])  # what is in it is XML, too
    assert not {"script", "link", "img", "iframe", "object", "embed", "foreignObject"} & {
        each.tag for each in main.iter()
    }
    assert not re.search(r"<script|(?:src|href)=|url\(|@import|http", html)
    return Seen(html)


def test_each_bar_has_a_place_of_its_own_whatever_its_name_is() -> None:
    found = drawn(lines("region", {name: str(100 - i) for i, name in enumerate(ODD)}))
    bars = found.bars("region")
    assert [value for *_, value in bars] == [f"{100 - i}.00" for i in range(len(ODD))]
    assert [right for _, _, right, _ in bars] == [100 - i for i in range(len(ODD))]
    names = [name for name, *_ in bars]
    assert names[:3] == ["(empty)", "(empty)", "a:b"]
    assert names[5:8] == [r"x\x00y", "$$\\alpha$$", "&lt;b&gt;"]
    assert names[-2:] == ["&lt;/svg&gt;&lt;script&gt;alert(1)&lt;/script&gt;", "&amp;amp;"]
    assert names[12] == "z" * 39 + "…"
    assert found.table("region")[12][0] == "z" * 199 + "…"


def test_plots_show_names_as_terminals_do() -> None:
    characters = "".join(map(chr, [*range(32), *range(127, 161), 0x200B, 0x200E, 0x2028, 0x202E, 0x2066, 0xE9, 0xFEFF]))
    names = [f"a{characters[at : at + 5]}b" for at in range(0, len(characters), 5)]
    table = drawn(lines("region", dict.fromkeys(names, "1"))).table("region")
    assert sorted(name for name, *_ in table) == sorted(map(escaped, names))


def test_page_is_the_same_bytes_twice_in_one_process() -> None:
    summaries = pa.concat_tables([lines("day", {"2025-01-01": "1"}), lines("region", dict.fromkeys(ODD, "1"))])
    assert drawn(summaries).html == drawn(summaries).html


def test_names_in_warnings_sentences_of_rules_and_first_lines_are_shown_escaped() -> None:
    quality = replace(QUALITY, warnings=["row 2 of a\u202egnp.csv"], reasons=[Reason("big", 1, "It is <big>\u200e.")])
    about = page.About("<run>", ["<i>.csv\n"], "<now>", "1")
    html = page.page(100, quality, lines("day", {}), about, None, "<broken>").decode()
    assert r"row 2 of a\u202egnp.csv" in html
    assert r"It is &lt;big&gt;\u200e." in html
    assert r"<dd>&lt;i&gt;.csv\n</dd>" in html
    for text in ("run", "now", "broken"):
        assert f"&lt;{text}&gt;" in html
        assert f"<{text}>" not in html


def test_first_lines_say_what_data_the_page_is_about() -> None:
    days = lines("day", {"2025-01-30": "1.00", "2025-02-02": "2.00"})
    about = page.About("s3://b/r", ["a.csv", "b.csv", "c.csv", "d.csv"], "2026-11-30 03:54", "1.2.3")
    html = page.page(300, replace(QUALITY, rows=Account(4000, 3000, 1000, 2, 2998)), days, about, None).decode()
    said = dict(re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", html.partition("</dl>")[0]))
    assert said == {
        "4 files": "a.csv, b.csv, c.csv and 1 more",
        "Rows": "4,000",
        "Days": "2025-01-30 to 2025-02-02 (2 of these days without paid orders)",
        "Run": "s3://b/r",
        "Date": "2026-11-30 03:54 UTC",
        "Made by": "daskjobs 1.2.3",
    }
    assert '<dt>Rows rejected</dt><dd>1,000</dd><dd class="note">25.00% of 4,000</dd>' in html


def test_bars_are_those_with_the_most_revenue_to_the_cent_and_the_page_says_what_the_others_come_to() -> None:
    revenues = {f"r{i:03d}": f"90071992547409930.{i:02d}" for i in range(100)}  # alike, as floats
    found = drawn(pa.concat_tables([lines("day", {"2025-01-01": "1"}), lines("region", revenues)]))
    table = found.table("region")
    assert [name for name, *_ in table] == [f"r{i:03d}" for i in range(99, 79, -1)] + ["the other 80"]
    assert [name for name, *_ in found.bars("region")] == [name for name, *_ in table[:-1]]
    total = sum(Decimal(revenue.replace(",", "")) for *_, revenue in table)
    assert total == sum(map(Decimal, revenues.values()))
    assert "The plot by region shows the 20 with the most revenue; the other 80 come to" in found.html
    assert "The plot by product" not in found.html


@pytest.mark.parametrize(
    ("days", "step", "period", "points", "named"),
    [
        (page.MOST_DAYS, 1, "day", page.MOST_DAYS, "2000-01-01"),
        (page.MOST_DAYS + 1, 1, "month", 37, "2000-01"),
        (page.MOST_DAYS + 100, 40, "year", 132, "2000"),
        (8000, 365, "decade", 800, "2000s"),
    ],
)
def test_days_are_summed_by_month_year_or_decade_when_they_are_many(
    days: int, step: int, period: str, points: int, named: str
) -> None:
    every = daily(days, step=step)
    found = drawn(pa.concat_tables([every, lines("region", {"north": "1"})]))
    table = found.table(period)
    assert len(table) == len(found.columns(period)[0]) == points
    assert sum(Decimal(revenue) for *_, revenue in table) == Decimal(days) / 100
    assert sum(int(orders.replace(",", "")) for _, orders, _ in table) == days
    assert table[0][0] == named
    assert (f"so the plot shows their sums by {period}" in found.html) == (period != "day")
    assert len(found.html) < 150_000


@pytest.mark.parametrize(
    ("name", "revenue", "most"), [("z", "1234567.89", 150_000), ('"', "9007199254740993.01", 200_000)]
)
def test_page_has_less_than_150_kb_and_never_more_than_200_when_days_and_names_are_many(
    name: str, revenue: str, most: int
) -> None:
    names = {f"{name * 300}{number:05d}": revenue for number in range(5000)}
    both = [lines("region", names), lines("product", names)]
    reasons = [f"rule_{number:020d}" for number in range(20)]
    quality = replace(
        QUALITY,
        rows=Account(600, 0, 600, 0, 0),
        reasons=[Reason(each, 10, "The total_amount is not quantity times price, to the cent.") for each in reasons],
        together=[ReasonSet(reasons, 10) for _ in range(50)],
    )
    found = {each: [Sample(10**9, name * 300, name * 200)] * 3 for each in reasons}
    summaries = pa.concat_tables([daily(page.MOST_DAYS, revenue), *both])
    assert len(drawn(summaries, quality, samples=found).html) < most


def test_page_stays_small_when_every_order_has_a_region_of_its_own() -> None:
    few, many = (lines("region", {f"region {i}": "1" for i in range(count)}) for count in (30, 50_000))
    assert abs(len(drawn(many).html) - len(drawn(few).html)) < 1000


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


@pytest.mark.parametrize(
    ("north", "south", "bars"),
    [
        ("10.00", "5.00", [(0, 100), (0, 50)]),
        ("10.00", "0.00", [(0, 100), (0, 0)]),
        ("30.00", "-10.00", [(25, 100), (0, 25)]),  # to the left of zero, which stands at a quarter
        ("-5.00", "-10.00", [(50, 100), (0, 100)]),
    ],
)
def test_bars_begin_at_zero_and_go_to_the_left_where_more_was_given_back_than_paid(
    north: str, south: str, bars: list[tuple[float, float]]
) -> None:
    found = drawn(lines("region", {"north": north, "south": south})).bars("region")
    assert found == [("north", *bars[0], north), ("south", *bars[1], south)]


def test_columns_are_as_high_as_the_revenue_of_their_days_and_stand_at_their_dates() -> None:
    revenues = {"2025-03-30": "50.00", "2025-03-31": "-25.00", "2025-04-03": "100.00"}
    seen = drawn(lines("day", revenues))
    found, ticks, values = seen.columns("day")
    # An axis from -50 to 100 in 1,000 units, of five days of ten units each; a column takes eight.
    assert found == [(1, 667, 333, 8), (11, 667, 833, 8), (41, 667, 0, 8)]
    assert ticks == ["30 Mar", "31 Mar", "1 Apr", "2 Apr", "3 Apr"]
    assert values == ["50", "-25", "100"]
    assert "Most: 100.00 on 2025-04-03; least: -25.00 on 2025-03-31." in seen.html
    assert [(day, revenue) for day, _, revenue in seen.table("day")] == list(revenues.items())


def test_page_of_one_day_has_one_column_with_its_date_and_value() -> None:
    found, ticks, values = drawn(lines("day", {"2025-03-31": "29.95"})).columns("day")
    assert len(found) == 1
    assert (ticks, values) == (["2025-03-31"], ["29.95"])


@pytest.mark.parametrize(
    ("first", "days", "expected"),
    [
        ("2025-01-01", 9, ["1 Jan", "3 Jan", "5 Jan", "7 Jan", "9 Jan"]),
        ("2025-01-01", 365, ["Jan 2025", "Mar 2025", "May 2025", "Jul 2025", "Sep 2025", "Nov 2025"]),
        ("2023-12-31", 900, ["Jan 2024", "Jul 2024", "Jan 2025", "Jul 2025", "Jan 2026"]),
    ],
)
def test_axis_of_days_has_few_ticks_at_round_dates(first: str, days: int, expected: list[str]) -> None:
    _, ticks, values = drawn(daily(days, "1.00", first)).columns("day")
    assert ticks == expected
    assert len(ticks) <= plots.MOST_TICKS
    assert len(values) in (0, days)


@pytest.mark.parametrize("last", ["2025-01-02", "2025-02-01", "2031-05-05", "2500-01-01", "9999-12-31"])
@pytest.mark.parametrize("period", ["day", "month", "year", "decade"])
def test_axis_of_time_has_one_to_eight_ticks_in_order_whatever_it_spans(period: str, last: str) -> None:
    starts = {"day": last, "month": f"{last[:7]}-01", "year": f"{last[:4]}-01-01", "decade": f"{last[:3]}0-01-01"}
    first = {"day": "2025-01-01", "month": "2025-01-01", "year": "2025-01-01", "decade": "2020-01-01"}[period]
    sums = [plots.Line(value, 1, Decimal(1)) for value in dict.fromkeys([first, starts[period]])]
    svg = str(plots.columns(period, sums, "Revenue"))
    at = [float(x) for x in re.findall(r'<text class="(?:wide)?" x="([\d.]+)%"', svg)]
    assert 1 <= len(at) <= plots.MOST_TICKS
    assert at == sorted(at)
    assert 0 <= at[0] <= at[-1] <= 100


def test_labels_that_would_collide_are_left_out_on_a_phone_or_everywhere() -> None:
    kinds = {days: re.findall(r'class="(value[^"]*)"', drawn(daily(days, "1.00")).html) for days in (5, 6, 11, 12)}
    assert kinds == {5: ["value"] * 5, 6: ["value wide"] * 6, 11: ["value wide"] * 11, 12: []}


def test_axis_has_the_currency_as_its_unit_where_there_is_one() -> None:
    both = pa.concat_tables([lines("day", {"2025-03-31": "9.00"}), lines("region", {"north": "9.00"})])
    assert drawn(both, replace(QUALITY, currency="<EUR>")).html.count(">Revenue, &lt;EUR&gt;</") == 5
    assert drawn(both).html.count(">Revenue, in the currency of the orders</") == 4


def test_page_without_paid_orders_has_no_plots_and_says_so() -> None:
    seen = drawn(lines("day", {}), replace(QUALITY, rows=Account(0, 0, 0, 0, 0)), 0)
    assert "<svg" not in seen.html
    assert "<dd>none, since there are no paid orders</dd>" in seen.html
    assert "<dd>0.00</dd>" in seen.html


def test_sentences_about_plots_stand_only_beside_plots() -> None:
    notes = ["There is no plot by product."]
    some = lines("region", {"north": "9.00"})
    assert "There is no plot by product." in page.page(900, QUALITY, some, ABOUT, None, notes=notes).decode()
    assert "There is no plot by product." not in page.page(None, QUALITY, some, ABOUT, None, "why", notes).decode()


def test_comparison_shows_each_measure_and_marks_by_a_word_what_is_over_or_fails() -> None:
    compared = Compared("s3://b/runs/<night>", "0" * 64, "2026-11-29")
    measures = [
        Measure("rows", drift.RELATIVE, 5000, 2000, -0.6, -0.2, True, True, "2,000 rows, after 5,000 (-60.0 %)"),
        Measure("region", drift.STABILITY, 0.248, 0.0, 1.5, 0.25, True, False, "region <b>\\u202e has 0.0 %"),
        Measure("revenue", drift.RELATIVE, "0.00", "7000.00", None, 2.0, True, False, "from 0.00"),
        Measure("newest", drift.TIME, "2026-11-29T12:00:00", "2026-11-30T12:00:00", 24.0, 36.0, False, False, "newer"),
    ]  # fmt: skip
    found = Drift(1, compared, "", measures, {"product": "the profile of <night> has none"})
    html = page.page(100, QUALITY, lines("day", {}), ABOUT, None, drift=found).decode()
    section = html.partition("<h2>Compared with &lt;night&gt;</h2>")[2].partition("<h2>")[0]
    rows = re.findall(r'<tr( class="over")?><td>(\S+?)<br/>(.*?)</tr>', section)
    shown = {name: (bool(marked), re.findall(r'<td class="n[^"]*">(.*?)</td>', rest)) for marked, name, rest in rows}
    assert shown == {
        "rows": (True, ["5,000", "2,000", "-60.0 %", "-20.0 %<br/><b>fails</b>"]),
        "region": (True, ["24.8 %", "0.0 %", "1.500", "0.250<br/><b>over</b>"]),
        "revenue": (True, ["0.00", "7,000.00", "from nothing", "+200.0 %<br/><b>over</b>"]),
        "newest": (False, ["2026-11-29 12:00:00", "2026-11-30 12:00:00", "+24.0 h", "+36.0 h"]),
    }
    assert r"region &lt;b&gt;\u202e has 0.0&#160;%" in section
    assert "product: not compared, since the profile of &lt;night&gt; has none.</p>" in section
    assert "<night>" not in html
    assert "3 measures over their thresholds" in section


def test_page_is_drawn_without_libraries_of_plots_and_templates() -> None:
    code = "import sys, daskjobs.orders.report.page; print({'bokeh', 'jinja2'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n", done.stderr


def test_largest_reasons_have_a_row_each_and_all_of_them_three_in_a_folded_list() -> None:
    names = [f"rule_{number}" for number in range(7)]
    found = {each: [Sample(1000 + n, f"s3://b/{each}.csv", f"{each},{n}") for n in range(3)] for each in names}
    quality = replace(
        QUALITY, rows=Account(100, 0, 70, 0, 30), reasons=[Reason(each, 10, f"It is {each}.") for each in names]
    )
    html = drawn(lines("day", {}), quality, samples=found).html.replace("<wbr/>", "")
    table, folded = html[html.index("<table>") :].split("<details>")[:2]
    rows = re.findall(r"<tr><td>(\w+)<br/><span class=\"note\">(.*?)</span>(.*?)</td>", table)
    shown = [f'<br/><span class="note">Row 1,000:</span> <code class="sample">{each},0</code>' for each in names[:5]]
    assert [row[2] for row in rows] == [*shown, "", ""]
    assert "<summary>The first rows of each reason</summary>" in folded
    assert re.findall(r"<dt>(\w+)</dt>", folded) == names
    told = re.findall(r'<dd><span class="note">(.*?):</span> <code class="sample">(.*?)</code></dd>', folded)
    assert told == [(f"Row {1000 + n:,} of {each}.csv", f"{each},{n}") for each in names for n in range(3)]


def test_rows_are_shown_escaped_cut_and_with_their_file_where_there_are_several() -> None:
    texts = ["<script>alert(1)</script>,&", "\u202egnp\x1b[2J", '"' * 1_000_000, "{0}{x}%s"]
    quality = replace(QUALITY, rows=Account(9, 0, 9, 0, 0), reasons=[Reason(str(n), 1, "") for n in range(len(texts))])
    found = {str(n): [Sample(n + 1, f"file:///a/<b>{n}\u202e.csv", text)] for n, text in enumerate(texts)}
    about = replace(ABOUT, files=["a.csv", "b.csv"])
    html = page.page(100, quality, lines("day", {}), about, None, samples=found).decode()
    told = re.findall(r'<span class="note">(Row [^<]*):</span> <code class="sample">(.*?)</code>', html)
    assert told[: len(texts)] == told[len(texts) :]
    assert told[:2] == [
        (r"Row 1 of &lt;b&gt;0\u202e.csv", "&lt;script&gt;alert(1)&lt;/script&gt;,&amp;"),
        (r"Row 2 of &lt;b&gt;1\u202e.csv", r"\u202egnp\x1b[2J"),
    ]
    assert told[2][1] == "&#34;" * 40 + "…"
    assert told[3][1] == "{0}{x}%s"


def test_reasons_that_come_together_add_up_to_all_rejected_rows() -> None:
    some = [ReasonSet(["a", "b"], 50), ReasonSet(["c"], 30), *(ReasonSet([f"d{n}"], 2) for n in range(9))]
    quality = replace(QUALITY, rows=Account(200, 0, 100, 0, 100), reasons=[Reason("a", 50, "")], together=some)
    html = drawn(lines("day", {}), quality).html
    table = html.partition("Which reasons come together")[2].partition("</table>")[0]
    rows = re.findall(r'<tr><td>(.*?)</td><td class="n">(.*?)</td><td class="n">(.*?)</td></tr>', table)
    assert rows[:2] == [("a and b", "50", "50.00%"), ("c alone", "30", "30.00%")]
    assert rows[-1] == ("other reasons", "8", "8.00%")
    assert len(rows) == 9
    assert sum(int(count) for _, count, _ in rows) == 100
    alone = replace(quality, together=some[1:])
    assert "Which reasons come together" not in drawn(lines("day", {}), alone).html


def test_what_has_changed_is_listed_escaped_where_attention_is_asked_for() -> None:
    said = {"The region <b> is gone": True, "rows fell by 20%": True, "revenue is as it was": False}
    measures = [
        Measure("rows", drift.RELATIVE, 1, 2, 1.0, 1.0, over, False, sentence) for sentence, over in said.items()
    ]
    found = Drift(1, Compared("runs/night", "0" * 64, "2026-11-29"), "", measures)
    html = page.page(100, QUALITY, lines("day", {}), ABOUT, None, drift=found).decode()
    attention = html.partition("<h2>What needs attention</h2>")[2].partition("<h2>")[0]
    assert re.findall(r"<li>(.*?)</li>", attention) == ["The region &lt;b&gt; is gone", "rows fell by 20%"]
    assert "What has changed" not in drawn(lines("day", {})).html


@pytest.mark.parametrize("days", [40, 118, 243, 365, 900])
def test_dates_below_an_axis_do_not_collide_on_a_phone(days: int) -> None:
    svg = str(plots.columns("day", plots.lines(daily(days, "1.00", "2025-01-01")), "Revenue"))
    shown = re.findall(r'<text class="" x="([\d.]+)%" y="\d+" text-anchor="middle">(.*?)</text>', svg)
    width = 240  # pixels of the plot where the page has 360
    ends = [(float(x) * width / 100 - 3.5 * len(text), float(x) * width / 100 + 3.5 * len(text)) for x, text in shown]
    assert len(shown) >= 2
    assert all(end < begin for (_, end), (begin, _) in pairwise(ends))


def test_pages_of_two_runs_of_the_same_data_differ_in_their_first_lines_and_resources_alone() -> None:
    used = Use(1, 0, 1.0, 1.0, 1.0, 0.0, 1 << 20, 1 << 20)
    quality = replace(
        QUALITY, rows=Account(9, 1, 8, 1, 0), reasons=[Reason("a", 8, "A.")], together=[ReasonSet(["a"], 8)]
    )
    parts = []
    for at in (1, 2):
        about = page.About(f"runs/{at}", ["orders.csv"], f"2026-11-30 0{at}:00", f"{at}.0")
        section = ResourcesSection(Request(at), replace(used, workers=at), Request(at), [f"advice {at}"])
        found = {"a": [Sample(1, "file:///orders.csv", "x")]}
        html = page.page(100, quality, daily(3), about, section, samples=found).decode()
        before, _, rest = html.partition('<dl id="about">')
        first, _, rest = rest.partition("</dl>")
        middle, _, rest = rest.partition('<section id="resources">')
        parts.append((before, first, middle, *rest.partition("</section>")))
    one, other = parts
    assert [a == b for a, b in zip(one, other, strict=True)] == [True, False, True, False, True, True]
