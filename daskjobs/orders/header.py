"""Says in an error message what a file begins with."""

import re
from collections.abc import Set

_FIELD_NAME = re.compile(r"[\w .#%()/-]{0,60}")


def first_row(header: list[str], known: Set[str]) -> str:
    """Say what a file begins with; quote it only if it looks like a header, since it may be secret.

    It does if it has some of the ``known`` names, and nothing but texts that may be names.
    """
    if not any(map(str.strip, header)):
        return "is empty"
    if known.isdisjoint(header):
        return "has none of these names"
    if not all(_FIELD_NAME.fullmatch(column) for column in header):
        return "has some of these names, and others that are no names of columns"
    return f"is {', '.join(header)[:300]!r}"
