"""The orders as they come: CSV or Parquet files, described, cut into partitions, and read in blocks of texts."""

from collections.abc import Iterator
from types import ModuleType

from daskjobs.errors import ConfigError, InputError, StorageError, UsageError
from daskjobs.settings import BACKSLASH, Settings
from daskjobs.sources import parquet, text, unpack
from daskjobs.sources.block import Block, Range, Source, mapping
from daskjobs.storage import Storage, explained

FORMATS: dict[str, ModuleType] = {"csv": text, "parquet": parquet}


def describe(storage: Storage, name: str, number: int, settings: Settings) -> Source:
    """Return what split/partitions.json says of a file: its format, columns and size.

    Raises InputError when it can't be read or isn't orders, UsageError when an option doesn't make sense.
    """
    wanted, delimiter = mapping(settings.columns), {"tab": "\t"}.get(settings.delimiter, settings.delimiter)
    if delimiter and (len(delimiter) > 1 or not delimiter.isascii() or delimiter in '"\r\n\0'):
        raise UsageError(f"--delimiter is {delimiter!r}; give one character like ';' or '|', or the word tab")
    unpack.needs_decoding(settings.encoding)  # which of the options may be wrong
    try:
        with explained(f"read {name}"), storage.open(name) as file:
            first = file.read(unpack.FIRST_BYTES)
    except (ConfigError, StorageError) as error:
        raise InputError(f"the input can't be read: {error}") from error
    if first.startswith(parquet.ENCRYPTED):
        raise InputError(parquet.encrypted(name))
    if first.startswith(parquet.MAGIC):
        return parquet.describe(storage, name, wanted)
    if delimiter == "\\" and settings.quoting == BACKSLASH:
        raise UsageError("--delimiter can't be a backslash with --quoting backslash: give another delimiter or quoting")
    return text.describe(storage, name, first, unpacked(number), wanted, delimiter, settings.quoting, settings.encoding)


def unpacked(number: int) -> str:
    """Return the name of the plain text of a file that is compressed, in an archive or not UTF-8, by its number."""
    return f"split/input-{number:05d}.csv"


def weight(source: Source) -> int:
    """Return how many bytes of rows a file has."""
    return int(FORMATS[source["kind"]].weight(source))


def ranges(storage: Storage, source: Source, seen: int, total: int, count: int) -> Iterator[Range]:
    """Yield a file's part of each of ``count`` partitions, ``seen`` bytes of ``total`` having come before."""
    found: Iterator[Range] = FORMATS[source["kind"]].ranges(storage, source, seen, total, count)
    return found


def blocks(storage: Storage, source: Source, part: Range) -> Iterator[Block]:
    """Yield a range's rows. Raises InputError when they are not those that were split."""
    found: Iterator[Block] = FORMATS[source["kind"]].blocks(storage, source, part)
    return found
