"""Adds workers to a Dask cluster on Kubernetes while tasks wait for them.

It never takes one away: the operator ends workers without asking what they hold (dask-kubernetes#633, #807, #819).
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kr8s
from distributed import Client

from daskjobs.cluster.clients import ask
from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.api import API_SECONDS, DaskWorkerGroup, api_call, list_objects
from daskjobs.cluster.kubernetes.naming import selector
from daskjobs.errors import DaskjobsError
from daskjobs.events import event

LOOK_SECONDS = 5.0


@contextmanager
def growing(api: kr8s.Api, settings: KubernetesSettings, client: Client, workers: int) -> Iterator[None]:
    """Add workers during this block, up to ``max_workers``, when the scheduler has work for more of them."""
    if settings.max_workers <= workers:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_grow, args=(api, settings, client, workers, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(API_SECONDS)


def _grow(api: kr8s.Api, settings: KubernetesSettings, client: Client, workers: int, over: threading.Event) -> None:
    while not over.wait(LOOK_SECONDS):
        try:
            wanted = min(settings.max_workers, int(ask(client, "adaptive_target")))
            if wanted > workers:
                resize(api, settings, wanted)
                event("cluster.grown", workers=wanted, before=workers)
                workers = wanted
        except (DaskjobsError, OSError) as error:
            event("cluster.failed", level=logging.WARNING, doing="add workers", error=error)


def resize(api: kr8s.Api, settings: KubernetesSettings, workers: int) -> None:
    """Set the number of workers."""
    for group in list_objects(api, selector(settings), (DaskWorkerGroup,)):
        with api_call(f"add workers to {group.name}"):
            change: dict[str, Any] = {"spec": {"worker": {"replicas": workers}}}
            group.patch(change)
