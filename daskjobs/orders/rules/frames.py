"""Frames of pandas: what the user's own rules get, and what is made of the masks that they return.

Nothing else needs pandas, which takes long to load: this module is imported when there are such rules.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pandas.api.extensions import ExtensionArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from pandas.arrays import ArrowExtensionArray

from daskjobs.files.tables import plain_texts
from daskjobs.orders.money import cents_of
from daskjobs.orders.rules.builtin import Mask


def frame(orders: pa.Table) -> pd.DataFrame:
    """Return the frame that rules get: Arrow types, and money as integer cents in price_cents and total_cents.

    The frame shares the table's memory, so that memory is read-only. The labels count from 1: after a merge or
    `reset_index`, pandas' new labels count from 0, and a mask with these would silently mean other rows.
    """
    money = {"price": "price_cents", "total_amount": "total_cents"}
    orders = plain_texts(orders)
    columns = {name: orders[name] for name in orders.column_names if name not in money}
    for source, name in money.items():
        amounts = orders[source].combine_chunks()
        columns[name] = pa.array(cents_of(amounts), mask=amounts.is_null().to_numpy(zero_copy_only=False))
    table = pa.table(columns)
    table = pa.table([_read_only(each) for each in table.columns], table.column_names)
    typed: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype, use_threads=False)
    typed.index = pd.RangeIndex(1, len(typed) + 1)
    return typed


def aligned(given: object, index: pd.Index) -> Mask:
    """Return the mask of rejected rows from what a user's rule returned for a frame with this index.

    A Series is aligned by its index, which must have the frame's labels, in any order. A list or an array, without an
    index, is in the order of the rows. A null rejects nothing. Raises TypeError, which says what is wrong.
    """
    if isinstance(given, pa.Array | pa.ChunkedArray):
        given = ArrowExtensionArray(given)
    if given is None:
        raise TypeError("it gave nothing (None), as a function without a return does")
    if (
        not isinstance(given, pd.Series | pd.Index | ExtensionArray | np.ndarray | list | tuple)
        or getattr(given, "ndim", 1) != 1
    ):
        raise TypeError(f"it gave {type(given).__name__}, which is no mask")
    if len(given) != len(index):
        raise TypeError(f"it gave {len(given)} values for {len(index)} rows")
    values = given if isinstance(given, pd.Series) else pd.Series(given, index)
    if values.index is not index and not (_is_number(values.index) and values.index.equals(index)):
        values = values.iloc[_places(values.index, index)]
    if isinstance(values.dtype, np.dtype | pd.BooleanDtype | pd.ArrowDtype) and is_bool_dtype(values.dtype):
        return np.array(values.to_numpy(dtype=bool, na_value=False))  # a copy, since the rule may change its own later
    rejected, some = np.zeros(len(index), bool), values.notna().to_numpy(bool)
    known = values[some].tolist()
    if not all(isinstance(value, bool | np.bool_) for value in known):
        raise TypeError(f"it gave {values.dtype}, not booleans")
    rejected[some] = known
    return rejected


def _read_only(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of plain values that shares the memory, with read-only buffers."""
    chunks = []
    for chunk in column.chunks:
        buffers = [None if each is None else pa.py_buffer(memoryview(each).toreadonly()) for each in chunk.buffers()]
        chunks.append(pa.Array.from_buffers(chunk.type, len(chunk), buffers, -1, chunk.offset))
    return pa.chunked_array(chunks, column.type)


def _places(given: pd.Index, index: pd.Index) -> npt.NDArray[np.intp]:
    """Return the position in a mask's index of each label of a frame's index."""
    places = given.get_indexer(index) if _is_number(given) and given.is_unique else np.full(1, -1)
    if (places < 0).any():
        raise TypeError(
            "it gave a mask whose index is not the frame's (merge, reset_index and a new Series have one of their "
            "own): keep the frame's index, or return mask.to_numpy() if its values are in the order of the rows"
        )
    return places


def _is_number(index: pd.Index) -> bool:
    """Tell whether labels are numbers, as a frame's are: pandas would also match False to 0, and an interval."""
    if isinstance(index, pd.MultiIndex):
        return False
    kind = index.infer_objects().dtype
    return is_numeric_dtype(kind) and not is_bool_dtype(kind)
