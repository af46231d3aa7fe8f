"""Write the results: analytics_report.json, quality.json, facts.json and report.html."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daskjobs.cores import cores
from daskjobs.errors import InputError, LostWorkError
from daskjobs.events import event
from daskjobs.files.documents import dump, from_json, parse
from daskjobs.orders.report.quality import VERSION, Account, Quality, balance, most_frequent, scored, warnings
from daskjobs.orders.validation.limit import Limit
from daskjobs.pipeline.context import AccountedError, Done
from daskjobs.pipeline.manifest import Manifest
from daskjobs.pipeline.stage import Stage
from daskjobs.stages import clean, merge, validate
from daskjobs.stages.run_settings import Context

if TYPE_CHECKING:
    from daskjobs.orders.report.page import ResourcesSection

NAME = "report"
REPORT, QUALITY, PAGE = "report/analytics_report.json", "report/quality.json", "report/report.html"
MOST_CENTS = 10**18
EVERY_ROW = (
    "this may be no file of orders, or be written in another way than it was taken; look at a row with `daskjobs "
    "explain`, say how the file is written with --delimiter, --quoting, --encoding, --columns and --statuses, or mend "
    "the orders"
)


@dataclass(frozen=True)
class ReportRows(Account):
    """The account of all rows, and the revenue as text with two decimals."""

    revenue: str


def execute(context: Context) -> Manifest:
    """Write the report if the ledger balances: in = valid + rejected, and valid = paid + unpaid.

    Raises LostWorkError when it doesn't, and InputError when the revenue is beyond 10^18 cents. When too many rows are
    rejected, or all of them, it writes everything but analytics_report.json and raises AccountedError.
    """
    inputs = context.digest(merge.NAME) | context.digest(clean.NAME) | context.digest(validate.NAME)
    return context.commit(NAME, inputs, {"max_rejected": context.settings.max_rejected}, lambda: _write(context))


def _write(context: Context) -> Done:
    from daskjobs.orders import summary
    from daskjobs.orders.money import amount_text
    from daskjobs.orders.report.page import page

    merged = context.manifest(merge.NAME).counted(merge.MergeRows)
    cleaned = context.manifest(clean.NAME).counted(clean.CleanRows)
    account = Account(merged.rows_in, merged.valid, merged.rejected, cleaned.paid, cleaned.unpaid)
    balance(account)
    sums = summary.read(context.storage, {clean.SUMMARY: context.output(clean.NAME, clean.SUMMARY)})
    orders, revenue = summary.orders_and_cents(sums)
    if orders != account.paid:
        raise LostWorkError(f"{clean.SUMMARY} counts other orders than clean's {account.paid}: run again from clean")
    if abs(revenue) > MOST_CENTS:
        raise InputError(
            f"the revenue is {amount_text(revenue)}, beyond the {amount_text(MOST_CENTS)} up to which it is certain; "
            "give the input in several runs"
        )
    quality = Quality(
        version=VERSION,
        rows=account,
        lines=merged.lines,
        warnings=warnings(merged.lines.rows_like_several, merged.utf8),
        reasons=most_frequent(merged.reasons, parse(context.vouched(validate.NAME, validate.RULES), dict[str, str])),
        unpaid_by_status=cleaned.unpaid_by_status,
        scores=scored(merged.scores),
    )
    limit = Limit(account.rows_in, context.settings.max_rejected)
    broken = limit.broken(account.rejected, merged.reasons)
    outputs = {
        QUALITY: context.storage.put(QUALITY, dump(quality)),
        PAGE: context.storage.put(PAGE, page(revenue, quality, sums, _resources(context), broken)),
    }
    if broken:
        todo = EVERY_ROW if account.rejected == account.rows_in else "mend the orders, or allow more"
        raise AccountedError(f"{broken}; {QUALITY} says why, and {merge.QUARANTINE_CSV} has each row: {todo}")
    # As text and not as a float, which can't represent cents exactly.
    text = f'{{"orders": {account.paid}, "revenue": {amount_text(revenue)}}}\n'
    outputs[REPORT] = context.storage.put(REPORT, text.encode())
    rows = ReportRows(**vars(account), revenue=amount_text(revenue))
    # These may differ between runs of the same data.
    facts = {stage: context.facts(stage) for stage in context.stages if stage != NAME}
    return Done(outputs, rows, {"stages": {"cores": cores(), **{stage: each for stage, each in facts.items() if each}}})


def _resources(context: Context) -> "ResourcesSection | None":
    """Return the resources in validate's facts, if they can be read: no manifest lists facts."""
    from daskjobs.orders.report.page import ResourcesSection

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
    files=(REPORT, QUALITY, PAGE),
    rows=ReportRows,
    execute=execute,
    artifacts=(PAGE, REPORT, QUALITY),
)
