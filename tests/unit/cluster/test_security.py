"""Key pairs, and TLS connections that outlive others that are reset."""

import _ssl
import asyncio
import ctypes
import ssl
import subprocess
import sys
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from distributed.comm import connect, listen
from tornado.iostream import SSLIOStream

from conftest import TESTS
from daskjobs.cluster import openssl
from daskjobs.cluster.security import new_key_pair


@pytest.mark.skipif(ssl.OPENSSL_VERSION_INFO < (3, 4), reason=f"{ssl.OPENSSL_VERSION} has no such fault")
@pytest.mark.parametrize("mended", [True, False])
def test_healthy_tls_connections_outlive_those_that_are_reset(mended: bool) -> None:
    command = [sys.executable, str(TESTS / "reset_peers.py"), *(["mended"] if mended else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert (done.stdout == "replies: 100\n") == mended


async def echoed(message: str) -> object:
    """Send a message over TLS to a listener that sends it back, after another connection has left an error."""

    async def echo(comm: Any) -> None:
        with suppress(OSError):
            await comm.write(await comm.read())

    pair = new_key_pair(60).security()
    async with listen("tls://127.0.0.1:0", echo, **pair.get_listen_args("scheduler")) as server:
        comm = await connect(server.contact_address, **pair.get_connection_args("client"))
        library = ctypes.CDLL(_ssl.__file__)
        library.ERR_new()
        library.ERR_set_error(20, 1, None)  # of the library SSL, with any reason
        await comm.write(message)
        try:
            return await asyncio.wait_for(comm.read(), 20)
        finally:
            comm.abort()


@pytest.mark.parametrize("mended", [True, False])
def test_tls_connection_is_healthy_although_another_has_left_an_error_in_openssls_queue(
    monkeypatch: pytest.MonkeyPatch, mended: bool
) -> None:
    for name in openssl.METHODS:  # as tornado has it: each is put back at the end
        method = getattr(SSLIOStream, name)
        monkeypatch.setattr(SSLIOStream, name, getattr(method, "__wrapped__", method))
    monkeypatch.setattr(openssl, "SINCE", (0,) if mended else (99,))  # whatever this machine's OpenSSL is
    openssl.mend_openssl()
    with nullcontext() if mended else pytest.raises(OSError, match="."):
        assert asyncio.run(echoed("hello")) == "hello"


def test_key_pair_is_valid_from_five_minutes_ago_and_for_a_day_more_than_asked() -> None:
    now = datetime.now(UTC)
    for seconds, days in ((0, 1), (3 * 86_400, 4)):
        certificate = x509.load_pem_x509_certificate(new_key_pair(seconds).certificate.encode())
        begin, end = (each - now for each in (certificate.not_valid_before_utc, certificate.not_valid_after_utc))
        assert timedelta(minutes=-6) < begin < timedelta(minutes=-4)
        assert timedelta(days=days) - timedelta(minutes=1) < end < timedelta(days=days, minutes=1)


def test_key_is_shown_nowhere() -> None:
    pair = new_key_pair(60)
    assert "PRIVATE" not in repr(pair)
    assert "PRIVATE" not in repr(pair.security())
