"""What a rule may look at: its rows one by one, and the run's date, but neither the clock nor chance."""

import functools
import json
import random
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import daskjobs
import inline
from conftest import RESULTS, csv_text, row
from daskjobs.errors import ConfigError, UsageError
from daskjobs.orders.rules.contract import RuleContext, clock_in, takes_context
from daskjobs.orders.rules.functions import functions_of, rule
from daskjobs.orders.rules.ruleset import FUNCTIONS, Ruleset
from daskjobs.stages import new_context, run_stage
from daskjobs.stages.run_settings import Settings

CONTEXT = RuleContext(date(2025, 3, 1))
ORDERS = pd.DataFrame({"quantity": [1, 2, 3, 4]}, pd.RangeIndex(1, 5))
LATE = """
import pandas as pd
def late(orders, context):
    "The order is of a day after the run's date."
    return orders["timestamp"].dt.date > context.as_of
"""

# The clock.

IMPORTS = [
    "import time, datetime",
    "import datetime as dt",
    "from datetime import datetime as DT, date",
    "from time import time as clock, strftime",
    "import pandas as pd, numpy as np",
]
ASKS = {
    "time.time()": "time.time",
    "time.time_ns()": "time.time_ns",
    "clock()": "time.time",
    "dt.datetime.now(dt.timezone.utc)": "datetime.now",
    "DT.utcnow()": "datetime.utcnow",
    "DT.today()": "datetime.today",
    "datetime.date.today().year": "date.today",
    "pd.Timestamp.now()": "Timestamp.now",
    "pd.Timestamp.today('UTC')": "Timestamp.today",
    "pd.Timestamp('today', tz='UTC')": "Timestamp('today')",
    "np.datetime64('now')": "datetime64('now')",
    "pd.to_datetime('now', utc=True)": "to_datetime('now')",
    "pd.to_datetime(WORD)": "to_datetime('today')",
    "pd.date_range('2025-01-01', 'today')": "date_range('today')",
    "pd.DatetimeIndex(['now'])": "DatetimeIndex('now')",
    "pd.Period.now('D')": "Period.now",
    "time.clock_gettime(time.CLOCK_REALTIME)": "time.clock_gettime",
    "time.gmtime().tm_year": "time.gmtime",
    "time.ctime()": "time.ctime",
    "strftime('%Y')": "time.strftime",
    "(lambda: DT.now())()": "datetime.now",
    "[date.today() for _ in orders]": "date.today",
}
ASKS_NOT = [
    "orders.time, orders.today, orders.now()",
    "orders['timestamp'].dt.time",
    "orders['now'] == 'now'",
    "pd.to_datetime(orders['timestamp']) > 'now'",
    "orders['region'].replace('today', 'tomorrow')",
    "orders['region'] == WORD",
    "pd.to_datetime(orders['timestamp']) > pd.Period('2025-01-01').start_time",
    "pd.date_range('2025-01-01', '2025-02-01')[0]",
    "time.perf_counter(), time.monotonic()",
    "time.gmtime(0), time.localtime(5)",
    "time.strftime('%Y', time.gmtime(0))",
    "pd.Timestamp('2025-01-01'), np.datetime64('2025')",
    "DT.fromisoformat('2025-01-01'), DT(2025, 1, 1).time(), date(2025, 1, 1)",
    "orders.assign(clock=1).clock",
]


def forms(expression: str) -> list[str]:
    """A rule with an expression, and the modules that it needs imported in the file, in the rule, or around it."""
    file, inside = "\n".join(IMPORTS), "\n".join(f"    {line}" for line in IMPORTS)
    texts = [
        f"{file}\ndef odd(orders):\n    return {expression}\n",
        f"def odd(orders):\n    these = orders\n{inside}\n    return {expression}\n",
        f"def make():\n{inside}\n    def odd(orders):\n        return {expression}\n    return odd\nodd = make()\n",
        f"{file}\nclass _Odd:\n    def __call__(self, orders):\n        return {expression}\nodd = _Odd()\n",
    ]
    return [f"WORD = 'today'\n{text}" for text in texts]


@pytest.mark.parametrize("expression", [*ASKS, *ASKS_NOT])
def test_clock_is_found_in_the_code_that_asks_it_and_in_no_other(expression: str) -> None:
    for text in forms(expression):
        names = dict[str, Any]()
        code = compile(text, "mine.py", "exec")
        exec(code, names)
        found = clock_in(code, names, {})
        line = next(number for number, each in enumerate(text.split("\n"), 1) if expression in each)
        assert found == (f"{ASKS[expression]} in line {line}" if expression in ASKS else "")


def test_name_of_a_modules_that_means_something_else_is_no_clock() -> None:
    text = (
        "import time\ndef odd(orders, time=0):\n    return time.time()\n"
        "def late(orders):\n    time = orders\n    return time.time()\n"
    )
    code = compile(text, "mine.py", "exec")
    assert clock_in(code, {"time": __import__("time")}, {}) == ""


GOOD = "def good(orders):\n    return orders['quantity'] > 1\n"
FILES = {
    "a rule": "from datetime import date\ndef good(orders):\n    return date.today()\n",
    "a function that it calls": f"import time\n{GOOD}def _now():\n    return time.time()\n",
    "a constant": f"from datetime import date\nTODAY = date.today()\n{GOOD}",
    "a default": "import time\ndef good(orders, now=time.time()):\n    return orders['quantity'] > now\n",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_file_that_asks_the_clock_is_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^mine.py asks the clock \((date.today|time.time) in line \d\), .*as_of"):
        _ = Ruleset(text, "mine.py").own


def test_file_may_ask_the_clock_where_it_is_run_as_a_script() -> None:
    text = f"import time\n{GOOD}if __name__ == '__main__':\n    print(time.time())\n"
    assert list(Ruleset(text, "mine.py").own) == ["good"]


def _today() -> date:
    return date.today()


def early(orders: pd.DataFrame) -> pd.Series:
    return orders["timestamp"].dt.date > _today()


def stamped() -> Callable[[pd.DataFrame], pd.Series]:
    import datetime as times

    def stamp(orders: pd.DataFrame) -> pd.Series:
        return orders["timestamp"] > times.datetime.now()

    return stamp


@pytest.mark.parametrize(("function", "asked"), [(early, "date.today"), (stamped(), "datetime.now")])
def test_function_that_asks_the_clock_is_a_sentence(function: Callable[..., Any], asked: str) -> None:
    name = function.__name__
    with pytest.raises(ConfigError, match=rf"^the rule {name} asks the clock \({asked} in line \d+\).*context.as_of"):
        functions_of(function)


# Chance, and other rows.

UNSTEADY = {
    "a random number": lambda orders: np.random.default_rng().random(len(orders)) < 0.5,
    "Python's random": lambda orders: [random.random() < 0.5 for _ in orders["quantity"]],
    "a rank": lambda orders: orders["quantity"].rank() > 100,
    "a place in the block": lambda orders: np.arange(len(orders)) % 3 == 1,
    "a counter": lambda orders, seen=[]: seen.append(1) or orders["quantity"] > len(seen) + 1,
}
STEADY = {
    "a comparison": lambda orders: orders["quantity"] > 3,
    "a mask in another order": lambda orders: (orders["quantity"] > 3).sort_index(ascending=False),
    "a list": lambda orders: [each > 3 for each in orders["quantity"]],
    "labels that count from one": lambda orders: pd.Series(
        orders["quantity"].to_numpy() > 3, range(1, len(orders) + 1)
    ),
}


def masks(function: Callable[..., Any], orders: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    monkeypatch.setattr(Ruleset, "own", {"odd": function})
    ((_, mask),) = Ruleset(name="mine.py", context=CONTEXT).own_masks(orders, twice=True)
    return mask.tolist()


@pytest.mark.parametrize("name", UNSTEADY)
def test_rule_that_judges_a_row_by_more_than_that_row_is_a_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = pd.concat([ORDERS] * 50, ignore_index=True)  # so that chance can't be right by chance
    with pytest.raises(ConfigError, match=r"^the rule odd of mine.py rejects other rows when .* that row alone"):
        masks(UNSTEADY[name], orders, monkeypatch)


@pytest.mark.parametrize("name", STEADY)
@pytest.mark.parametrize("rows", [0, 1, 3, 4])
def test_rule_that_judges_each_row_by_itself_runs(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [quantity > 3 for quantity in ORDERS["quantity"][:rows]]
    assert masks(STEADY[name], ORDERS[:rows], monkeypatch) == expected


def test_run_ends_when_a_rule_is_random(tmp_path: Path) -> None:
    rules = "import random\ndef odd(orders):\n    return [random.random() < 0.5 for _ in orders['quantity']]\n"
    (tmp_path / "mine.py").write_text(rules)
    (tmp_path / "orders.csv").write_bytes(csv_text(*[row() for _ in range(100)]))
    with pytest.raises(ConfigError, match="the rule odd of .*mine.py rejects other rows when it runs again"):
        inline.run(tmp_path / "run", str(tmp_path / "orders.csv"), rules=str(tmp_path / "mine.py"), partitions=1)


# Arguments.

TAKES: list[tuple[Callable[..., Any], bool]] = [
    (lambda orders: None, False),
    (lambda orders, most=3: None, False),
    (lambda *_: None, False),
    (np.isnan, False),
    (lambda orders, context: None, True),
    (lambda orders, *, context: None, True),
    (lambda orders, context=None, most=3: None, True),
    (functools.partial(lambda orders, context, most: None, most=3), True),
]
TAKES_NOT: list[Callable[..., Any]] = [
    lambda: None,
    lambda orders, most: None,
    lambda orders, context, most: None,
    lambda orders, *, most: None,
    lambda context: None,
    lambda orders, context, /: None,
]


def test_context_is_for_rules_with_an_argument_of_that_name() -> None:
    assert [takes_context(function, "odd") for function, _ in TAKES] == [takes for _, takes in TAKES]


@pytest.mark.parametrize("function", TAKES_NOT)
def test_rule_that_takes_anything_else_is_a_sentence(function: Callable[..., Any]) -> None:
    function.__name__ = "odd"
    with pytest.raises(
        ConfigError, match=r"^the rule odd takes \(.*\): a rule takes \(orders\) or \(orders, context\)"
    ):
        functions_of(function)


def test_file_that_has_a_function_with_other_arguments_is_a_sentence() -> None:
    with pytest.raises(
        ConfigError, match=r"^the rule above of mine.py takes \(orders, most\): a rule takes \(orders\)"
    ):
        _ = Ruleset("def above(orders, most):\n    return orders['quantity'] > most\n", "mine.py").own


def test_context_can_not_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        daskjobs.RuleContext(date(2025, 3, 1)).as_of = date(2025, 3, 2)  # type: ignore[misc]


# Parameters.


def above(orders: pd.DataFrame, most: int, least: int = 0, *, times: int = 1) -> pd.Series:
    return (orders["quantity"] * times > most) & (orders["quantity"] >= least)


def since(orders: pd.DataFrame, context: RuleContext, days: int) -> pd.Series:
    return orders["quantity"] > (context.as_of - date(2025, 2, 28)).days + days


def own(*functions: Callable[..., Any]) -> Ruleset:
    given = functions_of(functions)
    assert given is not None
    return Ruleset(given.pickled, FUNCTIONS, given.sha256, CONTEXT)


def test_function_is_several_rules_by_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = own(
        rule("Above {most}.", name="above_1", most=1)(above),
        rule("Above {most:,.2f}.", name="above_3", most=3)(above),
        rule("Above {most}, times {times}.", most=6, least=2, times=2)(above),
        rule("Since {days} days.", days=2)(since),
        rule("A name, and {braces} as they stand.", name="named", )(lambda orders: orders["quantity"] > 3),
    )  # fmt: skip
    assert {name: list(mask) for name, mask in rules.own_masks(ORDERS, twice=True)} == {
        "above_1": [False, True, True, True],
        "above_3": [False, False, False, True],
        "above": [False, False, False, True],
        "since": [False, False, False, True],
        "named": [False, False, False, True],
    }
    assert list(rules.sentences.values())[-5:] == [
        "Above 1.", "Above 3.00.", "Above 6, times 2.", "Since 2 days.", "A name, and {braces} as they stand.",
    ]  # fmt: skip
    with pytest.raises(TypeError, match="most"):
        above(ORDERS)  # type: ignore[call-arg]  # it stays as it was


def test_parameters_are_part_of_the_hash() -> None:
    assert len({own(rule("Above.", most=most)(above)).sha256 for most in (1, 1, 2, 2.0)}) == 3


def test_file_names_a_rule_by_its_variable() -> None:
    text = (
        "import daskjobs\ndef _above(orders, most):\n    return orders['quantity'] > most\n"
        "few, many = (daskjobs.rule('Above {most}.', most=most)(_above) for most in (1, 3))\n"
    )
    rules = Ruleset(text, "mine.py")
    assert {name: rule(ORDERS).tolist() for name, rule in rules.own.items()} == {
        "few": [False, True, True, True],
        "many": [False, False, False, True],
    }
    assert (rules.sentences["few"], rules.sentences["many"]) == ("Above 1.", "Above 3.")
    with pytest.raises(ConfigError, match="mine.py has the rule dear under the name many: give it one name"):
        _ = Ruleset(text + "many = daskjobs.rule('Above.', name='dear', most=3)(_above)\n", "mine.py").own


@pytest.mark.parametrize(
    ("sentence", "parameters", "words"),
    [
        ("Above {most}.", {"mist": 3}, r"the sentence 'Above \{most\}.' can't be filled with mist: KeyError\('most'\)"),
        ("Above {}.", {"most": 3}, "can't be filled with most: IndexError"),
        ("Above {most:x.}.", {"most": 3}, "can't be filled with most: ValueError"),
        ("Above.", {"mist": 3}, "the rule above can't be given mist: its arguments beside the frame are most, least,"),
        ("Above.", {"least": 3}, "the rule above can't be given least: .* each needs a value"),
        ("Above.", {"orders": 3}, "the rule above can't be given orders"),
        ("Above.", {"context": 3}, "the rule above can't be given context"),
        ("Above.", {"name": "odd"}, "the rule above can't be given no values: .* each needs a value"),
    ],
)
def test_parameters_that_do_not_fit_are_a_sentence(sentence: str, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        rule(sentence, **parameters)(above)


def test_what_is_no_function_has_no_parameters() -> None:
    with pytest.raises(ConfigError, match="a rule with a name or with parameters must be a function, got functools.pa"):
        rule("Above.", most=3)(functools.partial(above, least=1))


# The run's date.


def run(folder: Path, rules: str = LATE, again: bool = False, **settings: Any) -> dict[str, bytes]:
    """Run orders of three days, where they aren't there yet; return the results and the manifests."""
    folder.mkdir(exist_ok=True)
    orders, mine = folder / "orders.csv", folder / "mine.py"
    if not again:
        days = ("2025-02-28", "2025-03-01", "2025-03-02 08:00:00")
        orders.write_bytes(csv_text(*(row(order_id=day, timestamp=day) for day in days)))
        mine.write_text(rules)
    given = {"rules": str(mine)} if rules else {}
    results = inline.run(folder / "run", str(orders), **{"partitions": 2, **given, **settings})
    stages = ("split", "validate", "merge", "clean", "report")
    return results | {stage: (folder / f"run/{stage}/manifest.json").read_bytes() for stage in stages}


def as_of(results: dict[str, bytes]) -> str:
    return str(json.loads(results["split"])["settings"].get("as_of"))


def rejected(results: dict[str, bytes]) -> int:
    return len(results["merge/quarantine.csv"].splitlines()) - 1


def test_rule_is_given_the_date_that_the_user_names(tmp_path: Path) -> None:
    dates = ("2025-02-27", "2025-02-28", "2025-03-01", "2025-03-02")
    found = [rejected(run(tmp_path / day, as_of=day)) for day in dates[1:]]
    assert found == [2, 1, 0]


def test_date_is_todays_when_none_is_given(tmp_path: Path) -> None:
    before = datetime.now(UTC).date()
    results = run(tmp_path / "a")
    assert before <= date.fromisoformat(as_of(results)) <= datetime.now(UTC).date()
    assert rejected(results) == 0


def test_later_attempt_has_the_date_of_the_first_and_gives_the_same_bytes(tmp_path: Path) -> None:
    first = run(tmp_path / "a", as_of="2025-03-01")
    assert run(tmp_path / "a", again=True) == first
    (tmp_path / "a/run/report/manifest.json").unlink()  # as when the first attempt ended before
    (tmp_path / "a/run/validate/manifest.json").unlink()
    assert run(tmp_path / "a", again=True) == first
    others = run(tmp_path / "a", again=True, partitions=3)
    assert as_of(others) == "2025-03-01"
    assert {name: others[name] for name in RESULTS} == {name: first[name] for name in RESULTS}


def test_date_is_another_when_the_user_names_another_or_the_input_is_another(tmp_path: Path) -> None:
    assert rejected(run(tmp_path / "a", as_of="2025-03-01")) == 1
    assert rejected(run(tmp_path / "a", again=True, as_of="2025-02-28")) == 2
    (tmp_path / "a/orders.csv").write_bytes(csv_text(row()))
    assert as_of(run(tmp_path / "a", again=True)) >= "2026"


def test_manifests_have_no_date_where_no_rules_look_at_it(tmp_path: Path) -> None:
    """So two runs of the same data have the same manifests, on whatever days."""
    results = run(tmp_path / "a", rules="")
    assert as_of(results) == "None"
    assert results == run(tmp_path / "a", rules="", again=True)


def test_rule_that_needs_a_date_is_a_sentence_where_split_was_given_no_rules(tmp_path: Path) -> None:
    run(tmp_path / "a", rules="")
    (tmp_path / "a/mine.py").write_text(LATE)
    settings = {"run_uri": str(tmp_path / "a/run"), "input": str(tmp_path / "a/orders.csv")}
    with inline.stages_inline():
        given = Settings.of(**settings, rules=str(tmp_path / "a/mine.py"), dashboard="127.0.0.1:0")
        with pytest.raises(
            ConfigError, match="the rule late of .* looks at the run's date, which split fixes: run `da"
        ):
            run_stage("validate", new_context(given))
        given = Settings.of(**settings, as_of="2025-03-01", given=frozenset({"as_of"}))
        with pytest.raises(
            ConfigError, match="split was made with --as-of 'none', and this stage is given '2025-03-01'"
        ):
            run_stage("validate", new_context(given))


@pytest.mark.parametrize("text", ["2025-02-29", "20250301", "2025-W09-6", "yesterday", "2025-03-01T00:00", "25-03-01"])
def test_date_that_is_no_day_is_a_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=rf"--as-of must be a day that exists, like 2026-11-29, got '{text}'"):
        Settings.of(run_uri="run", as_of=text)


def test_date_with_a_time_is_refused() -> None:
    with pytest.raises(
        UsageError, match="--as-of must be a day that exists, like 2026-11-29, got '2025-03-01T00:00:00'"
    ):
        daskjobs.run_orders(rows=10, as_of=datetime(2025, 3, 1))
