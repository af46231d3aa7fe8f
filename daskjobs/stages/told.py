"""Who hears of a run: a notification of how it ended, posted once, and OpenLineage events of its beginning and end.

Numbers come from manifests and the files that these vouch for. What can't be posted is a warning: no run ends because
of it, and no exit code changes.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from daskjobs.display import escaped
from daskjobs.errors import DaskjobsError
from daskjobs.events import event
from daskjobs.files.documents import dump, parse, to_json
from daskjobs.options import flags
from daskjobs.orders.report.quality import Quality
from daskjobs.pipeline.lease import MARKER
from daskjobs.pipeline.manifest import Manifest
from daskjobs.series.layout import COLUMNS, DRIFT, PAGE, QUALITY, RULES, TOLD
from daskjobs.stages import generate, lineage, merge, report, split, validate
from daskjobs.stages.outcome import STOP_SECONDS, Outcome
from daskjobs.stages.post import SECONDS, WEB, NotPostedError, host_of, post_json, post_text, refuse_address
from daskjobs.stages.run_settings import Context, Settings

VERSION = 1
START_SECONDS = 10.0  # for the event that a run begins, which waits for it
TEXT_ALONE = ("hooks.slack.com", "hooks.slack-gov.com")  # whose documentation promises nothing for other keys
MOST_LISTED, MOST_LINE, MOST_TEXT = 10, 600, 3000  # sentences of a kind, and characters: Slack cuts longer texts
MENTION = re.compile(r"@(?=(?:channel|here|all|everyone)\b)", re.I)
# What Slack, and what takes the same, reads as markup.
MARKUP: dict[str, str | int | None] = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
SAMPLES = "first"  # the key of rows in quality.json, which are posted nowhere


@dataclass(frozen=True)
class Told:
    """What of a run was posted: the hash of its last notification, and how many attempts have begun and ended."""

    notified: str = ""
    begun: int = 0
    ended: int = 0


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
    sent: list[dict[str, Any]] = field(default_factory=list)
    seen_before: dict[str, Any] = field(default_factory=dict)
    warned: dict[str, int] = field(default_factory=dict)
    report: str = ""


def refuse(settings: Settings) -> None:
    """Raise UsageError or ConfigError for an address that nothing can be posted to, before a run begins."""
    if settings.notify:
        refuse_address(flags(settings)["notify"], settings.notify, services=True)
    if settings.openlineage:
        refuse_address(flags(settings)["openlineage"], settings.openlineage)


def begin(context: Context) -> None:
    """Post the event that the run begins, once for each attempt; one that was killed goes on.

    The run must be locked.
    """
    if not context.settings.openlineage:
        return
    told = _told(context)
    if told.begun > told.ended:
        return
    told = replace(told, begun=told.begun + 1)
    context.storage.put(TOLD, dump(told), durable=True)
    settings, at = context.settings, _now()
    _emit(context, lineage.started(settings.run_uri, settings.cluster.namespace, _run_id(context, told), at))


def end(context: Context, readable: bool, trouble: str) -> None:
    """Post how the run ended: a notification, unless the last one said the same, and the event of its end.

    ``readable`` says whether the run's files can be read and written: otherwise there are no numbers, and nothing that
    says what was posted before. ``trouble`` is what cleanup couldn't do.
    """
    settings = context.settings
    if not (settings.notify or settings.openlineage):
        return
    manifests, news, told = {}, None, Told()
    if readable:
        try:
            manifests, told = _manifests(context), _told(context)
            news = _news(context, _outcome(context, manifests), manifests)
        except DaskjobsError as error:
            event("told.unreadable", level=logging.WARNING, error=error)
            readable, manifests = False, {}
    outcome = _outcome(context, manifests)
    news = news or _plain(context, outcome)
    if trouble:
        news = replace(news, warnings=[*news.warnings, trouble])
    for post in (_notified, _lineage_ended):
        new = post(context, told, outcome, news, manifests)
        if readable and new != told:
            try:
                context.storage.put(TOLD, dump(new), durable=True)
            except DaskjobsError as error:
                event("told.unwritten", level=logging.WARNING, error=error)
        told = new


def _notified(context: Context, told: Told, outcome: Outcome, news: News, manifests: dict[str, Manifest]) -> Told:
    """Post the news to the address of --notify, if the last ones were others."""
    address, flag = context.settings.notify, flags(context.settings)["notify"]
    made = manifests[report.NAME].to_json() if report.NAME in manifests else b""
    same = dump([replace(news, warnings=[]), outcome.at, hashlib.sha256(made).hexdigest()])
    key = hashlib.sha256(same).hexdigest()
    if not address or key == told.notified:
        return told
    try:
        seconds = STOP_SECONDS if outcome.stopped else SECONDS
        if address.strip().partition("://")[0].lower() in WEB:
            alone = host_of(address) in TEXT_ALONE
            said = {"text": marked(text(news))} | ({} if alone else to_json(news))
            post_json(flag, address, json.dumps(said).encode(), seconds=seconds)
        else:
            title, _, rest = text(news).partition("\n")
            post_text(flag, address, title, rest, seconds)
    except NotPostedError as error:
        event("notify.failed", level=logging.WARNING, error=error)
        return told
    event("notify.done", result=news.result)
    return replace(told, notified=key)


def _lineage_ended(context: Context, told: Told, outcome: Outcome, _: News, manifests: dict[str, Manifest]) -> Told:
    """Post the event that the run has ended, if it has begun since the last one."""
    settings = context.settings
    if not settings.openlineage or 0 < told.begun <= told.ended:
        return told
    if not told.begun:  # it failed before its first stage, or its files can't be read
        told = replace(told, begun=told.ended + 1)
        start = lineage.started(settings.run_uri, settings.cluster.namespace, _run_id(context, told), _now())
        if not _emit(context, start, outcome.stopped):
            return replace(told, ended=told.begun)
    run, at = _run_id(context, told), _now()
    checked = _checked(context, manifests)
    namespace = settings.cluster.namespace
    _emit(
        context,
        lineage.ended(settings.run_uri, namespace, run, at, outcome, manifests, checked),
        outcome.stopped,
        SECONDS,
    )
    return replace(told, ended=told.begun)


def _emit(context: Context, said: dict[str, Any], stopped: bool = False, seconds: float = START_SECONDS) -> bool:
    settings = context.settings
    key = settings.openlineage_key.strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    flag = flags(settings)["openlineage"]
    try:
        if not host_of(settings.openlineage):
            raise NotPostedError(f"{flag} is no address of http:// or https:// with a host")
        address = lineage.address(settings.openlineage)
        post_json(flag, address, json.dumps(said).encode(), headers, STOP_SECONDS if stopped else seconds)
    except NotPostedError as error:
        event("openlineage.failed", level=logging.WARNING, event=said["eventType"], error=error)
        return False
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _made(context: Context) -> str:
    """Return when the run's folder was made, or an empty text where its marker can't be read."""
    try:
        marker = context.storage.find(MARKER)
        return str(json.loads(marker)["made"]) if marker is not None else ""
    except (DaskjobsError, ValueError, KeyError):
        return ""


def _run_id(context: Context, told: Told) -> str:
    return lineage.run_id(context.settings.run_uri, _made(context), told.begun)


def _told(context: Context) -> Told:
    data = context.storage.find(TOLD)
    try:
        return Told() if data is None else parse(data, Told)
    except ValueError as error:
        event("told.unreadable", level=logging.WARNING, error=error)
        return Told()


def _manifests(context: Context) -> dict[str, Manifest]:
    """Return the manifests of the stages that are committed, up to the first one that isn't, each made from these."""
    found = dict[str, Manifest]()
    for name in context.stages:
        if context.committed(name) is None:
            if name == generate.NAME:
                continue
            break
        found[name] = context.manifest(name)
    return found


def _outcome(context: Context, manifests: dict[str, Manifest]) -> Outcome:
    """Return how the run ended, and at which stage, which the first manifest that isn't there says if nobody else."""
    outcome = context.outcome or Outcome(failed=report.NAME not in manifests)
    if not outcome.failed or outcome.stage or report.NAME in manifests:
        return outcome
    missing = [name for name in context.stages if name not in manifests and name != generate.NAME]
    return replace(outcome, stage=missing[0])


def _plain(context: Context, outcome: Outcome) -> News:
    settings = context.settings
    cluster = settings.cluster
    workflow = Workflow(cluster.workflow, cluster.workflow_uid, cluster.namespace) if cluster.workflow else None
    result = "failed" if outcome.failed else "succeeded"
    return News(VERSION, result, settings.run_uri, workflow, "", outcome.stage, outcome.sentence)


def _news(context: Context, outcome: Outcome, manifests: dict[str, Manifest]) -> News:
    """Return what is told, with the numbers of what is committed, unless that is an earlier attempt's."""
    given = str(manifests[split.NAME].settings.get("as_of", "")) if split.NAME in manifests else ""
    news = replace(_plain(context, outcome), day=given or context.settings.as_of or _made(context)[:10])
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
    data = context.vouched(report.NAME, QUALITY)
    quality, raw = parse(data, Quality), json.loads(data)
    return replace(
        news,
        orders=rows.paid_orders,
        revenue=rows.revenue,
        currency=quality.currency,
        warnings=quality.warnings,
        drift=_drift(context, manifests),
        sent=[_without_samples(each) for each in raw.get("sent", [])],
        seen_before=_without_samples(raw.get("seen_before") or {}),
        warned={each["reason"]: each["rows"] for each in raw.get("warned", [])},
        report=context.storage.uri(PAGE),
    )


def _without_samples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != SAMPLES}


def _drift(context: Context, manifests: dict[str, Manifest]) -> list[str]:
    if DRIFT not in manifests[report.NAME].outputs:
        return []
    measures = json.loads(context.vouched(report.NAME, DRIFT)).get("measures", [])
    return [str(each["sentence"]) for each in measures if each.get("over")]


def _checked(context: Context, manifests: dict[str, Manifest]) -> lineage.Checked | None:
    """Return what is known of the input, once every row is accounted for."""
    if merge.NAME not in manifests:
        return None
    merged = manifests[merge.NAME].counted(merge.MergeRows)
    try:
        rules = parse(context.vouched(validate.NAME, RULES), dict[str, str])
        there = report.NAME in manifests and COLUMNS in manifests[report.NAME].outputs
        columns = json.loads(context.vouched(report.NAME, COLUMNS))["columns"] if there else []
    except DaskjobsError as error:
        event("told.unreadable", level=logging.WARNING, error=error)
        return None
    warned = merged.warned.reasons if merged.warned else {}
    return lineage.Checked(merged.rows_in, rules, {**merged.reasons, **warned}, columns, frozenset(warned))


def text(news: News) -> str:
    """Return the news as a few lines for people, without markup."""
    place = news.run.rstrip("/").rpartition("/")[2]
    name = f"{news.workflow.name} in {news.workflow.namespace}" if news.workflow else place
    lines = [f"daskjobs {news.result}: {name}{f', {news.day}' if news.day else ''}"]
    if news.result == "failed":
        lines.append(": ".join(filter(None, (news.stage, news.sentence))) or "nothing says why")
    if news.orders is not None:
        lines.append(f"{news.orders:,} orders, revenue {news.revenue}{f' {news.currency}' if news.currency else ''}")
    if news.rows is not None:
        share = f" ({news.rejected_share:.2%})" if news.rejected_share is not None else ""
        lines.append(f"{news.rejected:,} of {news.rows:,} rows rejected{share}")
    if seen := news.seen_before:
        kinds = f"{seen['same']:,} the same again, {seen['other']:,} with other values"
        lines.append(f"{seen['rows']:,} seen before ({kinds})")
        if seen.get("corrections"):
            amount = f"{seen['corrected_orders']} orders and {seen['corrected_revenue']}"
            lines.append(f"corrected: {amount} of earlier runs")
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
