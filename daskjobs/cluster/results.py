"""Writes the result of a step's function as JSON, or as a file if JSON can't express it."""

import base64
import enum
import json
import math
import uuid
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Any

from daskjobs.errors import MOST_MESSAGE, NOT_THEIRS, text_of

MOST_RESULT = 1 << 17  # bytes; Argo keeps results in the workflow, and allows twice as much
TEXTS = (Decimal, Fraction, uuid.UUID, PurePath)  # their str() loses nothing
DATES = (date, time)  # datetime and pandas' Timestamp are subclasses of date


class NotSaidError(Exception):
    """JSON can't express a value; the text says why."""


class LazyError(NotSaidError):
    """The value stands for a result that is not computed yet."""


@dataclass
class Said:
    """A result as JSON, and how many of its numbers became null, because JSON has no nan and no infinity."""

    text: str
    nulls: int


def as_json(value: object) -> Said:
    """Return a value as JSON.

    Numbers of numpy become numbers, arrays and sets lists, dates ISO 8601 texts, a timedelta seconds, an Enum its
    value, a dataclass an object, and bytes Base64. Decimal, UUID and Path become texts. Values that are no number (nan,
    infinity, NaT, NA) become null, and are counted. Raises NotSaidError for anything else.
    """
    plain = _Plain()
    try:
        return Said(kept_by_argo(json.dumps(plain.of(value), allow_nan=False)), plain.nulls)
    except RecursionError:
        raise NotSaidError("it is nested too deeply, or contains itself") from None
    except (NotSaidError, *NOT_THEIRS):
        raise
    except BaseException as error:  # from the objects' own methods, or for a number with too many digits
        raise NotSaidError(_short(error)) from None


def kept_by_argo(document: str) -> str:
    """Return a JSON text with the same meaning that Argo passes to another task unchanged.

    Argo evaluates double braces, even in values that it has inserted itself, and Kubernetes expands $(NAME) and $$. In
    JSON, both can occur only inside strings, where every character can be escaped.

    >>> kept_by_argo('{"price": "$5", "text": "{{=1+41}}"}')
    '{"price": "\\\\u00245", "text": "{\\\\u007b=1+41}}"}'
    """
    return document.replace("$", r"\u0024").replace("{{", r"{\u007b").replace("\x7f", r"\u007f")


class _Plain:
    """Converts values to what JSON has, and counts those that become null."""

    def __init__(self) -> None:
        self.nulls = 0

    def of(self, value: Any) -> Any:
        """Return a value as None, a boolean, number or text, a list, or a dictionary whose keys are texts."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return self.of(value.value)
        if isinstance(value, str):
            return str(value)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else self._null()
        if _is_of(value, "pandas", ("NaTType", "NAType")):
            return self._null()
        if isinstance(value, TEXTS):
            return str(value) if not isinstance(value, Decimal) or value.is_finite() else self._null()
        if isinstance(value, DATES):
            return value.isoformat()
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, bytes | bytearray | memoryview):
            return base64.b64encode(value).decode()
        if type(value).__module__.partition(".")[0] == "numpy":
            return self._of_numpy(value)
        if is_dataclass(value) and not isinstance(value, type):
            return {each.name: self.of(getattr(value, each.name)) for each in fields(value)}
        if isinstance(value, Mapping):
            return self._object(value)
        if isinstance(value, Set):
            return sorted(map(self.of, value), key=lambda each: (type(each).__name__, json.dumps(each)))
        if isinstance(value, Sequence):
            return [self.of(each) for each in value]
        raise _unsaid(value)

    def _of_numpy(self, value: Any) -> Any:
        kind = value.dtype.kind if hasattr(value, "dtype") else ""
        if kind in ("M", "m") and not value.shape:
            import numpy as np

            if np.isnat(value):
                return self._null()
            if kind == "M":
                return str(value)
            if np.datetime_data(value)[0] in ("Y", "M"):
                raise NotSaidError("a timedelta64 of months or years has no seconds")
            return float(value / np.timedelta64(1, "s"))
        if kind in ("b", "i", "u", "f", "O", "S", "U", "T", "M", "m"):
            if value.shape:
                return [self.of(each) for each in value]
            return self.of(float(value) if kind == "f" else value.item())  # a longdouble's item() is a longdouble
        raise _unsaid(value)

    def _object(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        made = dict[str, Any]()
        for key, each in value.items():
            plain = self.of(key)
            if isinstance(plain, list | dict):
                raise NotSaidError(f"a {type(key).__name__} is a key, and keys are texts")
            name = plain if isinstance(plain, str) else json.dumps(plain)
            if name in made:
                raise NotSaidError(f"two keys are {name!r:.100} as texts")
            made[name] = self.of(each)
        return made

    def _null(self) -> None:
        self.nulls += 1


def _short(error: BaseException) -> str:
    text = f"{type(error).__name__}: {' '.join(text_of(error).split())}".removesuffix(": ")
    return f"{text:.{MOST_MESSAGE // 8}}"


def _unsaid(value: object) -> NotSaidError:
    from dask.base import is_dask_collection
    from distributed import Client, Future

    name = type(value).__name__
    if isinstance(value, Future):
        return LazyError("a Future is no result yet: return future.result()")
    if is_dask_collection(value):
        return LazyError(f"a {name} of Dask is no result yet: return what its compute() returns")
    if isinstance(value, Client):
        return LazyError("a Client is no result, and is closed when the function has returned: return what it computes")
    if hasattr(value, "__next__") or hasattr(value, "__anext__"):
        return LazyError(f"a {name} is no result yet: return a list of what it yields")
    if hasattr(value, "__await__"):
        return LazyError(f"a {name} is no result yet: make the function `async def`, and return what `await` gives")
    return NotSaidError(f"JSON has no {name}")


def keep(value: object, said: str | None, folder: Path) -> Path:
    """Write a result that can't be an output parameter to ``folder``, and return the file's path.

    The file is result.json if ``said`` has the result as JSON, result.parquet for a table of pandas or pyarrow, and
    result.pkl for anything else. Raises OSError when it can't be written, and NotSaidError when it can't be pickled.
    """
    if said is not None:
        (folder / "result.json").write_text(said)
        return folder / "result.json"
    path = folder / "result.parquet"
    try:
        if _is_of(value, "pandas", ("DataFrame", "Series")):
            frame: Any = value
            frame = frame.to_frame(frame.name if frame.name is not None else "value") if frame.ndim == 1 else frame
            frame.to_parquet(path)
            return path
        if _is_of(value, "pyarrow", ("Table", "RecordBatch")):
            import pyarrow as pa
            from pyarrow import parquet

            table: Any = value
            parquet.write_table(table if isinstance(table, pa.Table) else pa.Table.from_batches([table]), path)
            return path
    except (OSError, *NOT_THEIRS):
        raise
    except BaseException:  # Parquet can't store it, such as a column of sets: pickle can
        path.unlink(missing_ok=True)
    import cloudpickle  # Dask's own function would log stack traces

    try:
        data = cloudpickle.dumps(value)
    except NOT_THEIRS:
        raise
    except BaseException as error:  # from the objects' own methods
        raise NotSaidError(f"it can't be pickled either: {_short(error)}") from error
    path = folder / "result.pkl"
    path.write_bytes(data)
    return path


def _is_of(value: object, package: str, names: tuple[str, ...]) -> bool:
    """Tell whether a value's class is one of a package, without importing that."""
    return type(value).__module__.partition(".")[0] == package and type(value).__name__ in names
