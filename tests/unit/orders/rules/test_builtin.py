import numpy as np
import pytest

import oracle
from conftest import GOOD
from daskjobs.orders.money import amount_text
from daskjobs.orders.rules import builtin
from daskjobs.orders.rules.builtin import RULES, SENTENCES
from daskjobs.orders.rules.functions import SENTENCE
from daskjobs.orders.rules.ruleset import Ruleset
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources import fields
from daskjobs.orders.sources.quotes import row_ends
from daskjobs.orders.validation.block import Judged, Place, judge

# What each rule rejects, for no other reason, and what it must narrowly let pass: fields that differ from `GOOD`.
CASES = {
    "missing_order_id": (dict(order_id=" \t"), dict(order_id="0")),
    "unreadable_quantity": (dict(quantity="2.5"), dict(quantity="2.0")),
    "quantity_below_one": (dict(quantity="0", total_amount="0.00"), dict(quantity="1", total_amount="10.50")),
    "unreadable_price": (dict(price="10.505"), dict(price="10.500")),
    "negative_price": (dict(price="-10.50", total_amount="-21.00"), dict(price="0.00", total_amount="0")),
    "unreadable_total": (dict(total_amount="21 EUR"), dict(total_amount="21")),
    "wrong_total": (dict(total_amount="21.01"), dict(total_amount="21.00")),
    "unknown_status": (dict(status="Success"), dict(status="refunded")),
    "unreadable_timestamp": (dict(timestamp="2025-02-30 12:00:00"), dict(timestamp=" 2024-02-29T12:00Z")),
}


def judged(text: bytes, row: int = 1) -> Judged:
    block = fields.read_block(text, row_ends(text), list(COLUMNS))
    return judge(block, [], Place(0, "x.csv", row), Ruleset(), np.empty(0, np.int64))


def reasons_of(**values: str) -> list[str]:
    checked = judged((",".join({**GOOD, **values}.values()) + "\n").encode())
    assert len(checked.paid) + len(checked.unpaid) + len(checked.quarantine) == 1
    return [] if not len(checked.quarantine) else checked.quarantine["reasons"][0].as_py()


def test_every_rule_has_a_case_and_a_sentence() -> None:
    assert list(CASES) == list(RULES), f"CASES in {__file__} must have a pair for each rule, in their order"
    assert all(sentence.endswith(".") and len(sentence) > 20 for sentence in SENTENCES.values())


def test_every_function_that_is_marked_as_a_rule_is_in_the_table_of_rules() -> None:
    marked = [name for name, each in vars(builtin).items() if hasattr(each, SENTENCE)]
    assert sorted(marked) == sorted(RULES), "RULES in orders/rules/builtin.py must name each rule of that file"


@pytest.mark.parametrize("name", CASES)
def test_row_is_rejected_for_the_one_reason_when_it_breaks_the_rule(name: str) -> None:
    assert reasons_of(**CASES[name][0]) == [name]
    assert oracle.reasons_of(GOOD | CASES[name][0]) == [name], (
        "reasons_of in tests/oracle.py must judge as the rule does"
    )


@pytest.mark.parametrize("name", CASES)
def test_row_is_valid_when_it_keeps_the_rule_narrowly(name: str) -> None:
    assert reasons_of(**CASES[name][1]) == []
    assert oracle.reasons_of(GOOD | CASES[name][1]) == [], "reasons_of in tests/oracle.py must judge as the rule does"


def test_row_carries_all_its_reasons_when_it_breaks_several_rules() -> None:
    reasons = reasons_of(order_id="", price="-1.00", total_amount="5.00", status="?", timestamp="yesterday")
    assert reasons == ["missing_order_id", "negative_price", "wrong_total", "unknown_status", "unreadable_timestamp"]


def test_total_is_wrong_when_only_its_last_64_bits_are_right() -> None:
    quantity, inverse = 999, pow(999, -1, 2**64)
    total, price = next((t, t * inverse % 2**64) for t in range(1, 1000) if t * inverse % 2**64 < 10**18)
    assert quantity * price % 2**64 == total
    values = dict(quantity=str(quantity), price=amount_text(price), total_amount=amount_text(total))
    assert reasons_of(**values) == ["wrong_total"]


def test_failed_transaction_is_found_when_the_status_is_not_success() -> None:
    rows = (",".join({**GOOD, "status": status}.values()) + "\n" for status in ("success", "failed", "pending"))
    checked = judged("".join(rows).encode(), row=7)
    assert checked.anomalies["failed_transaction"].tolist() == [8, 9]
    assert (len(checked.paid), len(checked.unpaid)) == (1, 2)
