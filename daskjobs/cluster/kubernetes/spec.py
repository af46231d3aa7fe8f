"""The DaskCluster resource.

Its pods are copies of the pod that creates it, with the same image, environment, security context and placement, so
these are written only once.
"""

import copy
import hashlib
import json
import os
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from daskjobs.cluster import tuning
from daskjobs.cluster.connection import Workload
from daskjobs.cluster.kubernetes import TLS, KubernetesSettings, naming, secret
from daskjobs.cluster.settings import WORKERS_ON_KUBERNETES
from daskjobs.cluster.tuning import DASK_SHARE, TRIES
from daskjobs.errors import ConfigError
from daskjobs.memory import KEEP_MEMORY
from daskjobs.options import quoted

POD_FIELDS = ("securityContext", "imagePullSecrets", "nodeSelector", "tolerations", "affinity", "priorityClassName")
CONTAINER_FIELDS = ("image", "imagePullPolicy", "env", "envFrom", "securityContext")
# For workers that hold no results: they could free nothing, so one that pauses for memory would pause for ever.
NEVER_PAUSED = {"distributed.worker.memory.pause": "False"}
# Prefixes of variables that differ from pod to pod, which Dask's pods must not copy: Argo's, ours, and those by which
# EKS gives a pod its identity; a Dask pod with an identity gets its own.
PODS_OWN = ("ARGO_", "DASKJOBS_", "TRACEPARENT", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_")
# Pages of the scheduler's HTTP server besides the dashboard, which need no key pair: its health, and what the operator
# reads. Dask's other pages show logs and call stacks.
ROUTES = ("distributed.http.health", "distributed.http.statics", "daskjobs.cluster.kubernetes.idle")
SCHEDULER_DISK = "128Mi"  # it writes nothing but its log, of which the kubelet keeps 50 MiB
LEAST_BYTES = 1 << 20
NODE_LENGTH = 1000  # characters of a node's name, which has the whole item of a loop: annotations have a size limit
MOUNT_FIELDS = ("mountPath", "subPath", "readOnly")
EXAMPLES = {
    "--worker-tolerations": '[{"key": "spot", "operator": "Exists"}]',
    "--worker-volumes": '[{"persistentVolumeClaim": {"claimName": "data"}, "mountPath": "/data"}]',
    "--worker-resources": '{"nvidia.com/gpu": 1}',
}
QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})([KMGTPE]i|[mkMGTPE]|[eE][+-]?[0-9]{1,2})?")
UNITS = {None: 1.0, "m": 1e-3, "k": 1e3} | {
    unit: value
    for power, letter in enumerate("KMGTPE", 1)
    for unit, value in ((letter, 1000.0**power), (f"{letter}i", 1024.0**power))
}
RETIREMENT = "daskjobs.cluster.retirement"


def metadata(settings: KubernetesSettings) -> dict[str, Any]:
    """Return the cluster's name and labels and, if it has one, its owner, the workflow."""
    # The operator copies a cluster's labels and annotations to its pods.
    labels = _texts("--pod-labels", settings.pod_labels)
    annotations = _texts("--pod-annotations", settings.pod_annotations)
    described: dict[str, Any] = {
        "name": naming.cluster_name(settings),
        "labels": {**labels, **naming.PART_OF, **naming.selector(settings)},
    }
    if annotations:
        described["annotations"] = annotations
    if settings.queue:
        described["labels"][naming.QUEUE] = settings.queue
    if settings.workflow:
        described["annotations"] = {**annotations, naming.WORKFLOW: settings.workflow}
        owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": settings.workflow}
        described["ownerReferences"] = [{**owner, "uid": settings.workflow_uid, "blockOwnerDeletion": False}]
    return described


def render(settings: KubernetesSettings, own: dict[str, Any], workload: Workload = Workload()) -> dict[str, Any]:  # noqa: B008  # frozen
    """Return the DaskCluster as a resource, made from the spec of the pod that asks for it.

    Raises ConfigError when a size is not a quantity, or an option is not the JSON that it must be.
    """
    name = naming.cluster_name(settings)
    memory = int(_bytes("--worker-memory", settings.worker_memory) * DASK_SHARE)
    _bytes("--scheduler-memory", settings.scheduler_memory)
    _bytes("--worker-disk", settings.worker_disk)
    _quantity("--worker-cpu", settings.worker_cpu, "1 or 500m")
    preload = (*workload.preload, secret.PRELOAD)
    scheduler = ["dask", "scheduler", "--port", str(naming.SCHEDULER_PORT),
                 "--dashboard-address", f":{naming.DASHBOARD_PORT}", "--preload", secret.PRELOAD]  # fmt: skip
    worker = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", str(settings.threads),
              "--memory-limit", str(memory), "--local-directory", "/tmp", "--no-dashboard", "--death-timeout", "120",
              "--preload-nanny", secret.PRELOAD, "--preload-nanny", RETIREMENT,
              *(part for name in preload for part in ("--preload", name))]  # fmt: skip
    ports = {"tcp-comm": naming.SCHEDULER_PORT, "http-dashboard": naming.DASHBOARD_PORT}
    service = {
        "type": "ClusterIP",
        "selector": {naming.CLUSTER_LABEL: name, naming.COMPONENT_LABEL: "scheduler"},
        "ports": [{"name": port, "port": number, "targetPort": port} for port, number in ports.items()],
    }
    size = ("100m", settings.scheduler_memory, SCHEDULER_DISK)
    pod = _without_secrets(_pod(settings, own, scheduler, size, workload))
    pod["containers"][0]["ports"] = [{"name": port, "containerPort": number} for port, number in ports.items()]
    workers = _pod(settings, own, worker, (settings.worker_cpu, settings.worker_memory, settings.worker_disk), workload)
    _add_to_workers(workers, settings)
    if settings.worker_node_selector:
        workers["nodeSelector"] = _parsed("--worker-node-selector", settings.worker_node_selector, dict)
    if settings.worker_tolerations:
        more = _parsed("--worker-tolerations", settings.worker_tolerations, list)
        workers["tolerations"] = [*workers.get("tolerations", []), *more]
    spec = {
        "idleTimeout": int(settings.longest_start + settings.idle_timeout),
        "scheduler": {"spec": pod, "service": service},
        "worker": {"replicas": settings.workers or WORKERS_ON_KUBERNETES, "spec": workers},
    }
    described = metadata(settings)
    given = [each for each in (settings.pod_labels, settings.pod_annotations) if each]
    described.setdefault("annotations", {}).update(
        {naming.HASH: _hash([spec, given] if given else spec), naming.DEADLINE: deadline(settings)}
    )
    if workload.node:
        described["annotations"][naming.NODE] = workload.node[:NODE_LENGTH]
    return {"apiVersion": naming.DASK_VERSION, "kind": "DaskCluster", "metadata": described, "spec": spec}


def deadline(settings: KubernetesSettings) -> str:
    """Return the time after which the janitor removes the cluster."""
    return (datetime.now(UTC) + timedelta(seconds=lifetime(settings))).isoformat(timespec="seconds")


def lifetime(settings: KubernetesSettings) -> float:
    """Return the sum, in seconds, of the timeouts for the cluster's start, its work and idleness."""
    return settings.longest_start + settings.timeout + settings.longest_start + settings.idle_timeout


def _hash(spec: Any) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def _bytes(flag: str, quantity: str) -> int:
    size = _quantity(flag, quantity, "2Gi or 500M")
    if size < LEAST_BYTES:  # a unit is missing, or m, which is a thousandth
        raise ConfigError(f"{flag} must be at least 1Mi, like 2Gi or 500M, got {quoted(quantity)}")
    return int(size)


def _quantity(flag: str, text: str, examples: str) -> float:
    """Return a Kubernetes quantity as a number. Raises ConfigError if it is none."""
    found = QUANTITY.fullmatch(text)
    if not found:
        raise ConfigError(f"{flag} must be a Kubernetes quantity like {examples}, got {quoted(text)}")
    number, unit = found.groups()
    return float(number) * UNITS[unit] if unit in UNITS else float(f"{number}{unit}")


def _add_to_workers(pod: dict[str, Any], settings: KubernetesSettings) -> None:
    """Add the workers' further resources, volumes and service account. Dask calls their GPUs the resource GPU."""
    (container,) = pod["containers"]
    if settings.worker_resources:
        more = _parsed("--worker-resources", settings.worker_resources, dict)
        for name, amount in more.items():
            _quantity(f"--worker-resources {name}", str(amount), "1 or 2Gi")
        bounds = container["resources"]
        for each in ("requests", "limits"):
            bounds[each] = {**{name: str(amount) for name, amount in more.items()}, **bounds[each]}
        gpus = sum(int(amount) for name, amount in more.items() if name.endswith("/gpu") and str(amount).isdecimal())
        container["args"] += ["--resources", f"GPU={gpus}"] if gpus else []
    for number, given in enumerate(_parsed("--worker-volumes", settings.worker_volumes or "[]", list)):
        if not isinstance(given, dict) or not str(given.get("mountPath", "")).startswith("/"):
            shown = quoted(json.dumps(given))
            raise ConfigError(f"--worker-volumes must be volumes with an absolute mountPath each, got {shown}")
        mount = {key: given[key] for key in MOUNT_FIELDS if key in given}
        name = {"name": given.get("name", f"more-{number}")}
        pod["volumes"].append({key: value for key, value in given.items() if key not in MOUNT_FIELDS} | name)
        container["volumeMounts"].append(mount | name)
    if settings.worker_service_account:
        pod["serviceAccountName"] = settings.worker_service_account


def _texts(flag: str, text: str) -> dict[str, str]:
    values = _parsed(flag, text or "{}", dict)
    if not all(isinstance(value, str) for value in values.values()):
        raise ConfigError(f"{flag} must have texts alone, got {quoted(text)}")
    return dict(values)


def _parsed(flag: str, text: str, kind: type) -> Any:
    example = EXAMPLES.get(flag) or '{"pool": "spot"}'
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise ConfigError(f"{flag} must be JSON like {example}, got {quoted(text)}")
    return value


def _pod(
    settings: KubernetesSettings, own: dict[str, Any], args: list[str], size: tuple[str, str, str], workload: Workload
) -> dict[str, Any]:
    main = next((c for c in own["containers"] if c["name"] == "main"), own["containers"][0])
    container = copy.deepcopy({field: main[field] for field in CONTAINER_FIELDS if field in main})
    given = [entry for entry in container.get("env", []) if not entry["name"].startswith(PODS_OWN)]
    bounds = tuning.variables(
        {
            "distributed.scheduler.no-workers-timeout": f"{settings.longest_start:.0f}s",  # by default, for ever
            "distributed.scheduler.allowed-failures": str(TRIES - 1),
            "distributed.scheduler.http.routes": str([*ROUTES]),
            **({} if workload.results else NEVER_PAUSED),
        }
    )
    if settings.security == TLS:
        bounds |= secret.environment(naming.scheduler_address(settings))
    if workload.code:  # before the image's own path, which this process has, too
        bounds["PYTHONPATH"] = os.pathsep.join(filter(None, [workload.code, os.environ.get("PYTHONPATH", "")]))
    tuned = KEEP_MEMORY | tuning.variables(tuning.QUIET)
    entries = [*_entries(tuned), *given, *_entries(bounds)]  # of two with the same name, the later one counts
    container["env"] = list({entry["name"]: entry for entry in entries}.values())
    cpu, memory, disk = size
    bounded = {"memory": memory, "ephemeral-storage": disk}
    container |= {
        "name": args[1],
        "command": args[:1],
        "args": args[1:],
        "resources": {"requests": {"cpu": cpu, **bounded}, "limits": bounded},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {"sizeLimit": disk}}]
    if settings.security == TLS:
        container["volumeMounts"].append(secret.mount())
        volumes.append(secret.volume(naming.cluster_name(settings)))
    return {
        **copy.deepcopy({field: own[field] for field in POD_FIELDS if field in own}),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30 if workload.results else 5,  # to move results to other workers
        "containers": [container],
        "volumes": volumes,
    }


def _without_secrets(pod: dict[str, Any]) -> dict[str, Any]:
    """Remove the variables that come from Secrets, since the scheduler reads and writes no storage."""
    (container,) = pod["containers"]
    container["env"] = [each for each in container["env"] if "secretKeyRef" not in each.get("valueFrom", {})]
    container["envFrom"] = [each for each in container.get("envFrom", []) if "secretRef" not in each]
    return pod


def _entries(variables: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]
