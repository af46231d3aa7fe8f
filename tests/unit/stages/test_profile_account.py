"""Totals, returns, refunds, currencies and furniture: the numbers of a run with a profile, each worked out by hand."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import daskjobs
import inline
from daskjobs.errors import InputError
from daskjobs.files.documents import parse
from daskjobs.orders.report.quality import Quality
from daskjobs.orders.schema import COLUMNS

HERE: Any = {"dashboard": "127.0.0.1:0", "workers": 1}
HEADER = "order_id,user_id,region,product,quantity,price,total_amount,payment_mode,status,timestamp"


def order(id: str, quantity: str, price: str, total: str, status: str = "success", more: str = "") -> str:
    return f"{id},u0,west,kettle,{quantity},{price},{total},card,{status},2025-04-02 09:30:00{more}"


def run(folder: Path, profile: str, *rows: str, header: str = HEADER, **options: Any) -> daskjobs.OrdersResult:
    (folder / "mine.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "mine.toml").write_text(profile)
    given = {"input": folder / "mine.csv", "partitions": 1, **HERE, **options}
    return daskjobs.run_orders(profile=str(folder / "mine.toml"), run=folder / "run", **given)


def quality(folder: Path) -> Quality:
    return parse((folder / "run" / "report" / "quality.json").read_bytes(), Quality)


def page(folder: Path) -> str:
    return (folder / "run" / "report" / "report.html").read_text()


def paid(folder: Path, partition: int = 0, name: str = "paid") -> list[dict[str, Any]]:
    return pq.read_table(folder / "run" / "validate" / f"part-{partition:05d}" / f"{name}.parquet").to_pylist()


def test_price_of_a_whole_line_is_its_total(tmp_path: Path) -> None:
    rows = [order(f"K{number}", "3", "21.75", "21.75") for number in range(6)]
    result = run(tmp_path, '[order]\nprice = "line"\n', *rows, order("K9", "3", "7.25", "21.75"))
    assert (result.orders, result.revenue) == (6, Decimal("130.50"))  # 6 * 21.75
    (reason,) = quality(tmp_path).reasons
    assert (reason.reason, reason.rows, reason.rule) == (
        "wrong_total",
        1,
        "The total_amount is not the price, to the cent.",
    )


def test_totals_with_tax_count_when_the_rule_about_them_is_left_out_and_everyone_is_told(tmp_path: Path) -> None:
    rows = [order(f"K{number}", "3", "7.25", "26.10") for number in range(6)]
    result = run(tmp_path, '[order]\nwithout_rules = ["wrong_total"]\n', *rows)
    assert (result.orders, result.revenue) == (6, Decimal("156.60"))  # 6 * 26.10
    assert quality(tmp_path).without_rules == {"wrong_total": "the profile names it in without_rules"}
    said = page(tmp_path).partition("<dt>Paid orders</dt>")[0]
    assert "<b>Not checked:</b> wrong_total, since the profile names it in without_rules.</p>" in said
    assert paid(tmp_path)[0].keys() == {*HEADER.split(",")}  # a row is an order, and adds its total


def test_total_may_differ_by_the_tolerance(tmp_path: Path) -> None:
    rows = [order("K0", "3", "7.25", "21.77"), order("K1", "3", "7.25", "21.73"), order("K2", "3", "7.25", "21.78")]
    result = run(tmp_path, "[order]\ntolerance = 2\n", *rows)
    assert (result.orders, result.revenue) == (2, Decimal("43.50"))  # 21.77 + 21.73
    assert [each.rule for each in quality(tmp_path).reasons] == [
        "The total_amount is not quantity times price, to within 0.02."
    ]


def test_return_is_subtracted_and_is_no_order(tmp_path: Path) -> None:
    rows = [order("K0", "3", "7.25", "21.75"), order("K0-R", "-3", "7.25", "-21.75")]
    result = run(tmp_path, '[order]\nreturns = "subtract"\n', *rows)
    assert (result.orders, str(result.revenue)) == (1, "0.00")
    assert (result.rows.paid, result.rows.gross, result.rows.refunds) == (2, "21.75", "21.75")
    told = quality(tmp_path)
    assert (told.orders, told.gross, told.refunds, told.net) == (1, "21.75", "21.75", "0.00")
    assert (tmp_path / "run/report/analytics_report.json").read_text() == '{"orders": 1, "revenue": 0.00}\n'
    html = page(tmp_path)
    for name, amount in (("Gross", "21.75"), ("Refunds", "21.75"), ("Net revenue", "0.00")):
        assert f"<dt>{name}</dt><dd>{amount}</dd>" in html
    assert "the paid rows are 1 order." in html
    counts = [[str(each[name]) for name in ("orders", "gross", "refunded")] for each in paid(tmp_path)]
    assert counts == [["1", "21.75", "0.00"], ["0", "0.00", "21.75"]]


def test_return_may_have_the_number_of_its_order_and_a_later_order_may_not(tmp_path: Path) -> None:
    rows = [
        order("K0", "-1", "5.00", "-5.00"),  # before its order, too
        order("K0", "3", "7.25", "21.75"),
        order("K0", "-1", "7.25", "-7.25"),
        order("K0", "-1", "7.25", "-7.25"),
        order("K0", "3", "7.25", "21.75"),
    ]
    result = run(tmp_path, '[order]\nreturns = "subtract"\n', *rows, partitions=3)
    assert (result.orders, result.revenue) == (1, Decimal("2.25"))  # 21.75 - 5.00 - 2 * 7.25
    assert [(each["row"], list(each["reasons"])) for _, each in result.rejected.iterrows()] == [
        (5, ["duplicate_order_id"])
    ]
    (warned,) = quality(tmp_path).warned
    assert (warned.reason, warned.rows, warned.first[0].row) == ("duplicate_return", 1, 4)


def test_return_in_two_exports_counts_twice_with_a_warning_and_once_with_a_key(tmp_path: Path) -> None:
    sale, back = order("K0", "3", "7.25", "21.75", more=",T1"), order("K0", "-1", "7.25", "-7.25", more=",T2")
    header, returns = f"{HEADER},Tx", '[order]\nreturns = "subtract"\n'
    (tmp_path / "other.csv").write_text("\n".join([header, sale, back]) + "\n")
    both = {"header": header, "input": [tmp_path / "mine.csv", tmp_path / "other.csv"]}
    for profile, revenue, warned in ((returns, "7.25", ["duplicate_return"]), (f'{returns}key = "Tx"\n', "14.50", [])):
        result = run(tmp_path, profile, sale, back, **both)
        assert (result.orders, result.revenue) == (1, Decimal(revenue))
        assert [each.reason for each in quality(tmp_path).warned] == warned
    with pytest.raises(InputError, match="1 of 4 rows were warned of as duplicate_return"):
        run(tmp_path, returns, sale, back, **both, max_rejected={"duplicate_return": 0})


def test_refunds_beside_the_total_count_for_paid_orders(tmp_path: Path) -> None:
    rows = [
        order("K0", "1", "100.00", "100.00", more=",30.00"),
        order("K1", "1", "50.00", "50.00", more=","),
        order("K2", "1", "20.00", "20.00", "pending", ",20.00"),
        order("K3", "1", "10.00", "10.00", more=",ten"),
        order("K0", "1", "100.00", "100.00", more=",30.00"),
    ]
    result = run(tmp_path, '[order]\nrefunds = "Refunded"\n', *rows, header=f"{HEADER},Refunded")
    assert (result.orders, result.revenue) == (2, Decimal("120.00"))  # 150.00 - 30.00
    told = quality(tmp_path)
    assert (told.gross, told.refunds, told.net) == ("150.00", "30.00", "120.00")
    assert {each.reason: each.rows for each in told.reasons} == {"duplicate_order_id": 1, "unreadable_refund": 1}


def test_sums_by_day_region_and_product_are_net(tmp_path: Path) -> None:
    rows = [order("K0", "-1", "9.00", "-9.00"), order("K1", "1", "4.00", "4.00")]
    result = run(tmp_path, '[order]\nreturns = "subtract"\n', *rows)
    assert str(result.revenue) == "-5.00"
    days = pq.read_table(tmp_path / "run/clean/summary.parquet").to_pylist()
    assert {(each["dimension"], each["value"], each["orders"], str(each["revenue"])) for each in days} == {
        ("day", "2025-04-02", 1, "-5.00"),
        ("region", "west", 1, "-5.00"),
        ("product", "kettle", 1, "-5.00"),
    }


MONEYS = [
    order("K0", "3", "7.25", "21.75", more=",usd"),
    order("K1", "3", "725", "2175", more=", JPY"),
    order("K2", "1", "1.00", "1.00", "failed", ",EUR"),
    order("K3", "1", "1.00", "1.00", more=","),
]


@pytest.mark.parametrize(
    ("later", "warned"),
    [
        (("success", "20.00", "0.00"), 0),
        (("success", "21.00", "0.00"), 1),
        (("success", "20.00", "5.00"), 1),
        (("refunded", "20.00", "20.00"), 1),
        (("failed", "20.00", "0.00"), 1),
    ],
)
def test_order_that_another_export_has_otherwise_counts_as_first_told_and_is_warned_of(
    tmp_path: Path, later: tuple[str, str, str], warned: int
) -> None:
    def export(status: str, total: str, refund: str) -> list[str]:
        lines = [("K0", "2", total, refund), ("K0", "1", "", ""), ("K1", "3", "7.00", "")]
        return [
            order(id, quantity, "4.00", "8.00", status if id == "K0" else "success", f",{total},{refund}")
            for id, quantity, total, refund in lines
        ]

    header, both = f"{HEADER},Total,Back", [tmp_path / "mine.csv", tmp_path / "other.csv"]
    (tmp_path / "other.csv").write_text("\n".join([header, *export(*later)]) + "\n")
    profile = '[order]\nrows = "line"\nfill_down = ["total", "refunds"]\ntotal = "Total"\nrefunds = "Back"\n'
    result = run(tmp_path, profile, *export("success", "20.00", "0.00"), header=header, input=both)
    assert (result.orders, result.revenue) == (2, Decimal("27.00"))
    said = [(each.reason, each.rows, each.first[0].source[-9:], each.first[0].row) for each in quality(tmp_path).warned]
    assert said == [("differing_place", 1, "other.csv", 1)] * warned
    if warned:
        assert "another total, refund or status there" in quality(tmp_path).warned[0].rule


@pytest.mark.parametrize(
    ("amounts", "warned"),
    [
        (["€1.00", "1.00 EUR", "1.00"], ""),
        (
            ["$1.00", "AU $1.00", "-$1.00"],
            "paid amounts are written in 2 currencies (AU $ 1, USD 1), and were added up",
        ),
        (["€1.00", "$ 1.00", "1.00 £"], "paid amounts are written in 3 currencies (EUR 1, GBP 1, USD 1), and were"),
    ],
)
def test_amounts_with_signs_of_two_currencies_are_warned_of(tmp_path: Path, amounts: list[str], warned: str) -> None:
    rows = [order(f"K{number}", "1", each, each) for number, each in enumerate(amounts)]
    unpaid = order("K9", "1", "1.00 £", "1.00 £", "failed")  # which is not added up
    result = run(tmp_path, '[values]\ncurrency = ["€", "EUR", "$", "AU $", "£"]\n', *rows, unpaid)
    assert result.revenue == sum(not each.startswith("-") for each in amounts)
    assert [each[: len(warned)] for each in quality(tmp_path).warnings] == ([warned] if warned else [])


@pytest.mark.parametrize(
    "said",
    [
        '[order]\nrefunds = "More"\n',
        '[columns]\ntotal_amount = {sum = ["total_amount", "+More"]}\n[order]\nrows = "line"\n',
        '[order]\nrows = "line"\ntotal = ["total_amount", "+More"]\n',
    ],
)
def test_refunds_and_parts_of_a_total_with_another_sign_are_warned_of(tmp_path: Path, said: str) -> None:
    rows = [order("K0", "1", "€8.00", "€8.00", more=",$1.00"), order("K1", "1", "€8.00", "€8.00", more=",")]
    run(tmp_path, f'[values]\ncurrency = ["€", "$"]\n{said}', *rows, header=f"{HEADER},More")
    (warning,) = quality(tmp_path).warnings
    assert warning.startswith("paid amounts are written in 2 currencies (EUR 2, USD 1), and were added up")


def test_two_currencies_and_no_choice_end_the_run_with_the_account(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"of 2 currencies \(JPY 1, USD 1\), which can't be added up; .*--currency"):
        run(tmp_path, '[order]\ncurrency = "money"\n', *MONEYS, header=f"{HEADER},money")
    told = quality(tmp_path)
    assert (told.currencies, told.currency, told.net) == ({"JPY": 1, "USD": 1}, "", "")
    assert [(each.reason, each.rule) for each in told.reasons] == [("missing_currency", "The row has no currency.")]
    assert not (tmp_path / "run/report/analytics_report.json").exists()
    html = page(tmp_path)
    assert "This run has failed" in html
    assert "<dt>Revenue</dt><dd>none</dd>" in html
    assert "2,196.75" not in html
    assert "Revenue by" not in html


@pytest.mark.parametrize(("chosen", "revenue", "other"), [("jpy", "2175.00", "USD"), ("USD", "21.75", "JPY")])
def test_report_is_of_the_chosen_currency_and_the_others_are_listed(
    tmp_path: Path, chosen: str, revenue: str, other: str
) -> None:
    profile = '[order]\ncurrency = "money"\n'
    result = run(tmp_path, profile, *MONEYS, header=f"{HEADER},money", currency=chosen)
    assert (result.orders, str(result.revenue)) == (1, revenue)
    told = quality(tmp_path)
    assert told.unpaid_by_status == {"failed": 1, f"success in {other}": 1}
    assert (told.currency, told.currencies) == (chosen.upper(), {"JPY": 1, "USD": 1})
    assert f"counted as unpaid: 1 in {other}.</p>" in page(tmp_path)
    row = {"USD": 1, "JPY": 2}[other]
    assert result.explain(row).verdict == [
        f"valid      it passes every rule, and unpaid: its status is success in {other}"
    ]
    assert [each["status"] for each in paid(tmp_path, name="unpaid")] in (["success", "failed"], ["success", "failed"])


def test_only_currency_needs_no_choice_and_one_that_no_row_has_ends_the_run(tmp_path: Path) -> None:
    only = [order("K0", "3", "7.25", "21.75", more=",usd"), order("K1", "1", "1.00", "1.00", more=",USD")]
    result = run(tmp_path, '[order]\ncurrency = "money"\n', *only, header=f"{HEADER},money")
    assert (result.orders, str(result.revenue), quality(tmp_path).currency) == (2, "22.75", "USD")
    assert "<dt>Revenue, USD</dt><dd>22.75</dd>" in page(tmp_path)
    with pytest.raises(
        InputError, match="no paid row is in EUR, of which the report was to be: their currencies are USD 2"
    ):
        run(tmp_path, '[order]\ncurrency = "money"\nreport_currency = "EUR"\n', *only, header=f"{HEADER},money")


FURNISHED = """[furniture]
lines = ["^-+", 'rows affected\\)$']
where = [{order_id = ["Sum"], status = [""]}]
header = true
"""
ROWS = [
    order("K0", "3", "7.25", "21.75"),
    HEADER,
    "-----,-----",
    order("K1", "3", "7.25", "21.75"),
    "Sum,,,,,,43.50,,,",
    "(2 rows affected)",
]


@pytest.mark.parametrize("partitions", [1, 4])
def test_furniture_is_neither_lost_nor_rejected(tmp_path: Path, partitions: int) -> None:
    result = run(tmp_path, FURNISHED, *ROWS, "broken", partitions=partitions)
    assert (result.orders, str(result.revenue)) == (2, "43.50")
    account = result.rows
    assert (account.rows_in, account.valid, account.rejected, account.furniture) == (7, 2, 1, 4)
    stored = json.loads((tmp_path / "run/report/quality.json").read_text())["rows"]
    assert stored == {"in": 7, "valid": 2, "rejected": 1, "furniture": 4, "paid": 2, "unpaid": 0}
    assert "7 rows came in = 2 valid + 1 rejected + 4 furniture" in page(tmp_path)
    assert result.explain(2).verdict == [
        "furniture  it is no order, since it is the header again: neither valid nor rejected"
    ]
    assert (
        result.explain(5).verdict[0].startswith("furniture  it is no order, since order_id is 'Sum' and status is ''")
    )
    assert result.explain(7).verdict[0].startswith("rejected   wrong_number_of_fields: ")


def test_run_fails_when_each_row_is_rejected_that_is_no_furniture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 of 1 rows were rejected, every one of them"):
        run(tmp_path, FURNISHED, HEADER, order("K0", "x", "7.25", "21.75"))


def test_file_of_furniture_alone_has_no_orders_and_a_warning(tmp_path: Path) -> None:
    result = run(tmp_path, FURNISHED, "-----", "(0 rows affected)")
    assert (result.orders, str(result.revenue)) == (0, "0.00")
    assert quality(tmp_path).warnings == [
        "the profile takes every row for furniture, so there are no orders: check its [furniture]"
    ]


def test_column_that_the_file_lacks_is_in_no_plot(tmp_path: Path) -> None:
    run(tmp_path, "[columns]\nregion = {absent = true}\n", order("K0", "3", "7.25", "21.75"))
    html = page(tmp_path)
    assert "<h2>Revenue by product</h2>" in html
    assert "<h2>Revenue by region</h2>" not in html
    assert "There is no plot by region: the profile says that the file has none." in html
    summed = pq.read_table(tmp_path / "run/clean/summary.parquet")["dimension"].to_pylist()
    assert summed == ["day", "product"]


def test_files_own_column_is_kept_beside_ours_of_the_same_name(tmp_path: Path) -> None:
    rows = [order("K0", "3", "7.25", "21.75", more=",from the file")]
    run(tmp_path, '[order]\nreturns = "subtract"\n', *rows, header=f"{HEADER},gross")
    (found,) = paid(tmp_path)
    assert (found["gross_original"], str(found["gross"])) == ("from the file", "21.75")


def test_results_are_the_same_bytes_with_other_partitions(tmp_path: Path) -> None:
    profile = f'[order]\nreturns = "subtract"\ncurrency = "money"\nreport_currency = "USD"\n{FURNISHED}'
    rows = [
        order(
            f"K{number}", "-1" if number % 5 == 0 else "2", "7.25", "-7.25" if number % 5 == 0 else "14.50", more=",USD"
        )
        for number in range(40)
    ]
    rows[7:7] = [f"{HEADER},money", "---", *MONEYS]
    kept = []
    for partitions in (1, 6):
        result = run(tmp_path, profile, *rows, header=f"{HEADER},money", partitions=partitions)
        # 32 sales of 14.50, less 8 returns of 7.25, and of MONEYS the one of USD, which is K0 as a return is.
        assert (result.orders, str(result.revenue)) == (33, "427.75")
        kept.append(
            [(tmp_path / "run/report" / name).read_bytes() for name in ("quality.json", "analytics_report.json")]
        )
    assert kept[0] == kept[1]


GERMAN = '[values]\ndecimal = ","\nthousands = "."\n'


@pytest.mark.parametrize("kind", ["json lines", "parquet"])
def test_numbers_that_are_no_texts_are_refused_where_the_profile_takes_their_point_for_no_decimal_one(
    tmp_path: Path, kind: str
) -> None:
    """1.125 would be 1125.00, without a word."""
    order = dict(zip(COLUMNS, ["A", "u", "r", "p", 1, 1.125, 1.125, "card", "success", "2025-04-02"], strict=True))
    file = tmp_path / "orders"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([order]), file)
    else:
        file.write_text(json.dumps(order) + "\n")
    (tmp_path / "p.toml").write_text(GERMAN)
    with pytest.raises(InputError, match="has numbers in price, total_amount, which are no texts"):
        inline.run(tmp_path / "run", str(file), profile=str(tmp_path / "p.toml"))


def test_refunds_count_line_by_line_unless_they_are_the_orders(tmp_path: Path) -> None:
    header = ",".join([*COLUMNS, "Back"])
    lines = ["A,u,r,p,1,10.00,10.00,card,success,2025-04-02,", "A,u,r,p,1,5.00,5.00,card,success,2025-04-02,3.00"]
    (tmp_path / "o.csv").write_text("\n".join([header, *lines]) + "\n")
    seen = []
    for number, more in enumerate(["", 'fill_down = ["refunds"]\n']):
        profile = tmp_path / f"{number}.toml"
        profile.write_text(f'[order]\nrows = "line"\nrefunds = "Back"\n{more}')
        results = inline.run(tmp_path / f"run{number}", str(tmp_path / "o.csv"), profile=str(profile))
        quality = json.loads(results["report/quality.json"])
        seen.append((quality["net"], {each["reason"] for each in quality["reasons"]}))
    assert seen == [("12.00", set()), ("10.00", {"differing_refund"})]


def test_lines_behind_furniture_with_an_order_id_are_not_those_of_the_order_above(tmp_path: Path) -> None:
    """B is a test order, which is furniture: its second line, without an id, is no line of A."""
    header = ",".join([*COLUMNS, "Mode"])
    lines = [
        "A,u,r,p,1,1.00,1.00,card,success,2025-04-02,",
        ",u,r,p,1,1.00,1.00,card,,,",
        "B,u,r,p,1,1.00,1.00,card,success,2025-04-02,test",
        ",u,r,p,1,2.00,2.00,card,,,",
    ]
    (tmp_path / "o.csv").write_text("\n".join([header, *lines]) + "\n")
    (tmp_path / "p.toml").write_text(
        '[order]\nrows = "line"\nfill_down = true\n[furniture]\nwhere = [{Mode = ["test"]}]\n'
    )
    for block in (40, 1 << 20):
        results = inline.run(
            tmp_path / str(block), str(tmp_path / "o.csv"), block, profile=str(tmp_path / "p.toml"), partitions=2
        )
        assert json.loads(results["report/analytics_report.json"]) == {"orders": 1, "revenue": 2.0}
        reasons = {each["reason"] for each in json.loads(results["report/quality.json"])["reasons"]}
        assert "missing_order_id" in reasons
