"""Write the results: analytics_report.json, quality.json, facts.json and report.html, and drift.json if asked for."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from daskjobs.cores import cores
from daskjobs.errors import InputError, LostWorkError
from daskjobs.events import event
from daskjobs.files.documents import dump, from_json, parse
from daskjobs.orders.report.quality import (
    VERSION,
    Account,
    Quality,
    balance,
    mixed,
    most_frequent,
    notes,
    scored,
    together,
    warned_of,
    warnings,
)
from daskjobs.orders.rules.levels import refuse_unknown
from daskjobs.orders.sent import broken as sent_broken
from daskjobs.orders.validation.limit import Limit, not_understood, proposal
from daskjobs.orders.validation.result import SEEN_BEFORE, Sample
from daskjobs.pipeline.context import AccountedError, Done
from daskjobs.pipeline.manifest import Manifest
from daskjobs.pipeline.stage import Stage
from daskjobs.series.earlier import LAST, OvertakenError, first
from daskjobs.series.layout import COLUMNS, DRIFT, PAGE, QUALITY, REPORT, RULES, SEEN_CSV, SUMMARY, partition_files
from daskjobs.series.runs import counts_of, looking_at
from daskjobs.stages import clean, generate, merge, split, validate
from daskjobs.stages.run_settings import Context

if TYPE_CHECKING:
    import pyarrow as pa

    from daskjobs.orders.columns.account import ColumnsAccount
    from daskjobs.orders.report.drift import Drift
    from daskjobs.orders.report.page import About
    from daskjobs.orders.report.resources import ResourcesSection

NAME = "report"
MOST_CENTS = 10**18
EVERY_ROW = (
    "this may be no file of orders, or be written in another way than it was taken; `{proposal}` says how it may be "
    "read, and `daskjobs explain` shows a row: say how the file is written with --profile, --delimiter, --quoting, "
    "--encoding, --columns and --statuses, or mend the orders"
)
UNREAD = (
    "such a file may be no file of orders, or be written in another way than it was taken, though others are right; "
    "`{proposal}` says how it may be read: give it in a run of its own with --profile, or leave it out"
)
MEND = "mend the orders, or allow more"
KNOWN = "these orders have counted in earlier runs: leave them out of the input, or allow more"
COMPARED = "with which this run is compared"
SENT_TODO = (
    "ask the sender for what is missing or too many, and run again with the whole input; or correct what --expect or "
    "the control file says"
)


@dataclass(frozen=True)
class ReportRows(Account):
    """The account of all rows, and the revenue as text with two decimals.

    With a profile, there may be the number of ``orders``, where rows may be no whole ones, and what the revenue is the
    difference of: ``gross`` and ``refunds``. ``corrections`` are rows of earlier runs in whose place newer ones count,
    and what that takes back: ``corrected_orders`` and ``corrected_revenue``, texts with a sign.
    """

    revenue: str
    orders: int | None = None
    gross: str = ""
    refunds: str = ""
    corrections: int = 0
    corrected_orders: str = ""
    corrected_revenue: str = ""

    @property
    def paid_orders(self) -> int:
        """The number of paid orders: of their rows, unless a row may be no whole order."""
        return self.paid if self.orders is None else self.orders


def execute(context: Context) -> Manifest:
    """Write the report if the ledger balances: in = valid + rejected, and valid = paid + unpaid.

    Raises LostWorkError when it doesn't, and InputError when the revenue is beyond 10^18 cents. When too many rows are
    rejected, or all of them, when something else was received than the sender says, when the revenue is of several
    currencies, or when the run differs more from an earlier one than --max-drift allows, it writes everything but
    analytics_report.json and raises AccountedError.
    """
    inputs = context.digest(merge.NAME) | context.digest(clean.NAME) | context.digest(validate.NAME)
    settings: dict[str, Any] = {"max_rejected": context.settings.max_rejected}
    if context.settings.max_drift:
        settings["max_drift"] = context.settings.max_drift
    if limited := Limit.of(0, context.settings.max_rejected).by_reason:
        from daskjobs.orders.rules.profiled import left_out

        profile = context.manifest(merge.NAME).counted(merge.MergeRows).profile
        refuse_unknown(_sentences(context), (), limited, left_out(profile) if profile else {})
    return context.commit(NAME, inputs, settings, lambda: _write(context), partial(_sealing, context))


@contextmanager
def _sealing(context: Context) -> Iterator[None]:
    """Commit after other runs of the series, and only if none was committed that this one should have looked at.

    Otherwise split is taken back, so that the same command looks anew.
    """
    settings, earlier = context.manifest(split.NAME).settings, split.read_earlier(context)
    if not (settings.get("known") and earlier):
        yield
        return
    try:
        counts = counts_of(context.manifest(merge.NAME))
        with first(split.asked(context, settings), earlier, context.stages, counts):
            yield
    except OvertakenError:
        context.take_back(split.NAME)
        raise


def _write(context: Context) -> Done:
    from daskjobs.orders import summary
    from daskjobs.orders.money import amount_text
    from daskjobs.orders.report.page import page
    from daskjobs.orders.rules.profiled import left_out

    merged = context.manifest(merge.NAME).counted(merge.MergeRows)
    cleaned = context.manifest(clean.NAME).counted(clean.CleanRows)
    account = Account(
        merged.rows_in, merged.valid, merged.rejected, cleaned.paid, cleaned.unpaid, furniture=merged.furniture
    )
    balance(account)
    profile, amounts = merged.profile, merged.amounts
    sentences = _sentences(context)
    limit = Limit.of(account.rows_in - account.furniture, context.settings.max_rejected)
    sums = summary.read(context.storage, {SUMMARY: context.output(clean.NAME, SUMMARY)})
    orders, revenue = summary.orders_and_cents(sums)
    if orders != (amounts.orders if amounts else account.paid):
        raise LostWorkError(f"{SUMMARY} counts other orders than clean's {account.paid}: run again from clean")
    if amounts and amounts.net.scaleb(2) != revenue:
        raise LostWorkError(f"{SUMMARY} has another revenue than merge's {amounts.net}: run again from merge")
    if abs(revenue) > MOST_CENTS:
        raise InputError(
            f"the revenue is {amount_text(revenue)}, beyond the {amount_text(MOST_CENTS)} up to which it is certain; "
            "give the input in several runs"
        )
    chosen = profile.order.report_currency.upper() if profile and profile.order.currency else ""
    currencies = merged.currencies
    unclear = mixed(currencies, chosen)
    nets = amounts if amounts and profile and profile.nets and not unclear else None
    sets, other_sets = together(merged.together, account.rejected)
    quality = Quality(
        version=VERSION,
        rows=account,
        lines=merged.lines,
        warnings=warnings(merged.lines.rows_like_several, account, merged.unread_single, merged.utf8, merged.signs),
        reasons=most_frequent(merged.reasons, sentences),
        unpaid_by_status=cleaned.unpaid_by_status,
        scores=scored(merged.scores),
        profile=profile.name if profile else "",
        without_rules=left_out(profile) if profile else {},
        orders=amounts.orders if amounts else None,
        gross=nets.gross if nets else "",
        refunds=nets.refunded if nets else "",
        net=str(nets.net) if nets else "",
        currency=chosen or ("" if unclear else "".join(currencies)),
        currencies=currencies,
        seen_before=merged.seen,
        together=sets,
        together_others=other_sets,
        warned=warned_of(merged.warned, sentences),
        sent=merged.sent,
    )
    proposed, differs = proposal(merged.unread), sent_broken(merged.sent, account.furniture)
    wrong = account.rejected - merged.reasons.get(SEEN_BEFORE, 0)  # nothing is wrong with what was seen before
    warned = merged.warned.reasons if merged.warned else {}
    rejected = limit.broken(wrong, merged.reasons, warned=warned)
    listed = _listed(limit, wrong, merged.reasons, warned)
    todo = EVERY_ROW if wrong == limit.rows else KNOWN if listed == [SEEN_CSV] else MEND
    if not rejected and merged.unread:
        rejected, todo, listed = not_understood(merged.unread), UNREAD, [merge.QUARANTINE_CSV]
    columns = _columns(context, merged)
    drift = _drift(context, quality, sums, columns)
    too_far = drift.failing if drift else ""
    broken = "; ".join(filter(None, (differs, rejected or unclear or too_far)))
    html = page(
        None if unclear else revenue,
        quality,
        sums,
        _about(context),
        _resources(context),
        broken,
        notes(profile),
        columns.columns,
        drift,
        samples=parse(context.vouched(merge.NAME, merge.SAMPLES), dict[str, list[Sample]]),
    )
    outputs = {
        QUALITY: context.storage.put(QUALITY, dump(quality)),
        COLUMNS: context.storage.put(COLUMNS, dump(columns)),
        PAGE: context.storage.put(PAGE, html),
    }
    if drift:
        outputs[DRIFT] = context.storage.put(DRIFT, dump(drift))
    if rejected:
        todo = todo.format(proposal=proposed)
        have = "has" if len(listed) == 1 else "have"
        raise AccountedError(f"{broken}; {QUALITY} says why, and {' and '.join(listed)} {have} each row: {todo}")
    if unclear:
        raise AccountedError(
            f"{broken}; {QUALITY} counts them: choose one with --currency, or with report_currency in the profile"
        )
    if too_far:
        raise AccountedError(
            f"{broken}; {DRIFT} has each measure: look for the reason in the orders, and if they are right, "
            "allow more, or leave --max-drift out"
        )
    if differs:
        raise AccountedError(f"{broken}; {QUALITY} has the account: {SENT_TODO}")
    # As text and not as a float, which can't represent cents exactly.
    text = f'{{"orders": {orders}, "revenue": {amount_text(revenue)}}}\n'
    outputs[REPORT] = context.storage.put(REPORT, text.encode())
    rows = ReportRows(
        **vars(account),
        revenue=amount_text(revenue),
        orders=quality.orders,
        gross=quality.gross,
        refunds=quality.refunds,
        **(merged.seen.taken_back if merged.seen else {}),
    )
    # These may differ between runs of the same data.
    facts = {stage: context.facts(stage) for stage in context.stages if stage != NAME}
    return Done(outputs, rows, {"stages": {"cores": cores(), **{stage: each for stage, each in facts.items() if each}}})


def _listed(limit: Limit, wrong: int, reasons: Mapping[str, int], warned: Mapping[str, int]) -> list[str]:
    """Return the files that list the rows of which there are too many, where so many in all are ``wrong``."""
    over = limit.over({**reasons, **warned})
    files = {
        merge.QUARANTINE_CSV: wrong > limit.most or 0 < wrong == limit.rows or {*over} - {*warned, SEEN_BEFORE},
        merge.WARNED_CSV: {*over} & {*warned},
        SEEN_CSV: SEEN_BEFORE in over,
    }
    return [name for name, has in files.items() if has]


def _drift(context: Context, quality: Quality, sums: "pa.Table", columns: "ColumnsAccount") -> "Drift | None":
    """Return how much this run differs from the one that split has fixed; None unless --compare was given."""
    asked = context.manifest(split.NAME).settings.get("compare")
    earlier = split.read_earlier(context) if asked else None
    if not earlier:
        return None
    from daskjobs.series import comparison, numbers

    merged = context.manifest(merge.NAME).counted(numbers.Merged)
    plan = split.read_plan(context)
    now = numbers.tallied("this run", quality, merged, sums, columns, plan)
    run = earlier.compared_run(context.stages)
    with looking_at(run.uri if run else "", COMPARED, "compare with another one"):
        return comparison.compare(
            run,
            now,
            context.settings.max_drift,
            why=f"there is no good run before this one in {earlier.series} to compare it with",
            last=asked == LAST,
        )


def _columns(context: Context, merged: merge.MergeRows) -> "ColumnsAccount":
    """Return what the columns hold. Raises LostWorkError unless all rows were seen that were read as rows."""
    from daskjobs.orders.columns.names import names_in_file
    from daskjobs.orders.columns.states import account, read_states
    from daskjobs.orders.rules.builtin import MALFORMED

    names = [partition_files(part.partition)["columns"] for part in merged.partitions]
    files = {name: context.output(validate.NAME, name) for name in names}
    plan = split.read_plan(context)
    in_file = names_in_file(plan, str(context.manifest(split.NAME).settings.get("columns", "")))
    told = account(plan.extra, read_states(context.storage, files), in_file)
    malformed = sum(rows for reason, rows in merged.reasons.items() if reason in MALFORMED)
    if told.rows != merged.rows_in - merged.furniture - malformed:
        raise LostWorkError(
            f"the columns were seen in {told.rows} rows, of {merged.rows_in} rows with {malformed} malformed and "
            f"{merged.furniture} furniture: run again from validate"
        )
    return told


def _sentences(context: Context) -> dict[str, str]:
    """Return the sentence of each reason that a row of this run can have."""
    return parse(context.vouched(validate.NAME, RULES), dict[str, str])


def _about(context: Context) -> "About":
    """Return what the page says first: what data it is about, and when split has read them."""
    from daskjobs.orders.report.page import About

    planned, generated = context.manifest(split.NAME), generate.STAGE.manifest
    return About(
        run=context.settings.run_uri,
        files=list(planned.inputs),
        begun=context.facts(split.NAME).get("started", "")[:16].replace("T", " "),
        version=context.version,
        seed=context.manifest(generate.NAME).settings["seed"] if generated in planned.inputs else None,
    )


def _resources(context: Context) -> "ResourcesSection | None":
    """Return the resources in validate's facts, if they can be read: no manifest lists facts."""
    from daskjobs.orders.report.resources import ResourcesSection

    noted = context.facts(validate.NAME).get("resources")
    try:
        return None if noted is None else from_json(noted, ResourcesSection, "resources")
    except ValueError as error:
        event("facts.unreadable", level=logging.WARNING, stage=validate.NAME, error=error)
        return None


STAGE = Stage(
    NAME,
    "Write analytics_report.json, quality.json, facts.json and report.html.",
    needs=(validate.NAME, merge.NAME, clean.NAME),
    files=(REPORT, QUALITY, COLUMNS, DRIFT, PAGE),
    rows=ReportRows,
    execute=execute,
    artifacts=(PAGE, REPORT, QUALITY),
)
