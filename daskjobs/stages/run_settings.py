"""The settings of a run, built once from the command line, the environment or Python, and frozen."""

import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from daskjobs.cluster.backends import backend_of, settings_kinds, settings_of
from daskjobs.cluster.early import Early
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.display import listed, shown
from daskjobs.errors import UsageError
from daskjobs.files.storage import local_path
from daskjobs.options import check, flags, option, quoted, without_secrets
from daskjobs.orders.dialect import QUOTINGS, RFC4180, InputFormat, read_columns, read_statuses
from daskjobs.orders.rules.functions import Functions
from daskjobs.orders.rules.levels import read_warn
from daskjobs.orders.sent import read_expect
from daskjobs.orders.validation.limit import read_shares
from daskjobs.pipeline.context import StageContext
from daskjobs.series.days import is_day
from daskjobs.series.drift import limits, read_limits
from daskjobs.series.layout import LOCK_FOLDER
from daskjobs.stages.outcome import Outcome

OF_GENERATED = ("rows", "seed")  # settings of generated orders, and of an input
OF_INPUT = ("delimiter", "quoting", "encoding", "columns", "profile", "currency")
CURRENCY_ALONE = (
    "--currency needs --profile: a profile says which column of the input has currencies ([order] currency); give one, "
    "or leave --currency out"
)
STORES = ("file://", "s3://")  # stores that can write a file whole or not at all, and remove it
STORE_THREADS = 2  # of a worker whose files are in an object store: one computes while the other waits for an answer


def new_run_uri() -> str:
    """Return the name of a new folder for a run, below runs/ in the working directory, with the time."""
    return f"runs/{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def refuse_twice(names: Iterable[str]) -> None:
    """Raise UsageError when an input is given twice, since nobody can tell whether something else was meant."""
    paths = [local_path(name) if name.startswith("file://") else name for name in names]
    for name, times in Counter(paths).items():
        if times > 1:
            raise UsageError(f"--input names {listed(name)} twice: give each file once")


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """The input."""

    rows: int = option(50_000, "How many orders to generate.", bounds=(0, 4_000_000_000))  # a part counts in 32 bits
    seed: int = option(7, "Seed of generated orders: the same seed, the same bytes.", bounds=(0, 2**63 - 1))
    input: Sequence[str] = option(
        (), "Your own orders: the path or URI of a CSV, JSON Lines or Parquet file, or a glob in quotes; or several, "
        "one a line or with an `--input` for each.", path=True, several=True, unset="generated orders",
    )  # fmt: skip
    ignore_table: bool = option(
        False, "Read Parquet files though they look like a Delta, Iceberg or Hudi table's: deleted rows then count."
    )
    delimiter: str = option(
        "", "What separates the fields of the input: one character, or `tab`.", unset="found in the header"
    )
    quoting: str = option(
        "", "What a quote is in the input: `rfc4180` (fields may stand in quotes), `none` (a character like "
        "others), or `backslash` (as `rfc4180`, with backslash escapes as MySQL writes them).", choices=QUOTINGS,
        unset="rfc4180, or as the profile says",
    )  # fmt: skip
    encoding: str = option("", "The text encoding of the input, like `cp1252` or `utf-16`.", unset="UTF-8")
    columns: str = option(
        "", "Which columns of the input stand for ours: `price=unit_price,status=state`.", several=True,
        read=read_columns, python="str | Sequence[str] | Mapping[str, str]",
    )  # fmt: skip
    statuses: str = option(
        "", "Which statuses of the input stand for ours: `success=paid,success=complete,cancelled=canceled`.",
        several=True, read=read_statuses, python="str | Sequence[str] | Mapping[str, str | Sequence[str]]",
    )  # fmt: skip
    profile: str = option(
        "", "How your orders are written, and what their columns mean: the path or URI of a TOML file, or the name of "
        "a preset (`daskjobs profile list`).", path=True, preset=True,
    )  # fmt: skip
    currency: str = option(
        "", "The currency that the report is of, like `EUR`, where the profile names a column of currencies.",
        unset="the only one in the input",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SeriesSettings:
    """Earlier runs."""

    known: str = option(
        "", "The series, which is the folder of earlier runs, whose orders are not counted again.", path=True
    )
    known_days: int = option(
        0, "Look only at runs of `--known` whose day is at most so many days away from this one's; 0 is all of them.",
        bounds=(0, 36_500),
    )  # fmt: skip
    again: str = option(
        "first", "Which row counts of an order that an earlier run has counted: the `first` one, or the `newest` one, "
        "by its time.", choices=("first", "newest"),
    )  # fmt: skip
    compare: str = option(
        "", "The run that this one is compared with: its folder, its name in the series, or `last`, the newest good "
        "one before this one.", path=True, preset=True,
    )  # fmt: skip
    max_drift: str = option(
        "", "Fail when this run differs more from the one of `--compare`: `rows=-20%,region=0.2,newest=36h`. A sign is "
        "for one direction.", several=True, read=read_limits, python="str | Mapping[str, float | str]",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TellingSettings:
    """Who is told."""

    notify: str = option(
        "", "The address that is told at the end how the run went: a webhook's, as Slack and others have them, or one "
        "of the package apprise. It is a secret.", cleanup=True, secret=True,
    )  # fmt: skip
    openlineage: str = option(
        "", "The address that takes OpenLineage events: when the run begins, and how it ended. It is a secret.",
        cleanup=True, secret=True,
    )  # fmt: skip
    openlineage_key: str = option(
        "", "The key that is sent with these events, as a bearer token. It is a secret.", cleanup=True, secret=True
    )


@dataclass(frozen=True)
class Settings(TellingSettings, SeriesSettings, InputSettings):
    """The run.

    The settings of one run; the defaults stand here, those of its input above, and those of its Dask cluster in
    ``cluster``.

    ``input`` may be one text or several, and is a tuple afterwards. ``given`` are the names of those settings that the
    user set; earlier stages of the run must have been made with the same values. ``rule_functions`` are rules that were
    given as functions instead of a file (see `functions_of`). Raises UsageError for a value that makes no sense.
    """

    run_uri: str = option(
        "", "Where the files of this run live: a folder, new, empty or a run's, as a path, `file://` or `s3://` URI.",
        flag="--run", path=True, cleanup=True, unset="runs/, time and id",
    )  # fmt: skip
    rules: str = option("", "Your own rules: the path or URI of a Python file.", path=True)
    as_of: str = option(
        "",
        "The run's date, like `2026-11-29`: rules of your own may look at it, and it is the run's day in a series.",
        unset="the day (UTC) on which the run begins",
    )
    expect: str = option(
        "", "What the sender says of the input: `rows=50000,total_amount=21206843.46,ids=49990`, or some of these.",
        several=True, unset="that of a file like `orders.csv.control.json` beside the input, if there is one",
        read=read_expect, python="str | Mapping[str, int | str | Decimal]",
    )  # fmt: skip
    warn: str = option(
        "", "Rules that warn instead of rejecting rows: `wrong_total,unknown_status`.",
        several=True, read=read_warn, python="str | Sequence[str]",
    )  # fmt: skip
    max_rejected: float | str = option(
        1.0, "Fail when more than this share of the rows is rejected, from 0 to 1; or shares by reason: "
        "`wrong_total=0.01,unknown_status=0,*=0.05`.",
        bounds=(0, 1), several=True, read=read_shares, python="float | str | Mapping[str, float | str]",
    )  # fmt: skip
    partitions: int = option(
        0, "Parts to check in parallel; 0 is five, or a multiple of ten for large orders.", bounds=(0, 10_000)
    )
    rule_functions: Functions | None = None
    cluster: ClusterSettings = field(default_factory=settings_of)
    given: frozenset[str] = frozenset()

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Build the settings of a run and of its cluster from one flat set of names.

        >>> Settings.of(run_uri="/runs/1", rows=7, workers=2).cluster.workers
        2
        """
        names = {each.name for kind in settings_kinds() for each in fields(kind)}
        own = cls(**{name: value for name, value in values.items() if name not in names})
        key = hashlib.sha256(own.run_uri.encode(errors="surrogateescape")).hexdigest()[:12]
        waits = own.run_uri.startswith("s3://") and not (own.rules or own.rule_functions)
        cluster = {
            "threads": STORE_THREADS if waits and "://" not in values.get("backend", "") else 1,
            "key": "" if values.get("workflow_uid") else key,
            **{name: value for name, value in values.items() if name in names},
        }
        return replace(own, cluster=settings_of(**cluster), given=own.given - names)

    @property
    def workflow_uid(self) -> str:
        """The uid of the workflow that runs this, if any."""
        return self.cluster.workflow_uid

    @property
    def input_format(self) -> InputFormat:
        """What the user says about the input's format."""
        return InputFormat(self.delimiter, self.quoting or RFC4180, self.encoding, self.columns)

    def __post_init__(self) -> None:
        check(self)
        if self.as_of and not is_day(self.as_of):
            raise UsageError(f"--as-of must be a day that exists, like 2026-11-29, got {quoted(self.as_of)}")
        self._refuse_series()
        backend_of(self.cluster)
        if "::" in self.run_uri:
            raise UsageError(f"--run must be one path or URI, got the chain {quoted(shown(self.run_uri))}")
        if "://" in self.run_uri and not self.run_uri.startswith(STORES):
            raise UsageError(
                f"--run must be a path, or a URI of {' or '.join(STORES)}, got {quoted(shown(self.run_uri))}"
            )
        if self.run_uri.replace("file://localhost", "file://", 1).rstrip("/") in ("file:", "s3:"):
            raise UsageError(f"--run must name a folder, got {quoted(self.run_uri)}, which names none")
        if shown(self.run_uri) != self.run_uri:
            raise UsageError(
                f"--run {self.run_uri} must have no user, password or query: it is shown and stored, so give these by "
                "the environment or the configuration of the storage's client"
            )
        refuse_twice(self.input)
        said = self.input_format
        if self.statuses or said != InputFormat(quoting=said.quoting):
            from daskjobs.orders import sources  # here, since it imports pyarrow, and most runs need none of it
            from daskjobs.orders.sources.names import status_names

            sources.understood(said)
            status_names(self.statuses)

    def _refuse_series(self) -> None:
        """Raise UsageError for options about earlier runs that make no sense, alone or together."""
        if not self.known and (self.known_days or self.again != "first"):
            one = "--known-days" if self.known_days else f"--again {self.again}"
            raise UsageError(f"{one} says how --known looks at earlier runs: give --known, or leave it out")
        if self.max_drift and not self.compare:
            raise UsageError(
                "--max-drift limits how far a run differs from another one: give --compare, or leave it out"
            )
        allowed = limits(self.max_drift)
        if allowed.reasons and not (self.rules or self.rule_functions):
            from daskjobs.orders.rules.profiled import BUILT_IN  # here, since it imports pyarrow

            allowed.refuse_unknown(BUILT_IN)
        if self.run_uri.rstrip("/").endswith(f"/{LOCK_FOLDER}"):
            raise UsageError(f"--run can't be called {LOCK_FOLDER}, which is the lock of a series: choose another name")
        if self.known and self.known.rstrip("/") == self.run_uri.rstrip("/"):
            raise UsageError(f"--known {self.known} is this run itself, and a series is the folder that holds runs")
        for name, where in (("--known", self.known), ("--compare", self.compare)):
            if "::" in where or ("://" in where and not where.startswith(STORES)) or listed(where) != where:
                raise UsageError(
                    f"{name} must be a path, or a URI of {' or '.join(STORES)} without user, password or query, got "
                    f"{quoted(listed(where))}"
                )

    def __getstate__(self) -> dict[str, Any]:
        return without_secrets(self)

    def __repr__(self) -> str:
        values = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
        return f"{type(self).__name__}({', '.join(map(shown, values))})"  # without passwords and tokens

    def refuse_useless(self, named: Container[str], whole: bool) -> None:
        """Raise UsageError when the user has named a setting that doesn't apply to the orders of this run.

        Environment variables don't name one, since a workflow sets them all. ``whole`` says whether all stages run.
        """
        if whole and self.input and "currency" in named and not self.profile:
            raise UsageError(CURRENCY_ALONE)
        for name in OF_GENERATED if self.input else OF_INPUT if whole else ():
            if name in named:
                raise UsageError(
                    f"{flags(self)[name]} is for generated orders, and --input names your own: leave one of them out"
                    if self.input
                    else f"{flags(self)[name]} says how your orders are written: name these by --input"
                )


@dataclass(frozen=True)
class Context(StageContext[Settings]):
    """The context of a stage of orders.

    ``early`` starts workers before validate needs them, if that can be. ``outcome`` is how the run ended, for cleanup.
    """

    early: Early | None = field(default=None, repr=False, compare=False)
    outcome: Outcome | None = field(default=None, repr=False, compare=False)
