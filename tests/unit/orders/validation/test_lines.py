"""Rows that are lines of orders: what counts is held against a plain computation with csv and decimal."""

import csv
import io
import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inline
from daskjobs.errors import InputError
from daskjobs.orders.money import MONEY
from daskjobs.orders.profiles import OrderForm, Profile, runs
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources.format import Block, BlockLines
from daskjobs.orders.validation import duplicates, ids, partition
from daskjobs.orders.validation.heads import Lines, differing_totals, find_heads

GAP = 3  # malformed rows that don't end a run


@dataclass(frozen=True)
class Line:
    """A row of a file: ``text`` stands in place of its fields where it is malformed."""

    order: str = "a"
    line: int = 1
    status: str = "success"
    price: str = "2.00"
    total: str = "2.00"
    malformed: bool = False

    @property
    def fields(self) -> list[str]:
        if self.malformed:
            return ["too", "few"]
        amounts = ["1", self.price, self.total]
        return [self.order, f"u{self.line}", "west", "mug", *amounts, "card", self.status, "2025-04-02"]


@dataclass(frozen=True)
class Form:
    """What the profile says."""

    fills: bool = False
    own_total: bool = False
    keyed: bool = False
    whole: bool = False
    last: bool = False

    @property
    def toml(self) -> str:
        said = ["[order]", 'rows = "line"', f'rejects = "{"order" if self.whole else "line"}"']
        said += ["fill_down = true"] if self.fills else []
        said += ['total = "total_amount"'] if self.own_total else []
        said += ['key = ["order_id", "user_id"]'] if self.keyed else []
        said += ['repeats = "last"'] if self.last else []
        return "\n".join(said) + "\n"


@dataclass
class Row:
    """A row that could be read, with the fields of its order filled down."""

    place: tuple[int, int]
    run: tuple[int, int]
    order: str
    line: int
    status: str
    price: str
    total: str
    reasons: list[str] = field(default_factory=list)


def read(files: list[list[Line]], form: Form) -> tuple[list[Row], list[tuple[int, int]], set[tuple[int, int]]]:
    """Return the rows that can be read, the places of the others, and the runs inside of which such a one stands."""
    rows, malformed, around = list[Row](), list[tuple[int, int]](), set[tuple[int, int]]()
    for file, content in enumerate(files):
        run, last, gap, said = -1, None, 0, dict[str, str]()
        for number, line in enumerate(content, 1):
            if line.malformed:
                malformed.append((file, number))
                gap += 1
                continue
            last = None if gap > GAP else last
            order = line.order or (last or "" if form.fills and not gap else "")
            if order == "" or order != last:
                run, said = run + 1, {}
            elif gap:
                around.add((file, run))
            gap, last, values = 0, order, {"status": line.status, "total": line.total}
            if form.fills:
                said |= {name: value for name, value in values.items() if value}
                values = {"status": values["status"] or said.get("status", "")}
                values["total"] = line.total or (said.get("total", "") if form.own_total else "")
            rows.append(Row((file, number), (file, run), order, line.line, price=line.price, **values))
    return rows, malformed, around


def expect(files: list[list[Line]], form: Form) -> dict[str, Any]:
    """Return the paid orders, the revenue, all orders, and the rejected rows with their reasons."""
    rows, malformed, around = read(files, form)
    first = dict[tuple[int, int], str]()
    for row in rows:
        checks = {
            "missing_order_id": row.order == "",
            "unreadable_price": row.price == "x",
            "unreadable_total": row.total == "",
            "wrong_total": "x" != row.price != row.total != "",
            "unknown_status": row.status not in ("success", "pending"),
        }
        row.reasons = [name for name, holds in checks.items() if holds]
        if form.own_total and row.total and Decimal(first.setdefault(row.run, row.total)) != Decimal(row.total):
            row.reasons.append("differing_total")
    seen, repeated = set[tuple[str, int]](), list[Row]()
    for row in rows:
        if form.keyed and not row.reasons:
            if (row.order, row.line) in seen:
                repeated.append(row)
            seen.add((row.order, row.line))
    broken = {row.order for row in rows if row.order and (row.reasons or row.run in around)}
    for row in repeated:
        row.reasons = ["duplicate_line"]
    for row in rows:
        if form.whole and row.order in broken and not row.reasons:
            row.reasons = ["line_of_rejected_order"]
    orders = defaultdict[str, list[Row]](list)
    for row in rows:
        if not row.reasons:
            orders[row.order].append(row)
    paid = {order: [row for row in lines if row.status == "success"] for order, lines in orders.items()}
    paid = {order: lines for order, lines in paid.items() if lines}
    amounts = [row.total for lines in paid.values() for row in (lines[:1] if form.own_total else lines)]
    rejected = {row.place: row.reasons for row in rows if row.reasons} | {
        place: ["wrong_number_of_fields"] for place in malformed
    }
    return {
        "paid": len(paid),
        "all": len(orders),
        "revenue": sum(map(Decimal, amounts), Decimal("0.00")),
        "rejected": dict(sorted(rejected.items())),
    }


def run(
    folder: Path, files: list[list[Line]], form: Form, block: int, partitions: int, parquet: bool = False
) -> dict[str, Any]:
    """Return what a run says of the same."""
    folder.mkdir(exist_ok=True)
    (folder / "profile.toml").write_text(form.toml)
    for number, content in enumerate(files):
        if parquet:
            texts = zip(*(line.fields for line in content if not line.malformed), strict=True)
            arrays = [pa.array(each) for each in texts] or [pa.array([], pa.string()) for _ in COLUMNS]
            pq.write_table(pa.table(arrays, list(COLUMNS)), folder / f"{number}.in", row_group_size=2)
            continue
        with (folder / f"{number}.in").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([list(COLUMNS), *(line.fields for line in content)])
    where = folder / "run"
    profile = str(folder / "profile.toml")
    results = inline.run(where, str(folder / "*.in"), block, partitions=partitions, profile=profile)
    orders = [
        sum(pq.read_table(file)["orders"].to_pylist())
        for status in ("paid", "unpaid")
        for file in where.glob(f"validate/part-*/{status}.parquet")
    ]
    quarantine = csv.DictReader(io.StringIO(results["merge/quarantine.csv"].decode()))
    paid = [pq.read_table(file).to_pylist() for file in where.glob("validate/part-*/paid.parquet")]
    rows = list(chain.from_iterable(paid))
    revenue = sum((row["gross"] - row["refunded"] for row in rows), Decimal("0.00"))
    report = {"orders": sum(row["orders"] for row in rows), "revenue": revenue}
    if text := results["report/analytics_report.json"]:  # there is none where no row of a file was understood
        assert json.loads(text, parse_float=Decimal) == report
    return {
        "paid": report["orders"],
        "all": sum(orders),
        "revenue": report["revenue"],
        "rejected": {(int(Path(row["source"]).stem), int(row["row"])): row["reasons"].split(";") for row in quarantine},
    }


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "SORTED_ROWS", 3)
    monkeypatch.setattr(duplicates, "BUCKET_ROWS", 4)
    monkeypatch.setattr(duplicates, "MOST_PIECES", 6)  # so that most buckets are divided
    monkeypatch.setattr(runs, "SEAM_ROWS", 1)
    monkeypatch.setattr(runs, "GAP_ROWS", GAP)


prices = st.sampled_from(["2.00", "2.00", "2.00", "2.00", "3.50", "x"])
lines = st.builds(
    lambda price, own, **values: Line(price=price, total=own if price == "x" else price, **values),
    price=prices,
    own=st.just("2.00"),
    order=st.sampled_from(["a", "b", "c", "d", "a", "b", ""]),
    line=st.integers(1, 3),
    status=st.sampled_from(["success", "success", "pending", ""]),
    malformed=st.sampled_from([False] * 5 + [True]),
)
stretches = st.builds(lambda line, times: [line] * times, lines, st.integers(1, 6))
contents = st.lists(st.one_of(stretches, lines.map(lambda line: [line])), max_size=8).map(
    lambda each: list(chain.from_iterable(each))
)
forms = st.builds(Form, fills=st.booleans(), own_total=st.booleans(), keyed=st.booleans(), whole=st.booleans())


@pytest.mark.slow
@pytest.mark.timeout(400)
@settings(max_examples=50)
@given(
    st.lists(contents, min_size=1, max_size=3), forms, st.sampled_from([20, 150, 700]), st.integers(1, 9), st.booleans()
)
def test_orders_and_revenue_are_those_of_a_plain_computation_wherever_the_lines_stand(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[Line]],
    form: Form,
    block: int,
    partitions: int,
    parquet: bool,
) -> None:
    if parquet:
        files = [[line for line in content if not line.malformed] for content in files]
    found = run(tmp_path_factory.mktemp("lines"), files, form, block, partitions, parquet)
    assert found == expect(files, form)


def summed(found: dict[str, Any]) -> tuple[int, int, str]:
    """The paid orders, all orders, and the revenue."""
    return found["paid"], found["all"], str(found["revenue"])


def test_an_order_counts_once_and_each_of_its_lines_adds_its_amount(tmp_path: Path) -> None:
    files = [[Line("a"), Line("a", price="3.50", total="3.50"), Line("b")]]
    assert summed(run(tmp_path, files, Form(), 700, 1)) == (2, 2, "7.50")


def test_fields_that_stand_in_an_orders_first_line_alone_hold_for_the_lines_below_it(tmp_path: Path) -> None:
    files = [[Line("a"), Line("", status=""), Line("b", status="pending"), Line("b", status=""), Line("c", status="")]]
    found = run(tmp_path, files, Form(fills=True), 150, 2)
    assert summed(found) == (1, 2, "4.00")
    assert found["rejected"] == {(0, 5): ["unknown_status"]}  # b's status isn't c's


def test_nothing_is_filled_down_into_another_file(tmp_path: Path) -> None:
    files = [[Line("a")], [Line("a", status=""), Line("")]]
    found = run(tmp_path, files, Form(fills=True), 700, 1)
    assert found["rejected"] == {(1, 1): ["unknown_status"]}
    assert summed(found) == (1, 1, "4.00")


@pytest.mark.parametrize("partitions", [1, 2, 5])
@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\v", ""])
def test_an_id_of_any_white_space_is_none_where_ids_are_filled_down(
    tmp_path: Path, blank: str, partitions: int
) -> None:
    files = [[Line(blank), Line(blank), *[Line("a"), Line(blank), Line(blank)] * 2, Line("b"), Line(blank)]]
    found = run(tmp_path, files, Form(fills=True), 60, partitions)
    assert found["rejected"] == {(0, 1): ["missing_order_id"], (0, 2): ["missing_order_id"]}
    assert summed(found) == (2, 2, "16.00")


@pytest.mark.parametrize(("block", "partitions"), [(20, 1), (20, 3), (60, 2), (700, 1), (700, 4)])
def test_a_line_without_an_id_behind_a_malformed_row_is_of_no_order(
    tmp_path: Path, block: int, partitions: int
) -> None:
    lost, malformed = Line("", status=""), Line(malformed=True)
    files = [[Line("a"), lost, malformed, lost, lost, Line("a"), lost, Line("b"), malformed, Line("b"), lost]]
    found = run(tmp_path, files, Form(fills=True), block, partitions)
    without, fields = ["missing_order_id", "unknown_status"], ["wrong_number_of_fields"]
    assert found["rejected"] == {(0, 3): fields, (0, 4): without, (0, 5): without, (0, 9): fields}
    assert summed(found) == (2, 2, "14.00")


@pytest.mark.parametrize("cut", range(1, 7))
def test_furniture_ends_no_run_and_what_it_stands_beside_says_nothing_of_it(cut: int) -> None:
    rows = [("k", "a"), ("f", ""), ("k", ""), ("m", ""), ("f", ""), ("k", ""), ("k", "a")]
    blocks = [made(rows[:cut], 0), made(rows[cut:], cut)]
    found = told(blocks, OrderForm(rows="line", fill_down=["order_id"]))
    assert (found["ids"], found["kept"]) == (["a", "a", "", "a"], [(0, 0), (2, 0), (5, 1), (6, 2)])


@pytest.mark.parametrize("partitions", [1, 2, 3])
def test_an_orders_head_is_its_first_paid_line_wherever_its_unpaid_lines_stand(tmp_path: Path, partitions: int) -> None:
    unpaid, paid = Line("a", status="pending"), Line("a", total="9.00", price="9.00")
    files = [[unpaid, Line("b"), unpaid], [Line("c"), paid, paid], [paid]]
    found = run(tmp_path, files, Form(own_total=False), 150, partitions)
    assert summed(found) == (3, 3, "31.00")
    found = run(tmp_path / "own", files, Form(own_total=True), 150, partitions)
    assert summed(found) == (3, 3, "13.00")


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_rejected_line_rejects_its_order_wherever_its_lines_stand_if_the_profile_says_so(
    tmp_path: Path, partitions: int
) -> None:
    files = [[Line("a"), Line("b"), Line("b")], [Line("c"), Line("a", price="x")], [Line("a")]]
    rejected = {(0, 1): ["line_of_rejected_order"], (1, 2): ["unreadable_price"], (2, 1): ["line_of_rejected_order"]}
    found = run(tmp_path / "order", files, Form(whole=True), 150, partitions)
    assert (summed(found), found["rejected"]) == ((2, 2, "6.00"), rejected)
    found = run(tmp_path / "line", files, Form(), 150, partitions)
    assert (summed(found), found["rejected"]) == ((3, 3, "10.00"), {(1, 2): ["unreadable_price"]})


def test_a_malformed_row_rejects_the_order_in_whose_lines_it_stands(tmp_path: Path) -> None:
    malformed = Line(malformed=True)
    files = [[Line("a"), malformed, Line("a"), Line("b"), malformed, Line("c")], [Line("a")]]
    found = run(tmp_path, files, Form(whole=True), 150, 2)
    fields, order = ["wrong_number_of_fields"], ["line_of_rejected_order"]
    assert found["rejected"] == {(0, 1): order, (0, 2): fields, (0, 3): order, (0, 5): fields, (1, 1): order}
    assert summed(found) == (2, 2, "4.00")  # nobody knows whose line the second one was


def test_a_line_that_is_there_twice_neither_counts_again_nor_rejects_its_order(tmp_path: Path) -> None:
    files = [[Line("a", 1), Line("a", 2), Line("a", 1)], [Line("a", 2)]]
    found = run(tmp_path, files, Form(keyed=True, whole=True), 150, 2)
    assert summed(found) == (1, 1, "4.00")
    assert found["rejected"] == {(0, 3): ["duplicate_line"], (1, 1): ["duplicate_line"]}


def test_an_orders_total_that_differs_from_that_of_its_first_line_is_rejected(tmp_path: Path) -> None:
    files = [[Line("a"), Line("a", price="3.50", total="3.50"), Line("a", price="2", total="2"), Line("b")]]
    found = run(tmp_path, files, Form(own_total=True), 700, 1)
    assert (summed(found), found["rejected"]) == ((2, 2, "4.00"), {(0, 2): ["differing_total"]})


@pytest.mark.parametrize("whole", [False, True])
def test_the_newer_total_of_an_order_counts_where_the_last_rows_with_a_key_do(tmp_path: Path, whole: bool) -> None:
    older, newer = [{"price": each, "total": each} for each in ("10.00", "20.00")]
    run_of_a = [Line("a", 1, **older), Line("a", 2, **older), Line("a", 1, **newer), Line("a", 2, **newer)]
    form = Form(own_total=True, keyed=True, last=True, whole=whole)
    found = run(tmp_path, [run_of_a], form, 700, 1)
    assert found["rejected"] == {(0, 1): ["duplicate_line"], (0, 2): ["duplicate_line"]}
    assert summed(found) == (1, 1, "20.00")


def test_a_newer_row_with_another_total_than_the_line_that_counts_replaces_none(tmp_path: Path) -> None:
    other = [{"price": each, "total": each} for each in ("30.00", "20.00")]
    files = [[Line("a", 1, **other[0]), Line("a", 1), Line("a", 2), Line("a", 1, **other[1])]]
    found = run(tmp_path, files, Form(own_total=True, keyed=True, last=True), 700, 1)
    assert found["rejected"] == {(0, 1): ["duplicate_line"], (0, 4): ["differing_total"]}
    assert summed(found) == (1, 1, "2.00")


def test_partitions_are_checked_once_when_the_lines_of_each_order_stand_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = list[int]()

    def counting(task: Any, part: Any, *others: Any) -> Any:
        checked.append(part.number)
        return check(task, part, *others)

    check = partition.check_partition
    monkeypatch.setattr(partition, "check_partition", counting)
    files = [[Line(order, line) for order in "abcdefgh" for line in (1, 2, 3)], [Line("i")]]
    form = Form(keyed=True, whole=True)
    assert summed(run(tmp_path, files, form, 150, 4)) == (9, 9, "50.00")
    assert checked == [0, 1, 2, 3]
    checked.clear()
    run(tmp_path / "again", [*files, [Line("a", 9)]], form, 150, 4)
    assert checked == [0, 1, 2, 3, 3]  # only the partition whose line is another order's head no more


@pytest.mark.parametrize("partitions", range(1, 10))
def test_no_partition_begins_within_an_orders_lines(tmp_path: Path, partitions: int) -> None:
    content = [Line("a"), Line("a"), Line("", malformed=True), Line("a"), Line(""), Line("b"), *[Line("c")] * 5]
    run(tmp_path, [content], Form(fills=True), 40, partitions)
    plan = json.loads((tmp_path / "run/split/partitions.json").read_text())
    firsts = {part["first_row"] for each in plan["partitions"] for part in each["ranges"]}
    assert firsts <= {1, 6, 7}
    assert (len(firsts) > 1) == (partitions > 2)  # half of the rows end within the last order


def test_more_lines_in_one_order_than_memory_holds_are_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "RUN_ROWS", 10)
    files = [[Line("b"), *[Line("a")] * 30]]
    with pytest.raises(InputError, match=r"0\.in has an order whose lines, .* from row 2, are more than 10 rows"):
        run(tmp_path, files, Form(), 100, 3)


blocks = st.lists(
    st.lists(st.tuples(st.sampled_from(["k", "k", "k", "m", "f"]), st.sampled_from(["a", "b", ""])), min_size=1),
    max_size=6,
)


def made(rows: list[tuple[str, str]], first: int) -> Block:
    """A block of kept, malformed or furniture rows; each has a line end inside, and the kept ones look like two."""
    kept = [at for at, (kind, _) in enumerate(rows) if kind == "k"]
    return Block(
        rows=len(rows),
        fields=pa.table({"order_id": pa.array([rows[at][1] for at in kept], pa.string())}),
        kept=np.array(kept, np.int64),
        malformed={at: "bad" for at, (kind, _) in enumerate(rows) if kind == "m"},
        raw=lambda which: pa.array([str(first + at) for at in which.tolist()], pa.string()),
        lines=BlockLines(len(rows), dict.fromkeys(kept, 1)),
        furniture=np.array([at for at, (kind, _) in enumerate(rows) if kind == "f"], np.int64),
    )


def told(blocks: list[Block], order: OrderForm) -> dict[str, Any]:
    """All that the blocks of whole runs say, by the places of rows in the file."""
    at, run = 0, 0
    said: dict[str, Any] = defaultdict(list)
    for block in runs.whole_runs(blocks, Profile("mine", order=order), "x"):
        assert block.runs is not None
        assert block.furniture is not None
        assert block.lines is not None
        said["kept"] += zip((at + block.kept).tolist(), (run + block.runs).tolist(), strict=True)
        said["ids"] += block.texts["order_id"].to_pylist()
        said["malformed"] += [at + row for row in block.malformed]
        said["furniture"] += (at + block.furniture).tolist()
        said["several"] += [at + row for row in block.lines.several]
        said["inside"].append(block.lines.inside)
        said["raw"] += block.raw(np.arange(block.rows)).to_pylist()
        at, run = at + block.rows, run + int(block.runs.max(initial=-1)) + 1
    return {**said, "inside": sum(said["inside"])}


@given(blocks, st.booleans())
def test_blocks_that_cut_runs_become_blocks_of_whole_runs_with_the_same_rows(
    cut: list[list[tuple[str, str]]], fills: bool
) -> None:
    order = OrderForm(rows="line", fill_down=["order_id"] if fills else [])
    rows = list(chain.from_iterable(cut))
    starts = np.cumsum([0, *map(len, cut)]).tolist()
    found = told([made(each, start) for each, start in zip(cut, starts, strict=False)], order)
    assert found == told([made(rows, 0)] if rows else [], order)
    kinds = {"malformed": "m", "furniture": "f", "several": "k"}
    for name, kind in kinds.items():
        assert found.get(name, []) == [at for at, (each, _) in enumerate(rows) if each == kind]
    assert found.get("raw", []) == [str(at) for at in range(len(rows))]
    assert found["inside"] == len(rows)


def test_returns_are_no_heads_of_orders_and_have_their_own_totals() -> None:
    block = replace(made([("k", "a")] * 4 + [("k", "b")] * 2, 0), runs=np.array([0, 0, 0, 0, 1, 1]))
    returns = np.array([True, False, False, True, True, True])
    yes, no = np.ones(6, bool), np.zeros(6, bool)
    lines = Lines(
        pa.array(list("aaaabb")), passing=yes, repeated=no, unpaid=no, returns=returns, says=np.zeros(6, np.int64)
    )
    found = find_heads(block, lines, False, duplicates.NOTHING, 0)
    assert np.flatnonzero(found.heads & ~returns).tolist() == [1]
    assert np.flatnonzero(found.heads & returns).tolist() == [0, 4]
    assert found.ids.to_pylist() == ["a"]  # b's lines only give back, and so b is no order
    totals = pa.array([Decimal(each) for each in ("-1.00", "9.00", "9.00", "-2.00", "-1.00", "-1.00")], MONEY)
    assert np.flatnonzero(differing_totals(np.array(block.runs), totals, returns, yes)).tolist() == [3]
