"""What a profile says of how a file of some name is written."""

from dataclasses import replace
from fnmatch import fnmatchcase

from daskjobs.orders.dialect import RFC4180, InputFormat
from daskjobs.orders.profiles import FileForm, Profile


def input_format(profile: Profile, said: InputFormat) -> InputFormat:
    """Return what a profile says of a file as options do; it wins, since options were put into it."""
    quoting = profile.file.quoting or said.quoting or RFC4180
    return replace(said, delimiter=profile.file.delimiter, quoting=quoting, encoding="", columns="")


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
