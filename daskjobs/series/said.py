"""What is said of a history, on its page and in the terminal."""

from daskjobs.orders.report.html import amount, counted
from daskjobs.series.history import History, OtherRun

TITLE = "Orders history: "


def total_lines(history: History) -> list[str]:
    """Say what the good runs come to, a line for each currency, and whether each order counts once."""
    if not history.totals:
        return ["no orders, since there is no good run"]
    once = "each order once" if history.exact else "not certain"
    said = []
    for total in history.totals:
        revenue = f"{amount(total.revenue)}{f' {total.currency}' if total.currency else ''}"
        runs = counted(total.runs, "good run")
        said.append(f"{counted(total.orders, 'order')}, revenue {revenue}, of {runs}, {days_text(history)}, {once}")
    return said


def days_text(history: History) -> str:
    """Say from which day to which the good runs are."""
    return history.first if history.first == history.last else f"{history.first} to {history.last}"


def missing_texts(history: History) -> list[str]:
    """Say which days no good run covers, and what other runs have of them."""
    return [each.day + (_elsewhere(each.orders) if each.orders else "") for each in history.missing or ()]


def _elsewhere(orders: int) -> str:
    return f" ({counted(orders, 'paid order')} of it in runs of other days)"


def named(day: str, run: str) -> str:
    """Return a run's day and its name, unless this says no more."""
    return day if run == day else f"{day} {run}"


def not_good_text(run: OtherRun) -> str:
    """Say how far a run came that has no report."""
    done = f"its last stage done is {run.stage}" if run.stage else "no stage is done"
    return f"it has no report, and is not counted; {done}"
