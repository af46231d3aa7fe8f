"""Which reasons come together, and the first rows of each: counted again from quarantine.csv."""

import csv
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import inline
from conftest import row
from daskjobs.errors import LostWorkError
from daskjobs.orders import samples
from daskjobs.orders.report import quality
from daskjobs.orders.schema import QUARANTINE
from daskjobs.orders.validation import together

SAMPLES = "merge/samples.json"
HOSTILE = ["<script>alert(1)</script>", "\u202egnp", "\x1b[2J", "&amp;", "{0}", "x" * 1_000_000, "a" * 198, "é" * 199]


def many(count: int) -> list[str]:
    """Rows with several faults each, and a single one with another at the end."""
    chance = random.Random(5)
    faults = dict(quantity=["0", "x"], price=["-1", "y"], total_amount=["z", "1"], status=["lost"], timestamp=["noon"])
    rows = [
        row(**{name: chance.choice(faults[name]) for name in faults if chance.random() < 0.3}) for _ in range(count)
    ]
    return [*(row(price="-1", region=each) for each in HOSTILE), *rows, row(order_id="")]


def quarantined(folder: Path) -> list[dict[str, Any]]:
    csv.field_size_limit(1 << 24)
    with (folder / "run/merge/quarantine.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("partitions", [1, 4])
def test_reasons_that_come_together_and_first_rows_are_those_of_the_quarantine(
    tmp_path: Path, orders_file: Callable[..., Path], partitions: int
) -> None:
    path = orders_file(*many(2000))
    inline.run(tmp_path / "run", str(path), block_bytes=1 << 16, partitions=partitions)
    lines = quarantined(tmp_path)
    expected = Counter(line["reasons"] for line in lines)
    told = json.loads((tmp_path / "run/report/quality.json").read_text())
    sets = [(";".join(each["reasons"]), each["rows"]) for each in told["together"]]
    assert sets == sorted(expected.items(), key=lambda pair: (-pair[1], pair[0]))[:50]
    others = sum(expected.values()) - sum(rows for _, rows in sets)
    assert told.get("together_others", 0) == others
    assert sum(rows for _, rows in sets) + others == told["rows"]["rejected"]
    first = json.loads((tmp_path / "run" / SAMPLES).read_text())
    assert list(first) == sorted({reason for line in lines for reason in line["reasons"].split(";")})
    texts = path.read_text().splitlines()
    for reason, found in first.items():
        some = [line for line in lines if reason in line["reasons"].split(";")][:3]
        assert [(each["row"], each["source"]) for each in found] == [
            (int(line["row"]), line["source"]) for line in some
        ]
        for each in found:
            text = texts[each["row"]]
            assert each["text"] == (text if len(text) <= 200 else text[:199] + "…")
    assert len(first["missing_order_id"]) == 1


def test_no_row_is_looked_at_once_all_samples_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = samples.Samples({"a": 5, "b": 1, "absent": 0})
    lines = [
        dict(row=n, source="x", partition=0, reasons=[*"ab"] if n == 4 else ["a"], raw=str(n)) for n in range(1, 6)
    ]
    for line in lines[:4]:
        taken.look(pa.Table.from_pylist([line], QUARANTINE))
    assert {reason: [each.row for each in found] for reason, found in taken.found.items()} == {
        "a": [1, 2, 3],
        "absent": [],
        "b": [4],
    }
    monkeypatch.setattr(samples, "column", None)
    taken.look(pa.Table.from_pylist(lines[4:], QUARANTINE))


def test_sets_beyond_the_bound_are_summed_whatever_the_order_in_which_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "MOST", 7)
    monkeypatch.setattr(quality, "MOST", 7)
    chance = random.Random(2)
    rows = [";".join(sorted(chance.sample("abcdef", chance.randint(1, 6)))) for _ in range(3000)]
    expected = dict(sorted(Counter(rows).items(), key=lambda pair: (len(pair[0]), pair[0]))[:7])
    for _ in range(5):
        parts = [together.Together() for _ in range(4)]
        chance.shuffle(rows)
        for at in range(0, len(rows), 10):
            chance.choice(parts).add(Counter(rows[at : at + 10]))
        whole = together.Together()
        for part in parts:
            whole.add(part.simplest())
        assert whole.simplest() == expected
        sets, others = quality.together(whole.simplest(), len(rows))
        assert sum(each.rows for each in sets) + others == len(rows)


@pytest.mark.parametrize("rejected", [2, 4])
def test_reasons_that_come_together_must_be_those_of_all_rejected_rows(rejected: int) -> None:
    assert quality.together({"a;b": 1, "c": 2}, 3) == (
        [quality.ReasonSet(["c"], 2), quality.ReasonSet(["a", "b"], 1)],
        0,
    )
    with pytest.raises(LostWorkError, match=f"are those of 3 rows, and {rejected} were rejected"):
        quality.together({"a;b": 1, "c": 2}, rejected)
