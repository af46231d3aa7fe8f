"""Who is let in to a live Dask cluster; and the image's OpenSSL, with connections that are reset."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import IMAGE, Namespace, Wire, kubectl
from e2e.faults import DURING

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

VALIDATE = "daskjobs generate && daskjobs split && daskjobs validate"
TRIAL = Path(__file__).parent.parent / "reset_peers.py"
# What anybody's pod could do in 0.3.0: run code in the workers, and read the keys of the storage there.
ATTACK = """
import os, sys
from distributed import Client, Security
host = sys.argv[1]
for address, security in (
    (f"tcp://{host}:8786", Security()),
    (f"tls://{host}:8786", Security.temporary()),
):
    try:
        with Client(address, security=security, timeout=5) as client:
            print("IN", client.run(lambda: os.environ.get("AWS_SECRET_ACCESS_KEY")))
    except (OSError, ValueError) as error:
        print("refused", type(error).__name__)
"""
# The network is to stop nobody here, where it enforces policies: TLS alone must.
OPEN = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: test-open}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/part-of: daskjobs}}
  policyTypes: [Ingress]
  ingress: [{}]
"""


@pytest.fixture
def elsewhere(cluster: None) -> Iterator[str]:
    """A namespace that has nothing to do with the run."""
    name = f"other-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def attack(namespace: str, host: str) -> list[str]:
    """Try to get in from a pod of a namespace; return what the pod printed."""
    there = ("-n", namespace)
    command = ["run", "attack", "--image", IMAGE, "--image-pull-policy=IfNotPresent", "--restart=Never"]
    kubectl(*there, *command, "--command", "--", "python", "-c", ATTACK, host)
    kubectl(*there, "wait", "pod/attack", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
    said = kubectl(*there, "logs", "attack")  # what `kubectl run -i` prints is lost if the pod ends before it looks
    kubectl(*there, "delete", "pod", "attack", "--now")
    return [line for line in said.splitlines() if line.startswith(("IN", "refused"))]


@pytest.mark.parametrize(("security", "seen"), [("tls", ["refused", "refused"]), ("none", ["IN", "refused"])])
def test_only_the_pods_of_the_run_can_command_its_workers(
    namespace: Namespace, wire: Wire, elsewhere: str, security: str, seen: list[str]
) -> None:
    """Without TLS the attack succeeds, so that it is known to be one."""
    wire.does()
    namespace.kubectl("apply", "-f", "-", text=OPEN)
    pod = namespace.pod(VALIDATE, DASKJOBS_SECURITY=security, DASKJOBS_RUN=f"s3://daskjobs/runs/{security}")
    request = DURING.format(uid=security)
    wire.does(f"hold {request}")
    wire.await_held(request)
    host = f"dv-{pod}-scheduler.{namespace.name}.svc"
    assert [line.split()[0] for line in attack(elsewhere, host)] == seen
    wire.does()
    code, log = namespace.ended(pod)
    assert code == 0, log


def test_pods_of_a_run_can_read_no_secret(namespace: Namespace) -> None:
    for account in ("daskjobs-cluster", "daskjobs-cleanup", "daskjobs-stage", "daskjobs-janitor"):
        who = f"--as=system:serviceaccount:{namespace.name}:{account}"
        for verb in ("get", "list", "watch", "update", "patch"):
            said = namespace.kubectl("auth", "can-i", verb, "secrets", who, check=False)
            assert said.strip() == "no", (account, verb)


@pytest.mark.parametrize("mended", ["mended", ""])
def test_connections_of_the_image_outlive_those_that_are_reset(namespace: Namespace, mended: str) -> None:
    code, log = namespace.ended(namespace.pod(f'python -c "$SCRIPT" {mended}', SCRIPT=TRIAL.read_text()))
    assert code == 0, log
    assert ("replies: 100" in log.splitlines()) == bool(mended), log
