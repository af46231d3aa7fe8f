"""What is missing on this machine, said before a run would find out."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from daskjobs.addresses import free, host_port
from daskjobs.errors import ConfigError
from daskjobs.settings import Settings
from daskjobs.storage import filesystem

PYTHON = SpecifierSet(">=3.11")
DISK_BYTES = MEMORY_BYTES = 1 << 30  # enough for 5 million rows


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, what was seen, and what to do where it isn't good."""

    good: bool
    what: str


def examine(run: str) -> Iterator[Finding]:
    """Look at Python, packages, disk, memory, cores and the dashboard's port for runs under ``run``."""
    python = ".".join(map(str, sys.version_info[:3]))
    free = psutil.virtual_memory().available
    yield Finding(python in PYTHON, f"Python {python} ({PYTHON} is needed)")
    yield from (_package(Requirement(line)) for line in requires("daskjobs") or () if "extra ==" not in line)
    yield _writable(run)
    yield Finding(free >= MEMORY_BYTES, f"memory: {free / 1e9:.1f} GB free ({MEMORY_BYTES / 1e9:.1f} GB are needed)")
    yield Finding(True, f"cores: {os.cpu_count()}, as many workers by default")
    yield _port(str(Settings.dashboard))


def _package(needed: Requirement) -> Finding:
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        return Finding(False, f"{needed.name} is not installed: pip install '{needed}'")
    good = needed.specifier.contains(found, prereleases=True)
    return Finding(good, f"{needed.name} {found}" + ("" if good else f": {needed} is needed: pip install '{needed}'"))


def _writable(run: str) -> Finding:
    if "://" in run and not run.startswith("file://"):
        return Finding(True, f"run files go to {run}, which the run itself will try")
    _, path = filesystem(run)
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    free = shutil.disk_usage(path).free
    if not os.access(path, os.W_OK) or not os.path.isdir(path):
        return Finding(False, f"no right to write to {path}: choose another place with --run")
    return Finding(
        free >= DISK_BYTES, f"disk: {free / 1e9:.1f} GB free in {path} ({DISK_BYTES / 1e9:.1f} GB are needed)"
    )


def _port(address: str) -> Finding:
    port = host_port(address)[1]
    try:
        if free(address) == address:
            return Finding(True, f"port {port} is free for the Dask dashboard")
    except ConfigError as error:
        return Finding(False, str(error))
    return Finding(True, f"port {port} is taken: the dashboard will be on another one, which the run prints")
