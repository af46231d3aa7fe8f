"""Whatever a profile says, and whatever is in its files: the results are those of an oracle that shares no code."""

import random
from pathlib import Path

import fuzz_profiles
import oracle_profiles
import pytest


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
