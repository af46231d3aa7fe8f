"""Keep a TLS connection whose peer is lost from breaking the others of its thread.

OpenSSL has one queue of errors for each thread. CPython doesn't clear it before it reads or writes (cpython#148594,
cpython#81891), and since OpenSSL 3.4 a peer that is reset leaves its error there; the connection that is read from
next, a healthy one, fails with it: "the other side went away" (distributed#8936). To clear the queue before helps.
"""

import _ssl
import ctypes
import logging
import ssl
from collections.abc import Callable
from functools import wraps
from typing import Any

from tornado.iostream import SSLIOStream

from daskjobs.log import event

SINCE = (3, 4)
METHODS = ("read_from_fd", "write_to_fd", "_do_ssl_handshake")  # of tornado, on which Dask's connections stand


def mend() -> None:
    """Have OpenSSL's errors cleared before each read, write and handshake of this process's TLS connections."""
    if ssl.OPENSSL_VERSION_INFO[:2] < SINCE or hasattr(SSLIOStream.read_from_fd, "__wrapped__"):
        return
    try:
        clear = ctypes.CDLL(_ssl.__file__).ERR_clear_error  # of the very library that Python uses
    except (AttributeError, OSError) as error:
        event("openssl.not_mended", level=logging.WARNING, openssl=ssl.OPENSSL_VERSION, error=error)
        return
    for name in METHODS:
        setattr(SSLIOStream, name, _clearing(getattr(SSLIOStream, name), clear))


def _clearing(method: Callable[..., Any], clear: Callable[[], object]) -> Callable[..., Any]:
    @wraps(method)
    def cleared(stream: SSLIOStream, *arguments: Any) -> Any:
        clear()
        return method(stream, *arguments)

    return cleared
