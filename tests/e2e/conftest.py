"""Namespaces on a real cluster, reached through KUBECONFIG alone; nothing of them stays."""

import fcntl
import json
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from daskjobs.cluster.kubernetes.naming import secret_name
from daskjobs.cluster.kubernetes.secret import mount

ROOT = Path(__file__).parent.parent.parent
IMAGE = os.environ.get("DASKJOBS_TEST_IMAGE", "docker.io/library/daskjobs:dev")
STAGE_SECONDS = 300
GONE_SECONDS = 200  # the longest idle timeout of a test, the 20 s between two looks of the operator, and a busy node
TEST_POD = "daskjobs-test=pod"
CLUSTER_LOCK = Path(tempfile.gettempdir()) / f"daskjobs-test-{os.getuid()}.lock"
TURN = CLUSTER_LOCK.with_suffix(".turn")
HELD = pytest.StashKey[ExitStack]()
# The kinds of the objects of a Dask cluster.
DASK_KINDS = {"DaskCluster", "DaskWorkerGroup", "Deployment", "ReplicaSet", "Service", "Pod", "NetworkPolicy", "Secret"}

# The pods of runs reach the wire, where they would reach the storage.
WIRE_POLICIES = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: test-to-wire}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/part-of: daskjobs}}
  policyTypes: [Egress]
  egress:
    - to: [{podSelector: {matchLabels: {daskjobs-wire: "yes"}}}]
      ports: [{protocol: TCP, port: 9000}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: test-wire}
spec:
  podSelector: {matchLabels: {daskjobs-wire: "yes"}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {app.kubernetes.io/part-of: daskjobs}}}]
      ports: [{protocol: TCP, port: 9000}]
"""


def kubectl(*arguments: str, text: str | None = None, check: bool = True) -> str:
    done = subprocess.run(["kubectl", *arguments], input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def over(workflow: dict[str, Any]) -> bool:
    """Tell whether a workflow has ended, its exit handler included."""
    return bool(workflow.get("status", {}).get("finishedAt"))


def by_name(workflow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["displayName"]: node for node in workflow["status"]["nodes"].values()}


def pods_of(workflow: dict[str, Any], template: str = "") -> list[dict[str, Any]]:
    """Return a workflow's pods, or those of one template, as its status has them."""
    nodes = workflow["status"].get("nodes", {}).values()
    return [node for node in nodes if node["type"] == "Pod" and template in ("", node["templateName"])]


@contextmanager
def cluster_lock(kind: int) -> Iterator[None]:
    """Lock the cluster, for all processes of this machine that test on it: fcntl.LOCK_SH, or LOCK_EX to be alone.

    They come in turn: who waits to be alone keeps the turn, or the others would share the lock among them for ever.
    """
    with TURN.open("a") as turn, CLUSTER_LOCK.open("a") as lock:
        if not kind & fcntl.LOCK_NB:
            fcntl.flock(turn, fcntl.LOCK_EX)
        fcntl.flock(lock, kind)
        fcntl.flock(turn, fcntl.LOCK_UN)
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Have tests that are marked ``alone`` wait for those of other processes, and those for them (pytest -n).

    Those that follow one another stay alone until the last of them has ended.
    """
    if not item.get_closest_marker("cluster"):
        return (yield)
    alone, stash = item.get_closest_marker("alone"), item.config.stash
    if HELD not in stash:
        stash[HELD] = ExitStack()
        stash[HELD].enter_context(cluster_lock(fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
    try:
        return (yield)
    finally:
        if not (alone and nextitem and nextitem.get_closest_marker("alone")):
            stash[HELD].close()
            del stash[HELD]


@pytest.fixture(scope="session")
def cluster() -> None:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster")
    kubectl("get", "--raw", "/readyz")
    if "daskclusters" not in kubectl("api-resources", "--api-group=kubernetes.dask.org", "-o", "name", check=False):
        pytest.skip("the Dask operator is not installed in this cluster")


@pytest.fixture(scope="session")
def argo(cluster: None) -> None:
    found = kubectl("get", "deployments", "-A", "--field-selector=metadata.name=workflow-controller", "-o", "name")
    if not found:
        pytest.skip("no Argo workflow controller runs in this cluster")


class Namespace:
    """A namespace in which k8s/overlays/dev is installed."""

    def __init__(self, name: str, port: int) -> None:
        self.name, self.port = name, port

    def kubectl(self, *arguments: str, text: str | None = None, check: bool = True) -> str:
        return kubectl("-n", self.name, *arguments, text=text, check=check)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def dask_objects(self, run: str = "") -> list[str]:
        """Return what there is of any run's Dask cluster, or of one run's."""
        kinds = "daskclusters,daskworkergroups,deployments,replicasets,services,pods,networkpolicies,secrets"
        label = f"dask.org/cluster-name{f',daskjobs/run={run}' if run else ''}"
        return self.kubectl("get", kinds, "-l", label, "-o", "name").split()

    def configure(self, **settings: str | None) -> None:
        """Set variables of every pod to come; None takes one away."""
        self.kubectl("patch", "configmap", "daskjobs", "--type=merge", "-p", json.dumps({"data": settings}))

    def uid(self, workflow: str) -> str:
        return self.kubectl("get", "workflow", workflow, "-o", "jsonpath={.metadata.uid}")

    def submit(self, flow: str = "run.yaml", spec: dict[str, Any] | None = None, **parameters: object) -> str:
        """Do what `argo submit flows/FLOW -p …` does, without its program; return the workflow's name."""
        workflow = yaml.safe_load((ROOT / "flows" / flow).read_text())
        workflow["spec"] |= spec or {}
        given = {"image": IMAGE, **{name.replace("_", "-"): str(value) for name, value in parameters.items()}}
        own = {entry["name"]: entry["value"] for entry in workflow["spec"].get("arguments", {}).get("parameters", [])}
        workflow["spec"]["arguments"] = {"parameters": [{"name": n, "value": v} for n, v in (own | given).items()]}
        return self.kubectl("create", "-f", "-", "-o", "jsonpath={.metadata.name}", text=json.dumps(workflow))

    def finished(self, workflow: str, seconds: float = STAGE_SECONDS) -> dict[str, Any]:
        """Wait until a workflow is over, its exit handler included; return it."""
        return self.until(lambda: self.get("workflow", workflow), over, seconds)

    def until(self, look: Callable[[], Any], good: Callable[[Any], object], seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while not good(seen := look()):
            assert time.monotonic() < deadline, f"after {seconds} s: {json.dumps(seen)[:3000]}"
            time.sleep(1)
        return seen

    def pod(self, script: str, **environment: str) -> str:
        """Start a pod as validate's is, with a shell script of daskjobs commands; return its name."""
        template = yaml.safe_load((ROOT / "flows/pipeline.yaml").read_text())["spec"]
        stage = template["templateDefaults"]["container"]
        container = {key: stage[key] for key in ("envFrom", "securityContext", "resources", "volumeMounts")}
        name = environment.get("DASKJOBS_POD", f"alone-{secrets.token_hex(3)}")
        settings = {
            "DASKJOBS_RUN": f"s3://daskjobs/runs/{name}",
            "DASKJOBS_CLUSTER": "kubernetes",
            "DASKJOBS_ROWS": "2000",
            "DASKJOBS_WORKERS": "2",
            "DASKJOBS_NAMESPACE": self.name,
            "DASKJOBS_WORKFLOW_UID": name,
            "DASKJOBS_POD": name,
            **environment,
        }
        tls = secret_name(f"dv-{settings['DASKJOBS_WORKFLOW_UID']}")
        container["volumeMounts"] = [*container["volumeMounts"], mount()]
        container |= {
            "name": "main",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", script],
            "env": [{"name": key, "value": value} for key, value in settings.items()],
        }
        spec = {
            "serviceAccountName": "daskjobs-cluster",
            "automountServiceAccountToken": True,
            "restartPolicy": "Never",
            "securityContext": template["securityContext"],
            "volumes": [*template["volumes"], {"name": "tls", "secret": {"secretName": tls, "optional": True}}],
            "containers": [container],
        }
        labels = {**template["podMetadata"]["labels"], "daskjobs/run": settings["DASKJOBS_WORKFLOW_UID"]}
        metadata = {"name": name, "labels": labels | dict([TEST_POD.split("=")])}
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        self.kubectl("create", "-f", "-", text=json.dumps(manifest))
        return name

    def ended(self, pod: str, seconds: float = STAGE_SECONDS) -> tuple[int, str]:
        """Wait for a pod's end; return its exit code and its log."""
        state = self.until(
            lambda: self.get("pod", pod)["status"].get("containerStatuses", [{}])[0].get("state", {}),
            lambda state: "terminated" in state,
            seconds,
        )
        return state["terminated"]["exitCode"], self.kubectl("logs", pod)

    def evict(self, pod: str) -> None:
        """Have a pod leave its node, as a drain does."""
        metadata = {"name": pod.removeprefix("pod/"), "namespace": self.name}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        path = f"/api/v1/namespaces/{self.name}/pods/{metadata['name']}/eviction"
        self.kubectl("create", "--raw", path, "-f", "-", text=json.dumps(eviction))

    def files(self) -> Any:
        """Return a client of the namespace's storage."""
        s3fs = pytest.importorskip("s3fs")
        secret = yaml.safe_load((ROOT / "k8s/overlays/dev/secret.yaml").read_text())["stringData"]
        endpoint = f"http://127.0.0.1:{self.port}"
        return s3fs.S3FileSystem(
            key=secret["AWS_ACCESS_KEY_ID"],
            secret=secret["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=endpoint,
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def has(self, run: str, name: str) -> bool:
        return bool(self.files().exists(f"daskjobs/runs/{run}/{name}"))

    def calm(self) -> None:
        """Remove what a test started, whether it has ended or not, so that the next one finds nothing."""
        self.kubectl("delete", "workflows", "--all", "--timeout=60s")
        self.kubectl("delete", "daskclusters,daskworkergroups", "--all", "--timeout=100s")
        self.kubectl("delete", "pods", "-l", f"{TEST_POD},!daskjobs-wire", "--grace-period=0", "--force")

    def read(self, run: str, name: str) -> bytes:
        data: bytes = self.files().cat(f"daskjobs/runs/{run}/{name}")
        return data


class Wire:
    """faulty.py in a pod, between the pods of a namespace and their storage."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        script = (ROOT / "tests/faulty.py").read_text()
        start = 'python -c "$SCRIPT" 0.0.0.0:9000 daskjobs-storage:9000 /tmp/wire'
        namespace.pod(start, DASKJOBS_POD="wire", SCRIPT=script)
        namespace.kubectl("label", "pod", "wire", "daskjobs-wire=yes")
        namespace.kubectl("create", "-f", "-", text=WIRE_POLICIES)
        namespace.kubectl("expose", "pod", "wire", "--port=9000", "--selector=daskjobs-wire=yes")
        namespace.until(self.said, lambda said: "listening" in said, 60)
        namespace.configure(AWS_ENDPOINT_URL="http://wire:9000")

    def said(self) -> str:
        return self.namespace.kubectl("logs", "wire", check=False)

    def does(self, *rules: str) -> None:
        """Be broken in these ways from now on; in none, without any."""
        write = "cat > /tmp/new && mv /tmp/new /tmp/wire"
        self.namespace.kubectl("exec", "-i", "wire", "--", "sh", "-c", write, text="\n".join(rules))

    def await_held(self, text: str, seconds: float = STAGE_SECONDS) -> None:
        self.namespace.until(self.said, lambda said: f"held {text}\n" in said, seconds)


@contextmanager
def installed() -> Iterator[Namespace]:
    """Make a namespace in which k8s/overlays/dev is installed; its janitor rests, or it would do other nets' work."""
    name = f"test-{secrets.token_hex(4)}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kubectl("create", "namespace", name)
    forward = None
    try:
        kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        kubectl("-n", name, "apply", "-k", str(ROOT / "k8s/overlays/dev"))
        kubectl("-n", name, "patch", "cronjob", "daskjobs-janitor", "-p", '{"spec":{"suspend":true}}')
        kubectl("-n", name, "set", "image", "cronjob/daskjobs-janitor", f"janitor={IMAGE}")
        kubectl("-n", name, "rollout", "status", "deployment/daskjobs-storage", "--timeout=90s")
        command = ["kubectl", "-n", name, "port-forward", "service/daskjobs-storage", f"{port}:9000"]
        forward = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield Namespace(name, port)
    finally:
        if forward is not None:
            forward.terminate()
            forward.wait(timeout=10)
        kubectl("delete", "namespace", name, "--wait=true", "--timeout=100s")


@pytest.fixture(scope="module")
def place(cluster: None) -> Iterator[Namespace]:
    with installed() as namespace:
        yield namespace


@pytest.fixture
def namespace(place: Namespace) -> Iterator[Namespace]:
    """A module's namespace, with nothing in it that another test has started."""
    yield place
    place.calm()


@pytest.fixture(scope="module")
def image(place: Namespace) -> None:
    """Have cleanups and the janitor run the image that is tested."""
    place.configure(DASKJOBS_IMAGE=IMAGE)
    place.kubectl("set", "image", "cronjob/daskjobs-janitor", f"janitor={IMAGE}")


@pytest.fixture
def own_namespace(cluster: None) -> Iterator[Namespace]:
    """A namespace that no other test has, to change its installation."""
    with installed() as namespace:
        yield namespace


@pytest.fixture(scope="module")
def wire(place: Namespace) -> Wire:
    return Wire(place)


@contextmanager
def no_operator() -> Iterator[None]:
    """Have no Dask operator while the block lasts; who does so must be alone."""
    with suppress(BlockingIOError), cluster_lock(fcntl.LOCK_SH | fcntl.LOCK_NB):
        raise AssertionError("other tests need the Dask operator: mark this one `alone`")
    found = json.loads(kubectl("get", "deployments", "-A", "-o", "json"))["items"]
    (operator,) = [d for d in found if "dask-kubernetes-operator" in str(d["spec"]["template"]["spec"]["containers"])]
    where = ["-n", operator["metadata"]["namespace"]]
    name = operator["metadata"]["name"]
    labels = ",".join(f"{key}={value}" for key, value in operator["spec"]["selector"]["matchLabels"].items())
    kubectl(*where, "scale", "deployment", name, "--replicas=0")
    try:
        kubectl(*where, "wait", "--for=delete", "pods", "-l", labels, "--timeout=60s")
        yield
    finally:
        kubectl(*where, "scale", "deployment", name, f"--replicas={operator['spec']['replicas']}")
        kubectl(*where, "rollout", "status", "deployment", name, "--timeout=100s")
