"""The table of the page that says what each column holds."""

from collections.abc import Iterator, Sequence

from daskjobs.orders.columns.account import ColumnAccount, Kind
from daskjobs.orders.report.html import Html, amount, breakable, repeated

MOST_SHOWN = 40  # characters of a value
MOST_ROWS = 60  # columns


def columns_table(seen: Sequence[ColumnAccount]) -> Html:
    """Show what each column holds: on a phone, a block for each, with a label before each value."""
    if not seen:
        return Html("")
    more = f" The others, {len(seen) - MOST_ROWS:,} in number, are there, too." if len(seen) > MOST_ROWS else ""
    return Html(
        '<section id="columns">\n<h2>The columns</h2>\n<table class="stacked">\n<thead><tr><th>Column</th>'
        '<th class="n">Empty</th><th class="n">Distinct</th><th>Least</th><th>Median</th><th>Most</th>'
        '<th class="n">Longest</th></tr></thead>\n<tbody>\n{}</tbody>\n</table>\n'
        '<p class="note">Of all rows that were read as rows, rejected ones too. Longest is the number of characters of '
        "the longest text. report/columns.json has more: quantiles, means, and the values of columns that have few."
        "{}</p>\n</section>"
    ).format(
        repeated(
            '<tr><th scope="row">{}</th><td class="n" data-of="Empty">{}</td><td class="n" data-of="Distinct">{}</td>'
            '<td data-of="Least">{}</td><td data-of="Median">{}</td><td data-of="Most">{}</td>'
            '<td class="n" data-of="Longest">{}</td></tr>\n',
            ([*_cells(each)] for each in seen[:MOST_ROWS]),
        ),
        more,
    )


def _cells(column: ColumnAccount) -> Iterator[object]:
    noted = Html('{}<br/><span class="note">{}</span>')
    name = breakable(_cut(column.name))
    yield noted.format(name, f"in the file: {column.in_file}") if column.in_file else name
    unreadable = f"{column.unreadable:,} unreadable"
    yield noted.format(f"{column.empty:,}", unreadable) if column.unreadable else f"{column.empty:,}"
    yield f"{'' if column.distinct_exact else 'about '}{column.distinct:,}"
    for text in (column.least, column.quantiles.get("0.5"), column.most):
        yield "" if text is None else _value(column.kind, text)
    yield "" if column.longest is None else f"{column.longest:,}"


def _value(kind: Kind, text: str) -> Html:
    """Return a value, in which no number, day or time of day is broken."""
    match kind:
        case "amount":
            parts = [amount(text)]
        case "number":
            parts = [f"{int(text):,}"]
        case "time":
            parts = text.split("T")
        case "text":
            return Html.escape(_cut(text))
    return Html(" ").join(Html('<span class="whole">{}</span>').format(part) for part in parts)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
