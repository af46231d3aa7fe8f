"""Which rules may warn instead of rejecting rows, and the names of rules in --warn and --max-rejected.

This module imports neither pyarrow nor pandas.
"""

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from daskjobs.errors import UsageError
from daskjobs.options import quoted

ALWAYS_WARN = ("duplicate_return", "differing_place")  # and reject nothing: both rows may be right
CAN_WARN = ("quantity_below_one", "negative_price", "wrong_total", "unknown_status")
_NO_TOTAL = "nobody could tell what its row comes to"
_TWICE = "the order would count twice"
_LESS = "its row would lessen the revenue"
_NO_FIELDS = "its row has no fields to count"
# Why each other built-in reason can't be one for a warning.
CANNOT = {
    **dict.fromkeys(("wrong_number_of_fields", "not_utf8", "malformed_json"), _NO_FIELDS),
    "missing_order_id": "nobody could tell which order its row is",
    **dict.fromkeys(("unreadable_quantity", "unreadable_price", "unreadable_total", "unreadable_refund"), _NO_TOTAL),
    "unreadable_timestamp": "nobody could tell of which day its row is",
    **dict.fromkeys(("duplicate_order_id", "duplicate_line", "seen_before"), _TWICE),
    "negative_total": _LESS,
    "contradictory_signs": "nobody could tell whether its row is a sale or a return",
    **dict.fromkeys(("differing_total", "differing_refund"), "its order would have two"),
    "line_of_rejected_order": "its order is rejected",
    "missing_currency": "nobody could tell what its row is paid in",
}


def read_warn(value: Any) -> str:
    """Return the names that --warn has, each once and sorted, as a text. Raises UsageError when there are none.

    >>> read_warn(" wrong_total,unknown_status,"), read_warn(["wrong_total"])
    ('unknown_status,wrong_total', 'wrong_total')
    """
    if isinstance(value, str) and not value:
        return ""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple | set | frozenset) or not all(isinstance(each, str) for each in listed):
        raise UsageError(f"--warn must be names of rules, like wrong_total,unknown_status, got {quoted(str(value))}")
    names = {name.strip() for each in listed for name in each.split(",")} - {""}
    if not names:
        raise UsageError(f"--warn must be names of rules, like wrong_total,unknown_status, got {quoted(str(value))}")
    return ",".join(sorted(names))


def refuse_unknown(
    sentences: Collection[str], warn: Collection[str], limited: Collection[str], left_out: Mapping[str, str]
) -> None:
    """Raise UsageError unless each name of --warn is a rule that can warn, and each of --max-rejected a reason.

    ``sentences`` are by the reasons that rows of this run can have, ``left_out`` the built-in rules that its profile
    leaves out, each with why.
    """
    for flag, what, names in (("--warn", "rule", warn), ("--max-rejected", "reason", limited)):
        for name in sorted(names):
            if flag == "--warn" and name in CANNOT:
                raise UsageError(
                    f"--warn can't have {name}, because {CANNOT[name]}; of the built-in rules, {', '.join(CAN_WARN)} "
                    "can warn, and any of your own"
                )
            if name in sentences:
                continue
            if name in left_out:
                raise UsageError(f"{flag} has {name}, which is not checked here, since {left_out[name]}: leave it out")
            known = [each for each in sentences if flag != "--warn" or each not in CANNOT]
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it may be one of {', '.join(known)}"
            raise UsageError(f"{flag} has {quoted(name)}, which is no {what} of this run: {hint}")
