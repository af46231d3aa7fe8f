"""The command that shows a row, the rows with a reason, or an order's life in many runs."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from daskjobs.cli.parameters import option, settings
from daskjobs.cli.streams import check_written
from daskjobs.cli.terminal import say, short
from daskjobs.display import counted, escaped
from daskjobs.errors import UsageError
from daskjobs.stages import new_context
from daskjobs.stages.run_settings import Context

if TYPE_CHECKING:
    from daskjobs.series.life import Before, Night, Seen

MOST = 20  # rows with a reason
TEXT = 1000  # characters of a row in a list
# What can be asked for, by its option: those of which it needs one, and those that it may have.
ASKED = {
    "--row": (["--run"], ["--source", "--input"]),
    "--reason": (["--run"], ["--most"]),
    "--id": (["--run", "--series"], []),
}


@click.command()
@option("--run", default="", envvar="DASKJOBS_RUN", show_envvar=True, help="Where the run's files are.")
@option("--row", type=click.IntRange(1), help="Show this row: its number in its file, from 1.")
@option("--source", default="", help="With --row: its file, or the end of its name, if the input has several.")
@option(
    "--input",
    "patterns",
    multiple=True,
    help="With --row: the run's --input again, where its URI has a password or token: these are stored nowhere.",
)
@option(
    "--reason",
    default="",
    help="List the rows that were rejected for this reason, or that this rule warns of.",
)
@option("--most", type=click.IntRange(1), help=f"With --reason: list at most so many rows.  [default: {MOST}]")
@option("--id", "order_id", default="", help="Show all rows with this order id: paid, unpaid, or why rejected.")
@option("--series", default="", help="With --id, instead of --run: look at all good runs in this folder of runs.")
def explain(**given: Any) -> None:
    """Show what became of a row of the input, of the rows with a reason, or of an order in many runs."""
    asked = _asked(given)
    if asked == "--id" and given["series"]:
        lines = _life(given["order_id"], given["series"])
    else:
        context = new_context(settings({"run_uri": given["run"], "input": given["patterns"]}))
        match asked:
            case "--row":
                lines = _row(context, given["row"], given["source"])
            case "--reason":
                lines = _rejected(context, given["reason"], given["most"] or MOST)
            case _:
                lines = _night(context, given["order_id"])
    for line in lines:
        say(line)
    check_written()


def _asked(given: dict[str, Any]) -> str:
    """Return which option of `ASKED` is given. Raises UsageError unless it is one, with what it needs and may have."""
    command = click.get_current_context()
    there = {each.opts[0] for each in command.command.params if given.get(str(each.name))}
    if "--series" in there and command.get_parameter_source("run") is ParameterSource.ENVIRONMENT:
        there.discard("--run")
    asked = [flag for flag in ASKED if flag in there]
    if len(asked) != 1:
        raise UsageError(
            "explain shows a row (--row), the rows with a reason (--reason), or an order (--id): give one of these, "
            f"got {' and '.join(asked) or 'none'}"
        )
    needed, allowed = ASKED[asked[0]]
    if useless := sorted(there - {asked[0], *needed, *allowed}):
        raise UsageError(f"{useless[0]} means nothing with {asked[0]}: leave it out")
    if not there.intersection(needed):
        raise UsageError(f"{asked[0]} needs {' or '.join(needed)}: where the files are")
    if len(needed) > 1 and there.issuperset(needed):
        raise UsageError(f"{asked[0]} needs {' or '.join(needed)}, not both: one run, or a folder of runs")
    return asked[0]


def _row(context: Context, row: int, source: str) -> Iterator[str]:
    from daskjobs.stages.explain import explain  # imported late: it loads pyarrow

    explained = explain(context, row, source)
    yield f"row        {explained.row} of {explained.source}"
    yield f"partition  {explained.partition}"
    yield from explained.verdict
    yield f"text       {explained.raw}"


def _rejected(context: Context, reason: str, most: int) -> Iterator[str]:
    from daskjobs.stages.explain import rejected_for

    found = rejected_for(context, reason, most)
    yield f"reason     {found.reason}: {found.sentence}"
    shown = f", of which these are the first {len(found.first):,}" if len(found.first) < found.rows else ""
    yield f"{'warned' if found.warns else 'rejected':<10} {counted(found.rows, 'row')}{shown}"
    source = ""
    for each in found.first:
        if each.source != source:
            source = each.source
            yield f"file       {source}"
        yield f"{each.row:<10} {_cut(each.raw)}"
        if others := [name for name in each.reasons if name != reason]:
            yield f"           also {', '.join(others)}"


def _night(context: Context, order_id: str) -> Iterator[str]:
    from daskjobs.stages.explain import night

    found = night(context, order_id)
    if not found.seen:
        yield f"order      {order_id} is in no row of {short(found.run.uri)}{_unread([found])}"
        return
    yield f"order      {order_id}, in {counted(len(found.seen), 'row')} of {short(found.run.uri)}{_unread([found])}"
    yield from _rows_of(found)


def _life(order_id: str, series: str) -> Iterator[str]:
    from daskjobs.series.life import mended, outdated
    from daskjobs.stages.explain import nights

    every = list(nights(series, order_id))
    some = [each for each in every if each.seen or each.replaced]
    runs = f"{counted(len(every), 'good run')} of {series}{_unread(every)}"
    if not some:
        yield f"order      {order_id} is in no row of {runs}"
        return
    yield f"order      {order_id}, in {len(some):,} of {runs}"
    for each in some:
        yield f"{each.run.day} {short(each.run.uri)}"
        yield from _rows_of(each)
    if found := mended(some):
        before, after = found
        yield f"mended     rejected on {before.run.day}, and {after.counted[0].became} on {after.run.day}"
    yield from _counted(some)
    for name, other in outdated(some, [each.run for each in every]):
        yield f"not certain: {name} has replaced a row of {other} as it was before: run {name} again"


def _rows_of(night: "Night") -> Iterator[str]:
    for seen in night.seen:
        yield from _seen(seen, night.sentences)
    for each in night.replaced:
        yield _before(each, f", by row {each.newer[1]} of {each.newer[0]}")


def _seen(seen: "Seen", sentences: dict[str, str]) -> Iterator[str]:
    from daskjobs.series.life import REJECTED

    yield f"row        {seen.row or 'one'} of {seen.source or 'its files'}"
    if seen.became == REJECTED:
        yield from (f"rejected   {reason}: {sentences.get(reason, '')}" for reason in seen.reasons)
        yield f"text       {_cut(seen.raw)}"
    else:
        yield f"{seen.became:<10} {seen.amount}, with the status {seen.status}, of {seen.time}"
        yield from (f"warned     {reason}: {sentences.get(reason, '')}" for reason in seen.reasons)
    for each in seen.before:
        yield _before(each)


def _before(each: "Before", by: str = "") -> str:
    """Say which row of an earlier run stands for the order, or is replaced, and what that takes back."""
    stands = f"row {each.row} of {each.source} in " if each.row else f"{each.source} in " if each.source else ""
    other = f", with another {', '.join(each.columns)}" if each.columns else ""
    back = f"; {each.revenue} in the revenue{'' if each.mine else ' of that order'}" if each.replaced else ""
    return f"{'replaces' if each.replaced else 'before':<10} {stands}{short(each.run)}{by}{other}{back}"


def _counted(some: "list[Night]") -> Iterator[str]:
    """Say what the order came to in all runs, and that it counts more than once, if it does."""
    from daskjobs.series.life import counting

    sums = defaultdict[str, Decimal](Decimal)  # by currency, since amounts of two are never added up
    for night in some:
        if night.revenue is not None:
            sums[night.currency] += night.revenue
    if not sums:
        yield "counted    never as paid"
        return
    total = " and ".join(f"{amount} {currency}".rstrip() for currency, amount in sums.items())
    runs, twice = counting(some)
    several = f" of {runs} runs" if runs > 1 else ""
    more = ", so more than once: --known leaves out what an earlier run has counted" if twice else ""
    yield f"counted    {total} in the revenue{several}{more}"


def _unread(nights: "Iterable[Night]") -> str:
    """Say of how many rows nobody knows the id."""
    count = sum(each.unread for each in nights)
    are = "is" if count == 1 else "are"
    return f"; {counted(count, 'row')} {are} malformed, and may be of any order" if count else ""


def _cut(text: str) -> str:
    shown = escaped(text[: TEXT + 1])
    return shown if len(shown) <= TEXT else f"{shown[: TEXT - 1]}\u2026"
