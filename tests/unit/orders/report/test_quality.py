from dataclasses import replace

import pytest

from daskjobs.errors import LostWorkError
from daskjobs.orders.profiles import Column, OrderForm, Profile
from daskjobs.orders.report.quality import Account, balance, mixed, most_frequent, notes, scored, warnings
from daskjobs.orders.validation.result import LongRow, LongRows, Score

GOOD = Account(rows_in=10, valid=9, rejected=1, paid=8, unpaid=1)


@pytest.mark.parametrize("wrong", [dict(rejected=2), dict(unpaid=0), dict(paid=9)])
def test_no_ledger_passes_when_a_row_is_missing_or_twice(wrong: dict[str, int]) -> None:
    balance(GOOD)
    with pytest.raises(LostWorkError, match="the ledger doesn't balance: {'in': 10, "):
        balance(replace(GOOD, **wrong))


def test_precision_and_recall_are_none_when_there_was_nothing_to_find() -> None:
    some = scored({"found": Score(3, 1, 0), "absent": Score(0, 0, 0)})
    assert (some["found"].precision, some["found"].recall) == (0.75, 1.0)
    assert (some["absent"].precision, some["absent"].recall) == (None, None)


def test_reasons_of_most_rows_come_first_and_equal_ones_by_their_name() -> None:
    reasons = most_frequent({"b": 1, "a": 1, "c": 2}, {"c": "C."})
    assert [(each.reason, each.rows, each.rule) for each in reasons] == [("c", 2, "C."), ("a", 1, ""), ("b", 1, "")]


def test_warning_names_the_first_rows_and_counts_the_others() -> None:
    assert warnings(LongRows(0, 0, [])) == []
    (sentence,) = warnings(LongRows(1002, 5000, [LongRow("s3://bucket/x.csv", 7, 2), LongRow("y.csv", 8, 3)]))
    assert sentence.startswith("1,002 rows hold 5,000 line ends inside quotes and each look like several rows: ")
    assert "row 7 of x.csv, row 8 of y.csv and 1,000 more" in sentence


def test_furniture_is_part_of_the_ledger() -> None:
    balance(replace(GOOD, rows_in=13, furniture=3))
    with pytest.raises(LostWorkError, match="in must be valid \\+ rejected \\+ furniture, and valid must be paid"):
        balance(replace(GOOD, furniture=3))


@pytest.mark.parametrize(
    ("currencies", "chosen", "said"),
    [
        ({}, "", ""),
        ({}, "EUR", ""),
        ({"EUR": 3}, "", ""),
        ({"EUR": 3, "JPY": 1}, "EUR", ""),
        ({"EUR": 3}, "JPY", "no paid row is in JPY, of which the report was to be: their currencies are EUR 3"),
        ({"A": 1, "B": 2000}, "", "the paid rows are of 2 currencies (B 2,000, A 1), which can't be added up"),
        (
            dict.fromkeys("ABCDEFG", 1),
            "",
            "the paid rows are of 7 currencies (A 1, B 1, C 1, D 1, E 1 and 2 more), which can't be added up",
        ),
    ],
)
def test_there_is_a_revenue_only_in_one_currency(currencies: dict[str, int], chosen: str, said: str) -> None:
    assert mixed(currencies, chosen) == said


def test_what_no_plot_can_show_is_said() -> None:
    absent = {"region": Column(absent=True), "user_id": Column(absent=True)}
    own_total = OrderForm(rows="line", total=["Total"])
    assert notes(None) == notes(Profile("mine")) == []
    assert notes(Profile("mine", columns=absent, order=own_total)) == [
        "There is no plot by region: the profile says that the file has none.",
        "There is no plot by product: the file has the orders' totals, and not those of their lines.",
    ]
