"""Works around a bug of Python with OpenSSL: a stale error makes a healthy TLS connection fail.

OpenSSL keeps one queue of errors per thread. CPython doesn't clear it before it reads or writes (cpython#148594,
cpython#81891), and since OpenSSL 3.4 a peer that resets its connection leaves its error there. The connection that the
thread reads next, a healthy one, then fails with that error: "the other side went away" (distributed#8936). Clearing
the queue before each operation helps.

All four roles of Dask need it: a client calls `mend_openssl`; the scheduler, nannies and workers load this module as
one of Dask's preloads.
"""

import _ssl
import ctypes
import logging
import ssl
from collections.abc import Callable
from functools import wraps
from typing import Any

from tornado.iostream import SSLIOStream

from daskjobs.events import event

SINCE = (3, 4)
METHODS = ("read_from_fd", "write_to_fd", "_do_ssl_handshake")  # of tornado, which Dask's connections use


def dask_setup(_: Any) -> None:
    """Mend this process's connections when Dask loads this module."""
    mend_openssl()


def mend_openssl() -> None:
    """Clear OpenSSL's errors before each read, write and handshake of this process's TLS connections."""
    if ssl.OPENSSL_VERSION_INFO[:2] < SINCE or hasattr(SSLIOStream.read_from_fd, "__wrapped__"):
        return
    try:
        clear = ctypes.CDLL(_ssl.__file__).ERR_clear_error  # of the library that Python's ssl uses
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
