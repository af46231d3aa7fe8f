"""Results of functions, as JSON and as files."""

import dataclasses
import datetime as dt
import enum
import json
import pickle
import threading
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from distributed import Client

from daskjobs.cluster.results import LazyError, NotSaidError, as_json, keep
from daskjobs.errors import Stop


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Made:
    day: dt.date
    rows: Any


class Pair(NamedTuple):
    first: int
    second: int


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"n": np.int64(3), "mean": np.float32(0.5), "good": np.bool_(True)}, '{"n": 3, "mean": 0.5, "good": true}'),
        (np.longdouble(1.5), "1.5"),
        (np.array([[1, 2], [3, 4]]), "[[1, 2], [3, 4]]"),
        (np.datetime64("2026-11-25"), '"2026-11-25"'),
        (np.array(["2026-11-25"], dtype="datetime64[ns]"), '["2026-11-25T00:00:00.000000000"]'),
        (np.timedelta64(90, "s"), "90.0"),
        (pd.Timestamp("2026-11-25 01:02:03", tz="UTC"), '"2026-11-25T01:02:03+00:00"'),
        ([dt.date(2026, 11, 25), dt.time(1, 2), dt.timedelta(hours=1)], '["2026-11-25", "01:02:00", 3600.0]'),
        ([Decimal("1.10"), uuid.UUID(int=5), Path("/a")], '["1.10", "00000000-0000-0000-0000-000000000005", "/a"]'),
        (Made(dt.date(2026, 11, 25), Pair(1, 2)), '{"day": "2026-11-25", "rows": [1, 2]}'),
        ([Color.RED, b"ab", {3, 1, 2}, frozenset("ba"), range(2)], '["red", "YWI=", [1, 2, 3], ["a", "b"], [0, 1]]'),
        ({np.int64(4): 1, dt.date(2026, 11, 25): 2, None: 3}, '{"4": 1, "2026-11-25": 2, "null": 3}'),
        ("\ud800", '"\\ud800"'),
    ],
)  # fmt: skip
def test_what_has_one_meaning_in_json_is_said(value: object, said: str) -> None:
    assert (as_json(value).text, as_json(value).nulls) == (said, 0)


def test_what_is_no_number_is_null_and_counted() -> None:
    value = {"a": [float("nan"), np.float64("inf"), pd.NaT, pd.NA, np.datetime64("NaT"), Decimal("nan")], "b": None}
    said = as_json(value)
    assert (json.loads(said.text), said.nulls) == ({"a": [None] * 6, "b": None}, 6)


class NoText(Exception):
    """An exception that has no text."""

    def __str__(self) -> str:
        nothing: Any = None
        return nothing


class Awaitable:
    """What a function would have to await."""

    def __await__(self) -> Any:
        return iter([1])


class Odd(dict[str, Any]):
    """A dictionary of which one method raises."""

    def __init__(self, method: str, error: BaseException) -> None:
        super().__init__(a=1)
        self.method, self.error = method, error

    def __getattribute__(self, name: str) -> Any:
        if name == super().__getattribute__("method"):
            raise super().__getattribute__("error")
        return super().__getattribute__(name)


def raises(*_: object) -> None:
    raise AssertionError("odd")


around: list[Any] = []
around.append(around)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (around, "contains itself"),
        ({1: "a", "1": "b"}, "two keys are '1' as texts"),
        ({(1, 2): 3}, "a tuple is a key, and keys are texts"),
        (10**5000, "4300 digits"),
        (1j, "JSON has no complex"),
        (np.zeros(2, dtype=[("a", int)]), "JSON has no ndarray"),
        (pd.Series([1]), "JSON has no Series"),
        ([object()], "JSON has no object"),
        (np.timedelta64(2, "M"), "a timedelta64 of months or years has no seconds"),
        ({"spans": np.array([1], dtype="m8[Y]")}, "a timedelta64 of months or years has no seconds"),
        (Odd("items", RuntimeError("mine")), "^RuntimeError: mine"),
        (Odd("items", SystemExit(3)), "^SystemExit: 3"),
        ([Odd("items", NoText())], "^NoText: its text can't be shown, since its __str__ raises TypeError"),
        (type("Meta", (type,), {"__getattr__": raises})("Of", (), {})(), "^AssertionError: odd"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_json_cant_say_is_told(value: object, words: str) -> None:
    with pytest.raises(NotSaidError, match=words):
        as_json(value)


def test_promise_of_a_result_is_no_result() -> None:
    for value, words in (
        (dask.delayed(1), "a Delayed.* of Dask is no result yet"),
        ({"each": (n for n in [1])}, "a generator is no result yet: return a list of what it yields$"),
        (zip([1], [2], strict=True), "a zip is no result yet: return a list of what it yields$"),
        (Awaitable(), "a Awaitable is no result yet: make the function `async def`, and return what `await` gives$"),
        (Client.__new__(Client), "a Client is no result, .*: return what it computes"),
    ):
        with pytest.raises(LazyError, match=words):
            as_json(value)


def test_result_is_kept_in_the_file_that_suits_it(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    for table in (frame, frame["a"], pa.table({"a": [1, 2]})):
        path = keep(table, None, tmp_path)
        assert path.name == "result.parquet"
        assert pd.read_parquet(path)["a"].tolist() == [1, 2]
        path.unlink()
    odd = pd.DataFrame({"a": [1, "x"]})
    assert keep(odd, None, tmp_path).name == "result.pkl"
    assert pickle.loads((tmp_path / "result.pkl").read_bytes()).equals(odd)
    assert [path.name for path in tmp_path.iterdir()] == ["result.pkl"]
    assert keep("x", '"x"', tmp_path).read_text() == '"x"'


def test_what_cant_be_pickled_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NotSaidError, match="it can't be pickled either: TypeError: cannot pickle '_thread"):
        keep({"a": [threading.Lock()]}, None, tmp_path)
    with pytest.raises(NotSaidError, match="it can't be pickled either: SystemExit: 4"):
        keep(Odd("__reduce_ex__", SystemExit(4)), None, tmp_path)
    assert caplog.text == ""
    assert not list(tmp_path.iterdir())


def test_signal_while_a_result_is_written_is_no_failure_of_the_result(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        as_json(Odd("items", Stop(143)))
    with pytest.raises(Stop):
        keep(Odd("__reduce_ex__", Stop(143)), None, tmp_path)
