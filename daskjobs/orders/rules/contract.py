"""What a rule may look at: a frame of orders, and the run's context if it asks for it, but never the clock.

A run must give the same bytes when it is tried again on another day. Code that asks the clock is found by reading its
operations, so it is refused before it runs, whether or not a row of today's orders would be judged otherwise.
"""

import dis
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from inspect import signature
from sys import modules
from types import CodeType, ModuleType
from typing import Any

from daskjobs.errors import ConfigError

CONTEXT = "context"  # the name of a rule's second argument
NOW = ("now", "today", "utcnow")  # of a class of dates, and in a text that numpy or pandas reads
READS_TEXT = ("datetime64", "Timestamp", "to_datetime", "DatetimeIndex", "date_range", "bdate_range")
CLOCKS = (time.time, time.time_ns, time.clock_gettime, time.clock_gettime_ns)
# Functions of time that ask the clock where they are called with no more than so many arguments.
CONVERTERS = {"localtime": 0, "gmtime": 0, "ctime": 0, "asctime": 0, "strftime": 1}
BETWEEN = ("CACHE", "KW_NAMES", "PRECALL", "PUSH_NULL")  # operations between a function, its arguments and the call
INSTEAD = "let the rule take (orders, context), and use context.as_of, the run's date, which --as-of sets"


@dataclass(frozen=True)
class RuleContext:
    """What a rule can know of its run: ``as_of``, the run's date, which is the same whenever the run is tried again.

    A rule is given it by a second argument, which must be called ``context``.
    """

    as_of: date


def takes_context(rule: Callable[..., Any], name: str) -> bool:
    """Tell whether a rule takes the context beside the frame. Raises ConfigError when it takes anything else."""
    try:
        takes = signature(rule)
    except ValueError:  # of a function written in C, which doesn't say
        return False
    known = CONTEXT in takes.parameters
    try:
        takes.bind(None, **({CONTEXT: None} if known else {}))
    except TypeError as error:
        raise ConfigError(
            f"the rule {name} takes {takes}: a rule takes (orders) or (orders, context); give each other argument a "
            'default, or a value by daskjobs.rule("…", most=5)'
        ) from error
    return known


def clock_in(code: CodeType, outside: Mapping[str, Any], around: Mapping[str, Any]) -> str:
    """Return what a code, or one within it, asks the clock by, and where, as a text; empty where it doesn't.

    ``outside`` are its globals, and ``around`` the variables of the functions that it stands in, so far as known.
    """
    local = {name: around[name] for name in code.co_freevars if name in around}
    value: Any = None
    module = None
    for each in dis.get_instructions(code):
        said = ""
        for operation, name in _simple(each):
            if operation == "IMPORT_NAME":
                value = module = modules.get(name)
            elif operation == "IMPORT_FROM":
                value = _attribute(module, name)
            elif operation in ("STORE_FAST", "STORE_NAME", "STORE_DEREF"):
                local[name], value = value, None
            elif operation in ("LOAD_GLOBAL", "LOAD_NAME"):
                reader, value = value, outside.get(name)
                said = _reads_now(reader, value)
            elif operation.startswith(("LOAD_FAST", "LOAD_DEREF")):
                value = local.get(name)
            elif operation in ("LOAD_ATTR", "LOAD_METHOD"):
                value = _attribute(value, name)
            elif operation == "LOAD_CONST":
                said = _reads_now(value, name)
            elif operation == "CALL" and each.arg == CONVERTERS.get(getattr(value, "__name__", "")):
                said = f"time.{value.__name__}" if _attribute(time, value.__name__) is value else ""
            elif operation not in BETWEEN:
                value = None
            if said or (operation.startswith("LOAD_") and _is_clock(value)):
                said = said or f"{value.__self__.__name__}.{value.__name__}"
                return f"{said} in line {each.positions.lineno if each.positions else '?'}"
    inner = (clock_in(each, outside, local) for each in code.co_consts if isinstance(each, CodeType))
    return next(filter(None, inner), "")


def _simple(each: dis.Instruction) -> Iterator[tuple[str, Any]]:
    """Yield the operations, each with its name, that an instruction of Python 3.13 or later may join."""
    if isinstance(each.argval, tuple) and "_FAST" in each.opname:
        yield from zip(re.findall("LOAD_FAST|STORE_FAST", each.opname), each.argval, strict=True)
    else:
        yield each.opname, each.argval


def _attribute(value: object, name: str) -> Any:
    if isinstance(value, ModuleType):
        return vars(value).get(name)
    return getattr(value, name, None) if isinstance(value, type) else None


def _reads_now(reader: object, text: object) -> str:
    """Return how a text asks the clock, if it does where ``reader`` is called with it."""
    name = getattr(reader, "__name__", "")
    return f"{name}({text!r})" if name in READS_TEXT and isinstance(text, str) and text in NOW else ""


def _is_clock(value: object) -> bool:
    owner = getattr(value, "__self__", None)
    is_date = isinstance(owner, type) and (issubclass(owner, date) or owner.__name__ == "Period")  # pandas'
    return (is_date and getattr(value, "__name__", "") in NOW) or any(value is each for each in CLOCKS)
