"""Ask for a run's Dask cluster on Kubernetes, and note that it is the run's."""

import urllib.request
from dataclasses import replace
from typing import Any

import kr8s

from daskjobs import kubernetes, lease, removal
from daskjobs.log import event
from daskjobs.resource import DASHBOARD_PORT, cluster_name, render, scheduler_host, selector
from daskjobs.run import Run
from daskjobs.settings import Settings

HEALTH_SECONDS = 2
STAGE = "validate"  # whose cluster it is


def ahead(run: Run) -> str:
    """Start the cluster while the stages before validate run, don't wait for it, and say how: see `ensure`.

    Where validate has been done, it needs none, most likely: then that is left to it.
    """
    if run.storage.size(f"{STAGE}/manifest.json") is not None:
        return "left to validate"
    lease.mark(run.settings)  # what is noted here may be the run's first file: generate begins at the same time
    api = kubernetes.connect(run.settings)
    settings = replace(run.settings, namespace=api.namespace)
    how, _ = ensure(api, settings, rendered(api, settings))
    objects = [removal.describe(found) for found in kubernetes.find(api, selector(settings))]
    run.note(STAGE, {**run.facts(STAGE), "objects": objects})
    return how


def rendered(api: kr8s.Api, settings: Settings) -> dict[str, Any]:
    """Return the cluster's resource, made like the pod that this runs in."""
    return render(settings, kubernetes.own_pod(api, settings))


def ensure(api: kr8s.Api, settings: Settings, resource: dict[str, Any]) -> tuple[str, str]:
    """Have the cluster exist, and say how, 'created' or 'reused', and its uid."""
    how, uid = kubernetes.ensure(api, resource, settings, lambda: answers(scheduler_host(settings)))
    event("cluster.ensured", run=settings.run, cluster=cluster_name(settings), how=how)
    return how, uid


def answers(host: str) -> bool:
    """Tell whether a scheduler says that it is well."""
    try:
        with urllib.request.urlopen(f"http://{host}:{DASHBOARD_PORT}/health", timeout=HEALTH_SECONDS) as response:
            return bool(response.status == 200)
    except OSError:
        return False
