"""Find partitions of whole rows, without copying files that can be read in ranges."""

import hashlib
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from fsspec.core import has_magic
from fsspec.utils import get_protocol

from daskjobs.cores import cores, in_turn
from daskjobs.display import counted, listed
from daskjobs.errors import ConfigError, DaskjobsError, InputError, StorageError, UsageError
from daskjobs.files.digest import Output
from daskjobs.files.documents import dump, parse
from daskjobs.files.storage import Storage, damaged, real_path
from daskjobs.orders.dialect import InputFormat
from daskjobs.orders.sent import (
    MOST_BYTES,
    Control,
    Sent,
    expected,
    fingerprint,
    our_columns,
    read_control,
    refuse_contradiction,
)
from daskjobs.pipeline.context import Done
from daskjobs.pipeline.manifest import Manifest
from daskjobs.pipeline.stage import Stage, numbered
from daskjobs.series.earlier import Asked, Earlier, find, refuse_asked, stands
from daskjobs.series.layout import EARLIER, PARTITIONS
from daskjobs.series.runs import COUNTING, counts_of, made, name_of
from daskjobs.stages import generate, workers
from daskjobs.stages.given import TABLE
from daskjobs.stages.run_settings import CURRENCY_ALONE, Context, Settings, refuse_twice

if TYPE_CHECKING:
    from daskjobs.orders.plan import Plan
    from daskjobs.orders.profiles import Profile
    from daskjobs.orders.sources.format import RowRange

NAME = "split"
VALIDATE = "validate"  # the next stage, which imports this one
SENT = "split/sent.json"
PLAIN = "split/input-*.plain"
PLAIN_BEFORE = "split/input-*.csv"  # what versions before 0.6.0 unpacked: it may be large, so this one removes it
LEAST, STEP, MOST = 5, 10, 200  # partitions, if their number isn't given
FEW_BYTES = 160 << 20  # inputs up to this size get the fewest partitions
IN_PROFILE = ("delimiter", "quoting", "encoding", "columns", "statuses", "currency")  # options that win over a profile
FEW = 16  # files whose sizes are looked at before they are described
OF_SERIES: dict[str, Any] = {"known": "", "known_days": 0, "again": "first", "compare": ""}  # with their defaults
HASHED_BYTES = 1 << 20  # read at a time
AT_ONCE_BYTES = 32 << 20  # files up to this size are cut in parallel; of a larger one, the progress is shown
PARTITION_BYTES = 80 << 20  # a core takes two thirds of a second for it, much longer than the 10 ms between two tasks


@dataclass(frozen=True)
class SplitRows:
    """The number of rows in the input, and of partitions."""

    out: int
    partitions: int


def execute(context: Context) -> Manifest:
    """Write split/partitions.json: the files with their columns, and the ranges of each partition.

    Where earlier runs are asked for, split/earlier.json says which ones are looked at.
    A range of lines never cuts a row, quoted newlines included; one of Parquet is whole row groups. It carries its
    first row's number in its file (from 1), its rows and a SHA-256. There are always as many partitions as asked for,
    or else as `_count` says; some may be empty. What can't be read in ranges (compressed, not UTF-8) is unpacked into
    split/ first.
    Raises InputError when the orders are missing or aren't orders, ConfigError when they are this run's own files.
    """
    if context.settings.input:
        found = _found(context.settings.input, context.settings.ignore_table)
        inputs = {listed(uri): mark for uri, mark in found.items()}
        context.refuse_own("--input", inputs)
    else:
        found, inputs = {}, context.digest(generate.NAME)
    names = ("partitions", "delimiter", "quoting", "encoding", "columns")
    settings = {name: getattr(context.settings, name) for name in names}
    settings["quoting"] = context.settings.input_format.quoting
    if len(context.settings.input) > 1:  # their order decides which of two rows with the same id counts
        settings["input"] = [listed(pattern) for pattern in context.settings.input]
    if as_of := _as_of(context, inputs):
        settings["as_of"] = as_of
    profile, said = _profile(context)
    sent = _sent(context, list(found), profile)
    if sent.expect:
        said["expect"] = context.settings.expect
    if sent.controls:
        said["control"] = fingerprint(sent.controls)
    settings |= said | of_series(context.settings)
    earlier = _earlier(context, inputs, settings)
    if earlier:
        settings["earlier"] = Output.of(dump(earlier)).sha256
    return context.commit(NAME, inputs, settings, lambda: _write(context, inputs, profile, earlier, sent))


def refuse(context: Context) -> None:
    """Raise UsageError for options that make no sense, before the folder of a new run is made.

    Of generated orders, and of those that Argo hands on, these are earlier runs alone.
    """
    settings = context.settings
    if settings.known or settings.compare:
        refuse_asked(asked(context, of_series(settings)), context.stages)
    if settings.input and (settings.profile or settings.currency or settings.expect):
        profile = read_profile_of(context)
        expected(settings.expect, our_columns(settings.columns, profile))


def read_profile_of(context: Context) -> "Profile | None":
    """Return the profile that --profile names, with what other options say in its place. Raises UsageError."""
    return _profile(context)[0]


def of_series(settings: Settings) -> dict[str, Any]:
    """Return what a run asks of earlier ones, of which split's manifest has what isn't a default."""
    asked = {name: getattr(settings, name) for name in OF_SERIES}
    return {name: value for name, value in asked.items() if value != OF_SERIES[name]}


def asked(context: Context, settings: dict[str, Any]) -> Asked:
    """Return what a run asks of earlier ones, from the settings in split's manifest."""
    began = made(context.settings.run_uri)
    named = {name: settings.get(name, OF_SERIES[name]) for name in ("known", "known_days", "compare")}
    return Asked(context.settings.run_uri, settings.get("as_of") or began[:10], began, **named)


def read_earlier(context: Context) -> Earlier | None:
    """Return the earlier runs that split has fixed; None when it was asked for none."""
    if EARLIER not in context.manifest(NAME).outputs:
        return None
    return parse(context.vouched(NAME, EARLIER), Earlier)


def _earlier(context: Context, inputs: dict[str, str], settings: dict[str, Any]) -> Earlier | None:
    """Return the earlier runs to look at: those that an earlier attempt has fixed, as long as they stand, or else anew.

    So a later attempt, and the same run when it is done again, look at the same runs, unless another one has come since
    that report would refuse.
    """
    if not (settings.get("known") or settings.get("compare")):
        return None
    before = context.committed(NAME)
    if before and before.inputs == inputs and EARLIER in before.outputs:
        kept = {name: value for name, value in before.settings.items() if name != "earlier"}
        with suppress(StorageError, ValueError):
            read = parse(context.storage.read(EARLIER, before.outputs[EARLIER]), Earlier)
            if kept == settings and stands(asked(context, settings), read, context.stages, _counts(context)):
                return read
    found = find(asked(context, settings), context.stages)
    if before and (others := found.that_know(name_of(context.settings.run_uri), context.stages)):
        context.tell(f"{', '.join(others)} looked at this run as it was before: run all stages of it again after this")
    if found.known or settings.get("known"):
        context.tell(f"{counted(len(found.known), 'earlier run')} in {found.series}")
    return found


def _counts(context: Context) -> str:
    """Return the hash of what this run has counted, if it will count that again; or else an empty text.

    It will if an earlier attempt has judged the rows as this one would: with the same version, by the same rules, those
    that warn among them, and the same statuses.
    """
    from daskjobs.orders.rules.ruleset import read_rules
    from daskjobs.orders.sources.names import status_names

    merged, validated = context.committed(COUNTING), context.committed(VALIDATE)
    if not merged or not validated:
        return ""
    settings, statuses = context.settings, status_names(context.settings.statuses)
    rules = read_rules(context.storage, settings.rules, settings.rule_functions).sha256
    then = validated.inputs.get("rules", ""), validated.settings.get("warn", "")
    same = (*then, validated.daskjobs) == (rules, settings.warn, context.version)
    return counts_of(merged) if same and validated.settings.get("statuses", statuses) == statuses else ""


def _sent(context: Context, uris: Sequence[str], profile: "Profile | None") -> Sent:
    """Return what the sender says of the input: by --expect, and in a control file beside each file that has one.

    Raises UsageError and InputError for what isn't known, or contradicts itself.
    """
    found = dict[str, str]()
    if uris:
        from daskjobs.orders.sources.inputs import find_controls

        found = find_controls(uris)
    if not found and not context.settings.expect:
        return Sent()
    names = our_columns(context.settings.columns, profile)
    controls = list[Control]()
    for number, uri in enumerate(uris):
        if uri in found:
            with context.storage.open(found[uri]) as file:
                data = file.read(MOST_BYTES + 1)
            name = listed(found[uri])
            if len(data) > MOST_BYTES:
                raise InputError(f"{name} has more than {MOST_BYTES >> 10} KiB, so it is hardly a control file")
            controls.append(Control(name, number, read_control(data, name.removeprefix("file://"), names)))
    sent = Sent(expected(context.settings.expect, names), controls)
    refuse_contradiction(sent, len(uris))
    return sent


def _verify_hashes(storage: Storage, name: str, control: Control) -> None:
    """Compare a file with the hashes that its control file says: it is read once more, as it lies there.

    Raises InputError when it differs.
    """
    found = {name: hashlib.new(name, usedforsecurity=False) for name in control.said.hashes}
    with storage.open(name) as file:
        while found and (data := file.read(HASHED_BYTES)):
            for each in found.values():
                each.update(data)
    for algorithm, said in control.said.hashes.items():
        if (has := found[algorithm].hexdigest()) != said:
            raise InputError(
                f"{name.removeprefix('file://')} has the {algorithm} {has}, and {control.name.removeprefix('file://')} "
                f"says {said}: it has not arrived as it was sent; ask its sender for it again, with its control file"
            )


def _profile(context: Context) -> "tuple[Profile | None, dict[str, Any]]":
    """Return the profile that --profile names, with what other options say in its place, and what it depends on.

    Generated orders have none. Raises UsageError when there is a --currency, and no profile that says where currencies
    are.
    """
    settings = context.settings
    if not settings.input:
        return None, {}
    if not settings.profile:
        if settings.currency:
            raise UsageError(CURRENCY_ALONE)
        return None, {}
    from daskjobs.orders.profiles.reading import is_preset, merged, read_profile
    from daskjobs.orders.sources.names import status_names

    if not is_preset(settings.profile):
        context.refuse_own("--profile", [settings.profile])
    read = read_profile(context.storage, settings.profile)
    profile = merged(read, **{name: getattr(settings, name) for name in IN_PROFILE})
    words = {"currency": settings.currency.upper(), "statuses": status_names(settings.statuses)}
    return profile, {"profile": read.sha256, "quoting": settings.quoting, **words}


def _as_of(context: Context, inputs: dict[str, str]) -> str:
    """Return the run's date, as ISO 8601 writes it; empty where there are no rules that could look at it.

    Without --as-of, it is that of an earlier attempt at the same input, or else today's: a later attempt keeps it.
    """
    settings = context.settings
    if settings.as_of or not (settings.rules or settings.rule_functions):
        return settings.as_of
    before = context.committed(NAME)
    kept = before.settings.get("as_of") if before and before.inputs == inputs else None
    return kept or datetime.now(UTC).date().isoformat()


def opening(context: Context) -> Storage:
    """Return the run's storage, which opens the input's files by their whole URIs.

    No file of the run has a password, a token, or a name with bytes that are not UTF-8: these come from --input again.
    """
    # A percent sign of a URI may stand for a byte that is not UTF-8.
    unlisted = [each for each in context.settings.input if listed(each) != each or has_magic(each) or "%" in each]
    if not unlisted:
        return context.storage
    from daskjobs.orders.sources.inputs import find_inputs

    uris = [uri for pattern in unlisted for uri in find_inputs(pattern, ignore_table=True, marked=False)]
    return replace(context.storage, secrets={listed(uri): uri for uri in uris if listed(uri) != uri})


def read_plan(context: Context) -> "Plan":
    """Return the plan that split committed.

    Raises StorageError when its file has changed, ConfigError when another version wrote it in another shape.
    """
    data = context.vouched(NAME, PARTITIONS)
    try:
        return _parsed(data)
    except ValueError as error:
        uri, version = context.storage.uri(PARTITIONS), context.manifest(NAME).daskjobs
        if version != context.version:
            raise ConfigError(
                f"{uri} can't be read by daskjobs {context.version}, since daskjobs {version} wrote it ({error}): "
                "run all stages again"
            ) from error
        raise damaged(uri, error) from error


def read_sent(context: Context) -> Sent:
    """Return what the sender has said, as split has fixed it."""
    if SENT not in context.manifest(NAME).outputs:
        return Sent()
    try:
        return parse(context.vouched(NAME, SENT), Sent)
    except ValueError as error:
        raise damaged(context.storage.uri(SENT), error) from error


@lru_cache(maxsize=1)
def _parsed(data: bytes) -> "Plan":
    """Return the plan that was written; several stages of one process read it, and one of many files takes seconds."""
    from daskjobs.orders.plan import Plan

    return parse(data, Plan)


def _found(patterns: Sequence[str], ignore_table: bool) -> dict[str, str]:
    """Return the files of all patterns in their order, by URI, each once, with their marks.

    Raises UsageError if two names are given for the same file.
    """
    from daskjobs.orders.sources.inputs import find_inputs

    marks, given = dict[str, str](), list[str]()
    for pattern in patterns:
        found = find_inputs(pattern, ignore_table)
        given += [pattern] if has_magic(pattern) else found
        marks |= {uri: mark for uri, mark in found.items() if uri not in marks}
    refuse_twice(given)
    if len({*map(listed, marks)}) < len(marks):
        raise InputError(
            f"--input {' '.join(map(listed, patterns))} names files that differ only in their query, which is "
            "neither shown nor stored: give each in a run of its own"
        )
    return marks


def _count(size: int) -> int:
    """Return the number of partitions for ``size`` bytes: 5, or a multiple of ten, which 2, 5 and 10 workers share.

    >>> [_count(size) for size in (0, 160 << 20, 161 << 20, 801 << 20, 1 << 40)]
    [5, 5, 10, 20, 200]
    """
    return LEAST if size <= FEW_BYTES else min(MOST, STEP * -(-size // (STEP * PARTITION_BYTES)))


def _write(
    context: Context, inputs: dict[str, str], profile: "Profile | None", earlier: Earlier | None, sent: Sent
) -> Done:
    try:
        done = _planned(context, inputs, profile, sent)
        if earlier:
            done.outputs[EARLIER] = context.storage.put(EARLIER, dump(earlier))
        return done
    except BaseException:
        for number in range(len(inputs)):  # unpacked files of a failed attempt may be large
            with suppress(DaskjobsError):
                context.storage.remove(numbered(PLAIN, number))
        raise


def _remove_other_table(storage: Storage, inputs: dict[str, str]) -> None:
    """Remove the table that was the input of an earlier run in this folder, unless it is also the input of this one."""
    table = storage.uri(TABLE)
    alike = [name for name in inputs if get_protocol(name) == get_protocol(table)]
    if storage.size(TABLE) is not None and real_path(table) not in map(real_path, alike):
        storage.remove(TABLE)


def _planned(context: Context, inputs: dict[str, str], profile: "Profile | None", sent: Sent) -> Done:
    storage, generated = opening(context), not context.settings.input
    names = [generate.ORDERS] if generated else list(inputs)
    workers.fork(context, sum((storage.identity(name) or (0,) * 3)[2] for name in names[:FEW]))
    from daskjobs.orders import sources
    from daskjobs.orders.plan import Partition, Plan
    from daskjobs.orders.profiles.columns import extra_names
    from daskjobs.orders.schema import COLUMNS
    from daskjobs.orders.sources import many
    from daskjobs.orders.sources.format import Cuts, RowRange, SourceFile

    said = context.settings.input_format
    reader, threads = many.ReadOnce.of(storage), storage.requests(names[0])
    hashed = [each for each in sent.controls if each.said.hashes]
    list(in_turn(lambda each: _verify_hashes(storage, names[each.file], each), hashed, threads))

    def describe(number: int) -> "SourceFile":
        plain, form = numbered(PLAIN, number), InputFormat(",") if generated else said
        described = sources.describe(reader, names[number], plain, form, profile)
        reader.let_go(names[number], most=many.HELD_BYTES)
        return described

    files = list(in_turn(describe, reader.ahead(names), threads))
    # The process that wrote the orders knows whether they have changed: hashing them again takes as long as splitting.
    written = context.written.get(generate.ORDERS) if generated else None
    untouched = written is not None and written == storage.identity(generate.ORDERS)
    sha256 = context.output(generate.NAME, generate.ORDERS).sha256 if generated and not untouched else ""
    weights = [sources.format_of(file).weight(file) for file in files]
    total, befores = sum(weights), list(accumulate(weights, initial=0))
    workers.begin(context, total)
    count = context.settings.partitions or _count(total)
    ranges: list[list[RowRange]] = [[] for _ in range(count)]

    def cut(number: int) -> Iterable[tuple[int, RowRange]]:
        large = weights[number] > AT_ONCE_BYTES
        cuts = Cuts(number, befores[number], total, count, sha256, profile, streams if large else 1)
        parts = sources.format_of(files[number]).ranges(reader, files[number], cuts)
        if large:
            return parts
        found = list(parts)
        reader.let_go(files[number].read)
        return found

    streams = storage.streams(names[0])
    if total > len(files) * many.SMALL_BYTES:  # of small files, Python's own work is most of it
        threads = max(threads, cores())
    with closing(in_turn(cut, reader.ahead([file.read for file in files]), threads)) as found:
        for parts in found:
            with closing(_each(parts)) as several:
                for partition, part in several:
                    ranges[partition].append(part)
                    context.progress((partition + 1) / count)
    if untouched and written != storage.identity(generate.ORDERS):
        raise damaged(storage.uri(generate.ORDERS))
    others = (extra_names(file.columns, profile) if profile else file.columns for file in files)
    extra = dict.fromkeys(name for each in others for name in each if name not in COLUMNS)
    partitions = [Partition(number, sum(part.rows for part in parts), parts) for number, parts in enumerate(ranges)]
    chosen = Counter(file.encoding for file in files if file.encoding)
    if len(chosen) > 1:
        context.tell(f"encodings {', '.join(f'{name} ({count})' for name, count in sorted(chosen.items()))}")
    plan = Plan(
        rows=sum(partition.rows for partition in partitions),
        extra=list(extra),
        truth=context.output(generate.NAME, generate.TRUTH) if generated else None,
        files=files,
        partitions=partitions,
        profile=profile,
    )
    _remove_other_table(storage, inputs)
    outputs = {PARTITIONS: storage.put(PARTITIONS, dump(plan))}
    if sent:
        outputs[SENT] = storage.put(SENT, dump(sent))
    for file in files:
        outputs |= file.written
    return Done(outputs, SplitRows(plan.rows, count))


def _each(parts: Iterable[tuple[int, "RowRange"]]) -> "Generator[tuple[int, RowRange], None, None]":
    """Yield the parts; closing this ends the threads that cut them."""
    yield from parts


def _compared(settings: Settings, manifest: Manifest) -> tuple[dict[str, Any], dict[str, Any]]:
    mine = {name: getattr(settings, name) for name in settings.given}
    unset = {name: value or "none" if isinstance(value, str) else value for name, value in OF_SERIES.items()}
    theirs = {**unset, **dict.fromkeys(("as_of", "profile", "currency", "expect"), "none"), **manifest.settings}
    if generate.STAGE.manifest in manifest.inputs:
        mine = {name: value for name, value in mine.items() if name not in ("profile", "currency")}
    if "currency" in mine:
        mine["currency"] = settings.currency.upper()
    if "statuses" in mine:
        from daskjobs.orders.sources.names import status_names

        mine["statuses"] = status_names(settings.statuses)
    if path := mine.pop("profile", ""):
        from daskjobs.orders.profiles.reading import read_profile

        with suppress(ConfigError, StorageError):  # if it can't be read by now, split has read it
            mine["profile"] = read_profile(Storage(settings.run_uri), path).sha256
    if "input" in mine:
        mine["input"] = _input([listed(pattern) for pattern in settings.input])
        if generate.STAGE.manifest in manifest.inputs:
            theirs["input"] = "none"
        elif len(settings.input) == 1 and "://" not in settings.input[0] and not has_magic(settings.input[0]):
            theirs["input"] = _input([name.removeprefix("file://") for name in manifest.inputs])
    return mine, theirs


def _input(names: list[str]) -> str | list[str]:
    return names[0] if len(names) == 1 else names


STAGE = Stage(
    NAME,
    "Find partitions of whole rows, without copying the data.",
    needs=(generate.NAME,),
    files=(PARTITIONS, EARLIER, SENT, PLAIN, PLAIN_BEFORE),
    rows=SplitRows,
    execute=execute,
    compared=_compared,
)
