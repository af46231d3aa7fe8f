"""Check every partition in parallel, one Dask task each."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from daskjobs.cluster.backends import connect
from daskjobs.cluster.connection import Workload
from daskjobs.cluster.tuning import KEEP_MEMORY
from daskjobs.configured import dask_configured
from daskjobs.errors import ClusterError, ConfigError, LostWorkError, StorageError
from daskjobs.events import event
from daskjobs.files.digest import Piece
from daskjobs.files.documents import dump
from daskjobs.files.storage import Storage
from daskjobs.orders import validation
from daskjobs.orders.validation.limit import Limit
from daskjobs.orders.validation.result import Checked, Ledger
from daskjobs.pipeline.context import Done
from daskjobs.pipeline.ending import bounded
from daskjobs.pipeline.manifest import Manifest
from daskjobs.pipeline.stage import Stage, numbered
from daskjobs.stages import generate, split
from daskjobs.stages.run_settings import Context, Settings

if TYPE_CHECKING:
    from distributed import Client

    from daskjobs.orders.plan import Plan
    from daskjobs.orders.rules.ruleset import Ruleset
    from daskjobs.orders.validation.partition import Task

NAME = "validate"
RULES, PERFORMANCE, REPEATS = "validate/rules.json", "validate/performance.html", "validate/repeats-*.pieces"
ELSEWHERE = "validate/elsewhere-*.pieces"
PARTITION_FILES = {
    "paid": "validate/part-*/paid.parquet",
    "unpaid": "validate/part-*/unpaid.parquet",
    "quarantine": "validate/part-*/quarantine.parquet",
    "ids": "validate/part-*/ids.pieces",
    "summary": "validate/part-*/summary.parquet",
    "result": "validate/part-*/result.json",
}
Gathered = Callable[..., list[Any]]  # what `gather` does, with this run's connection
PROCESS_ROWS = 5_000_000  # from here on, processes are faster than threads in spite of their slow start, on two cores


def partition_files(number: int) -> dict[str, str]:
    """Return the names of a partition's files, by their content."""
    return {content: numbered(name, number) for content, name in PARTITION_FILES.items()}


def workload() -> Workload:
    """Return what the partitions' tasks ask of their workers."""
    # It is only named here, since `daskjobs cluster` doesn't run it: it would load Arrow and more.
    return Workload(preload=(f"{validation.__name__}.partition",), results=False)


def execute(context: Context) -> Manifest:
    """Write for each partition, under validate/, the files that `partition_files` names.

    validate/rules.json has every rule's sentence. A partition that an earlier attempt has finished with the same
    inputs, rules and version is kept. Raises LostWorkError when tasks are lost or don't end within the timeout, and
    InputError as soon as too many rows are rejected; a small run continues, to write its whole account.
    """
    from daskjobs.orders.rules.ruleset import read_rules
    from daskjobs.orders.sources.names import status_names

    context.refuse_own("--rules", filter(None, [context.settings.rules]))
    as_of = context.manifest(split.NAME).settings.get("as_of", "")
    ruleset = read_rules(context.storage, context.settings.rules, context.settings.rule_functions, as_of)
    rules = {"rules": ruleset.sha256} if ruleset.name else {}
    profiled = "profile" in context.manifest(split.NAME).settings  # then split has the statuses, too
    settings = {} if profiled else {"statuses": status_names(context.settings.statuses)}
    return context.commit(
        NAME, context.digest(split.NAME) | rules, settings, lambda: _check(context, rules, ruleset, settings)
    )


def _check(context: Context, rules: dict[str, str], ruleset: "Ruleset", settings: dict[str, Any]) -> Done:
    with dask_configured():
        from daskjobs.cluster.tasks import gather
        from daskjobs.cluster.usage import measured
    from daskjobs.orders.validation.partition import Task

    date = {"as_of": ruleset.context.as_of.isoformat()} if ruleset.context else {}
    depends = [context.output(split.NAME, split.PARTITIONS).sha256, rules | date, settings, context.version]
    plan = split.read_plan(context)
    ruleset = replace(ruleset, profile=plan.profile)
    task = Task(
        root=context.settings.run_uri,
        limit=Limit(plan.rows, context.settings.max_rejected),
        extra=plan.extra,
        ruleset=ruleset,
        key=hashlib.sha256(dump(depends)).hexdigest(),
        truth=(generate.TRUTH, plan.truth) if plan.truth else None,
        **settings,
        profile=plan.profile,
        secrets=split.opening(context).secrets,
    )
    cluster = context.settings.cluster
    waits, timeout = cluster.longest_start, cluster.timeout
    processes, why = _processes(plan.rows, ruleset.name)
    event("cluster.chosen", workers="processes" if processes else "threads", why=why)
    with bounded() as bound:
        bound(waits, ClusterError.exit_code, f"the Dask cluster didn't come up within {waits:g} s, and nothing answers")
        work = replace(
            workload(), processes=processes, environment=_environment(), check=context.storage.check, tell=context.tell
        )
        with connect(cluster, work) as connection:
            bound(timeout, LostWorkError.exit_code, f"--timeout {timeout:g} is over, and nothing answers: allow more")
            context.tell(f"dashboard {connection.facts.dashboard}")
            objects = connection.facts.objects and context.note(NAME, connection.facts.to_json())
            results = {partition_files(each.number)["result"] for each in plan.partitions}
            kept = not results.isdisjoint(context.storage.names(NAME))
            page = _performance(context, connection.client) if connection.watched else nullcontext()
            with page, measured(connection, len(plan.partitions), kept) as measurement:
                gathered = partial(
                    gather, connection, time.monotonic() + timeout, progress=context.progress, suspect=ruleset.name
                )
                sentences = _sentences(gathered, ruleset)
                checked = _validated(gathered, task, plan)
    facts = connection.facts.to_json() | ({"objects": objects} if objects else {})
    if measurement.resources is not None:
        facts["resources"] = measurement.resources.to_json()
    outputs = {RULES: context.storage.put(RULES, dump(sentences))}
    for each in checked:
        outputs |= {**each.result.outputs, partition_files(each.result.partition)["result"]: each.file}
    ledgers = [each.result.rows for each in checked]
    ledger = Ledger(
        rows_in=sum(each.rows_in for each in ledgers),
        valid=sum(each.valid for each in ledgers),
        rejected=sum(each.rejected for each in ledgers),
        furniture=sum(each.furniture for each in ledgers),
    )
    return Done(outputs, ledger, facts, (PERFORMANCE,))


def _sentences(gathered: Gathered, ruleset: "Ruleset") -> dict[str, str]:
    """Return each rule's sentence; a worker loads the user's rules for that, before any row is checked."""
    if not ruleset.name:
        return ruleset.sentences
    from daskjobs.cluster.tasks import Job, TooLateError
    from daskjobs.orders.rules.ruleset import load_sentences

    try:
        (sentences,) = gathered(load_sentences, [Job("rule file", (ruleset,), ruleset.name)])
    except TooLateError as error:
        raise ConfigError(
            f"{ruleset.name} was still loading when --timeout was over: a file of rules defines functions, and does "
            "nothing else"
        ) from error
    return dict(sentences)


def _validated(gathered: Gathered, task: "Task", plan: "Plan") -> list[Checked]:
    """Check all partitions, look for what they have in common, and check those again that this changes.

    First for keys that occur twice, then, where rows are lines, for orders of which runs stand in several places: which
    rows pass decides which row is an order's head. Where each key is there once, and each order's lines stand together,
    every partition is checked once.
    """
    from daskjobs.cluster.tasks import Job
    from daskjobs.orders.validation.duplicates import buckets, find_repeats, find_runs
    from daskjobs.orders.validation.partition import check_partition

    def job(number: int, repeats: dict[str, Piece], others: dict[str, Piece]) -> Job:
        partition = plan.partitions[number]
        arguments = task, partition, plan.files_of(partition), partition_files(number), repeats, others
        return Job(f"partition {number}", arguments, plan.place(partition))

    def searched(find: Callable[..., Any], target: str, pieces: list[list[list[Piece]]]) -> dict[int, dict[str, Piece]]:
        """Return the pieces of files in which a search in all buckets has found something, by partition."""
        targets = [numbered(target, bucket) for bucket in range(buckets(plan.rows))]
        names = [partition_files(each.result.partition)["ids"] for each in checked]
        jobs = [
            Job(f"bucket {at}", (task.root, [(name, each[at]) for name, each in zip(names, pieces, strict=True)], into))
            for at, into in enumerate(targets)
        ]
        found: list[dict[int, Piece]] = gathered(find, jobs)
        by_partition = (
            (number, {into: each[number] for into, each in zip(targets, found, strict=True) if number in each})
            for number in range(len(checked))
        )
        return {number: each for number, each in by_partition if each}

    def check_again(repeats: dict[int, dict[str, Piece]], others: dict[int, dict[str, Piece]]) -> None:
        numbers = sorted(others or repeats)
        jobs = [job(number, repeats.get(number, {}), others.get(number, {})) for number in numbers]
        for number, each in zip(numbers, gathered(check_partition, jobs), strict=True):
            checked[number] = each

    jobs = [job(number, {}, {}) for number in range(len(plan.partitions))]
    checked: list[Checked] = gathered(check_partition, jobs, done=_judging(task.limit))
    by_line = plan.profile is not None and plan.profile.by_line
    repeats: dict[int, dict[str, Piece]] = {}
    if not by_line or (plan.profile and plan.profile.order.key):
        last = plan.profile is not None and plan.profile.order.repeats == "last"
        repeats = searched(partial(find_repeats, last=last), REPEATS, [each.result.ids for each in checked])
        check_again(repeats, {})
    if by_line and (others := searched(find_runs, ELSEWHERE, [each.result.runs for each in checked])):
        check_again(repeats, others)
    return checked


def _judging(limit: Limit) -> Callable[[Checked], None]:
    """Return a function that counts rejected rows of all partitions, and raises InputError when there are too many."""
    reasons, rejected = Counter[str](), 0

    def done(each: Checked) -> None:
        nonlocal rejected
        rejected += each.result.rows.rejected
        reasons.update(each.result.reasons)
        if limit.ends_early(rejected):
            raise limit.early(rejected, reasons)

    return done


def _processes(rows: int, rules: str) -> tuple[bool, str]:
    """Tell whether local workers should be processes, and why.

    Threads start at once. Processes take half a second more, but don't wait for each other's hold of Python's lock, and
    keep freed memory (`tuning.KEEP_MEMORY`), which must be set before a process starts. And they can be killed,
    whatever the user's rules do in them.
    """
    if rules:
        return True, f"{rules} is code of its own, which may run for ever or end its process"
    if rows < PROCESS_ROWS:
        return False, f"{rows} rows are soon done: the start of processes pays from {PROCESS_ROWS} rows on"
    return True, f"{rows} rows are worth the start of processes, which don't wait for each other as threads do"


def _environment() -> dict[str, str]:
    """Return the variables that make worker processes keep freed memory, if this machine's Arrow supports them."""
    import pyarrow as pa

    return KEEP_MEMORY if "jemalloc" in pa.supported_memory_backends() else {}


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
    mine, theirs = {name: getattr(settings, name) for name in settings.given}, dict(manifest.settings)
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
    files=(RULES, PERFORMANCE, REPEATS, ELSEWHERE, *PARTITION_FILES.values()),
    rows=Ledger,
    execute=execute,
    artifacts=(PERFORMANCE,),
    lasting=(f"{NAME}/facts.json", *PARTITION_FILES.values()),
    compared=_compared,
)
