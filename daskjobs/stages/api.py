"""The pipeline from Python: one call, and what came of it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack

from daskjobs.cluster.public import ClusterKeywords
from daskjobs.orders.rules.functions import source_of
from daskjobs.stages import new_context, run_all
from daskjobs.stages.context import Context
from daskjobs.stages.rows import ReportRows, counted
from daskjobs.stages.settings import Settings, new_run_uri

if TYPE_CHECKING:
    import pandas as pd

    from daskjobs.orders.explain import Explained

AnyPath = str | os.PathLike[str]
Rules = AnyPath | Callable[..., Any] | Sequence[Callable[..., Any]]


class Options(ClusterKeywords, total=False):
    """The other settings of a run and of its Dask cluster: the fields of `Settings` and `ClusterSettings`."""

    rows: int
    seed: int
    ignore_table: bool
    delimiter: str
    quoting: str
    encoding: str
    columns: str
    statuses: str
    max_rejected: float
    partitions: int


@dataclass(frozen=True)
class OrdersResult:
    """What came of a run: its numbers, and where its files are.

    ``orders`` are those that are valid and paid, and ``revenue`` is their sum, exact to the cent. ``rows`` is the
    account of all rows: its fields are rows_in, valid, quarantined, clean and unpaid. ``run_uri`` is the path or URI of
    the folder with all files, and ``report`` that of the page in it.
    """

    run_uri: str
    orders: int
    revenue: Decimal
    rows: ReportRows
    report: str
    _context: Context = field(repr=False, compare=False)

    @cached_property
    def rejected(self) -> "pd.DataFrame":
        """The rejected rows, in the order of the input, read when they are first asked for, all into memory.

        The columns are those of merge/quarantine.parquet, with Arrow types: "row" (its number in its file, from 1),
        "source" (the file), "reasons" (a list of rules' names) and "raw" (its text). Raises StorageError when the file
        is not the one that this run wrote.
        """
        import pandas as pd
        import pyarrow.parquet as pq

        from daskjobs.stages.merge import NAME, QUARANTINE_PARQUET

        storage = self._context.storage
        with storage.opened(QUARANTINE_PARQUET, self._context.output(NAME, QUARANTINE_PARQUET)) as file:
            frame: pd.DataFrame = pq.read_table(file).to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def explain(self, row: int, source: str = "") -> "Explained":
        """Say what became of a row: its partition, its text, and each reason for its rejection.

        ``row`` counts from 1 in its file; ``source`` is the file, or the end of its name, where there are several.
        Raises UsageError when there is no such row, or when several files could be meant.
        """
        from daskjobs.stages.explain import explain

        return explain(self._context, row, source)


def run_orders(
    input: AnyPath = "", *, run: AnyPath = "", rules: Rules = (), **options: Unpack[Options]
) -> OrdersResult:
    """Check orders in parallel, write the report, and return its numbers.

    ``input`` is the path or URI of a CSV or Parquet file, or a glob; without it, orders are generated (``rows`` and
    ``seed`` say which). ``run`` is the folder of the run's files: a path or an s3:// URI, new or empty or a run's
    already; without it, a new one below runs/. ``rules`` are rules of your own: functions, as `daskjobs.rule` marks
    them or with a docstring, or the path of a Python file of them. The ``options`` are those of the command line.

    All stages run in this process, and Dask on this machine unless ``backend`` says otherwise. The same call again goes
    on where a failed one ended. Raises an error of `daskjobs.DaskjobsError`: InputError when the input is not orders,
    or when more rows are rejected than ``max_rejected`` allows.
    """
    given = {"input": os.fspath(input)} if input else {}
    if isinstance(rules, str | os.PathLike):
        given |= {"rules": os.fspath(rules)} if rules else {}
    else:
        functions = [rules] if callable(rules) else rules
        given |= {"rule_source": source_of(functions)} if functions else {}
    names = frozenset({*given, *options, *(["run_uri"] if run else [])})
    context = new_context(
        Settings.of(**options, **given, run_uri=os.fspath(run) if run else new_run_uri(), given=names)
    )
    rows = counted(run_all(context), ReportRows)
    return OrdersResult(
        run_uri=context.settings.run_uri,
        orders=rows.clean,
        revenue=Decimal(rows.revenue),
        rows=rows,
        report=context.storage.uri("report/report.html"),
        _context=context,
    )
