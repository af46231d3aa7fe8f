"""Names of Dask clusters, which Kubernetes and the Dask operator must take."""

import re

from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.naming import cluster_name, node_key

UID = "0f8f6f62-3f0e-4c3b-9a39-7d7dd2a8f8d1"


def test_steps_of_one_workflow_have_clusters_of_their_own() -> None:
    nodes = ["flow.features", "flow.sums", "flow.features(0:a)", "flow.features(1:b)", "flow[0].features", "flow"]
    names = {cluster_name(KubernetesSettings(workflow_uid=UID, key=node_key(node))) for node in nodes}
    assert len(names) == len(nodes)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]{0,52}", name) for name in names)
    assert all(name.startswith(f"dv-{UID}-") for name in names)


def test_exit_hook_has_the_key_of_its_node() -> None:
    for node in ("flow.features", "flow.features(0:a)", "flow"):
        assert node_key(f"{node}.onExit") == node_key(node)
