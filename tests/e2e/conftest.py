"""A namespace for each test on a real cluster, reached through KUBECONFIG alone; nothing of it stays."""

import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
IMAGE = os.environ.get("DASKJOBS_TEST_IMAGE", "docker.io/library/daskjobs:dev")
STAGE_SECONDS = 300


def kubectl(*arguments: str, text: str | None = None, check: bool = True) -> str:
    done = subprocess.run(["kubectl", *arguments], input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def over(workflow: dict[str, Any]) -> bool:
    """Tell whether a workflow has ended, its exit handler included."""
    return bool(workflow.get("status", {}).get("finishedAt"))


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
        kinds = "daskclusters,daskworkergroups,deployments,services,pods"
        label = f"dask.org/cluster-name{f',daskjobs/run={run}' if run else ''}"
        return self.kubectl("get", kinds, "-l", label, "-o", "name").split()

    def submit(self, flow: str = "run.yaml", **parameters: object) -> str:
        """Do what `argo submit flows/FLOW -p …` does, without its program; return the workflow's name."""
        workflow = yaml.safe_load((ROOT / "flows" / flow).read_text())
        given = {"image": IMAGE, **{name.replace("_", "-"): str(value) for name, value in parameters.items()}}
        own = {entry["name"]: entry["value"] for entry in workflow["spec"].get("arguments", {}).get("parameters", [])}
        workflow["spec"]["arguments"] = {"parameters": [{"name": n, "value": v} for n, v in (own | given).items()]}
        return self.kubectl("create", "-f", "-", "-o", "jsonpath={.metadata.name}", text=json.dumps(workflow))

    def finished(self, workflow: str, seconds: float = STAGE_SECONDS) -> dict[str, Any]:
        """Wait until a workflow is over, its exit handler included; return it."""
        return self.until(
            lambda: self.get("workflow", workflow), lambda w: w.get("status", {}).get("finishedAt"), seconds
        )

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
        container |= {
            "name": "main",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", script],
            "env": [{"name": key, "value": value} for key, value in settings.items()],
        }
        spec = {
            "serviceAccountName": "daskjobs-cluster",
            "restartPolicy": "Never",
            "securityContext": template["securityContext"],
            "volumes": template["volumes"],
            "containers": [container],
        }
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
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

    def read(self, run: str, name: str) -> bytes:
        data: bytes = self.files().cat(f"daskjobs/runs/{run}/{name}")
        return data


@pytest.fixture
def namespace(cluster: None) -> Iterator[Namespace]:
    name = f"test-{secrets.token_hex(4)}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kubectl("create", "namespace", name)
    forward = None
    try:
        kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        kubectl("-n", name, "apply", "-k", str(ROOT / "k8s/overlays/dev"))
        kubectl("-n", name, "rollout", "status", "deployment/daskjobs-storage", "--timeout=90s")
        command = ["kubectl", "-n", name, "port-forward", "service/daskjobs-storage", f"{port}:9000"]
        forward = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield Namespace(name, port)
    finally:
        if forward is not None:
            forward.terminate()
            forward.wait(timeout=10)
        kubectl("delete", "namespace", name, "--wait=true", "--timeout=100s")
