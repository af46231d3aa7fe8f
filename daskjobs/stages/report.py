"""Write what people came for: analytics_report.json, quality.json, run.json and report.html."""

import json
import os
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from daskjobs import partition
from daskjobs.errors import InputError, LostWorkError
from daskjobs.manifest import LongRows, Manifest, dump
from daskjobs.orders import amount_text
from daskjobs.page import page
from daskjobs.run import Done, Run
from daskjobs.stages import STAGES, clean, merge
from daskjobs.summary import SCHEMA, of
from daskjobs.tables import row_groups

NAME = "report"
REPORT, QUALITY, RUN, PAGE = (
    "report/analytics_report.json",
    "report/quality.json",
    "report/run.json",
    "report/report.html",
)
MOST_CENTS = 10**18


def run(run: Run) -> Manifest:
    """Write the report, once the ledger balances: in = valid + quarantined, and valid = clean + unpaid.

    Raises LostWorkError when it doesn't, and InputError when the revenue is beyond 10^18 cents, or when too many rows
    were rejected: then all but analytics_report.json is there.
    """
    inputs = run.digest(merge.NAME) | run.digest(clean.NAME) | run.digest(partition.STAGE)
    return run.stage(NAME, NAME, inputs, {"max_rejected": run.settings.max_rejected}, lambda: _write(run))


def _write(run: Run) -> Done:
    merged, cleaned = run.manifest(merge.NAME)["rows"], run.manifest(clean.NAME)["rows"]
    ledger = {name: merged[name] for name in ("in", "valid", "quarantined")} | {
        name: cleaned[name] for name in ("clean", "unpaid")
    }
    for name in (REPORT, QUALITY, PAGE):
        run.storage.remove(name)  # one that an earlier run wrote would look like this one's, if this one fails
    balance(ledger)
    vouched = run.output(clean.NAME, clean.SUMMARY)
    summary = pa.concat_tables([SCHEMA.empty_table(), *row_groups(run.storage, clean.SUMMARY, vouched)])
    regions = of(summary, "region")
    revenue = int((pc.sum(regions["revenue"]).as_py() or 0) * 100)
    if (pc.sum(regions["orders"]).as_py() or 0) != ledger["clean"]:
        raise LostWorkError(f"{clean.SUMMARY} counts other orders than clean's {ledger['clean']}: run again from clean")
    if abs(revenue) > MOST_CENTS:
        raise InputError(
            f"the revenue is {amount_text(revenue)}, beyond the {amount_text(MOST_CENTS)} up to which it is certain; "
            "give the input in several runs"
        )
    quality = {
        "rows": ledger,
        "lines": merged["lines"],
        "warnings": _warnings(merged["lines"]["rows_like_several"]),
        "reasons": _reasons(merged["reasons"], json.loads(run.vouched(partition.STAGE, partition.RULES))),
        "unpaid_by_status": cleaned["unpaid_by_status"],
        "scores": _scores(merged["scores"]),
    }
    resources = run.facts(partition.STAGE).get("resources", {})
    outputs = {
        QUALITY: run.storage.put(QUALITY, dump(quality)),
        PAGE: run.storage.put(PAGE, page(revenue, quality, summary, resources)),
    }
    if ledger["quarantined"] > run.settings.max_rejected * ledger["in"]:
        raise InputError(
            f"{ledger['quarantined']} of {ledger['in']} rows were rejected, more than --max-rejected "
            f"{run.settings.max_rejected:g} allows; {QUALITY} says why, and {merge.QUARANTINE_CSV} has each row: "
            "mend the orders, or allow more"
        )
    # Not through a float: 0.1 + 0.2 has no place in a sum of money.
    text = f'{{"orders": {ledger["clean"]}, "revenue": {amount_text(revenue)}}}\n'
    outputs[REPORT] = run.storage.put(REPORT, text.encode())
    return Done(outputs, {**ledger, "revenue": amount_text(revenue)}, {"stages": _facts(run)})


def balance(ledger: dict[str, int]) -> None:
    """Raise LostWorkError unless every row is accounted for."""
    if ledger["in"] != ledger["valid"] + ledger["quarantined"] or ledger["valid"] != ledger["clean"] + ledger["unpaid"]:
        raise LostWorkError(
            f"the ledger doesn't balance: {ledger}; in must be valid + quarantined, and valid must be clean + unpaid; "
            "no report was written: run again from validate"
        )


def _warnings(several: LongRows) -> list[str]:
    """Return a sentence about rows that look like several ones, in whose place others may have been lost unseen."""
    if not several["rows"]:
        return []
    count, first = several["rows"], several["first"]
    hold, look = ("row holds", "looks") if count == 1 else ("rows hold", "each look")
    shown = ", ".join(f"row {row['row']} of {row['source'].rsplit('/', 1)[-1]}" for row in first)
    more = f" and {count - len(first):,} more" if count > len(first) else ""
    return [
        f"{count:,} {hold} {several['line_ends']:,} line ends inside quotes and {look} like several rows: {shown}{more}"
        "; if quotes are plain characters in this file, use --quoting none"
    ]


def _reasons(counts: dict[str, int], sentences: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"reason": reason, "rows": count, "rule": sentences.get(reason, "")}
        for reason, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def _scores(scores: dict[str, dict[str, int]]) -> dict[str, dict[str, Any]]:
    """Return precision and recall by anomaly, null where there was nothing to find; empty for the user's own orders."""
    scored: dict[str, dict[str, Any]] = {}
    for anomaly, score in scores.items():
        right, wrong, missed = (score.get(name, 0) for name in ("true_positives", "false_positives", "false_negatives"))
        scored[anomaly] = {
            "precision": _share(right, right + wrong),
            "recall": _share(right, right + missed),
            "true_positives": right,
            "false_positives": wrong,
            "false_negatives": missed,
        }
    return scored


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _facts(run: Run) -> dict[str, Any]:
    """Return how each stage before this one ran; this file may differ between runs of the same data."""
    stages = {stage: run.facts(stage) for stage in STAGES if stage != NAME}
    return {"cores": os.cpu_count(), **{stage: facts for stage, facts in stages.items() if facts}}
