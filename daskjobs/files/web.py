"""Files of web servers: read in parts if the server supports ranges, else fetched whole, if they are small."""

import hashlib
import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import IO, Any, TypeVar

from daskjobs.errors import InputError

WHOLE_BYTES = 64 << 20  # of a file that can only be fetched whole, and that each of its readers holds in memory
TIMEOUTS = {"total": 300, "sock_connect": 10, "sock_read": 30}  # in seconds, of each request
CHANGES = ("ETag", "Last-Modified", "Content-MD5", "Digest")  # headers that change when the file does
PLAIN = {"Accept-Encoding": "identity"}
GONE = (404, 410)
BUSY = (429, 503)  # answers that a server may take back soon, and may say when
TRIES, WAIT, MOST_WAIT = 3, 0.5, 10.0  # requests to a busy server, and seconds between them

T = TypeVar("T")


@dataclass(frozen=True)
class WebFile:
    """What a server says about a file: its size, or None without ranges, and the headers that change with it."""

    size: int | None
    changes: tuple[str, ...]


def options() -> dict[str, Any]:
    """Return options for fsspec's client, which by default may wait for minutes. Raises ImportError."""
    from aiohttp import ClientTimeout

    return {"client_kwargs": {"timeout": ClientTimeout(**TIMEOUTS)}}


def patiently(request: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Return a request's answer; it is made again when the server is busy, after the time for which that asks.

    Raises the client's exception after `TRIES`, and at once when the server asks for more than `MOST_WAIT`.
    """
    for _ in range(TRIES - 1):
        try:
            return request(*arguments, **options)
        except Exception as error:
            if getattr(error, "status", None) not in BUSY or (wait := wait_asked(error)) > MOST_WAIT:
                raise
        time.sleep(wait)
    return request(*arguments, **options)


def wait_asked(error: Any) -> float:
    """Return for how many seconds a server asks in Retry-After, a number or a date, or else `WAIT`."""
    said = (getattr(error, "headers", None) or {}).get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", said):
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time()) if said else WAIT
    except (ValueError, OverflowError):
        return WAIT


def is_web(fs: Any) -> bool:
    """Tell whether a file system of fsspec is that of web servers."""
    return "http" in fs.protocol and not isinstance(fs.protocol, str)


def look(fs: Any, url: str) -> WebFile | None:
    """Request a file's first byte, and return what the server says, or None if there is no file.

    HEAD is not used, since servers may answer it differently, or not at all. Raises the client's exceptions.
    """
    from fsspec.asyn import sync

    found: WebFile | None = patiently(sync, fs.loop, _look, fs, url)
    return found


async def _look(fs: Any, url: str) -> WebFile | None:
    async with await _get(fs, url, {"Range": "bytes=0-0"}) as reply:
        if reply.status in GONE:
            return None
        ranged = re.fullmatch(r"bytes 0-0/(\d+)", reply.headers.get("Content-Range", "").strip())
        changes = tuple(f"{name}: {reply.headers[name]}" for name in CHANGES if reply.headers.get(name))
        if reply.status != 416:  # the answer for an empty file
            reply.raise_for_status()
        packed = reply.headers.get("Content-Encoding", "identity") not in ("", "identity")
        return WebFile(int(ranged[1]) if reply.status == 206 and ranged and not packed else None, changes)


async def _get(fs: Any, url: str, headers: dict[str, str]) -> Any:
    given = {**fs.kwargs, "headers": {**fs.kwargs.get("headers", {}), **PLAIN, **headers}}
    try:
        address = fs.encode_url(url)
    except ValueError as error:
        raise InputError(f"{url} is no address of the web: {error}") from error
    return (await fs.set_session()).get(address, **given)


def whole(fs: Any, url: str, shown: str) -> bytes:
    """Fetch a whole file, and unpack what the server has packed for the transfer. Raises InputError if it is large."""
    from fsspec.asyn import sync

    data: bytes = patiently(sync, fs.loop, _whole, fs, url)
    if len(data) > WHOLE_BYTES:
        raise no_parts(shown, f"its server gives it only whole, and it has more than {WHOLE_BYTES >> 20} MiB")
    return data


async def _whole(fs: Any, url: str) -> bytes:
    data = bytearray()
    async with await _get(fs, url, {}) as reply:
        reply.raise_for_status()
        async for piece in reply.content.iter_chunked(1 << 20):
            data += piece
            if len(data) > WHOLE_BYTES:
                break
    return bytes(data)


def open_file(fs: Any, url: str, shown: str, **how: Any) -> IO[bytes]:
    """Open a file at any offset; ``how`` are the options of fsspec's files. Raises FileNotFoundError."""
    found = look(fs, url)
    if found is None:
        raise FileNotFoundError(shown)
    if not found.size:
        return io.BytesIO(whole(fs, url, shown))
    opened: IO[bytes] = fs.open(url, "rb", size=found.size, **how)
    return opened


def size(fs: Any, url: str, shown: str) -> int | None:
    """Return a file's size in bytes, or None where there is none."""
    found = look(fs, url)
    if found is None:
        return None
    return len(whole(fs, url, shown)) if found.size is None else found.size


def mark(fs: Any, url: str, shown: str) -> str:
    """Return a text that changes when the file does, if the server's headers show that."""
    found = look(fs, url)
    if found and found.size is None and not found.changes:
        return hashlib.sha256(whole(fs, url, shown)).hexdigest()
    return hashlib.sha256(repr(found).encode()).hexdigest()


def no_parts(shown: str, why: object) -> InputError:
    """Return the sentence for a file that can't be read at any offset."""
    return InputError(f"{shown} can't be read in parts ({why}): download it, and give its path")
