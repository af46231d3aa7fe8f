"""report/columns.json: against a count with csv and plain Python, whatever the partitions."""

import csv
import io
import json
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inline
from daskjobs.errors import LostWorkError
from daskjobs.orders.columns import states
from daskjobs.orders.columns.account import MOST_COLUMNS, MOST_TEXT, MOST_VALUES, QUANTILES, ColumnAccount
from daskjobs.orders.columns.distinct import SIZE, Distinct, mixed
from daskjobs.orders.columns.states import Columns
from daskjobs.orders.columns.texts import LONG, Order, Steps, Words, extremes, hashes
from daskjobs.orders.report.columns import columns_table
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


@settings(max_examples=30, deadline=None)
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


def many_rows(count: int) -> list[dict[str, str]]:
    """Return rows with more values of each kind than are counted exactly or kept as a sample."""
    draw = random.Random(7)
    rows = []
    for row in range(count):
        cents, quantity = int(draw.lognormvariate(8, 2)), draw.randrange(1, 400)
        rows.append(
            {
                "order_id": f"{draw.randrange(1 << 40):x}",
                "user_id": str(draw.randrange(20_000)),
                "region": draw.choice(("north", "south", "")),
                "product": f"product {draw.randrange(3_000)}",
                "quantity": str(quantity) if row % 17 else "",
                "price": f"{cents / 100:.2f}" if row % 19 else "?",
                "total_amount": f"{cents * quantity / 100:.2f}",
                "payment_mode": "card",
                "status": "success",
                "timestamp": f"2025-{draw.randrange(1, 13):02}-01 {draw.randrange(24):02}:{row % 60:02}:00",
                "note": f"note {row:09}" if row < count // 2 else f"A note {draw.randrange(count)} of some length",
            }
        )
    return rows


@pytest.mark.parametrize(("count", "sampled"), [(6_000, 1_000), pytest.param(150_000, 1 << 16, marks=pytest.mark.slow)])
def test_many_rows_give_the_same_bytes_whatever_the_cuts_and_are_within_the_stated_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, sampled: int
) -> None:
    monkeypatch.setattr(states, "SAMPLED", sampled)
    rows, names = many_rows(count), [*COLUMNS, "note"]
    whole, cut = written(rows, names).splitlines(keepends=True), count * 2 // 3
    (tmp_path / "orders-1.csv").write_text("".join(whole[: cut // 2]) + "malformed\n" + "".join(whole[cut // 2 : cut]))
    (tmp_path / "orders-2.csv").write_text("".join([whole[0], *whole[cut:]]))
    found = [
        inline.run(tmp_path / f"run-{partitions}", str(tmp_path / "orders-*.csv"), block, partitions=partitions)
        for partitions, block in ((1, 4 << 20), (7, 2 * count))
    ]
    assert found[0]["report/columns.json"] == found[1]["report/columns.json"]
    assert told(tmp_path / "run-1")["rows"] == len(rows)
    for name, each in columns(tmp_path / "run-1").items():
        texts = [row[name] for row in rows]
        known = [text for text in texts if text not in ("", "?")]
        assert (each["empty"], each["unreadable"]) == (texts.count(""), texts.count("?"))
        distinct = len(set(known))
        assert each["distinct_exact"] == (distinct <= SIZE)
        assert abs(each["distinct"] - distinct) <= 4 * distinct / SIZE**0.5 * (distinct > SIZE)
        values: Any = known
        if each["kind"] in ("number", "amount"):
            values = sorted(map(Decimal, known))
            assert (Decimal(each["least"]), Decimal(each["most"])) == (values[0], values[-1])
            assert each["mean"] == str((sum(values) / len(values)).quantize(Decimal("0.0001")))
        elif each["kind"] == "time":
            values = sorted(text.replace(" ", "T") for text in known)
        else:
            assert (each["least"], each["most"]) == (min(known), max(known))
        for share, value in each.get("quantiles", {}).items():
            exact, ranks = float(share), np.searchsorted(values, Decimal(value) if value[4:5] != "-" else value)
            error = 4 * (exact * (1 - exact) / (sampled / 2)) ** 0.5
            assert ranks / len(values) - error <= exact
            least_above = np.searchsorted(values, Decimal(value) if value[4:5] != "-" else value, "right")
            assert exact <= least_above / len(values) + error


def test_ids_that_ascend_or_descend_are_counted_exactly_however_many(tmp_path: Path) -> None:
    rows = [
        f"{row},{row // 3},{'x' * 9}{99_999 - row:05},p,1,1.00,1.00,card,success,2025-{row // 1440 + 101:04}"
        f" {row // 60 % 24:02}:{row % 60:02}".replace("2025-01", "2025-01-")
        for row in range(30_000)
    ]
    (tmp_path / "orders.csv").write_text("\n".join([",".join(COLUMNS), *rows]))
    inline.run(tmp_path / "run", str(tmp_path / "orders.csv"), 200_000, partitions=3)
    found = {name: (each["distinct"], each["distinct_exact"]) for name, each in columns(tmp_path / "run").items()}
    assert found["order_id"] == found["timestamp"] == found["region"] == (30_000, True)
    assert found["user_id"] == (10_000, True)


def families() -> dict[str, pa.Array | np.ndarray]:
    """Return a million distinct values each, as regular as those of orders are."""
    count, draw = 1_000_000, np.random.default_rng(5)
    row = np.arange(count)
    texts = {
        "count up": row + 1,
        "count up from a large number": row + 100_000_000,
        "every seventh": 7 * row + 10**12,
        "drawn": np.unique(draw.integers(0, 1 << 62, count)),
    }
    made: dict[str, Any] = {name: pa.array(values).cast(pa.string()) for name, values in texts.items()}
    made["prefix"] = pa.array([f"ORD-2026-{each:07}" for each in row])
    made["suffix"] = pa.array([f"{each:07}-of-a-shop-with-a-long-name" for each in row])
    made["hex"] = pa.array([f"{each:032x}" for each in row])
    numbers = {"small": row, "hundreds": 100 * row, "seconds": 1_735_689_600_000_000 + 1_000_000 * row}
    numbers |= {"days": -(86_400_000_000 * row), "powers": row << 32, "squares": row * row}
    return made | numbers


@pytest.mark.slow
def test_a_million_distinct_values_are_counted_within_the_stated_error() -> None:
    errors = []
    for name, values in families().items():
        distinct = Distinct()
        if isinstance(values, pa.Array):
            words = Words(values)
            distinct.add(hashes(words, words.word(0)))
        else:
            distinct.add(mixed(values.astype(np.int64).view(np.uint64)))
        count, exact = distinct.count()
        assert not exact
        errors.append((count - len(values)) / len(values) * SIZE**0.5)
        assert abs(errors[-1]) < 4, name  # standard errors
    assert np.sqrt(np.mean(np.square(errors))) < 1.6


def test_distinct_values_are_counted_exactly_up_to_a_bound_in_any_order() -> None:
    values = np.random.default_rng(3).permutation(np.repeat(np.arange(SIZE + 1), 5))
    for most in (0, 1, SIZE - 1, SIZE, SIZE + 1):
        some = values[values < most]
        one, other = Distinct(), Distinct()
        one.add(mixed(some.view(np.uint64)))
        for part in np.array_split(some[::-1], 9):
            if len(part):
                other.add_numbers(part, int(part.min()), int(part.max()))
        assert one.count() == other.count()
        assert np.array_equal(one.lowest, other.lowest)
        assert one.count() == (most, True) if most <= SIZE else not one.count()[1]


TEXTS = st.lists(
    st.text("ab\0\u00e9", min_size=1, max_size=30)
    | st.builds("{0:x>{1}}".format, st.text("ab", max_size=3), st.integers(LONG - 5, LONG + 5)),
    min_size=1,
)


@given(TEXTS)
def test_texts_are_hashed_and_compared_as_python_does(texts: list[str]) -> None:
    array = pa.array(["before", *texts], pa.string()).slice(1)
    words = Words(array)
    first, order, steps = words.word(0), Order(words), Steps()
    hashed = hashes(words, first, order)
    order.tell(steps)
    alone = [Words(pa.array([text])) for text in texts]
    assert hashed.tolist() == [int(hashes(each, each.word(0))[0]) for each in alone]
    assert len(set(hashed.tolist())) == len(set(texts))
    assert extremes(words, first, None, None) == [min(texts), max(texts)]
    assert set(extremes(words, first, min(texts), max(texts))) <= {min(texts), max(texts)}
    ranks = [(len(text.encode()), text.encode()) for text in texts]
    if words.longest <= LONG and ranks in (sorted(ranks), sorted(ranks, reverse=True)):
        assert steps.distinct() == len(set(texts))
    else:
        assert steps.distinct() is None


def test_formats_give_the_same_columns(tmp_path: Path) -> None:
    fields = [
        ["1", None, "north", "lamp", "2", "10.00", "20.00", "card", "success", "2025-03-01T10:00:00", "n"],
        ["2", "u", "s\u00fcd", None, None, "x", "20.50", None, "failed", "2025-03-02T10:00:00", None],
    ]
    rows = [dict(zip([*COLUMNS, "note"], each, strict=True)) for each in fields]
    csv_rows = [{name: text or "" for name, text in row.items()} for row in rows]
    (tmp_path / "orders.csv").write_text(written(csv_rows, [*COLUMNS, "note"]))
    lines = [json.dumps({name: text for name, text in row.items() if text or name != "note"}) for row in rows]
    (tmp_path / "orders.jsonl").write_text("\n".join(lines))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "orders.parquet")
    found = {
        inline.run(tmp_path / f"run-{ending}", str(tmp_path / f"orders.{ending}"))["report/columns.json"]
        for ending in ("csv", "jsonl", "parquet")
    }
    assert len(found) == 1
    assert columns(tmp_path / "run-csv") == {name: expected(csv_rows, name) for name in [*COLUMNS, "note"]}


def test_columns_that_the_user_or_a_profile_renames_say_what_the_file_calls_them(tmp_path: Path) -> None:
    plain = ",".join(COLUMNS).replace("price", "unit_price").replace("region", "price")
    (tmp_path / "orders.csv").write_text(f"{plain},Region\n1,u,1,lamp,2,10.00,20.00,card,success,2025-03-01,n\n")
    options = {"columns": "price=unit_price,region=Region"}
    inline.run(tmp_path / "run", str(tmp_path / "orders.csv"), **options)
    names = {name: each.get("in_file") for name, each in columns(tmp_path / "run").items()}
    assert {name: theirs for name, theirs in names.items() if theirs} == {
        "price": "unit_price", "region": "Region", "price_original": "price",
    }  # fmt: skip
    (tmp_path / "shop.toml").write_text(
        """[columns]
region = { constant = "all" }
price = ["Preis", "unit_price"]
total_amount = { sum = ["Netto", "-Rabatt"] }
"""
    )
    (tmp_path / "shop.csv").write_text(
        "order_id,user_id,product,quantity,unit_price,Netto,Rabatt,payment_mode,status,timestamp,total_amount\n"
        "1,u,lamp,2,10.00,21.00,1.00,card,success,2025-03-01,\n2,u,lamp,1,,,,card,success,2025-03-01,\n"
        "3,u,lamp,1,5.00,5.00,x,card,success,2025-03-01,\n"
    )
    inline.run(tmp_path / "shop", str(tmp_path / "shop.csv"), profile=str(tmp_path / "shop.toml"))
    found = columns(tmp_path / "shop")
    names = {name: each.get("in_file") for name, each in found.items()}
    assert {name: theirs for name, theirs in names.items() if theirs} == {
        "price": "unit_price", "total_amount_original": "total_amount",
    }  # fmt: skip
    assert found["region"]["values"] == {"all": 3}
    assert (found["price"]["empty"], found["price"]["unreadable"]) == (1, 0)
    total = found["total_amount"]
    assert (total["empty"], total["unreadable"], total["least"], total["most"]) == (1, 1, "20.00", "20.00")
    assert found["Rabatt"]["values"] == {"1.00": 1, "x": 1}


def test_wide_files_and_long_texts_are_bounded(tmp_path: Path) -> None:
    extra, long = [f"c{number}" for number in range(300)], "\u00e9" * 5_000
    row = ["1", "u", "r", "p", "1", "1.00", "1.00", "card", "success", "2025-01-01"]
    (tmp_path / "orders.csv").write_text(
        "\n".join([",".join([*COLUMNS, *extra]), ",".join([*row, *extra]), ",".join(["2", *row[1:], *[long] * 300])])
    )
    inline.run(tmp_path / "run", str(tmp_path / "orders.csv"))
    found = told(tmp_path / "run")
    assert (len(found["columns"]), found["left_out"]) == (MOST_COLUMNS, 310 - MOST_COLUMNS)
    assert found["columns"][10] == {
        "name": "c0", "kind": "text", "empty": 0, "unreadable": 0, "distinct": 2, "distinct_exact": True,
        "least": "c0", "most": long[:MOST_TEXT] + "\u2026", "longest": 5_000,
    }  # fmt: skip
    page = (tmp_path / "run/report/report.html").read_text()
    assert page.count('<tr><th scope="row">') < 100
    assert "\u00e9" * 60 not in page


def test_header_alone_gives_columns_of_no_rows(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(",".join(COLUMNS) + "\n")
    inline.run(tmp_path / "run", str(tmp_path / "orders.csv"))
    assert told(tmp_path / "run")["rows"] == 0
    assert all(
        each["distinct"] == each["empty"] == 0 and "least" not in each for each in told(tmp_path / "run")["columns"]
    )


def test_columns_that_were_seen_in_other_rows_end_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "orders.csv").write_text(f"{','.join(COLUMNS)}\n1,u,r,p,1,1.00,1.00,card,success,2025-01-01\n")
    monkeypatch.setattr(Columns, "add", lambda *_: None)
    with pytest.raises(LostWorkError, match="the columns were seen in 0 rows, of 1 rows"):
        inline.run(tmp_path / "run", str(tmp_path / "orders.csv"))


def test_page_shows_columns_escaped_and_cut(tmp_path: Path) -> None:
    shown = columns_table(
        [
            ColumnAccount("a<b", "text", 0, 0, 10**6, False, in_file="x_<y", least="<b>", most="m" * 70, longest=70),
            ColumnAccount("price", "amount", 1, 2, 3, True, least="-1234.50", most="2.00", quantiles={"0.5": "1.00"}),
        ]
    )
    told_of = ("a&lt;b", "x_&lt;y", "&lt;b&gt;", "about 1,000,000", "m" * 40 + "\u2026", "-1,234.50", "2 unreadable")
    assert [text for text in told_of if text not in shown] == []
    assert "<b>" not in shown
    assert "m" * 41 not in shown
