"""What is said of a history, on its page and in the terminal."""

from decimal import Decimal

from daskjobs.display import counted
from daskjobs.orders.report.html import amount
from daskjobs.series.history import History, OtherRun, RunRow

TITLE = "Orders history: "
MOST = 30  # runs of a kind that are named


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


def sent_text(row: RunRow) -> str:
    """Say what the sender says of a run's input, if anything: first the number of rows, if that is told."""
    return next((f"{Decimal(sent):,} {what}" for what, sent in row.sent.items()), "")


def missing_text(row: RunRow) -> str:
    """Say how much of that is missing."""
    return next((f"{Decimal(missing):,}" if missing else "unknown" for missing in row.missing.values()), "")


def bad_texts(history: History) -> list[str]:
    """Say which runs can't be read, and why."""
    return [f"{each.run} can't be read, and is not counted: {each.why}" for each in history.bad[:MOST]] + _more(
        len(history.bad), "can't be read"
    )


def not_good_texts(history: History) -> list[str]:
    """Say which runs have no report, the last ones of them, and how far each came."""
    return [
        f"{named(each.day, each.run)} has no report, and is not counted; {_reached(each)}"
        for each in history.not_good[-MOST:]
    ] + _more(len(history.not_good), "have no report")


def _more(count: int, what: str) -> list[str]:
    return [f"{count - MOST:,} more {what}"] if count > MOST else []


def _reached(run: OtherRun) -> str:
    return f"its last stage done is {run.stage}" if run.stage else "no stage is done"
