"""The network policy that each Dask cluster brings along: pods of its run reach each other.

k8s/base/networkpolicies.yaml forbids them whatever it doesn't name. A policy there could not let pods of one run in
without those of all others, since no policy compares the labels of two pods.
"""

from typing import Any

import kr8s
from kr8s.objects import APIObject, NetworkPolicy

from daskjobs.cluster.kubernetes.api import create_object, owner_reference
from daskjobs.cluster.kubernetes.naming import RUN_LABEL


def run_policy(owner: APIObject) -> dict[str, Any]:
    """Return the policy that lets the pods of a run reach each other; it has its owner's labels, and goes with it."""
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
