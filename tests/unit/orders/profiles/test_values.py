from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskjobs.orders import parse
from daskjobs.orders.profiles import ValueForm
from daskjobs.orders.profiles.values import amounts, ids, quantities

NBSP, NARROW = "\u00a0", "\u202f"
GERMAN = ValueForm(decimal=",", thousands=["."], currency=["€", "EUR"])
AMERICAN = ValueForm(
    thousands=[","], currency=["$", "AU $", "USD"], parentheses=True, trailing_minus=True, percent=True
)
SWISS = ValueForm(thousands=["'", "\u2019"], currency=["CHF", "Fr."])
FRENCH = ValueForm(decimal=",", thousands=[NARROW, NBSP, " "], currency=["€", "zł"])
BRAZILIAN = ValueForm(decimal=",", thousands=["."], currency=["R$"])
CASES = [
    (
        GERMAN,
        {
            "1.234,50 €": "1234.50",
            "-1.234,50 €": "-1234.50",
            f"-1.234,50{NBSP}€": "-1234.50",
            "€ 5": "5.00",
            "€-5": "-5.00",
            "-€5": "-5.00",
            "5 EUR": "5.00",
            "EUR5": "5.00",
            " 5,00 \t": "5.00",
            "7,25": "7.25",
            "1.234": "1234.00",
            "1.234.567,8": "1234567.80",
            "1234567,8": "1234567.80",
            "1,2300": "1.23",
            ",5": "0.50",
            "-,50": "-0.50",
            "-0,00": "0.00",
            "9.999.999.999.999.999,99": "9999999999999999.99",
            "1,2345": None,
            "1.23": None,
            "1.50": None,
            "0.123": None,
            "12.34,5": None,
            "1.2345,00": None,
            "1234.567": None,
            ".234": None,
            "1..234": None,
            "5,": None,
            "5 $": None,
            "5 eur": None,
            "5  €": None,
            "- 5": None,
            "--5": None,
            "+5": None,
            "5-": None,
            "(5)": None,
            "5 %": None,
            "1e3": None,
            "€": None,
            "-": None,
            "٣": None,
            "99.999.999.999.999.999": None,
            "": None,
        },
    ),
    (
        AMERICAN,
        {
            "-$0.95": "-0.95",
            "$-0.95": "-0.95",
            "$1,240.00": "1240.00",
            "AU $3,000.00": "3000.00",
            "$5.00 USD": None,
            "5% $": None,
            "$5%": None,
            "($5.00)": "-5.00",
            "$(1,234.50)": "-1234.50",
            "(12.00) USD": "-12.00",
            "5.00-": "-5.00",
            "$ 5-": "-5.00",
            "5- USD": "-5.00",
            "5 USD-": "-5.00",
            "12%": "0.12",
            "1,200 %": "12.00",
            "-5%": "-0.05",
            "12.50%": None,
            "45.0000": "45.00",
            ".50": "0.50",
            "-(5)": None,
            "-5-": None,
            "(5": None,
            "5)": None,
            "(-5)": None,
            "1,23": None,
            "$": None,
        },
    ),
    (
        SWISS,
        {
            "CHF-1'234.50": "-1234.50",
            "1\u2019234.5": "1234.50",
            "Fr. 5.50": "5.50",
            "-Fr.5": "-5.00",
            "1'234\u2019567": None,
            "Fr5": None,
        },
    ),
    (
        FRENCH,
        {
            f"-1{NARROW}234,50{NBSP}€": "-1234.50",
            "1 234,50 zł": "1234.50",
            f"1{NBSP}234": "1234.00",
            "1 23": None,
            "1  234": None,
            f"1 234{NBSP}567": None,
        },
    ),
    (BRAZILIAN, {"R$ 1.234,50": "1234.50", f"-R${NBSP}1.234,50": "-1234.50", "$5": None}),
    (ValueForm(), {"-12.5": "-12.50", "1,5": None, "5-": None, "$5": None}),
]


@pytest.mark.parametrize(("form", "cases"), CASES)
def test_amount_is_read_or_null_when_a_profile_says_how_it_is_written(
    form: ValueForm, cases: dict[str, str | None]
) -> None:
    expected = [None if each is None else Decimal(each) for each in cases.values()]
    assert amounts(pa.array(list(cases)), form).to_pylist() == expected
    assert [amounts(pa.array([text]), form)[0].as_py() for text in cases] == expected


def test_quantity_is_read_or_null_when_a_profile_says_how_it_is_written() -> None:
    cases = {"1,0": 1, "1.000": 1000, "2": 2, "-3": -3, "1,5": None, "2 €": None, "1.0": None, "1.234.567.890": None}
    assert quantities(pa.array(list(cases)), GERMAN).to_pylist() == list(cases.values())
    assert [quantities(pa.array([text]), GERMAN)[0].as_py() for text in cases] == list(cases.values())
    assert quantities(pa.array(["(2)", "3-", "200%", "1,000"]), AMERICAN).to_pylist() == [-2, -3, 2, 1000]


forms = st.builds(
    ValueForm,
    decimal=st.sampled_from([",", "."]),
    currency=st.lists(st.sampled_from(["€", "$", "R$", "CHF", "Fr.", "kr"]), max_size=2, unique=True),
    parentheses=st.booleans(),
    trailing_minus=st.booleans(),
).flatmap(
    lambda form: st.lists(
        st.sampled_from([each for each in ".,'\u2019 \u00a0\u202f" if each != form.decimal]), max_size=2, unique=True
    ).map(lambda marks: ValueForm(form.decimal, marks, form.currency, form.parentheses, form.trailing_minus))
)


def spelled(cents: int, form: ValueForm, choice: st.DrawFn) -> str:
    whole, part = divmod(abs(cents), 100)
    digits = f"{whole:,}".replace(",", choice(st.sampled_from([*form.thousands, ""])))
    number = f"{digits}{form.decimal}{part:02d}" + choice(st.sampled_from(["", "00"]))
    sign, blank = choice(st.sampled_from([*form.currency, ""])), choice(st.sampled_from(["", " ", NBSP, NARROW]))
    before, after = choice(st.sampled_from([(f"{sign}{blank}", ""), ("", f"{blank}{sign}")])) if sign else ("", "")
    if cents >= 0:
        return f"{before}{number}{after}"
    written = [f"-{before}{number}{after}"]
    if before:
        written.append(f"{before}-{number}")
    if form.parentheses:
        written.append(f"({before}{number}{after})")
    if form.trailing_minus:
        written += [f"{before}{number}-{after}", f"{before}{number}{after}-"]
    return choice(st.sampled_from(written))


@st.composite
def spellings(draw: st.DrawFn) -> tuple[ValueForm, list[int], list[str]]:
    form = draw(forms)
    cents = draw(st.lists(st.integers(-(10**18) + 1, 10**18 - 1) | st.integers(-200_000, 200_000), max_size=8))
    return form, cents, [spelled(each, form, draw) for each in cents]


@given(spellings())
def test_amount_is_exact_when_it_is_spelled_in_any_way_that_the_profile_names(
    drawn: tuple[ValueForm, list[int], list[str]],
) -> None:
    form, cents, texts = drawn
    assert amounts(pa.array(texts, pa.string()), form).to_pylist() == [Decimal(each) / 100 for each in cents]


@given(forms, st.lists(st.text("0123456789.,-()%\u2019' €$kr\u00a0", max_size=9), max_size=10))
def test_amount_is_read_alike_when_others_stand_beside_it(form: ValueForm, texts: list[str]) -> None:
    together = amounts(pa.array(texts, pa.string()), form).to_pylist()
    assert together == [amounts(pa.array([each]), form)[0].as_py() for each in texts]


@given(st.lists(st.text("0123456789.- ", max_size=9) | st.decimals(places=2).map(str), max_size=10))
def test_amount_is_as_without_a_profile_when_the_profile_says_nothing(texts: list[str]) -> None:
    column = pa.array(texts, pa.string())
    assert amounts(column, ValueForm()) == parse.amounts(column)
    assert quantities(column, ValueForm()) == parse.quantities(column)


def test_ids_are_trimmed_or_visible_when_the_profile_says_so() -> None:
    texts = ["K1", " K1\t", f"K1{NBSP}", "K1\u3000", "K\u200b1", "\ufeffK1", "K\u00ad1", "\u2066K1\u2069", "K1\x00",
             "A\u0308 1", f"Ä{NBSP}1", "k1", "\uff2b1"]  # fmt: skip
    exact = ["K1", "K1", *texts[2:]]
    assert ids(pa.array(texts), ValueForm()).to_pylist() == exact
    assert ids(pa.array(texts), ValueForm(ids="trimmed")).to_pylist() == [each.strip() for each in texts]
    visible = ["K1"] * 9 + ["Ä 1", "Ä 1", "k1", "\uff2b1"]
    assert ids(pa.array(texts), ValueForm(ids="visible")).to_pylist() == visible
    assert [ids(pa.array([each]), ValueForm(ids="visible"))[0].as_py() for each in texts] == visible


@given(st.lists(st.text(max_size=6), max_size=6))
def test_ids_are_those_of_strip_when_they_are_trimmed(texts: list[str]) -> None:
    assert ids(pa.array(texts, pa.string()), ValueForm(ids="trimmed")).to_pylist() == [each.strip() for each in texts]
