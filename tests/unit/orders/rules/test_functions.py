"""Rules given as functions: their source says what they do, wherever it is loaded, and else a sentence says why not."""

import functools
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from daskjobs.errors import ConfigError
from daskjobs.orders.rules import ruleset
from daskjobs.orders.rules.functions import rule, source_of
from daskjobs.orders.rules.ruleset import FUNCTIONS, Ruleset

LIMIT, REGIONS, FRAME = 100, {"north", "south"}, pd.DataFrame({"quantity": [1]})


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
    return orders["quantity"] > FRAME["quantity"].max()


def indirectly_unready(orders: pd.DataFrame) -> pd.Series:
    return unready(orders)


@functools.wraps(far)
def decorated(orders: pd.DataFrame) -> pd.Series:
    return far(orders)


def made(limit: object) -> Callable[[pd.DataFrame], pd.Series]:
    def over(orders: pd.DataFrame) -> pd.Series:
        return orders["quantity"] > limit

    return over


ORDERS = pd.DataFrame({"quantity": [1, 101, 3], "region": ["north", "south", "moon"]})


def rejected(*functions: Callable[..., Any]) -> dict[str, list[int]]:
    own = Ruleset(source_of(functions), FUNCTIONS).own
    return {name: list(np.flatnonzero(each(ORDERS))) for name, each in own.items()}


def test_functions_do_from_their_source_what_they_do_themselves() -> None:
    assert rejected(far, bulk, countdown, made(2)) == {"far": [2], "bulk": [1], "countdown": [1, 2], "over": [1, 2]}
    sentences = Ruleset(source_of([bulk, far]), FUNCTIONS).sentences
    assert (sentences["bulk"], sentences["far"]) == (
        "The order is of more than a hundred pieces.",
        "The region is far away.",
    )


def test_source_is_loaded_where_nothing_of_this_module_is(tmp_path: Path) -> None:
    code = (
        "import sys; from daskjobs.orders.rules.ruleset import Ruleset\n"
        "print(*Ruleset(sys.stdin.read(), 'x').own)\n"
        "print(sys.modules.keys() & {'test_functions', 'pytest'})"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        input=source_of([far, bulk]), cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "far bulk\nset()\n"


def test_source_is_the_same_when_the_functions_are_and_another_when_what_they_use_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = source_of([far, bulk])
    assert source_of([far, bulk]) == first
    monkeypatch.setitem(globals(), "REGIONS", {"south", "north"})
    assert source_of([far, bulk]) == first
    monkeypatch.setitem(globals(), "LIMIT", 99)
    assert source_of([far, bulk]) != first
    monkeypatch.undo()
    monkeypatch.setitem(globals(), "REGIONS", {"south"})
    assert source_of([far, bulk]) != first
    assert "# more than most" not in first


@pytest.mark.parametrize(
    ("functions", "words"),
    [
        ([lambda orders: orders["quantity"] > 1], "got a lambda: write it with def"),
        ([functools.partial(bulk, most=3)], r"must be a function, got functools.partial.*: write it with def"),
        ([unready], "the rule unready can't be given as a function, because it uses FRAME, an object of DataFrame"),
        ([indirectly_unready], "the rule indirectly_unready can't be given .* uses FRAME, an object of DataFrame"),
        ([decorated], "has a decorator other than daskjobs.rule"),
        ([made(FRAME)], "the rule over can't be given as a function, because it uses limit, an object of DataFrame"),
        ([eval("eval")], "must be a function, got <built-in function eval>"),
    ],
)
def test_function_that_no_text_can_say_is_a_sentence(functions: list[Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"{words}.*or give the path of a Python file of rules instead$"):
        source_of(functions)


def test_functions_that_mean_different_things_by_a_name_are_a_sentence() -> None:
    source_of([made(2), made(2)][:1] * 2)
    with pytest.raises(ConfigError, match="mean different things by over: give one of them another name"):
        source_of([made(2), made(3)])


def test_function_without_a_source_is_a_sentence() -> None:
    namespace = dict[str, Any]()
    exec("def typed(orders):\n    return orders['quantity'] > 1", namespace)  # as a REPL does
    with pytest.raises(
        ConfigError, match="the source of the function typed can't be found, which the rule typed needs"
    ):
        source_of([namespace["typed"]])


def test_module_of_the_users_own_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_limits.py").write_text("MOST = 3\n")
    (tmp_path / "my_rules.py").write_text(
        "import my_limits\ndef odd(orders):\n    return orders['quantity'] > my_limits.MOST\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from my_rules import odd

    with pytest.raises(ConfigError, match="because it uses my_limits, a module that is not installed: a rule may use"):
        source_of([odd])


def test_failure_shows_the_line_of_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(orders: pd.DataFrame) -> pd.Series:
        return orders["no such column"] > 1

    monkeypatch.setattr(ruleset, "RULES", {})
    with pytest.raises(ConfigError, match=r"the rule wrong of run_orders\(rules=…\), at \"return orders\['no such col"):
        list(Ruleset(source_of([wrong]), FUNCTIONS).masks(ORDERS))
