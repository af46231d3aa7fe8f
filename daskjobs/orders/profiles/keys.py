"""The keys of a profile by section: how the value of each is read, which values it may have, and what contradicts."""

import codecs
import difflib
import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from itertools import combinations
from typing import Any
from zoneinfo import available_timezones

import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.errors import UsageError
from daskjobs.options import quoted
from daskjobs.orders.dialect import NONE, QUOTINGS
from daskjobs.orders.profiles import ANY, OTHERS, Column
from daskjobs.orders.profiles.timeforms import clash, why_not
from daskjobs.orders.rules.builtin import OPTIONAL, RULES
from daskjobs.orders.schema import COLUMNS, STATUSES
from daskjobs.orders.sources.unpack import needs_decoding

LINE = "line"
SPARK = "spark"
FROM_PROFILE = ("total", "refunds", "currency")  # what [order] takes of the file, and may be filled down
OF_ORDER = ("order_id", "user_id", "region", "payment_mode", "status", "timestamp", *FROM_PROFILE)
AMOUNTS = ("price", "total_amount")
NUMBERS = ("quantity", *AMOUNTS)
MOST_LINES = 1_000_000
MOST_CENTS = 1_000_000


class WrongError(ValueError):
    """A value that makes no sense; its text goes on after "[section] key", and ``item`` is the part that is wrong."""

    def __init__(self, said: str, item: str = "") -> None:
        super().__init__(said)
        self.item = item


Reader = Callable[[Any], Any]  # of a value of TOML; raises WrongError
Contradiction = tuple[tuple[str, ...], str]


def seen(value: object) -> str:
    """Return a value of TOML as an error message shows it."""
    if isinstance(value, bool):
        return str(value).lower()
    kinds = {dict: "a table", list: "a list", datetime: "a time", date: "a date", time: "a time"}
    return next(
        (word for kind, word in kinds.items() if isinstance(value, kind)),
        quoted(value) if isinstance(value, str) else str(value),
    )


def near(word: str, words: Iterable[str]) -> str:
    """Return the nearest of some words as a question, or all of them.

    >>> near("delimeter", ["delimiter", "quote"])
    "did you mean 'delimiter'?"
    """
    words = list(words)
    found = difflib.get_close_matches(word, words, 1) or difflib.get_close_matches(word.lower(), words, 1)
    return f"did you mean {found[0]!r}?" if found else f"there are {', '.join(words)}"


def _wanted(what: str, value: object) -> WrongError:
    return WrongError(f"must be {what}, got {seen(value)}")


def one_of(*allowed: str) -> Reader:
    """Return a reader of one of some texts."""
    *first, last = map(repr, allowed)

    def read(value: Any) -> str:
        if value not in allowed:
            raise _wanted(f"{', '.join(first)} or {last}", value)
        return str(value)

    return read


def flag(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise _wanted("true or false", value)
    return value


def count(most: int) -> Reader:
    """Return a reader of a whole number from 0 to ``most``."""

    def read(value: Any) -> int:
        if type(value) is not int or not 0 <= value <= most:
            raise _wanted(f"a whole number from 0 to {most:,}", value)
        return value

    return read


def text(value: Any) -> str:
    """Read a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise _wanted("a text in quotes", value)
    return value


def texts(value: Any, empty: bool = False) -> list[str]:
    """Read a text or a list of texts, each once; ``empty`` says whether one may be empty."""
    items = value if isinstance(value, list) else [value]
    for each in items:
        if not isinstance(each, str):
            raise _wanted("a text in quotes, or a list of them", value if not isinstance(value, list) else each)
        if not each and not empty:
            raise WrongError("must have no empty text")
    if not items:
        raise WrongError("must have at least one text, got an empty list")
    if twice := next((each for each in items if items.count(each) > 1), ""):
        raise WrongError(f"has {quoted(twice)} twice: give it once", twice)
    return items


def any_texts(value: Any) -> list[str]:
    """Read a text or a list of texts, which may be empty."""
    return texts(value, empty=True)


def _delimiter(value: Any) -> str:
    found = "\t" if value == "tab" else value
    if not isinstance(found, str) or len(found) != 1 or not found.isascii() or found in '"\r\n\0':
        raise _wanted("one character like ';' or '|', or the word 'tab'", value)
    return found


def _quote(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1 or not value.isascii() or value in tuple("\r\n\0\\"):
        raise _wanted("""one character like '"' or "'", or an empty text where nothing is quoted""", value)
    return value


def _encodings(value: Any) -> list[tuple[str, list[str]]]:
    by_name = value if isinstance(value, dict) else {"*": value}
    if not by_name:
        raise WrongError("must name at least one encoding, got an empty table")
    found = [(pattern, _fitting(each)) for pattern, each in by_name.items()]
    names = list(by_name)
    if "*" in names[:-1]:
        raise WrongError("has '*' before other patterns, which it leaves no files: put it last", "*")
    return found


def _fitting(value: Any) -> list[str]:
    found = texts(value)
    for each in found:
        try:
            needs_decoding(each)
        except UsageError:
            raise WrongError(
                f"must be text encodings that Python knows, like 'cp1252' or ['utf-8', 'cp1252'], got {quoted(each)}",
                each,
            ) from None
    for each, after in combinations(found, 2):
        if _reads(each, bytes(range(256))) or (_is_utf8(after) and _reads(each, "é".encode())):
            raise WrongError(f"has {each!r}, which also fits files that are {after!r}: put it behind that", each)
    return found


def _reads(encoding: str, data: bytes) -> bool:
    try:
        return bool(codecs.decode(data, encoding))
    except UnicodeError:
        return False


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "utf-8"


def _header(value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise _wanted("a list of names, each in quotes, one for each column", value)
    if twice := next((each for each in value if each and value.count(each) > 1), ""):
        raise WrongError(f"has {quoted(twice)} twice: give each column a name of its own", twice)
    return value


def _thousands(value: Any) -> list[str]:
    for each in (found := texts(value)):
        if len(each) != 1 or each.isalnum() or each in "+-()%\r\n":
            raise WrongError(f"must be single characters like '.' or ' ', got {quoted(each)}", each)
    return found


def _signs(value: Any) -> list[str]:
    for each in (found := texts(value)):
        if re.search(r"[0-9+()-]", each) or not each.strip() or each in ".,":
            raise WrongError(f"must be signs or codes like '€' or 'EUR', got {quoted(each)}", each)
    return found


def _timestamps(value: Any) -> list[str]:
    for each in (found := texts(value)):
        if why := why_not(each):
            raise WrongError(f"{quoted(each)} {why}", each)
    if several := clash(found):
        one, other, example = several
        raise WrongError(
            f"{quoted(one)} and {quoted(other)} may both be meant by {example}, as different times: keep the one by "
            "which the file is written",
            other,
        )
    return found


def _zone(value: Any) -> str:
    zones = available_timezones()
    if (name := text(value)) not in zones:
        close = difflib.get_close_matches(name, zones, 1)
        hint = f"did you mean {close[0]!r}?" if close else "zones have names like 'Europe/Berlin' or 'UTC'"
        raise WrongError(f"must be a zone of tzdata, got {quoted(name)}: {hint}")
    return name


def column(ours: str) -> Reader:
    """Return a reader of what the profile says of one of our columns."""

    def read(value: Any) -> Column:
        if not isinstance(value, dict):
            return Column(names=texts(value))
        if unknown := next((each for each in value if each not in _COLUMN), ""):
            raise WrongError(f"has {unknown!r}: {near(unknown, _COLUMN)}")
        ways = [each for each in value if each != "empty"]
        if len(ways) != 1:
            raise WrongError(
                f"must say once where its values come from ({', '.join(w for w in _COLUMN if w != 'empty')}), got "
                + (" and ".join(ways) or "empty alone")
            )
        (way,) = ways
        if "empty" in value and way not in ("column", "join", "sum"):
            raise WrongError(f"has empty beside {way}: it is for values that may be empty, so leave it out")
        if why := _unfit(ours, way):
            raise WrongError(f"can't be {way}: {why}")
        said = {key: _part(key, each) for key, each in value.items()}
        return Column(names=said.pop("column", []), **said)

    return read


def _part(key: str, value: Any) -> Any:
    try:
        return _COLUMN[key](value)
    except WrongError as error:
        raise WrongError(f"{key} {error}", error.item) from None


def _unfit(ours: str, way: str) -> str:
    """Say why one of our columns can't come from there, or return an empty text if it can."""
    if way == "constant" and ours == "order_id":
        return "each order has an id of its own"
    if way == "absent" and ours not in OTHERS:
        return f"only {', '.join(OTHERS)} may be left out"
    if way == "sum" and ours not in AMOUNTS:
        return f"only {' and '.join(AMOUNTS)} are amounts"
    if way == "join" and ours in NUMBERS:
        return "it is a number"
    if way == "computed" and ours != "total_amount":
        return "only total_amount is quantity times price"
    return ""


def _true(value: Any) -> bool:
    if value is not True:
        raise WrongError(f"must be true, or be left out, got {seen(value)}")
    return True


def _constant(value: Any) -> str:
    if not isinstance(value, str):
        raise _wanted("a text in quotes", value)
    return value


def summands(value: Any) -> list[str]:
    """Read a name of a column, or a list of names, each with a sign or none."""
    found = texts(value)
    names = [re.sub(r"^[+-]", "", each).strip() for each in found]
    if "" in names:
        raise WrongError("must be names of columns, each with + or - before it or none, got a sign alone")
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise WrongError(f"has {quoted(twice)} twice: give it once")
    return found


def _joined(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) < 2:
        raise _wanted('a list of two names or more, like ["Date", "Time"]', value)
    return texts(value)


_COLUMN: dict[str, Reader] = {
    "column": texts,
    "constant": _constant,
    "absent": _true,
    "sum": summands,
    "join": _joined,
    "computed": _true,
    "empty": _constant,
}


def _statuses(value: Any) -> list[str]:
    return [each.strip(" \t") for each in any_texts(value)]  # as statuses of files are


def _fill_down(value: Any) -> list[str]:
    if isinstance(value, bool):
        return list(OF_ORDER) if value else []
    for each in (found := texts(value)):
        if each in COLUMNS and each not in OF_ORDER:
            raise WrongError(f"has {each!r}, which is of each line: only {', '.join(OF_ORDER)} are of an order", each)
        if each not in OF_ORDER:
            raise WrongError(f"must be true, or names of ours, got {quoted(each)}: {near(each, OF_ORDER)}", each)
    return found


def _total(value: Any) -> list[str]:
    return [] if value == LINE else summands(value)


def _code(value: Any) -> str:
    return text(value).strip().upper()


def _rules(value: Any) -> list[str]:
    for each in (found := texts(value)):
        if each not in RULES:
            raise WrongError(f"must be names of built-in rules, got {quoted(each)}: {near(each, RULES)}", each)
        if each not in OPTIONAL:
            raise WrongError(f"has {each!r}, which can't be left out; these can: {', '.join(OPTIONAL)}", each)
    return found


def _patterns(value: Any) -> list[str]:
    for each in (found := texts(value)):
        try:
            hits = pc.match_substring_regex(pa.array(["", "A1,2,x 9"]), each).to_pylist()
        except pa.ArrowException as error:
            why = str(error).removeprefix("Invalid regular expression: ")
            raise WrongError(f"{quoted(each)} is no regular expression of RE2: {why}", each) from None
        if all(hits):
            raise WrongError(f"{quoted(each)} is found in each row, so that none would be left", each)
    return found


def _where(value: Any) -> list[dict[str, list[str]]]:
    tables = value if isinstance(value, list) else [value]
    if not tables or not all(isinstance(each, dict) and each for each in tables):
        raise _wanted('tables like {Type = ["Payout"]}, of columns and their texts', value)
    return [{name: _texts_of(name, each) for name, each in table.items()} for table in tables]


def _texts_of(name: str, value: Any) -> list[str]:
    try:
        return any_texts(value)
    except WrongError as error:
        raise WrongError(f"{name} {error}", error.item) from None


KEYS: dict[str, dict[str, Reader]] = {
    "file": {
        "delimiter": _delimiter,
        "quoting": one_of(*QUOTINGS, SPARK),
        "quote": _quote,
        "encoding": _encodings,
        "header": _header,
        "skip_lines": count(MOST_LINES),
        "footer_lines": count(MOST_LINES),
        "nulls": any_texts,
    },
    "columns": {ours: column(ours) for ours in COLUMNS},
    "values": {
        "decimal": one_of(".", ","),
        "thousands": _thousands,
        "currency": _signs,
        "parentheses": flag,
        "trailing_minus": flag,
        "percent": flag,
        "timestamp": _timestamps,
        "zone": _zone,
        "hour_twice": one_of("first", "second"),
        "ids": one_of("exact", "trimmed", "visible"),
    },
    "status": dict.fromkeys(STATUSES, _statuses),
    "order": {
        "rows": one_of("order", LINE),
        "key": texts,
        "fill_down": _fill_down,
        "total": _total,
        "price": one_of("unit", LINE),
        "tolerance": count(MOST_CENTS),
        "returns": one_of("reject", "subtract"),
        "refunds": text,
        "currency": text,
        "report_currency": _code,
        "rejects": one_of(LINE, "order"),
        "repeats": one_of("first", "last"),
        "version": text,
        "without_rules": _rules,
    },
    "furniture": {"lines": _patterns, "where": _where, "header": flag},
}


def contradiction(said: dict[str, dict[str, Any]]) -> Contradiction | None:
    """Return the path of something that contradicts the rest of what a profile says, and why; None if nothing does.

    ``said`` has the values that were read, by section and key.
    """
    file, values, order = (said.get(name, {}) for name in ("file", "values", "order"))
    columns, status = said.get("columns", {}), said.get("status", {})
    quoting, quote = file.get("quoting", ""), file.get("quote", '"')
    if file.get("delimiter") and file["delimiter"] == quote and quoting != NONE:
        return ("file", "delimiter"), "is the quote, too: a character can't be both"
    if "quote" in file and quoting == NONE:
        return ("file", "quote"), 'means nothing with quoting = "none": leave one of them out'
    if file.get("delimiter") == "\\" and quoting in ("backslash", SPARK):
        return ("file", "delimiter"), "is the backslash, which escapes other characters"
    if values.get("decimal", ".") in values.get("thousands", []):
        return ("values", "thousands"), f"has {values.get('decimal', '.')!r}, which is the decimal sign"
    if "hour_twice" in values and "zone" not in values:
        return ("values", "hour_twice"), "means nothing without zone"
    if twice := _twice(status):
        return twice
    fixed = columns.get("status", Column()).constant
    known = {*STATUSES, *(each for theirs in status.values() for each in theirs)}
    if fixed is not None and fixed not in known and ANY not in known:
        return ("columns", "status"), f"is {quoted(fixed)} in each row, which is none of ours and not in [status]"
    return _of_order(order, columns)


def _of_order(order: dict[str, Any], columns: dict[str, Column]) -> Contradiction | None:
    by_line = order.get("rows") == LINE
    if not by_line and order.get("fill_down"):
        return ("order", "fill_down"), 'is for lines of orders: say rows = "line", or leave it out'
    down = order.get("fill_down", [])
    if down != list(OF_ORDER) and (
        without := next((each for each in FROM_PROFILE if each in down and not order.get(each)), "")
    ):
        return ("order", "fill_down"), f"has {without!r}, and [order] doesn't say {without}"
    if not by_line and order.get("rejects") == "order":
        return ("order", "rejects"), 'is for lines of orders: say rows = "line", or leave it out'
    if by_line and "version" in order:
        return ("order", "version"), "is for rows that are orders: lines of an order that was counted are not compared"
    if by_line and "repeats" in order and not order.get("key"):
        return ("order", "repeats"), "needs key: without it, no line is another one's repetition"
    if order.get("total") and "total_amount" in columns:
        return ("order", "total"), "and [columns] total_amount both say what the total is: leave one of them out"
    if order.get("price") == LINE and columns.get("total_amount", Column()).computed:
        return ("order", "price"), (
            "is of the whole line, and [columns] total_amount is computed as quantity times price: leave one of them "
            "out, or give total_amount the column of the price"
        )
    names = [re.sub(r"^[+-]", "", each).strip() for each in order.get("total", [])]
    if order.get("refunds") in names:
        return ("order", "refunds"), f"is {order['refunds']!r}, which total has as well, so that it would count twice"
    if "report_currency" in order and "currency" not in order:
        return ("order", "report_currency"), "needs currency: the name of the column of currencies"
    return None


def _twice(status: dict[str, list[str]]) -> Contradiction | None:
    of = dict[str, str]()
    for ours, theirs in status.items():
        for each in theirs:
            if of.setdefault(each, ours) != ours:
                why = f"has {quoted(each)}, which {of[each]} has as well: a text can stand for only one of ours"
                return ("status", ours, each), why
    return None
