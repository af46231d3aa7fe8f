"""Rules given as functions: what runs at a worker is what Python would run here, or a sentence says why not."""

import functools
import importlib
import linecache
import math
import pickle
import re
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskjobs.errors import ConfigError, UsageError
from daskjobs.orders.rules.contract import RuleContext
from daskjobs.orders.rules.functions import functions_of, rule
from daskjobs.orders.rules.ruleset import FUNCTIONS, Ruleset
from manifests import ROOT

LIMIT, REGIONS, FRAME = 100, {"north", "south"}, np.ones(1)
ORDERS = pd.DataFrame({"quantity": [1, 101, 3], "region": ["north", "south", "moon"]})
NUMBERS: list[int] = []


@rule("The order is of more than a hundred pieces.")
def bulk(orders: pd.DataFrame, most: int = LIMIT) -> pd.Series:
    return orders["quantity"] > most  # more than most


def far(orders: pd.DataFrame) -> pd.Series:
    """The region is far away.

    Or unknown.
    """
    return ~is_near(orders["region"])


def is_near(region: pd.Series) -> pd.Series:
    return region.isin(list(REGIONS)) & pd.Series(np.isfinite(np.full(len(region), math.pi)), region.index)


def countdown(orders: pd.DataFrame, times: int = 2) -> pd.Series:
    """It calls itself, and has a name that is a global's elsewhere, too."""
    FRAME = orders["quantity"]
    return countdown(orders, times - 1) if times else FRAME > 1


def unready(orders: pd.DataFrame) -> pd.Series:
    return orders["quantity"] > FRAME.max()


def indirectly_unready(orders: pd.DataFrame) -> pd.Series:
    return unready(orders)


def negated(function: Callable[[pd.DataFrame], pd.Series]) -> Callable[[pd.DataFrame], pd.Series]:
    @functools.wraps(function)
    def negative(orders: pd.DataFrame) -> pd.Series:
        return ~function(orders)

    return negative


@negated
def near(orders: pd.DataFrame) -> pd.Series:
    """The region is near."""
    return far(orders)


def made(limit: object) -> Callable[[pd.DataFrame], pd.Series]:
    def over(orders: pd.DataFrame) -> pd.Series:
        return orders["quantity"] > limit

    return over


def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    function.__name__ = name
    return function


def rules_of(*functions: Callable[..., Any]) -> Ruleset:
    given = functions_of(functions)
    assert given is not None
    return Ruleset(given.pickled, FUNCTIONS, given.sha256)


def digest(*functions: Callable[..., Any]) -> str:
    return rules_of(*functions).sha256


def rejected(*functions: Callable[..., Any]) -> dict[str, list[int]]:
    return {name: list(np.flatnonzero(each(ORDERS))) for name, each in rules_of(*functions).own.items()}


def test_functions_do_at_a_worker_what_they_do_here() -> None:
    assert rejected(far, bulk, countdown, near, made(2)) == {
        "far": [2],
        "bulk": [1],
        "countdown": [1, 2],
        "near": [0, 1],
        "over": [1, 2],
    }
    sentences = rules_of(bulk, far, near).sentences
    assert (sentences["bulk"], sentences["far"], sentences["near"]) == (
        "The order is of more than a hundred pieces.",
        "The region is far away.",
        "The region is near.",
    )


def test_functions_are_loaded_where_nothing_of_this_module_is(tmp_path: Path) -> None:
    code = (
        "import pickle, sys; from daskjobs.orders.rules.ruleset import Ruleset\n"
        "print(*Ruleset(sys.stdin.buffer.read(), 'x').own)\n"
        "print(sys.modules.keys() & {'test_functions', 'pytest'})"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        input=rules_of(far, bulk).code, cwd=tmp_path, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == b"far bulk\nset()\n"


# What Python keeps apart from the text of a function: its defaults and closures, as they were when it was made.


def in_a_loop() -> list[Callable[..., Any]]:
    functions = []
    for limit in (2, 100):

        def above(orders: pd.DataFrame, limit: int = limit, *, times: int = limit // 2) -> pd.Series:
            return orders["quantity"] * times > limit * times

        functions.append(named(f"above_{limit}", above))
    return functions


def mutable_default(orders: pd.DataFrame, seen: list[int] = NUMBERS) -> pd.Series:
    return orders["quantity"].isin(seen)


class Limits:
    MOST = 2
    __hidden = 2

    def class_default(orders: pd.DataFrame, most: int = MOST) -> pd.Series:
        return orders["quantity"] > most  # type: ignore[index]

    def mangled(orders: pd.DataFrame) -> pd.Series:
        __hidden = 2
        return orders["quantity"] > __hidden  # type: ignore[index]


def shadows() -> Callable[..., Any]:
    def max(values: pd.Series) -> int:
        return 2

    def above_max(orders: pd.DataFrame) -> pd.Series:
        return orders["quantity"] > max(orders["quantity"])

    return above_max


def counted() -> Callable[..., Any]:
    count = 1

    def above_count(orders: pd.DataFrame) -> pd.Series:
        def again() -> None:
            nonlocal count
            count += 1

        again()
        return orders["quantity"] > count

    return above_count


def with_attribute() -> Callable[..., Any]:
    def by_attribute(orders: pd.DataFrame) -> pd.Series:
        return orders["quantity"] > getattr(by_attribute, "limit", 1000)

    by_attribute.limit = 2  # type: ignore[attr-defined]
    return by_attribute


def comprehension(orders: pd.DataFrame) -> list[bool]:
    return [any(each > limit for limit in (LIMIT, 2)) for each in orders["quantity"]]


def own_name(orders: pd.DataFrame) -> pd.Series:
    return orders["quantity"] > len(__name__) - len(__name__.removeprefix("test_func"))


def inner_class(orders: pd.DataFrame) -> pd.Series:
    class Two:
        value = 2

    return orders["quantity"] > Two.value


def asserting(orders: pd.DataFrame) -> pd.Series:
    assert len(orders) > 2  # which pytest writes otherwise than the file says
    return orders["quantity"] > LIMIT


def plain_values(orders: pd.DataFrame, pattern: re.Pattern[str] = re.compile("^mo")) -> pd.Series:
    return orders["region"].str.match(pattern) & (Decimal("1.5") < datetime(2025, 1, 1).year)


def importing(orders: pd.DataFrame) -> pd.Series:
    import xml.dom.minidom

    return orders["quantity"] > len(xml.dom.minidom.__name__) - 13


def lambda_with_a_name() -> Callable[..., Any]:
    return named("more", lambda orders: orders["quantity"] > 2)


SINGLE = [
    *in_a_loop(),
    *(mutable_default, Limits.class_default, Limits.mangled, shadows(), counted(), with_attribute(), comprehension),
    *(own_name, inner_class, asserting, plain_values, importing, lambda_with_a_name(), near, far, countdown),
]


@pytest.mark.parametrize("function", SINGLE, ids=lambda each: each.__name__)
def test_function_runs_as_python_runs_it_here(function: Callable[..., Any]) -> None:
    there = rejected(function)[function.__name__]
    assert there == list(np.flatnonzero(function(ORDERS)))
    assert there or function is mutable_default


def test_values_are_those_of_the_call_to_run_orders_where_python_looks_them_up_when_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(globals(), "LIMIT", 2)
    assert rejected(bulk, asserting) == {"bulk": [1], "asserting": [1, 2]}  # the default of bulk is still 100
    monkeypatch.setitem(globals(), "NUMBERS", [3])
    assert rejected(mutable_default) == {"mutable_default": []}
    monkeypatch.setattr(mutable_default, "__defaults__", ([3],))
    assert rejected(mutable_default) == {"mutable_default": [2]}


def test_functions_mean_different_things_by_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a text they could not stand in one file."""
    first, second = made(2), named("above_hundred", made(100))
    assert rejected(first, second) == {"over": [1, 2], "above_hundred": [1]}
    (tmp_path / "other_limits.py").write_text("LIMIT = 2\ndef small(orders):\n    return orders['quantity'] < LIMIT\n")
    monkeypatch.syspath_prepend(tmp_path)
    small = importlib.import_module("other_limits").small
    assert rejected(small, comprehension, named("LIMIT", made(50))) == {
        "small": [0],
        "comprehension": [1, 2],
        "LIMIT": [1],
    }


@given(st.lists(st.integers(0, 200), min_size=1, max_size=6, unique=True))
def test_each_function_of_a_factory_has_its_own_limit(limits: list[int]) -> None:
    functions = [named(f"above_{limit}", made(limit)) for limit in limits]
    assert rejected(*functions) == {
        f"above_{limit}": [row for row, quantity in enumerate(ORDERS["quantity"]) if quantity > limit]
        for limit in limits
    }


# What became of the text after it was run.


def test_function_runs_as_it_was_imported_when_its_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "edited.py"
    file.write_text("from edited_limits import limit\ndef dear(orders):\n    return orders['quantity'] > limit()\n")
    (tmp_path / "edited_limits.py").write_text("def limit():\n    return 2\n")
    dear = importlib.import_module("edited").dear
    file.write_text("\n@nothing\ndef other(orders):\n    return orders['quantity'] > 999\n")
    (tmp_path / "edited_limits.py").write_text("def limit():\n    return 999\n")
    linecache.checkcache()
    assert rejected(dear) == {"dear": [1, 2]}
    file.unlink()
    assert rejected(dear) == {"dear": [1, 2]}


def test_function_runs_as_the_notebooks_cell_made_it() -> None:
    cell = dict[str, Any](__name__="__main__")
    text = "def typed(orders):\n    return orders['quantity'] > {}\n"
    exec(text.format(2), cell)
    first = cell["typed"]
    exec(text.format(100), cell)
    assert (rejected(first), rejected(cell["typed"])) == ({"typed": [1, 2]}, {"typed": [1]})
    exec("a = lambda orders: orders['quantity'] > 2; b = lambda orders: orders['quantity'] > 100", cell)
    assert rejected(named("a", cell["a"]), named("b", cell["b"])) == {"a": [1, 2], "b": [1]}


# The hash: of what functions do, and of nothing else.


def test_hash_is_the_same_when_the_functions_are_and_another_when_what_they_use_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = digest(far, bulk)
    assert digest(far, bulk) == first != digest(bulk, far)
    monkeypatch.setitem(globals(), "REGIONS", {"south", "north"})
    assert digest(far, bulk) == first
    monkeypatch.setitem(globals(), "REGIONS", {"south"})
    assert digest(far, bulk) != first
    assert digest(made(2)) == digest(made(2)) != digest(made(2.0))
    assert len({digest(each) for each in SINGLE}) == len(SINGLE)


FIELDS = {
    "__defaults__": (lambda orders, most=3: most, (4,)),
    "__kwdefaults__": (lambda orders, *, most=3: most, {"most": 4}),
    "__doc__": (lambda orders: "", "Another sentence."),
    "__code__": (lambda orders: "", (lambda orders: "x").__code__),
    "daskjobs_sentence": (lambda orders: "", "Another sentence."),
    "limit": (lambda orders: "", 3),
}


@pytest.mark.parametrize("field", FIELDS)
def test_hash_is_another_when_a_part_of_the_function_is(field: str) -> None:
    function, value = FIELDS[field]
    before = digest(named("each", function))
    setattr(function, field, value)
    assert digest(function) != before


@pytest.mark.slow
def test_hash_is_the_same_in_another_process_and_elsewhere_in_the_file(tmp_path: Path) -> None:
    function = (
        "def f(orders, most=3, names=frozenset({'a', 'b', 'c'})):\n"
        "    '''Far.'''\n"
        "    return [q > most and q not in {1, 2, 'x', 'y'} or UP[str(q)] for q in orders['quantity']]\n"
    )
    head = (
        "from daskjobs.orders.rules.functions import functions_of\n"
        "UP = {'a': {'north', 'south', 'moon'}, 'b': [1.5, None]}\n"
    )
    texts = [
        head + function,
        head + "\n\n# A comment.\n" + function.replace("return", "return (").rstrip() + ")  # so\n",
    ]
    indented = f"{head}def make():\n{textwrap.indent(function, '    ')}    return f\nf = make()\n"
    hashes = set()
    for number, text in enumerate([*texts, *texts, indented]):
        path = tmp_path / f"script_{number}.py"
        path.write_text(f"{text}print(functions_of(f).sha256)\n")
        hashes.add(subprocess.run([sys.executable, path], capture_output=True, text=True, check=True).stdout)
    assert len(hashes) == 1


# What can't be sent.


async def awaited(orders: pd.DataFrame) -> None:
    pass


def yielded(orders: pd.DataFrame) -> Any:
    yield True


def classy(orders: pd.DataFrame) -> pd.Series:
    class Most:
        value = LIMIT

    return orders["quantity"] > Most.value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


class Mine:
    def __call__(self, orders: pd.DataFrame) -> pd.Series:
        return orders["quantity"] > 1

    def method(self, orders: pd.DataFrame) -> pd.Series:
        return orders["quantity"] > 1


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (lambda orders: orders["quantity"] > 1, "got a lambda: write it with def, or give the path"),
        (functools.partial(bulk, most=3), r"must be a function, got functools.partial.*: write it with def"),
        (functools.cache(bulk), "must be a function, got <functools._lru_cache_wrapper"),
        (Mine(), "must be a function, got <.*Mine object"),
        (Mine().method, "must be a function, got <bound method Mine.method"),
        (Mine, "must be a function, got <class .*Mine'>"),
        (np.isfinite, "must be a function, got <ufunc 'isfinite'>"),
        (eval, "must be a function, got <built-in function eval>"),
        (["mine.py"], "must be a function, got 'mine.py'"),
        ([None], "must be a function, got None"),
        ([[bulk]], r"must be a function, got \[<function bulk"),
        (awaited, "the rule awaited is an async def"),
        (yielded, r"the rule yielded is a generator \(it has a yield\)"),
        (unready, "the rule unready can't be given as a function, because it uses FRAME, an object of ndarray"),
        (indirectly_unready, "the rule indirectly_unready can't be given .* uses FRAME, an object of ndarray"),
        (made(FRAME), "the rule over can't be given as a function, because it uses limit, an object of ndarray"),
        (made(Mine()), "because it uses limit, an object of Mine"),
        (made(pd.DataFrame({"a": [1, "b"]})), "uses limit, a DataFrame with a column that has no one type"),
        (made(pd.DataFrame({"a": np.zeros(600_000)})), "uses limit, a DataFrame of more than 4 MiB"),
        (made({"a": [1, Mine()]}), "because it uses limit, an object of Mine"),
        (made(Mine), "because it uses limit, an object of type"),
        (made(deep()), "values that lie too deep in each other"),
        (classy, "because it uses LIMIT, a name outside of a class that is inside of a function"),
        ([made(2), made(2)], "two different functions given as rules have the name over"),
        (named("more than two", made(2)), "a rule's name is a reason, like big_order, got 'more than two'"),
        (named("class", made(2)), "a rule's name is a reason, like big_order, got 'class'"),
    ],
)
def test_what_is_no_rule_or_can_not_be_sent_is_a_sentence(rules: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        functions_of(rules)


@pytest.mark.parametrize("rules", [3, {"bulk": bulk}, {bulk}, b"mine.py", statistics, True])
def test_what_holds_no_rules_is_a_usage_error(rules: object) -> None:
    with pytest.raises(UsageError, match="must be a function, a list of functions, or the path of a Python file, got"):
        functions_of(rules)


@pytest.mark.parametrize("rules", [None, [], (), iter([])])
def test_no_rules_are_none(rules: object) -> None:
    assert functions_of(rules) is None


def test_rules_come_in_any_order_of_things() -> None:
    given = [bulk, far]
    assert functions_of(given) == functions_of(tuple(given)) == functions_of(each for each in given)
    assert functions_of([bulk, bulk]) == functions_of(bulk)


def test_rule_without_a_sentence_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="takes a sentence, got <function bulk.*write @daskjobs.rule"):
        rule(bulk)  # type: ignore[arg-type]


def test_module_of_the_users_own_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_limits.py").write_text("MOST = 3\n")
    (tmp_path / "my_rules.py").write_text(
        "import my_limits\n"
        "def odd(orders):\n    return orders['quantity'] > my_limits.MOST\n"
        "def late(orders):\n    from my_limits import MOST\n    return orders['quantity'] > MOST\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    my_rules = importlib.import_module("my_rules")
    for function in (my_rules.odd, my_rules.late):
        with pytest.raises(ConfigError, match="because it uses my_limits, a module that is not installed: a rule may"):
            functions_of(function)


@pytest.mark.slow
def test_module_of_the_users_own_with_the_name_of_pythons_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "statistics.py").write_text("def mean(values):\n    return 2\n")
    (tmp_path / "script.py").write_text(
        "import statistics\nfrom daskjobs.orders.rules.functions import functions_of\n"
        "def odd(orders):\n    return orders['quantity'] > statistics.mean(orders['quantity'])\n"
        "functions_of(odd)\n"
    )
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert "it uses statistics, a module that is not installed" in done.stderr


def test_failure_shows_the_line_of_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(orders: pd.DataFrame) -> pd.Series:
        return orders["no such column"] > 1

    line = wrong.__code__.co_firstlineno + 1
    with pytest.raises(
        ConfigError,
        match=rf"rule wrong of run_orders\(rules=…\), line {line} of .*test_functions.py, failed: KeyError: 'no such",
    ) as raised:
        list(rules_of(wrong).own_masks(ORDERS))
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_functions_of_the_docs_reject_what_their_sentences_say(monkeypatch: pytest.MonkeyPatch) -> None:
    section = (ROOT / "docs/python.md").read_text().partition("\n## Your own rules\n")[2].partition("\n## ")[0]
    calls = list[list[Callable[..., Any]]]()

    def run_orders(*_: object, rules: list[Callable[..., Any]], **__: object) -> Any:
        calls.append(rules)
        return SimpleNamespace(rejected=pd.DataFrame(columns=["row", "reasons"]))

    names = {"daskjobs": SimpleNamespace(rule=rule, run_orders=run_orders)}
    for number, example in enumerate(re.findall(r"```python\n(.*?)```", section, re.DOTALL)):
        exec(example, names | {"__name__": f"example_{number}"})
    orders = pd.DataFrame({"total_cents": [500_00, 500_01, 10_000_00]})
    orders["timestamp"] = pd.to_datetime(["2026-11-29 23:59", "2026-11-30 00:00", "2026-11-28 00:00"])
    rules = [replace(rules_of(each), context=RuleContext(date(2026, 11, 29))) for call in calls for each in call]
    found = [
        (each.sentences[name], np.flatnonzero(rejected).tolist())
        for each in rules
        for name, rejected in each.own_masks(orders, twice=True)
    ]
    assert found == [
        ("The order is of 10,000.00 or more.", [2]),
        ("The order is of more than 500.00.", [1, 2]),
        ("The order is of more than 5000.00.", [2]),
        ("The order is of a day after the run's date.", [1]),
    ]


def above(limits: Any) -> Callable[[pd.DataFrame], pd.Series]:
    def over(orders: pd.DataFrame) -> pd.Series:
        table = limits.to_pandas() if isinstance(limits, pa.Table) else limits
        most = table if isinstance(table, pd.Series) else table.set_index("region")["most"]
        return orders["quantity"] > orders["region"].map(most)

    return over


MOST = pd.DataFrame({"region": ["north", "south", "moon"], "most": [5, 100, 5]})


@pytest.mark.parametrize(
    "table",
    [MOST, MOST.set_index("region")["most"], pa.Table.from_pandas(MOST), MOST.astype({"most": "int64[pyarrow]"})],
    ids=["frame", "series", "arrow", "arrow types"],
)
def test_tables_go_along_with_functions_as_they_were(table: Any) -> None:
    rules = rules_of(above(table))
    hashed = rules.sha256
    again = table if isinstance(table, pa.Table) else table.copy()
    assert rules_of(above(again)).sha256 == hashed
    if not isinstance(table, pa.Table):
        again.iloc[0] = again.iloc[1]
        assert rules_of(above(again)).sha256 != hashed
    (over,) = pickle.loads(pickle.dumps(rules)).own.values()
    assert over(ORDERS).tolist() == [False, True, False]


def test_tables_of_other_names_or_types_are_other_tables() -> None:
    tables = [
        MOST, MOST.rename(columns={"most": "least"}), MOST.astype({"most": "float64"}), MOST.set_index("region"),
        MOST.iloc[::-1], MOST[["most", "region"]], pa.Table.from_pandas(MOST), MOST["most"], MOST["most"].rename("x"),
    ]  # fmt: skip
    assert len({rules_of(above(table)).sha256 for table in tables}) == len(tables)
