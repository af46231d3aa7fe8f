"""Checks whether this machine has what a run needs."""

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from daskjobs.cluster.backends import backend_of
from daskjobs.cluster.findings import Finding
from daskjobs.cluster.kubernetes import KubernetesSettings, kubernetes_packages
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import DaskjobsError
from daskjobs.files.storage import Storage, filesystem

PYTHON = SpecifierSet(">=3.11")
DISK_BYTES = MEMORY_BYTES = 1 << 30  # enough for 5 million rows


def examine(run: str, settings: ClusterSettings, image: str, network: bool) -> Iterator[Finding]:
    """Check this machine, and the Dask cluster of these settings, for what runs under ``run`` need.

    An empty ``run`` skips the storage. With ``network``, pods of the image check who reaches whom on Kubernetes.
    """
    backend = backend_of(settings)
    if not backend.shares_disk:
        yield from backend.examine(settings, image)
        if network and isinstance(settings, KubernetesSettings):
            with kubernetes_packages():
                from daskjobs.cluster.kubernetes.reach import examine_network
            yield from examine_network(settings, image)
        if run:
            yield shared_storage(run)
        return
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding(python in PYTHON, f"Python {python} ({PYTHON} is needed)")
    yield from (_package(Requirement(line)) for line in requires("daskjobs") or () if "extra ==" not in line)
    if run:
        yield _writable(run)
    yield _memory()
    yield from backend.examine(settings, image)


def _package(needed: Requirement) -> Finding:
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        return Finding(False, f"{needed.name} is not installed: pip install '{needed}'")
    good = needed.specifier.contains(found, prereleases=True)
    return Finding(good, f"{needed.name} {found}" + ("" if good else f": {needed} is needed: pip install '{needed}'"))


def _memory() -> Finding:
    try:
        available = psutil.virtual_memory().available
    except (OSError, psutil.Error) as error:
        return Finding(False, f"the free memory can't be read ({error}): mount /proc")
    memory = f"memory: {available / 1e9:.1f} GB free ({MEMORY_BYTES / 1e9:.1f} GB are needed)"
    return Finding(available >= MEMORY_BYTES, memory)


def _writable(run: str) -> Finding:
    if "://" in run and not run.startswith("file://"):
        return Finding(True, f"run files go to {run}: not checked here")
    _, path = filesystem(run)
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    free = shutil.disk_usage(path).free
    if not os.access(path, os.W_OK) or not os.path.isdir(path):
        return Finding(False, f"no right to write to {path}: choose another place with --run")
    return Finding(
        free >= DISK_BYTES, f"disk: {free / 1e9:.1f} GB free in {path} ({DISK_BYTES / 1e9:.1f} GB are needed)"
    )


def shared_storage(run: str) -> Finding:
    """Check that pods can share a run's files: write, read and remove one file."""
    if "://" not in run:
        return Finding(False, f"storage {run} is this machine's alone: pods need a URI, --run s3://bucket/folder")
    storage, name = Storage(run), f"doctor-{secrets.token_hex(4)}"
    try:
        storage.put(name, b"hello")
        storage.read(name)
        storage.remove(name)
    except DaskjobsError as error:
        return Finding(False, f"storage: {error}")
    return Finding(True, f"storage: {run} can be written, read and removed from here")
