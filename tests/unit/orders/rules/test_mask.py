"""What a rule gives is held against the rows: by its index where it has one, or else a sentence says what is wrong."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daskjobs
import inline
from conftest import row
from daskjobs.errors import ConfigError
from daskjobs.orders.rules.frames import aligned
from daskjobs.orders.rules.ruleset import Ruleset
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources import fields
from daskjobs.orders.sources.quotes import row_ends
from daskjobs.orders.validation.block import Judged, Place, judge

ROWS = pd.RangeIndex(3)
ARROW = pd.ArrowDtype(pa.bool_())

MASKS = {
    "numpy": np.array([True, False, False]),
    "numpy of objects": np.array([True, None, False], dtype=object),
    "list": [True, None, False],
    "tuple": (True, False, pd.NA),
    "Arrow array": pa.array([True, None, False]),
    "Arrow column": pa.chunked_array([[True], [None, False]]),
    "Arrow dictionary": pa.array([True, None, False]).dictionary_encode(),
    "pandas array": pd.array([True, None, False], dtype="boolean"),
    "index": pd.Index([True, False, False]),
    "masked": np.ma.array([True, True, False], mask=[False, True, False]),
    "series": pd.Series([True, False, False]),
    "nullable": pd.Series([True, None, False], dtype="boolean"),
    "Arrow series": pd.Series([True, None, False], dtype=ARROW),
    "objects": pd.Series([True, None, np.nan]),
    "categories": pd.Series([True, False, None], dtype="category"),
    "sparse": pd.Series(pd.arrays.SparseArray([True, False, False])),
    "another order": pd.Series([False, True, False], index=[1, 0, 2]),
    "another order, Arrow": pd.Series([False, True, None], index=[1, 0, 2], dtype=ARROW),
    "floats as labels": pd.Series([False, True, None], index=[1.0, 0.0, 2.0]),
    "objects as labels": pd.Series([False, True, None], index=pd.Index([1, 0, 2], dtype=object)),
}
NULLS = {
    "objects": pd.Series([None] * 3),
    "floats": pd.Series([np.nan] * 3),
    "Arrow": pd.Series(pa.nulls(3), dtype=pd.ArrowDtype(pa.null())),
    "Arrow array": pa.nulls(3),
    "integers": pd.Series([pd.NA] * 3, dtype="Int64"),
    "list": [None] * 3,
}
INDEX = "a mask whose index is not the frame's"
WRONG = {
    "another index": (pd.Series([True] * 3, index=list("abc")), INDEX),
    "labels as texts": (pd.Series([True] * 3, index=list("012")), INDEX),
    "a label that is missing": (pd.Series([True] * 3, index=[0, 1, 3]), INDEX),
    "a label without a value": (pd.Series([True] * 3, index=[0, 1, None]), INDEX),
    "a label twice": (pd.Series([True] * 3, index=[0, 1, 1]), INDEX),
    "several levels": (pd.Series([True] * 3, index=pd.MultiIndex.from_product([[0, 1, 2], [0]])), INDEX),
    "times as labels": (pd.Series([True] * 3, index=pd.to_datetime([0, 1, 2])), INDEX),
    "intervals as labels": (pd.Series([True] * 3, index=pd.IntervalIndex.from_breaks([-1, 0, 1, 2])), INDEX),
    "too many": (pd.Series([True] * 4), "it gave 4 values for 3 rows"),
    "too few": (pd.Series([True] * 2), "it gave 2 values for 3 rows"),
    "too few in a list": ([True], "it gave 1 values for 3 rows"),
    "none of the rows": (np.array([], dtype=bool), "it gave 0 values for 3 rows"),
    "integers": ([1, 0, 1], "it gave int64, not booleans"),
    "integers and a boolean": (pd.Series([True, 1, None]), "it gave object, not booleans"),
    "texts": (pd.Series(["True", "False", ""]), "it gave str, not booleans"),
    "floats": (pd.Series([1.0, None, 0]), "it gave float64, not booleans"),
    "two dimensions": (np.array([[True], [False], [True]]), "it gave ndarray, which is no mask"),
    "a frame": (pd.DataFrame({"mask": [True] * 3}), "it gave DataFrame, which is no mask"),
    "a boolean": (True, "it gave bool, which is no mask"),
    "a boolean of numpy": (np.bool_(True), "it gave bool, which is no mask"),
    "nothing": (None, "it gave nothing (None), as a function without a return does"),
    "a text": ("abc", "it gave str, which is no mask"),
    "a dictionary": ({0: True, 1: False, 2: True}, "it gave dict, which is no mask"),
    "a set": ({True, False}, "it gave set, which is no mask"),
    "a generator": ((True for _ in range(3)), "it gave generator, which is no mask"),
}


@pytest.mark.parametrize("name", MASKS)
def test_mask_says_which_rows_are_rejected(name: str) -> None:
    assert aligned(MASKS[name], ROWS).tolist() == [True, False, False]


@pytest.mark.parametrize("name", NULLS)
def test_nulls_alone_reject_nothing(name: str) -> None:
    assert aligned(NULLS[name], ROWS).tolist() == [False, False, False]


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_mask_of_these_rows_is_a_sentence(name: str) -> None:
    given, words = WRONG[name]
    with pytest.raises(TypeError) as raised:
        aligned(given, ROWS)
    assert words in str(raised.value)


def test_booleans_are_no_labels_of_two_rows() -> None:
    """As after groupby, which pandas itself would take for the labels 0 and 1."""
    for labels in ([False, True], pd.Index([False, True], dtype=object)):
        with pytest.raises(TypeError, match=INDEX):
            aligned(pd.Series([True, False], index=labels), pd.RangeIndex(2))


@given(st.data())
def test_the_same_rows_are_rejected_in_whatever_order_the_mask_comes(data: st.DataObject) -> None:
    rejects = data.draw(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=20))
    kind = data.draw(st.sampled_from([object, "boolean", ARROW]))
    order = data.draw(st.permutations(range(len(rejects))))
    series = pd.Series(rejects, dtype=kind)
    assert aligned(series.iloc[order], series.index).tolist() == [each is True for each in rejects]


# Whole runs.

USERS = [("K0", "u0", 3), ("K1", "u0", 10), ("K2", "u2", 3), ("K3", "u3", 3)]
SORTED = """
def biggest(orders):
    'The biggest order of its user, above 50.00.'
    s = orders.sort_values('total_cents', ascending=False)
    s['rank'] = s.groupby('user_id').cumcount()
    return (s['rank'] == 0) & (s['total_cents'] > 5000)
"""
CONCATENATED = """
import pandas as pd
def biggest(orders):
    'Some rows, and then the others.'
    large = orders['total_cents'] > 5000
    parts = orders[large].assign(bad=True), orders[~large].assign(bad=False)
    return pd.concat(parts)['bad']
"""
MERGED = """
import pandas as pd
def biggest(orders):
    'With a table of limits beside it.'
    limits = pd.DataFrame({'user_id': ['u3', 'u2', 'u0'], 'limit': [5000, 5000, 5000]})
    both = orders.reset_index().merge(limits, on='user_id').set_index('index')
    return both['total_cents'] > both['limit']
"""
BY_ROW = """
def biggest(orders):
    'Each row by itself.'
    return orders.sort_values('order_id', ascending=False)['order_id'] == 'K1'
"""
NUMPY = """
def biggest(orders):
    'Without an index.'
    return (orders['total_cents'] > 5000).to_numpy()
"""


def users_file(folder: Path) -> str:
    (folder / "users.csv").write_text(
        "\n".join(
            [
                ",".join(COLUMNS),
                *(
                    row(
                        order_id=order, user_id=user, quantity=str(quantity), price="7.25",
                        total_amount=str(Decimal("7.25") * quantity),
                    )
                    for order, user, quantity in USERS
                ),
            ]
        )
    )  # fmt: skip
    return str(folder / "users.csv")


def report_of(folder: Path, rules: str, **settings: Any) -> str:
    (folder / "mine.py").write_text(rules)
    path = settings.pop("input", None) or users_file(folder)
    results = inline.run(folder / "run", path, rules=str(folder / "mine.py"), **{"partitions": 1, **settings})
    return results["report/analytics_report.json"].decode().strip()


@pytest.mark.parametrize("rules", [SORTED, CONCATENATED, MERGED, BY_ROW, NUMPY])
def test_the_row_that_the_rule_means_is_rejected(tmp_path: Path, rules: str) -> None:
    assert report_of(tmp_path, rules) == '{"orders": 3, "revenue": 65.25}'


WITHOUT = {  # the frame's index
    "set_index": "return orders.set_index('order_id')['quantity'] > 5",
    "reset_index": "return orders.sort_values('region').reset_index(drop=True)['quantity'] > 5",
    "ignore_index": "return orders.sort_values('region', ignore_index=True)['quantity'] > 5",
    "merge": "return pd.DataFrame({'user_id': ['u3', 'u2', 'u0']}).merge(orders, on='user_id')['quantity'] > 5",
    "concat": "return pd.concat([orders[2:], orders[:2]], ignore_index=True)['quantity'] > 5",
    "a new Series": "return pd.Series([quantity > 5 for quantity in sorted(orders['quantity'])])",
    "in place": "orders.index = range(len(orders)); return orders['quantity'] > 5",
}


@pytest.mark.parametrize("how", WITHOUT)
def test_mask_that_has_lost_the_frames_index_fails_the_run(tmp_path: Path, how: str) -> None:
    """Nobody can tell which rows it means: its labels count from 0, and those of the frame don't."""
    rules = f"import pandas as pd\ndef odd(orders):\n    {WITHOUT[how]}\n"
    with pytest.raises(ConfigError, match=r"the rule odd of .*mine.py failed: TypeError: it gave a mask whose index"):
        report_of(tmp_path, rules)


# No rows, and rows of which nothing is known.

NO_ROWS = {
    "a list": "def odd(orders):\n    return [each == 'nowhere' for each in orders['region']]\n",
    "map": "def odd(orders):\n    return orders['region'].map(lambda each: each == 'nowhere')\n",
    "apply": (
        "def odd(orders):\n"
        "    return orders.apply(lambda each: each['region'] == 'nowhere' and each['product'] == 'x', axis=1)\n"
    ),
    "a failure": "def odd(orders):\n    return orders['quantity'] > orders['quantity'].max() + orders.index[0]\n",
}


@pytest.mark.parametrize("name", NO_ROWS)
@pytest.mark.parametrize("partitions", [1, 7])
def test_no_rule_runs_where_no_row_can_be_read(tmp_path: Path, name: str, partitions: int) -> None:
    path = users_file(tmp_path)
    with open(path, "a") as file:
        file.write("\nTotal: 4 orders, 137.75\n")
    assert report_of(tmp_path, NO_ROWS[name], input=path, partitions=partitions) == ('{"orders": 4, "revenue": 137.75}')


def test_rule_of_nulls_alone_rejects_nothing(tmp_path: Path, orders_file: Callable[..., Path]) -> None:
    path = orders_file(row(), row(quantity="x"), row(price="?"), row(timestamp=""))
    rules = "def many(orders):\n    return orders['quantity'].apply(lambda quantity: quantity > 100)\n"
    for partitions in (1, 4):
        report = report_of(tmp_path, rules, input=str(path), partitions=partitions)
        assert report == '{"orders": 1, "revenue": 21.00}'


# What a rule does to its frame.

CHANGES = [
    "orders.drop(index=1, inplace=True)",
    "orders.drop(columns='price_cents', inplace=True)",
    "orders.sort_values('order_id', ascending=False, inplace=True)",
    "orders.reset_index(drop=True, inplace=True)",
    "orders.rename(columns={'status': 'was'}, inplace=True)",
    "orders.index = orders.index[::-1]",
    "orders.columns = list(reversed(orders.columns))",
    "orders['status'] = 'failed'",
    "orders.loc[:, 'price_cents'] = -1",
    "orders.iloc[0, 4] = -1",
    "orders['quantity'].array[0] = -1",
    "orders['order_id'].array[0] = ''",
    "orders['quantity'].values[:] = -1",
    "orders['price_cents'].fillna(-1, inplace=True)",
    "orders.pop('status')",
    "del orders['timestamp']",
    "orders.insert(0, 'first', 1)",
    "orders.flags.allows_duplicate_labels = False",
    "orders.attrs['x'] = 1",
    "orders['quantity'].to_numpy()[:] = -1",
    "orders['quantity'].to_numpy().flags.writeable = True",
    "orders['status'].to_numpy()[:] = 'failed'",
    "orders.index.to_numpy()[:] = 0",
    *(
        f"np.frombuffer(pa.Array.from_pandas(orders['{column}']).buffers()[-1], np.uint8)[:] = 49"
        for column in ("quantity", "price_cents", "status")
    ),
]


def judged(rules: str) -> Judged:
    text = "".join(row(order_id=f"K{number}", product=" lamp") + "\n" for number in range(3)).encode()
    block = fields.read_block(text, row_ends(text), list(COLUMNS))
    return judge(block, [], Place(0, "x.csv", 1), Ruleset(rules, "mine.py"), np.empty(0, np.int64))


@pytest.mark.parametrize("change", CHANGES)
def test_rule_that_changes_its_frame_changes_nothing_that_others_see(change: str) -> None:
    rules = (
        "import numpy as np\nimport pandas as pd\nimport pyarrow as pa\nimport warnings\n"
        "warnings.simplefilter('ignore')\n"
        f"def first(orders):\n    try:\n        {change}\n    except ValueError as error:\n"
        "        assert 'read-only' in str(error) or 'WRITEABLE' in str(error), error\n"
        "    return pd.Series(False, range(1, 4))\n"
        "def second(orders):\n"
        "    kept = orders.index.equals(pd.RangeIndex(1, 4)) and orders.columns[-1] == 'total_cents'\n"
        "    kept = kept and not orders.attrs and orders.flags.allows_duplicate_labels\n"
        "    kept = kept and (orders['status'] == 'success').all() and (orders['quantity'] == 2).all()\n"
        "    kept = kept and (orders['price_cents'] == 1050).all() and list(orders['order_id']) == ['K0', 'K1', 'K2']\n"
        "    return [not kept] * 3\n"
    )
    before, after = judged("def none(orders):\n    return [False] * len(orders)\n"), judged(rules)
    assert (after.paid, after.unpaid, after.ids) == (before.paid, before.unpaid, before.ids)
    assert len(after.paid) == 3


def test_rules_may_share_an_array_for_their_masks() -> None:
    rules = "import numpy as np\nimport pandas as pd\n_mask = pd.Series(np.zeros(3, bool), range(1, 4))\n" + "".join(
        f"def rule_{number}(orders):\n    _mask.array[:] = np.arange(3) == {number}\n    return _mask\n"
        for number in (0, 1)
    )
    assert judged(rules).quarantine["reasons"].to_pylist() == [["rule_0"], ["rule_1"]]


# Errors that name what there is.


@pytest.mark.parametrize("price", ["orders['price']", "orders.price", "orders[['price', 'quantity']].max(axis=1)"])
def test_column_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, price: str) -> None:
    with pytest.raises(ConfigError) as raised:
        report_of(tmp_path, f"def dear(orders):\n    return {price} > 500\n")
    assert "the rule dear of" in str(raised.value)
    assert (
        "the frame has order_id, user_id, region, product, quantity, payment_mode, status, timestamp, price_cents, "
        "total_cents (money is integer cents, in price_cents and total_cents)"
    ) in str(raised.value)
    assert "line 2, failed" in str(raised.value)


def test_key_of_the_rules_own_dictionary_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 2, failed: KeyError: 3; a rule takes"):
        report_of(tmp_path, "def dear(orders):\n    return {}[3]\n")


@pytest.mark.usefixtures("in_threads")
def test_functions_from_python_are_held_to_the_same(tmp_path: Path) -> None:
    """The defaults of functions that a loop makes, too: 4 orders of 7.25 are above 5.00 each."""
    rules = []
    for limit in (500, 5000):

        def above(orders: pd.DataFrame, limit: int = limit) -> pd.Series:
            return orders.sort_values("total_cents")["price_cents"] > limit

        above.__name__ = f"above_{limit}"
        rules.append(above)
    given = dict(run=tmp_path / "run", dashboard="127.0.0.1:0", workers=1)
    with pytest.raises(daskjobs.InputError, match=r"4 of 4 rows were rejected, every one of them \(above_500 4\)"):
        daskjobs.run_orders(users_file(tmp_path), rules=rules, **given)  # type: ignore[arg-type]
    result = daskjobs.run_orders(users_file(tmp_path), rules=rules[1:], **given)  # type: ignore[arg-type]
    assert (result.orders, str(result.revenue)) == (4, "137.75")
