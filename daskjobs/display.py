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
_QUERY = re.compile(rf"({_SCHEME}[^\s'\"<>?]*)\?[\w.~%-]+=[^\s'\"<>]*?{_END}")
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")  # Azure: container@account names no user

# Characters that a terminal interprets or hides: C0, DEL and C1 (escape sequences, line ends), line and paragraph
# separators, overrides and isolates of writing direction, and lone surrogates, which stand for odd bytes in file names.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


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
    r"""Return any text as one line without control characters, so that it can be printed to a terminal.

    >>> print(escaped("é \x1b[2J\n"))
    é \x1b[2J\n
    """
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))
