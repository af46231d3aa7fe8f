"""What is posted of a run, as JSON and as a few lines for people, from manifests and the files that these vouch for."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from daskjobs.display import escaped
from daskjobs.files.documents import parse
from daskjobs.orders.report.drift import Drift
from daskjobs.orders.report.quality import Quality
from daskjobs.orders.sent import SentLine
from daskjobs.orders.validation.result import SeenBefore
from daskjobs.pipeline.manifest import Manifest
from daskjobs.series.layout import DRIFT, PAGE, QUALITY
from daskjobs.series.runs import name_of
from daskjobs.stages import merge, report, split
from daskjobs.stages.outcome import Outcome
from daskjobs.stages.run_settings import Context

VERSION = 1
MOST_LISTED, MOST_LINE, MOST_TEXT = 10, 600, 3000  # sentences of a kind, and characters: Slack cuts longer texts
MENTION = re.compile(r"@(?=(?:channel|here|all|everyone)\b)", re.I)
# What Slack, and what takes the same, reads as markup.
MARKUP: dict[str, str | int | None] = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


@dataclass(frozen=True)
class Workflow:
    """The workflow that ran the stages."""

    name: str
    uid: str
    namespace: str


@dataclass(frozen=True)
class News:
    """What is posted of a run: how it ended, and what people look at first.

    ``day`` is the run's, as in a series. Of a failed run there is the ``stage``, as far as it is known, and its
    ``sentence``. ``revenue`` is exact, as a text. ``rejected_share`` is of the rows without furniture. ``drift`` has
    the sentences of what is over its threshold. ``sent`` and ``seen_before`` are as in quality.json, without its
    samples of rows, and ``warned`` counts the rows that each rule warns of. ``report`` is the page.
    """

    version: int
    result: str
    run: str
    workflow: Workflow | None = None
    day: str = ""
    stage: str = ""
    sentence: str = ""
    orders: int | None = None
    revenue: str = ""
    currency: str = ""
    rows: int | None = None
    rejected: int | None = None
    rejected_share: float | None = None
    warnings: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    sent: list[SentLine] = field(default_factory=list)
    seen_before: SeenBefore | None = None
    warned: dict[str, int] = field(default_factory=dict)
    report: str = ""


def plain(context: Context, outcome: Outcome) -> News:
    """Return what can be told without a file of the run: how it ended."""
    settings = context.settings
    cluster = settings.cluster
    workflow = Workflow(cluster.workflow, cluster.workflow_uid, cluster.namespace) if cluster.workflow else None
    result = "failed" if outcome.failed else "succeeded"
    return News(VERSION, result, settings.run_uri, workflow, "", outcome.stage, outcome.sentence)


def news_of(context: Context, outcome: Outcome, manifests: dict[str, Manifest], made: str) -> News:
    """Return what is told, with the numbers of what is committed, unless that is an earlier attempt's.

    ``made`` says when the run's folder was made. Raises DaskjobsError and ValueError for a file that can't be read.
    """
    given = str(manifests[split.NAME].settings.get("as_of", "")) if split.NAME in manifests else ""
    news = replace(plain(context, outcome), day=given or context.settings.as_of or made[:10])
    if outcome.failed and report.NAME in manifests:
        return news
    if merge.NAME in manifests:
        merged = manifests[merge.NAME].counted(merge.MergeRows)
        judged = merged.rows_in - merged.furniture
        share = round(merged.rejected / judged, 6) if judged else None
        news = replace(news, rows=merged.rows_in, rejected=merged.rejected, rejected_share=share)
    if report.NAME not in manifests:
        return news
    rows = manifests[report.NAME].counted(report.ReportRows)
    quality = parse(context.vouched(report.NAME, QUALITY), Quality)
    seen = quality.seen_before
    return replace(
        news,
        orders=rows.paid_orders,
        revenue=rows.revenue,
        currency=quality.currency,
        warnings=quality.warnings,
        drift=_drift(context, manifests),
        # Without their first rows, which may name people: rows are posted nowhere.
        sent=[replace(each, first=[]) for each in quality.sent],
        seen_before=replace(seen, first=[]) if seen else None,
        warned={each.reason: each.rows for each in quality.warned},
        report=context.storage.uri(PAGE),
    )


def _drift(context: Context, manifests: dict[str, Manifest]) -> list[str]:
    if DRIFT not in manifests[report.NAME].outputs:
        return []
    return [each.sentence for each in parse(context.vouched(report.NAME, DRIFT), Drift).over]


def text(news: News) -> str:
    """Return the news as a few lines for people, without markup."""
    name = f"{news.workflow.name} in {news.workflow.namespace}" if news.workflow else name_of(news.run)
    lines = [f"daskjobs {news.result}: {name}{f', {news.day}' if news.day else ''}"]
    if news.result == "failed":
        lines.append(": ".join(filter(None, (news.stage, news.sentence))) or "nothing says why")
    if news.orders is not None:
        lines.append(f"{news.orders:,} orders, revenue {news.revenue}{f' {news.currency}' if news.currency else ''}")
    if news.rows is not None:
        share = f" ({news.rejected_share:.2%})" if news.rejected_share is not None else ""
        lines.append(f"{news.rejected:,} of {news.rows:,} rows rejected{share}")
    if seen := news.seen_before:
        kinds = f"{seen.same:,} the same again, {seen.other:,} with other values"
        lines.append(f"{seen.rows:,} seen before ({kinds})")
        if seen.corrections:
            lines.append(f"corrected: {seen.corrected_orders} orders and {seen.corrected_revenue} of earlier runs")
    if news.sent:  # or else the run has failed, with a sentence about what is missing
        lines.append("all that was sent was received")
    lines += _some("drift", news.drift)
    lines += _some("warned", [f"{rule}, {rows:,} rows" for rule, rows in news.warned.items()])
    lines += _some("warning", news.warnings)
    lines = [escaped(line if len(line) <= MOST_LINE else f"{line[:MOST_LINE]}…") for line in lines]
    while len("\n".join(lines)) > MOST_TEXT - MOST_LINE:
        lines.pop()
    return "\n".join([*lines, f"report: {news.report}" if news.report else f"run: {news.run}"])


def _some(kind: str, sentences: list[str]) -> Iterable[str]:
    more = len(sentences) - MOST_LISTED
    return [f"{kind}: {each}" for each in sentences[:MOST_LISTED]] + ([f"{more} more"] if more > 0 else [])


def marked(text: str) -> str:
    """Return a text that Slack, and what takes the same, shows as it is: nobody in it is mentioned, and no link made.

    >>> marked("<!channel> a&b @here")
    '&lt;!channel&gt; a&amp;b @\\u200bhere'
    """
    return MENTION.sub("@\u200b", text.translate(str.maketrans(MARKUP)))
