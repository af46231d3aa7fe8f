"""Who reaches whom where the network enforces policies, by knocking; and steps that work so, in each overlay."""

import json
import re
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from daskjobs.cluster.kubernetes.examination import pod_of
from e2e.conftest import IMAGE, ROOT, Namespace, kubectl
from e2e.steps import at_work, attempts, submit, task, workers

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo")]

OVERLAYS = ("dev", "production", "step")
BUSY_SECONDS = 45  # of each step, in which all are knocked at
SETTLED_SECONDS = 30  # until the rules for a new pod are in force
LISTEN = """
import socket, time
servers = [socket.create_server(("", port), backlog=512) for port in (443, 5432, 8786)]
print("listening", flush=True)
time.sleep(600)
"""
KNOCK = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def opens(door):
    try:
        socket.create_connection(tuple(door), 3).close()
        return True
    except OSError:
        return False
doors = json.loads(sys.argv[1])
with ThreadPoolExecutor(32) as pool:
    print(json.dumps(dict(zip(doors, pool.map(opens, doors.values())))))
"""
LOW_PORTS = {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
PART_OF = {"app.kubernetes.io/part-of": "daskjobs"}
# Pods beside those of a step: in the namespace, and outside of it, where one stands for any address there is.
BESIDE = {"stranger": {}, "janitor": PART_OF, "another run": {**PART_OF, "daskjobs/run": "another"}}
OUTSIDE = "someone outside"
CLUSTER = {"scheduler", "dashboard", "worker"}  # doors of the step's Dask cluster
# At which doors each arrives, and at no others: in all overlays, and further ones in some. (The S3 of production is any
# address on port 443, so is the API server's; whether 443 of a service is 443 or 6443 is the network's to say.)
OPEN = {
    "step": CLUSTER | {"API server", "outside:443"},
    "scheduler": CLUSTER,
    "worker": CLUSTER,
    "stranger": {"API server", "outside:443", "outside:5432", "stranger"},  # no policy of ours is about it
    "janitor": {"API server", "outside:443", "janitor"},
    "another run": {"API server", "outside:443", "another run"},
    OUTSIDE: {"API server", "outside:443", "outside:5432", "stranger"},
    "operator": {"API server", "outside:443", "outside:5432", "stranger", "dashboard"},
}
FURTHER = {
    "dev": {"step": {"storage"}, "worker": {"storage"}, "another run": {"storage"}},
    "production": {key: {"storage"} for key in OPEN.keys() - {"scheduler"}} | {"worker": {"storage", "outside:443"}},
    "step": {"worker": {"outside:443"}},
}


@dataclass(frozen=True)
class Place:
    """A namespace with an overlay and a step at work: its pods, each as (namespace, pod), and where they listen."""

    workflow: str
    namespace: Namespace
    pods: dict[str, tuple[str, str]]
    doors: dict[str, tuple[str, int]]

    def reached(self, pod: str) -> set[str]:
        """Return the doors at which a connection of this pod arrives."""
        namespace, name = self.pods[pod]
        said = kubectl("-n", namespace, "exec", name, "--", "python", "-c", KNOCK, json.dumps(self.doors))
        return {door for door, opens in json.loads(said.splitlines()[-1]).items() if opens}


def manifests(overlay: str) -> str:
    """What an overlay installs, with the image of the tests; where it has an S3, one that is in the namespace."""
    text = kubectl("kustomize", str(ROOT / "k8s/overlays" / overlay))
    text = re.sub(r"registry\.example\.com/daskjobs:\S+|\bdaskjobs:dev\b", IMAGE, text)
    if overlay == "production":
        text = text.replace("example-orders", "daskjobs").replace("region: eu-central-1", "region: us-east-1")
        text = text.replace(
            "endpoint: s3.eu-central-1.amazonaws.com", "endpoint: daskjobs-storage:443\n      insecure: true"
        )
        files = [(ROOT / f"k8s/overlays/dev/{name}.yaml").read_text() for name in ("storage", "service", "secret")]
        low = f"securityContext: {{sysctls: [{json.dumps(LOW_PORTS)}], runAsNonRoot"
        here = [file.replace("9000", "443").replace("securityContext: {runAsNonRoot", low) for file in files]
        text = "\n---\n".join([text, *here])
    return text


def listener(namespace: str, name: str, labels: dict[str, str]) -> tuple[str, str]:
    name = name.replace(" ", "-")
    pod = {"apiVersion": "v1", "kind": "Pod", **pod_of(IMAGE, name, 600, labels, command=["python", "-c", LISTEN])}
    pod["spec"]["securityContext"]["sysctls"] = [LOW_PORTS]
    kubectl("-n", namespace, "create", "-f", "-", text=json.dumps(pod))
    return namespace, name


def address(pod: tuple[str, str]) -> str:
    namespace, name = pod
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod", name, "--timeout=60s")
    return kubectl("-n", namespace, "get", "pod", name, "-o", "jsonpath={.status.podIP}")


def place(overlay: str, name: str, outside: tuple[str, str]) -> Place:
    namespace = Namespace(name, 0)
    namespace.kubectl("apply", "-f", "-", text=manifests(overlay))
    namespace.kubectl("patch", "cronjob", "daskjobs-janitor", "-p", '{"spec":{"suspend":true}}')
    if overlay != "step":
        namespace.kubectl("rollout", "status", "deployment/daskjobs-storage", "--timeout=90s")
    step = task("trouble:wait", json.dumps({"seconds": BUSY_SECONDS}), retries="0", secret="daskjobs-storage")
    workflow = submit(namespace, step)
    pods = {each: listener(name, each, labels) for each, labels in BESIDE.items()}
    pod, cluster = at_work(namespace, workflow)
    pod = pod.removeprefix("pod/")
    (worker,) = (each.removeprefix("pod/") for each in workers(namespace, cluster))
    label = f"dask.org/component=scheduler,dask.org/cluster-name={cluster.partition('/')[2]}"
    scheduler = namespace.kubectl("get", "pods", "-l", label, "-o", "name").strip().removeprefix("pod/")
    operator = kubectl("-n", "dask-operator", "get", "pods", "-o", "name").strip().removeprefix("pod/")
    pods |= {"step": (name, pod), "scheduler": (name, scheduler), "worker": (name, worker), OUTSIDE: outside}
    pods["operator"] = ("dask-operator", operator)
    (listens,) = set(re.findall(r"Listening to: +tls://([\d.]+):(\d+)", namespace.kubectl("logs", worker)))
    storage = {"dev": 9000, "production": 443}
    doors = {
        "scheduler": (address(pods["scheduler"]), 8786),
        "dashboard": (address(pods["scheduler"]), 8787),
        "worker": (listens[0], int(listens[1])),
        "API server": ("kubernetes.default.svc", 443),
        **{f"outside:{port}": (address(outside), port) for port in (443, 5432)},
        **{each: (address(pods[each]), 8786) for each in BESIDE},
        **({"storage": (f"daskjobs-storage.{name}.svc", storage[overlay])} if overlay in storage else {}),
    }
    return Place(workflow, namespace, pods, doors)


@pytest.fixture(scope="module")
def places(argo: None) -> Iterator[dict[str, Place]]:
    """A step at work in each overlay, all at the same time."""
    names = {overlay: f"test-{overlay}-{secrets.token_hex(3)}" for overlay in (*OVERLAYS, "outside")}
    try:
        for name in names.values():
            kubectl("create", "namespace", name)
            kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        outside = listener(names["outside"], OUTSIDE, {})
        with ThreadPoolExecutor(len(OVERLAYS)) as pool:
            made = pool.map(lambda overlay: place(overlay, names[overlay], outside), OVERLAYS)
            yield dict(zip(OVERLAYS, made, strict=True))
    finally:
        kubectl("delete", "namespace", *names.values(), "--wait=true", "--timeout=110s")


def test_pods_of_each_overlay_are_reached_by_those_that_may_and_by_no_others(places: dict[str, Place]) -> None:
    if "outside:5432" in places["step"].reached("step") and "outside:5432" in places["step"].reached("step"):
        pytest.skip("the network of this cluster does not enforce NetworkPolicies")

    for overlay, here in places.items():
        wanted = {pod: sorted(OPEN[pod] | FURTHER[overlay].get(pod, set())) for pod in OPEN}
        if "outside:443" in wanted["worker"]:
            wanted["worker"].append("API server?")

        def seen(here: Place = here) -> dict[str, list[str]]:
            with ThreadPoolExecutor(len(OPEN)) as pool:
                found = {pod: sorted(doors) for pod, doors in zip(OPEN, pool.map(here.reached, OPEN), strict=True)}
            if "outside:443" in found["worker"]:
                found["worker"] = [*(door for door in found["worker"] if door != "API server"), "API server?"]
            return found

        def differ(found: dict[str, list[str]], wanted: dict[str, list[str]] = wanted) -> dict[str, list[str]]:
            return {pod: sorted(set(found[pod]) ^ set(wanted[pod])) for pod in OPEN if found[pod] != wanted[pod]}

        deadline = time.monotonic() + SETTLED_SECONDS
        while (wrong := differ(seen())) and time.monotonic() < deadline:
            time.sleep(1)
        if "outside:5432" in wrong.get("another run", []):
            pytest.skip("the network of this cluster does not enforce NetworkPolicies")
        assert wrong == {}, overlay


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_workflow_of_the_page_succeeds_as_it_stands_and_leaves_nothing_of_dask(
    places: dict[str, Place], overlay: str
) -> None:
    namespace = places[overlay].namespace
    done = namespace.finished(places[overlay].workflow)
    (step,), (cleanup,) = attempts(done), attempts(done, "cleanup")
    assert done["status"]["phase"] == "Succeeded", [step.get("message"), cleanup.get("message")]
    kept = {artifact["name"] for each in (step, cleanup) for artifact in each["outputs"].get("artifacts", [])}
    assert ({"cluster", "performance", "receipt"} <= kept) == (overlay != "step")
    assert namespace.dask_objects() == []
