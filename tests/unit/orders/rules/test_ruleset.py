import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import inline
from conftest import Command, Pipeline, row
from daskjobs.errors import ConfigError
from daskjobs.files.storage import Storage
from daskjobs.orders.rules import ruleset

pytestmark = pytest.mark.usefixtures("in_threads")
STAGES = ("split", "validate", "merge", "clean", "report")
MINE = '''
"""Rules of a shop."""

from daskjobs.orders.schema import PAID

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
    assert quality["rows"] == {"in": 5, "valid": 2, "rejected": 3, "paid": 1, "unpaid": 1}
    assert {line["reason"]: (line["rows"], line["rule"]) for line in quality["reasons"]} == {
        "big_order": (2, "The order is of 100.00 or more."),
        "late_gift": (2, "A gift was not paid."),
        "wrong_total": (1, "The total_amount is not quantity times price, to the cent."),
    }
    assert "wrong_total;big_order;late_gift" in (tmp_path / "run/merge/quarantine.csv").read_text().replace('"', "")


@pytest.mark.slow
def test_partitions_are_checked_again_when_a_rule_changes(
    pipeline: Pipeline, orders_file: Callable[..., Path], rules_file: Callable[[str], str]
) -> None:
    path = str(orders_file(row(quantity="20", total_amount="210.00")))
    rules = rules_file("def big_order(orders):\n    return orders['total_cents'] > 100_00\n")
    assert pipeline("split", "validate", input=path, rules=rules)["validate"].rows["rejected"] == 1
    assert pipeline("validate", input=path, rules=rules)["validate"].skipped
    rules_file("def big_order(orders):\n    return orders['total_cents'] > 300_00\n")
    assert pipeline("validate", input=path, rules=rules)["validate"].rows["rejected"] == 0
    assert pipeline("validate", input=path)["validate"].rows["rejected"] == 0


BROKEN = {
    "def odd(orders):\n    return orders['x'] == 1\n": "the rule odd of .*mine.py, line 2, failed: KeyError: 'x'",
    "def odd(orders):\n    return orders['region']\n": "rule odd of .*mine.py failed: .*: it gave .*, not booleans",
    "def odd(orders):\n    return [True]\n": r"the rule odd of .*mine.py failed: .*: it gave 1 values for 2 rows",
    "def odd(:\n": "mine.py, line 1, can't be imported: SyntaxError",
    "import nothing_like_it\n": "mine.py, line 1, can't be imported: ModuleNotFoundError",
    "": "mine.py has 0 rules: from 1 to 40 functions",
    "import sys\nsys.exit(0)\n": "mine.py, line 2, can't be imported: SystemExit: 0",
    "def odd(orders):\n    raise SystemExit(0)\n": "rule odd of .*mine.py, line 2, failed: SystemExit: 0;",
    "def odd(orders):\n    raise KeyboardInterrupt\n": "rule odd of .*mine.py, line 2, failed: KeyboardInterrupt",
    "def odd(orders):\n    return odd(orders)\n": "rule odd of .*mine.py, line 2, failed: RecursionError: maximum",
    "def odd(orders):\n    raise ValueError('x' * 20_000)\n": "line 2, failed: ValueError: x{400,500}…; a rule takes",
    "class Odd(Exception):\n    def __str__(self):\n        raise self\ndef odd(orders):\n    raise Odd\n": (
        "line 5, failed: Odd, whose text can't be had: Odd"
    ),
    "def odd(orders):\n    assert False, 'no'\n": "line 2, failed: AssertionError: no",
    "x = 1\n": "mine.py has 0 rules: from 1 to 40 functions",
    "def wrong_total(orders):\n    return 1\n": "defines wrong_total, which is a built-in rule",
}


@pytest.mark.parametrize("text", BROKEN)
def test_validation_fails_and_names_the_rule_when_it_is_broken(
    orders_file: Callable[..., Path], tmp_path: Path, rules_file: Callable[[str], str], text: str
) -> None:
    with pytest.raises(ConfigError, match=BROKEN[text]) as raised:
        inline.run(tmp_path / "run", str(orders_file(row(), row())), partitions=1, rules=rules_file(text))
    assert len(str(raised.value)) < 1000
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


ENDS = {
    "import os\nos._exit(0)\n": "rule file (",
    "import os\ndef odd(orders):\n    os._exit(0)\n": "partition 0 (",
}


@pytest.mark.slow
@pytest.mark.parametrize("text", ENDS)
def test_run_is_no_success_when_a_rule_ends_its_process(
    daskjobs: Command, tmp_path: Path, rules_file: Callable[[str], str], text: str
) -> None:
    done = daskjobs(
        *("run", "--run", "run", "--rows", "10", "--partitions", "1", "--workers", "1"),
        *("--rules", rules_file(text), "--dashboard", "127.0.0.1:0"),
    )
    said = done.stderr.splitlines()[-1]
    assert (done.returncode, said.startswith(f"daskjobs: {ENDS[text]}")) == (11, True), done.stderr
    assert "its worker died each of the 3 times" in said
    assert "mine.py, whose code can end a worker (os._exit)" in said
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run/report").exists()


@pytest.mark.slow
def test_run_ends_with_a_sentence_when_a_rule_never_returns_from_itself(
    daskjobs: Command, rules_file: Callable[[str], str]
) -> None:
    rules = rules_file("def odd(orders):\n    return odd(orders)\n")
    done = daskjobs("run", "--rows", "10", "--rules", rules, "--workers", "1", "--dashboard", "127.0.0.1:0")
    assert (done.returncode, "failed: RecursionError: maximum recursion depth" in done.stderr) == (11, True)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_sentences_are_the_same_when_python_leaves_docstrings_out() -> None:
    code = (
        "from daskjobs.orders.rules.ruleset import Ruleset\n"
        f"print(*Ruleset({MINE!r}, 'mine.py').sentences.values(), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(ruleset.Ruleset(MINE, "mine.py").sentences.values())
    assert done.stdout.splitlines()[-2:] == ["The order is of 100.00 or more.", "A gift was not paid."]


def test_a_rule_cant_change_what_others_see(
    pipeline: Pipeline, orders_file: Callable[..., Path], rules_file: Callable[[str], str]
) -> None:
    rules = rules_file(
        "def first(orders):\n    orders['price_cents'] = -1\n    return orders['price_cents'] > 0\n"
        "def second(orders):\n    return orders['price_cents'] < 0\n"
    )
    rows = pipeline("split", "validate", input=str(orders_file(row())), rules=rules)["validate"].rows
    assert rows == {"in": 1, "valid": 1, "rejected": 0}


def test_rules_are_the_same_when_they_come_to_a_worker(rules_file: Callable[[str], str]) -> None:
    rules = ruleset.read_rules(Storage("."), rules_file(MINE))
    there = pickle.loads(pickle.dumps(rules))
    assert there == rules
    assert list(there.own) == ["big_order", "late_gift"]


@pytest.mark.slow
def test_run_ends_with_code_11_when_the_rules_are_not_there(daskjobs: Command) -> None:
    done = daskjobs("run", "--rows", "10", "--rules", "nothing.py", "--dashboard", "127.0.0.1:0")
    assert done.returncode == 11
    assert "--rules can't be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_endless_file_of_rules_is_a_sentence_at_once() -> None:
    with pytest.raises(ConfigError, match="--rules /dev/zero has more than 1 MiB"):
        ruleset.read_rules(Storage("run"), "/dev/zero")
