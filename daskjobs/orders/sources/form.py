"""Checks what a profile says of how files are written, and finds a file's encodings in it."""

from collections import Counter
from dataclasses import replace
from fnmatch import fnmatchcase

from daskjobs.errors import ConfigError, UsageError
from daskjobs.orders.dialect import BACKSLASH, QUOTINGS, RFC4180, SPARK, InputFormat
from daskjobs.orders.profiles import FileForm, Profile
from daskjobs.orders.sources.unpack import needs_decoding

CHARACTERS = {"tab": "\t"}  # words that stand for a delimiter


def problem(form: FileForm) -> tuple[str, str] | None:
    """Return a key of [file] that makes no sense, and what it must be; or None.

    >>> problem(FileForm(delimiter=";;"))
    ('delimiter', "must be one character like ';' or '|', or the word tab, got ';;'")
    """
    delimiter = CHARACTERS.get(form.delimiter, form.delimiter)
    escaping = form.quoting in (BACKSLASH, SPARK)
    if form.quoting not in ("", *QUOTINGS, SPARK):
        return "quoting", f"must be one of {', '.join((*QUOTINGS, SPARK))}, got {form.quoting!r}"
    if form.quote and (not _is_one(form.quote) or form.quote == "\\"):
        return (
            "quote",
            f"must be one character like \" or ', or empty where no character is a quote, got {form.quote!r}",
        )
    if delimiter and not _is_one(delimiter):
        return "delimiter", f"must be one character like ';' or '|', or the word tab, got {form.delimiter!r}"
    if delimiter and (delimiter == form.quote or (delimiter == "\\" and escaping)):
        return "delimiter", f"must not be what quotes or escapes a field, got {form.delimiter!r}"
    if twice := next((name for name, times in Counter(form.header).items() if times > 1), ""):
        return "header", f"must give each field a name of its own, got {twice!r} twice"
    for _, names in form.encodings:
        try:
            for each in names:
                needs_decoding(each)
        except UsageError:
            return "encoding", f"must be text encodings that Python knows, like cp1252, latin-1 or utf-16, got {each!r}"
        if not names:
            return "encoding", "must name an encoding, like utf-8 or cp1252, got an empty list"
    return None


def _is_one(character: str) -> bool:
    return len(character) == 1 and character.isascii() and character not in "\r\n\0"


def input_format(profile: Profile, said: InputFormat) -> InputFormat:
    """Return what a profile says as options do. Raises ConfigError when it makes no sense."""
    if found := problem(profile.file):
        raise ConfigError(f"the profile {profile.name} can't be used: {found[0]} of [file] {found[1]}")
    delimiter = CHARACTERS.get(profile.file.delimiter, profile.file.delimiter)
    quoting = profile.file.quoting or said.quoting or RFC4180
    return replace(said, delimiter=delimiter, quoting=quoting, encoding="", columns="")


def encodings(form: FileForm, name: str) -> list[str]:
    """Return the encodings to try for a file of this name: those of the first pattern that fits it or its end.

    >>> encodings(FileForm(encodings=[("a*.csv", ["cp1252"]), ("*", ["utf-8", "cp1252"])]), "/shop/a1.csv")
    ['cp1252']
    """
    file = name.partition("::")[0]
    for pattern, names in form.encodings:
        if fnmatchcase(file, pattern) or fnmatchcase(file, f"*/{pattern}"):
            return names
    return []
