"""An order's life over the runs of a series, held against the files that came in."""

import csv
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import daskjobs
import inline
from conftest import TESTS, Command, csv_text, row
from daskjobs.errors import StorageError
from daskjobs.series.life import Seen, mended
from daskjobs.stages import new_context
from daskjobs.stages.explain import explain, night, nights
from daskjobs.stages.run_settings import Settings

CORPUS = TESTS / "corpus"
ITEMS: dict[str, dict[str, Any]] = yaml.safe_load((CORPUS / "corpus.yaml").read_text())
# Files of each format and dialect, several files, repeated ids, and profiles.
FILES = [
    "plain", "semicolon", "tab", "json_lines", "json_lines_utf16", "json_lines_malformed", "parquet_of_texts", "bom",
    "parquet_of_types", "gzip", "utf16", "duplicate_ids", "quoted_newlines_at_partition_edges", "backslash_escapes",
    "quotes_as_characters", "several_files", "surrounding_spaces", "wrong_number_of_fields", "control_characters",
    "profile_single_quotes", "profile_spark", "profile_mysql_outfile", "profile_title_and_footer",
    "stray_quotes_far_apart", "byte_order_marks_inside", "extra_columns", "statuses_of_theirs", "not_utf8",
]  # fmt: skip


def ran(folder: Path, name: str) -> Any:
    """Run a file of the corpus; return the context of its run."""
    item = ITEMS[name]
    options = {"partitions": 2, **item.get("options", {})}
    if "profile" in item:
        (folder / "mine.toml").write_text(item["profile"])
        options["profile"] = str(folder / "mine.toml")
    inline.run(folder / "run", str(CORPUS / item.get("file", f"{name}.csv")), **options)
    return new_context(Settings.of(run_uri=str(folder / "run")))


def counted(folder: Path) -> list[tuple[str, str]]:
    """The order ids of the valid rows of a run, each with the name of the file of orders that has it."""
    found = []
    for name in ("paid", "unpaid"):
        for path in sorted(folder.glob(f"validate/part-*/{name}.parquet")):
            found += [(name, each) for each in pq.read_table(path, columns=["order_id"])["order_id"].to_pylist()]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_every_row_is_found_by_its_id_where_it_stands_unless_it_is_malformed(tmp_path: Path, name: str) -> None:
    run, ids = ran(tmp_path, name), counted(tmp_path / "run")
    assert len({order_id for _, order_id in ids}) == len(ids) > 0
    for became, order_id in ids:
        (seen,) = night(run, order_id).counted
        assert seen.became == became
        told = explain(run, seen.row, seen.source)  # which reads the file itself
        assert not told.reasons
        assert (told.status == "success") == (became == "paid")
        assert order_id in told.raw
    rejected = pq.read_table(tmp_path / "run/merge/quarantine.parquet").to_pylist()
    broken = {"malformed_json", "wrong_number_of_fields", *(["not_utf8"] if name.startswith("json") else [])}
    malformed = {(each["source"], each["row"]) for each in rejected if broken.intersection(each["reasons"])}
    found = set[tuple[str, int]]()
    for text in {""}.union(*(re.split(r"[\s,;|\"'{}:]+", each["raw"]) for each in rejected)):
        looked = night(run, text)
        assert looked.unread == len(malformed)
        for each in looked.seen:
            if each.became == "rejected":
                assert text in each.raw
                found.add((each.source, each.row))
    assert found == {(each["source"], each["row"]) for each in rejected} - malformed


@pytest.mark.parametrize("shuffled", [False, True])
def test_rows_are_those_that_a_second_reader_finds_among_thousands_with_repeated_ids(
    tmp_path: Path, shuffled: bool
) -> None:
    chance = random.Random(11)
    numbers = list(range(3000))
    if shuffled:
        chance.shuffle(numbers)
    rows = []
    for number in numbers:
        fields = dict(
            order_id=f"A{number - number % 7 if shuffled and chance.random() < 0.1 else number:05d}",
            status=chance.choice(["success", "success", "failed", "lost"]),
            total_amount=chance.choice(["21.00"] * 9 + ["1"]),
        )
        rows.append(row(**fields))
    half = len(rows) // 2
    for name, some in (("a.csv", rows[:half]), ("b.csv", rows[half:])):
        (tmp_path / name).write_bytes(csv_text(*some))
    inline.run(tmp_path / "run", str(tmp_path / "*.csv"), partitions=5)
    expected = dict[str, list[tuple[str, str, int]]]()
    taken = set[str]()
    for name in ("a.csv", "b.csv"):
        for number, line in enumerate(csv.DictReader((tmp_path / name).open(newline="")), 1):
            good = line["status"] != "lost" and line["total_amount"] == "21.00"
            became = (
                "rejected"
                if not good or line["order_id"] in taken
                else "unpaid"
                if line["status"] == "failed"
                else "paid"
            )
            taken |= {line["order_id"]} if good else set()
            expected.setdefault(line["order_id"], []).append((became, f"file://{tmp_path}/{name}", number))
    assert (max(map(len, expected.values())) > 1) == shuffled
    run = new_context(Settings.of(run_uri=str(tmp_path / "run")))
    for order_id in chance.sample(sorted(expected), 60):
        assert [(each.became, each.source, each.row) for each in night(run, order_id).seen] == expected[order_id]


def test_files_that_cannot_have_the_order_are_not_read_and_damaged_ones_are_named(tmp_path: Path) -> None:
    rows = [row(order_id=f"A{number:03d}") for number in range(100)]
    (tmp_path / "mine.csv").write_bytes(csv_text(*rows))
    inline.run(tmp_path / "runs/n1", str(tmp_path / "mine.csv"), partitions=2)
    (tmp_path / "mine.csv").unlink()  # the files that came in are not needed
    damaged = tmp_path / "runs/n1/validate/part-00001/paid.parquet"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    (found,) = nights(str(tmp_path / "runs"), "A007")
    assert [(each.became, each.row) for each in found.seen] == [("paid", 8)]
    with pytest.raises(StorageError, match=r"part-00001/paid.parquet is damaged"):
        list(nights(str(tmp_path / "runs"), "A090"))


def test_an_order_of_lines_is_told_by_each_of_its_lines(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[order]\nrows = "line"\nkey = ["order_id", "product"]\n')
    rows = [row(order_id="L1", product="a"), row(order_id="L1", product="b"), row(order_id="L2", total_amount="1")]
    (tmp_path / "mine.csv").write_bytes(csv_text(*rows))
    inline.run(tmp_path / "run", str(tmp_path / "mine.csv"), profile=str(tmp_path / "mine.toml"))
    run = new_context(Settings.of(run_uri=str(tmp_path / "run")))
    name = f"file://{tmp_path}/mine.csv"
    assert [(each.became, each.source, each.row, each.amount) for each in night(run, "L1").seen] == [
        ("paid", name, 0, "21.00")
    ] * 2
    assert [(each.became, each.row) for each in night(run, "L2").seen] == [("rejected", 3)]


def test_series_in_object_storage_is_looked_at_as_a_folder_is(s3: str, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_bytes(
        csv_text(row(order_id="S1"), row(order_id="S2", price="-1"), row(order_id="S3"))
    )
    daskjobs.run_orders(tmp_path / "mine.csv", run=f"{s3}/life/n1", max_rejected=1, as_of="2026-11-01")
    for order_id, became, number in (("S1", "paid", 1), ("S2", "rejected", 2)):
        (found,) = nights(f"{s3}/life", order_id)
        assert (found.run.day, [(each.became, each.row) for each in found.seen]) == ("2026-11-01", [(became, number)])


def test_order_is_told_on_each_night_with_what_became_of_it(
    tmp_path: Path, orders_file: Callable[..., Path], daskjobs: Command
) -> None:
    wrong = row(order_id="X1", total_amount="21.01")
    right = row(order_id="X1")
    every = [
        [row(), wrong, "broken"],
        [row(), row()],
        [right, row(order_id="X1", price="x")],
        [row(order_id="X1", status="failed")],
    ]
    for number, rows in enumerate(every, 1):
        inline.run(
            tmp_path / f"runs/n{number}", str(orders_file(*rows, name=f"o{number}.csv")), as_of=f"2026-11-0{number}"
        )
    found = list(nights(str(tmp_path / "runs"), "X1"))
    assert [(each.run.day, [seen.became for seen in each.seen], each.unread) for each in found] == [
        ("2026-11-01", ["rejected"], 1),
        ("2026-11-02", [], 0),
        ("2026-11-03", ["paid", "rejected"], 0),
        ("2026-11-04", ["unpaid"], 0),
    ]
    paid = Seen("paid", f"file://{tmp_path}/o3.csv", 1, status="success", amount="21.00", time="2025-03-01 12:00:00")
    assert found[2].seen[0] == paid
    assert found[0].seen[0].raw == wrong
    assert [each and each.run.day for each in mended(found) or ()] == ["2026-11-01", "2026-11-03"]
    told = daskjobs("explain", "--id", "X1", "--series", "runs/")
    assert told.stdout.splitlines() == [
        "order      X1, in 3 of 4 good runs of runs/; 1 row is malformed, and may be of any order",
        "2026-11-01 runs/n1",
        f"row        2 of file://{tmp_path}/o1.csv",
        "rejected   wrong_total: The total_amount is not quantity times price, to the cent.",
        f"text       {wrong}",
        "2026-11-03 runs/n3",
        f"row        1 of file://{tmp_path}/o3.csv",
        "paid       21.00, with the status success, of 2025-03-01 12:00:00",
        f"row        2 of file://{tmp_path}/o3.csv",
        "rejected   unreadable_price: The price is not an amount like 12.34, of whole cents and with at most sixteen "
        "digits before the point.",
        f"text       {every[2][1]}",
        "2026-11-04 runs/n4",
        f"row        1 of file://{tmp_path}/o4.csv",
        "unpaid     21.00, with the status failed, of 2025-03-01 12:00:00",
        "mended     rejected on 2026-11-01, and paid on 2026-11-03",
        "counted    21.00 in the revenue",
    ]


def test_an_order_that_is_nowhere_gets_a_sentence_and_a_folder_without_runs_is_refused(
    tmp_path: Path, daskjobs: Command, orders_file: Callable[..., Path]
) -> None:
    inline.run(tmp_path / "runs/n1", str(orders_file(row(order_id="N1"))))
    assert next(nights(str(tmp_path / "runs"), "N2")).seen == []
    told = daskjobs("explain", "--id", "N2", "--series", "runs", DASKJOBS_RUN="elsewhere")
    assert (told.returncode, told.stdout) == (0, "order      N2 is in no row of 1 good run of runs\n")
    assert daskjobs("explain", "--id", "N2", "--run", "runs/n1").stdout == "order      N2 is in no row of runs/n1\n"
    for option, folder, said in (
        ("--series", "runs/n1", "is a run, and a series is"),
        ("--series", "missing", "--series missing has no good run"),
        ("--run", "runs", "is no run whose rows were checked"),
    ):
        refused = daskjobs("explain", "--id", "N1", option, folder)
        assert refused.returncode == 2
        assert said in refused.stderr
    for asked in (["--row", "1"], ["--reason", "wrong_total"]):
        refused = daskjobs("explain", *asked, "--run", "runs")
        assert refused.returncode == 2
        assert "runs is no run (it has no daskjobs-run.json): name a run's folder" in refused.stderr


def test_order_that_counts_on_two_nights_is_said_to(
    tmp_path: Path, daskjobs: Command, orders_file: Callable[..., Path]
) -> None:
    for number in (1, 2):
        inline.run(tmp_path / f"runs/n{number}", str(orders_file(row(order_id="T1"))), as_of=f"2026-11-0{number}")
    last = daskjobs("explain", "--id", "T1", "--series", "runs").stdout.splitlines()[-1]
    assert last.startswith("counted    42.00 in the revenue of 2 runs, so more than once: --known leaves out what an")


def test_amounts_of_two_currencies_are_not_added_up(
    tmp_path: Path, daskjobs: Command, orders_file: Callable[..., Path]
) -> None:
    (tmp_path / "shop.toml").write_text('[order]\ncurrency = "cur"\n')
    for number, currency in enumerate(["EUR", "USD", "EUR"], 1):
        path = orders_file(row(order_id="C1"), name=f"{number}.csv")
        header, text = path.read_text().splitlines()
        path.write_text(f"{header},cur\n{text},{currency}\n")
        profile, day = str(tmp_path / "shop.toml"), f"2026-11-0{number}"
        inline.run(tmp_path / f"runs/n{number}", str(path), profile=profile, as_of=day)
    last = daskjobs("explain", "--id", "C1", "--series", "runs").stdout.splitlines()[-1]
    assert last.startswith("counted    42.00 EUR and 21.00 USD in the revenue of 3 runs, so more than once")


def test_orders_that_earlier_runs_have_counted_are_told_with_where_these_stand_and_what_is_taken_back(
    tmp_path: Path, daskjobs: Command, orders_file: Callable[..., Path]
) -> None:
    later = "2025-03-02 12:00:00"
    every = [
        [row(order_id="K1"), row(order_id="K2"), row()],
        [row(), row(order_id="K1"), row(order_id="K2", quantity="3", total_amount="31.50", timestamp=later)],
    ]
    for number, rows in enumerate(every, 1):
        path = orders_file(*rows, name=f"o{number}.csv")
        known = {"known": str(tmp_path / "runs"), "again": "newest"} if number > 1 else {}
        inline.run(tmp_path / f"runs/n{number}", str(path), as_of=f"2026-11-0{number}", **known)
    first = f"file://{tmp_path}/o1.csv in runs/n1"
    told = daskjobs("explain", "--id", "K1", "--series", "runs").stdout.splitlines()
    assert told[3].startswith("paid       21.00, ")
    assert told[5:8] == [
        f"row        2 of file://{tmp_path}/o2.csv",
        told[6],
        f"text       {every[1][1]}",
    ]
    assert told[6].startswith("rejected   seen_before: ")
    assert told[8:] == [f"before     row 1 of {first}", "counted    21.00 in the revenue"]
    told = daskjobs("explain", "--id", "K2", "--series", "runs").stdout.splitlines()
    assert told[5:] == [
        f"row        3 of file://{tmp_path}/o2.csv",
        f"paid       31.50, with the status success, of {later}",
        f"replaces   row 2 of {first}, with another quantity, total_amount, timestamp; -21.00 in the revenue",
        "counted    31.50 in the revenue",
    ]


@pytest.mark.parametrize("lines", [False, True])
def test_rules_that_warn_of_an_order_are_told_with_it(
    tmp_path: Path, daskjobs: Command, orders_file: Callable[..., Path], lines: bool
) -> None:
    path = orders_file(row(), row(order_id="W1", total_amount="21.01"), row(order_id="W2"))
    (tmp_path / "mine.toml").write_text('[order]\nrows = "line"\nkey = ["order_id", "product"]\n')
    profile = {"profile": str(tmp_path / "mine.toml")} if lines else {}
    inline.run(tmp_path / "run", str(path), warn="wrong_total", **profile)
    told = daskjobs("explain", "--id", "W1", "--run", "run").stdout.splitlines()
    assert told[1] == f"row        2 of file://{path}"
    assert told[2].startswith("paid       21.01, ")
    assert told[3].startswith("warned     wrong_total: ")
    assert "warned" not in daskjobs("explain", "--id", "W2", "--run", "run").stdout
    listed = daskjobs("explain", "--reason", "wrong_total", "--run", "run").stdout.splitlines()
    assert listed[1] == "warned     1 row"
    assert listed[3].startswith("2          W1,")
