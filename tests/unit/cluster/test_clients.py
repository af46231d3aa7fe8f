"""How a client comes to its scheduler."""

import socket
from urllib.parse import urlsplit

import pytest
from distributed import LocalCluster
from distributed.comm import tcp

from daskjobs.cluster.clients import connected
from daskjobs.errors import ClusterError


def test_name_server_that_fails_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lookups, ensure_ip = list[str](), tcp.ensure_ip

    def busy(host: str) -> str:
        if host == "localhost" and len(lookups) < 2:
            lookups.append(host)
            raise socket.gaierror(-5, "No address associated with hostname")
        return str(ensure_ip(host))

    with LocalCluster(n_workers=1, processes=False, protocol="tcp", dashboard_address=None) as run:
        address = f"tcp://localhost:{urlsplit(run.scheduler_address).port}"
        monkeypatch.setattr(tcp, "ensure_ip", busy)
        with connected(address, 20) as client:
            assert client.submit(sum, [1, 2]).result(timeout=10) == 3
    assert lookups == ["localhost"] * 2


def test_scheduler_whose_name_nobody_knows_is_a_sentence() -> None:
    with (
        pytest.raises(ClusterError, match="no Dask scheduler answers at tcp://nowhere.invalid:8786 within 1 s: "),
        connected("tcp://nowhere.invalid:8786", 1),
    ):
        pass
