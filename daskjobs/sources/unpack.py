"""What can't be read in byte ranges, because it is compressed or isn't UTF-8, becomes plain UTF-8 once."""

import codecs
from collections.abc import Callable

import pyarrow as pa

from daskjobs.errors import InputError, UsageError
from daskjobs.outputs import Output
from daskjobs.sources.rows import BLOCK_BYTES
from daskjobs.storage import Storage

COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}  # by a file's first bytes
PLAIN = ("utf-8", "utf-8-sig", "ascii")


def compression(first: bytes) -> str | None:
    """Return how a file with these first bytes is compressed, or None."""
    return next((name for mark, name in COMPRESSIONS.items() if first.startswith(mark)), None)


def needs_decoding(encoding: str) -> bool:
    """Tell whether a text encoding is another than UTF-8. Raises UsageError when Python knows no such encoding."""
    try:
        codec = codecs.lookup(encoding or "utf-8")
        "".encode(codec.name)
    except (LookupError, ValueError) as error:
        raise UsageError(
            f"--encoding is {encoding!r}; give a text encoding that Python knows, like cp1252, latin-1 or utf-16"
        ) from error
    return codec.name not in PLAIN


def unpack(storage: Storage, name: str, target: str, encoding: str, first: bytes) -> Output:
    """Write ``target`` as plain UTF-8, a few MiB in memory at a time.

    A byte that is no text in ``encoding`` becomes ``\\xNN`` and a byte that is no UTF-8, so that its row is rejected.
    Raises InputError when the compressed data is damaged.
    """
    codecs.register_error("daskjobs", _marked)
    decoder = codecs.getincrementaldecoder(encoding)("daskjobs") if needs_decoding(encoding) else None
    with storage.open(name) as packed, storage.write(target) as plain:
        kind = compression(first)
        stream = pa.CompressedInputStream(pa.PythonFile(packed, mode="r"), kind) if kind else packed
        more = True
        while more:
            try:
                data = stream.read(BLOCK_BYTES)
            except (OSError, pa.ArrowInvalid) as error:
                raise InputError(f"{name} can't be unpacked: {error}; is it whole? Give it anew") from error
            more = bool(data)
            plain.write(_utf8(decoder.decode, data, not more, name) if decoder else data)
    return plain.output


def _utf8(decode: Callable[[bytes, bool], str], data: bytes, last: bool, name: str) -> bytes:
    try:
        return decode(data, last).encode(errors="surrogateescape")
    except UnicodeError as error:  # no single byte's fault
        raise InputError(f"{name} is not in the encoding that --encoding says: {error}") from error


def _marked(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(f"\\x{byte:02x}" for byte in bad) + "\udcff", error.end
