"""Write the plain bytes of a file that can't be read in ranges: one that is compressed, in an archive or not UTF-8."""

import codecs
import hashlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator

import pyarrow as pa

from daskjobs.errors import ConfigError, InputError, UsageError
from daskjobs.files.digest import Output
from daskjobs.files.storage import RESERVE_BYTES, Storage
from daskjobs.orders.sources.lines import BLOCK_BYTES

COMPRESSIONS = {  # known by a file's first bytes; pzstd begins zstd files with a frame that is to be skipped
    "gzip": re.compile(rb"\x1f\x8b"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
}
EXPORT = "export its orders as CSV"
UNPACK = "unpack it"
CONTAINERS = {  # files that are not CSV, known by their first bytes, and what to do with them
    "an Excel workbook": (
        rb"PK\x03\x04(?s:.){0,2000}(?:\[Content_Types\]\.xml|xl/)|\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        EXPORT,
    ),
    "an OpenDocument spreadsheet": (rb"PK\x03\x04(?s:.){26}mimetypeapplication/vnd\.oasis", EXPORT),
    "a zip archive": (rb"PK\x03\x04|PK\x05\x06", f"{UNPACK}, or give a file in it, like zip://orders.csv::archive.zip"),
    "compressed with xz": (rb"\xfd7zXZ\x00", UNPACK),
    "compressed with bzip2": (rb"BZh[1-9]1AY&SY", UNPACK),
    "compressed with lz4": (rb"\x04\x22\x4d\x18", UNPACK),
    "compressed with snappy": (rb"\xff\x06\x00\x00sNaPpY", UNPACK),
    "compressed twice": (rb"\x1f\x8b|\x28\xb5\x2f\xfd", f"{UNPACK} once"),
    "a 7z archive": (rb"7z\xbc\xaf\x27\x1c", UNPACK),
    "a RAR archive": (rb"Rar!\x1a\x07", UNPACK),
    "a tar archive": (rb"(?s:.){257}ustar", UNPACK),
    "an ORC file": (rb"ORC", "write it as Parquet or CSV"),
    "an Avro file": (rb"Obj\x01", "write it as Parquet or CSV"),
    "an Arrow file": (rb"ARROW1\x00\x00|FEA1|\xff\xff\xff\xff(?s:.){4}\x10\x00\x00\x00", "write it as Parquet or CSV"),
    "an HDF5 file": (rb"\x89HDF\r\n", EXPORT),
    "an SQLite database": (rb"SQLite format 3\x00", EXPORT),
    "a PDF document": (rb"%PDF-", EXPORT),
    "HTML or XML": (
        rb"(?i)(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|\?xml)",
        f"{EXPORT}; it may be the page of a login or an error",
    ),
}
START_BYTES = 1 << 20  # of a file, by which its format is known
PLAIN = ("utf-8", "utf-8-sig", "ascii")
MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}  # with which files in these encodings begin
NO_TEXT = ("undefined", "idna", "punycode", "unicode_escape", "raw_unicode_escape")  # codecs of Python, not of files
LOOK_BYTES = 64 << 20  # written between two checks of the free space


def compression(first: bytes) -> str | None:
    """Return how a file with these first bytes is compressed, or None."""
    return next((name for name, mark in COMPRESSIONS.items() if mark.match(first)), None)


def is_archived(name: str) -> bool:
    """Tell whether a URI names a file in an archive, like zip://orders.csv::archive.zip, which has no offsets."""
    return "::" in name and "://" in name and not name.startswith("file://")


def refuse_other(first: bytes, name: str) -> None:
    """Raise InputError when a file with these first bytes is known to be no CSV file."""
    for what, (mark, advice) in CONTAINERS.items():
        if re.match(mark, first):
            raise InputError(f"{name} is {what}: {advice}")


def needs_decoding(encoding: str) -> bool:
    """Tell whether an encoding is not UTF-8. Raises UsageError when Python doesn't know it."""
    try:
        codec = codecs.lookup(encoding or "utf-8")
        "".encode(codec.name)
        if codec.name.replace("-", "_") in NO_TEXT:
            raise LookupError
    except (LookupError, ValueError) as error:
        raise UsageError(
            f"--encoding must be a text encoding that Python knows, like cp1252, latin-1 or utf-16, got {encoding!r}"
        ) from error
    return codec.name not in PLAIN


def fits(storage: Storage, name: str, encoding: str, first: bytes) -> bool:
    """Tell whether all of a file, which is unpacked for it, can be read in an encoding.

    UTF-16 and UTF-32 must begin with their mark: without it, nearly anything could be read in them.
    """
    codec, begun = codecs.lookup(encoding), False
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    try:
        for data in _plain(storage, name, "", first):
            if not begun and not data.startswith(MARKS.get(codec.name, b"")):
                return False
            begun = True
            decoder.decode(data, not data)
    except UnicodeError:
        return False
    return True


def looks_like_utf8(first: bytes) -> bool:
    """Tell whether a file that begins with these bytes is UTF-8, with characters beyond ASCII."""
    try:
        return not first.isascii() and bool(codecs.getincrementaldecoder("utf-8")().decode(first))
    except UnicodeDecodeError:
        return False


def beginning(storage: Storage, name: str, encoding: str, first: bytes) -> bytes:
    """Return the plain bytes of a file that begins with ``first``: at least `START_BYTES`, if there are so many."""
    plain = b""
    for data in _plain(storage, name, encoding, first):
        plain += data
        if len(plain) >= START_BYTES:
            break
    return plain


def unpack(storage: Storage, name: str, target: str, encoding: str, first: bytes) -> Output:
    """Write the plain bytes of a file to ``target``, text in UTF-8, with a few MiB in memory at a time.

    A byte that an ``encoding`` can't decode becomes ``\\xNN`` and a byte that is not UTF-8: its row is then rejected.
    Raises InputError when the compressed data is damaged, ConfigError before it fills the disk.
    """
    with storage.write(target) as plain:
        looked = 0
        for data in _plain(storage, name, encoding, first):
            plain.write(data)
            if plain.output.size >= looked + LOOK_BYTES:
                looked = plain.output.size
                free = storage.free()
                if free is not None and free < RESERVE_BYTES:
                    raise ConfigError(
                        f"{name} is more than {looked >> 20} MiB when it is unpacked, and only {free >> 20} MiB are "
                        f"free in {storage.root}, where {RESERVE_BYTES >> 20} MiB stay free: make room there, or "
                        "choose another --run"
                    )
    return plain.output


def plain_output(storage: Storage, name: str, encoding: str) -> Output:
    """Return the size and hash of the plain bytes of a file, as `unpack` would write them, without writing them."""
    with storage.open(name) as opened:
        first = opened.read(START_BYTES)
    digest, size = hashlib.sha256(), 0
    for data in _plain(storage, name, encoding, first):
        digest.update(data)
        size += len(data)
    return Output(size, digest.hexdigest())


def _plain(storage: Storage, name: str, encoding: str, first: bytes) -> Iterator[bytes]:
    codecs.register_error("daskjobs", _marked)
    decoder = codecs.getincrementaldecoder(encoding)("daskjobs") if needs_decoding(encoding) else None
    kind, more = compression(first), True
    with storage.open(name) as packed:
        stream = pa.CompressedInputStream(pa.PythonFile(packed, mode="r"), kind) if kind else packed
        while more:
            try:
                data = stream.read(BLOCK_BYTES)
            except (OSError, EOFError, zlib.error, zipfile.BadZipFile, pa.ArrowInvalid) as error:
                raise InputError(
                    f"{name} can't be unpacked: {error}; check that it is complete, and upload it again"
                ) from error
            more = bool(data)
            yield _utf8(decoder.decode, data, not more, name) if decoder else data


def _utf8(decode: Callable[[bytes, bool], str], data: bytes, last: bool, name: str) -> bytes:
    try:
        return decode(data, last).encode(errors="surrogateescape")
    except UnicodeError as error:  # from the codec as a whole; `_marked` handles single bytes
        raise InputError(f"{name} can't be decoded as --encoding says: {error}") from error


def _marked(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(f"\\x{byte:02x}" for byte in bad) + "\udcff", error.end
