"""`run_orders`: the pipeline as one call from Python, and its result."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from daskjobs.cluster.public import ClusterKeywords, cluster_flags
from daskjobs.errors import UsageError
from daskjobs.options import flags, is_nothing, keywords, refuse_empty
from daskjobs.options import options as of_settings
from daskjobs.orders.rules.functions import functions_of
from daskjobs.series import layout
from daskjobs.stages import STAGES, merge, new_context, refuse, report, run_all, told
from daskjobs.stages.given import TABLE, AnyPath, as_parquet, paths_or_table, write_table
from daskjobs.stages.run_settings import Context, Settings, new_run_uri

if TYPE_CHECKING:
    import pandas as pd

    from daskjobs.orders.explanation import Explained

Rules = AnyPath | Callable[..., Any] | Iterable[Callable[..., Any]] | None


class Table(Protocol):
    """A table that exports itself to Arrow, as DataFrames of pandas and Polars and tables of Arrow do."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the table as a stream of Arrow's C data interface."""


class Options(ClusterKeywords, total=False):
    """The other settings of a run and of its Dask cluster: the fields of `Settings` and `ClusterKeywords`."""

    # made by `make generate`: options of a run as keywords
    rows: int
    seed: int
    ignore_table: bool
    delimiter: str
    quoting: str
    encoding: str
    columns: str | Sequence[str] | Mapping[str, str]
    statuses: str | Sequence[str] | Mapping[str, str | Sequence[str]]
    profile: AnyPath
    currency: str
    known: AnyPath
    known_days: int
    again: str
    compare: AnyPath
    max_drift: str | Mapping[str, float | str]
    notify: str
    openlineage: str
    openlineage_key: str
    expect: str | Mapping[str, int | str | Decimal]
    warn: str | Sequence[str]
    max_rejected: float | str | Mapping[str, float | str]
    partitions: int
    # made until here


NAMED = ("run_uri", "input", "rules", "as_of")  # settings that are parameters of their own


@dataclass(frozen=True)
class OrdersResult:
    """The result of a run: its numbers, and where its files are.

    ``orders`` are those that are paid, and ``revenue`` is their sum, exact to the cent. ``rows`` is the
    account of all rows: its fields are rows_in, valid, rejected, paid and unpaid; a profile may add furniture, and the
    texts gross and refunds, whose difference is the revenue. ``run_uri`` is the path or URI of
    the folder with all files, and ``report`` that of the page in it.

    A result can be pickled and copied. It reads rows from the run's files, which another process must be able to reach.
    If a URI of ``input`` has a password or token, a pickle has it too, since `explain` needs it; printed texts don't.
    """

    run_uri: str
    orders: int
    revenue: Decimal
    rows: report.ReportRows
    report: str
    _context: Context = field(repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "rejected"}

    @cached_property
    def rejected(self) -> "pd.DataFrame":
        """The rejected rows, in the order of the input; the first use reads all of them into memory.

        The columns are those of merge/quarantine.parquet, with Arrow types: "row" (its number in its file, from 1),
        "source" (the file), "reasons" (a list of rules' names) and "raw" (its text). Raises StorageError when the file
        is not the one that this run wrote.
        """
        import pandas as pd

        from daskjobs.files import tables

        name, context = layout.QUARANTINE_PARQUET, self._context
        with tables.reading(context.storage, name, context.output(merge.NAME, name)) as file:
            frame: pd.DataFrame = file.read().to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def explain(self, row: int, source: AnyPath = "") -> "Explained":
        """Say what became of a row: its partition, its text, and each reason for its rejection.

        ``row`` counts from 1 in its file; with several files, ``source`` is the end of the file's name.
        Raises UsageError when there is no such row, or unless exactly one file name ends with ``source``.
        """
        from daskjobs.stages.explain import explain

        if isinstance(row, bool) or not isinstance(row, Integral):
            raise UsageError(f"row must be the number of a row in its file, like 7, got {row!r}")
        if not isinstance(source, str | os.PathLike):
            raise UsageError(f"source must be a file's name, or the end of it, got {source!r}")
        return explain(self._context, int(row), os.fspath(source))


def run_orders(
    input: AnyPath | Iterable[AnyPath] | Table | None = None,
    *,
    run: AnyPath | None = None,
    rules: Rules = (),
    as_of: str | date | None = None,
    **options: Unpack[Options],
) -> OrdersResult:
    """Check orders in parallel, write the report, and return its numbers.

    ``input`` is the path or URI of a file of orders, a glob, or several of these in the order in which
    they are to be read. It may be a table as well, like a DataFrame (its index is left out), which is written to
    input/orders.parquet of the run. Instead of an input, ``rows`` asks for so many generated orders, which ``seed``
    varies. ``run`` is the folder of the run's files: a path or an s3:// URI, new or empty or a run's already; without
    it, a new one below runs/. ``rules`` are rules of your own: a function or several, as `daskjobs.rule` marks them
    or with a docstring, or the path of a Python file of them. ``as_of`` is the run's date, which they may look at, like
    "2026-11-29"; without it, the day (UTC) on which the run begins. The ``options`` are those of the command line, with
    underscores, and ``backend`` for --cluster; one that is None is left out.

    All stages run in this process, and Dask on this machine unless ``backend`` says otherwise. The same call again goes
    on where a failed one ended. Raises an error of `daskjobs.DaskjobsError`: UsageError when an argument makes no
    sense, InputError when the input is not orders, or when more rows are rejected than ``max_rejected``
    allows, or all of them.
    """
    known = {name: flag for name, flag in (flags(Settings) | cluster_flags()).items() if name not in NAMED}
    secrets = {each.name for each, option in of_settings(Settings) if option.secret}
    empty = {each.name for each, option in of_settings(Settings) if option.read and is_nothing(options.get(each.name))}
    chosen = keywords("run_orders", {**options, **dict.fromkeys(empty)}, known, secrets)
    refuse_empty("--run", run)
    refuse_empty("--rules", rules)
    refuse_empty("--as-of", as_of)
    given: dict[str, Any] = {"run_uri": run} if run is not None else {}
    place = new_run_uri() if run is None else run
    paths, table = paths_or_table(input) if input is not None else ((), None)
    if input is not None:
        given["input"] = paths or f"{str(place).rstrip('/')}/{TABLE}"
    if isinstance(rules, str | os.PathLike):
        given |= {"rules": os.fspath(rules)} if rules else {}
    else:
        functions = functions_of(rules)
        given |= {"rule_functions": functions} if functions else {}
    if as_of is not None:
        given["as_of"] = as_of.isoformat() if isinstance(as_of, date) else as_of
    values = {**chosen, **given}
    settings = Settings.of(**{"run_uri": place, **values}, given=frozenset(values))
    settings.refuse_useless(values, whole=True)
    if input is None and "rows" not in chosen:
        raise UsageError(
            "run_orders needs orders: give their path, run_orders('orders.csv'), or say how many to generate, "
            "run_orders(rows=50_000)"
        )
    context = new_context(settings)
    data = None if table is None else as_parquet(table)
    told.refuse(settings)
    refuse(context, STAGES)
    with context.held() as held:
        if data is not None:
            write_table(data, held.storage)
        manifests = run_all(held)
    rows = manifests[report.NAME].counted(report.ReportRows)
    return OrdersResult(
        run_uri=context.settings.run_uri,
        orders=rows.paid_orders,
        revenue=Decimal(rows.revenue),
        rows=rows,
        report=context.storage.uri(layout.PAGE),
        _context=context,
    )
