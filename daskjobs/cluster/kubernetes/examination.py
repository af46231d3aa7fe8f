"""Checks what a Kubernetes cluster lacks for Dask clusters: kinds, controllers, rights, the image."""

import json
import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import kr8s
from kr8s._async_utils import as_sync_func  # see api.py
from kr8s.objects import Deployment, Pod, new_class

from daskjobs.cluster.findings import Finding
from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.api import POLL_SECONDS, Workflow, api_call, delete_object, open_api
from daskjobs.cluster.kubernetes.diagnosis import why_not_ready
from daskjobs.cluster.kubernetes.naming import PART_OF
from daskjobs.errors import ConfigError, DaskjobsError

# The rights that a pod needs to start and remove a Dask cluster; k8s/base/roles.yaml grants them.
RIGHTS = {
    ("kubernetes.dask.org", "daskclusters"): ("list", "create", "patch", "delete"),
    ("kubernetes.dask.org", "daskworkergroups"): ("list", "create", "patch", "delete"),
    ("", "pods"): ("list",),
    ("", "services"): ("list",),
    ("", "secrets"): ("create", "delete"),
    ("apps", "deployments"): ("list",),
    ("apps", "replicasets"): ("list",),
    ("", "events"): ("list",),
    ("networking.k8s.io", "networkpolicies"): ("list", "create"),
}
CONTROLLERS = {
    "dask-kubernetes-operator": "helm install --repo https://helm.dask.org dask-operator dask-kubernetes-operator",
    "workflow-controller": "see https://argo-workflows.readthedocs.io/en/stable/installation/",
}
KINDS = {"kubernetes.dask.org/v1": "DaskCluster", "argoproj.io/v1alpha1": "Workflow"}
REQUEUE = "DEFAULT_REQUEUE_TIME"
SLOW_HOP_SECONDS = 3  # from here on, a shorter requeue time is recommended
PULL_SECONDS = 120
POD_SECURITY = "pod-security.kubernetes.io/enforce=restricted"

Review: Any = new_class("SelfSubjectAccessReview", "authorization.k8s.io/v1", asyncio=False, namespaced=False)


def examine(settings: KubernetesSettings, image: str) -> Iterator[Finding]:
    """Yield a finding for each thing that is needed, as a person's kubeconfig or a pod's service account sees it.

    Starts and removes a pod of ``image``, if that isn't empty.
    """
    try:
        api = open_api(settings)
        with api_call("say its version"):
            version = api.version()
    except DaskjobsError as error:
        yield Finding(False, f"{error}; does KUBECONFIG name the cluster?")
        return
    yield Finding(True, f"Kubernetes {version['gitVersion']} answers; namespace {api.namespace}")
    yield from _kinds(api)
    yield from _controllers(api)
    yield _hops(api)
    yield from _rights(api)
    yield _pod_security(api)
    if image:
        yield _image(api, image)


def _kinds(api: kr8s.Api) -> Iterator[Finding]:
    with api_call("list its kinds"):
        served = {(kind["version"], kind["kind"]) for kind in api.api_resources()}
    for version, kind in KINDS.items():
        there = (version, kind) in served
        yield Finding(there, f"{kind} ({version}) is {'served' if there else 'not known: install its operator'}")


def _controllers(api: kr8s.Api) -> Iterator[Finding]:
    """Look for the two controllers in all namespaces, by their images."""
    try:
        with api_call("list deployments in all namespaces"):
            deployments: list[Any] = list(api.get(Deployment, namespace=kr8s.ALL))
    except DaskjobsError:
        yield Finding(True, "the operators are in namespaces that you may not look at: not checked")
        return
    for name, remedy in CONTROLLERS.items():
        running = [
            deployment
            for deployment in deployments
            if any(name in container["image"] for container in deployment.raw["spec"]["template"]["spec"]["containers"])
        ]
        ready = any(deployment.raw["status"].get("readyReplicas") for deployment in running)
        where = ", ".join(f"{deployment.namespace}/{deployment.name}" for deployment in running)
        state = f"is ready ({where})" if ready else f"isn't ready: see {where}" if running else f"isn't there: {remedy}"
        yield Finding(ready, f"{name} {state}")


def _hops(api: kr8s.Api) -> Finding:
    """Say how long Argo took from the end of a task to the next task's pod, in the last workflow that ended."""
    try:
        with api_call("list the workflows"):
            workflows: list[Any] = list(api.get(Workflow, namespace=api.namespace, label_selector=PART_OF))
    except DaskjobsError:
        return Finding(True, "how long Argo takes from task to task: not checked, you may not list workflows")
    ended = [each.raw for each in workflows if each.raw.get("status", {}).get("finishedAt")]
    waits = hops(max(ended, key=lambda each: each["status"]["finishedAt"])["status"].get("nodes", {})) if ended else []
    if not waits:
        return Finding(True, "how long Argo takes from task to task: no workflow has ended yet that would show it")
    mean = sum(waits) / len(waits)
    text = f"Argo took {mean:.0f} s from task to task in the last workflow, {sum(waits):.0f} s in all"
    if mean >= SLOW_HOP_SECONDS:
        text += (
            f": {REQUEUE} of its controller is 10s unless it says otherwise; kubectl -n argo set env "
            f"deployment/workflow-controller {REQUEUE}=2s makes it look five times as often, and argo submit "
            "--entrypoint compact has two tasks instead of five"
        )
    return Finding(True, text)


def hops(nodes: dict[str, dict[str, Any]]) -> list[float]:
    """Return the seconds from each pod's end to the next pod's start, along the longest path of a workflow."""
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
        refused = [verb for verb in verbs if not may(api, group, resource, verb)]
        lacking = f"you may not {', '.join(refused)} {resource}: apply k8s/"
        yield Finding(not refused, lacking if refused else f"you may {', '.join(verbs)} {resource}")


def _pod_security(api: kr8s.Api) -> Finding:
    """Say whether the namespace refuses pods that are root on their node, by a dry run."""
    if not may(api, "", "pods", "create"):
        return Finding(True, "whether pods may be root on their node: not checked, you may not create pods")
    pod = pod_of("none", f"daskjobs-doctor-{secrets.token_hex(3)}", 1)
    pod["spec"]["volumes"] = [{"name": "node", "hostPath": {"path": "/"}}]
    pod["spec"]["hostPID"] = True
    try:
        with api_call("judge a pod that would be root on its node"):
            as_sync_func(_try_pod)(api, pod)
    except ConfigError:  # the Pod Security Standard or another admission controller refuses it
        return Finding(True, f"the namespace {api.namespace} refuses pods that would be root on their node")
    except DaskjobsError as error:
        return Finding(False, f"whether pods may be root on their node: {error}")
    return Finding(
        False,
        f"whoever may start a pod or a Dask cluster in {api.namespace} can be root on its node, since no Pod Security "
        f"Standard is enforced: kubectl label namespace {api.namespace} {POD_SECURITY}",
    )


async def _try_pod(api: kr8s.Api, pod: dict[str, Any]) -> None:
    """Create a pod as a dry run, which kr8s' own method can't do."""
    body = json.dumps({"apiVersion": "v1", "kind": "Pod", **pod})
    async with api.call_api(
        "POST", version="v1", url="pods", namespace=api.namespace, params={"dryRun": "All"}, content=body
    ):
        pass


def may(api: kr8s.Api, group: str, resource: str, verb: str) -> bool:
    """Tell whether this user or service account may do this in the namespace."""
    asked = {"namespace": api.namespace, "group": group, "resource": resource, "verb": verb}
    review = Review({"metadata": {}, "spec": {"resourceAttributes": asked}}, api=api)
    with api_call("say what you may do"):
        review.create()
    return bool(review.raw["status"]["allowed"])


def pod_of(
    image: str, name: str, seconds: int, labels: dict[str, str] | None = None, **container: Any
) -> dict[str, Any]:
    """Return a small pod of an image that ends after ``seconds`` at most, with these fields of its ``container``."""
    small = {"memory": "64Mi", "ephemeral-storage": "64Mi"}
    main = {
        "name": "main",
        "image": image,
        **container,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "10m", **small}, "limits": small},
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "activeDeadlineSeconds": seconds,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [main],
    }
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def _image(api: kr8s.Api, image: str) -> Finding:
    """Start a pod of the image, which prints its version, and remove it."""
    resource = pod_of(image, f"daskjobs-doctor-{secrets.token_hex(3)}", PULL_SECONDS, args=["--version"])
    pod: Any = Pod(resource, api=api, namespace=api.namespace)
    try:
        with api_call("start a pod of the image"):
            pod.create()
        try:
            return _await_end(api, pod, image)
        finally:
            delete_object(pod)
    except DaskjobsError as error:
        return Finding(False, f"image: {error}")


def _await_end(api: kr8s.Api, pod: Any, image: str) -> Finding:
    deadline = time.monotonic() + PULL_SECONDS
    while time.monotonic() < deadline:
        with api_call("look at a pod of the image"):
            pod.refresh()
        phase = pod.status.get("phase")
        if phase in {"Succeeded", "Failed"}:
            return Finding(phase == "Succeeded", f"image: a pod of {image} {phase.lower()}")
        time.sleep(POLL_SECONDS)
    return Finding(False, f"image: {image} did not start in {PULL_SECONDS} s: {why_not_ready(api, pod)}")
