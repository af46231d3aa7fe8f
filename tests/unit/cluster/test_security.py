"""Key pairs, and TLS connections that outlive others that are reset."""

import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from conftest import TESTS
from daskjobs.cluster import openssl
from daskjobs.cluster.security import new_key_pair


@pytest.mark.skipif(ssl.OPENSSL_VERSION_INFO < (3, 4), reason=f"{ssl.OPENSSL_VERSION} has no such fault")
@pytest.mark.parametrize("mended", [True, False])
def test_healthy_tls_connections_outlive_those_that_are_reset(mended: bool) -> None:
    command = [sys.executable, str(TESTS / "reset_peers.py"), *(["mended"] if mended else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert (done.stdout == "replies: 100\n") == mended


def test_openssls_errors_are_cleared_before_each_tls_operation() -> None:
    calls: list[str] = []
    cleared = openssl._clearing(lambda *arguments: calls.append("read") or arguments, lambda: calls.append("clear"))
    assert cleared("stream", b"buffer") == ("stream", b"buffer")
    assert calls == ["clear", "read"]


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
