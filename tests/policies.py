"""Says whether NetworkPolicies let a connection through, by the rules of Kubernetes 1.34.

A connection passes when the policies of its source's namespace let it out and those of its target's namespace let it
in. A direction in which no policy selects the pod is open; otherwise one rule of those that do must match. Nothing here
knows the node: Kubernetes never keeps a pod's own node (the kubelet's probes, `kubectl port-forward`) away from it.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Policy = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """One end of a connection; ``ports`` has the numbers of its named ports."""

    namespace: str
    labels: dict[str, str] = field(default_factory=dict)
    address: str = "10.244.0.9"
    ports: dict[str, int] = field(default_factory=dict)
    namespace_labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outside:
    """The other end where it is no pod: a node, the API server, the internet, the cloud's metadata service."""

    address: str


End = Pod | Outside


def allowed(
    policies: list[Policy], source: End, target: End, port: int, protocol: str = "TCP", *, blocks_have_pods: bool = True
) -> bool:
    """Tell whether a connection passes.

    Networks differ in whether an ipBlock matches the addresses of pods: it does with Calico, and not with Cilium.
    """
    if source is target:
        return True  # no policy keeps a pod from itself

    def passes(end: End, other: End, direction: str) -> bool:
        if isinstance(end, Outside):
            return True
        chosen = [each for each in policies if _selects(each, end, direction)]
        rules = [(each, rule) for each in chosen for rule in each["spec"].get(direction.lower()) or ()]
        return not chosen or any(
            _port_matches(rule, target, port, protocol)
            and _peer_matches(rule, each["metadata"]["namespace"], other, blocks_have_pods)
            for each, rule in rules
        )

    return passes(source, target, "Egress") and passes(target, source, "Ingress")


def _selects(policy: Policy, pod: Pod, direction: str) -> bool:
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return (
        direction in types
        and policy["metadata"]["namespace"] == pod.namespace
        and matches(spec.get("podSelector") or {}, pod.labels)
    )


def _peer_matches(rule: dict[str, Any], namespace: str, other: End, blocks_have_pods: bool) -> bool:
    peers = rule.get("from") or rule.get("to")
    return not peers or any(_is_peer(peer, namespace, other, blocks_have_pods) for peer in peers)


def _is_peer(peer: dict[str, Any], namespace: str, other: End, blocks_have_pods: bool) -> bool:
    if "ipBlock" in peer:
        address, block = ip_address(other.address), peer["ipBlock"]
        return (
            (blocks_have_pods or isinstance(other, Outside))
            and address in ip_network(block["cidr"])
            and not any(address in ip_network(each) for each in block.get("except") or ())
        )
    if isinstance(other, Outside):
        return False
    if "namespaceSelector" in peer:
        name = {"kubernetes.io/metadata.name": other.namespace}  # which the API server adds to every namespace
        is_there = matches(peer["namespaceSelector"], {**other.namespace_labels, **name})
    else:
        is_there = other.namespace == namespace
    return is_there and matches(peer.get("podSelector") or {}, other.labels)


def _port_matches(rule: dict[str, Any], target: End, port: int, protocol: str) -> bool:
    named = target.ports if isinstance(target, Pod) else {}
    for each in rule.get("ports") or [{"protocol": protocol}]:
        if each.get("protocol", "TCP") != protocol:
            continue
        first = each.get("port", port)
        first = named.get(first, -1) if isinstance(first, str) else first
        if first <= port <= each.get("endPort", first):
            return True
    return False


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Tell whether a label selector selects labels; an empty one selects all."""
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()) and all(
        _meets(expression, labels) for expression in selector.get("matchExpressions") or ()
    )


def _meets(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[str(expression["operator"])]
