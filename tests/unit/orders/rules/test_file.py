"""Which names of a file are rules: each that may be meant as one runs, or a sentence says why it doesn't."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import inline
from conftest import csv_text, row
from daskjobs.errors import ConfigError
from daskjobs.files.storage import Storage
from daskjobs.orders.rules.builtin import SENTENCES
from daskjobs.orders.rules.ruleset import Ruleset, read_rules
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources import fields
from daskjobs.orders.sources.quotes import row_ends
from daskjobs.orders.validation.block import Judged, Place, judge
from manifests import ROOT

ABOVE = "def _above(orders, cents=2000):\n    'Above.'\n    return orders['total_cents'] > cents\n"
# What else may stand in a file of rules, and is none.
OTHERS = """
import math, re
from collections import namedtuple
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, getcontext
from functools import partial
from os.path import *
from typing import NewType, Optional, TypeVar
import numpy as np
import pandas as pd
from pandas import isna
from daskjobs import rule
from daskjobs.orders.schema import PAID, STATUSES
try:
    from nothing_like_it import checked
except ImportError:
    def _checked(orders): return None
LIMIT, NAMES, PATTERN, NEVER = 2000, {"a"}, re.compile("a"), None
Cents, T, Rows, Maybe = NewType("Cents", int), TypeVar("T"), list[int], Optional[int]
Point = namedtuple("Point", "x y")
Text = str
context = getcontext()
@dataclass
class Limits:
    most: int = 3
    def check(self, orders): return None
class Odd(Exception): pass
limits = Limits()
"""
MEANT = {
    "a function": "def expensive(orders):\n    'Above.'\n    return _above(orders)\n",
    "a partial": "from functools import partial\nexpensive = partial(_above, cents=2000)\n",
    "a callable object": (
        "class Above:\n    'Above.'\n    def __call__(self, orders): return _above(orders)\nexpensive = Above()\n"
    ),
    "a bound method": (
        "class Above:\n    def check(self, orders):\n        'Above.'\n        return _above(orders)\n"
        "expensive = Above().check\n"
    ),
    "a cached function": (
        "import functools\nclass Key: pass\n"
        "def _uncached(orders):\n    'Above.'\n    return _above(orders)\n"
        "@functools.singledispatch\ndef expensive(orders):\n    'Above.'\n    return _above(orders)\n"
    ),
    "a lambda": "expensive = lambda orders: _above(orders)\nexpensive.__doc__ = 'Above.'\n",
    "a function that another one made": (
        "def _make():\n    def inner(orders):\n        'Above.'\n        return _above(orders)\n    return inner\n"
        "expensive = _make()\n"
    ),
    "a loop": (
        "for cents in (2000,):\n    def expensive(orders, cents=cents):\n        'Above.'\n"
        "        return _above(orders, cents)\n"
    ),
    "globals": "from functools import partial\nglobals()['expensive'] = partial(_above, cents=2000)\n",
    "what a condition defines": "if 1:\n    def expensive(orders):\n        'Above.'\n        return _above(orders)\n",
    "instead of an import": (
        "try:\n    from nothing_like_it import expensive\n"
        "except ImportError:\n    def expensive(orders):\n        'Above.'\n        return _above(orders)\n"
    ),
    "a decorated function": (
        "import functools\ndef _twice(function):\n    @functools.wraps(function)\n"
        "    def twice(orders):\n        return function(orders) & function(orders)\n    return twice\n"
        "@_twice\ndef expensive(orders):\n    'Above.'\n    return _above(orders)\n"
    ),
    "an import that __all__ names": "from operator import not_\n__all__ = ('_above',)\n",
    "a marked function": (
        "import daskjobs\n@daskjobs.rule('Above.')\ndef expensive(orders):\n    return _above(orders)\n"
    ),
}


def judged_rows(rules: Ruleset, *rows: str) -> Judged:
    text = "".join(f"{each}\n" for each in rows).encode()
    block = fields.read_block(text, row_ends(text), list(COLUMNS))
    return judge(block, [], Place(0, "x.csv", 1), rules, np.empty(0, np.int64))


@pytest.mark.parametrize("name", MEANT)
def test_what_is_meant_as_a_rule_runs(name: str) -> None:
    rules = Ruleset(OTHERS + ABOVE + MEANT[name], "mine.py")
    (mine,) = rules.own
    assert mine.removeprefix("_") in ("expensive", "above")
    assert rules.sentences[mine] == "Above."
    judged = judged_rows(rules, row(), row(quantity="1", total_amount="10.50"), row())
    assert judged.quarantine["row"].to_pylist() == [1, 3]
    assert {reason: rows for reason, rows in judged.reasons.items() if rows} == {mine: 2}


def test_rules_keep_the_order_of_the_file_or_of_all(tmp_path: Path) -> None:
    text = "".join(f"def {name}(orders):\n    return orders['x']\n" for name in ("second", "first", "_third"))
    assert list(Ruleset(text, "mine.py").own) == ["second", "first"]
    assert list(Ruleset(text + "__all__ = ['_third', 'first', '_third']\n", "mine.py").own) == ["_third", "first"]
    assert list(Ruleset(text, "mine.py").sentences)[len(SENTENCES) :] == ["second", "first"]


GOOD = "def good(orders):\n    return orders['quantity'] > 1\n"
REFUSED = {
    "__all__ = ['good', 'goood']\n" + GOOD: "__all__ of mine.py names goood, which is not there: it has good",
    GOOD + "__all__ = 'good'\n": "__all__ of mine.py must be a list of names, each in quotes, got 'good'",
    GOOD + "__all__ = [good]\n": r"__all__ of mine.py must be a list of names, each in quotes, got \[<function good",
    GOOD + "__all__ = {'good'}\n": "__all__ of mine.py must be a list of names, each in quotes, got {'good'}",
    GOOD + "__all__ = None\n": "__all__ of mine.py must be a list of names, each in quotes, got None",
    GOOD + "__all__ = []\n": "mine.py has 0 rules",
    GOOD + "LIMIT = 3\n__all__ = ['good', 'LIMIT']\n": "an object of int, which can't be called under the name LIMIT",
    GOOD + "class Rule: pass\n__all__ = ['good', 'Rule']\n": "has a class under the name Rule, which is no rule",
    GOOD + "async def late(orders): pass\n": "mine.py has an async def under the name late, which is no rule",
    GOOD
    + "def many(orders):\n    yield True\n": r"has a generator \(it has a yield\) under the name many, which is no",
    GOOD + "async def stream(orders):\n    yield 1\n": "has an async def with a yield under the name stream",
    "from functools import partial\ndef _many(orders, n):\n    yield n\nmany = partial(_many, n=1)\n": "a generator",
    "class _Late:\n    async def __call__(self, orders): pass\nlate = _Late()\n": "an async def under the name late",
    "import helper_of_rules\nfrom helper_of_rules import shared\n" + GOOD: (
        "mine.py imports shared, which is marked as a rule: name all rules of the file in __all__, or import it as _sh"
    ),
    "from helper_of_rules import *\n" + GOOD: "mine.py imports shared, which is marked as a rule",
    "class Rules:\n    def good(self, orders): pass\n": "mine.py has 0 rules",
    GOOD
    + "LIMIT = 3\n"
    + GOOD: "mine.py defines good more than once, in the lines 1, 4, and Python keeps the last one",
    "__all__ = ['good']\n" + GOOD + GOOD: "mine.py defines good more than once, in the lines 2, 4",
    "import daskjobs\n@daskjobs.rule\n"
    + GOOD: "mine.py, line 2, can't be imported: ConfigError: daskjobs.rule takes a",
    GOOD + "wrong_total = good\n": "mine.py defines wrong_total, which is a built-in rule",
    "".join(f"def r{number}(orders): pass\n" for number in range(41)): "mine.py has 41 rules: from 1 to 40",
}


@pytest.mark.parametrize("text", REFUSED, ids=list(map(str, range(len(REFUSED)))))
def test_what_may_be_meant_as_a_rule_and_is_none_is_a_sentence(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "helper_of_rules.py").write_text(
        "import daskjobs\n@daskjobs.rule('Shared.')\ndef shared(orders):\n    return orders['quantity'] > 1\n"
        "def unmarked(orders):\n    return orders['quantity'] > 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=REFUSED[text]):
        _ = Ruleset(text, "mine.py").own
    sys.modules.pop("helper_of_rules", None)


def test_byte_order_mark_is_no_part_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert list(read_rules(Storage("."), str(tmp_path / "mine.py")).own) == ["good"]


def test_imported_rules_run_when_all_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helper_of_rules.py").write_text("def shared(orders):\n    return orders['quantity'] > 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = Ruleset("from helper_of_rules import shared\n__all__ = ['shared']\n", "mine.py").own
    assert list(own) == ["shared"]
    assert list(Ruleset("from helper_of_rules import *\n" + GOOD, "mine.py").own) == ["good"]
    sys.modules.pop("helper_of_rules", None)


def test_name_given_to_something_that_is_no_rule_fails_with_a_sentence() -> None:
    rules = Ruleset("import numpy as np\nroot = np.sqrt\n" + GOOD, "mine.py")
    with pytest.raises(ConfigError, match="the rule root of mine.py failed: .* has a name with a leading underscore"):
        judged_rows(rules, row())


def test_whole_run_rejects_by_rules_that_are_no_plain_functions(tmp_path: Path) -> None:
    cheap = row(price="1.00", total_amount="2.00")
    (tmp_path / "orders.csv").write_bytes(csv_text(row(quantity="3", price="7.25", total_amount="21.75"), cheap))
    for name in ("a partial", "a callable object"):
        (tmp_path / "mine.py").write_text(
            ABOVE + MEANT[name] + "def other(orders):\n    return orders['quantity'] < 0\n"
        )
        path, rules = str(tmp_path / "orders.csv"), str(tmp_path / "mine.py")
        results = inline.run(tmp_path / name, path, rules=rules, partitions=2)
        assert results["report/analytics_report.json"] == b'{"orders": 1, "revenue": 2.00}\n'
        assert b',"expensive",' in results["merge/quarantine.csv"]


def test_examples_of_the_docs_run_on_the_ten_columns(tmp_path: Path) -> None:
    section = (ROOT / "docs/orders.md").read_text().partition("\n## Rules of your own\n")[2].partition("\n## ")[0]
    (tmp_path / "mine.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL)))
    cash = row(quantity="50", total_amount="525.00", payment_mode="cash")
    dear = row(quantity="1", price="6000.00", total_amount="6000.00")
    late = row(timestamp="2025-03-02")
    rows = [row(), row(payment_mode="cash"), row(quantity="1000", total_amount="10500.00"), cash, dear, late]
    (tmp_path / "orders.csv").write_bytes(csv_text(*rows, header=",".join(COLUMNS)))
    given = {"rules": str(tmp_path / "mine.py"), "as_of": "2025-03-01"}
    results = inline.run(tmp_path / "run", str(tmp_path / "orders.csv"), partitions=2, **given)
    reasons = {line["reason"]: line["rule"] for line in json.loads(results["report/quality.json"])["reasons"]}
    assert reasons == {
        "big_order": "The order is of 10,000.00 or more.",
        "much_cash": "More than 500.00 were paid in cash.",
        "too_early": "The order is of a day after the run's date.",
        "dear": "The price is above 500.00.",
        "very_dear": "The price is above 5,000.00.",
    }
    assert results["report/analytics_report.json"].decode() == '{"orders": 2, "revenue": 42.00}\n'
