from collections.abc import Iterator
from pathlib import Path

import kr8s
import pytest

from daskjobs.cluster.kubernetes import (
    KubernetesSettings,
    admission,
    dashboard,
    ephemeral,
    examination,
    lifecycle,
    reach,
    removal,
    secret,
)
from daskjobs.cluster.kubernetes.api import open_api
from kubeapi import KubeApi, kube_api
from manifests import rights


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[KubeApi]:
    """An API server of this test's own, which KUBECONFIG leads to; nothing waits long between two looks at it.

    It grants what k8s/ grants to the service account that the module names as ACCOUNT, or everything.
    """
    for module in (admission, lifecycle, ephemeral, removal, dashboard, examination, reach, secret):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    for name in ("CERTIFICATE", "KEY"):  # whose files this machine has not
        monkeypatch.setattr(secret, name, tmp_path / name)
    with kube_api() as api:
        api.granted = rights(request.module.ACCOUNT) if hasattr(request.module, "ACCOUNT") else set()
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
        yield api


@pytest.fixture
def settings(kube: KubeApi) -> KubernetesSettings:
    """The settings of a workflow's cluster, in the server's namespace."""
    return KubernetesSettings(
        "kubernetes",
        workers=2,
        workflow="flow",
        workflow_uid="w",
        pod="me",
        namespace=kube.namespace,
        start_timeout=60,
        delete_timeout=10,
    )


@pytest.fixture
def api(settings: KubernetesSettings) -> kr8s.Api:
    """A client of the server."""
    return open_api(settings)
