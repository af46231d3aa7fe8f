"""A step whose tasks use what its workers are given: a further volume, GPUs, and a library more in the image."""

from pathlib import Path

import humanize  # the Dockerfile installs it
from distributed import Client


def sizes(client: Client, folder: str, gpus: int = 0) -> dict[str, str]:
    """Return how large each file of a worker's ``folder`` is, as people write it, seen from one with so many GPUs."""
    found: dict[str, str] = client.submit(_sizes, folder, resources={"GPU": gpus} if gpus else None).result()
    return found


def _sizes(folder: str) -> dict[str, str]:
    """Read the files, on a worker; one that Kubernetes mounts has a second name, which begins with a dot."""
    files = [path for path in sorted(Path(folder).iterdir()) if path.is_file() and not path.name.startswith(".")]
    return {path.name: humanize.naturalsize(len(path.read_bytes())) for path in files}
