import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Command, Pipeline, row
from daskjobs import ruleset
from daskjobs.errors import ConfigError
from daskjobs.storage import Storage

STAGES = ("split", "validate", "merge", "clean", "report")
MINE = '''
"""Rules of a shop."""

from daskjobs.orders import PAID

LIMIT = 100_00


def big_order(orders):
    """The order is of 100.00 or more.

    Such orders are checked by hand.
    """
    return _big(orders)


def late_gift(orders):
    """A gift was not paid."""
    return (orders["note"] == "gift") & (orders["status"] != PAID)


def _big(orders):
    return orders["total_cents"] >= LIMIT
'''


@pytest.fixture
def rules_file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        (tmp_path / "mine.py").write_text(text)
        return str(tmp_path / "mine.py")

    return write


def test_rows_are_rejected_by_the_users_rules_beside_the_built_in_ones(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path, rules_file: Callable[[str], str]
) -> None:
    rows = [
        row() + ",gift",
        row(status="failed") + ",gift",
        row(quantity="20", total_amount="210.00") + ",",
        row(quantity="20", total_amount="210.01", status="failed") + ",gift",
        row(status="failed") + ",",
    ]
    path = orders_file(*rows)
    path.write_bytes(path.read_bytes().replace(b"timestamp", b"timestamp,note", 1))
    pipeline(*STAGES, input=str(path), rules=rules_file(MINE), partitions=2)
    quality = json.loads((tmp_path / "run/report/quality.json").read_text())
    assert quality["rows"] == {"in": 5, "valid": 2, "quarantined": 3, "clean": 1, "unpaid": 1}
    assert {line["reason"]: (line["rows"], line["rule"]) for line in quality["reasons"]} == {
        "big_order": (2, "The order is of 100.00 or more."),
        "late_gift": (2, "A gift was not paid."),
        "wrong_total": (1, "The total_amount is not quantity times price, to the cent."),
    }
    assert "wrong_total;big_order;late_gift" in (tmp_path / "run/merge/quarantine.csv").read_text().replace('"', "")


def test_partitions_are_checked_again_when_a_rule_changes(
    pipeline: Pipeline, orders_file: Callable[..., Path], rules_file: Callable[[str], str]
) -> None:
    path = str(orders_file(row(quantity="20", total_amount="210.00")))
    rules = rules_file("def big_order(orders):\n    return orders['total_cents'] > 100_00\n")
    assert pipeline("split", "validate", input=path, rules=rules)["validate"]["rows"]["quarantined"] == 1
    assert pipeline("validate", input=path, rules=rules)["validate"]["skipped"]
    rules_file("def big_order(orders):\n    return orders['total_cents'] > 300_00\n")
    assert pipeline("validate", input=path, rules=rules)["validate"]["rows"]["quarantined"] == 0
    assert pipeline("validate", input=path)["validate"]["rows"]["quarantined"] == 0


BROKEN = {
    "def odd(orders):\n    return orders['x'] == 1\n": "the rule odd of .*mine.py, line 2, failed: KeyError: 'x'",
    "def odd(orders):\n    return orders['region']\n": "rule odd of .*mine.py failed: .*: it gave .*, not booleans",
    "def odd(orders):\n    return [True]\n": r"the rule odd of .*mine.py failed: .*: it gave \(1,\) values for",
    "def odd(:\n": "mine.py, line 1, can't be imported: SyntaxError",
    "import nothing_like_it\n": "mine.py, line 1, can't be imported: ModuleNotFoundError",
    "x = 1\n": "mine.py has 0 rules: from 1 to 40 functions",
    "def wrong_total(orders):\n    return 1\n": "defines wrong_total, which is a built-in rule",
}


@pytest.mark.parametrize("text", BROKEN)
def test_validation_fails_and_names_the_rule_when_it_is_broken(
    pipeline: Pipeline, rules_file: Callable[[str], str], text: str
) -> None:
    pipeline("generate", "split")
    with pytest.raises(ConfigError, match=BROKEN[text]):
        pipeline("validate", rules=rules_file(text))


def test_a_rule_cant_change_what_others_see(
    pipeline: Pipeline, orders_file: Callable[..., Path], rules_file: Callable[[str], str]
) -> None:
    rules = rules_file(
        "def first(orders):\n    orders['price_cents'] = -1\n    return orders['price_cents'] > 0\n"
        "def second(orders):\n    return orders['price_cents'] < 0\n"
    )
    rows = pipeline("split", "validate", input=str(orders_file(row())), rules=rules)["validate"]["rows"]
    assert rows == {"in": 1, "valid": 1, "quarantined": 0}


def test_rules_are_the_same_when_they_come_to_a_worker(rules_file: Callable[[str], str]) -> None:
    rules = ruleset.read(Storage("."), rules_file(MINE))
    there = pickle.loads(pickle.dumps(rules))
    assert there == rules
    assert list(there.own) == ["big_order", "late_gift"]


def test_run_ends_with_code_11_when_the_rules_are_not_there(daskjobs: Command) -> None:
    done = daskjobs("run", "--rows", "10", "--rules", "nothing.py", "--dashboard", "127.0.0.1:0")
    assert done.returncode == 11
    assert "--rules can't be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_ends_with_one_sentence_when_a_rule_fails(daskjobs: Command, rules_file: Callable[[str], str]) -> None:
    rules = rules_file("def odd(orders):\n    return orders['x'] == 1\n")
    done = daskjobs("run", "--rows", "10", "--rules", rules, "--dashboard", "127.0.0.1:0")
    assert done.returncode == 11
    assert "the rule odd of" in done.stderr
    assert "Traceback" not in done.stderr


def test_endless_file_of_rules_is_a_sentence_at_once() -> None:
    with pytest.raises(ConfigError, match="--rules /dev/zero has more than 1 MiB"):
        ruleset.read(Storage("run"), "/dev/zero")
