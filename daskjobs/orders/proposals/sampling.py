"""Takes a sample of files: their first rows, and how they are written. It says what is there, and judges nothing."""

import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

import pyarrow as pa

from daskjobs.errors import InputError
from daskjobs.files.storage import Storage, explained
from daskjobs.orders.dialect import BACKSLASH, NONE, RFC4180
from daskjobs.orders.proposals.forms import looks_like_data
from daskjobs.orders.proposals.words import KNOWN, TOTALS, plain
from daskjobs.orders.sources import json_lines, parquet, unpack
from daskjobs.orders.sources.parquet import ParquetFormat

SPARK = "spark"
MOST_BYTES = 2 << 20  # of a file's beginning, unpacked; of several files together
MOST_ROWS = 10_000
MOST_FILES = 20
LOOK_BYTES = 256 << 10  # with which delimiters and quotes are tried
TAIL_BYTES = 16 << 10  # of a file's end, in which its footer is
MOST_PACKED = 64 << 20  # of a Parquet file in a packed one
MOST_LINES = 60  # before the header, or behind the last row
MOST_COLUMNS = 2000
DELIMITERS = (",", ";", "\t", "|")
RARE_DELIMITERS = ("\x01", "^", "~", "#", ":")
RULE = re.compile(r"[-=_+|*,;\t ]*[-=_]{2,}[-=_+|*,;\t ]*")
END_MARK = r"\."  # of COPY
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
# Tried where text is no UTF-8; of equals the first. Each with who writes it.
ENCODINGS = {"cp1252": "Western Europe", "cp1250": "Central Europe", "cp850": "DOS", "cp932": "Japan"}


@dataclass(frozen=True)
class Piece:
    """The beginning of a file, as bytes, and its end where that is known. ``whole``: there is nothing else."""

    name: str
    first: bytes
    whole: bool
    last: bytes = b""
    size: int = 0  # of the file, as it is stored
    table: "Sheet | None" = None  # of a Parquet file


@dataclass(frozen=True)
class Sheet:
    """The sampled rows of a file under its own names, and how they are written.

    ``rows`` are those with as many fields as there are columns; ``others`` is the number of those that have not.
    ``header`` tells whether the names stand in the file. ``twice`` are names that several columns have.
    ``skip`` and ``footer`` are lines before the header and after the last row. ``rules`` and ``blanks`` count lines
    of dashes and empty ones between rows, ``headers`` those that are the header again; ``sums`` are the words of rows
    of sums, by the number of the column that has them. ``end`` are the last rows of a file of which there are more.
    """

    name: str
    kind: str
    columns: list[str]
    rows: list[list[str]]
    whole: bool = True
    encoding: str = ""
    odd: str = ""  # the first bytes that are no UTF-8
    bad: int = 0  # characters that the encoding doesn't have
    delimiter: str = ","
    share: float = 1.0  # of the rows that have as many fields
    quoting: str = RFC4180
    quote: str = '"'
    header: bool = True
    twice: list[str] = field(default_factory=list)
    skip: int = 0
    sep: bool = False  # the first line is Excel's sep=;
    footer: int = 0
    rules: int = 0
    blanks: int = 0
    headers: int = 0
    ends: int = 0  # end marks of COPY
    sums: dict[int, Counter[str]] = field(default_factory=dict)
    summed: int = 0  # rows of these that are the sum of the lines of their order
    others: int = 0
    end: list[list[str]] = field(default_factory=list)
    bytes: int = 0


def take(storage: Storage, names: list[str]) -> list[Piece]:
    """Read the beginnings of the first of these files, and the last. Raises InputError for what is no text."""
    chosen = names if len(names) <= MOST_FILES else [*names[: MOST_FILES - 1], names[-1]]
    return [_piece(storage, name, max(64 << 10, MOST_BYTES // len(chosen))) for name in chosen]


def _piece(storage: Storage, name: str, most: int) -> Piece:
    with explained(f"read {name}"), storage.open(name) as opened:
        first = opened.read(max(most, unpack.START_BYTES))
        packed = bool(unpack.compression(first)) or unpack.is_archived(name)
        size = int(storage.size(name) or 0)
        last = b""
        if not packed and size > most:
            opened.seek(max(most, size - TAIL_BYTES) // 2 * 2)
            last = opened.read(TAIL_BYTES + 2)
    start = unpack.beginning(storage, name, "", first) if packed else first
    if ParquetFormat().sniff(start):
        return Piece(name, b"", False, size=size, table=_parquet(storage, name, start, packed))
    unpack.refuse_other(start, name)
    whole = len(start) <= most and (len(first) == size if not packed else len(start) < unpack.START_BYTES)
    return Piece(name, start[:most], whole, last, size)


def _parquet(storage: Storage, name: str, start: bytes, packed: bool) -> Sheet:
    if start.startswith(parquet.ENCRYPTED):
        raise InputError(f"{name} is encrypted: decrypt it, and give the file")
    opening = partial(_unpacked, storage, name) if packed else partial(storage.open, name)
    texts = parquet.first_texts(opening, name, MOST_ROWS)
    rows = [
        [str(each).strip(" \t") for each in row]
        for row in zip(*(each.to_pylist() for each in texts.columns), strict=True)
    ]
    return Sheet(name, "Parquet", texts.column_names, rows, whole=len(rows) < MOST_ROWS)


def _unpacked(storage: Storage, name: str, cache: str = "") -> IO[bytes]:  # noqa: ARG001  # as Storage.open
    """Return the unpacked bytes of a packed file, as a file in memory."""
    with explained(f"read {name}"), storage.open(name) as opened:
        kind = unpack.compression(opened.read(8))
        opened.seek(0)
        stream = pa.CompressedInputStream(pa.PythonFile(opened, mode="r"), kind) if kind else opened
        data = stream.read(MOST_PACKED + 1)
    if len(data) > MOST_PACKED:
        raise InputError(f"{name} is Parquet of more than {MOST_PACKED >> 20} MiB in a packed file: unpack it")
    return io.BytesIO(data)


def sheet(piece: Piece) -> Sheet:
    """Return the rows of a file's beginning. Raises InputError when it is no text, or empty."""
    if piece.table:
        return piece.table
    text, encoding, odd, bad = _decoded(piece.first, piece.whole, piece.name)
    if not text.strip():
        raise InputError(f"{piece.name} is empty: give a file with some rows")
    if not piece.whole and "\n" in text:
        text = text[: text.rfind("\n") + 1]
    written: dict[str, Any] = dict(encoding=encoding, odd=odd, bad=bad, whole=piece.whole, bytes=len(piece.first))
    if json_lines.START.match(text[:1000].encode(errors="replace")):
        return _objects(piece.name, text, written)
    tail = ""
    if piece.last:
        tail = piece.last.decode(encoding if encoding and encoding != "utf-16" else "utf-8", "replace")
        if encoding == "utf-16":
            tail = piece.last.decode("utf-16-le" if piece.first.startswith(b"\xff\xfe") else "utf-16-be", "replace")
        tail = tail.partition("\n")[2]
    return _table(piece.name, text, tail, written)


def _decoded(data: bytes, whole: bool, name: str) -> tuple[str, str, str, int]:
    """Return a text, its encoding (empty for UTF-8), the first bytes that are no UTF-8, and how many are unknown."""
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            text = data.decode(encoding, "replace")
            return _checked(text, name), "" if encoding == "utf-8-sig" else encoding, "", text.count("\ufffd")
    even, uneven = data[: 64 << 10 : 2].count(0), data[1 : 64 << 10 : 2].count(0)
    half = min(len(data), 64 << 10) / 2
    if max(even, uneven) > 0.6 * half and min(even, uneven) < 0.1 * half:  # ASCII in UTF-16
        encoding = "utf-16-le" if uneven > even else "utf-16-be"
        return _checked(data.decode(encoding, "replace"), name), encoding, "", 0
    try:
        return _checked(data.decode(), name), "", "", 0
    except UnicodeDecodeError as error:
        if not whole and error.start >= len(data) - 4:
            return _checked(data[: error.start].decode(), name), "", "", 0
        odd = "".join(f"\\x{byte:02x}" for byte in data[error.start : error.start + 1])
        line = data[: error.start].count(b"\n") + 1
    loose = data.decode(errors="replace")
    if json_lines.START.match(data) or 2 * loose.count("\ufffd") < sum(char > "\x7f" for char in loose):
        return _checked(loose, name), "", "", loose.count("\ufffd")  # UTF-8, in which some bytes are wrong
    texts = {each: data.decode(each, "replace") for each in ENCODINGS}
    encoding = min(texts, key=lambda each: _odd(texts[each]))
    return (
        _checked(texts[encoding], name),
        encoding,
        f"{odd} in line {line:,}",
        texts[encoding].count("\ufffd"),
    )


def _odd(text: str) -> int:
    """Return how many characters stand where people don't write them: in a word or number, or two signs together."""
    text = text[:LOOK_BYTES]
    in_words = re.findall(r"(?<=[A-Za-z])[^\x00-\x7f]|[^\x00-\x7f](?=[A-Za-z])", text)
    in_numbers = re.findall(r"(?<=[0-9])[^\x00-\x7f](?=[0-9 ,;])", text)
    together = "".join(re.findall(r"[^\x00-\x7f]{2,}", text))
    strange = [char for char in in_words if char in "\xaa\xba\xb5\u0192" or not (char.isalpha() or char == "\ufffd")]
    strange += [char for char in in_numbers if char.isalpha()]
    strange += [char for char in together if not char.isalpha() and char not in "\xa0\u20ac\xa3\xa5\ufffd"]
    return 2 * (len(strange) + text.count("\ufffd")) + sum("\uff61" <= char <= "\uff9f" for char in text)


def _checked(text: str, name: str) -> str:
    """Return a text. Raises InputError when it is of bytes that mean no text."""
    start = text[:LOOK_BYTES]
    strange = sum(char < " " and char not in "\t\n\r\x01\x0c\x1a\0" for char in start) + start.count("\ufffd")
    if strange > 3 + len(start) / 20 or start.count("\0") > len(start) / 5:
        raise InputError(f"{name} is no text: give CSV, JSON Lines or Parquet, or export its orders as CSV")
    if "\r" in start and "\n" not in start:
        text = text.replace("\r", "\n")
    return text


def _objects(name: str, text: str, written: dict[str, Any]) -> Sheet:
    if text.lstrip("\ufeff \t\r\n").startswith("["):
        raise InputError(f"{name} is a JSON array: write each of its objects on a line of its own, as jq -c '.[]' does")
    decoder = json.JSONDecoder(parse_float=str, parse_int=str)
    rows, others = list[dict[str, Any]](), 0
    for line in text.lstrip("\ufeff").split("\n")[: MOST_ROWS + 1]:
        try:
            found = decoder.decode(line)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and found:
            rows.append(found)
        else:
            others += bool(line.strip())
    if not rows:
        raise InputError(f"{name} is not JSON Lines: no line is one JSON object; write each on a line, as jq -c . does")
    columns = list(dict.fromkeys(key for row in rows for key in row))[:MOST_COLUMNS]
    columns = [each for each in columns if not re.search("[\ud800-\udfff]", each)]
    texts = [[_json_text(row.get(each)) for each in columns] for row in rows]
    return Sheet(name, "JSON Lines", columns, texts, others=others, **written)


def _json_text(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text.encode(errors="replace").decode().strip(" \t")


@dataclass(frozen=True)
class Row:
    """A row of CSV: its fields, its text, and how many lines it has."""

    fields: list[str]
    raw: str
    lines: int


def _pattern(delimiter: str, quoting: str, quote: str) -> re.Pattern[str]:
    d, q = re.escape(delimiter), re.escape(quote)
    within = {
        NONE: "()(?!)",
        RFC4180: rf"{q}((?:[^{q}]++|{q}{q})*+){q}",
    }.get(quoting if quote else NONE, rf"{q}((?:[^{q}\\]++|{q}{q}|\\(?:\r\n|.))*+){q}")
    bare = rf"((?:[^{d}\n\\]++|\\(?:\r\n|[\s\S]))*+)" if quoting == BACKSLASH else rf"([^{d}\n]*+)"
    return re.compile(rf"(?:{within}(?=\r?\n|{d}|\r?\Z)|{bare})(?:({d})|\r?\n|\r?\Z)", re.DOTALL)


def _rows(text: str, delimiter: str, quoting: str, quote: str, most: int) -> Iterator[Row]:
    """Yield the rows of a text; a quote opens a field only if its closing quote ends one."""
    field_of = _pattern(delimiter, quoting, quote)
    quote = quote or "\0"  # a sign that no text has, for none
    plain_lines = quoting == NONE or (quote not in text and (quoting != BACKSLASH or "\\" not in text))
    start, count = 0, 0
    while start < len(text) and count < most:
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line = text[start:end]
        if plain_lines or (quote not in line and (quoting != BACKSLASH or "\\" not in line)):
            yield Row(line.removesuffix("\r").split(delimiter, MOST_COLUMNS), line.removesuffix("\r"), 1)
            start = end + 1
        else:
            fields, at = list[str](), start
            while True:
                found = field_of.match(text, at)
                if found is None:  # a backslash ends the text
                    fields.append(text[at:])
                    at = len(text) + 1
                    break
                fields.append(_meant(found[1], found[2] or "", quoting, quote))
                at = found.end()
                if found[3] is None or len(fields) > MOST_COLUMNS:
                    break
            at = max(at, start + 1)
            raw = text[start:at]
            yield Row(fields, raw.rstrip("\r\n"), max(1, raw.count("\n")))
            start = at
        count += 1


def _meant(quoted: str | None, bare: str, quoting: str, quote: str) -> str:
    if quoted is None:
        return re.sub(r"\\(.)", r"\1", bare) if quoting == BACKSLASH and bare != r"\N" else bare
    text = quoted.replace(quote * 2, quote)
    return re.sub(r"\\(.)", r"\1", text) if quoting == BACKSLASH else text.replace("\\" + quote, quote)


def _width(rows: list[Row]) -> tuple[int, float]:
    """Return how many fields most rows have, and the share of the rows that have so many."""
    counts = Counter(len(row.fields) for row in rows if row.raw.strip())
    several = {each: count for each, count in counts.items() if each > 1} or counts
    width = max(several, key=lambda each: (several[each], each), default=1)
    return width, several.get(width, 0) / max(1, counts.total())


def _known(fields: list[str]) -> int:
    return len({plain(each) for each in fields[:200]} & KNOWN)


def _dialect(text: str) -> tuple[str, str, str]:
    """Return the delimiter, the quoting and the quote that make the most regular rows of a text."""
    start = text if len(text) <= LOOK_BYTES else text[:LOOK_BYTES].rpartition("\n")[0] or text[:LOOK_BYTES]
    said = re.match(r"(?i)sep=([^\w\s\"\\]|\t)\r?\n", start)
    scores = dict[tuple[str, str, str], float]()
    for group in ((said[1],),) if said else (DELIMITERS, RARE_DELIMITERS):
        for delimiter in group:
            if delimiter in start:
                for quoting, quote in _quotings(start, delimiter):
                    scores[delimiter, quoting, quote] = _score(start, delimiter, quoting, quote)
        if scores and max(scores.values()) > 2:
            break
    return max(scores, key=lambda each: scores[each], default=(",", RFC4180, '"'))


def _quotings(text: str, delimiter: str) -> list[tuple[str, str]]:
    """Return the quotings that are worth a try, the usual one first."""
    d = re.escape(delimiter)
    single = len(re.findall(rf"(?:^|{d})'[^'\n]*'(?=\r?$|{d})", text, re.M))
    double = len(re.findall(rf'(?:^|{d})"', text, re.M))
    whole = re.search(rf'(?:^|{d})"[^"\n]*"(?=\r?$|{d})', text, re.M)
    found = [(RFC4180, '"')]
    if delimiter == "\t" and not whole and re.search(r"(?:^|\t)\\N(?=\r?$|\t)|^\\\.\r?$", text, re.M):
        return [(BACKSLASH, "")]  # as databases write text: quotes are plain characters
    if "\\" in text and double:
        escapes = re.search(r"\\N(?![a-z])|\\\r?\n", text)
        found.append((BACKSLASH if escapes else SPARK, '"'))
    elif "\\" in text and re.search(rf"(?:^|{d})\\N(?=\r?$|{d})|\\{d}", text, re.M):
        found = [(BACKSLASH, '"')] if delimiter == "\t" else [*found, (BACKSLASH, '"')]
    if single > double:
        found.insert(0, (RFC4180, "'"))
    if double:
        found.append((NONE, '"'))
    return found


def _score(text: str, delimiter: str, quoting: str, quote: str) -> float:
    """Return how well a dialect fits: many fields, as many in each row, known names, and no quotes left over."""
    rows = list(_rows(text, delimiter, quoting, quote, 3000))
    width, share = _width(rows)
    left = bool(quote) and sum(
        each[:1] == quote or (len(each) > 1 and each[-1:] == quote) for row in rows for each in row.fields
    )
    fields = sum(len(row.fields) for row in rows)
    quotes = left / max(1, fields) + (left > 0) * 0.01
    known = max((_known(row.fields) for row in rows[:MOST_LINES]), default=0)
    inside = sum(row.lines - 1 for row in rows) / max(1, len(rows))
    return share**2 * min(width, 40) + 2.0 * known - width * quotes - 0.5 * min(inside, 20)


def _table(name: str, text: str, tail: str, written: dict[str, Any]) -> Sheet:
    text = text.removeprefix("\ufeff")
    delimiter, quoting, quote = _dialect(text)
    rows = list(_rows(text, delimiter, quoting, quote, MOST_ROWS + MOST_LINES))
    sep = bool(rows and re.fullmatch("(?i)sep=.?.?", rows[0].raw))
    width, share = _width(rows[sep:])
    at = _header(rows[sep:], width)
    whole = written["whole"] and sum(row.lines for row in rows) >= text.rstrip("\n").count("\n")
    if at is None:
        skip = next((index for index, row in enumerate(rows) if len(row.fields) == width and index >= sep), 0)
        before, names, body = rows[:skip], [f"column_{number}" for number in range(1, width + 1)], rows[skip:]
    else:
        at += sep
        before, body = rows[:at], rows[at + 1 :]
        if not any(row.raw.strip() for row in before):  # a run leaves blank lines out by itself
            before = []
        names = [each.strip() or f"column_{number}" for number, each in enumerate(rows[at].fields, 1)]
    titles = frozenset(row.raw for row in before if row.raw.strip())
    found = _Found(titles)
    kept = [row for row in body if found.keep(row, names, at is not None)]
    ending = _ending(body, found, width) if whole else 0
    footer = sum(row.lines for row in body[len(body) - ending :])
    if ending:
        found = _Found(titles)
        kept = [row for row in body[: len(body) - ending] if found.keep(row, names, at is not None)]
    end = list[Row]()
    if written["whole"] and not whole:  # of more rows than are looked at
        tail = text[-TAIL_BYTES:].partition("\n")[2]
    if not whole and tail:
        last = list(_rows(tail, delimiter, quoting, quote, MOST_ROWS))
        seen = _Found(titles)
        end = [row for row in last if seen.keep(row, names, at is not None)]
        footer = sum(row.lines for row in last[len(last) - _ending(last, seen, width) :])
        for place, words in seen.sums.items():
            found.sums.setdefault(place, Counter()).update(words)
    return Sheet(
        name,
        "csv",
        names,
        [[each.strip(" \t") for each in row.fields] for row in kept[:MOST_ROWS]],
        delimiter=delimiter,
        share=share,
        quoting=quoting,
        quote=quote,
        header=at is not None,
        twice=[each for each, count in Counter(names).items() if count > 1],
        skip=sum(row.lines for row in before),
        sep=sep,
        footer=footer,
        rules=found.rules,
        blanks=found.blanks,
        headers=found.headers,
        ends=found.ends,
        sums=found.sums,
        others=found.others,
        end=[[each.strip(" \t") for each in row.fields] for row in end],
        **(written | {"whole": whole}),
    )


class _Found:
    """Counts the rows that are none of orders."""

    def __init__(self, titles: frozenset[str]) -> None:
        self.titles = titles  # lines before the header, which may stand again
        self.rules = self.blanks = self.headers = self.others = self.ends = 0
        self.sums = dict[int, Counter[str]]()
        self.out = set[int]()  # by their ids

    def keep(self, row: Row, names: list[str], header: bool) -> bool:
        """Tell whether a row is one of orders, and count it if it is not."""
        kept = self._keep(row, names, header)
        if not kept:
            self.out.add(id(row))
        return kept

    def _keep(self, row: Row, names: list[str], header: bool) -> bool:
        fields = [each.strip() for each in row.fields]
        if not any(fields):
            self.blanks += 1
        elif row.raw == END_MARK:
            self.ends += 1
        elif _is_rule(row):
            self.rules += 1
        elif (
            header
            and len(fields) == len(names)
            and [each or f"column_{n}" for n, each in enumerate(fields, 1)] == names
        ):
            self.headers += 1
        elif len(fields) != len(names):
            self.others += 1
        elif row.raw in self.titles and fields[0]:
            self.sums.setdefault(0, Counter())[fields[0]] += 1
        elif (place := _sum_word(fields)) is not None:
            self.sums.setdefault(place, Counter())[fields[place]] += 1
        else:
            return True
        return False


def _sum_word(fields: list[str]) -> int | None:
    """Return the place of the word that makes a row one of sums, like Total or **; most of its fields are empty."""
    filled = [place for place, each in enumerate(fields) if each]
    if len(filled) > max(1, 0.6 * len(fields)):
        return None
    place = filled[0]
    return place if plain(fields[place].strip(":")) in TOTALS or re.fullmatch(r"\*{1,5}", fields[place]) else None


_FOOTER = re.compile(
    r"(?i)\b(rows?|records?|lines?|zeilen|lignes|filas|righe|wiersz\w*) (affected|selected|in set|downloaded)|"
    r"\brecord\(s\)|\(\d+ rows?\)|copyright|generated|seller id|report|confidential|\b(grand )?totals?\b"
)


def _ending(rows: list[Row], found: _Found, width: int) -> int:
    """Return how many rows at the end are a footer: texts of another width, which are no row that was cut off."""
    count = most = 0
    while count < min(len(rows) - 1, MOST_LINES) and id(row := rows[len(rows) - 1 - count]) in found.out:
        count += 1
        filled = sum(bool(each.strip()) for each in row.fields)
        other = len(row.fields) != width and filled and not _is_rule(row)
        if (other and (filled <= 2 or _FOOTER.search(row.raw))) or (most and not filled):
            most = count
        elif other:
            break
    return most


def _is_rule(row: Row) -> bool:
    return row.raw == END_MARK or bool(RULE.fullmatch(row.raw) and not re.search("[0-9A-Za-z]", row.raw))


def _header(rows: list[Row], width: int) -> int | None:
    """Return the place of the row that names the columns, or None if there is none."""
    best, known = None, -1
    for place, row in enumerate(rows[:MOST_LINES]):
        fields = [each.strip() for each in row.fields]
        filled = [each for each in fields if each]
        if len(fields) != width or not filled or RULE.fullmatch(row.raw):
            continue
        if any(map(looks_like_data, filled)):
            if len(filled) > width / 3 or best is not None:
                break
            continue
        names = len(filled) >= max(1, (width + 1) // 2) and max(map(len, filled)) <= 200
        if names and _known(fields) > known and (best is None or _known(fields) >= 3):
            best, known = place, _known(fields)
    return best
