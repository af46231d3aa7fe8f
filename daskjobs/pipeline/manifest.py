"""A stage's manifest and facts."""

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Self, TypedDict, TypeVar

from daskjobs.files.digest import Output
from daskjobs.files.documents import from_json, sealed, unsealed

NAME = re.compile(r"[a-z]+(/\w[\w-]*(\.\w+)*)+", re.ASCII)  # of a file of a run: never absolute, never with ".."

T = TypeVar("T")


@dataclass(frozen=True)
class Manifest:
    """The commit of a stage: what it was made from, with which settings, what it wrote, and its row counts.

    ``daskjobs`` is the version that made it. ``inputs`` are hashes by name, ``outputs`` are by file name. ``rows`` are
    JSON of the shape that the stage names. ``skipped`` says that the stage found its work done; it is never
    written to the file.
    """

    stage: str
    daskjobs: str
    inputs: dict[str, str]
    settings: dict[str, Any]
    outputs: dict[str, Output]
    rows: dict[str, Any]
    skipped: bool = False

    def to_json(self) -> bytes:
        """Return the manifest's file, with a checksum of its own."""
        outputs = {name: self.outputs[name] for name in sorted(self.outputs)}
        return sealed(replace(self, outputs=outputs, skipped=False))

    @classmethod
    def from_json(cls, data: bytes, stage: str, rows: Any) -> Self:
        """Read the manifest of a ``stage`` whose row counts have the shape ``rows``.

        Raises ValueError for anything that this version would not have written there.
        """
        try:
            manifest = unsealed(data, cls)
            if manifest.stage == stage:
                from_json(manifest.rows, rows, "rows")
        except ValueError as error:
            version = version_of(data)
            raise ValueError(f"daskjobs {version} wrote it, and {error}" if version else str(error)) from error
        if manifest.stage != stage:
            raise ValueError(f"it is the manifest of {manifest.stage}")
        if not all(NAME.fullmatch(name) for name in manifest.outputs):
            raise ValueError("it names files that no stage writes")
        return replace(manifest, skipped=False)

    def counted(self, shape: type[T]) -> T:
        """Return the row counts as the dataclass that its stage names for them."""
        return from_json(self.rows, shape, f"the rows of {self.stage}")


def version_of(data: bytes) -> str:
    """Return the version in a manifest of any version, or an empty text if it has none."""
    try:
        read = json.loads(data)
        return str(read["daskjobs"]) if isinstance(read["stage"], str) else ""
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


class Facts(TypedDict, total=False):
    """How a stage ran, which no result depends on.

    It ``started`` at this time in UTC. ``seconds`` is the time that it took, ``cpu_seconds`` what its own process
    computed, and ``peak_bytes`` the most memory that this held. validate and cluster note the ``objects`` of a Dask
    cluster on Kubernetes, and validate the ``resources`` that its workers requested and used.
    """

    started: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    objects: list[dict[str, str]]
    resources: dict[str, Any]
