"""Proposes a profile: TOML that says how files seem to be written, and beside each line what was seen.

A proposal is a pure function of the sampled rows. It quotes names of columns, statuses, currencies and formats, and no
other value of the data.
"""

import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from daskjobs.display import escaped, listed
from daskjobs.orders.dialect import BACKSLASH, RFC4180
from daskjobs.orders.profiles import ANY, ISO, Profile
from daskjobs.orders.profiles.reading import parse_profile, preset, preset_of
from daskjobs.orders.profiles.timeforms import clash
from daskjobs.orders.profiles.values import code_of
from daskjobs.orders.proposals.forms import Times, amount, counted, fits, invisible, times
from daskjobs.orders.proposals.guesses import MOST, MOST_STATUSES, Guess, guess, named, ranked
from daskjobs.orders.proposals.sampling import ENCODINGS, Piece, Sheet, sheet
from daskjobs.orders.proposals.shapes import (
    Shape,
    alike_in,
    changed,
    differ,
    has_amounts,
    in_parts,
    key_of,
    made_of,
    may_be_cents,
    overlaps,
    parts,
    runs,
    same_rows,
    shape,
    sum_parts,
    used,
    with_quantity,
)
from daskjobs.orders.proposals.sums import Sums, Unlabelled, sums_of_orders, unlabelled_sums, without_rows, without_sums
from daskjobs.orders.proposals.words import (
    CENTS,
    ENDED,
    FLAGS,
    NO,
    NO_SALE,
    PAID_AT,
    REFUND_STEMS,
    STATUS_OF,
    TYPES,
    YES,
    plain,
)
from daskjobs.orders.schema import COLUMNS, PAID, STATUSES

NAMED = 8  # statuses that a preset does not name, at most
WIDTH = 120
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SHOWN_STATUSES = 12
LONGEST_STATUS = 40
_EXPONENT = re.compile(r"[0-9]+([.,][0-9]+)?[Ee]\+?[0-9]{1,2}")  # an id that a spreadsheet has taken for a number
NO_COLUMN = "there is no such column"
INSTEAD = "Export dates like 2026-01-31 10:30:00, or seconds since 1970 (unix)"


def quoted(text: str) -> str:
    r"""Return a text as TOML writes it, with everything that nobody sees escaped.

    >>> print(quoted("Zahlung"), quoted(r"\N"), quoted("1\u202f234"))
    "Zahlung" '\N' "1\u202f234"
    """
    if "\\" in text and "'" not in text and escaped(text) == text:
        return f"'{text}'"
    return '"' + "".join(map(_char, text)) + '"'


def _char(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char == "\t":
        return "\\t"
    if escaped(char) == char:
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def either(texts: Iterable[str]) -> str:
    """Return texts as a list of TOML, or one text alone as itself."""
    texts = list(texts)
    return quoted(texts[0]) if len(texts) == 1 else _list(texts)


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(quoted, texts))}]"


def rows_of(count: int) -> str:
    """Return a number of rows in words."""
    return these(count, "row")


def these(count: int, what: str) -> str:
    """Return a number of things, which end with an s where they are several.

    >>> these(1, "id"), these(1200, "id")
    ('1 id', '1,200 ids')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _in(counts: Iterable[int], what: str) -> str:
    """Return how often some texts were seen.

    >>> _in([7], "row"), _in([1, 1], "row"), _in([3, 1], "row")
    ('in 7 rows', 'in 1 row each', 'in 3 and 1 rows')
    """
    counts = list(counts)
    if len(set(counts)) == 1:
        return f"in {these(counts[0], what)}{' each' if len(counts) > 1 else ''}"
    return f"in {', '.join(f'{each:,}' for each in counts[:-1])} and {counts[-1]:,} {what}s"


def _share(part: int, whole: int, what: str) -> str:
    return f"{part:,} of {whole:,} {what}"


@dataclass
class Section:
    """A section of a proposal: its lines of TOML and comments."""

    name: str
    lines: list[str] = field(default_factory=list)

    def say(self, key: str, value: str, seen: str = "") -> None:
        """Add a key with what was seen, in a comment behind it or, where that is too long, above it."""
        line, seen = f"{key} = {value}", escaped(seen)
        if len(line) > WIDTH and value.startswith(('["', "['")):
            whole = re.findall(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'", value)
            line = f"{key} = [\n" + "".join(f"    {each},\n" for each in _packed(whole)) + "]"
        if not seen:
            self.lines.append(line)
        elif len(line) + len(seen) + 4 <= WIDTH:
            self.lines.append(f"{line}  # {seen}")
        else:
            self.note(seen)
            self.lines.append(line)

    def note(self, text: str) -> None:
        """Add a comment."""
        self.lines += [f"# {each}" for each in textwrap.wrap(escaped(text), WIDTH - 2, break_on_hyphens=False)]

    def ask(self, question: str, other: str = "") -> None:
        """Add a question, and the other answer to it as a line that is commented out."""
        self.note(f"QUESTION: {question}")
        if other:
            self.lines.append(f"# {other}")

    def text(self) -> list[str]:
        """Return the lines of the section, none if it is empty."""
        return ["", f"[{self.name}]", *self.lines] if self.lines else []


def _packed(texts: list[str]) -> list[str]:
    lines = [""]
    for each in texts:
        if lines[-1] and len(lines[-1]) + len(each) > WIDTH - 10:
            lines.append("")
        lines[-1] = f"{lines[-1]}, {each}" if lines[-1] else each
    return lines


def propose(pieces: list[Piece], count: int = 0, today: date | None = None) -> str:
    """Return the proposal for files, of which the beginnings of some are given, and ``count`` there are.

    It is a preset's text, if they have its columns. A year of two digits is not after ``today``. Raises InputError when
    a file is no text.
    """
    sheets = [named(sheet(piece)) for piece in pieces]
    found = guess(sheets, today)
    head = _head(found, pieces, count or len(pieces))
    if name := preset_of(found.table.columns):
        return "\n".join([*head, *_of_preset(found, name)])
    sums = sums_of_orders(found)
    if sums and sums.sure:
        sheets = without_sums(sheets, sums)
        found = guess(sheets, today)
    unlabelled = unlabelled_sums(found)
    if unlabelled and unlabelled.sure:
        found = guess(without_rows(sheets, unlabelled.rows), today)
    form = shape(found)
    if unlabelled and not unlabelled.rows and "order_id" not in form.fill:
        unlabelled = None  # rows without an id are rejected
    sections = [
        _file(found, form),
        _columns(found, form),
        _values(found, form),
        _status(found, form),
        _order(found, form),
        _furniture(found, sums, unlabelled),
    ]
    lines = head
    for section in sections:
        lines += section.text()
    return "\n".join(lines) + "\n"


def _of_preset(found: Guess, name: str) -> list[str]:
    """Return the text of the preset whose columns files have, as it reads these files, with what it leaves open."""
    text, lead = preset(name), Section("")
    profile = parse_profile(text, name)
    changed = _file_changes(found, profile)
    for key, value in changed.items():
        text = re.sub(rf"^{key} = .*\n", "", text, flags=re.M)
        text = text.replace("[file]\n", f"[file]\n{key} = {value}\n", 1)
    if changed:
        keys = " and ".join(changed)
        reads = f"with {keys} of this file: save it, because --profile {name} alone doesn't read it."
    else:
        reads = f"--profile {name} reads it as it is."
    lead.note(f"The columns are those of the preset {name}, which stands below{' ' if changed else ': '}{reads}")
    _times_of_preset(lead, found, profile)
    sums = unlabelled_sums(found)
    if sums and "order_id" in profile.order.fill_down:
        _ask_of_sums(lead, sums)
    column = profile.column("status")
    if column.names and ANY not in profile.status:
        texts = Counter(each.strip(" \t") for each in found.table.values(column.names))
        named = {*profile.status, *STATUSES}
        if others := [text for text in texts if text not in named and (text or not profile.by_line)]:
            shown = ", ".join(f"{quoted(text)} ({texts[text]:,})" for text in others[:NAMED])
            lead.note(f"QUESTION: what do these of {column.names[0]} mean? Unless [status] names them, they are")
            lead.note(f"rejected: {shown}")
    return [*lead.lines, "", text]


def _file_changes(found: Guess, profile: Profile) -> dict[str, str]:
    """Return the keys of [file] in which files are written otherwise than a preset says."""
    first = found.table.sheets[0]
    own = parse_profile("\n".join(_file(found).text()), profile.name).file
    known = {each for _, encodings in profile.file.encodings for each in encodings}
    encodings = [each for _, encodings in own.encodings for each in encodings]
    changed = {}
    if first.kind == "csv" and own.delimiter != profile.file.delimiter:
        changed["delimiter"] = quoted(own.delimiter)
    if first.kind == "csv" and own.skip_lines != profile.file.skip_lines:
        changed["skip_lines"] = str(own.skip_lines)
    if not known.issuperset(encodings):
        changed["encoding"] = either(encodings)
    return changed


def _times_of_preset(section: Section, found: Guess, profile: Profile) -> None:
    """Ask about times that are written otherwise than a preset says."""
    forms = profile.values.timestamp or [ISO]
    names = profile.column("timestamp").names
    texts = [each for each in found.table.values(names) if each]
    others = [each for each in texts if not any(fits(each, form) for form in forms)]
    if not others:
        return
    seen = f"{_share(len(others), len(texts), f'times of {names[0]}')} are not written as {' or '.join(forms)}"
    if written := [each for each in times(others).formats if not clash([*forms, each])]:
        section.ask(
            f"{seen}, and are rejected. Shall they count? In [values]:", f"timestamp = {_list([*forms, *written])}"
        )
    else:
        section.note(f"{seen}, and are rejected.")


def _head(found: Guess, pieces: list[Piece], count: int) -> list[str]:
    rows = found.table.count
    whole = all(each.whole for each in found.table.sheets) and len(pieces) == count
    part = f"all {rows_of(rows)}" if whole and rows > 1 else rows_of(rows) if whole else f"the first {rows_of(rows)}"
    where = listed(pieces[0].name).rpartition("/")[2] if count == 1 else f"{len(pieces):,} of {count:,} files"
    lead = Section("")
    lead.note(f"A proposal from {part} of {where}; it quotes names, statuses, currencies and formats of the data.")
    lead.note("Read each line, answer each QUESTION, save it as mine.toml, and run with --profile mine.toml.")
    if not rows:
        lead.note("There are no rows to look at: only the names of the columns were seen.")
    return lead.lines


def _file(found: Guess, form: Shape | None = None) -> Section:
    section = Section("file")
    sheets = found.table.sheets
    first = sheets[0]
    if first.kind != "csv":
        encodings = {each.encoding for each in sheets if each.encoding}
        if encodings:
            section.say("encoding", quoted(min(encodings)), "as the file's first bytes say")
        section.note(f"{first.kind}: the file itself says how it is written.")
        return section
    count = len(first.rows) + first.others
    if first.delimiter not in DELIMITERS or first.delimiter != "," or first.quoting != RFC4180:
        what = DELIMITERS.get(first.delimiter, "such characters")
        section.say(
            "delimiter",
            quoted(first.delimiter),
            f"{what} make {len(first.columns)} fields in {_share(len(first.rows), count, 'rows')}",
        )
    else:
        section.say(
            "delimiter", quoted(","), f"{len(first.columns)} fields in {_share(len(first.rows), count, 'rows')}"
        )
    if differ := sum(_written(each) != _written(first) for each in sheets):
        section.note(
            f"{differ} of {len(sheets)} files are written otherwise (delimiter, quotes, lines before the header): "
            "propose a profile for these alone."
        )
    if len(first.columns) == 1:
        section.note("No character was found that makes fields of a row: give the delimiter, if there is one.")
    if first.quoting != RFC4180:
        meaning = {
            "none": "quotes stand where they close nothing: they are plain characters",
            "backslash": r"a backslash escapes the next character, as in \" or \N",
            "spark": r"a backslash escapes quotes, as in \"",
        }
        section.say("quoting", quoted(first.quoting), meaning[first.quoting])
    if first.quote != '"':
        meaning_of = "fields stand in single quotes" if first.quote else "quotes are plain characters"
        section.say("quote", quoted(first.quote), meaning_of)
    if first.quoting == BACKSLASH and not first.quote:
        source, name = ("COPY of PostgreSQL", "postgres-copy") if first.ends else ("INTO OUTFILE of MySQL", "mysql")
        section.note(f"This is text as {source} writes it: the preset {name} reads it, too, with your columns.")
    _encoding(section, sheets)
    if not first.header:
        unused = [name for name in first.columns if not any(name in names for names in found.names.values())]
        ours = first.columns == list(COLUMNS)
        section.say(
            "header",
            _list(first.columns),
            "the first row has values, no names; these fit the values"
            if ours
            else "the first row has values, no names",
        )
        if unused and not ours and len(unused) < len(first.columns):
            section.note(f"{', '.join(unused)[:80]}: may be user_id, region, product or payment_mode.")
    elif first.twice:
        unique = _unique(first.columns)
        if form:
            _twice(section, found, used(found).union(form.total, form.own))
        section.say(
            "header", _list(unique), f"two columns are called {escaped(first.twice[0])}: the names are given here"
        )
    skip = first.skip + (1 if first.twice and first.header else 0)
    if skip:
        what = "lines" if skip > 1 else "line"
        why = "the line that says the delimiter" if first.sep and skip == 1 else f"{what} before the header"
        section.say("skip_lines", str(skip), why if first.header else f"{what} before the first row")
    if first.footer:
        section.say("footer_lines", str(first.footer), "after the last row")
    empty = {text: count for text, count in found.table.nulls.items() if (first.quoting, text) != (BACKSLASH, r"\N")}
    if empty:
        texts = sorted(empty, key=lambda each: (-empty[each], each))
        section.say("nulls", _list(texts), _in((empty[each] for each in texts), "field"))
    if first.others:
        section.note(f"In {rows_of(first.others)}, the number of fields is another one: such rows are rejected.")
    return section


def _written(sheet: Sheet) -> tuple[str, str, str, int, bool]:
    return sheet.delimiter, sheet.quoting, sheet.quote, sheet.skip, sheet.header


def _unique(names: list[str]) -> list[str]:
    seen, unique = Counter[str](), list[str]()
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return unique


def _twice(section: Section, found: Guess, names: set[str]) -> None:
    """Ask which of several columns of one name counts, where they differ."""
    first = found.table.sheets[0]
    unique = _unique(first.columns)
    for name in sorted(names.intersection(first.twice)):
        first_place, *places = [place for place, each in enumerate(first.columns) if each == name]
        for place in places:
            if count := sum(row[first_place] != row[place] for row in first.rows):
                section.ask(
                    f"which {escaped(name)} counts? Two columns have this name, and differ in "
                    f"{_share(count, len(first.rows), 'rows')}. Here, the first one counts. For the other one, write "
                    f"{quoted(unique[place])} for {quoted(name)} in the sections below."
                )


def _encoding(section: Section, sheets: list[Sheet]) -> None:
    others = dict.fromkeys(each.encoding for each in sheets if each.encoding)
    if not others:
        return
    of_one = next(each for each in sheets if each.encoding)
    seen = f"not UTF-8 (byte {of_one.odd})" if of_one.odd else "as the first bytes say"
    if of_one.odd:
        seen += f"; read as {ENCODINGS[of_one.encoding]} writes it, the best of {', '.join(ENCODINGS)}"
    if len(others) > 1 or not all(each.encoding for each in sheets):
        count = sum(bool(each.encoding) for each in sheets)
        last = sorted(others, key=lambda each: [*ENCODINGS].index(each) if each in ENCODINGS else -1)
        section.say(
            "encoding",
            _list(["utf-8", *last]),
            f"{_share(count, len(sheets), 'files')} are not UTF-8; of each file, the first that fits all of it",
        )
    else:
        section.say("encoding", quoted(of_one.encoding), seen)
    if bad := sum(each.bad for each in sheets):
        section.note(f"{bad:,} characters are none of this encoding: their rows are rejected.")


def _columns(found: Guess, form: Shape) -> Section:
    section = Section("columns")
    for ours in COLUMNS:
        if ours in ("quantity", "price", "total_amount"):
            if ours == "quantity":
                _money_columns(section, found, form)
            continue
        names = found.names.get(ours, [])
        if ours == "timestamp" and names:
            _timestamp(section, found)
        elif names:
            if ours == "order_id" and (lost := sum(map(bool, map(_EXPONENT.fullmatch, found.texts(ours))))):
                section.ask(
                    f"{these(lost, 'id')} are like 1.23E+15: a spreadsheet has lost their last digits, and several "
                    "orders may have one id by now. Can you export them again, with ids as text?"
                )
            section.say(ours, either(names), _seen(found, ours))
        elif ours == "order_id":
            section.ask("which column is the order's id? None looks like one, and a run needs it.", 'order_id = "…"')
        elif ours == "timestamp":
            section.ask(
                f"which column is the order's time? A run needs it, and {_counted(found) or 'none looks like one'}.",
                'timestamp = "…"',
            )
        elif ours == "status":
            section.ask(
                "which column says whether an order is paid? None looks like it. If each row is of a paid order:",
                f"status = {{constant = {quoted(PAID)}}}",
            )
            _by_times(section, found)
        else:
            section.say(ours, "{absent = true}", NO_COLUMN)
    return section


def _by_times(section: Section, found: Guess) -> None:
    """Ask whether a column of times says, by being filled, which rows are paid or cancelled."""
    for name, texts in found.table.columns.items():
        filled = sum(map(bool, texts))
        if 0 < filled < len(texts) and plain(name) in PAID_AT | ENDED:
            what, empty, other = (
                ("paid", "pending", PAID) if plain(name) in PAID_AT else ("cancelled", PAID, "cancelled")
            )
            section.ask(
                f"{escaped(name)} is filled in {_share(filled, len(texts), 'rows')}: are these {what}? Then:",
                f'status = {quoted(name)}  # and in [status] {empty} = "" and {other} = "{ANY}"',
            )
            return


def _counted(found: Guess) -> str:
    """Say which column has numbers that count time, and what to do; empty if there is none."""
    for name in ranked(found.table.columns, "timestamp"):
        for what, count in counted(found.table.columns[name]).items():
            return f"{escaped(name)} has {what} in {rows_of(count)}, which no format reads. {INSTEAD}"
    return ""


def _seen(found: Guess, ours: str) -> str:
    """Say what a column's values are like."""
    texts = [each for each in found.texts(ours) if each]
    distinct = len(set(texts))
    empty = found.table.count - len(texts)
    seen = "by its values: " if ours in found.by_values else ""
    if ours == "order_id":
        seen += f"{these(distinct, 'id')} in {rows_of(found.table.count)}"
    else:
        seen += these(distinct, "value")
    if empty:
        seen += f", {empty:,} empty"
    return seen


def _timestamp(section: Section, found: Guess) -> None:
    names, times = found.names["timestamp"], found.times
    for what, count in counted(found.texts("timestamp")).items():
        section.ask(f"what are {these(count, 'time')}? They look like {what}, and are rejected. {INSTEAD}.")
    seen = _share(times.read, times.count, "are times")
    if "timestamp" in found.by_values:
        seen = f"by its values: {seen}"
    if other := found.others.get("timestamp"):
        section.ask(
            f"is {escaped(names[0])} or {escaped(other)} the time that counts? The other answer:",
            f"timestamp = {quoted(other)}",
        )
    if found.joined:
        section.say("timestamp", f"{{join = {_list([*names, found.joined])}}}", f"date and time of day; {seen}")
    else:
        section.say("timestamp", either(names), seen)


def _numbers_seen(found: Guess, names: list[str]) -> str:
    texts = [each for each in found.table.values(names) if each]
    read = sum(each is not None for each in found.amounts(names))
    empty = found.table.count - len(texts)
    return _share(read, len(texts), "are numbers") + (f", {empty:,} empty" if empty else "")


def _money_columns(section: Section, found: Guess, form: Shape) -> None:
    """Say where quantity, price and total_amount come from."""
    quantity, price = found.names.get("quantity", []), found.names.get("price", [])
    total = form.total
    if quantity:
        if count := sum(each is not None and each != each.to_integral_value() for each in found.quantity):
            section.ask(
                f"in {rows_of(count)}, {escaped(quantity[0])} is no whole number, and such rows are rejected. If their "
                "totals count as they are:",
                f'quantity = {{constant = "1"}}  # and in [order] without_rules = {_list(["wrong_total"])}',
            )
        section.say("quantity", either(quantity), _numbers_seen(found, quantity))
    elif name := in_parts(found):
        if not total and not form.own:
            section.ask(
                f"what is a row's total? No column has it, and {escaped(name)} has numbers that are not whole, by "
                "which no profile multiplies. Here, the price alone counts: export the total, too."
            )
        section.say("quantity", '{constant = "1"}', f"{name} has numbers that are not whole, as no quantity may be")
    else:
        section.say("quantity", '{constant = "1"}', NO_COLUMN)
    _cents(section, found, [*price, *total, *form.own])
    if price:
        section.say("price", either(price), _numbers_seen(found, price))
    elif total:
        section.say("price", either(total), "no column is a price: the row's total stands for it")
    elif form.own:
        section.say("price", '{constant = "0"}', "no column is a price, and the order's total counts")
    else:
        _without_money(section)
        return
    if form.own:
        section.note("total_amount is the order's own: [order] total says where it stands.")
        return
    if not total:
        if quantity and any(each not in (None, 1) for each in found.quantity):
            section.ask(
                f"is {escaped(price[0])} the price of a unit, or of the whole line? Of the line:",
                f'total_amount = {either(price)}  # and in [order] price = "line"',
            )
        section.say("total_amount", "{computed = true}", "no column has a row's total: quantity times price")
        return
    seen = _numbers_seen(found, total)
    agrees, count = form.agrees
    if price and count and not in_parts(found):
        what = "price is the total" if form.price_of_line else "quantity * price is the total"
        seen = f"{what} in {_share(agrees, count, 'rows')}" + (f", to {form.tolerance} cents" if form.tolerance else "")
    if sum_of := parts(found, total):
        seen += f"; it is {sum_of}"
    known = {*total, *form.own, *price, *used(found), *ranked(found.table.columns, "subtotal")}
    others = [each for each in ranked(found.table.columns, "total") if each not in known and has_amounts(found, each)]
    agreed = bool(count) and agrees >= MOST * count
    if agreed:  # and so the other one is only asked about where it is another number in the same rows
        others = [each for each in others if differ(found, total[0], each)]
    if form.by_line:
        others = [each for each in others if agreed and not alike_in(found, each)]
    if others:
        section.ask(
            f"is {escaped(total[0])} or {escaped(others[0])} the {'line' if form.by_line else 'order'}'s total? "
            "The other answer:",
            f"total_amount = {quoted(others[0])}"
            + ('  # and in [order] without_rules = ["wrong_total"]' if agreed else ""),
        )
    if (
        not (agreed and others)
        and total[0] in ranked(found.table.columns, "subtotal")
        and (extra := sum_parts(found, total[0]))
    ):
        section.ask(
            "does the total have shipping, tax and discounts? With them:", f"total_amount = {{sum = {_list(extra)}}}"
        )
    _in_no_total(section, found, form)
    section.say("total_amount", either(total), seen)


def _in_no_total(section: Section, found: Guess, form: Shape) -> None:
    """Name shipping that stands on each line of its orders: no sum of lines has it once."""
    for name in ranked(found.table.columns, "shipping") if form.by_line else ():
        amounts = found.amounts([name])
        if any(amounts) and alike_in(found, name) and not made_of(found, form.total[0]):
            section.ask(
                f"{escaped(name)} is in no line's total, and doesn't count; all lines of an order have the same. If it "
                "shall count: no key adds it once, so export the order's own total, too."
            )


def _cents(section: Section, found: Guess, names: list[str]) -> None:
    """Ask about amounts that are cents, as the name of their column says, or may be."""
    words = {name: {plain(each) for each in re.split(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])", name)} for name in names}
    cents = [escaped(name) for name in words if CENTS & words[name]]
    if not cents and not may_be_cents(found, list(words)):
        return
    columns = cents or [escaped(name) for name in words]
    do = "does" if len(columns) == 1 else "do"
    why = "as the name says?" if cents else "like 1999 for 19.99? All are whole numbers."
    section.ask(
        f"{do} {' and '.join(columns)} have cents, {why} They are taken for whole units, and of cents the revenue is a "
        "hundred times too large. No key divides: export amounts like 19.99."
    )


def _without_money(section: Section) -> None:
    """Say that nothing looks like an amount, or that it is a sum of parts."""
    section.ask("which column has the amount? None looks like one, and a run needs it.", 'total_amount = "…"')


def _file_name(name: str) -> str:
    return listed(name).rpartition("/")[2]


def _of_keys(found: Guess, form: Shape) -> list[str]:
    """Return the columns of numbers that a key of the profile uses."""
    names = [name for role in ("quantity", "price", "refunds") for name in found.names.get(role, [])]
    return list(dict.fromkeys([*names, *form.total, *form.own]))


def _percents(found: Guess, name: str) -> int:
    """Return how many texts of a column are percents."""
    texts = found.table.columns[name]
    return sum(each.endswith("%") and amount(each) is not None for each in texts)


def _values(found: Guess, form: Shape) -> Section:
    section = Section("values")
    numbers, times = found.numbers, found.times
    if numbers.undecided:
        mark, other = numbers.mark, {",": "."}.get(numbers.mark, ",")
        groups = mark in numbers.thousands
        section.ask(
            f"{these(numbers.either, 'number')} like 1{mark}234: does this sign group thousands? "
            f"Here, {'it does' if groups else 'it is the decimal sign'}. The other answer:",
            f'decimal = "{mark}"  # and no thousands'
            if groups
            else f'decimal = "{other}"  # and thousands = ["{mark}"]',
        )
    if found.otherwise:
        section.ask(
            f"{_share(len(found.otherwise), len(found.table.sheets), 'files')}, as {_file_name(found.otherwise[0])}, "
            f"have another decimal sign than {numbers.decimal}, which a profile can't tell apart: their numbers are "
            "rejected, or read wrong. Give such files to a run of their own, with a profile that is proposed for them."
        )
    if numbers.decimal != "." or numbers.thousands or numbers.undecided:
        seen = f"{numbers.point_seen:,} numbers show it" + (
            f", {numbers.against:,} have it the other way" if numbers.against else ""
        )
        if not numbers.point_seen:
            german = numbers.decimal == ","
            seen = "as where days are like 31.01.2026 and fields end with ;" if german else "no number shows it"
        section.say("decimal", quoted(numbers.decimal), seen)
    elif numbers.against:
        section.note(
            f"{numbers.against:,} numbers have a decimal comma, {numbers.point_seen:,} a decimal point: these are read."
        )
    if numbers.thousands:
        section.say(
            "thousands",
            _list(numbers.thousands),
            _in(numbers.thousands.values(), "number"),
        )
    if numbers.signs:
        codes = {code_of(each) for each in numbers.signs} if "currency" not in found.names else set()
        first = next(iter(numbers.signs))
        taken = [each for each in numbers.signs if len(codes) < 2 or code_of(each) == code_of(first)]
        if len(codes) > 1:
            seen = ", ".join(f"{each} {count:,}" for each, count in numbers.signs.items())
            section.ask(
                f"amounts are of several currencies ({seen} numbers), and signs are not told apart: amounts with "
                "another sign than these are rejected. Only if all of them mean one and the same currency:",
                f"currency = {_list(numbers.signs)}",
            )
        section.say("currency", _list(taken), _in((numbers.signs[each] for each in taken), "number"))
    for key, count in (
        ("parentheses", numbers.parentheses),
        ("trailing_minus", numbers.trailing_minus),
        ("percent", sum(_percents(found, name) for name in _of_keys(found, form))),
    ):
        if count:
            section.say(key, "true", _in([count], "number"))
    keys = _of_keys(found, form)
    for name, texts in found.table.columns.items():
        if name not in keys and _percents(found, name) > sum(map(bool, texts)) / 2:
            section.note(
                f"{name} has percents, by which nothing is taken off or added: a profile multiplies nothing but "
                "quantity and price."
            )
    _formats(section, times)
    ids = [each for each in found.table.values(found.names.get("order_id", [])) if each]
    if hidden := sum(map(invisible, ids)):
        section.say("ids", quoted("visible"), f"{hidden:,} ids have invisible characters")
    elif around := sum(each != each.strip() for each in ids):
        section.say("ids", quoted("trimmed"), f"{around:,} ids have other blanks around them")
    return section


def _fits(times: Times, form: str) -> str:
    """Say how many values fit a format, and why they are not of another one."""
    seen = _share(times.formats[form], times.count, f"values fit {form}")
    for other, rival in times.rivals.get(form, {}).items():
        only = f"{rival.only:,} of them can't be {other}" if rival.only else ""
        if why := rival.why or only:
            seen += f"; {why}"
    return seen


def _formats(section: Section, times: Times) -> None:
    for form, others in times.rivals.items():
        for other, rival in others.items():
            if rival.against:
                section.ask(
                    f"days and months stand in both orders: {these(rival.only, 'value')} can only be {form}, and "
                    f"{rival.against:,} only {other}, which are rejected; what fits both is read as {form}. A profile "
                    "can't tell them apart: give the rows or files of each order to a run of their own."
                )
            elif form in times.mixed and rival.only and rival.both:
                section.ask(
                    f"is {form} meant everywhere? Some days begin like 1, and some like 01, as two people write them: "
                    f"{these(rival.only, 'value')} can't be {other}, but {rival.both:,} can. If they are, give the "
                    "rows of each to a run of their own."
                )
        likely = [other for other, rival in others.items() if not (rival.only or rival.why)]
        if likely:
            year = ", which the year" if "%y" in form else ""
            section.ask(
                f"which is the day, which the month{year}? What fits {form} ({these(times.formats[form], 'value')}) "
                f"fits {' and '.join(likely)}, too. The other answer{'s' if len(likely) > 1 else ''}:"
            )
            section.lines += [
                f"# timestamp = {_list([other if each == form else each for each in times.formats])}"
                for other in likely
            ]
    if not times.formats:
        return
    forms = list(times.formats)
    if forms != [ISO]:
        seen = "; ".join(_fits(times, form) for form in forms)
        section.say("timestamp", _list(forms), seen)
    if times.clocks and times.offsets < times.clocks:
        section.lines.append(
            '# zone = "Europe/Berlin"  # times have no offset, and stay as they are: say where these clocks are'
        )


def _status(found: Guess, form: Shape) -> Section:
    section = Section("status")
    if "status" not in found.names:
        return section
    form_fill = _fills(found)
    counts = Counter(found.texts("status"))
    if form_fill:
        del counts[""]
    words = _meanings(found)
    returned = _negative(found, words)
    if returned:
        names = ", ".join(map(quoted, returned))
        off = _taken_off(found, form) and not _contradicting(found, form)
        rest = "are taken off what was paid" if off else "what becomes of them, [order] says below"
        section.note(f"{names}: all of these rows are negative, and {rest}.")
    left = _refunded_in_part(found, words)
    positive = sorted(text for text, ours in words.items() if ours == "refunded" and text not in {*left, *returned})
    if positive and (again := _refunds_of_paid(found, words)):
        names = ", ".join(map(quoted, positive))
        have = "has" if again == 1 else "have"
        section.note(
            f"{names}: {rows_of(again)} of these {have} a paid order's id and an amount that is not negative. They "
            "count nothing, and nothing is taken off for them: no key turns a sign round. Export them as negative "
            "amounts, or subtract them by hand."
        )
    words |= dict.fromkeys([*left, *returned], PAID)
    if left:
        names = ", ".join(map(quoted, left))
        section.note(f"{names}: less was given back than was paid, so that these rows count, less [order] refunds.")
    if any(text != ours for text, ours in words.items()):
        for ours in STATUSES:
            texts = [text for text, each in words.items() if each == ours]
            if texts:
                section.say(ours, _list(texts), _in((counts[text] for text in texts), "row"))
    partly = [text for text in words if plain(text) in PARTLY and words[text] == PAID]
    if partly and "refunds" not in found.names:
        section.ask(
            "no column says how much was given back of these, so that they count whole. If they shall not count:",
            f"refunded = {_list(partly)}",
        )
    _ended(section, found, words)
    unknown = [text for text in counts if text not in words]
    if unknown:
        unknown.sort(key=lambda each: (-counts[each], each))
        shown = [each for each in unknown if len(each) <= LONGEST_STATUS][:SHOWN_STATUSES]
        total = sum(counts[each] for each in unknown)
        names = ", ".join(f"{quoted(each)} ({counts[each]:,})" for each in shown) + (
            ", …" if len(shown) < len(unknown) else ""
        )
        section.ask(f"what do these mean? They are rejected ({rows_of(total)}) until they are named: {names}")
        said = any(ours == PAID for ours in words.values()) and any(text != ours for text, ours in words.items())
        section.lines.append(f"# {'pending' if said else PAID} = {_list(shown)}")
    return section


def _meanings(found: Guess) -> dict[str, str]:
    """Return what each status means that is a known word, or yes or no, the most frequent first."""
    counts = Counter(found.texts("status"))
    answers = all("".join(_words_of(each)) in YES | NO for each in counts if each) and not any(
        plain(each) in STATUS_OF for each in counts
    )
    words = dict[str, str]()
    for text in sorted(counts, key=lambda each: (-counts[each], each)):
        if answers and text:
            words[text] = PAID if plain(text) in YES else "pending"
        elif meant := _meant(text):
            words[text] = meant
    return words


def _negative(found: Guess, words: dict[str, str]) -> list[str]:
    """Return the statuses of what was refunded of which each row is negative: a return, not an order that came back."""
    negative = dict[str, bool]()
    for place, text in enumerate(found.texts("status")):
        if words.get(text) == "refunded":
            negative[text] = negative.get(text, True) and found.is_negative(place)
    return sorted(text for text, each in negative.items() if each)


def _ended(section: Section, found: Guess, words: dict[str, str]) -> None:
    """Ask about paid orders for which another column says when they were cancelled."""
    taken = {name for names in found.names.values() for name in names}
    texts = found.texts("status")
    for name, whens in found.table.columns.items():
        if plain(name) not in ENDED or name in taken:
            continue
        rows = sum(bool(when) and words.get(text) == PAID for when, text in zip(whens, texts, strict=True))
        if rows:
            section.ask(
                f"{escaped(name)} is filled in {rows_of(rows)} whose status is paid, which count. If they shall not: "
                f"in [columns] status = {{join = {_list([found.names['status'][0], name])}}}, and here:",
                'cancelled = "*"',
            )


def _refunds_of_paid(found: Guess, words: dict[str, str]) -> int:
    """Return how many rows of what was refunded, none of them negative, have the id of a paid order."""
    if "order_id" not in found.names:
        return 0
    texts = found.texts("status")
    paid = {each for each, text in zip(found.ids, texts, strict=True) if words.get(text) == PAID}
    rows = enumerate(zip(found.ids, texts, strict=True))
    return sum(
        each in paid and words.get(text) == "refunded" and not found.is_negative(place) for place, (each, text) in rows
    )


def _refunded_in_part(found: Guess, words: dict[str, str]) -> list[str]:
    """Return the statuses of what was refunded, where the refunds that the file tells leave something of a row."""
    names = [*found.names.get("total", []), *ranked(found.table.columns, "total")][:1]
    if "refunds" not in found.names or not names:
        return []
    rows = zip(found.texts("status"), found.amounts(names), found.amounts(found.names["refunds"]), strict=True)
    back = [(text, whole, part) for text, whole, part in rows if words.get(text) == "refunded" and whole and part]
    return sorted({text for text, whole, part in back if 0 < part < whole})


def _fills(found: Guess) -> bool:
    """Tell whether the status is empty in the later lines of orders alone."""
    several = runs(found) if "order_id" in found.names else []
    later = {place for run in several for place in run[1:]}
    texts = found.texts("status")
    return bool(later) and all(texts[place] or place in later for place in range(len(texts)))


PARTLY = {"partialrefund", "partiallyrefunded", "teilweiseerstattet"}
_SIGNS = re.compile(r"[\s,;:/()._-]+")  # that say nothing in a status; others, as in "paid?" and "50% paid", may


def _words_of(text: str) -> list[str]:
    """Return the words of a text, plain; none if it has signs that may change what it means."""
    words = [each for each in _SIGNS.split(unicodedata.normalize("NFC", text)) if each]
    return [plain(each) for each in words] if all(each.isalnum() for each in words) else []


def _meant(text: str) -> str:
    """Return the status that a text means, of which each word is known, like Completed, shipped; empty where not."""
    words = _words_of(text)
    if (whole := "".join(words)) in STATUS_OF:
        return STATUS_OF[whole]
    means = {STATUS_OF.get(each, "") for each in words if each not in TYPES}
    return means.pop() if len(means) == 1 else ""


def _order(found: Guess, form: Shape) -> Section:
    section = Section("order")
    if form.by_line:
        section.say(
            "rows",
            quoted("line"),
            f"{these(form.orders, 'id')} in {rows_of(found.table.count)}: {form.repeats:,} go on with an order",
        )
        key = key_of(found)
        if key:
            section.say("key", _list(["order_id", key]), "what no two rows have in common")
        else:
            _again(section, found)
        if form.fill:
            section.say("fill_down", _list(form.fill), "empty in the later lines of orders, filled in the first")
        if form.own:
            why = "it stands in an order's first line alone" if form.own_once else "all lines of an order have the same"
            lines = either(form.total) if form.total else "{computed = true}"
            section.ask(
                "the order's own total (with tax, shipping, discounts), or the sum of its lines? The other answer:",
                f'total = "line"  # and in [columns] total_amount = {lines}',
            )
            if sum_of := parts(found, form.own):
                why += f"; it is {sum_of}"
            section.say("total", either(form.own), why)
    elif form.repeats:
        section.note(
            f"In {rows_of(form.repeats)}, an id stands again, with nothing that makes it another line of the order: "
            "the first valid row of an id counts, the others are rejected (duplicate_order_id)."
        )
        if count := changed(found):
            section.ask(
                f"in {rows_of(count)}, the status is another one than before: does the last one count?",
                'repeats = "last"',
            )
        elif count := overlaps(found):
            section.ask(
                f"ids stand once in each file, and in {rows_of(count)} again in a later one: does the last one count?",
                'repeats = "last"',
            )
    if form.price_of_line and form.total:
        section.say("price", quoted("line"), "the price is the row's total, not that of a unit")
    if form.tolerance:
        section.say("tolerance", str(form.tolerance), "cents: totals differ by rounding")
    _returns(section, found, form)
    if names := found.names.get("refunds"):
        amounts = [each for each in found.amounts(names) if each]
        section.say("refunds", quoted(names[0]), f"what was given back, in {rows_of(len(amounts))}")
        _refunds_of_lines(section, found, form)
    else:
        _refunds_by_stem(section, found)
    _currency(section, found)
    _wrong_total(section, found, form)
    return section


def _refunds_of_lines(section: Section, found: Guess, form: Shape) -> None:
    """Ask whether the refund on each line is the order's, where all lines have the same."""
    if not form.by_line or form.own or "refunds" in form.fill:
        return
    amounts = found.amounts(found.names["refunds"])
    several = [run for run in runs(found) if any(amounts[place] for place in run)]
    alike = sum(len({amounts[place] for place in run}) == 1 for run in several)
    if several and alike >= MOST * len(several):
        section.ask(
            f"all lines have the same refund in {_share(alike, len(several), 'orders of several')}: is it the order's, "
            "which counts once? Then:",
            f"fill_down = {_list([*form.fill, 'refunds'])}",
        )


def _refunds_by_stem(section: Section, found: Guess) -> None:
    """Ask about amounts that no key uses, and whose name has to do with refunds."""
    taken = {name for names in found.names.values() for name in names}
    for name in found.table.columns:
        if name not in taken and any(stem in plain(name) for stem in REFUND_STEMS) and has_amounts(found, name):
            count = sum(map(bool, found.amounts([name])))
            if count:
                section.ask(
                    f"{escaped(name)} has amounts in {rows_of(count)}: were these given back? Then:",
                    f"refunds = {quoted(name)}",
                )
                return


def _again(section: Section, found: Guess) -> None:
    """Ask for a key where lines of a file stand in a later one, too."""
    for name in ranked(found.table.columns, "line"):
        if count := overlaps(found, name):
            section.ask(
                f"in each file, order_id and {escaped(name)} tell all lines apart, and {rows_of(count)} stand in a "
                "later file again: do they count twice? Where the last one counts:",
                f"key = {_list(['order_id', name])}",
            )
            section.lines.append('# repeats = "last"')
            return
    if count := same_rows(found):
        section.ask(
            f"{rows_of(count)} of a file stand as they are in another one, too: they count twice. If the files "
            "overlap, give each row once, or a key that tells lines apart."
        )


def _wrong_total(section: Section, found: Guess, form: Shape) -> None:
    """Leave the rule about totals out, where they are something else than quantity times price."""
    agrees, count = form.agrees
    if form.own or not form.total or not count or agrees >= MOST * count:
        return
    if form.by_line and (alike := alike_in(found, form.total[0])):
        section.ask(
            f"all lines have the same {escaped(form.total[0])} in {_share(*alike, 'orders of several')}: is it the "
            "order's own total, which counts once? Then:",
            f"total = {either(form.total)}",
        )
    if name := in_parts(found):
        held, count = with_quantity(found, name).agree(found.amounts(form.total))
        if held >= MOST * count:
            seen = f"{name} * {found.names['price'][0]} is the total in {_share(held, count, 'rows')}: no run checks it"
            section.say("without_rules", '["wrong_total"]', seen)
            return
    rule, seen = '["wrong_total"]', f"quantity * price is the total in {_share(agrees, count, 'rows')}"
    if what := made_of(found, form.total[0]):
        section.say("without_rules", rule, f"the total is {what}")
    elif agrees <= count / 2 and not form.by_line:  # a total on several lines may be their order's, and count twice
        section.say("without_rules", rule, seen)
    else:
        section.ask(
            f"{seen}: the others are rejected (wrong_total). To take totals as they are:", f"without_rules = {rule}"
        )


def _negatives(found: Guess, form: Shape) -> tuple[int, int, int]:
    """Return how many quantities, totals and prices are negative."""
    totals = found.amounts(form.total or form.own) if form.total or form.own else []
    quantity, total, price = (
        sum((each or 0) < 0 for each in column) for column in (found.quantity, totals, found.price)
    )
    return quantity, total, price


def _taken_off(found: Guess, form: Shape) -> bool:
    """Tell whether negative rows are returns."""
    quantities, amounts, prices = _negatives(found, form)
    return bool(quantities or (amounts and not prices) or (amounts and "quantity" not in found.names))


def _contradicting(found: Guess, form: Shape) -> int:
    """Return in how many rows the total is negative, but neither quantity nor price, which is another column."""
    if not form.total or found.names.get("price", form.total) == form.total:
        return 0
    columns = zip(found.quantity, found.price, found.amounts(form.total), strict=True)
    return sum((whole or 0) < 0 < min(quantity or 0, price or 0) for quantity, price, whole in columns)


def _returns(section: Section, found: Guess, form: Shape) -> None:
    quantities, amounts, prices = _negatives(found, form)
    if _taken_off(found, form):
        section.say(
            "returns",
            quoted("subtract"),
            f"{these(max(quantities, amounts), 'negative row')}: taken off the revenue",
        )
    elif prices:
        section.ask(
            f"in {rows_of(prices)}, the price is negative: are these returns? Without this line they are rejected:",
            'returns = "subtract"',
        )
    if count := _contradicting(found, form):
        are = "it is" if count == 1 else "they are"
        section.ask(
            f"in {rows_of(count)}, the total is negative and quantity and price are not: {are} rejected "
            f"(contradictory_signs). To take such totals off: price = {either(form.total)} in [columns], and here:",
            "" if form.price_of_line else 'price = "line"',
        )


def _currency(section: Section, found: Guess) -> None:
    names = found.names.get("currency")
    if not names:
        return
    counts = Counter(each.upper() for each in found.texts("currency") if each)
    seen = "by its values: " if "currency" in found.by_values else ""
    seen += "rows: " + ", ".join(f"{each} {count:,}" for each, count in counts.most_common(8))
    if other := found.others.get("currency"):
        section.ask(
            f"is the currency of the total in {escaped(names[0])} or {escaped(other)}? They differ. The other answer:",
            f"currency = {quoted(other)}",
        )
    section.say("currency", quoted(names[0]), seen)
    if len(counts) > 1:
        first, second = [each for each, _ in counts.most_common(2)]
        section.ask(
            "a report is of one currency: which? Rows of others are counted and listed. The other answer:",
            f"report_currency = {quoted(second)}",
        )
        section.say("report_currency", quoted(first), f"in {_share(counts[first], counts.total(), 'rows')}")


def _furniture(found: Guess, of_orders: Sums | None, unlabelled: Unlabelled | None) -> Section:
    section = Section("furniture")
    sheets = found.table.sheets
    rules, blanks, ends = (sum(getattr(each, name) for each in sheets) for name in ("rules", "blanks", "ends"))
    lines, of_lines = list[str](), list[str]()
    if rules:
        lines.append(r"^[-=_+|*,;\s]*[-=_][-=_][-=_+|*,;\s]*$")
        of_lines.append(f"{rows_of(rules)} of dashes")
    if blanks:
        delimiter = re.escape(sheets[0].delimiter) if sheets[0].delimiter not in "\t, ;|" else ""
        lines.append(rf"^[\s,;|\"{delimiter}]*$".replace('\\"', '"'))
        of_lines.append(f"{rows_of(blanks)} with nothing")
    if ends:
        lines.append(r"^\\\.$")
        of_lines.append("the end mark of COPY")
    if lines:
        section.say("lines", _list(lines), ", ".join(of_lines))
    if headers := sum(each.headers for each in sheets):
        section.say("header", "true", f"the header again, in {rows_of(headers)}")
    sums = Counter[tuple[str, str]]()
    for each in sheets:
        for place, counts in each.sums.items():
            sums.update({(each.columns[place], word): count for word, count in counts.items()})
    where = dict[str, list[str]]()
    for name, word in sorted(sums):
        where.setdefault(name, []).append(word)
    tables = [f"{{{quoted(name)} = {_list(words)}}}" for name, words in where.items()]
    if unlabelled and unlabelled.sure:
        tables.append(_empty(unlabelled))
    if tables:
        count = sums.total() + (len(unlabelled.rows) if unlabelled and unlabelled.sure else 0)
        seen = f"{rows_of(count)} of sums and titles"
        if of_orders and of_orders.sure:
            held = _share(of_orders.held, of_orders.count, f"are what {of_orders.amount} adds up to above them")
            seen += f"; in the orders, {held}"
        if unlabelled and unlabelled.sure:
            seen += f"; {len(unlabelled.rows):,} with numbers alone, which add up the rows above"
        section.say("where", f"[{', '.join(tables)}]", seen)
    if of_orders and not of_orders.sure:
        words = _list(of_orders.words)
        section.ask(
            f"{rows_of(of_orders.count)} of {of_orders.column} have a word of sums, and "
            f"{of_orders.held:,} are the sum of the lines above in their order. If none is a line of an order:",
            f"where = [{', '.join([*tables, f'{{{quoted(of_orders.column)} = {words}}}'])}]",
        )
    if unlabelled and not unlabelled.sure:
        _ask_of_sums(section, unlabelled, tables)
    _flags(section, found, tables)
    return section


def _empty(found: Unlabelled) -> str:
    """Return a table that names rows by the columns that are empty in them; an empty text if nothing tells them."""
    empty = ", ".join(f'{quoted(name)} = [""]' for name in found.empty)
    return f"{{{empty}}}" if empty else ""


def _ask_of_sums(section: Section, found: Unlabelled, tables: Iterable[str] = ()) -> None:
    """Ask whether rows are sums, or lines of the order above them."""
    how = ", in [furniture]:" if found.empty else ", remove them: no column tells them apart."
    section.ask(
        f"are these sums? {rows_of(len(found.rows) + found.below)} without an id or a status of their own"
        f"{' at the end of the file' if found.below else ''}; {found.held:,} of them are known to add up "
        f"rows above. Here, they are lines of the order above. If none is one{how}",
        f"where = [{', '.join([*tables, _empty(found)])}]" if found.empty else "",
    )


def _flags(section: Section, found: Guess, tables: list[str]) -> None:
    """Ask about columns that no key uses, and that say of paid rows that they are none: test = yes, type = Refund."""
    taken = {name for names in found.names.values() for name in names}
    words = _meanings(found) | {"": PAID}  # where there is no status, or an order's first line has it
    paid = [words.get(text) == PAID for text in found.texts("status")]
    for name, texts in found.table.columns.items():
        if name in taken or len(set(texts)) > MOST_STATUSES:
            continue
        said = _of_flag(name, set(texts) - {""}) or _no_sales(name, set(texts) - {""})
        places = [
            place for place, each in enumerate(texts) if each in said and paid[place] and not found.is_negative(place)
        ]
        shown = sorted({texts[place] for place in places})
        if places and any(each and each not in said for each in texts):
            section.ask(
                f"{escaped(name)} is {either(shown)} in {rows_of(len(places))}: do these count like all others? If "
                "they don't:",
                f"where = [{', '.join([*tables, f'{{{quoted(name)} = {_list(shown)}}}'])}]",
            )


def _of_flag(name: str, texts: set[str]) -> set[str]:
    """Return the texts that mean yes in a column of yes and no."""
    if plain(name) not in FLAGS or not all(plain(each) in YES | NO for each in texts):
        return set()
    return {each for each in texts if plain(each) in YES}


def _no_sales(name: str, texts: set[str]) -> set[str]:
    """Return the texts that mean a refund, a test or the like, or in another column of statuses what isn't paid."""
    status = bool(ranked([name], "status")) and "fulfil" not in plain(name)
    return {
        each
        for each in texts
        if (word := plain(each)) in NO_SALE
        or STATUS_OF.get(word, PAID) not in (PAID, "pending")
        or (status and STATUS_OF.get(word) == "pending")
    }
