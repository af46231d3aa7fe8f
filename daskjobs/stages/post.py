"""Posts to an address that is a secret: bounded, tried again, and never with the address in a message.

An address of http or https is posted to with Python's own client, through a proxy if the environment names one. Of any
other scheme, it is one of the services of the package apprise. Redirects are not followed: the body and the
address may be meant for one host alone, and a redirected POST mostly becomes a GET.
"""

import base64
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from daskjobs.errors import ConfigError, UsageError
from daskjobs.files.web import wait_asked
from daskjobs.version import __version__

TRIES, TRY_SECONDS, SECONDS = 4, 10.0, 45.0  # each try, and all of them with the waits in between
WAIT, MOST_WAIT = 1.0, 15.0  # the first wait, which doubles; the longest that a server may ask for
AGAIN = (408, 425, 429)  # answers that may change, besides those of a server's own failures, from 500 on
WEB = ("http", "https")
# What a UsageError or a warning may say of an address is its flag, and of the web's addresses the host.
NO_ADDRESS = "{} must be an address like https://hooks.example.com/…, with a host, and without blanks"
NO_APPRISE = (
    "{} names a service that needs the package apprise: pip install 'daskjobs[notify]', or give an https:// address"
)


class NotPostedError(Exception):
    """A post did not arrive; the sentence says why, and names at most the host."""


@dataclass(frozen=True)
class _Failed:
    why: str
    again: bool = True
    wait: float = 0.0


def refuse_address(flag: str, address: str, services: bool = False) -> None:
    """Raise UsageError for what is no address of the web, nor, if ``services`` may be named, one of apprise.

    Raises ConfigError when apprise is needed and missing. The address is in no message.
    """
    parts = _parts(address)
    if parts is None:
        raise UsageError(NO_ADDRESS.format(flag))
    if parts.scheme in WEB:
        return
    if not services:
        raise UsageError(f"{flag} must begin with http:// or https://")
    if not _service(flag, address):
        raise UsageError(f"{flag} names no service that the package apprise knows: it has the forms of addresses")


def _parts(address: str) -> SplitResult | None:
    address = address.strip()
    try:
        parts = urlsplit(address)
        host = parts.scheme not in WEB or (parts.hostname and (parts.port is None or parts.port > 0))
    except ValueError:
        return None
    plain = address.isascii() and address.isprintable() and " " not in address
    return parts if "://" in address and host and plain else None


def host_of(address: str) -> str:
    """Return the host of a web address, or an empty text."""
    parts = _parts(address)
    return str(parts.hostname) if parts and parts.scheme in WEB else ""


def post_json(
    flag: str, address: str, body: bytes, headers: Mapping[str, str] | None = None, seconds: float = SECONDS
) -> None:
    """Post JSON to a web address. Raises NotPostedError after ``seconds``, or when trying again can't help."""
    parts = _parts(address)
    if parts is None or parts.scheme not in WEB:
        raise NotPostedError(NO_ADDRESS.format(flag))
    given = {"Content-Type": "application/json", "User-Agent": f"daskjobs/{__version__}", **(headers or {})}
    if parts.username is not None or parts.password is not None:
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
        given.setdefault("Authorization", f"Basic {base64.b64encode(pair).decode()}")
    url = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    _patiently(str(parts.hostname), lambda: _web(url, body, given), seconds)


def post_text(flag: str, address: str, title: str, text: str, seconds: float = SECONDS) -> None:
    """Post a text to a service of apprise. Raises NotPostedError as `post_json` does."""
    try:
        service = _service(flag, address.strip())
    except ConfigError as error:
        raise NotPostedError(str(error)) from None
    if not service:
        raise NotPostedError(f"{flag} names no service that the package apprise knows")

    def send() -> _Failed | None:
        sent = service.notify(title=title, body=text, body_format="text")
        return None if sent else _Failed("did not take it")

    _patiently("the service of apprise", send, seconds)


def _service(flag: str, address: str) -> Any:
    """Return apprise's client with this address, or None if it knows no such service."""
    try:
        import apprise
    except ImportError:
        raise ConfigError(NO_APPRISE.format(flag)) from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # its messages have parts of addresses
    service = apprise.Apprise()
    return service if service.add(address) else None


def _patiently(who: str, send: Callable[[], _Failed | None], seconds: float) -> None:
    deadline, wait = time.monotonic() + seconds, WAIT
    for tried in range(1, TRIES + 1):
        failed = _in_time(send, min(TRY_SECONDS, max(0.1, deadline - time.monotonic())))
        if failed is None:
            return
        pause, wait = max(wait, failed.wait), 2 * wait
        end = not failed.again or tried == TRIES or failed.wait > MOST_WAIT
        if end or time.monotonic() + pause >= deadline:
            raise NotPostedError(f"{who} {failed.why}{f', {tried} times' if tried > 1 else ''}")
        time.sleep(pause)


def _in_time(send: Callable[[], _Failed | None], seconds: float) -> _Failed | None:
    """Send in a thread, since neither the look-up of a name nor a slow answer has a bound of its own."""
    found = SimpleQueue[_Failed | None]()

    def work() -> None:
        try:
            found.put(send())
        except Exception as error:  # its text may have the address
            found.put(_Failed(f"could not be posted to ({type(error).__name__})"))

    try:
        Thread(target=work, daemon=True).start()
        return found.get(timeout=seconds)
    except Empty:
        return _Failed(f"did not answer within {seconds:.2g} s")
    except RuntimeError:  # no more threads
        return _Failed("could not be posted to: this process may start no more threads", again=False)


def _web(url: str, body: bytes, headers: Mapping[str, str]) -> _Failed | None:
    import urllib.request  # late: few commands post anything
    from urllib.error import HTTPError, URLError

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            """Follow no redirect, which is an error then."""

    request = urllib.request.Request(url, body, dict(headers), method="POST")
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=TRY_SECONDS):
            return None
    except HTTPError as error:
        error.close()
        if 300 <= error.code < 400:
            return _Failed(f"answers {error.code}, a redirect, which is not followed: give the last address", False)
        again = error.code in AGAIN or error.code >= 500
        asked = wait_asked(error) if error.headers.get("Retry-After") else 0.0
        return _Failed(f"answers {error.code}", again, asked)
    except URLError as error:
        reason = error.reason
        why = (reason.strerror or type(reason).__name__) if isinstance(reason, OSError) else type(reason).__name__
        return _Failed(f"can't be reached ({why})")
    except OSError as error:
        return _Failed(f"can't be reached ({error.strerror or type(error).__name__})")
