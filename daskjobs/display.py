"""Makes names, texts and counts fit to show: without passwords in URIs, and without control characters.

Names are shown and stored in this form. The settings keep the whole URI, which is used only to open the file.
"""

import re

_SCHEME = r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
_END = r"(?=::|[:;,.)]*(?:[\s'\"<>]|$))"  # of a URI within a text
# user@ or user:password@. A password may hold slashes, but a port or the :: of a chain doesn't begin one.
_USER = re.compile(rf"{_SCHEME}(?:[^\s/]*@|[^\s/@:]+:(?!:|\d+(?:/|$))[^\s@]*@)")
_HTTP_QUERY = re.compile(rf"(https?://(?:\[[^\]\s]*\]|(?!::)[^\s'\"<>?#])*)[?#][^\s'\"<>]*?{_END}", re.I)
# Other schemes: a question mark may belong to a glob, so only ?name=value counts as a query.
_QUERY = re.compile(rf"({_SCHEME}(?:[^\s'\"<>?]|\?(?![\w.~%-]+=))*)\?[\w.~%-]+=[^\s'\"<>]*?{_END}")
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")  # Azure: container@account names no user

# Invisible characters that Python counts as printable: fillers, variation selectors, and a blank Braille pattern.
# Characters that aren't printable are those that a terminal obeys (escape sequences, line ends, marks of writing
# direction), other invisible ones (of width zero, soft hyphens, tags), all blanks but the space, unassigned ones, and
# lone surrogates, which stand for odd bytes in file names.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

# Joiners between two emoji (a woman and a laptop make a programmer) have a visible effect.
_JOINS = re.compile("(?<=[\u2600-\u27bf\U0001f000-\U0001faff])\u200d(?=[\u2600-\u27bf\U0001f000-\U0001faff])")


def shown(text: str) -> str:
    """Return a URI, or a text with URIs in it, without user, password and query.

    >>> shown("https://me:secret@host/orders.csv?X-Amz-Signature=0123")
    'https://host/orders.csv'
    >>> shown("could not read 's3://bucket/orders-?.csv?versionId=7': forbidden")
    "could not read 's3://bucket/orders-?.csv': forbidden"
    """
    if "://" not in text:
        return text
    text = _USER.sub(
        lambda found: found[0] if found["scheme"].lower() in _CONTAINERS else f"{found['scheme']}://", text
    )
    return _QUERY.sub(r"\1", _HTTP_QUERY.sub(r"\1", text))


def listed(uri: str) -> str:
    r"""Return a file's name as in results and manifests: like `shown`, with bytes that are not UTF-8 as \xNN.

    >>> print(listed("file:///lat\udce9.csv"))
    file:///lat\xe9.csv
    """
    return shown(uri.encode(errors="surrogateescape").decode(errors="backslashreplace"))


def escaped(text: object, but: str = "") -> str:
    r"""Return any text as one line in which every character is visible, safe to print to a terminal.

    The characters ``but`` stay as they are.

    >>> print(escaped("é \x1b[2J\n"), escaped("3\u200e"))
    é \x1b[2J\n 3\u200e
    """
    text = str(text)
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    table = str.maketrans({char: _escape(char) for char in {*text} - {*but}})
    return "\u200d".join(part.translate(table) for part in _JOINS.split(text))


def _escape(char: str) -> str:
    seen = char.isprintable() and not _UNSEEN.match(char)
    if seen:
        return char
    escape = char.encode("unicode_escape").decode()
    return escape if char.isascii() else escape.replace(r"\x", r"\u00")  # \xa0 is how a byte that is no text is written


def counted(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "row"), counted(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
