"""Whatever a profile says, and whatever is in its files: the results are those of an oracle that shares no code."""

import csv
import random
from pathlib import Path

import fuzz_profiles
import oracle_profiles
import pytest

import inline
import oracle


def results_are_the_oracles(folder: Path, seed: str) -> None:
    chance = random.Random(seed)
    drawn = fuzz_profiles.draw(chance)
    files = {f"f{at}.csv": fuzz_profiles.write(drawn, chance, 20 * at) for at in range(chance.randint(1, 3))}
    outcome = fuzz_profiles.one(folder, drawn, files, chance)
    assert outcome == "as the oracle says" or outcome.startswith("refused"), outcome


@pytest.mark.parametrize("seed", range(24))
def test_report_is_the_oracles_by_a_drawn_profile(tmp_path: Path, seed: int) -> None:
    results_are_the_oracles(tmp_path, f"quick {seed}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_reports_are_the_oracles_by_many_drawn_profiles(tmp_path: Path, seed: int) -> None:
    for number in range(20):
        (folder := tmp_path / str(number)).mkdir()
        results_are_the_oracles(folder, f"slow {seed} {number}")


PLACES = (
    'rows = "line"\ntotal = "Total"\nrefunds = "Back"\n',
    'rows = "line"\ntotal = "Total"\nrejects = "order"\n',
    'rows = "line"\nrefunds = "Back"\nfill_down = ["refunds"]\n',
    'rows = "line"\ntotal = "Total"\nreturns = "subtract"\nkey = ["order_id", "Line"]\n',
    'returns = "subtract"\n',
    'returns = "subtract"\nkey = ["Line"]\n',
)


@pytest.mark.parametrize("order", PLACES)
def test_what_another_place_says_otherwise_is_warned_of_where_the_oracle_says_so(tmp_path: Path, order: str) -> None:
    chance, warned = random.Random(order), 0
    (tmp_path / "mine.toml").write_text(f"[order]\n{order}")
    for trial in range(12):
        files = {}
        for name in ("a.csv", "b.csv"):
            lines = [f"{','.join(oracle.COLUMNS)},Total,Back,Line"]
            for _ in range(chance.randint(0, 14)):
                total, back = chance.choice(("5.00", "6.00", "-5.00")), chance.choice(("0", "1.00"))
                own = "-1,5.00,-5.00" if total.startswith("-") else "1,5.00,5.00"
                status = chance.choice(("success", "success", "failed"))
                row = f"{chance.choice('ABC')},u,r,p,{own},card,{status},2025-04-02,{total},{back}"
                lines += [f"{row},{chance.choice('1234')}"] * chance.choice((1, 1, 2))
            files[name] = "".join(f"{line}\n" for line in lines).encode()
        folder = tmp_path / str(trial)
        (folder / "in").mkdir(parents=True)
        for name, data in files.items():
            (folder / "in" / name).write_bytes(data)
        given = {"partitions": chance.randint(1, 5), "profile": str(tmp_path / "mine.toml")}
        results = inline.run(folder / "run", str(folder / "in/*"), chance.choice((100, 1 << 22)), **given)
        books = oracle_profiles.expect(files, (tmp_path / "mine.toml").read_text())
        fuzz_profiles.assert_books(results, books)
        path = folder / "run/merge/warned.csv"
        told = list(csv.DictReader(path.open())) if path.exists() else []
        assert [(each["source"].rsplit("/", 1)[-1], int(each["row"])) for each in told] == books.warned
        warned += len(books.warned)
    assert (warned > 0) == ("key" not in order or "rows" in order)


def test_oracle_counts_an_order_of_several_lines_once_and_its_refund_too() -> None:
    """Worked out by hand: A has two lines of 10.00 and 5.00, and 2.00 back; B is a return of 3.00; C isn't paid."""
    profile = '[order]\nrows = "line"\nfill_down = true\nrefunds = "Back"\nreturns = "subtract"\n'
    header = "order_id,user_id,region,product,quantity,price,total_amount,payment_mode,status,timestamp,Back\n"
    rows = (
        "A,u,r,p,2,5.00,10.00,card,success,2025-04-02,2.00\n"
        "A,,,p,1,5.00,5.00,,,,\n"
        "B,u,r,p,-1,3.00,-3.00,card,success,2025-04-02,\n"
        "C,u,r,p,1,1.00,1.00,card,pending,2025-04-02,\n"
    )
    books = oracle_profiles.expect({"x.csv": (header + rows).encode()}, profile)
    assert (books.orders, str(books.gross), str(books.refunded), dict(books.unpaid)) == (
        1,
        "15.00",
        "5.00",
        {"pending": 1},
    )
    assert books.rejected == []
