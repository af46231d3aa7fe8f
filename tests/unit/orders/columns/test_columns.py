"""report/columns.json: against a count with csv and plain Python, whatever the partitions."""

import csv
import io
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inline
from daskjobs.orders.columns.account import MOST_VALUES, QUANTILES
from daskjobs.orders.schema import COLUMNS

KINDS = {"quantity": int, "price": Decimal, "total_amount": Decimal, "timestamp": str}
NAMES = {"quantity": "number", "price": "amount", "total_amount": "amount", "timestamp": "time"}


def told(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "report/columns.json").read_text())
    assert found["version"] == 1
    return dict(found)


def columns(folder: Path) -> dict[str, Any]:
    return {each["name"]: each for each in told(folder)["columns"]}


def expected(rows: list[dict[str, str]], name: str) -> dict[str, Any]:
    """Return what must be told of a column of rows that are written in the plainest way."""
    kind = NAMES.get(name, "text")
    texts = [row[name] for row in rows if row[name]]
    found: dict[str, Any] = {"name": name, "kind": kind, "empty": len(rows) - len(texts), "unreadable": 0}
    values: list[Any] = texts
    if kind != "text":
        values = [KINDS[name](each.replace(" ", "T")) for each in texts if each != "x"]
        found["unreadable"] = len(texts) - len(values)
    found |= {"distinct": len(set(values)), "distinct_exact": True}
    if not values:
        return found

    def shown(value: Any) -> str:
        return f"{value:.2f}" if kind == "amount" else str(value)

    found |= {"least": shown(min(values)), "most": shown(max(values))}
    if kind == "text":
        found["longest"] = max(map(len, values))
    if kind in ("number", "amount"):
        found["mean"] = str((sum(map(Decimal, values)) / len(values)).quantize(Decimal("0.0001")))
    if kind != "text":
        ranked = sorted(values)
        found["quantiles"] = {
            each: shown(ranked[-(-int(Decimal(each) * 100) * len(values) // 100) - 1]) for each in QUANTILES
        }
    if len(set(values)) <= MOST_VALUES:
        found["values"] = {shown(value): rows for value, rows in sorted(Counter(values).items())}
    return found


def written(rows: list[dict[str, str]], names: list[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


FIELDS = {
    "order_id": st.sampled_from(["", "1", "2", "30", "a", "ab\u00e9"]),
    "user_id": st.sampled_from(
        ["", "u1", "u10", "u2", "\U0001f600" * 3, "a-rather-long-user-id", "a-rather-long-user-ie"]
    ),
    "region": st.sampled_from(["", "north", "s\u00fcd"]),
    "product": st.text("ab\u00e9", max_size=20),
    "quantity": st.sampled_from(["", "x", "1", "2", "17", "-3"]),
    "price": st.sampled_from(["", "x", "1.50", "-0.05", "12345678901234.56", "99.99"]),
    "total_amount": st.sampled_from(["", "x", "3.00", "0.01", "-7.50"]),
    "payment_mode": st.sampled_from(["", "card"]),
    "status": st.sampled_from(["", "success", "failed"]),
    "timestamp": st.sampled_from(["", "x", "2025-03-01 00:00:00", "2025-03-01 13:15:00", "1999-12-31 23:59:59"]),
    "note": st.sampled_from(["", "a note", 'of "quotes"', "n" * 70, "n" * 69 + "o", "of\ntwo lines"]),
}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.fixed_dictionaries(FIELDS), min_size=1, max_size=12), st.integers(1, 4), st.sampled_from([80, 4 << 20])
)
def test_columns_are_as_counted_by_hand(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]], partitions: int, block: int
) -> None:
    folder = tmp_path_factory.mktemp("columns")
    names = [*COLUMNS, "note"]
    (folder / "orders.csv").write_text(written(rows, names))
    inline.run(folder / "run", str(folder / "orders.csv"), block, partitions=partitions)
    assert told(folder / "run")["rows"] == len(rows)
    assert columns(folder / "run") == {name: expected(rows, name) for name in names}
