"""Polluted files of orders, as benchmarks/trust.py has them: daskjobs is right or tells, and touches no other row."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import trust
from daskjobs.errors import DaskjobsError
from manifests import ROOT
from pollutions import IDS, ORDERS, Pollution, pollutions
from trust import REPORTED, RIGHT, Found

POLLUTIONS = pollutions()
QUICK = POLLUTIONS[7::41]


def assert_right_or_reported(pollution: Pollution, folder: Path) -> str:
    """Read a file; hold every order against what may become of it, and every row against the ledger."""
    folder.mkdir()
    (folder / "orders.csv").write_bytes(pollution.data)
    try:
        found = trust.by_daskjobs(folder / "orders.csv", folder)
    except DaskjobsError:
        return REPORTED
    outcome = trust.judged(pollution, found)
    assert outcome in (RIGHT, REPORTED), pollution.name
    rows = json.loads((folder / "run/report/quality.json").read_bytes())["rows"]
    assert rows["in"] == rows["valid"] + rows["rejected"], pollution.name
    raw = "\n".join(pq.read_table(folder / "run/merge/quarantine.parquet")["raw"].to_pylist())
    read = {str(order[0]).strip(trust.QUOTES) for order in found.orders}
    if pollution.right:
        missing = set(pollution.right) - read
        assert missing <= pollution.touched, pollution.name  # no other row
        assert all(order in raw for order in missing), pollution.name  # and what isn't counted is there to be mended
    return outcome


@pytest.mark.parametrize("pollution", QUICK, ids=lambda each: f"{each.group}: {each.name}")
def test_polluted_file_is_read_rightly_or_reported(pollution: Pollution, tmp_path: Path) -> None:
    assert_right_or_reported(pollution, tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_every_polluted_file_is_read_rightly_or_reported(part: int, tmp_path: Path) -> None:
    for number, pollution in enumerate(POLLUTIONS[part::8]):
        assert_right_or_reported(pollution, tmp_path / f"{number}")


@pytest.mark.slow
def test_whole_command_comes_to_the_same_as_the_stages_in_this_process(tmp_path: Path) -> None:
    for pollution in POLLUTIONS[50 :: len(POLLUTIONS) // 6]:
        expected = assert_right_or_reported(pollution, tmp_path / pollution.name.replace(" ", "-"))
        assert trust.outcome(trust.COMMAND, pollution) == expected, pollution.name


@pytest.mark.parametrize("page", ["README.md", "benchmarks/README.md"])
def test_tables_of_the_pages_are_of_these_files(page: str) -> None:
    table = (ROOT / page).read_text().partition("| right | reported | wrong in silence |")[2].partition("\n\n")[0]
    counts = {
        name: list(map(int, found))
        for name, *found in re.findall(r"^\| (.+?) \| (\d+) \| (\d+) \| (\d+) \|", table, re.M)
    }
    assert {name.split()[0] for name in counts} >= {"daskjobs", "pandas", "Polars", "DuckDB"}
    assert {sum(found) for found in counts.values()} == {len(POLLUTIONS)}
    assert counts["daskjobs"][2] == 0


def test_files_differ_and_each_has_a_name() -> None:
    assert len({each.data for each in POLLUTIONS}) > 0.95 * len(POLLUTIONS) > 500
    assert len({(each.group, each.name) for each in POLLUTIONS}) == len(POLLUTIONS)


def found(*ids: str, rejected: int = 0, **changed: object) -> Found:
    orders = [
        trust.order(dict(zip(trust.COLUMNS, order, strict=True)) | changed) for order in ORDERS if order[0] in ids
    ]
    return Found(orders, rejected)


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (found(*IDS), RIGHT),
        (found(*IDS, rejected=1), RIGHT),
        (found("A2", "A3", "A4", "A5", rejected=1), REPORTED),
        (found("A2", "A3", "A4", "A5"), trust.WRONG),
        (found("A2", "A3", "A4", rejected=2), REPORTED),
        (found("A2", "A3", "A4", rejected=1), trust.WRONG),
        (found(*IDS, region="elsewhere"), trust.WRONG),
        (found(*IDS, total_amount="0.01"), trust.WRONG),
        (Found([*found(*IDS).orders, found("A1").orders[0]], 1), trust.WRONG),
    ],
)
def test_result_is_judged_by_every_order_of_the_file(result: Found, outcome: str) -> None:
    """The first order is the polluted one."""
    assert trust.judged(Pollution("", "", b"", frozenset(["A1"])), result) == outcome
