"""The DaskCluster resource of a run, and the names and labels that its objects are found by.

The cluster is a copy of the pod that asks for it: image, environment, security context and place in the cluster are
those that flows/ gave the validate pod, so they are written once.
"""

import copy
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from dask.utils import parse_bytes

from daskjobs import tuning
from daskjobs.errors import ConfigError
from daskjobs.settings import Settings

PART_OF = {"app.kubernetes.io/part-of": "daskjobs"}
RUN_LABEL, CLUSTER_LABEL = "daskjobs/run", "dask.org/cluster-name"
HASH, WORKFLOW = "daskjobs/spec-hash", "daskjobs/workflow"
DEADLINE = "daskjobs/deadline"  # past it, the janitor removes the cluster
SCHEDULER_PORT, DASHBOARD_PORT = 8786, 8787
VERSION = "kubernetes.dask.org/v1"
POD_FIELDS = ("securityContext", "imagePullSecrets", "nodeSelector", "tolerations", "affinity", "priorityClassName")
CONTAINER_FIELDS = ("image", "imagePullPolicy", "env", "envFrom", "securityContext")
# Workers hold no data that could be moved: one that pauses for want of memory would pause for ever.
NEVER_PAUSED = {"distributed.worker.memory.pause": "False"}
STAGES_OWN = ("ARGO_", "DASKJOBS_", "TRACEPARENT")  # variables that differ from pod to pod; Dask needs none of them
WORKERS = 5  # where their number isn't given
DASK_SHARE = 0.9  # of its container's memory is a worker's limit for Dask
TRIES = 3  # of a task whose worker dies each time


def run_id(settings: Settings) -> str:
    """Return what names a run in the cluster: its workflow's uid, or a mark of where its files live."""
    return settings.workflow_uid or hashlib.sha256(settings.run.encode()).hexdigest()[:12]


def cluster_name(settings: Settings) -> str:
    """Return the DaskCluster's name, at most 53 characters of [a-z0-9-]."""
    return f"dv-{run_id(settings)}"


def selector(settings: Settings) -> dict[str, str]:
    """Return the labels that every object of the run's Dask cluster has, and no other object."""
    return {RUN_LABEL: run_id(settings), CLUSTER_LABEL: cluster_name(settings)}


def scheduler_host(settings: Settings) -> str:
    """Return the name under which the scheduler answers in the cluster."""
    return f"{cluster_name(settings)}-scheduler.{settings.namespace}.svc"


def metadata(settings: Settings) -> dict[str, Any]:
    """Return the name, the labels and, where a workflow asks, the owner of the run's Dask cluster.

    The workflow's name is in an annotation too: the janitor is to find it where the ownerReference is lost.
    """
    found: dict[str, Any] = {"name": cluster_name(settings), "labels": {**PART_OF, **selector(settings)}}
    if settings.workflow:
        found["annotations"] = {WORKFLOW: settings.workflow}
        owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": settings.workflow}
        found["ownerReferences"] = [{**owner, "uid": settings.workflow_uid, "blockOwnerDeletion": False}]
    return found


def render(settings: Settings, own: dict[str, Any]) -> dict[str, Any]:
    """Return the DaskCluster as a resource, from the spec of the pod that asks for it.

    A worker's memory limit for Dask is nine tenths of its container's, so that Dask spills before the kernel kills.
    """
    name = cluster_name(settings)
    try:
        memory = int(parse_bytes(settings.worker_memory) * DASK_SHARE)  # Dask takes Kubernetes' Gi and M as they are
    except ValueError as error:
        said = settings.worker_memory
        raise ConfigError(f"--worker-memory is {said!r}; give a Kubernetes quantity like 2Gi or 500M") from error
    scheduler = ["dask", "scheduler", "--port", str(SCHEDULER_PORT), "--dashboard-address", f":{DASHBOARD_PORT}"]
    worker = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", "1", "--memory-limit", str(memory),
              "--local-directory", "/tmp", "--no-dashboard", "--death-timeout", "120",
              "--preload", "daskjobs.partition"]  # fmt: skip
    ports = {"tcp-comm": SCHEDULER_PORT, "http-dashboard": DASHBOARD_PORT}
    service = {
        "type": "ClusterIP",
        "selector": {CLUSTER_LABEL: name, "dask.org/component": "scheduler"},
        "ports": [{"name": port, "port": number, "targetPort": port} for port, number in ports.items()],
    }
    pod = _pod(settings, own, scheduler, ("100m", "512Mi"))
    pod["containers"][0]["ports"] = [{"name": port, "containerPort": number} for port, number in ports.items()]
    spec = {
        "idleTimeout": int(_start(settings) + settings.idle_timeout),
        "scheduler": {"spec": pod, "service": service},
        "worker": {
            "replicas": settings.workers or WORKERS,
            "spec": _pod(settings, own, worker, (settings.worker_cpu, settings.worker_memory)),
        },
    }
    described = metadata(settings)
    described.setdefault("annotations", {}).update({HASH: _hash(spec), DEADLINE: deadline(settings)})
    return {"apiVersion": VERSION, "kind": "DaskCluster", "metadata": described, "spec": spec}


def deadline(settings: Settings) -> str:
    """Return the time, from now, at which the cluster has no more business: all work timed out, then all idleness."""
    life = _start(settings) + settings.timeout + _start(settings) + settings.idle_timeout
    return (datetime.now(UTC) + timedelta(seconds=life)).isoformat(timespec="seconds")


def _start(settings: Settings) -> float:
    return settings.start_timeout + settings.worker_timeout


def _hash(spec: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def _pod(settings: Settings, own: dict[str, Any], args: list[str], size: tuple[str, str]) -> dict[str, Any]:
    main = next((c for c in own["containers"] if c["name"] == "main"), own["containers"][0])
    container = copy.deepcopy({field: main[field] for field in CONTAINER_FIELDS if field in main})
    given = [entry for entry in container.get("env", []) if not entry["name"].startswith(STAGES_OWN)]
    bounds = tuning.variables(
        {
            "distributed.scheduler.no-workers-timeout": f"{_start(settings):.0f}s",  # by default, tasks wait for ever
            "distributed.scheduler.allowed-failures": str(TRIES - 1),
            **NEVER_PAUSED,
        }
    )
    tuned = tuning.KEEP_MEMORY | tuning.variables(tuning.QUIET)
    entries = [*_entries(tuned), *given, *_entries(bounds)]  # of two with one name, the later one counts
    container["env"] = list({entry["name"]: entry for entry in entries}.values())
    cpu, memory = size
    container |= {
        "name": args[1],
        "command": args[:1],
        "args": args[1:],
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        **copy.deepcopy({field: own[field] for field in POD_FIELDS if field in own}),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,  # what they hold is in storage, or is computed anew
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def _entries(variables: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]
