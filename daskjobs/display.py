"""Names and texts made safe to show: no password in a URI, and no control character for a terminal.

Names are shown and stored like that. The whole URI stays in the settings, and is used only to open the file.
"""

import re

_SCHEME = r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
_END = r"(?=::|[:;,.)]*(?:[\s'\"<>]|$))"  # of a URI within a text
# user@ or user:password@: a password may hold slashes, but neither a port nor a chain's :: begins one.
_USER = re.compile(rf"{_SCHEME}(?:[^\s/]*@|[^\s/@:]+:(?!:|\d+(?:/|$))[^\s@]*@)")
_HTTP_QUERY = re.compile(rf"(https?://(?:\[[^\]\s]*\]|(?!::)[^\s'\"<>?#])*)[?#][^\s'\"<>]*?{_END}", re.I)
# Other schemes: a question mark may belong to a glob, so only ?name=value counts as a query.
_QUERY = re.compile(rf"({_SCHEME}(?:[^\s'\"<>?]|\?(?![\w.~%-]+=))*)\?[\w.~%-]+=[^\s'\"<>]*?{_END}")
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")  # Azure: container@account names no user

# Characters that nobody sees, though Python counts them as printable: fillers, variation selectors, and a blank pattern
# of Braille. Those that it doesn't count so are what a terminal obeys (escape sequences, line ends, marks of writing
# direction), other invisible ones (of width zero, soft hyphens, tags), all blanks but the space itself, what Unicode
# doesn't know, and lone surrogates, which stand for odd bytes in file names.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

# What joins two pictures to one (a woman and a laptop to a programmer) is seen there.
_JOINS = re.compile("(?<=[\u2600-\u27bf\U0001f000-\U0001faff])\u200d(?=[\u2600-\u27bf\U0001f000-\U0001faff])")


def shown(text: str) -> str:
    """Return a URI, or a text with URIs in it, without user information and query.

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
    r"""Return a file's name as results and manifests list it: like `shown`, with bytes that are not UTF-8 as \xNN.

    >>> print(listed("file:///lat\udce9.csv"))
    file:///lat\xe9.csv
    """
    return shown(uri.encode(errors="surrogateescape").decode(errors="backslashreplace"))


def escaped(text: object) -> str:
    r"""Return any text as one line in which one sees every character, so that it can be printed to a terminal.

    >>> print(escaped("é \x1b[2J\n"), escaped("3\u200e"))
    é \x1b[2J\n 3\u200e
    """
    text = str(text)
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    return "\u200d".join("".join(map(_escape, part)) for part in _JOINS.split(text))


def _escape(char: str) -> str:
    seen = char.isprintable() and not _UNSEEN.match(char)
    return char if seen else char.encode("unicode_escape").decode()
