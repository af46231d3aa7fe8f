"""Names as people may see them: a URI without its password, its token and its signature.

A name is shown and stored like that; the URI itself stays in the settings, and is used only to open the file.
"""

import re

_SCHEME = r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
_END = r"(?=::|[:;,.)]*(?:[\s'\"<>]|$))"  # of a URI within a text
# user@ or user:password@: a password may hold slashes, but neither a port nor a chain's :: begins one.
_USER = re.compile(rf"{_SCHEME}(?:[^\s/]*@|[^\s/@:]+:(?!:|\d+(?:/|$))[^\s@]*@)")
_HTTP_QUERY = re.compile(rf"(https?://(?:\[[^\]\s]*\]|(?!::)[^\s'\"<>?#])*)[?#][^\s'\"<>]*?{_END}", re.I)
# Elsewhere a question mark may be a glob's: what looks like a query is one.
_QUERY = re.compile(rf"({_SCHEME}[^\s'\"<>?]*)\?[\w.~%-]+=[^\s'\"<>]*?{_END}")
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")  # Azure's, where container@account is no user


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
