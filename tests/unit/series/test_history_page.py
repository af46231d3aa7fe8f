"""The page of a series: its plots and tables have the runs' numbers, and it needs nothing beside itself."""

import re
from dataclasses import replace
from decimal import Decimal
from html import unescape
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

import daskjobs
from conftest import csv_text, row
from daskjobs.cli.history import history as command
from daskjobs.series.days import MissingDay
from daskjobs.series.history import BadRun, History, OtherRun, RunRow, Sums, Total
from daskjobs.series.history_page import page

RUN = RunRow(
    run="n1", day="2026-11-01", made="2026-11-02T01:00:00+00:00", version="1.2.3", rows=100, furniture=0, rejected=5,
    reasons={"wrong_total": 4, "bad_price": 1}, warned={}, sent={}, missing={},
    orders=90, revenue="1234567.80", currency="", corrections=0,
    corrected_orders=0, corrected_revenue="0.00", compared="", drift=None, drifted=[],
    page="/runs/n1/report/report.html", seconds=12.5, workers=5, cost=None,
)  # fmt: skip
ODD = ["<b>", "a_b_c", "&amp;", "two\nlines", "\u202egnp", "</svg><script>alert(1)</script>", "{0}%s", "z" * 500]


def of(*runs: RunRow, **more: object) -> History:
    revenue = str(sum((Decimal(run.revenue) for run in runs), Decimal("0.00")))
    orders = sum(run.orders for run in runs)
    total = Total("", len(runs), orders, revenue, Sums(orders, revenue), Sums(0, "0.00"))
    days = [run.day for run in runs] or [""]
    whole = History(1, "/runs", [total] * bool(runs), True, [], len(runs), days[0], days[-1], [], [], [], None, None,
                    [*runs])  # fmt: skip
    return replace(whole, **more)  # type: ignore[arg-type]


def night(number: int, **more: object) -> RunRow:
    return replace(RUN, run=f"n{number}", day=f"2026-11-{number:02}", **more)  # type: ignore[arg-type]


def drawn(history: History, priced: bool = False) -> str:
    html = page(history, lambda _: "", priced).decode()
    main = ElementTree.fromstring(html[html.index("<main>") : html.index("</body>")])  # what is in it is XML, too
    assert not {"script", "link", "img", "iframe", "object", "embed", "foreignObject"} & {
        each.tag for each in main.iter()
    }
    assert not re.search(r"<script|(?:src|href)=|url\(|@import|http", html)
    return html


def columns(html: str, title: str) -> list[tuple[int, int, int]]:
    """The left end, the width and the height of each column of a plot, in the units of its path."""
    (figure,) = re.findall(rf'<section class="figure">\n<h2>{title}</h2>.*?</section>', html, re.DOTALL)
    (path,) = re.findall(r'<path class="bar" d="(.*?)"', figure)
    found = re.findall(r"M(\d+) (\d+)V(\d+)h(\d+)V\2z", path)
    return [(int(left), int(width), int(zero) - int(top)) for left, zero, top, width in found]


def test_columns_are_as_high_as_their_values_and_a_day_without_a_run_is_a_gap() -> None:
    runs = [night(1, revenue="100.00"), night(2, revenue="50.00"), night(4, revenue="25.00")]
    found = columns(drawn(of(*runs)), "Revenue by night")
    assert [height for *_, height in found] == [1000, 500, 250]
    assert [left // 60 for left, *_ in found] == [0, 1, 3]
    assert {width for _, width, _ in found} == {48}


def test_runs_of_one_day_share_its_place_and_sparse_days_have_none() -> None:
    twice = columns(drawn(of(night(1), night(2), replace(night(2), run="again"))), "Rows by night")
    assert [(left // 30, width) for left, width, _ in twice] == [(0, 48), (2, 24), (3, 24)]
    sparse = columns(drawn(of(night(1), night(8), night(15))), "Rows by night")
    assert [left // 60 for left, *_ in sparse] == [0, 1, 2]


def test_revenue_below_zero_hangs_below_its_axis() -> None:
    found = columns(drawn(of(night(1, revenue="100.00"), night(2, revenue="-100.00"))), "Revenue by night")
    assert [height for *_, height in found] == [500, -500]


def test_each_currency_has_a_plot_of_its_own() -> None:
    html = drawn(of(night(1, currency="EUR"), night(2, currency="USD"), night(3, currency="EUR")))
    assert [left // 60 for left, *_ in columns(html, "Revenue in EUR by night")] == [0, 2]
    assert [left // 60 for left, *_ in columns(html, "Revenue in USD by night")] == [1]


def test_table_behind_a_plot_has_the_exact_values() -> None:
    html = drawn(of(night(1), night(2, rejected=0, reasons={}, rows=0)))
    tables = re.findall(r"<summary>Table of (.*?)</summary>(.*?)</table>", html, re.DOTALL)
    values = {name: re.findall(r"<td>([^<]*)</td></tr>", text) for name, text in tables}
    assert values["revenue by night"] == ["1,234,567.80", "1,234,567.80"]
    assert values["rows by night"] == ["100", "0"]
    assert values["rejected share by night"] == ["5.00%", "0%"]
    assert values["rejected as wrong_total by night"] == ["4.00%", "0%"]
    assert values["seconds by night"] == ["12.5 s", "12.5 s"]
    assert "cost by night" not in values


def test_plots_of_reasons_are_bounded_and_have_one_scale() -> None:
    reasons = {f"rule_{number}": 20 - number for number in range(12)}
    html = drawn(of(night(1, reasons=reasons)))
    assert re.findall(r"<h2>Rejected as (.*?) by night", html) == [f"rule_{number}" for number in range(6)]
    assert "Of 12 reasons, the 6 with the largest share" in html
    heights = [columns(html, f"Rejected as rule_{number} by night")[0][2] for number in range(6)]
    assert heights == [50 * (20 - number) for number in range(6)]


def test_what_needs_attention_stands_above_the_plots() -> None:
    history = of(
        night(1),
        night(2, compared="n1", drift=2, drifted=["rows fell by 40%", "revenue too"]),
        exact=False,
        doubts=["1 of 2 runs was made without --known"],
        bad=[BadRun("n3", "quality.json is damaged", 20)],
        not_good=[OtherRun("n4", "2026-11-04", "", "merge"), OtherRun("n5", "2026-11-05", "", "")],
        missing=[MissingDay("2026-11-03", 2)],
        gaps=["2026-11-03"],
    )
    html = drawn(history)
    warnings = [unescape(re.sub("<.*?>", "", each)) for each in re.findall(r'<p class="warning">(.*?)</p>', html)]
    assert warnings == [
        "Damaged: n3 can't be read, and is not counted: quality.json is damaged.",
        "The total is not certain: 1 of 2 runs was made without --known.",
        "Days that no good run covers: 2026-11-03 (2 paid orders of it in runs of other days).",
        "Not good: 2026-11-04 n4 has no report, and is not counted; its last stage done is merge.",
        "Not good: 2026-11-05 n5 has no report, and is not counted; no stage is done.",
        "2026-11-02 n2, unlike n1: rows fell by 40%; revenue too.",
    ]
    assert html.index("<h1>") < html.index("<b>180 orders, revenue 2,469,135.60") < html.index('class="warning"')
    assert html.rindex('class="warning"') < html.index('class="figure"')
    assert len(re.findall(r">! ?[\d.k]*M?</text>", html)) == 3  # the night that differs, in the plots of all rows
    assert "Nothing: no day is missing" in drawn(of(night(1), night(2)))


def test_runs_that_are_not_good_are_named_up_to_a_bound() -> None:
    others = [OtherRun(f"f{number}", "2026-11-04", "", "") for number in range(90)]
    html = drawn(of(night(1), not_good=others, bad=[BadRun(f"b{number}", "x", 20) for number in range(40)]))
    assert html.count('class="warning"') == 62
    assert "60 more have no report" in html
    assert "10 more can&#39;t be read" in html
    assert "f89 has" in html


def test_what_the_sender_says_and_what_rules_warn_of_is_shown() -> None:
    html = drawn(of(night(1, sent={"rows": "5000", "ids": "4990"}, missing={"rows": "0", "ids": "0"}), night(2)))
    assert "<td>5,000 rows</td><td>0</td>" in html
    assert "<td></td><td></td>" in html
    warned = drawn(of(night(1, warned={"bulk": 50}), night(2)))
    assert '<th scope="col">Sent</th>' not in warned
    assert [height for *_, height in columns(warned, "Warned of bulk by night")] == [1000, 0]


def test_share_of_rejected_rows_leaves_furniture_out() -> None:
    assert "<td>5.00%</td>" in drawn(of(night(1, rows=120, furniture=20)))


def test_no_name_that_users_wrote_breaks_the_page() -> None:
    runs = [replace(night(at + 1), run=name, reasons={name: 1}) for at, name in enumerate(ODD)]
    others = [OtherRun(name, "2026-11-03", "", "") for name in ODD]
    html = drawn(replace(of(*runs), not_good=others, doubts=ODD, series="<i>"))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "\u202e" not in html


def test_cost_has_a_plot_where_there_are_prices() -> None:
    html = drawn(of(night(1, cost="0.000003"), night(2), cost="0.000003"), priced=True)
    assert "The workers of these runs cost 0.000003." in html
    assert len(columns(html, "Cost by night")) == 1
    assert "<td>unknown</td>" in html


@pytest.mark.parametrize("count", [1, 30])
def test_labels_do_not_collide_on_a_phone(count: int) -> None:
    html = drawn(of(*[night(number) for number in range(1, count + 1)]))
    figure = html[html.index("<h2>Revenue by night") :].partition("</section>")[0]
    days = [float(x) for kind, x in re.findall(r'<text class="(.*?)" x="([\d.]+)%" .*? Nov</text>', figure) if not kind]
    assert 0 < len(days) <= 8
    assert all(after - before >= 18 for before, after in pairwise(days))


def test_page_links_each_night_to_its_report_wherever_both_are(tmp_path: Path) -> None:
    from click.testing import CliRunner

    series = tmp_path / "my runs #1"
    (tmp_path / "a.csv").write_bytes(csv_text(row()))
    daskjobs.run_orders(tmp_path / "a.csv", run=series / "n1")
    target = tmp_path / "pages/history.html"
    done = CliRunner().invoke(command, [str(series), "--html", str(target)])
    assert done.exit_code == 0, done.output
    first = target.read_bytes()
    links = {unescape(each) for each in re.findall(r'href="(.*?)"', first.decode())}
    assert links == {"../my%20runs%20%231/n1/report/report.html"}
    assert (target.parent / unquote(links.pop())).resolve() == series / "n1/report/report.html"
    assert CliRunner().invoke(command, [str(series), "--html", str(target)]).exit_code == 0
    assert target.read_bytes() == first
