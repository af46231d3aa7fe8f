"""Check every partition in parallel, one Dask task each."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from daskjobs.cluster.backends import connect
from daskjobs.configured import dask_configured
from daskjobs.errors import ClusterError, ConfigError, LostWorkError, StorageError
from daskjobs.events import event
from daskjobs.files.digest import Output, Piece
from daskjobs.files.documents import dump
from daskjobs.files.storage import Storage
from daskjobs.orders.rules.levels import ALWAYS_WARN, refuse_unknown
from daskjobs.orders.validation.limit import Limit
from daskjobs.orders.validation.result import SEEN_BEFORE, Checked, Ledger, PartitionResult
from daskjobs.pipeline.context import Done
from daskjobs.pipeline.ending import bounded
from daskjobs.pipeline.manifest import Manifest
from daskjobs.pipeline.stage import Stage, numbered
from daskjobs.series.drift import limits
from daskjobs.series.layout import EARLIER, PARTITION_FILES, PARTITIONS, RULES, WARNED, partition_files
from daskjobs.stages import generate, split
from daskjobs.stages.known import Names, Series, find_known
from daskjobs.stages.run_settings import Context, Settings
from daskjobs.stages.workers import are_processes, local_workload

if TYPE_CHECKING:
    from distributed import Client

    from daskjobs.orders.plan import Plan
    from daskjobs.orders.rules.ruleset import Ruleset
    from daskjobs.orders.validation.duplicates import Part
    from daskjobs.orders.validation.partition import Task

NAME = "validate"
PERFORMANCE, REPEATS = "validate/performance.html", "validate/repeats-*.pieces"
ELSEWHERE = "validate/elsewhere-*.pieces"
READ_AGAIN, DIVIDED = "validate/ids-*.pieces", "validate/bucket-*.pieces"  # these are gone when the stage has ended
KNOWN = Names(
    "validate/filter-*.bits",
    "validate/known-*.pieces",
    "validate/matches-*.pieces",
    "validate/earlier-*.pieces",
    "validate/taken-*.pieces",
)  # and these
Gathered = Callable[..., list[Any]]  # what `gather` does, with this run's connection


@dataclass(frozen=True)
class ValidateRows(Ledger):
    """The ledger; where the sender says how many, also the distinct order ids, of each file and, under "", of all."""

    ids: dict[str, int] = field(default_factory=dict, kw_only=True)


Found = dict[int, dict[str, Piece]]  # by partition, the pieces of files in which something was found for it
InBuckets = dict[int, tuple[str, list[list[Piece]]]]  # by partition, a file, and its pieces by bucket
Search = Callable[..., Found]  # what `find_known` does, for the earlier runs of the series


def execute(context: Context) -> Manifest:
    """Write for each partition, under validate/, the files that `partition_files` names.

    validate/rules.json has every rule's sentence. A partition that an earlier attempt has finished with the same
    inputs, rules and version is kept. Raises LostWorkError when tasks are lost or don't end within the timeout, and
    InputError as soon as too many rows are rejected; a small run continues, to write its whole account.
    """
    from daskjobs.orders.rules.ruleset import read_rules
    from daskjobs.orders.sources.names import status_names

    context.refuse_own("--rules", filter(None, [context.settings.rules]))
    as_of, series = context.manifest(split.NAME).settings.get("as_of", ""), _series(context)
    ruleset = read_rules(context.storage, context.settings.rules, context.settings.rule_functions, as_of)
    ruleset = replace(ruleset, known=series is not None)
    rules = {"rules": ruleset.sha256} if ruleset.name else {}
    profiled = "profile" in context.manifest(split.NAME).settings  # then split has the statuses, too
    settings = {} if profiled else {"statuses": status_names(context.settings.statuses)}
    warn = {"warn": context.settings.warn} if context.settings.warn else {}
    if _names_rules(context.settings) and not ruleset.name:  # else a worker must load the user's own rules first
        _refuse_unknown(context.settings, replace(ruleset, profile=split.read_plan(context).profile))
    return context.commit(
        NAME,
        context.digest(split.NAME) | rules,
        settings | warn,
        lambda: _check(context, rules, ruleset, settings, series),
    )


def _series(context: Context) -> Series | None:
    """Return the earlier runs whose orders are not counted again, if --known was given."""
    settings, earlier = context.manifest(split.NAME).settings, split.read_earlier(context)
    if not (settings.get("known") and earlier):
        return None
    return Series(earlier.known_runs(context.stages), settings.get("again") == "newest")


def refuse(context: Context) -> None:
    """Raise UsageError for names of rules that aren't there, before the folder of a new run is made.

    Rules of the user's own are known to workers alone.
    """
    settings = context.settings
    dropped = not settings.input and settings.profile  # Argo hands on orders, and they have the profile
    if _names_rules(settings) and not (settings.rules or settings.rule_functions or dropped):
        from daskjobs.orders.rules.ruleset import Ruleset

        _refuse_unknown(settings, Ruleset(profile=split.read_profile_of(context), known=bool(settings.known)))


def _names_rules(settings: Settings) -> bool:
    return bool(settings.warn or Limit.of(0, settings.max_rejected).by_reason)


def _refuse_unknown(settings: Settings, ruleset: "Ruleset") -> None:
    limit, warn = Limit.of(0, settings.max_rejected), _names(settings.warn)
    known = replace(ruleset, warn=warn)
    refuse_unknown(known.sentences, warn, limit.by_reason, known.left_out)


def _names(warn: str) -> frozenset[str]:
    return frozenset(filter(None, warn.split(",")))


def _check(
    context: Context, rules: dict[str, str], ruleset: "Ruleset", settings: dict[str, Any], series: Series | None
) -> Done:
    with dask_configured():
        from daskjobs.cluster.tasks import gather
        from daskjobs.cluster.usage import measured
    from daskjobs.orders.rules.builtin import of_profile
    from daskjobs.orders.rules.profiled import BUILT_IN
    from daskjobs.orders.sources import format_of
    from daskjobs.orders.validation.duplicates import buckets
    from daskjobs.orders.validation.partition import Task
    from daskjobs.orders.validation.received import ToCount

    date = {"as_of": ruleset.context.as_of.isoformat()} if ruleset.context else {}
    plan, warn, to_count = split.read_plan(context), context.settings.warn, ToCount.of(split.read_sent(context))
    depends = [context.output(split.NAME, PARTITIONS).sha256, rules | date, settings, context.version, warn, to_count]
    if series:
        depends += [context.output(split.NAME, EARLIER).sha256, str(series.newest)]
        series.refuse(plan.profile, plan.extra)
    count, smaller = buckets(plan.rows, len(plan.partitions))
    always = of_profile(plan.profile).keys() & ALWAYS_WARN
    ruleset = replace(ruleset, profile=plan.profile, warn=_names(warn) | always)
    task = Task(
        root=context.settings.run_uri,
        limit=Limit.of(plan.rows, context.settings.max_rejected),
        extra=plan.extra,
        ruleset=ruleset,
        key=hashlib.sha256(dump(depends)).hexdigest(),
        truth=(generate.TRUTH, plan.truth) if plan.truth else None,
        **settings,
        profile=plan.profile,
        buckets=count,
        smaller=smaller,
        secrets=split.opening(context).secrets,
        newest=series is not None and series.newest,
        to_count=to_count,
    )
    cluster = context.settings.cluster
    waits, timeout = cluster.longest_start, cluster.timeout
    processes, why = are_processes(sum(format_of(file).weight(file) for file in plan.files), ruleset.name)
    event("cluster.chosen", workers="processes" if processes else "threads", why=why)
    with bounded() as bound:
        bound(waits, ClusterError.exit_code, f"the Dask cluster didn't come up within {waits:g} s, and nothing answers")
        with connect(cluster, local_workload(context, processes), context.early) as connection:
            bound(timeout, LostWorkError.exit_code, f"--timeout {timeout:g} is over, and nothing answers: allow more")
            context.tell(f"dashboard {connection.facts.dashboard}")
            objects = connection.facts.objects and context.note(NAME, connection.facts.to_json())
            there = {*context.storage.names(NAME)}
            kept = frozenset(each.number for each in plan.partitions if partition_files(each.number)["result"] in there)
            task = replace(task, kept=kept)
            page = _performance(context, connection.client) if connection.watched else nullcontext()
            with page, measured(connection, len(plan.partitions), bool(kept)) as measurement:
                gathered = partial(
                    gather, connection, time.monotonic() + timeout, progress=context.progress, suspect=ruleset.name
                )
                sentences, own = _sentences(gathered, ruleset)
                refuse_unknown(sentences, ruleset.warn, task.limit.by_reason, ruleset.left_out)
                limits(context.settings.max_drift).refuse_unknown({*BUILT_IN, *sentences})
                task = replace(task, ruleset=replace(ruleset, warn=ruleset.warn | {*own}))
                checked = _validated(gathered, task, plan, partial(find_known, KNOWN, series) if series else None)
                distinct = _distinct(gathered, task, checked) if to_count and to_count.ids else {}
    facts = connection.facts.to_json() | ({"objects": objects} if objects else {})
    if measurement.resources is not None:
        facts["resources"] = measurement.resources.to_json()
    outputs = {RULES: context.storage.put(RULES, dump(sentences))}
    for each in checked:
        outputs |= {**each.result.outputs, partition_files(each.result.partition)["result"]: each.file}
    ledgers = [each.result.rows for each in checked]
    ledger = ValidateRows(
        rows_in=sum(each.rows_in for each in ledgers),
        valid=sum(each.valid for each in ledgers),
        rejected=sum(each.rejected for each in ledgers),
        furniture=sum(each.furniture for each in ledgers),
        ids=distinct,
    )
    return Done(outputs, ledger, facts, (PERFORMANCE,))


def _sentences(gathered: Gathered, ruleset: "Ruleset") -> tuple[dict[str, str], list[str]]:
    """Return each rule's sentence, and which of the user's own warn.

    A worker loads the user's rules for that, before any row is checked.
    """
    if not ruleset.name:
        return ruleset.sentences, []
    from daskjobs.cluster.tasks import Job, TooLateError
    from daskjobs.orders.rules.ruleset import load_sentences

    try:
        ((sentences, warn),) = gathered(load_sentences, [Job("rule file", (ruleset,), ruleset.name)])
    except TooLateError as error:
        raise ConfigError(
            f"{ruleset.name} was still loading when --timeout was over: a file of rules defines functions, and does "
            "nothing else"
        ) from error
    return dict(sentences), list(warn)


def _files(number: int, ruleset: "Ruleset") -> dict[str, str]:
    """Return the names of a partition's files, by their content."""
    return partition_files(number) | ({"warned": numbered(WARNED, number)} if ruleset.warn else {})


def _validated(gathered: Gathered, task: "Task", plan: "Plan", search: Search | None) -> list[Checked]:
    """Check all partitions, look for what they have in common, and check those again that this changes.

    First for keys that occur twice, then, where rows are lines, for orders of which runs stand in several places: which
    rows pass decides which row is an order's head. Where each key is there once, and each order's lines stand together,
    every partition is checked once. Last, with ``search``, for orders that earlier runs of the series have counted.
    """
    from daskjobs.cluster.tasks import Job
    from daskjobs.orders.validation.duplicates import find_repeats, find_runs
    from daskjobs.orders.validation.partition import check_partition

    def job(number: int, *found: dict[str, Piece]) -> Job:
        partition = plan.partitions[number]
        arguments = task, partition, plan.files_of(partition), _files(number, task.ruleset), *found
        return Job(f"partition {number}", arguments, plan.place(partition))

    def check_again(numbers: Iterable[int]) -> None:
        jobs = [job(number, *(found.get(number, {}) for found in (repeats, others, seen))) for number in numbers]
        for number, each in zip(numbers, gathered(check_partition, jobs), strict=True):
            checked[number] = each

    jobs = [job(number, {}) for number in range(len(plan.partitions))]
    checked: list[Checked] = gathered(check_partition, jobs, done=_judging(task.limit))
    by_line = plan.profile is not None and plan.profile.by_line
    repeats, others, seen = Found(), Found(), Found()
    if not by_line or (plan.profile and plan.profile.order.key):
        last = plan.profile is not None and plan.profile.order.repeats == "last"
        ids = _ids_in_buckets(gathered, task, [each.result for each in checked])
        repeats = _searched(gathered, task, partial(find_repeats, last=last), REPEATS, ids)
        if by_line or not search:
            check_again(sorted(repeats))
    if by_line:
        runs = _runs([each.result for each in checked])
        others = _searched(gathered, task, find_runs, ELSEWHERE, runs)
        if not search:
            check_again(sorted(others))
    if search:
        entries = _runs if by_line else partial(_in_buckets, gathered, task)
        seen = search(gathered, task, [each.result for each in checked], entries)
        check_again(sorted({*seen, *others} if by_line else {*seen, *repeats}))
    return checked


def _runs(results: list[PartitionResult]) -> InBuckets:
    """Return the entries of the runs of lines of partitions."""
    return {each.partition: (_file(each, "ids")[0], each.runs) for each in results}


def _file(result: PartitionResult, content: str) -> tuple[str, Output]:
    """Return the name of a partition's file, and what it must hold."""
    name = partition_files(result.partition)[content]
    return name, result.outputs[name]


def _ids_in_buckets(gathered: Gathered, task: "Task", results: list[PartitionResult]) -> InBuckets:
    """Return the ids of the partitions that may have repeated ones."""
    from daskjobs.orders.validation.duplicates import suspected

    return _in_buckets(gathered, task, [results[number] for number in suspected([each.ids for each in results])])


def _in_buckets(gathered: Gathered, task: "Task", some: list[PartitionResult]) -> InBuckets:
    """Return the ids of partitions.

    Those that such a partition hasn't written are read again from its orders, and written for this search alone.
    """
    from daskjobs.cluster.tasks import Job
    from daskjobs.orders.validation.ids import read_again

    found = {each.partition: (_file(each, "ids")[0], each.ids.buckets) for each in some}
    jobs, targets = list[Job](), dict[int, str]()
    for each in some:
        if not each.ids.buckets:
            targets[each.partition] = into = numbered(READ_AGAIN, each.partition)
            noted = _file(each, "ids")[0], each.ids
            arguments = task.root, _file(each, "paid"), _file(each, "unpaid"), noted, into, task.buckets
            jobs.append(Job(f"ids {each.partition}", arguments))
    written = zip(targets.items(), gathered(read_again, jobs), strict=True)
    return found | {number: (into, pieces) for (number, into), pieces in written}


def _searched(gathered: Gathered, task: "Task", find: Callable[..., Any], target: str, entries: InBuckets) -> Found:
    """Return the pieces of files in which a search in all buckets has found something, by partition."""
    from daskjobs.cluster.tasks import Job

    parts = _parts(gathered, task, entries)
    targets = {numbered(target, at): each for at, each in enumerate(parts) if each}
    jobs = [Job(f"bucket {at}", (task.root, each, into)) for at, (into, each) in enumerate(targets.items())]
    by_partition: Found = {}
    for name, found in zip(targets, gathered(find, jobs), strict=True):
        for number, piece in found.items():
            by_partition.setdefault(number, {})[name] = piece
    return by_partition


def _distinct(gathered: Gathered, task: "Task", checked: list[Checked]) -> dict[str, int]:
    """Return how many distinct order ids there are, in each file and, under an empty text, in all."""
    from daskjobs.cluster.tasks import Job
    from daskjobs.orders.validation.duplicates import count_distinct

    entries = {each.result.partition: (_file(each.result, "ids")[0], each.result.received_ids) for each in checked}
    parts = filter(None, _parts(gathered, task, entries))
    counts = Counter[str]()
    for found in gathered(count_distinct, [Job(f"bucket {at}", (task.root, each)) for at, each in enumerate(parts)]):
        counts.update(found)
    return {"": counts.pop("", 0), **{number: counts[number] for number in sorted(counts, key=int)}}


def _parts(gathered: Gathered, task: "Task", entries: InBuckets) -> "list[list[Part]]":
    """Return where the entries of each bucket stand, after very large ones were divided."""
    from daskjobs.cluster.tasks import Job
    from daskjobs.orders.validation.duplicates import Part, divide

    parts = [
        [Part(name, pieces[at], number) for number, (name, pieces) in entries.items() if pieces[at]]
        for at in range(task.buckets)
    ]
    if task.smaller > 1:
        into = [numbered(DIVIDED, at) for at in range(len(parts))]
        jobs = [Job(f"bucket {at}", (task.root, each, into[at], task.smaller)) for at, each in enumerate(parts)]
        divided = zip(into, gathered(divide, jobs), strict=True)
        parts = [[Part(name, pieces)] if pieces else [] for name, smaller in divided for pieces in smaller]
    return parts


def _judging(limit: Limit) -> Callable[[Checked], None]:
    """Return a function that counts rejected rows of all partitions, and raises InputError when there are too many."""
    reasons, warned, rejected = Counter[str](), Counter[str](), 0

    def done(each: Checked) -> None:
        nonlocal rejected
        rejected += each.result.rows.rejected - each.result.reasons.get(SEEN_BEFORE, 0)
        reasons.update(each.result.reasons)
        warned.update(each.result.warned.reasons if each.result.warned else {})
        if limit.ends_early(rejected, reasons + warned):
            raise limit.early(rejected, reasons, warned)

    return done


@contextmanager
def _performance(context: Context, client: "Client") -> Iterator[None]:
    """Save the dashboard's pages when the block ends, since the cluster may be gone afterwards."""
    from daskjobs.cluster.performance import performance_page

    with TemporaryDirectory() as folder:
        page = Path(folder) / "performance.html"
        with performance_page(client, page, context.settings.cluster.timeout):
            yield
        if page.exists():
            context.storage.put(PERFORMANCE, page.read_bytes())


def _compared(settings: Settings, manifest: Manifest) -> tuple[dict[str, Any], dict[str, Any]]:
    mine, theirs = {name: getattr(settings, name) for name in settings.given}, {"warn": "none", **manifest.settings}
    if "statuses" in mine:
        from daskjobs.orders.sources.names import status_names

        mine["statuses"] = status_names(mine["statuses"])
    if "rules" in mine or "rule_functions" in mine:
        with suppress(StorageError, ConfigError):  # if the file is gone by now, validate has read it
            from daskjobs.orders.rules.beside import read_file

            functions, storage = settings.rule_functions, Storage(settings.run_uri)
            mine["rules"] = functions.sha256 if functions else read_file(storage, settings.rules)[2]
            theirs["rules"] = manifest.inputs.get("rules", "none")
    return mine, theirs


STAGE = Stage(
    NAME,
    "Check every partition in parallel on a Dask cluster.",
    needs=(split.NAME,),
    files=(
        RULES,
        PERFORMANCE,
        REPEATS,
        ELSEWHERE,
        READ_AGAIN,
        DIVIDED,
        *vars(KNOWN).values(),
        WARNED,
        *PARTITION_FILES.values(),
    ),
    rows=ValidateRows,
    execute=execute,
    artifacts=(PERFORMANCE,),
    lasting=(f"{NAME}/facts.json", WARNED, *PARTITION_FILES.values()),
    compared=_compared,
)
