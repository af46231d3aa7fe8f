"""Keeps pyarrow from importing pandas."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


def spare_pandas() -> None:
    """Make pyarrow go without pandas until it is to make a frame, in a process that runs no code of a user's.

    pyarrow imports pandas, which takes longer than a small run's work, when it first gets any value of Python, since
    that might be a Series. It has no setting for this, but looks only once, and here finds none. If it is given a
    Series before `to_pandas` was called, it takes that for a list.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    refusing = _Refusing()
    sys.meta_path.insert(0, refusing)
    try:
        pa.scalar(0)
    finally:
        sys.meta_path.remove(refusing)


class _Refusing(MetaPathFinder):
    """Says that pandas isn't there."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:  # noqa: ARG002
        """Find nothing."""
        if name == "pandas":
            raise ModuleNotFoundError(f"{name} is not imported before it is needed", name=name)
