"""Who hears of a run: a notification of how it ended, posted once, and OpenLineage events of its beginning and end.

What can't be posted is a warning: no run ends because of it, and no exit code changes.
"""

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from daskjobs.errors import DaskjobsError
from daskjobs.events import event
from daskjobs.files.documents import dump, parse, to_json
from daskjobs.options import flags
from daskjobs.pipeline.manifest import Manifest
from daskjobs.series.layout import COLUMNS, RULES, TOLD
from daskjobs.series.runs import made
from daskjobs.stages import generate, lineage, merge, report, validate
from daskjobs.stages.news import News, marked, news_of, plain, text
from daskjobs.stages.outcome import STOP_SECONDS, Outcome
from daskjobs.stages.post import SECONDS, WEB, NotPostedError, host_of, post_json, post_text, refuse_address
from daskjobs.stages.run_settings import Context, Settings

START_SECONDS = 10.0  # for the event that a run begins, which waits for it
TEXT_ALONE = ("hooks.slack.com", "hooks.slack-gov.com")  # whose documentation promises nothing for other keys


@dataclass(frozen=True)
class Posted:
    """What of a run was posted: the hash of its last notification, and how many attempts have begun and ended."""

    notified: str = ""
    begun: int = 0
    ended: int = 0


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
    posted = _posted(context)
    if posted.begun > posted.ended:
        return
    posted = replace(posted, begun=posted.begun + 1)
    context.storage.put(TOLD, dump(posted), durable=True)
    settings, at = context.settings, _now()
    _emit(context, lineage.started(settings.run_uri, settings.cluster.namespace, _run_id(context, posted), at))


def end(context: Context, readable: bool, trouble: str) -> None:
    """Post how the run ended: a notification, unless the last one said the same, and the event of its end.

    ``readable`` says whether the run's files can be read and written: otherwise there are no numbers, and nothing that
    says what was posted before. ``trouble`` is what cleanup couldn't do.
    """
    settings = context.settings
    if not (settings.notify or settings.openlineage):
        return
    manifests, news, posted = {}, None, Posted()
    if readable:
        try:
            manifests, posted = _manifests(context), _posted(context)
            news = news_of(context, _outcome(context, manifests), manifests, _made(context))
        except (DaskjobsError, ValueError) as error:
            event("told.unreadable", level=logging.WARNING, error=error)
            readable, manifests = False, {}
    outcome = _outcome(context, manifests)
    news = news or plain(context, outcome)
    if trouble:
        news = replace(news, warnings=[*news.warnings, trouble])
    for post in (_notified, _lineage_ended):
        new = post(context, posted, outcome, news, manifests)
        if readable and new != posted:
            try:
                context.storage.put(TOLD, dump(new), durable=True)
            except DaskjobsError as error:
                event("told.unwritten", level=logging.WARNING, error=error)
        posted = new


def _notified(context: Context, posted: Posted, outcome: Outcome, news: News, manifests: dict[str, Manifest]) -> Posted:
    """Post the news to the address of --notify, if the last ones were others."""
    address, flag = context.settings.notify, flags(context.settings)["notify"]
    made = manifests[report.NAME].to_json() if report.NAME in manifests else b""
    same = dump([replace(news, warnings=[]), outcome.at, hashlib.sha256(made).hexdigest()])
    key = hashlib.sha256(same).hexdigest()
    if not address or key == posted.notified:
        return posted
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
        return posted
    event("notify.done", result=news.result)
    return replace(posted, notified=key)


def _lineage_ended(
    context: Context, posted: Posted, outcome: Outcome, _: News, manifests: dict[str, Manifest]
) -> Posted:
    """Post the event that the run has ended, if it has begun since the last one."""
    settings = context.settings
    if not settings.openlineage or 0 < posted.begun <= posted.ended:
        return posted
    if not posted.begun:  # it failed before its first stage, or its files can't be read
        posted = replace(posted, begun=posted.ended + 1)
        start = lineage.started(settings.run_uri, settings.cluster.namespace, _run_id(context, posted), _now())
        if not _emit(context, start, outcome.stopped):
            return replace(posted, ended=posted.begun)
    run, at = _run_id(context, posted), _now()
    checked = _checked(context, manifests)
    namespace = settings.cluster.namespace
    _emit(
        context,
        lineage.ended(settings.run_uri, namespace, run, at, outcome, manifests, checked),
        outcome.stopped,
        SECONDS,
    )
    return replace(posted, ended=posted.begun)


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
        return made(context.settings.run_uri)
    except DaskjobsError:
        return ""


def _run_id(context: Context, posted: Posted) -> str:
    return lineage.run_id(context.settings.run_uri, _made(context), posted.begun)


def _posted(context: Context) -> Posted:
    data = context.storage.find(TOLD)
    try:
        return Posted() if data is None else parse(data, Posted)
    except ValueError as error:
        event("told.unreadable", level=logging.WARNING, error=error)
        return Posted()


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


def _checked(context: Context, manifests: dict[str, Manifest]) -> lineage.Checked | None:
    """Return what is known of the input, once every row is accounted for."""
    if merge.NAME not in manifests:
        return None
    merged = manifests[merge.NAME].counted(merge.MergeRows)
    try:
        rules = parse(context.vouched(validate.NAME, RULES), dict[str, str])
        there = report.NAME in manifests and COLUMNS in manifests[report.NAME].outputs
        columns = json.loads(context.vouched(report.NAME, COLUMNS))["columns"] if there else []
    except (DaskjobsError, ValueError) as error:
        event("told.unreadable", level=logging.WARNING, error=error)
        return None
    warned = merged.warned.reasons if merged.warned else {}
    return lineage.Checked(merged.rows_in, rules, {**merged.reasons, **warned}, columns, frozenset(warned))
