"""What is missing in a cluster for a run there: kinds, operators, rights, storage, image."""

import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import kr8s
from kr8s.objects import Deployment, Pod, new_class

from daskjobs import janitor, kubernetes, pods
from daskjobs.doctor import Finding
from daskjobs.errors import DaskjobsError
from daskjobs.resource import PART_OF
from daskjobs.settings import Settings
from daskjobs.storage import Storage

# What validate and cleanup do; k8s/base/roles.yaml grants it.
RIGHTS = {
    ("kubernetes.dask.org", "daskclusters"): ("get", "list", "create", "patch", "delete"),
    ("kubernetes.dask.org", "daskworkergroups"): ("get", "list", "create", "patch", "delete"),
    ("", "pods"): ("get", "list"),
    ("", "services"): ("get", "list"),
    ("apps", "deployments"): ("get", "list"),
    ("apps", "replicasets"): ("get", "list"),
    ("", "events"): ("list",),
}
CONTROLLERS = {
    "dask-kubernetes-operator": "helm install --repo https://helm.dask.org dask-operator dask-kubernetes-operator",
    "workflow-controller": "see https://argo-workflows.readthedocs.io/en/stable/installation/",
}
KINDS = {"kubernetes.dask.org/v1": "DaskCluster", "argoproj.io/v1alpha1": "Workflow"}
REQUEUE = "DEFAULT_REQUEUE_TIME"
SLOW_HOP_SECONDS = 3  # from which on a shorter requeue time is worth a word
PULL_SECONDS = 120

Review: Any = new_class("SelfSubjectAccessReview", "authorization.k8s.io/v1", asyncio=False, namespaced=False)


def examine(settings: Settings, image: str) -> Iterator[Finding]:
    """Look at what a run needs, as whoever asks: a person with a kubeconfig, or a pod with its service account."""
    try:
        api = kubernetes.connect(settings)
        with kubernetes.explained("say its version"):
            version = api.version()
    except DaskjobsError as error:
        yield Finding(False, f"{error}; does KUBECONFIG name the cluster?")
        return
    yield Finding(True, f"Kubernetes {version['gitVersion']} answers; namespace {api.namespace}")
    yield from _kinds(api)
    yield from _controllers(api)
    yield _hops(api)
    yield from _rights(api)
    yield _storage(settings)
    if image:
        yield _image(api, image)


def _kinds(api: kr8s.Api) -> Iterator[Finding]:
    with kubernetes.explained("list its kinds"):
        served = {(kind["version"], kind["kind"]) for kind in api.api_resources()}
    for version, kind in KINDS.items():
        there = (version, kind) in served
        yield Finding(there, f"{kind} ({version}) is {'served' if there else 'not known: install its operator'}")


def _controllers(api: kr8s.Api) -> Iterator[Finding]:
    """Look for the two controllers by the image that they run, in all namespaces."""
    try:
        with kubernetes.explained("list deployments in all namespaces"):
            found: list[Any] = list(api.get(Deployment, namespace=kr8s.ALL))
    except DaskjobsError:
        yield Finding(True, "the operators are in namespaces that you may not look at: not checked")
        return
    for name, remedy in CONTROLLERS.items():
        running = [d for d in found if any(name in c["image"] for c in d.raw["spec"]["template"]["spec"]["containers"])]
        ready = any(d.raw["status"].get("readyReplicas") for d in running)
        where = ", ".join(f"{d.namespace}/{d.name}" for d in running)
        said = f"is ready ({where})" if ready else f"isn't ready: see {where}" if running else f"isn't there: {remedy}"
        yield Finding(ready, f"{name} {said}")


def _hops(api: kr8s.Api) -> Finding:
    """Say how long Argo's controller took from a task's end to the next one's pod, in the last run that has ended."""
    try:
        with kubernetes.explained("list the workflows"):
            found: list[Any] = list(api.get(janitor.Workflow, namespace=api.namespace, label_selector=PART_OF))
    except DaskjobsError:
        return Finding(True, "how long Argo takes from task to task: not checked, you may not list workflows")
    ended = [each.raw for each in found if each.raw.get("status", {}).get("finishedAt")]
    waits = hops(max(ended, key=lambda each: each["status"]["finishedAt"])["status"].get("nodes", {})) if ended else []
    if not waits:
        return Finding(True, "how long Argo takes from task to task: no workflow has ended yet that would show it")
    mean = sum(waits) / len(waits)
    said = f"Argo took {mean:.0f} s from task to task in the last workflow, {sum(waits):.0f} s in all"
    if mean >= SLOW_HOP_SECONDS:
        said += (
            f": {REQUEUE} of its controller is 10s unless it says otherwise; kubectl -n argo set env "
            f"deployment/workflow-controller {REQUEUE}=2s makes it look five times as often, and argo submit "
            "--entrypoint compact has two tasks instead of five"
        )
    return Finding(True, said)


def hops(nodes: dict[str, dict[str, Any]]) -> list[float]:
    """Return the seconds from the end of a pod to the start of the next, along a workflow's longest way."""
    pods = [node for node in nodes.values() if node["type"] == "Pod" and node.get("finishedAt")]
    moments = [(_moment(node["startedAt"]), _moment(node["finishedAt"])) for node in pods]
    waits = list[float]()
    while moments:
        started, _ = max(moments, key=lambda each: each[1])
        moments = [each for each in moments if each[1] <= started]
        waits += [started - max(ended for _, ended in moments)] if moments else []
    return waits[::-1]


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _rights(api: kr8s.Api) -> Iterator[Finding]:
    for (group, resource), verbs in RIGHTS.items():
        refused = [verb for verb in verbs if not _may(api, group, resource, verb)]
        lacking = f"you may not {', '.join(refused)} {resource}: apply k8s/"
        yield Finding(not refused, lacking if refused else f"you may {', '.join(verbs)} {resource}")


def _may(api: kr8s.Api, group: str, resource: str, verb: str) -> bool:
    asked = {"namespace": api.namespace, "group": group, "resource": resource, "verb": verb}
    review = Review({"metadata": {}, "spec": {"resourceAttributes": asked}}, api=api)
    with kubernetes.explained("say what you may do"):
        review.create()
    return bool(review.raw["status"]["allowed"])


def _storage(settings: Settings) -> Finding:
    if "://" not in settings.run:
        return Finding(
            False, f"storage {settings.run} is this machine's alone: pods need a URI, --run s3://bucket/folder"
        )
    storage, name = Storage(settings.run), f"doctor-{secrets.token_hex(4)}"
    try:
        storage.put(name, b"hello")
        storage.read(name)
        storage.remove(name)
    except DaskjobsError as error:
        return Finding(False, f"storage: {error}")
    return Finding(True, f"storage: {settings.run} can be written, read and removed from here")


def _image(api: kr8s.Api, image: str) -> Finding:
    """Start a pod of the image, which says its version, and remove it."""
    container = {
        "name": "main",
        "image": image,
        "args": ["--version"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "activeDeadlineSeconds": PULL_SECONDS,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    resource = {"metadata": {"name": f"daskjobs-doctor-{secrets.token_hex(3)}"}, "spec": spec}
    pod: Any = Pod(resource, api=api, namespace=api.namespace)
    try:
        with kubernetes.explained("start a pod of the image"):
            pod.create()
        try:
            return _ended(api, pod, image)
        finally:
            kubernetes.delete(pod)
    except DaskjobsError as error:
        return Finding(False, f"image: {error}")


def _ended(api: kr8s.Api, pod: Any, image: str) -> Finding:
    deadline = time.monotonic() + PULL_SECONDS
    while time.monotonic() < deadline:
        with kubernetes.explained("look at a pod of the image"):
            pod.refresh()
        phase = pod.status.get("phase")
        if phase in {"Succeeded", "Failed"}:
            return Finding(phase == "Succeeded", f"image: a pod of {image} {phase.lower()}")
        time.sleep(kubernetes.POLL_SECONDS)
    return Finding(False, f"image: {image} did not start in {PULL_SECONDS} s: {pods.why(api, pod)}")
