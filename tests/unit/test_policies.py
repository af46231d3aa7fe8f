"""That policies.py judges connections as Kubernetes says, by the examples of its page on network policies."""

from typing import Any

import pytest
import yaml

from policies import Outside, Pod, allowed

DB = Pod("default", {"role": "db"}, "10.244.0.2", {"redis": 6379})
FRONTEND = Pod("default", {"role": "frontend"}, "10.244.0.3")
OTHER = Pod("default", {}, "10.244.0.4")
MINE = Pod("mine", {"role": "any"}, "10.244.0.5", namespace_labels={"project": "myproject"})
ELSEWHERE = Pod("elsewhere", {"role": "frontend"}, "10.244.0.6")
DOCUMENTED = """
podSelector: {matchLabels: {role: db}}
policyTypes: [Ingress, Egress]
ingress:
  - from:
      - ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}
      - namespaceSelector: {matchLabels: {project: myproject}}
      - podSelector: {matchLabels: {role: frontend}}
    ports: [{protocol: TCP, port: 6379}]
egress:
  - to: [{ipBlock: {cidr: 10.0.0.0/24}}]
    ports: [{protocol: TCP, port: 5978}]
"""


def policy(spec: str, namespace: str = "default") -> dict[str, Any]:
    return {"metadata": {"name": "any", "namespace": namespace}, "spec": yaml.safe_load(spec)}


@pytest.mark.parametrize(
    ("source", "target", "port", "passes"),
    [
        (FRONTEND, DB, 6379, True),
        (FRONTEND, DB, 6380, False),
        (OTHER, DB, 6379, False),
        (ELSEWHERE, DB, 6379, False),  # its labels count in the policy's own namespace alone
        (MINE, DB, 6379, True),
        (Outside("172.17.0.9"), DB, 6379, True),
        (Outside("172.17.1.9"), DB, 6379, False),
        (Outside("172.17.2.9"), DB, 6379, True),
        (Outside("172.18.0.9"), DB, 6379, False),
        (Outside("2001:db8::1"), DB, 6379, False),
        (DB, Outside("10.0.0.7"), 5978, True),
        (DB, Outside("10.0.0.7"), 5979, False),
        (DB, Outside("10.0.1.7"), 5978, False),
        (DB, FRONTEND, 5978, False),
        (DB, DB, 1, True),
        (FRONTEND, OTHER, 1, True),  # no policy selects either
        (FRONTEND, Outside("10.0.1.7"), 1, True),
    ],
)
def test_example_of_the_page_is_judged_as_the_page_says(source: Any, target: Any, port: int, passes: bool) -> None:
    assert allowed([policy(DOCUMENTED)], source, target, port) == passes
    assert not allowed([policy(DOCUMENTED)], FRONTEND, DB, 6379, "UDP")


@pytest.mark.parametrize(
    ("spec", "comes_in", "goes_out"),
    [
        ("{podSelector: {}, policyTypes: [Ingress]}", False, True),
        ("{podSelector: {}, policyTypes: [Egress]}", True, False),
        ("{podSelector: {}, policyTypes: [Ingress, Egress]}", False, False),
        ("{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}", True, True),
        ("{podSelector: {}, policyTypes: [Egress], egress: [{}]}", True, True),
        ("{podSelector: {}}", False, True),  # without policyTypes, Ingress always and Egress where there are rules
        ("{podSelector: {}, ingress: [{from: []}]}", True, True),
        ("{podSelector: {}, egress: []}", False, True),
        ("{podSelector: {}, egress: [{to: []}]}", False, True),
        ("{podSelector: {}, egress: [{ports: [{port: 6}]}]}", False, False),
        ("{podSelector: {matchLabels: {role: other}}, policyTypes: [Ingress, Egress]}", True, True),
    ],
)
def test_a_direction_is_closed_when_a_policy_of_its_type_selects_the_pod(
    spec: str, comes_in: bool, goes_out: bool
) -> None:
    assert allowed([policy(spec)], MINE, DB, 5) == comes_in
    assert allowed([policy(spec)], DB, MINE, 5) == goes_out


def test_both_ends_must_allow_and_policies_of_one_end_add_up() -> None:
    closed, other = policy("{policyTypes: [Ingress]}"), policy("{policyTypes: [Egress]}", "mine")
    opened = policy("{policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {}}]}]}")
    out = policy("{policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}", "mine")
    assert not allowed([closed, other], MINE, DB, 5)
    assert not allowed([closed, other, opened], MINE, DB, 5)
    assert not allowed([closed, other, out], MINE, DB, 5)
    assert allowed([closed, other, opened, out], MINE, DB, 5)


@pytest.mark.parametrize(
    ("peers", "passes"),
    [
        ("[{namespaceSelector: {matchLabels: {project: myproject}}, podSelector: {matchLabels: {role: any}}}]", True),
        ("[{namespaceSelector: {matchLabels: {project: myproject}}, podSelector: {matchLabels: {role: no}}}]", False),
        ("[{namespaceSelector: {matchLabels: {project: myproject}}}, {podSelector: {matchLabels: {role: no}}}]", True),
        ("[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: mine}}}]", True),
        ("[{namespaceSelector: {matchExpressions: [{key: project, operator: NotIn, values: [myproject]}]}}]", False),
        ("[{podSelector: {}}]", False),
    ],
)
def test_one_peers_two_selectors_must_both_match_and_of_two_peers_one(peers: str, passes: bool) -> None:
    assert allowed([policy(f"{{policyTypes: [Ingress], ingress: [{{from: {peers}}}]}}")], MINE, DB, 5) == passes


@pytest.mark.parametrize(
    ("ports", "port", "protocol", "passes"),
    [
        ("{port: 32000, endPort: 32768}", 32768, "TCP", True),
        ("{port: 32000, endPort: 32768}", 32769, "TCP", False),
        ("{port: redis}", 6379, "TCP", True),
        ("{port: redis}", 6380, "TCP", False),
        ("{port: unknown}", 6379, "TCP", False),
        ("{protocol: UDP}", 53, "UDP", True),
        ("{protocol: UDP}", 53, "TCP", False),
        ("{port: 53}", 53, "UDP", False),  # TCP unless it says otherwise
    ],
)
def test_ports_are_numbers_ranges_and_names_of_the_target(ports: str, port: int, protocol: str, passes: bool) -> None:
    spec = policy(f"{{policyTypes: [Ingress], ingress: [{{ports: [{ports}]}}]}}")
    assert allowed([spec], OTHER, DB, port, protocol) == passes


@pytest.mark.parametrize(
    ("expression", "db", "other"),
    [
        ("{key: role, operator: In, values: [db, x]}", True, False),
        ("{key: role, operator: NotIn, values: [db]}", False, True),  # a pod without the label, too
        ("{key: role, operator: Exists}", True, False),
        ("{key: role, operator: DoesNotExist}", False, True),
    ],
)
def test_expressions_select_pods(expression: str, db: bool, other: bool) -> None:
    closed = policy(f"{{podSelector: {{matchExpressions: [{expression}]}}, policyTypes: [Ingress]}}")
    assert allowed([closed], MINE, DB, 5) != db
    assert allowed([closed], MINE, OTHER, 5) != other


def test_block_has_pods_in_it_or_not_as_networks_differ() -> None:
    to_all = policy("{policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}")
    assert allowed([to_all], DB, MINE, 5)
    assert not allowed([to_all], DB, MINE, 5, blocks_have_pods=False)
    assert allowed([to_all], DB, Outside("9.9.9.9"), 5, blocks_have_pods=False)
