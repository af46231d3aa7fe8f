"""The input of `run_orders`: paths and globs, or a table, which becomes a file of the run."""

import os
from collections.abc import Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any

from daskjobs.errors import UsageError
from daskjobs.files.digest import Output
from daskjobs.files.storage import Storage
from daskjobs.options import refuse_empty

if TYPE_CHECKING:
    import pyarrow as pa

AnyPath = str | os.PathLike[str]
TABLE = "input/orders.parquet"
GROUP_ROWS = 100_000  # a partition has whole row groups, so fewer groups would keep fewer cores busy
TAKEN = "input must be a path, a URI or a glob, a list of these, or a table like a pandas DataFrame"
# Other objects that people give, by an attribute that only they have, and what to give instead.
INSTEAD = {
    "read": "give its path, or read it yourself: pandas.read_csv(file, dtype=str)",
    "geturl": "give its text: url.geturl()",
    "compute": "give the DataFrame that its compute() returns, or write it as Parquet and give a glob of the files",
    "collect": "give the DataFrame that its collect() returns, or write it as Parquet and give a glob of the files",
}


def paths_or_table(given: Any) -> "tuple[tuple[str, ...], pa.Table | None]":
    """Return the paths, URIs and globs given as the input, or else the table.

    A table is anything that exports itself to Arrow, as DataFrames of pandas and Polars do; an index is left out.
    Raises UsageError, which says what was given and what to give instead.
    """
    if isinstance(given, str | os.PathLike):
        return (_path(given),), None
    if hasattr(given, "__arrow_c_stream__"):
        return (), _table(given)
    kind = type(given).__name__
    for attribute, hint in INSTEAD.items():
        if hasattr(given, attribute):
            raise UsageError(f"{TAKEN}, got {kind}: {hint}")
    if isinstance(given, Mapping):
        raise UsageError(f"{TAKEN}, got {kind}: if it has columns, make a pandas.DataFrame of it")
    if isinstance(given, Set):
        raise UsageError(f"{TAKEN}, got {kind}, which has no order, and the first of two equal ids counts: sort it")
    if isinstance(given, bytes | bytearray | memoryview) or not isinstance(given, Iterable):
        raise UsageError(f"{TAKEN}, got {kind}: give a path as a text")
    paths = tuple(map(_path, given))
    if not paths:
        raise UsageError(f"input is an empty {kind}: give at least one path, URI or glob")
    return paths, None


def _path(given: object) -> str:
    if not isinstance(given, str | os.PathLike):
        raise UsageError(f"{TAKEN}, got {type(given).__name__} in a list: give the paths of files alone")
    path = os.fspath(given)
    if not isinstance(path, str):
        raise UsageError(f"{TAKEN}, got a path of {type(path).__name__}: give the path as a text")
    refuse_empty("--input", path)
    return path


def _table(given: Any) -> "pa.Table":
    import pandas as pd
    import pyarrow as pa

    if isinstance(given, pd.DataFrame) and not given.columns.is_unique:
        twice = ", ".join(str(name) for name in given.columns[given.columns.duplicated()].unique())
        raise UsageError(
            f"the DataFrame given as input has the column {twice} more than once; give each column a name of its own"
        )
    try:
        if isinstance(given, pd.DataFrame):
            table = pa.Table.from_pandas(given, preserve_index=False)
        else:
            table = pa.table(given)
    except (pa.ArrowException, TypeError, ValueError) as error:
        said = "; ".join(map(str, error.args))
        raise UsageError(
            f"the {type(given).__name__} given as input is no table with one type in each column: {said}; make such a "
            'column text: orders["price"] = orders["price"].astype(str)'
        ) from error
    return table.replace_schema_metadata(None)


def as_parquet(table: "pa.Table") -> bytes:
    """Return the table as a Parquet file. Raises UsageError when Parquet has no such type, or not for such values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    try:
        pq.write_table(table, sink, row_group_size=GROUP_ROWS)
    except (pa.ArrowException, TypeError, ValueError, OSError) as error:  # not from a disk: it is written to memory
        said = str(error).rstrip(".")
        raise UsageError(
            f"the table that is given as input can't be written as Parquet: {said}; give that column "
            "another type, such as text"
        ) from error
    data: bytes = sink.getvalue().to_pybytes()
    return data


def write_table(data: bytes, storage: Storage) -> None:
    """Write a table's bytes to `TABLE`, unless the file has them already, so that stages that read it are kept."""
    there = storage.size(TABLE) == len(data) and storage.holds(TABLE, Output.of(data))
    if not there:
        storage.put(TABLE, data)
