"""Each service account of k8s/ has the rights that its pods use, and no others; see kubeapi.py for the API server.

The tests of the parts run with the account's rights, too, so that a right which is missing fails them.
"""

from datetime import UTC, datetime
from typing import Any

import kr8s
import pytest

from daskjobs.cluster.connection import Workload
from daskjobs.cluster.kubernetes import KubernetesSettings, lifecycle
from daskjobs.cluster.kubernetes.api import own_pod
from daskjobs.cluster.kubernetes.diagnosis import last_logs, trouble
from daskjobs.cluster.kubernetes.growth import resize
from daskjobs.cluster.kubernetes.janitor import OF_WORKFLOW, sweep
from daskjobs.cluster.kubernetes.lifecycle import make_group, start_ahead
from daskjobs.cluster.kubernetes.naming import CLUSTER_LABEL, DEADLINE, PART_OF, RUN_LABEL, WORKFLOW, selector
from daskjobs.cluster.kubernetes.removal import remove_cluster
from daskjobs.cluster.kubernetes.spec import render
from daskjobs.errors import ConfigError
from kubeapi import KubeApi
from manifests import rights

REPORTS = {"create workflowtaskresults", "patch workflowtaskresults"}  # what Argo's executor does in every pod


def test_account_cluster_uses_all_its_rights(kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings) -> None:
    kube.granted = rights("daskjobs-cluster")
    kube.add("Pod", "me", spec={"containers": [{"name": "main", "image": "daskjobs:dev"}]})
    assert [start_ahead(settings, Workload())[0] for _ in range(2)] == ["created", "reused"]
    make_group(api, settings, render(settings, own_pod(api, settings), Workload()))
    resize(api, settings, 3)
    kube.add("Pod", "dv-w-scheduler", selector(settings))
    assert trouble(api, settings) == "dv-w-scheduler: Pending"
    assert last_logs(api, settings, 10) == {"dv-w-scheduler": ""}
    kube.remove(("pods", kube.namespace, "dv-w-scheduler"))
    assert remove_cluster(settings).remaining == []  # smoke.yaml has cleanup in the same pod
    assert kube.used == rights("daskjobs-cluster") - REPORTS


def test_account_cleanup_uses_all_its_rights_and_can_start_nothing(
    kube: KubeApi, settings: KubernetesSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kube.granted = rights("daskjobs-cleanup")
    for kind in ("DaskCluster", "DaskWorkerGroup"):
        kube.add(kind, "dv-w", {**PART_OF, **selector(settings)})
    assert remove_cluster(settings).remaining == []
    assert kube.used == rights("daskjobs-cleanup") - REPORTS
    kube.add("Pod", "me", spec={"containers": [{"name": "main", "image": "daskjobs:dev"}]})
    monkeypatch.setattr(lifecycle, "scheduler_host", lambda _: "127.0.0.1")
    with pytest.raises(ConfigError, match="refused to create the DaskCluster dv-w"):
        start_ahead(settings, Workload())
    assert kube.names("DaskCluster") == []


def test_account_janitor_uses_all_its_rights(kube: KubeApi, settings: KubernetesSettings) -> None:
    kube.granted = rights("daskjobs-janitor")
    labels = {**PART_OF, RUN_LABEL: "w", CLUSTER_LABEL: "dv-w"}
    annotations = {WORKFLOW: "gone", DEADLINE: datetime.now(UTC).isoformat()}
    kube.add("DaskCluster", "dv-w", labels, metadata={"annotations": annotations})
    kube.add("DaskWorkerGroup", "dv-w-default", labels, spec={"cluster": "dv-w"})
    pending: dict[str, Any] = {"status": {"phase": "Pending"}, "age": 400}
    kube.add("Pod", "nowhere", {**PART_OF, OF_WORKFLOW: "flow"}, spec={}, **pending)
    kube.add("Pod", "on-node", {**PART_OF, OF_WORKFLOW: "flow"}, spec={"nodeName": "one"}, **pending)
    assert len(list(sweep(settings, 300))) == 3
    assert kube.used == rights("daskjobs-janitor")


def test_account_stage_may_report_results_to_argo_and_nothing_else() -> None:
    assert rights("daskjobs-stage") == REPORTS
