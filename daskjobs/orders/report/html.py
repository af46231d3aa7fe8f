"""HTML written from Python: what is put into it is text, and escaped, unless it is HTML from here."""

import pkgutil
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Self

from markupsafe import Markup

from daskjobs.display import escaped


class Html(Markup):
    """Markup whose `format` and `join` show any text as one line in which every character is visible.

    >>> print(Html("<b>{}</b> {:,}").format("<i>\\u202e", 1000))
    <b>&lt;i&gt;\\u202e</b> 1,000
    """

    @classmethod
    def escape(cls, text: object, /) -> Self:
        """Return text as HTML; HTML stays as it is."""
        return super().escape(text if hasattr(text, "__html__") else escaped(text))


def repeated(form: str, items: Iterable[Sequence[object]]) -> Html:
    """Return ``form`` once for each of the items, filled with its parts."""
    one = str(form)  # whose `format` is much faster than that of HTML
    escape = Html.escape
    return Html("".join([one.format(*[x if type(x) is int else escape(x) for x in item]) for item in items]))


def cut(text: str, most: int) -> str:
    """Return a text as `Html` will show it: at most so many characters, and twice as many in HTML.

    >>> cut("abcdef", 4), cut("\\x1b[2J", 4), cut("<<<<", 4)
    ('abc…', '\\\\x1…', '<<…')
    """
    text = escaped(text[: most + 1])
    sizes = accumulate(len(Html.escape(each)) for each in text)
    fits = sum(size <= 2 * most for size in sizes)
    return text if len(text) <= most and fits == len(text) else f"{text[: min(fits, most - 1)]}…"


def scrolled(table: Html, label: str) -> Html:
    """Return a wide table that is scrolled sideways where the page is narrower; ``label`` says what it has."""
    return Html('<div class="scroll" role="region" tabindex="0" aria-label="{}">\n{}\n</div>').format(label, table)


def breakable(name: str) -> Html:
    """Return a name that may be broken after its underscores, so that it fits beside numbers on a phone."""
    return Html("_<wbr/>").join(name.split("_"))


def amount(value: Decimal | str) -> str:
    """Return an amount with a comma at each thousand, to the cent."""
    return f"{Decimal(value):,.2f}"


def share(part: int, whole: int) -> str:
    """Return a share in percent; only what is nothing is 0%, and only what is all is 100%.

    >>> share(1, 8), share(0, 8), share(8, 8), share(1, 10**9), share(10**9 - 1, 10**9), share(0, 0)
    ('12.50%', '0%', '100%', 'under 0.01%', 'over 99.99%', '0%')
    """
    if part in (0, whole):
        return "100%" if part else "0%"
    percent = Decimal(100 * part) / whole
    if percent < Decimal("0.01"):
        return "under 0.01%"
    return "over 99.99%" if percent > Decimal("99.99") else f"{percent:.2f}%"


def document(title: str, body: Iterable[Html]) -> bytes:
    """Return a page that needs nothing beside itself: no script, no font, no network."""
    style = pkgutil.get_data(__name__, "page.css")
    assert style is not None  # it lies beside this module
    page = Html(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        "<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n{}\n</main>\n</body>\n</html>\n"
    )
    return page.format(title, Html(style.decode()), Html("\n").join(filter(None, body))).encode()
