"""The files of the input, in any of `FORMATS`: described, cut into partitions, and read in blocks of texts."""

import io
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from daskjobs.display import listed
from daskjobs.errors import ConfigError, InputError, StorageError, UsageError
from daskjobs.events import event
from daskjobs.files.documents import from_json
from daskjobs.files.storage import Storage, UnavailableError, explained
from daskjobs.orders.dialect import InputFormat
from daskjobs.orders.profiles import Profile
from daskjobs.orders.sources import unpack
from daskjobs.orders.sources.csv import CsvFormat
from daskjobs.orders.sources.form import encodings, input_format
from daskjobs.orders.sources.format import Format, InputFile, SourceFile
from daskjobs.orders.sources.json_lines import JsonLinesFormat
from daskjobs.orders.sources.lines import BOM
from daskjobs.orders.sources.names import column_names
from daskjobs.orders.sources.parquet import ParquetFormat

UTF_8 = "utf-8"
# The first format that recognises a file gets it. CSV is the last one, since any text may be CSV.
FORMATS: tuple[Format[Any], ...] = (ParquetFormat(), JsonLinesFormat(), CsvFormat())


@dataclass(frozen=True)
class _Kind:
    kind: str


def understood(said: InputFormat) -> tuple[dict[str, str], str]:
    """Return the columns' names, as `column_names` does, and the user's delimiter, if any.

    Raises UsageError when an option doesn't make sense, whatever the format of the files will be.
    """
    wanted, delimiter = column_names(said.columns), {"tab": "\t"}.get(said.delimiter, said.delimiter)
    if delimiter and (len(delimiter) > 1 or not delimiter.isascii() or delimiter in '"\r\n\0'):
        raise UsageError(f"--delimiter must be one character like ';' or '|', or the word tab, got {delimiter!r}")
    unpack.needs_decoding(said.encoding)
    return wanted, delimiter


def describe(storage: Storage, name: str, plain: str, said: InputFormat, profile: Profile | None = None) -> SourceFile:
    """Describe the file of this name for the run's plan.

    One that is compressed, in an archive or not UTF-8 is unpacked into the file ``plain`` of the run, once its first
    MiB is known to be of orders. Raises InputError when it can't be read or isn't orders, UsageError when an option
    doesn't make sense.
    """
    wanted, delimiter = understood(said)
    said = input_format(profile, said) if profile else replace(said, delimiter=delimiter)
    try:
        with explained(f"read {name}"), storage.open(name) as opened:
            first = opened.read(unpack.START_BYTES)
    except UnavailableError:
        raise
    except (ConfigError, StorageError) as error:
        raise InputError(f"the input can't be read: {error}") from error
    packed = bool(unpack.compression(first)) or unpack.is_archived(name)
    start, encoding = unpack.beginning(storage, name, "", first) if packed else first, ""
    undecoded = start
    source_format = next((each for each in FORMATS if not each.text and each.sniff(start)), None)
    if source_format is None:
        encoding = _encoding(storage, name, profile, start, first) if profile else said.encoding
        if unpack.needs_decoding(encoding):
            packed = True
            start = unpack.beginning(storage, name, encoding, first)
        source_format = next(each for each in FORMATS if each.text and each.sniff(start))
    file = InputFile(
        name,
        start,
        said,
        wanted,
        name,
        len(start),
        lambda: io.BytesIO(start),
        profile=profile,
        encoding=encoding if profile else "",
    )
    if packed and source_format.text:
        source_format.describe(file.beginning)
    read, unpacked = name, None
    if packed:
        read = plain
        unpacked = unpack.unpack(storage, name, read, encoding, first)
    size = int(storage.size(read) or 0)
    file = replace(file, read=read, size=size, open=partial(storage.open, read), unpacked=unpacked)
    described: SourceFile = source_format.describe(file)
    one = unpack.needs_decoding(encoding) and not (profile and len(encodings(profile.file, name)) > 1)
    return replace(described, utf8=True) if one and unpack.looks_like_utf8(undecoded) else described


def _encoding(storage: Storage, name: str, profile: Profile, start: bytes, first: bytes) -> str:
    """Return the encoding of a file of text that begins with ``start`` once it is unpacked."""
    tried = encodings(profile.file, name)
    if tried and start.startswith(BOM):
        return UTF_8
    found = tried[0] if tried else ""
    if len(tried) > 1:
        found = next((each for each in tried if unpack.fits(storage, name, each, first)), "")
        if not found:
            raise InputError(
                f"{name} is in none of the encodings {', '.join(tried)}, which encoding of [file] in the profile "
                f"{profile.name} names: add the one that it is in, or one alone, with which rows that don't fit are "
                "rejected"
            )
    if len(tried) > 1 or len(profile.file.encodings) > 1:
        event("input.encoding", file=listed(name), encoding=found or UTF_8)
    return found


def read_sources(value: Any) -> list[SourceFile]:
    """Return the files that a plan lists in JSON. Raises ValueError when one doesn't have the shape of its format."""
    return [_read_source(each, f"files[{number}]") for number, each in enumerate(from_json(value, list[Any], "files"))]


def _read_source(value: Any, place: str) -> SourceFile:
    kind = from_json(value, _Kind, place).kind
    source_format = next((each for each in FORMATS if each.name == kind), None)
    if source_format is None:
        raise ValueError(f"{place}.kind must be one of {', '.join(each.name for each in FORMATS)}, got {kind!r:.100}")
    source: SourceFile = from_json(value, source_format.source, place)
    return source


def format_of(source: SourceFile) -> Format[Any]:
    """Return the format of a file, which weighs, cuts and reads it."""
    return next(each for each in FORMATS if each.name == source.kind)
