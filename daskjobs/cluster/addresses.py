"""Parse addresses of the form host:port, and check whether a port is free."""

import errno
import socket
from urllib.parse import urlsplit

from daskjobs.errors import ConfigError

MOST_HOST = 253  # characters, the limit of the DNS


def host_port(text: str) -> tuple[str, int]:
    """Return the host and the port of ``host:port``. Raises ValueError, which says what is wrong, for any other text.

    >>> host_port("127.0.0.1:8787")
    ('127.0.0.1', 8787)
    """
    if not text.isprintable() or " " in text or set(text) & set("/@?#"):
        raise ValueError("it is more than a host and a port")
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError("its port must be a number from 0 to 65535") from error
    if not parts.hostname:
        raise ValueError("it has no host")
    if len(parts.hostname) > MOST_HOST:
        raise ValueError(f"its host has more than {MOST_HOST} characters")
    if port is None:
        raise ValueError("it has no port")
    if ":" in parts.hostname:
        raise ValueError("Dask takes no IPv6 address here")
    return parts.hostname, port


def free(address: str) -> str:
    """Return ``address`` if its port is free, else the same host with port 0, which stands for any free port.

    Raises ConfigError when this machine has no such address, or this process may not listen there.
    """
    host, port = host_port(address)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, UnicodeError) as error:  # UnicodeError: the name can't be a host's
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                return f"{host}:0"
            raise ConfigError(
                f"--dashboard can't listen on {address}: {getattr(error, 'strerror', None) or error}; "
                "give an address of this machine and a port above 1023, like 127.0.0.1:8787"
            ) from error
    return address
