from dataclasses import replace

import pytest

from daskjobs.errors import LostWorkError
from daskjobs.orders.report.quality import Account, balance, most_frequent, scored, warnings
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
