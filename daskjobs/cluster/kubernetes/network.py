"""The network policy that each Dask cluster has, by which the pods of its run reach each other.

k8s/base/networkpolicies.yaml forbids these pods all connections that it doesn't name. It can't allow those within each
run, because a policy can't compare the labels of two pods.
"""

from typing import Any

import kr8s
from kr8s.objects import APIObject, NetworkPolicy

from daskjobs.cluster.kubernetes.api import create_object, owner_reference
from daskjobs.cluster.kubernetes.naming import RUN_LABEL


def run_policy(owner: APIObject) -> dict[str, Any]:
    """Return the policy by which the pods of a run reach each other; it has the labels of its owner, the cluster."""
    pods = {"podSelector": {"matchLabels": {RUN_LABEL: owner.labels[RUN_LABEL]}}}
    reference = owner_reference(owner)
    return {
        "apiVersion": NetworkPolicy.version,
        "kind": NetworkPolicy.kind,
        "metadata": {
            # The policy of a predecessor of the same name may not be gone yet.
            "name": f"{owner.name}-{reference['uid'][:8]}",
            "labels": dict(owner.labels),
            "ownerReferences": [reference],
        },
        "spec": {
            **pods,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [pods]}],
            "egress": [{"to": [pods]}],
        },
    }


def ensure_policy(api: kr8s.Api, owner: APIObject) -> None:
    """Create the owner's policy unless it exists. It is safe to repeat."""
    policy = NetworkPolicy(run_policy(owner), api=api, namespace=api.namespace)
    create_object(policy)
