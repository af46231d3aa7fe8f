"""What `explain --id` says an order has counted, held against nights that are counted a second time, row by row."""

import random
import re
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

import inline
from conftest import csv_text, row
from daskjobs.cli.explain import explain as command
from daskjobs.orders.schema import COLUMNS
from daskjobs.series.history import history
from daskjobs.stages import STAGES
from daskjobs.stages.explain import nights

FURNITURE = '[furniture]\nlines = ["^Total"]\n'
BY_USER = '[order]\nkey = ["order_id", "user_id"]\n'
IDS, FILLER = ("A", "B", "C"), "Z"  # each night has one row of the latter, since a run that rejects all rows fails


@dataclass(frozen=True)
class Kind:
    """A profile, the columns that say which rows are the same order, and what else its rows may have."""

    profile: str = ""
    key: tuple[str, ...] = ("order_id",)
    returns: bool = False
    refunds: bool = False
    version: bool = False
    furniture: bool = False


KINDS = {
    "plain": Kind(),
    "key": Kind(BY_USER, ("order_id", "user_id")),
    "key without the id": Kind('[order]\nkey = ["user_id", "region"]\n', ("user_id", "region")),
    "furniture": Kind(FURNITURE, furniture=True),
    "key and furniture": Kind(BY_USER + FURNITURE, ("order_id", "user_id"), furniture=True),
    "returns": Kind(f'{BY_USER}returns = "subtract"\n', ("order_id", "user_id"), returns=True),
    "refunds": Kind('[order]\nrefunds = "back"\n', refunds=True),
    "version": Kind('[order]\nversion = "revision"\n', version=True),
    "all": Kind(
        f'{BY_USER}returns = "subtract"\nrefunds = "back"\nversion = "revision"\n{FURNITURE}',
        ("order_id", "user_id"),
        *[True] * 4,
    ),
}


@dataclass(frozen=True)
class Order:
    """One row, as the second count sees it."""

    fields: dict[str, str]
    cents: int
    version: int
    good: bool

    def text(self) -> str:
        return ",".join([row(**{name: self.fields[name] for name in COLUMNS}), *list(self.fields.values())[-2:]])


def drawn(chance: random.Random, kind: Kind, order_id: str) -> Order:
    quantity = chance.choice([1, 2, 3, -1] if kind.returns else [1, 2, 3])
    cents, hour, revision = chance.choice([100, 999, 1050]), chance.randrange(4), chance.randrange(12)
    good, paid = chance.random() < 0.85, chance.random() < 0.7
    back = chance.choice([0, 50]) if kind.refunds and quantity > 0 else 0
    total = quantity * cents + (0 if good else 1)
    fields = dict.fromkeys(COLUMNS, "") | {
        "order_id": order_id,
        "user_id": chance.choice("12"),
        "region": chance.choice(["north", "south"]),
        "product": "lamp",
        "quantity": str(quantity),
        "price": f"{Decimal(cents).scaleb(-2)}",
        "total_amount": f"{Decimal(total).scaleb(-2)}",
        "payment_mode": "card",
        "status": "success" if paid else "failed",
        "timestamp": f"2026-10-01 {hour:02d}:00:00",
        "revision": str(revision),
        "back": f"{Decimal(back).scaleb(-2)}",
    }
    return Order(fields, total - back if paid else 0, revision if kind.version else hour, good)


def played(folder: Path, kind: Kind, chance: random.Random) -> dict[str, Decimal]:
    """Run some nights; return what each order comes to when they are counted one row after another."""
    held = dict[tuple[str, ...], Order]()
    (folder / "mine.toml").write_text(kind.profile)
    for night, day in enumerate(chance.sample(range(1, 29), chance.randint(2, 4))):
        orders = [drawn(chance, kind, order_id) for order_id in chance.choices(IDS, k=chance.randint(1, 7))]
        filler = drawn(random.Random(1), Kind(), f"{FILLER}{night}")
        orders.append(Order({**filler.fields, "user_id": f"{FILLER}{night}"}, filler.cents, filler.version, True))
        candidates = dict[tuple[str, ...], Order]()
        for each in orders:
            if each.good:
                candidates.setdefault(tuple(each.fields[name] for name in kind.key), each)
        for key, each in candidates.items():
            if key not in held or each.version > held[key].version:
                held[key] = each
        lines = [each.text() for each in orders]
        if kind.furniture:
            lines.insert(chance.randrange(len(lines) + 1), "Total" + "," * (len(COLUMNS) + 1))
        path = folder / f"o{night}.csv"
        path.write_bytes(csv_text(*lines, header=",".join([*COLUMNS, "revision", "back"])))
        inline.run(
            folder / f"runs/n{night}",
            str(path),
            known=str(folder / "runs"),
            again="newest",
            as_of=f"2026-11-{day:02d}",
            partitions=chance.randint(1, 3),
            **({"profile": str(folder / "mine.toml")} if kind.profile else {}),
        )
    found = defaultdict[str, Decimal](Decimal)
    for each in held.values():
        found[each.fields["order_id"]] += Decimal(each.cents).scaleb(-2)
    return found


@pytest.mark.parametrize("name", KINDS)
def test_what_is_counted_of_each_order_is_what_a_second_count_of_the_nights_says(tmp_path: Path, name: str) -> None:
    for seed in range(4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        expected = played(folder, KINDS[name], random.Random(f"{name} {seed}"))
        series, told = str(folder / "runs"), dict[str, Decimal]()
        for order_id in [*IDS, *(each for each in expected if each.startswith(FILLER))]:
            told[order_id] = sum((each.revenue or Decimal() for each in nights(series, order_id)), Decimal())
            last = CliRunner().invoke(command, ["--id", order_id, "--series", series]).stdout.splitlines()[-1]
            said = re.fullmatch(r"counted    (?:never as paid|(\S+) in the revenue(?: of \d runs)?)", last)
            if order_id in expected:
                assert said, last  # and never that it counts more than once
                assert Decimal(said[1] or 0) == expected[order_id], (seed, order_id, last)
        assert told == {order_id: expected.get(order_id, Decimal()) for order_id in told}
        whole = history(series, STAGES)
        assert whole.exact
        assert sum(told.values()) == sum(Decimal(each.revenue) for each in whole.totals)


def told(folder: Path, order_id: str) -> list[str]:
    out = CliRunner().invoke(command, ["--id", order_id, "--series", str(folder / "runs")]).stdout
    return [line.replace(f"file://{folder}/", "").replace(f"{folder}/", "") for line in out.splitlines()]


def by_user(folder: Path, night: int, *rows: dict[str, str], profile: str = BY_USER) -> None:
    (folder / "mine.toml").write_text(profile)
    (folder / f"o{night}.csv").write_bytes(csv_text(*(row(**each) for each in rows)))
    series = {"known": str(folder / "runs"), "again": "newest", "as_of": f"2026-11-0{night}", "partitions": 1}
    inline.run(folder / f"runs/n{night}", str(folder / f"o{night}.csv"), profile=str(folder / "mine.toml"), **series)


FIRST = dict(order_id="A", user_id="1", price="9.99", total_amount="9.99", quantity="1")
NEWER = FIRST | dict(price="5.00", total_amount="5.00", timestamp="2026-10-02 12:00:00")


def test_the_row_that_replaces_another_has_its_number_where_its_time_tells_it(tmp_path: Path) -> None:
    by_user(tmp_path, 1, FIRST)
    by_user(tmp_path, 2, row_of("2"), NEWER)
    assert told(tmp_path, "A")[-6:] == [
        "row        2 of o2.csv",
        "paid       5.00, with the status success, of 2026-10-02 12:00:00",
        "replaces   row 1 of o1.csv in runs/n1, with another price, total_amount, timestamp; -9.99 in the revenue",
        "row        one of o2.csv",
        "paid       7.00, with the status success, of 2026-10-02 13:00:00",
        "counted    12.00 in the revenue",
    ]


def row_of(user: str, **more: str) -> dict[str, str]:
    return NEWER | dict(user_id=user, price="7.00", total_amount="7.00", timestamp="2026-10-02 13:00:00") | more


def test_what_is_replaced_is_told_once_where_nobody_knows_by_which_of_the_rows(tmp_path: Path) -> None:
    by_user(tmp_path, 1, FIRST)
    by_user(tmp_path, 2, row_of("2", timestamp=NEWER["timestamp"]), NEWER)
    assert told(tmp_path, "A")[-2:] == [
        "replaces   row 1 of o1.csv in runs/n1, by row 2 of o2.csv, with another price, total_amount, timestamp; "
        "-9.99 in the revenue",
        "counted    12.00 in the revenue",
    ]


def test_an_order_that_a_row_with_another_id_replaces_counts_no_more(tmp_path: Path) -> None:
    key = '[order]\nkey = ["user_id"]\n'
    by_user(tmp_path, 1, FIRST, profile=key)
    by_user(tmp_path, 2, NEWER | dict(order_id="B"), profile=key)
    assert told(tmp_path, "A")[-3:] == [
        "2026-11-02 runs/n2",
        "replaces   row 1 of o1.csv in runs/n1, by row 1 of o2.csv, with another order_id; -9.99 in the revenue",
        "counted    0.00 in the revenue",
    ]
    assert told(tmp_path, "B")[-1] == "counted    5.00 in the revenue"


def test_a_row_with_the_id_and_another_key_is_counted_besides_and_one_with_the_same_key_twice(tmp_path: Path) -> None:
    for night, each in enumerate((FIRST, row_of("2"), NEWER), 1):
        (tmp_path / "mine.toml").write_text(BY_USER)
        (tmp_path / f"o{night}.csv").write_bytes(csv_text(row(**each)))
        profile, day = str(tmp_path / "mine.toml"), f"2026-11-0{night}"
        inline.run(tmp_path / f"runs/n{night}", str(tmp_path / f"o{night}.csv"), profile=profile, as_of=day)
        assert ("more than once" in told(tmp_path, "A")[-1]) == (night == 3)
    assert told(tmp_path, "A")[-1].startswith("counted    21.99 in the revenue of 3 runs, so more than once: --known")


def test_an_order_that_counts_again_after_a_correction_is_said_to(tmp_path: Path) -> None:
    by_user(tmp_path, 1, FIRST)
    by_user(tmp_path, 2, NEWER)
    inline.run(tmp_path / "runs/n3", str(tmp_path / "o2.csv"), profile=str(tmp_path / "mine.toml"), as_of="2026-11-03")
    assert told(tmp_path, "A")[-1].startswith("counted    10.00 in the revenue of 2 runs, so more than once: --known")


def test_what_is_taken_back_of_a_run_that_was_made_again_is_said_to_be_uncertain(tmp_path: Path) -> None:
    for night, each in ((1, FIRST), (2, NEWER), (1, FIRST | dict(price="8.00", total_amount="8.00"))):
        by_user(tmp_path, night, each, profile='[order]\nrepeats = "first"\n')
    assert told(tmp_path, "A")[-2:] == [
        "counted    3.01 in the revenue of 2 runs",
        "not certain: n2 has replaced a row of n1 as it was before: run n2 again",
    ]
