"""A stand-in for Kueue: like its webhook, it holds pods that carry a queue's name by a scheduling gate."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from daskjobs.cluster.kubernetes.naming import QUEUE
from e2e.conftest import ROOT, Namespace, kubectl

POD, PORT = "gatekeeper", 9443


def certificate(host: str) -> tuple[str, str]:
    """Return a certificate for a host, which is its own authority, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host[:64])]), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(hours=2))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode(), pem.decode()


@contextmanager
def queue(namespace: Namespace) -> Iterator[None]:
    """Hold new pods of a namespace that carry the name of a queue, while the block lasts; `admit` lets them go."""
    public, private = certificate(f"{POD}.{namespace.name}.svc")
    start = 'printf "%s" "$PEM" > /tmp/pem && exec python -c "$SCRIPT" /tmp/pem'
    script = (ROOT / "tests/gatekeeper.py").read_text()
    namespace.pod(start, DASKJOBS_POD=POD, SCRIPT=script, PEM=public + private)
    namespace.kubectl("label", "pod", POD, f"queue={POD}")
    namespace.kubectl("expose", "pod", POD, f"--port={PORT}", f"--selector=queue={POD}")
    namespace.until(lambda: namespace.kubectl("logs", POD, check=False), lambda said: "listening" in said, 60)
    service = {"namespace": namespace.name, "name": POD, "port": PORT}
    hook = {
        "name": "gatekeeper.daskjobs.test",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"service": service, "caBundle": base64.b64encode(public.encode()).decode()},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
        "objectSelector": {"matchExpressions": [{"key": QUEUE, "operator": "Exists"}]},
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
    configuration = {**kind, "metadata": {"name": namespace.name}, "webhooks": [hook]}
    kubectl("create", "-f", "-", text=json.dumps(configuration))
    try:
        yield
    finally:
        kubectl("delete", "mutatingwebhookconfiguration", namespace.name)
        namespace.kubectl("delete", f"pod/{POD}", f"service/{POD}", "--grace-period=0", "--force")


def held(namespace: Namespace, component: str) -> list[str]:
    """Return the pods of a component of Dask that a gate holds."""
    pods = namespace.get("pods", "-l", f"dask.org/component={component}")["items"]
    return [pod["metadata"]["name"] for pod in pods if pod["spec"].get("schedulingGates")]


def admit(namespace: Namespace, component: str) -> None:
    """Let the pods of a component go, as Kueue does when there is quota."""
    for pod in held(namespace, component):
        namespace.kubectl("patch", "pod", pod, "--type=merge", "-p", '{"spec":{"schedulingGates":null}}')
