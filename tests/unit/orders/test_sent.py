"""What a sender says: the forms of --expect and of control files, and the lines of the ledger."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskjobs.errors import InputError, UsageError
from daskjobs.orders.profiles import Column, OrderForm, Profile
from daskjobs.orders.sent import (
    Control,
    Said,
    Sent,
    amount,
    broken,
    compare,
    expected,
    our_columns,
    read_control,
    read_expect,
    refuse_contradiction,
)
from daskjobs.orders.validation.result import Received, SourceRow

NAMES = our_columns("", None)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("", ""),
        ("rows=50000,total_amount=21206843.46,ids=49990", "rows=50000,ids=49990,total_amount=21206843.46"),
        (" ids = 7 ,rows=007,", "rows=7,ids=7"),
        ("price=-0.50000", "price=-0.50"),
        ("Gross total=5", "Gross total=5.00"),
        ({"rows": 7, "total_amount": Decimal("1.5"), "Total": "2"}, "rows=7,total_amount=1.50,Total=2.00"),
        ({"rows": np.int64(7)}, "rows=7"),
        (["rows=7", "ids=7", "rows=7"], "rows=7,ids=7"),
        ({"total_amount": Decimal("5E+3"), "rows": Decimal("4E1")}, "rows=40,total_amount=5000.00"),
        ({}, ""),
        ([], ""),
        ("total_amount=123456789012345678901234.99", "total_amount=123456789012345678901234.99"),
    ],
)
def test_what_is_expected_has_one_form_however_it_is_given(given: Any, text: str) -> None:
    assert read_expect(given) == text
    assert read_expect(text) == text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("50000", "got '50000', which is no name=number"),
        ("rows=50,000", "got '000', which is no name=number; numbers have no commas between thousands"),
        (
            "rows=5e4",
            "--expect must say rows as a whole number of at most 18 digits and not below 0, like 50000, got '5e4'",
        ),
        ("rows=-1", "of at most 18 digits and not below 0, like 50000, got '-1'"),
        ({"rows": 10**18}, "of at most 18 digits and not below 0"),
        ({"total_amount": Decimal(10**24)}, "of whole cents with at most 24 digits before the point"),
        ({"total_amount": Decimal("1E+999999")}, "with at most 24 digits before the point"),
        ({"total_amount": Decimal("5E-3")}, "must say total_amount as an amount of whole cents"),
        ({"total_amount": Decimal("NaN")}, "must say total_amount as an amount of whole cents"),
        ("rows=", "like 50000, got ''"),
        ("ids=1_0", "like 50000, got '1_0'"),
        ("ids=\u0663", "must say ids as a whole number"),
        ("total_amount=\u0663.50", "must say total_amount as an amount of whole cents"),
        ("ids=7.0", "must say ids as a whole number"),
        ("total_amount=1.005", "must say total_amount as an amount of whole cents"),
        ("total_amount=NaN", "must say total_amount as an amount"),
        ("total_amount=1E+3", "must say total_amount as an amount"),
        ("rows=1,rows=2", "--expect says two rows, 1 and 2: give one"),
        ("sha256=00", "--expect can't say sha256, which is of one file: let its control file say it"),
        (",", "--expect must be like rows=50000"),
        ({"rows": True}, "--expect must say rows as a number or a text, got 'True'"),
        ({"total_amount": 21206843.46}, "a float may stand for another number"),
        ({"a,b": 5}, "got the name 'a,b'"),
        (5, "as a text or a dict, got '5'"),
    ],
)
def test_what_can_not_be_expected_is_refused_with_what_can(given: Any, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_expect(given)
    assert words in str(raised.value)


@given(st.decimals(-(10**20), 10**20, places=2))
def test_amount_is_the_same_number(number: Decimal) -> None:
    text = amount(f"{number:f}")
    assert Decimal(text) == number
    assert text.partition(".")[2].isdigit()
    assert not text.startswith("-0.00")


def test_control_file_may_say_the_same_twice() -> None:
    twice = b'{"rows": 40, "rows": "040", "md5": "' + b"Ab" * 16 + b'", "md5": "' + b"aB" * 16 + b'"}'
    assert read_control(twice, "c.json", NAMES) == Said(rows=40, md5="ab" * 16)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "c.json is no JSON"),
        (b"\xff\xfe{", "c.json is no JSON"),
        (b"[" * 100_000, "c.json is no JSON"),
        (b"[]", 'must be an object like {"rows": 50000'),
        (b"{}", 'must be an object like {"rows": 50000'),
        (b'{"rows": 1, "rows": 2}', "c.json says two rows, 1 and 2: its sender must say one"),
        (b'{"rows": 1, "ids": 1, "rows": "2"}', "c.json says two rows, 1 and 2: its sender must say one"),
        (b'{"rows": -1}', "c.json must say rows as a whole number of at most 18 digits and not below 0"),
        (b'{"row": 1}', "c.json says 'row', which is not known: did you mean rows? It may say rows, ids, total_amount"),
        (b'{"comment": {"a": 1}}', "c.json says 'comment', which is not known"),
        (b'{"rows": 1.5}', "must say rows as a whole number"),
        (
            b'{"rows": 5e0}',
            "must say rows as a whole number of at most 18 digits and not below 0, like 50000, got '5e0'",
        ),
        (b'{"total_amount": 8.589e2}', "must say total_amount as an amount of whole cents"),
        (b'{"rows": null}', "must say rows as a number or a text, got 'None'"),
        (b'{"total_amount": Infinity}', "must say total_amount as a number or a text"),
        (b'{"sha256": "abc"}', "must say sha256 as 64 hexadecimal digits, got 'abc'"),
        (b'{"md5": 5}', "must say md5 as 32 hexadecimal digits"),
        (b'{"rows": ' + b"9" * 5000 + b"}", "of at most 18 digits and not below 0, like 50000, got '9999"),
    ],
)
def test_control_file_that_makes_no_sense_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InputError) as raised:
        read_control(data, "c.json", NAMES)
    assert words in str(raised.value)


def test_amounts_of_a_control_file_are_never_floats() -> None:
    digits = b'{"total_amount": 123456789012345678.01, "price": "0.1", "rows": "5", "md5": "' + b"AB" * 16 + b'"}'
    said = read_control(b"\xef\xbb\xbf" + digits, "c.json", NAMES)
    assert said == Said(5, None, {"total_amount": "123456789012345678.01", "price": "0.10"}, md5="ab" * 16)


def test_column_may_have_the_files_own_name() -> None:
    assert our_columns("total_amount=Total,price=rows", None)["Total"] == "total_amount"
    profile = Profile(
        "mine", columns={"price": Column(names=["Preis", "Summe"]), "total_amount": Column(names=["Summe"])}
    )
    assert our_columns("", profile) == {
        "total_amount": "total_amount", "price": "price", "Preis": "price", "Summe": "total_amount"
    }  # fmt: skip
    own = Profile("mine", order=OrderForm(rows="line", total=["+Order total"]))
    assert our_columns("", own)["Order total"] == "total_amount"
    assert expected("Summe=5.00,rows=1", our_columns("", profile)) == Said(1, None, {"total_amount": "5.00"})
    with pytest.raises(UsageError, match="says two sums of total_amount, "):
        expected("Summe=5.00,total_amount=6.00", our_columns("", profile))
    with pytest.raises(UsageError, match="says 'totl_amount', which is not known: did you mean total_amount"):
        expected("totl_amount=5.00", NAMES)


def controls(*said: Said) -> list[Control]:
    return [Control(f"{number}.control.json", number, each) for number, each in enumerate(said)]


def test_control_files_of_all_files_may_not_contradict_what_is_expected() -> None:
    both = controls(Said(rows=3, ids=3), Said(rows=4, ids=4))
    refuse_contradiction(Sent(Said(rows=7, ids=5), both), 2)  # an id may be in both
    refuse_contradiction(Sent(Said(rows=9), both), 3)  # the third one may have two
    refuse_contradiction(Sent(Said(rows=9)), 0)
    with pytest.raises(InputError, match="--expect says rows=8, and the 2 control files together say 7"):
        refuse_contradiction(Sent(Said(rows=8), both), 2)
    with pytest.raises(InputError, match=r"--expect says ids=4, and 0.control.json says 3: ask the sender"):
        refuse_contradiction(Sent(Said(ids=4), both[:1]), 1)


def test_lines_are_of_what_is_expected_of_all_control_files_and_of_those_that_differ() -> None:
    sent = Sent(Said(rows=9), controls(Said(rows=3, sums={"price": "5.00"}), Said(rows=4), Said(rows=2)))
    received = {
        "": Received(8), "0": Received(3, {"price": "5.00"}), "1": Received(4), "2": Received(1)
    }  # fmt: skip
    lines = compare(sent, received, {})
    assert [(line.what, line.by, line.sent, line.received, line.missing) for line in lines] == [
        ("rows", "--expect", "9", "8", "1"),
        ("rows", "3 control files", "9", "8", "1"),
        ("price", "0.control.json", "5.00", "5.00", "0.00"),
        ("rows", "2.control.json", "2", "1", "1"),
    ]
    assert broken(lines).startswith(
        "the sender's 9 rows are 8 received + 1 missing; the sender's 9 rows are 8 received + "
    )
    assert compare(sent, {}, {})[0].missing == "9"


def test_sentence_says_what_is_too_many_and_what_can_not_be_known() -> None:
    sent = Sent(Said(rows=50_000, ids=2, sums={"total_amount": "100.10"}))
    rows = [SourceRow("file:///in/a.csv", 7)]
    lost = Received(50_003, {"total_amount": "90.00"}, {"total_amount": 2}, {"total_amount": rows})
    lines = compare(sent, {"": lost}, {"": 2})
    assert [line.sentence() for line in lines] == [
        "the sender's 50,000 rows are 50,003 received, 3 too many",
        "the sender's 2 distinct ids are 2 received + 0 missing",
        "the sender's total_amount of 100.10 is 90.00 received + an unknown rest, since 2 rows have no amount that can "
        "be read (row 7 of a.csv and 1 more)",
    ]
    assert [line.balances for line in lines] == [False, True, False]
    assert "; 4 rows of furniture came besides, and don't count" in broken(lines, furniture=4)
    assert broken([lines[1]], furniture=4) == ""
